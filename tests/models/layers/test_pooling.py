"""Pooling: its definition in every form, and where the gradient goes."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch_order

from research.errors import UserError
from research.models.layers import global_mean_pool, max_pool, mean_pool

RNG = np.random.default_rng(0)
X = RNG.normal(size=(2, 7, 8, 3)).astype(np.float32)

CASES = [
    ((2, 2), None, 0),
    ((3, 2), None, 0),
    ((1, 1), None, 0),
    ((7, 8), None, 0),
    ((3, 3), (2, 2), 1),
    ((3, 2), (1, 2), 0),
    ((2, 2), (3, 3), 1),
]
IDS = [f"{window}/{strides}/{padding}" for window, strides, padding in CASES]


def by_definition(reduce, x, window, strides, padding):
    """Loop over the windows; padding is NaN, which the reduction leaves out."""
    strides = strides or window
    x = np.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)), constant_values=np.nan)
    starts = [range(0, size - one + 1, step) for size, one, step in zip(x.shape[1:3], window, strides, strict=True)]
    rows = [
        np.stack([reduce(x[:, i : i + window[0], j : j + window[1]], axis=(1, 2)) for j in starts[1]], axis=1)
        for i in starts[0]
    ]
    return np.stack(rows, axis=1)


@pytest.fixture(scope="module")
def pooled():
    @jax.jit
    def run(x):
        return [(max_pool(x, *case), mean_pool(x, *case)) for case in CASES]

    return run(X)


@pytest.mark.parametrize("number", range(len(CASES)), ids=IDS)
def test_equals_its_definition(pooled, number):
    greatest, mean = pooled[number]
    np.testing.assert_array_equal(greatest, by_definition(np.nanmax, X, *CASES[number]))
    np.testing.assert_allclose(mean, by_definition(np.nanmean, X, *CASES[number]), rtol=1e-5, atol=1e-6)


# PYTHONPATH=tests python scripts/prove/torch_models.py, torch 2.13.0: of each image a digest of the gradient of a
# digest of what is pooled.
OF_TORCH = {
    "max (2, 2, 0)": [-0.178851, 2.42335],
    "mean (2, 2, 0)": [0.135913, 2.10271],
    "max (3, 2, 1)": [-2.45614, 0.165272],
    "mean (3, 2, 1)": [0.0787584, -3.20875],
}


def test_gradients_equal_torch():
    cases = {"(2, 2, 0)": ((2, 2), (2, 2), 0), "(3, 2, 1)": ((3, 3), (2, 2), 1)}
    pools = {"max": max_pool, "mean": mean_pool}
    images = torch_order.images((2, 3, 7, 8))

    @jax.jit
    def run(x):
        def total(x, pool, case):
            return torch_order.digest(pool(x.transpose(0, 2, 3, 1), *case).transpose(0, 3, 1, 2))

        return {f"{p} {c}": jax.grad(total)(x, pools[p], cases[c]) for p in pools for c in cases}

    for name, gradient in run(images).items():
        np.testing.assert_allclose(
            [torch_order.digest(image) for image in np.asarray(gradient)], OF_TORCH[name], rtol=1e-4
        )


def test_the_first_of_equal_pixels_has_the_gradient():
    x = jnp.array([[1.0, 3.0], [3.0, 3.0]]).reshape(1, 2, 2, 1)
    gradient = jax.grad(lambda x: max_pool(x, (2, 2)).sum())(x)
    np.testing.assert_array_equal(gradient[0, :, :, 0], [[0, 1], [0, 0]])


@pytest.mark.parametrize("case", [((2, 2), None, 0), ((3, 3), (2, 2), 1)], ids=str)
def test_the_whole_gradient_arrives_however_the_program_is_compiled(case: Any):
    """What is pooled is computed anew in the backward pass; it must not be compared with the maximum there."""
    scale = jnp.asarray(np.random.default_rng(0).normal(size=4), jnp.float32)

    @jax.jit
    def pooled(x: jax.Array, scale: jax.Array) -> jax.Array:
        wide = jnp.tanh(x) * scale[None, None, None] / jnp.sqrt(jnp.square(x).mean() + 1e-5)
        return max_pool(wide, *case)

    def along(x: jax.Array) -> jax.Array:
        return pooled(x, scale).sum()

    x = jnp.asarray(np.random.default_rng(1).normal(size=(4, 12, 12, 4)), jnp.float32)
    step = 1e-3 * jax.grad(along)(x)
    slope = float((along(x + step) - along(x - step)) / 2)
    assert slope == pytest.approx(float((jax.grad(along)(x) * step).sum()), rel=2e-2)


def test_large_windows_have_one_pixel_each_with_the_gradient():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(1, 25, 24, 2)), jnp.float32)
    gradient = np.asarray(jax.jit(jax.grad(lambda x: max_pool(x, (12, 12)).sum()))(x))
    assert (gradient == 1).sum() == gradient.sum() == 2 * 2 * 2
    assert np.asarray(x)[gradient == 1].sum() == pytest.approx(float(max_pool(x, (12, 12)).sum()))


def test_a_pixel_that_is_not_a_number_is_not_hidden():
    x = jnp.arange(16.0).reshape(1, 4, 4, 1).at[0, 0, 1, 0].set(jnp.nan)
    for case in (((2, 2),), ((3, 3), (2, 2), 1)):
        assert jnp.isnan(max_pool(x, *case)[0, 0, 0, 0])
        assert jnp.isnan(jax.vjp(lambda x, case=case: max_pool(x, *case), x)[0][0, 0, 0, 0])


def test_global_mean():
    np.testing.assert_allclose(global_mean_pool(jnp.asarray(X)), X.mean((1, 2)), rtol=1e-5, atol=1e-6)


def test_half_precision_in_and_out():
    x = jnp.asarray(X, jnp.bfloat16)
    for y in (max_pool(x, (2, 2)), mean_pool(x, (2, 2)), max_pool(x, (3, 3), (2, 2), 1), global_mean_pool(x)):
        assert y.dtype == jnp.bfloat16
    # A running sum in bfloat16 stops at 256.
    assert global_mean_pool(jnp.ones((1, 64, 64, 1), jnp.bfloat16))[0, 0] == 1


@pytest.mark.parametrize("pool", [max_pool, mean_pool])
def test_windows_that_do_not_fit_are_refused(pool):
    with pytest.raises(UserError, match=r"8x8 pixels does not fit into maps of 7x8"):
        pool(jnp.asarray(X), (8, 8))
    with pytest.raises(UserError, match=r"padding 2 is more than half"):
        pool(jnp.asarray(X), (3, 3), (2, 2), 2)
