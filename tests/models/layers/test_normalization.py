"""Normalisation: equal to Flax and to torch, blind to padding, with running statistics that move as promised."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch_order
from flax import nnx

from research.context import Context
from research.models import Forward
from research.models.layers import BatchNorm, GroupNorm, LayerNorm, normalization

RNG = np.random.default_rng(0)
X = RNG.normal(2, 3, (12, 5, 4)).astype(np.float32)
SCALE, BIAS = RNG.normal(size=4).astype(np.float32), RNG.normal(size=4).astype(np.float32)


def with_parameters(layer):
    layer.scale[...], layer.bias[...] = jnp.asarray(SCALE), jnp.asarray(BIAS)
    return layer


# PYTHONPATH=tests python scripts/prove/torch_models.py, torch 2.13.0: a digest of each of three images.
OF_TORCH = {
    "layer": [0.657295, -0.760813, -0.492278],
    "group 1": [-0.646591, 0.27626, -0.724468],
    "group 2": [-0.632485, 0.281898, -0.782945],
}


def digests(kind, **options):
    """Of what a layer makes of the images ``[3, 4, 5]`` that torch's was given, channels before pixels."""

    @jax.jit
    def run(scale, bias, x):
        layer = kind(4, **options)
        layer.scale.set_value(scale)
        layer.bias.set_value(bias)
        return layer(x, Forward())

    y = run(*torch_order.values([("scale", (4,)), ("bias", (4,))]), torch_order.images((3, 4, 5)).swapaxes(1, 2))
    return [torch_order.digest(image.T) for image in np.asarray(y)]


def test_layer_norm_equals_torch():
    np.testing.assert_allclose(digests(LayerNorm, epsilon=1e-5), OF_TORCH["layer"], rtol=1e-4)


@pytest.mark.parametrize("groups", [1, 2])
def test_group_norm_equals_torch(groups):
    np.testing.assert_allclose(digests(GroupNorm, groups=groups), OF_TORCH[f"group {groups}"], rtol=1e-4)


@pytest.mark.parametrize(
    ("features", "most", "taken"),
    [(64, 32, 32), (16, 32, 8), (48, 32, 24), (7, 32, 1), (1, 32, 1), (4, 32, 2), (4, 3, 2), (4, 2, 2), (4, 1, 1)],
)
def test_groups_hold_two_channels_at_least(features, most, taken):
    assert GroupNorm(features, groups=most).groups == taken


def test_by_name():
    kinds = {name: type(normalization.by_name(name, 4)) for name in ("batch", "group", "layer")}
    assert kinds == {"batch": BatchNorm, "group": GroupNorm, "layer": LayerNorm}
    assert normalization.by_name("batch", 4, momentum=0.5).momentum[...] == 0.5


