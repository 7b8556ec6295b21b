"""Convolution: its definition, the meaning of padding, and two lowerings that agree."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy.signal import correlate2d

from research.context import Context
from research.errors import UserError
from research.models import Forward
from research.models.layers import Convolution
from research.models.layers.convolution import output_size

RNG = np.random.default_rng(0)
X = RNG.normal(size=(2, 9, 8, 2)).astype(np.float32)
CPU, GPU = Forward(context=Context(platform="cpu")), Forward(context=Context(platform="gpu"))

CASES = [
    ((3, 3), (1, 1), "same"),
    ((3, 3), (1, 1), "valid"),
    ((3, 3), (2, 2), "same"),
    ((2, 3), (2, 1), "same"),
    ((2, 3), (1, 3), "valid"),
    ((1, 1), (1, 1), "valid"),
    ((1, 1), (2, 2), 0),
    ((1, 1), (2, 2), "same"),
    ((3, 3), (2, 2), 1),
    ((5, 4), (2, 2), 2),
]


def layer(kernel, strides, padding, **options):
    return Convolution(2, 3, kernel=kernel, strides=strides, padding=padding, rngs=nnx.Rngs(0), **options)


@pytest.fixture(scope="module")
def both():
    """Values, and gradients to images and kernel, of every case in both lowerings, from one compiled program."""

    def values_and_gradients(case, kernel, x, forward):
        def total(kernel, x):
            module = layer(*case)
            module.kernel.set_value(kernel)
            y = module(x, forward)
            return jnp.square(y + 1).sum(), y

        (_, y), gradients = jax.value_and_grad(total, (0, 1), has_aux=True)(kernel, x)
        return y, *gradients

    @jax.jit
    def run(kernels, x):
        pairs = list(zip(CASES, kernels, strict=True))
        return [[values_and_gradients(case, kernel, x, forward) for case, kernel in pairs] for forward in (CPU, GPU)]

    kernels = [RNG.normal(size=(*kernel, 2, 3)).astype(np.float32) for kernel, _, _ in CASES]
    return kernels, *run(kernels, X)


@pytest.mark.parametrize("number", range(len(CASES)), ids=[f"{k}/{s}/{p}" for k, s, p in CASES])
def test_lowerings_agree(both, number):
    _, patches, own = both
    for left, right in zip(patches[number], own[number], strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("number", range(len(CASES)), ids=[f"{k}/{s}/{p}" for k, s, p in CASES])
def test_equals_scipy(both, number):
    kernels, patches, _ = both
    size, strides, padding = CASES[number]
    if padding == "same":  # as Keras has it: the odd zero at the bottom and on the right
        total = [max((-(-n // s) - 1) * s + k - n, 0) for n, k, s in zip(X.shape[1:3], size, strides, strict=True)]
        ends = [(t // 2, t - t // 2) for t in total]
    else:
        ends = [(padding, padding)] * 2 if isinstance(padding, int) else [(0, 0)] * 2
    padded = np.pad(X, ((0, 0), *ends, (0, 0)))
    expected = [
        [sum(correlate2d(image[..., c], kernels[number][..., c, d], "valid") for c in range(2)) for d in range(3)]
        for image in padded
    ]
    expected = np.moveaxis(np.array(expected), 1, -1)[:, :: strides[0], :: strides[1]]
    np.testing.assert_allclose(patches[number][0], expected, rtol=1e-4, atol=1e-4)
    sizes = [output_size(n, k, s, padding) for n, k, s in zip(X.shape[1:3], size, strides, strict=True)]
    assert list(expected.shape[1:3]) == sizes


def test_the_device_chooses_the_lowering():
    module = layer((3, 3), (1, 1), "same")
    texts = [str(jax.make_jaxpr(lambda x, forward=forward: module(x, forward))(X)) for forward in (CPU, GPU)]
    assert ["conv_general_dilated" in text for text in texts] == [False, True]
    assert ["dot_general" in text for text in texts] == [True, False]


def test_bias():
    module = layer((1, 1), (1, 1), "valid")
    module.bias[...] = jnp.arange(3.0)
    expected = X @ np.asarray(module.kernel[0, 0]) + np.arange(3)
    np.testing.assert_allclose(module(jnp.asarray(X), CPU), expected, rtol=1e-5, atol=1e-5)
    assert layer((1, 1), (1, 1), "valid", bias=False).bias is None


@pytest.mark.parametrize("forward", [CPU, GPU], ids=["cpu", "gpu"])
def test_computes_in_the_precision_of_its_input(forward):
    module = layer((3, 3), (1, 1), "same")
    assert jax.eval_shape(lambda x: module(x, forward), X.astype(jnp.bfloat16)).dtype == jnp.bfloat16


def test_kernels_start_by_what_they_read():
    kernel = Convolution(16, 64, kernel=(3, 5), rngs=nnx.Rngs(0)).kernel[...]
    assert kernel.shape == (3, 5, 16, 64)
    np.testing.assert_allclose(kernel.std(), np.sqrt(2 / (3 * 5 * 16)), rtol=0.05)


def test_a_kernel_larger_than_the_image_is_refused():
    with pytest.raises(UserError, match=r"10x3 pixels does not fit into maps of 9x8.*'same'"):
        layer((10, 3), (1, 1), "valid")(jnp.asarray(X), CPU)
