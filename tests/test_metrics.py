"""Metrics against scikit-learn, with ties, weights, missing labels and absent classes, in NumPy and in JAX."""

from __future__ import annotations

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sklearn.metrics as oracle
from hypothesis import given, settings
from hypothesis import strategies as st

from research import metrics
from research.errors import UserError
from research.task import Task

N = 200


def binary_data(seed=0, ties=True):
    random = np.random.default_rng(seed)
    targets = (random.random(N) < 0.3).astype(np.int32)
    scores = random.normal(size=N) + targets
    probability = 1 / (1 + np.exp(-scores))
    if ties:
        probability = np.round(probability, 1).clip(0.05, 0.95)
    return probability, targets, random.integers(0, 4, N).astype(float)


def class_data(classes=4, seed=0):
    random = np.random.default_rng(seed)
    targets = random.integers(0, classes, N).astype(np.int32)
    logits = random.normal(size=(N, classes)) + 1.5 * np.eye(classes)[targets]
    probability = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    return probability, targets, random.integers(0, 4, N).astype(float)


BINARY = {
    "auroc": (lambda p, y, w: metrics.auroc(p, y, w), lambda p, y, w: oracle.roc_auc_score(y, p, sample_weight=w)),
    "average_precision": (
        lambda p, y, w: metrics.average_precision(p, y, w),
        lambda p, y, w: oracle.average_precision_score(y, p, sample_weight=w),
    ),
    "accuracy": (
        lambda p, y, w: metrics.accuracy(metrics.called(p), y, w),
        lambda p, y, w: oracle.accuracy_score(y, p >= 0.5, sample_weight=w),
    ),
    "balanced_accuracy": (
        lambda p, y, w: metrics.macro(metrics.class_scores(metrics.called(p), y, 2, w)["sensitivity"]),
        lambda p, y, w: oracle.balanced_accuracy_score(y, p >= 0.5, sample_weight=w),
    ),
    "sensitivity": (
        lambda p, y, w: metrics.sensitivity(metrics.called(p), y, w),
        lambda p, y, w: oracle.recall_score(y, p >= 0.5, sample_weight=w),
    ),
    "specificity": (
        lambda p, y, w: metrics.specificity(metrics.called(p), y, w),
        lambda p, y, w: oracle.recall_score(y, p >= 0.5, pos_label=0, sample_weight=w),
    ),
    "precision": (
        lambda p, y, w: metrics.precision(metrics.called(p), y, w),
        lambda p, y, w: oracle.precision_score(y, p >= 0.5, sample_weight=w),
    ),
    "f1": (
        lambda p, y, w: metrics.f1(metrics.called(p), y, w),
        lambda p, y, w: oracle.f1_score(y, p >= 0.5, sample_weight=w),
    ),
    "brier": (
        lambda p, y, w: metrics.brier(p, y, w),
        lambda p, y, w: oracle.brier_score_loss(y, p, sample_weight=w),
    ),
    "min_sensitivity_precision": (
        lambda p, y, w: metrics.min_sensitivity_precision(metrics.called(p), y, w),
        lambda p, y, w: min(
            oracle.recall_score(y, p >= 0.5, sample_weight=w), oracle.precision_score(y, p >= 0.5, sample_weight=w)
        ),
    ),
    "f1_max": (
        lambda p, y, w: metrics.f1_max(p, y, w),
        lambda p, y, w: max(oracle.f1_score(y, p >= cut, sample_weight=w) for cut in np.unique(p)),
    ),
    "log_loss": (lambda p, y, w: metrics.log_loss(p, y, w), lambda p, y, w: oracle.log_loss(y, p, sample_weight=w)),
}


def single(*arrays):
    """The arrays as JAX holds them on a device: float32 and int32."""
    return [jnp.asarray(v, v.dtype.name.replace("64", "32")) for v in map(np.asarray, arrays)]


@jax.jit
def every(probability, targets, weights):
    return {name: ours(probability, targets, weights) for name, (ours, _) in BINARY.items()}


@pytest.mark.parametrize("ties", [True, False])
def test_binary_metrics_equal_scikit_learn(ties):
    probability, targets, weights = binary_data(ties=ties)
    on_device = every(*single(probability, targets, weights))
    for name, (ours, theirs) in BINARY.items():
        expected = theirs(probability, targets, weights)
        assert ours(probability, targets, weights) == pytest.approx(expected, abs=1e-12), name
        assert ours(probability, targets, None) == pytest.approx(theirs(probability, targets, None), abs=1e-12), name
        assert float(on_device[name]) == pytest.approx(expected, abs=2e-6), name


