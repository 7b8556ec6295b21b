"""``nnx.Conv`` computes on a processor what Flax computes, values and gradients, and by no slow convolution."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

from research.context import Context
from research.models.layers.flax_convolution import lower_convolutions
from research.training.flops import turned_flops

CPU, OTHER = Context(platform="cpu"), Context(platform="gpu")


def both(layer: nnx.Conv, context: Context, x: Any) -> Any:
    """What is computed, and gradients of parameters and maps; and the FLOPs of turned convolutions."""
    graph, params = nnx.split(layer)

    def run(params: Any, x: Any) -> Any:
        module = nnx.merge(graph, params, copy=True)
        lower_convolutions(module, context)
        return module(x)

    def back(params: Any, x: Any) -> Any:
        y, pull = jax.vjp(run, params, x)
        return y, pull(jax.random.normal(jax.random.key(9), y.shape, y.dtype))

    traced = jax.jit(back).trace(params, x)
    return jax.tree.leaves(jax.jit(back)(params, x)), turned_flops(traced.jaxpr)


def check(layer: nnx.Conv, x: Any) -> None:
    (found, turned), (asked, turned_else) = both(layer, CPU, x), both(layer, OTHER, x)
    assert turned == 0 < turned_else
    for one, other in zip(found, asked, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-5 * max(float(jnp.abs(other).max()), 0.1))


@settings(max_examples=10, deadline=None)
@given(data=st.data())
def test_a_layer_agrees_with_flax(data: Any) -> None:
    space = data.draw(st.integers(1, 3))
    window = tuple(data.draw(st.integers(1, 3)) for _ in range(space))
    strides = tuple(data.draw(st.integers(1, 2)) for _ in range(space))
    spread = tuple(data.draw(st.integers(1, 3)) for _ in range(space))
    size = tuple(data.draw(st.integers(5, 8)) for _ in range(space))
    groups, each = data.draw(st.sampled_from([(1, 1), (1, 5), (2, 3), (4, 1)]))
    padding = data.draw(st.sampled_from(["SAME", "VALID", 1, "CIRCULAR", "REFLECT"]))
    if (1,) * space == window and padding == 1:
        padding = 0  # XLA reads numbers from before the array where there is more padding than the kernel sees
    if any((one - 1) * step + 1 > long for one, step, long in zip(window, spread, size, strict=True)):
        padding = "SAME"
    options: Any = {"strides": strides, "padding": padding, "kernel_dilation": spread, "feature_group_count": groups}
    layer = nnx.Conv(groups * each, groups * data.draw(st.integers(1, 3)), window, rngs=nnx.Rngs(0), **options)
    check(layer, jax.random.normal(jax.random.key(1), (2, *size, groups * each)))


def test_causal_and_masked_layers_and_single_examples_agree() -> None:
    series = jax.random.normal(jax.random.key(2), (2, 9, 3))
    check(nnx.Conv(3, 4, (3,), padding="CAUSAL", kernel_dilation=2, rngs=nnx.Rngs(0)), series)
    check(nnx.Conv(3, 4, (3,), mask=jnp.ones((3, 3, 4)).at[2].set(0), rngs=nnx.Rngs(0)), series)
    check(nnx.Conv(3, 4, (3, 3), rngs=nnx.Rngs(0)), jax.random.normal(jax.random.key(3), (5, 6, 3)))


@pytest.mark.parametrize(
    "options",
    [
        {"input_dilation": 2, "padding": ((1, 1), (1, 1))},
        {"preferred_element_type": jnp.float32},
        {"dtype": jnp.float16},
        {"kernel_dilation": 6, "padding": "VALID"},
    ],
)
def test_other_forms_stay_those_of_flax_or_keep_their_type(options: Any) -> None:
    layer, x = nnx.Conv(5, 4, (3, 3), rngs=nnx.Rngs(0), **options), jnp.ones((2, 6, 6, 5))
    (found, _), (asked, _) = both(layer, CPU, x), both(layer, OTHER, x)
    for one, other in zip(found, asked, strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_allclose(one, other, rtol=0, atol=4e-3 * float(jnp.abs(other).max(initial=0)))


def test_a_function_of_the_users_own_and_other_devices_are_left_alone() -> None:
    def own(*given: Any, **more: Any) -> Any:
        return jax.lax.conv_general_dilated(*given, **more)

    layer = nnx.Sequential(nnx.Conv(3, 4, (3,), rngs=nnx.Rngs(0), conv_general_dilated=own), nnx.relu)
    lower_convolutions(layer, CPU)
    assert layer.layers[0].conv_general_dilated is own
    plain = nnx.Conv(3, 4, (3,), rngs=nnx.Rngs(0))
    lower_convolutions(plain, OTHER)
    assert plain.conv_general_dilated is jax.lax.conv_general_dilated
