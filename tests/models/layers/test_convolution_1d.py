"""Convolution and pooling of series: their definition, two lowerings that agree, and blindness to what lies behind."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy.signal import correlate

from research.context import Context
from research.models import Forward
from research.models.layers import Convolution1D, max_pool_1d, mean_pool_1d, strided

RNG = np.random.default_rng(0)
X = RNG.normal(size=(3, 23, 2)).astype(np.float32)
LENGTHS = (23, 16, 1)
VALID = np.arange(23)[None, :] < np.array(LENGTHS)[:, None]
CPU, GPU = Forward(context=Context(platform="cpu")), Forward(context=Context(platform="gpu"))
CASES = [(3, 1), (8, 1), (12, 1), (1, 1), (5, 2), (1, 2), (4, 3), (12, 2)]
"""Width and stride; patches of 12 steps are put together in two goes where the stride is 1."""
IDS = [f"width {width}, stride {stride}" for width, stride in CASES]


def layer(width, stride, **options):
    return Convolution1D(2, 3, width=width, stride=stride, rngs=nnx.Rngs(0), **options)


@pytest.fixture(scope="module")
def both():
    """Values, and gradients to series and kernel, of every case in both lowerings, from one compiled program."""

    def values_and_gradients(case, kernel, forward):
        def total(kernel, x):
            module = layer(*case)
            module.kernel.set_value(kernel)
            y = module(x, jnp.asarray(VALID), forward)
            y = jnp.where(strided(jnp.asarray(VALID), case[1])[..., None], y, 0)
            return jnp.square(y + 1).sum(), y

        (_, y), gradients = jax.value_and_grad(total, (0, 1), has_aux=True)(kernel, jnp.asarray(X))
        return y, *gradients

    @jax.jit
    def run(kernels):
        pairs = list(zip(CASES, kernels, strict=True))
        return [[values_and_gradients(case, kernel, forward) for case, kernel in pairs] for forward in (CPU, GPU)]

    kernels = [RNG.normal(size=(width, 2, 3)).astype(np.float32) for width, _ in CASES]
    return kernels, *run(kernels)


@pytest.mark.parametrize("number", range(len(CASES)), ids=IDS)
def test_lowerings_agree(both, number):
    _, patches, own = both
    for left, right in zip(patches[number], own[number], strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("number", range(len(CASES)), ids=IDS)
def test_equals_scipy_on_each_series_alone(both, number):
    """Of a series with n steps ceil(n / stride) outputs count, and they are those of the series without padding."""
    kernels, patches, _ = both
    (width, stride), kernel = CASES[number], kernels[number]
    found, gradient, to_x = (np.asarray(part) for part in (patches[number][0], *patches[number][1:]))
    assert gradient.shape == kernel.shape
    for row, length in enumerate(LENGTHS):
        padded = np.pad(X[row, :length], (((width - 1) // 2, width), (0, 0)))
        every = [sum(correlate(padded[:, c], kernel[:, c, d], "valid") for c in range(2)) for d in range(3)]
        expected = np.stack(every, axis=-1)[:length:stride]
        np.testing.assert_allclose(found[row, : -(-length // stride)], expected, rtol=1e-4, atol=1e-4)
        np.testing.assert_array_equal(to_x[row, length:], 0)


def test_the_device_chooses_the_lowering():
    module = layer(3, 1)
    valid = jnp.asarray(VALID)
    texts = [str(jax.make_jaxpr(lambda x, forward=forward: module(x, valid, forward))(X)) for forward in (CPU, GPU)]
    assert ["conv_general_dilated" in text for text in texts] == [False, True]


def test_bias_and_precision():
    module = layer(1, 1)
    module.bias[...] = jnp.arange(3.0)
    every = jnp.ones((3, 23), bool)
    expected = X @ np.asarray(module.kernel[0]) + np.arange(3)
    np.testing.assert_allclose(module(jnp.asarray(X), every, CPU), expected, rtol=1e-5, atol=1e-5)
    assert layer(1, 1, bias=False).bias is None
    for forward in (CPU, GPU):
        half = jax.eval_shape(lambda x, forward=forward: module(x, every, forward), X.astype(jnp.bfloat16))
        assert half.dtype == jnp.bfloat16


def test_kernels_start_by_what_they_read():
    kernel = Convolution1D(16, 64, width=15, rngs=nnx.Rngs(0)).kernel[...]
    np.testing.assert_allclose(kernel.std(), np.sqrt(2 / (15 * 16)), rtol=0.05)


POOLINGS = [(3, 1), (3, 2), (2, 2), (5, 2)]


@pytest.mark.parametrize(
    ("pool", "reduce"), [(max_pool_1d, np.nanmax), (mean_pool_1d, np.nanmean)], ids=["max", "mean"]
)
def test_pooling_equals_its_definition_on_each_series_alone(pool, reduce):
    @jax.jit
    def run(x, valid):
        def total(x, case):
            y = pool(x, valid, *case)
            return jnp.where(strided(valid, case[1])[..., None], y, 0).sum(), y

        return [jax.value_and_grad(total, has_aux=True)(x, case) for case in POOLINGS]

    # All values are negative: zeros behind the end must not be the greatest.
    for (width, stride), ((_, found), gradient) in zip(POOLINGS, run(X - 9, VALID), strict=True):
        for row, length in enumerate(LENGTHS):
            before = (width - 1) // 2
            padded = np.pad(X[row, :length] - 9, ((before, width), (0, 0)), constant_values=np.nan)
            expected = [reduce(padded[start : start + width], axis=0) for start in range(0, length, stride)]
            np.testing.assert_allclose(found[row, : len(expected)], expected, rtol=1e-5)
            np.testing.assert_array_equal(gradient[row, length:], 0)
            # Each output is a mean of steps, or one of them.
            np.testing.assert_allclose(gradient[row].sum(0), len(expected), rtol=1e-5)


def test_pooling_in_half_precision():
    for pool in (max_pool_1d, mean_pool_1d):
        half = jax.eval_shape(lambda x, pool=pool: pool(x, jnp.asarray(VALID), 3, 2), X.astype(jnp.bfloat16))
        assert half.dtype == jnp.bfloat16
