"""The perceptron, and the pattern in which algorithms use every model: rebuilt inside the traced update."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from research import keys
from research.errors import UserError
from research.models import MLP, Forward, Hyperparameter, OwnModule
from research.spec import apply_overrides, check

EXAMPLE = jax.ShapeDtypeStruct((6,), jnp.float32)
X = jnp.asarray(np.random.default_rng(0).normal(size=(8, 6)), jnp.float32)
Y = jnp.asarray(np.random.default_rng(1).normal(size=(8, 2)), jnp.float32)


def split(spec, step_key):
    module = spec.build(EXAMPLE, 2, nnx.Rngs(params=jax.random.key(0), default=step_key))
    return nnx.split(module, nnx.Param, Hyperparameter, nnx.RngState, ...)


def train(spec, steps, x=X, y=Y, mask=None, example=None):
    """Gradient descent as algorithms do it: one while loop, the module rebuilt in its body from a traced spec."""
    key = jax.random.key(1)
    example = jnp.arange(len(x), dtype=jnp.int32) if example is None else example
    weight = jnp.ones(len(x)) if mask is None else mask.astype(jnp.float32)

    def body(carry):
        step, params, rest = carry
        step_key = jax.random.fold_in(key, step)
        graph, _, numbers, draws, _ = split(spec, step_key)

        def loss(params):
            module = nnx.merge(graph, params, numbers, draws, rest, copy=True)
            outputs = module(x, Forward(train=True, keys=keys.example_keys(step_key, example), mask=mask))
            return (jnp.square(outputs - y).sum(1) * weight).sum() / weight.sum(), nnx.state(module, nnx.BatchStat)

        gradients, rest = jax.grad(loss, has_aux=True)(params)
        return step + 1, jax.tree.map(lambda p, g: p - 0.05 * g, params, gradients), rest

    _, params, _, _, rest = split(spec, key)
    return jax.lax.while_loop(lambda carry: carry[0] < steps, body, (jnp.int32(0), params, rest))[1:]


def assert_close(left, right, tolerance):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance), left, right)


class Net(nnx.Module):
    """A user's module with layers that keep state and draw."""

    def __init__(self, in_features, outputs, *, hidden=5, rngs):
        self.first = nnx.Linear(in_features, hidden, rngs=rngs)
        self.norm = nnx.BatchNorm(hidden, rngs=rngs)
        self.drop = nnx.Dropout(0.3, rngs=rngs)
        self.last = nnx.Linear(hidden, outputs, rngs=rngs)

    def __call__(self, x):
        return self.last(self.drop(nnx.relu(self.norm(self.first(x)))))


def test_equals_its_definition():
    module = MLP(widths=(5, 5), activation="tanh").build(EXAMPLE, 2, nnx.Rngs(0))
    h = np.asarray(X)
    for layer in module.hidden:
        h = np.tanh(h @ np.asarray(layer.dense.kernel[...]) + np.asarray(layer.dense.bias[...]))
    expected = h @ np.asarray(module.output.kernel[...]) + np.asarray(module.output.bias[...])
    np.testing.assert_allclose(module(X, Forward()), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("spec", "count"),
    [
        (MLP(), 30 * 64 + 64 + 64 * 64 + 64 + 64 * 2 + 2),
        (MLP(widths=()), 30 * 2 + 2),
        (MLP(widths=(10,), normalization="layer"), 30 * 10 + 10 + 2 * 10 + 10 * 2 + 2),
        (MLP(widths=(10,), normalization="batch", dropout=0.5), 30 * 10 + 10 + 2 * 10 + 10 * 2 + 2),
    ],
)
def test_number_of_parameters(spec, count):
    shape = jax.ShapeDtypeStruct((5, 6), jnp.float32)
    params = jax.eval_shape(lambda: nnx.state(spec.build(shape, 2, nnx.Rngs(0)), nnx.Param))
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == count


def test_inputs_are_flattened():
    spec = MLP(widths=(5,))
    flat = spec.build(EXAMPLE, 2, nnx.Rngs(0))
    square = spec.build(jax.ShapeDtypeStruct((2, 3), jnp.float32), 2, nnx.Rngs(0))
    np.testing.assert_array_equal(square(X.reshape(8, 2, 3), Forward()), flat(X, Forward()))