def test_stacked_weights_give_each_rows_value_and_vmap_agrees():
    probability, targets, _ = binary_data(1)
    counts = np.random.default_rng(2).integers(0, 3, (5, N))
    on_device = every(*single(probability, targets, counts))
    mapped = jax.jit(jax.vmap(every, in_axes=(None, None, 0)))(*single(probability, targets, counts))
    for name, (ours, _) in BINARY.items():
        stacked = ours(probability, targets, counts)
        assert stacked.shape == (5,), name
        np.testing.assert_allclose(stacked, [ours(probability, targets, row) for row in counts], atol=1e-12)
        np.testing.assert_allclose(on_device[name], stacked, atol=2e-6)
        np.testing.assert_allclose(mapped[name], stacked, atol=2e-6)


@pytest.mark.parametrize("name", BINARY)
def test_integer_weights_are_repetitions(name):
    ours, theirs = BINARY[name]
    probability, targets, weights = binary_data(3)
    rows = np.repeat(np.arange(N), weights.astype(int))
    expected = theirs(probability[rows], targets[rows], None)
    assert ours(probability, targets, weights) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("junk", [np.nan, 7.0])
def test_padding_rows_change_nothing_whatever_they_hold(junk):
    probability, targets, weights = binary_data(4)
    rows = np.append(probability[:-2], [junk, junk]), targets, np.append(weights[:-2], [0.0, 0.0])
    on_device = every(*single(*rows))
    for name, (ours, _) in BINARY.items():
        expected = ours(probability[:-2], targets[:-2], weights[:-2])
        assert ours(*rows) == pytest.approx(expected, abs=1e-12), name
        assert float(on_device[name]) == pytest.approx(expected, abs=2e-6), name


def test_macro_auroc_f1_and_class_scores_equal_scikit_learn():
    probability, targets, weights = class_data()
    predicted = probability.argmax(-1).astype(np.int32)
    per_class = metrics.auroc_per_class(probability, targets, weights)
    expected = [oracle.roc_auc_score(targets == c, probability[:, c], sample_weight=weights) for c in range(4)]
    np.testing.assert_allclose(per_class, expected, atol=1e-12)
    assert metrics.macro(metrics.auroc_per_class(probability, targets)) == pytest.approx(
        oracle.roc_auc_score(targets, probability, multi_class="ovr", average="macro"), abs=1e-12
    )
    scores = metrics.class_scores(predicted, targets, 4, weights)
    parts = oracle.precision_recall_fscore_support(targets, predicted, sample_weight=weights)
    for name, values in zip(("precision", "sensitivity", "f1"), parts, strict=False):
        np.testing.assert_allclose(scores[name], values, atol=1e-12)
    np.testing.assert_array_equal(
        metrics.confusion_matrix(predicted, targets, 4, weights),
        oracle.confusion_matrix(targets, predicted, sample_weight=weights),
    )
    assert metrics.log_loss(probability, targets, weights) == pytest.approx(
        oracle.log_loss(targets, probability, sample_weight=weights), abs=1e-12
    )
    expected_brier = oracle.brier_score_loss(targets, probability, sample_weight=weights, scale_by_half=False)
    assert metrics.brier(probability, targets, weights) == pytest.approx(expected_brier, abs=1e-12)


def test_two_class_brier_is_twice_the_binary_one():
    probability, targets, weights = binary_data()
    both = np.stack([1 - probability, probability], -1)
    assert metrics.brier(both, targets, weights) == pytest.approx(2 * metrics.brier(probability, targets, weights))


def test_multilabel_auroc_leaves_out_missing_labels():
    random = np.random.default_rng(5)
    targets = (random.random((N, 3)) < 0.4).astype(np.float32)
    targets[random.random((N, 3)) < 0.2] = np.nan
    probability = random.random((N, 3)).astype(np.float32)
    expected = []
    for label in range(3):
        seen = ~np.isnan(targets[:, label])
        expected.append(oracle.roc_auc_score(targets[seen, label], probability[seen, label]))
    np.testing.assert_allclose(metrics.auroc_per_label(probability, targets), expected, atol=1e-12)
    task = Task("multilabel", ("a", "b", "c"))
    compute = jax.jit(lambda p, y, w: metrics.steering(task, p, y, w))
    steered = compute(jnp.asarray(probability), jnp.asarray(targets), jnp.ones(N, bool))
    assert float(steered["auroc"]) == pytest.approx(np.mean(expected), abs=2e-6)


