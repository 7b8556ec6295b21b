"""Supervised updates against a plain loop in JAX and optax that knows nothing of the framework."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from research.algorithms import Supervised
from research.data import SyntheticTable, TableData, batches
from research.experiment import Evaluation, Execution, Experiment
from research.losses import BinaryCrossEntropy, CrossEntropy
from research.models import MLP
from research.models.functional import paths
from research.optimizers import SGD, Adam, AdamW
from research.training.setup import Setup, set_up

STEPS = 20
BATCH = 20
BASE = Experiment(
    # 64 training rows in batches of 20: the last batch of an epoch has 16 rows of padding.
    data=TableData(source=SyntheticTable(patients=100)),
    model=MLP(widths=(5,), activation="tanh"),
    loss=CrossEntropy(),
    optimizer=SGD(learning_rate=0.1),
    steps=STEPS,
    batch_size=BATCH,
    evaluation=Evaluation(every_steps=STEPS),
)


def trained(setup: Setup) -> Any:
    """The framework's state after all updates, and before the first."""
    before = setup.program.initialise().state.params
    carry = setup.program.initialise()
    return before, setup.program.advance(carry, setup.feed.window(0), STEPS)


def reference(
    setup: Setup,
    params: Any,
    rule: optax.GradientTransformation,
    penalty: Any = lambda kernels: 0.0,
    label: Any = None,
    together: int = 1,
) -> Any:
    """Parameters after each update of a loop written out: rows of some batches together, loss, gradient, update."""
    train = setup.prepared.splits["train"]
    index, mask = batches(setup.seed, 0, STEPS, len(train), BATCH)
    assert not mask.all() and mask[0].all()
    index, mask = (each[: STEPS // together * together].reshape(-1, together * BATCH) for each in (index, mask))

    def objective(params: Any, inputs: Any, classes: Any) -> Any:
        hidden, output = params["hidden"][0]["dense"], params["output"]
        x = jnp.tanh(inputs @ hidden["kernel"] + hidden["bias"])
        logits = x @ output["kernel"] + output["bias"]
        if logits.shape[1] == 1:
            cost = optax.sigmoid_binary_cross_entropy(logits[:, 0], classes.astype(np.float32))
        else:
            targets = jax.nn.one_hot(classes, 2) if label is None else label(jax.nn.one_hot(classes, 2))
            cost = optax.softmax_cross_entropy(logits, targets)
        return cost.mean() + penalty([hidden["kernel"], output["kernel"]])

    @jax.jit
    def step(params: Any, state: Any, inputs: Any, classes: Any) -> Any:
        value, gradients = jax.value_and_grad(objective)(params, inputs, classes)
        updates, state = rule.update(gradients, state, params)
        return optax.apply_updates(params, updates), state, value

    state, path, losses = jax.jit(rule.init)(params), [], []
    for rows, real in zip(index, mask, strict=True):
        # Rows of padding are left out altogether: a mean over fewer rows.
        inputs, classes = train.inputs[rows[real]], train.targets[rows[real]]
        params, state, value = step(params, state, inputs, classes)
        losses.append(float(value))
        path.append(params)
    return path, losses


def kernels_only(params: Any) -> Any:
    return jax.tree.map(lambda leaf: leaf.ndim > 1, params)


CASES: dict[str, tuple[dict[str, Any], Any, dict[str, Any]]] = {
    "sgd": ({}, optax.sgd(0.1), {}),
    "l1, binary loss, adam": (
        {"algorithm": Supervised(l1=0.01), "loss": BinaryCrossEntropy(), "optimizer": Adam(learning_rate=0.003)},
        optax.adam(0.003),
        {"penalty": lambda kernels: 0.01 * sum(jnp.abs(kernel).sum() for kernel in kernels)},
    ),
    "l2, smoothing, clipping, decay": (
        {
            "algorithm": Supervised(l2=0.05),
            "loss": CrossEntropy(label_smoothing=0.2),
            "optimizer": AdamW(learning_rate=0.003, weight_decay=0.3, clip_norm=0.2),
        },
        optax.chain(optax.clip_by_global_norm(0.2), optax.adamw(0.003, weight_decay=0.3, mask=kernels_only)),
        {
            "penalty": lambda kernels: 0.025 * sum((kernel**2).sum() for kernel in kernels),
            "label": lambda targets: optax.smooth_labels(targets, 0.2),
        },
    ),
}


def assert_equal(found: Any, expected: Any, tolerance: float = 1e-6) -> None:
    expected = paths(expected)
    for path, leaf in paths(found).items():
        np.testing.assert_allclose(leaf, expected[path], rtol=0, atol=tolerance, err_msg=path)


@pytest.mark.parametrize("name", CASES)
def test_twenty_updates_equal_a_plain_loop(name: str) -> None:
    changes, rule, options = CASES[name]
    setup = set_up(BASE.replace(**changes), 3, Execution())
    before, carry = trained(setup)
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        path, losses = reference(setup, before, rule, **options)
    assert_equal(carry.state.params, path[-1])
    assert max(np.abs(leaf - paths(before)[p]).max() for p, leaf in paths(path[-1]).items()) > 1e-2
    # The loss that is logged is the mean over updates, and the penalty is told apart from it.
    total = float(carry.sums["loss"]) + float(carry.sums.get("penalty", 0.0))
    assert total == pytest.approx(sum(losses), rel=1e-5) and int(carry.count) == STEPS
    assert ("penalty" in carry.sums) == ("penalty" in options)


def test_accumulated_batches_are_one_batch_of_all_their_rows_and_averaged_weights_follow_the_updates() -> None:
    # Of three batches one or none is short: each counts by its rows, and padding for nothing.
    accumulate = 3
    setup = set_up(BASE.replace(optimizer=SGD(learning_rate=0.1, average=0.7, accumulate=accumulate)), 3, Execution())
    before, carry = trained(setup)
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        path, _ = reference(setup, before, optax.sgd(0.1), together=accumulate)
    assert len(path) == STEPS // accumulate
    average = jax.device_get(before)
    for count, params in enumerate(jax.device_get(path), 1):
        keep = min(0.7, (1 + count) / (10 + count))
        average = jax.tree.map(lambda old, new, k=keep: k * old + (1 - k) * new, average, params)
    deployed = setup.experiment.algorithm.deployed(setup.experiment, carry.state)
    assert_equal(deployed.params, jax.tree.map(jnp.asarray, average))
    assert_equal(carry.state.params, path[-1])


def test_accumulating_equals_the_larger_batch_where_classes_weigh_differently() -> None:
    """Four batches of 16 rows against one of 64, whose classes count by their weights over all 64."""
    common = BASE.replace(loss=CrossEntropy(class_weight=(1.0, 7.0)), algorithm=Supervised(l2=0.01))
    small = common.replace(batch_size=16, optimizer=Adam(learning_rate=0.01, clip_norm=0.5, accumulate=4))
    large = common.replace(batch_size=64, optimizer=Adam(learning_rate=0.01, clip_norm=0.5))
    parts = set_up(small, 3, Execution())
    _, carry = trained(parts)
    whole = set_up(large, 3, Execution())
    expected = whole.program.advance(whole.program.initialise(), whole.feed.window(0), STEPS // 4)
    assert_equal(carry.state.params, expected.state.params, 2e-6)


def test_evaluation_gives_each_example_its_own_loss_and_prediction() -> None:
    setup = set_up(BASE, 3, Execution())
    _, carry = trained(setup)
    rows = setup.program.predict(BASE.algorithm.deployed(BASE, carry.state), setup.splits["test"])
    test = setup.prepared.splits["test"]
    params = jax.tree.map(np.asarray, carry.state.params)
    hidden, output = params["hidden"][0]["dense"], params["output"]
    logits = np.tanh(test.inputs @ hidden["kernel"] + hidden["bias"]) @ output["kernel"] + output["bias"]
    probability = 1 / (1 + np.exp(logits[:, 0] - logits[:, 1]))
    np.testing.assert_allclose(rows["prediction"], probability, atol=1e-6)
    chosen = np.where(test.targets == 1, probability, 1 - probability)
    np.testing.assert_allclose(rows["loss"], -np.log(chosen), rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(rows["weight"], np.ones(len(test), np.float32))