SPECS = [
    MLP(widths=(5,), dropout=0.3),
    MLP(widths=(5,), dropout=0.3, normalization="batch"),
    OwnModule(module=Net, arguments=(("hidden", 4),)),
]
NAMES = ["dropout", "batch norm", "own module"]


@pytest.mark.parametrize("spec", SPECS, ids=NAMES)
def test_trains_in_one_compiled_loop(spec):
    """Any number of steps and any rate through one program; steps in two calls of the loop body differ by no bit."""
    traces = []

    @jax.jit
    def run(spec, steps):
        traces.append(spec)
        return train(spec, steps)

    three, five = run(spec, 3), run(spec, 5)
    jax.tree.map(np.testing.assert_array_equal, run(spec, 3), three)
    start, end = (np.concatenate([leaf.ravel() for leaf in jax.tree.leaves(t[0])]) for t in (three, five))
    assert np.isfinite(end).all() and (start != end).any()
    if isinstance(spec, MLP):
        other = run(spec.replace(dropout=0.6), 5)
        assert any((a != b).any() for a, b in zip(jax.tree.leaves(other), jax.tree.leaves(five), strict=True))
    assert len(traces) == 1
    if spec is not SPECS[0]:
        # The running statistics have moved from where they start.
        assert all((leaf != 0).any() and (leaf != 1).any() for leaf in jax.tree.leaves(five[1]))


def test_a_stack_of_rates_trains_each_as_alone():
    members = [MLP(widths=(5,), dropout=rate, normalization="batch") for rate in (0.1, 0.8)]
    stack = jax.tree.map(lambda *values: np.array(values, np.float32), *members)
    together = jax.jit(jax.vmap(lambda spec: train(spec, 4)))(stack)
    alone = jax.jit(train)
    for index, member in enumerate(members):
        assert_close(jax.tree.map(lambda leaf, i=index: leaf[i], together), alone(member, 4), 1e-5)


def test_order_and_padding_of_the_batch_change_nothing():
    spec = MLP(widths=(5,), dropout=0.4, normalization="batch")
    run = jax.jit(lambda *arguments: train(spec, 4, *arguments))
    x, y, example = np.asarray(X), np.asarray(Y), np.arange(8, dtype=np.int32)
    everyone, six = np.ones(8, bool), example < 6
    order = np.random.default_rng(2).permutation(8)
    expected = run(x, y, everyone, example)
    assert_close(run(x[order], y[order], everyone, example[order]), expected, 1e-5)

    other_x, other_y = (np.where(six[:, None], array, 100) for array in (x, y))
    padded = run(x, y, six, example)
    assert_close(run(other_x, other_y, six, np.where(six, example, 0)), padded, 1e-6)
    assert_close(run(x[:6], y[:6], everyone[:6], example[:6]), padded, 1e-5)


def test_evaluation_draws_nothing_and_needs_no_keys():
    module = MLP(widths=(5,), dropout=0.5, normalization="batch").build(EXAMPLE, 2, nnx.Rngs(0))
    first, second = module(X, Forward()), module(X[:1], Forward())
    np.testing.assert_allclose(first[:1], second, rtol=1e-5, atol=1e-6)


def test_mistakes_are_named():
    with pytest.raises(UserError, match=r"one array per example.*vitals, notes"):
        MLP().build({"vitals": EXAMPLE, "notes": EXAMPLE}, 2, nnx.Rngs(0))
    with pytest.raises(UserError, match=r"activation.*Did you mean 'relu'"):
        check(MLP(activation="rleu"))  # pyright: ignore[reportArgumentType]
    with pytest.raises(UserError, match=r"dropout: a number in \[0, 1\)"):
        check(MLP(dropout=1.0))
    with pytest.raises(UserError, match=r"widths\.1"):
        check(MLP(widths=(64, 0)))
    with pytest.raises(UserError, match="Did you mean 'dropout'"):
        apply_overrides(MLP(), ["droput=0.2"])


def test_overrides():
    spec = apply_overrides(MLP(), ["widths=32,16", "dropout=0.25", "normalization=layer", "kernel_init=orthogonal"])
    assert spec == MLP(widths=(32, 16), dropout=0.25, normalization="layer", kernel_init="orthogonal")