@pytest.mark.parametrize("x", [X, X[:, 0], X.reshape(6, 2, 5, 4)], ids=["BTC", "BC", "BHWC"])
def test_batch_norm_equals_flax(x):
    ours = with_parameters(BatchNorm(4, momentum=0.8))
    theirs = with_parameters(nnx.BatchNorm(4, momentum=0.8, epsilon=1e-5, rngs=nnx.Rngs(0)))
    for _ in range(2):
        y = ours(jnp.asarray(x), Forward(train=True))
        np.testing.assert_allclose(y, theirs(jnp.asarray(x)), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(ours.mean[...], theirs.mean[...], rtol=1e-5)
    np.testing.assert_allclose(ours.variance[...], theirs.var[...], rtol=1e-5)
    theirs.eval()
    y = ours(jnp.asarray(x), Forward(train=False))
    np.testing.assert_allclose(y, theirs(jnp.asarray(x)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("x", [X, np.stack([X, X[::-1] - 1], 2)], ids=["BTC", "BHWC"])
def test_padding_changes_nothing(x):
    padded = np.concatenate([x, RNG.normal(50, 9, (4, *x.shape[1:])).astype(np.float32)])
    mask = jnp.arange(16) < 12

    @jax.jit
    def run(x, mask):
        def total(x):
            layer = BatchNorm(4)
            y = layer(x, Forward(train=True, mask=mask))
            return jnp.square(y[:12] + 1).sum(), (y[:12], layer.mean[...], layer.variance[...])

        (_, outputs), gradient = jax.value_and_grad(total, has_aux=True)(x)
        return *outputs, gradient

    y, mean, variance, gradient = run(x, None)
    y_padded, mean_padded, variance_padded, gradient_padded = run(padded, mask)
    np.testing.assert_allclose(y_padded, y, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(gradient_padded[:12], gradient, rtol=1e-3, atol=1e-4)
    np.testing.assert_array_equal(gradient_padded[12:], 0)
    np.testing.assert_allclose(mean_padded, mean, rtol=1e-5)
    np.testing.assert_allclose(variance_padded, variance, rtol=1e-5)


def test_steps_that_do_not_count_change_nothing():
    """Statistics are those over all steps of all series laid end to end."""
    lengths, mask = np.array([5, 2, 0, 4, 5] + [3] * 7), np.arange(12) < 10
    valid = np.arange(5)[None, :] < lengths[:, None]
    counts = valid & mask[:, None]
    x = np.where(counts[..., None], X, 50 * X + 9)

    @jax.jit
    def run(x, valid, mask):
        def total(x):
            layer = BatchNorm(4, momentum=0.0)
            y = layer(x, Forward(train=True, mask=mask), valid)
            return jnp.where((valid & mask[:, None])[..., None], jnp.square(y + 1), 0).sum(), (y, layer.mean[...])

        (_, results), gradient = jax.value_and_grad(total, has_aux=True)(x)
        return *results, gradient

    y, mean, gradient = run(x, valid, mask)
    steps = X[counts]
    np.testing.assert_allclose(mean, steps.mean(0), rtol=1e-4)
    np.testing.assert_allclose(y[counts], (steps - steps.mean(0)) / np.sqrt(steps.var(0) + 1e-5), rtol=1e-3, atol=1e-4)
    np.testing.assert_array_equal(gradient[~counts], 0)
    every, expected = BatchNorm(4), BatchNorm(4)
    whole = every(jnp.asarray(X), Forward(train=True), jnp.ones((12, 5), bool))
    np.testing.assert_array_equal(whole, expected(jnp.asarray(X), Forward(train=True)))


def test_statistics_are_those_of_all_programs():
    """The batch in two unequal halves, each a program, gives what one program gives for the whole."""
    mask = jnp.array([[True] * 6, [True] * 4 + [False] * 2])
    halves = jnp.asarray(X).reshape(2, 6, 5, 4)

    def half(x, mask):
        layer = BatchNorm(4)
        context = Context(mean=lambda tree: jax.lax.pmean(tree, "programs"))
        y = layer(x, Forward(train=True, mask=mask, context=context))
        return y, layer.mean[...], layer.variance[...]

    y, mean, variance = jax.jit(jax.vmap(half, axis_name="programs"))(halves, mask)
    whole = BatchNorm(4)
    expected = whole(jnp.asarray(X[:10]), Forward(train=True))
    np.testing.assert_allclose(y.reshape(12, 5, 4)[:10], expected, rtol=1e-4, atol=1e-5)
    for found, one in ((mean, whole.mean), (variance, whole.variance)):
        np.testing.assert_allclose(found[0], one[...], rtol=1e-5)
        np.testing.assert_allclose(found[1], one[...], rtol=1e-5)


@pytest.mark.parametrize("kind", [LayerNorm, BatchNorm, GroupNorm])
def test_half_precision_in_and_out(kind):
    y = kind(4)(jnp.asarray(X, jnp.bfloat16), Forward(train=True))
    assert y.dtype == jnp.bfloat16
    np.testing.assert_allclose(y.astype(jnp.float32), kind(4)(jnp.asarray(X), Forward(train=True)), atol=0.05)