def test_regression_metrics_equal_scikit_learn():
    random = np.random.default_rng(6)
    targets = 1e4 + random.normal(size=(N, 2))
    predicted = targets + 0.5 * random.normal(size=(N, 2))
    weights = random.integers(0, 4, N).astype(float)
    for ours, theirs in (
        (metrics.mean_squared_error, oracle.mean_squared_error),
        (metrics.mean_absolute_error, oracle.mean_absolute_error),
        (metrics.r2, oracle.r2_score),
    ):
        for columns in (np.s_[:], np.s_[:, 0]):
            expected = theirs(targets[columns], predicted[columns], sample_weight=weights)
            assert ours(predicted[columns], targets[columns], weights) == pytest.approx(expected, rel=1e-9)
    rooted = metrics.root_mean_squared_error(predicted, targets, weights)
    assert rooted**2 == pytest.approx(oracle.mean_squared_error(targets, predicted, sample_weight=weights), rel=1e-9)


def test_pinball_is_the_mean_of_that_of_scikit_learn():
    random = np.random.default_rng(8)
    targets, weights, levels = random.normal(size=(N, 2)), random.integers(0, 4, N).astype(float), (0.1, 0.5, 0.8)
    quantiles = random.normal(size=(N, 2, 3))
    expected = np.mean(
        [
            oracle.mean_pinball_loss(targets, quantiles[..., place], sample_weight=weights, alpha=level)
            for place, level in enumerate(levels)
        ]
    )
    assert metrics.pinball(quantiles, targets, levels, weights) == pytest.approx(expected, rel=1e-12)


def test_f_max_by_example_is_its_definition_whatever_the_weights():
    random = np.random.default_rng(9)
    targets = (random.random((60, 4)) < 0.3).astype(float)
    probability = (0.6 * random.random((60, 4)) + 0.4 * targets * random.random((60, 4))).round(2)
    targets[random.random((60, 4)) < 0.1] = np.nan
    weights = random.integers(0, 3, (5, 60))

    def plainly(rows):
        best = 0.0
        for cut in np.arange(101) / 100:
            precisions, recalls = [], []
            for row in rows:
                known = ~np.isnan(targets[row])
                true, said = targets[row, known] == 1, probability[row, known] >= cut
                if said.any():
                    precisions.append((true & said).sum() / said.sum())
                if true.any():
                    recalls.append((true & said).sum() / true.sum())
            if precisions and np.mean(precisions) + np.mean(recalls) > 0:
                best = max(best, 2 * np.mean(precisions) * np.mean(recalls) / (np.mean(precisions) + np.mean(recalls)))
        return best

    expected = [plainly(np.repeat(np.arange(60), row)) for row in weights]
    np.testing.assert_allclose(metrics.f_max(probability, targets, weights.astype(float)), expected, rtol=1e-12)
    curves = metrics.sample_curves(probability, targets)
    assert metrics.f_max(probability, targets, curves=curves) == pytest.approx(plainly(range(60)), rel=1e-12)
    assert np.isnan(metrics.f_max(probability, 0 * np.ones((60, 4))))


def test_undefined_is_nan_and_never_a_number():
    ones, scores = np.ones(4, np.int32), np.array([0.1, 0.2, 0.3, 0.4])
    assert np.isnan(metrics.auroc(scores, ones))
    assert np.isnan(metrics.auroc(scores, 0 * ones))
    assert np.isnan(metrics.average_precision(scores, 0 * ones))
    assert np.isnan(metrics.specificity(ones, ones))
    assert np.isnan(metrics.precision(0 * ones, ones))
    assert np.isnan(metrics.r2(scores, np.full(4, 0.1)))
    assert np.isnan(metrics.accuracy(ones, ones, np.zeros(4)))
    assert np.isnan(metrics.auroc(np.array([0.1, np.nan, 0.3, 0.4]), np.array([0, 1, 0, 1])))
    weights = np.array([[1.0, 1, 1, 1], [1, 1, 0, 0]])
    np.testing.assert_array_equal(metrics.auroc(scores, np.array([0, 0, 1, 1]), weights), [1.0, np.nan])
    on_device = every(*single(scores, ones, np.ones(4)))
    assert np.isnan(on_device["auroc"]) and np.isnan(on_device["specificity"]) and on_device["f1"] == 0


