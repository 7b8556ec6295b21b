"""Losses: against torch, against closed forms, against each other, and under padding, missing labels and tracing."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.utils.class_weight import compute_class_weight

from research.errors import UserError
from research.losses import (
    MAE,
    MSE,
    BinaryCrossEntropy,
    CoxPH,
    CrossEntropy,
    DiscreteTimeHazard,
    Focal,
    Huber,
    Loss,
    Quantile,
)
from research.spec import apply_overrides, check
from research.task import NO_LABEL, Task

BINARY = Task("binary", ("benign", "malignant"))
CLASSES = Task("multiclass", ("a", "b", "c"))
LABELS = Task("multilabel", ("effusion", "edema", "mass", "nodule"))
VALUES = Task("regression", ("systolic", "diastolic"), "mmHg")
TIMES = Task("survival", ("death",), "days")

RNG = np.random.default_rng(0)
OUTPUTS = {k: RNG.normal(0, 3, (16, k)).astype(np.float32) for k in (1, 2, 3, 4)}
CLASS_OF = {2: RNG.integers(0, 2, 16).astype(np.int32), 3: RNG.integers(0, 3, 16).astype(np.int32)}
LABEL_OF = RNG.integers(0, 2, (16, 4)).astype(np.float32)
VALUE_OF = RNG.normal(0, 3, (16, 2)).astype(np.float32)


@jax.jit
def per_example(loss: Loss, outputs, targets):
    total, weight = loss.per_example(outputs, targets)
    assert total.shape == weight.shape == (len(outputs),)
    assert total.dtype == weight.dtype == jnp.float32
    return total, weight


def mean_loss(loss: Loss, outputs, targets):
    total, weight = per_example(loss, outputs, targets)
    return np.asarray(total).sum() / np.asarray(weight).sum()


@jax.jit
def _value_and_gradient(loss: Loss, outputs, targets):
    def mean(outputs):
        total, weight = loss.per_example(outputs, targets)
        return total.sum() / weight.sum()

    return jax.value_and_grad(mean)(outputs)


def value_and_gradient(loss: Loss, outputs, targets):
    return tuple(np.asarray(array) for array in _value_and_gradient(loss, outputs, targets))


@functools.partial(jax.jit, static_argnums=2)
def predict(loss: Loss, outputs, task):
    return loss.predict(outputs, task)


def torch_value_and_gradient(function, outputs):
    torch = pytest.importorskip("torch")
    y = torch.tensor(outputs, requires_grad=True)
    value = function(torch, y)
    value.backward()
    return value.detach().numpy(), y.grad.numpy()


def assert_same(ours, theirs):
    np.testing.assert_allclose(ours[0], theirs[0], rtol=2e-6)
    np.testing.assert_allclose(ours[1], theirs[1], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("smoothing", [None, 0.1])
@pytest.mark.parametrize("weights", [None, (0.2, 1.0, 3.5)])
def test_cross_entropy_equals_torch(smoothing, weights):
    def theirs(torch, y):
        weight = None if weights is None else torch.tensor(weights)
        criterion = torch.nn.CrossEntropyLoss(weight=weight, label_smoothing=smoothing or 0.0)
        return criterion(y, torch.tensor(CLASS_OF[3]).long())

    loss = CrossEntropy(label_smoothing=smoothing, class_weight=weights)
    assert_same(value_and_gradient(loss, OUTPUTS[3], CLASS_OF[3]), torch_value_and_gradient(theirs, OUTPUTS[3]))


@pytest.mark.parametrize("weights", [None, (0.5, 1.0, 2.0, 8.0)])
def test_binary_cross_entropy_of_labels_equals_torch(weights):
    def theirs(torch, y):
        weight = None if weights is None else torch.tensor(weights)
        return torch.nn.BCEWithLogitsLoss(pos_weight=weight)(y, torch.tensor(LABEL_OF))

    loss = BinaryCrossEntropy(positive_weight=weights)
    assert_same(value_and_gradient(loss, OUTPUTS[4], LABEL_OF), torch_value_and_gradient(theirs, OUTPUTS[4]))


@pytest.mark.parametrize(
    ("loss", "name"), [(MSE(), "MSELoss"), (MAE(), "L1Loss"), (Huber(delta=1.5), "HuberLoss"), (Huber(), "HuberLoss")]
)
def test_regression_losses_equal_torch(loss, name):
    def theirs(torch, y):
        arguments = {"delta": loss.delta} if name == "HuberLoss" else {}
        return getattr(torch.nn, name)(**arguments)(y, torch.tensor(VALUE_OF))

    assert_same(value_and_gradient(loss, OUTPUTS[2], VALUE_OF), torch_value_and_gradient(theirs, OUTPUTS[2]))


@pytest.mark.parametrize(("smoothing", "weights"), [(None, None), (0.2, (1.0, 4.0))])
def test_one_logit_is_the_difference_of_two(smoothing, weights):
    one = BinaryCrossEntropy(label_smoothing=smoothing, class_weight=weights)
    two = CrossEntropy(label_smoothing=smoothing, class_weight=weights)
    pair = np.concatenate([np.zeros_like(OUTPUTS[1]), OUTPUTS[1]], axis=1)
    ours, theirs = value_and_gradient(one, OUTPUTS[1], CLASS_OF[2]), value_and_gradient(two, pair, CLASS_OF[2])
    assert_same(ours, (theirs[0], theirs[1][:, 1:]))
    np.testing.assert_allclose(predict(one, OUTPUTS[1], BINARY), predict(two, pair, BINARY), rtol=1e-6)


def test_known_values():
    """At even odds every classifier costs log 2 nats; softmax over C classes log C."""
    even = jnp.zeros((1, 1))
    assert mean_loss(BinaryCrossEntropy(), even, np.array([1], np.int32)) == pytest.approx(np.log(2))
    assert mean_loss(CrossEntropy(), jnp.zeros((1, 3)), np.array([2], np.int32)) == pytest.approx(np.log(3))
    assert mean_loss(Huber(delta=1.0), jnp.array([[3.0]]), np.array([[0.0]], np.float32)) == pytest.approx(2.5)


@pytest.mark.parametrize(("p", "reduction"), [(0.9, 100), (0.968, 1000)])
def test_focal_reduces_easy_examples_as_published(p, reduction):
    """Lin et al., section 3.2: with gamma 2, p = 0.9 costs 100 times less, p of about 0.968 1000 times less."""
    logit = np.array([[np.log(p / (1 - p))]], np.float32)
    target = np.array([1], np.int32)
    ratio = mean_loss(Focal(gamma=0.0), logit, target) / mean_loss(Focal(gamma=2.0), logit, target)
    assert float(ratio) == pytest.approx(reduction, rel=0.03)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_focal_equals_its_definition(gamma):
    outputs = OUTPUTS[3].astype(np.float64)
    p = np.exp(outputs) / np.exp(outputs).sum(1, keepdims=True)
    true = p[np.arange(16), CLASS_OF[3]]
    weights = np.array([0.2, 1.0, 3.5])
    expected = -weights[CLASS_OF[3]] * (1 - true) ** gamma * np.log(true)
    total, weight = per_example(Focal(gamma=gamma, class_weight=tuple(weights)), OUTPUTS[3], CLASS_OF[3])
    np.testing.assert_allclose(total, expected, rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(weight, weights[CLASS_OF[3]], rtol=1e-6)

    p = 1 / (1 + np.exp(-OUTPUTS[4].astype(np.float64)))
    true, alpha = np.where(LABEL_OF == 1, p, 1 - p), np.where(LABEL_OF == 1, 0.25, 0.75)
    expected = (-alpha * (1 - true) ** gamma * np.log(true)).sum(1)
    total, weight = per_example(Focal(gamma=gamma, alpha=0.25), OUTPUTS[4], LABEL_OF)
    np.testing.assert_allclose(total, expected, rtol=1e-4, atol=1e-7)
    np.testing.assert_array_equal(weight, 4)


@pytest.mark.parametrize(
    ("loss", "outputs", "targets"),
    [
        (BinaryCrossEntropy(), OUTPUTS[4], LABEL_OF),
        (BinaryCrossEntropy(label_smoothing=0.1, positive_weight=(1.0, 2.0, 3.0, 4.0)), OUTPUTS[4], LABEL_OF),
        (Focal(alpha=0.3), OUTPUTS[4], LABEL_OF),
        (MSE(), OUTPUTS[2], VALUE_OF),
        (MAE(), OUTPUTS[2], VALUE_OF),
        (Huber(), OUTPUTS[2], VALUE_OF),
        (MSE(mean=(1.0, 2.0), deviation=(3.0, 0.5)), OUTPUTS[2], VALUE_OF),
    ],
)
def test_missing_targets_count_for_nothing(loss, outputs, targets):
    missing = np.random.default_rng(1).random(targets.shape) < 0.4
    missing[0] = True
    total, weight = per_example(loss, jnp.asarray(outputs), jnp.asarray(np.where(missing, np.nan, targets)))
    np.testing.assert_array_equal(weight, (~missing).sum(1))
    assert total[0] == 0
    value, gradient = value_and_gradient(loss, outputs, np.where(missing, np.nan, targets))
    assert np.isfinite(gradient).all()
    np.testing.assert_array_equal(gradient[missing], 0)
    assert (gradient[~missing] != 0).any()
    # Element by element: the cost of the observed ones alone.
    alone = np.zeros(len(targets))
    for column in range(targets.shape[1]):
        others_missing = np.full_like(targets, np.nan)
        others_missing[:, column] = np.where(missing[:, column], np.nan, targets[:, column])
        alone += np.asarray(per_example(loss, jnp.asarray(outputs), jnp.asarray(others_missing))[0])
    np.testing.assert_allclose(total, alone, rtol=1e-5)
    assert value == pytest.approx(alone.sum() / (~missing).sum(), rel=1e-5)


@pytest.mark.parametrize("loss", [CrossEntropy(label_smoothing=0.1), Focal(gamma=0.5), Focal(gamma=2.0)])
def test_certain_outputs_have_finite_gradients(loss):
    outputs = np.array([[200.0, -200.0, 0.0], [-200.0, 200.0, 0.0]], np.float32)
    value, gradient = value_and_gradient(loss, outputs, np.array([0, 0], np.int32))
    assert np.isfinite(value) and np.isfinite(gradient).all()


@pytest.mark.parametrize("loss", [BinaryCrossEntropy(), Focal(gamma=0.5), Focal(gamma=0.0)])
def test_certain_logits_have_finite_gradients(loss):
    outputs, targets = np.array([[200.0], [-200.0], [200.0]], np.float32), np.array([1, 1, 0], np.int32)
    value, gradient = value_and_gradient(loss, outputs, targets)
    assert np.isfinite(gradient).all()
    assert value == pytest.approx(400 / 3, rel=1e-6)


def test_predictions():
    logits = OUTPUTS[3]
    p = predict(CrossEntropy(), logits, CLASSES)
    np.testing.assert_allclose(p, np.exp(logits) / np.exp(logits).sum(1, keepdims=True), rtol=1e-5)
    p = predict(CrossEntropy(), OUTPUTS[2], BINARY)
    assert p.shape == (16,)
    np.testing.assert_allclose(p, np.exp(OUTPUTS[2])[:, 1] / np.exp(OUTPUTS[2]).sum(1), rtol=1e-5)
    for loss in (BinaryCrossEntropy(), Focal()):
        assert predict(loss, OUTPUTS[1], BINARY).shape == (16,)
        np.testing.assert_allclose(predict(loss, OUTPUTS[4], LABELS), 1 / (1 + np.exp(-OUTPUTS[4])), rtol=1e-5)
    np.testing.assert_array_equal(predict(MSE(), OUTPUTS[2], VALUES), OUTPUTS[2])


@pytest.mark.parametrize(
    ("loss", "task", "outputs"),
    [
        (CrossEntropy(), BINARY, 2),
        (CrossEntropy(), CLASSES, 3),
        (BinaryCrossEntropy(), BINARY, 1),
        (BinaryCrossEntropy(), LABELS, 4),
        (Focal(), BINARY, 1),
        (Focal(), CLASSES, 3),
        (Focal(), LABELS, 4),
        (Huber(), VALUES, 2),
        (Quantile(), VALUES, 6),
        (CoxPH(), TIMES, 1),
        (DiscreteTimeHazard(intervals=7), TIMES, 7),
    ],
)
def test_number_of_outputs(loss, task, outputs):
    assert loss.outputs(task) == outputs


@pytest.mark.parametrize(
    ("loss", "task", "words"),
    [
        (CrossEntropy(), VALUES, ["CrossEntropy", "regression", "Huber, MAE, MSE, Quantile"]),
        (CrossEntropy(), LABELS, ["multilabel", "BinaryCrossEntropy, Focal"]),
        (MSE(), BINARY, ["MSE", "binary", "BinaryCrossEntropy, CrossEntropy, Focal"]),
        (CrossEntropy(class_weight=(1, 2)), CLASSES, ["loss.class_weight", "3 numbers", "a, b, c", "2 were given"]),
        (BinaryCrossEntropy(class_weight=(1, 2, 3)), BINARY, ["loss.class_weight", "benign, malignant"]),
        (BinaryCrossEntropy(class_weight=(1, 2)), LABELS, ["class_weight", "positive_weight"]),
        (BinaryCrossEntropy(positive_weight=(1, 2)), LABELS, ["positive_weight", "4 numbers", "2 were given"]),
        (BinaryCrossEntropy(positive_weight=(1, 2)), BINARY, ["positive_weight", "one number"]),
        (Focal(alpha=0.25), CLASSES, ["alpha", "class_weight"]),
        (Focal(class_weight=(1, 2)), BINARY, ["class_weight", "alpha"]),
        (CoxPH(), VALUES, ["CoxPH", "survival", "Huber, MAE, MSE, Quantile"]),
        (MSE(), TIMES, ["MSE", "regression", "death", "CoxPH, DiscreteTimeHazard"]),
        (MSE(mean=(1, 2, 3), deviation=(1, 2, 3)), VALUES, ["loss.mean", "2 numbers", "3 were given"]),
    ],
)
def test_a_loss_that_does_not_fit_says_which_do(loss, task, words):
    for ask in (loss.outputs, loss.check_task):
        with pytest.raises(UserError) as error:
            ask(task)
        for word in words:
            assert word in str(error.value)


def test_ranges_are_checked():
    with pytest.raises(UserError, match="label_smoothing"):
        check(CrossEntropy(label_smoothing=1.0))
    with pytest.raises(UserError, match=r"class_weight\.1"):
        check(CrossEntropy(class_weight=(1.0, -1.0)))
    with pytest.raises(UserError, match="Did you mean 'delta'"):
        apply_overrides(Huber(), ["detla=2"])


@pytest.mark.parametrize(
    ("loss", "outputs", "targets"),
    [
        (CrossEntropy(label_smoothing=0.1, class_weight=(1.0, 2.0, 3.0)), OUTPUTS[3], CLASS_OF[3]),
        (BinaryCrossEntropy(label_smoothing=0.1, class_weight=(1.0, 2.0)), OUTPUTS[1], CLASS_OF[2]),
        (BinaryCrossEntropy(positive_weight=(1.0, 2.0, 3.0, 4.0)), OUTPUTS[4], LABEL_OF),
        (Focal(alpha=0.3), OUTPUTS[4], LABEL_OF),
        (Huber(), OUTPUTS[2], VALUE_OF),
        (MSE(mean=(1.0, 2.0), deviation=(3.0, 0.5)), OUTPUTS[2], VALUE_OF),
    ],
)
def test_one_program_serves_every_number(loss, outputs, targets):
    traces = []

    @jax.jit
    def compiled(loss, outputs, targets):
        traces.append(loss)
        total, weight = loss.per_example(outputs, targets)
        return total.sum() / weight.sum()

    leaves, structure = jax.tree.flatten(loss)
    assert leaves
    for index in range(len(leaves)):
        changed = structure.unflatten([leaf * 1.5 if i == index else leaf for i, leaf in enumerate(leaves)])
        value = float(compiled(changed, outputs, targets))
        assert value == pytest.approx(float(mean_loss(changed, outputs, targets)), rel=1e-5)
        assert value != pytest.approx(float(mean_loss(loss, outputs, targets)), rel=1e-4)
    assert len(traces) == 1


def test_balanced_weights_are_those_of_scikit_learn_and_make_classes_count_alike() -> None:
    targets = np.asarray([0] * 60 + [1] * 30 + [2] * 10, np.int32)
    task = Task("multiclass", ("a", "b", "c"))
    fitted = CrossEntropy(balanced=True).fitted(task, targets)
    expected = compute_class_weight("balanced", classes=np.arange(3), y=targets)
    np.testing.assert_allclose(fitted.class_weight, expected)
    _, weight = fitted.per_example(jnp.zeros((100, 3)), jnp.asarray(targets))
    per_class = [float(weight[targets == number].sum()) for number in range(3)]
    np.testing.assert_allclose(per_class, 100 / 3, rtol=1e-5)
    assert CrossEntropy().fitted(task, targets) == CrossEntropy()


@pytest.mark.parametrize("loss", [CrossEntropy, BinaryCrossEntropy])
def test_balanced_weights_of_steps_leave_out_those_without_a_label(loss: Any) -> None:
    steps = np.asarray([[0, 0, 1], [0, NO_LABEL, NO_LABEL]], np.int32)
    fitted = loss(balanced=True).fitted(Task("binary", ("no", "yes"), per_step=True), steps)
    assert fitted.class_weight == pytest.approx((4 / (2 * 3), 4 / (2 * 1)))


def test_balanced_binary_and_multilabel_weights() -> None:
    binary = BinaryCrossEntropy(balanced=True).fitted(Task("binary", ("no", "yes")), np.asarray([0, 0, 0, 1]))
    np.testing.assert_allclose(binary.class_weight, (4 / 6, 2))
    labels = np.asarray([[1, 0], [0, 0], [0, np.nan], [0, 1]], np.float32)
    several = BinaryCrossEntropy(balanced=True).fitted(Task("multilabel", ("a", "b")), labels)
    np.testing.assert_allclose(several.positive_weight, (3, 2))


@pytest.mark.parametrize("loss", [CrossEntropy, BinaryCrossEntropy])
def test_weights_come_from_one_place(loss: type[CrossEntropy]) -> None:
    with pytest.raises(UserError, match=r"loss\.class_weight: balanced=true takes the weights from train"):
        check(loss(balanced=True, class_weight=(1, 2)))