def test_macro_skips_absent_classes_unless_told_which_count():
    values = np.array([[0.5, np.nan, 0.7], [np.nan, np.nan, np.nan]])
    np.testing.assert_allclose(metrics.macro(values), [0.6, np.nan])
    np.testing.assert_allclose(metrics.macro(values, over=np.array([True, False, True])), [0.6, np.nan])
    np.testing.assert_allclose(metrics.macro(values[:1], over=np.array([True, True, False])), [np.nan])


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=20))
def test_auroc_is_the_share_of_pairs_in_order(rows):
    scores = np.array([float(score) for score, _ in rows])
    targets = np.array([int(target) for _, target in rows])
    positive, negative = scores[targets == 1], scores[targets == 0]
    area = metrics.auroc(scores, targets)
    if not len(positive) or not len(negative):
        assert np.isnan(area)
        return
    above = positive[:, None] > negative[None, :]
    tied = positive[:, None] == negative[None, :]
    assert area == pytest.approx((above + 0.5 * tied).mean(), abs=1e-12)
    assert metrics.auroc(-scores, targets) == pytest.approx(1 - area, abs=1e-12)
    assert metrics.auroc(np.exp(scores), targets) == pytest.approx(area, abs=1e-12)


STEERING = {
    "binary": {"accuracy", "auroc"},
    "multiclass": {"accuracy", "auroc"},
    "multilabel": {"auroc"},
    "regression": {"mse", "mae", "rmse"},
    "survival": {"concordance"},
}


@pytest.mark.parametrize("kind", STEERING)
def test_steering_gives_the_declared_names_on_device(kind):
    task = Task(kind, ("a", "b") if kind == "binary" else ("a", "b", "c"))
    random = np.random.default_rng(0)
    if kind == "binary":
        predictions, targets = random.random(N), random.integers(0, 2, N).astype(np.int32)
    elif kind == "multiclass":
        predictions, targets = random.dirichlet([1, 1, 1], N), random.integers(0, 3, N).astype(np.int32)
    elif kind == "survival":
        predictions, targets = random.random((N, 1)), random.integers(0, 2, (N, 2)).astype(np.float32)
    else:
        predictions, targets = random.random((N, 3)), random.integers(0, 2, (N, 3)).astype(np.float32)
    mask = jnp.arange(N) < N - 10
    compute = jax.jit(lambda p, y, w: metrics.steering(task, p, y, w))
    values = compute(jnp.asarray(predictions, jnp.float32), jnp.asarray(targets), mask)
    assert set(values) == STEERING[kind]
    assert all(value.shape == () and value.dtype == jnp.float32 for value in values.values())
    kept = slice(0, N - 10)
    alone = compute(jnp.asarray(predictions[kept], jnp.float32), jnp.asarray(targets[kept]), jnp.ones(N - 10, bool))
    for name in values:
        assert float(values[name]) == pytest.approx(float(alone[name]), abs=1e-6)


def test_direction_of_metrics_and_unknown_names():
    assert metrics.larger_is_better("auroc")
    assert not metrics.larger_is_better("log_loss")
    assert all(metrics.larger_is_better(name) in (True, False) for names in STEERING.values() for name in names)
    with pytest.raises(UserError, match=r"'aurocc'.*Did you mean 'auroc'"):
        metrics.larger_is_better("aurocc")


def test_importing_metrics_is_light():
    code = "import sys, research.metrics; print([m for m in ('sklearn', 'pandas') if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert found.strip() == "[]"


def test_quadratic_kappa_is_that_of_scikit_learn_whatever_the_weights():
    draw = np.random.default_rng(0)
    targets = draw.integers(0, 5, 200)
    said = np.clip(targets + draw.integers(-1, 3, 200), 0, 4)
    weights = draw.integers(0, 3, (4, 200)).astype(float)
    expected = [oracle.cohen_kappa_score(targets, said, weights="quadratic", sample_weight=row) for row in weights]
    np.testing.assert_allclose(metrics.quadratic_kappa(said, targets, weights), expected)
    assert metrics.quadratic_kappa(targets, targets) == 1
    assert np.isnan(metrics.quadratic_kappa(np.ones(3, int), np.ones(3, int)))
