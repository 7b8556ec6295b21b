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

from research import keys
from research.context import Context
from research.models import Forward, OwnModule, functional
from research.models.layers.flax_convolution import ProcessorConvolution, lower_convolutions
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


@settings(max_examples=8, deadline=None)
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
        {"preferred_element_type": jnp.float32, "dtype": jnp.float16},
        {"kernel_dilation": 6, "padding": "VALID"},
    ],
)
def test_other_forms_stay_those_of_flax(options: Any) -> None:
    layer, x = nnx.Conv(5, 4, (3, 3), rngs=nnx.Rngs(0), use_bias=False, **options), jnp.ones((2, 6, 6, 5))
    traced = [str(jax.make_jaxpr(lambda x, layer=layer: layer(x))(x))]
    lower_convolutions(layer, CPU)
    assert isinstance(layer.conv_general_dilated, ProcessorConvolution)
    assert [str(jax.make_jaxpr(lambda x: layer(x))(x))] == traced


def test_a_layer_of_another_layout_computes_what_it_says() -> None:
    class First(nnx.Conv):
        """With the channels of its maps first."""

        def __call__(self, x: Any) -> Any:
            layout = ("NCHW", "HWIO", "NCHW")
            return self.conv_general_dilated(x, self.kernel[...], (1, 1), "SAME", dimension_numbers=layout)

    layer, x = First(6, 6, (3, 3), rngs=nnx.Rngs(0)), jax.random.normal(jax.random.key(4), (2, 6, 6, 6))
    asked = layer(x)
    lower_convolutions(layer, CPU)
    np.testing.assert_array_equal(layer(x), asked)


@pytest.mark.parametrize(("window", "groups"), [((7, 7), 8), ((5, 3, 3), 1), ((3, 3), 1), ((3, 3), 16), ((3,), 2)])
def test_half_precision_is_rounded_once(window: Any, groups: int) -> None:
    """As near to what float32 gives as Flax's own."""
    channels = 32 if groups == 16 else 8
    layer = nnx.Conv(channels, channels, window, feature_group_count=groups, dtype=jnp.bfloat16, rngs=nnx.Rngs(0))
    x = jax.random.normal(jax.random.key(5), (2, *(9,) * len(window), channels)).astype(jnp.bfloat16)
    exact = layer.kernel[...].astype(jnp.bfloat16).astype(jnp.float32), x.astype(jnp.float32)
    wide = nnx.clone(layer)
    wide.dtype, wide.kernel = jnp.float32, nnx.Param(exact[0])
    asked, plain = wide(exact[1]), layer(x)
    lower_convolutions(layer, CPU)
    found = layer(x)
    assert found.dtype == plain.dtype == jnp.bfloat16
    wrong, allowed = (float(jnp.abs(each.astype(jnp.float32) - asked).mean()) for each in (found, plain))
    assert wrong < 1.2 * allowed


@pytest.mark.parametrize("stacked", [False, True])
@pytest.mark.parametrize("groups", [1, 6, 2])
def test_several_layers_at_once(stacked: bool, groups: int) -> None:
    """Layers that are alike stay so: their parameters can be stacked, for `jax.vmap` or a scan over them."""
    layers = [nnx.Conv(6, 6, (3, 3), feature_group_count=groups, rngs=nnx.Rngs(seed)) for seed in range(3)]
    x = jax.random.normal(jax.random.key(6), (2, 7, 7, 6))
    asked = jnp.stack([layer(x) for layer in layers])
    for layer in layers:
        lower_convolutions(layer, Context(platform="cpu", stacked=stacked))
    graphs, params = zip(*map(nnx.split, layers), strict=True)
    assert len(set(graphs)) == 1
    together = jax.tree.map(lambda *each: jnp.stack(each), *params)
    found = jax.vmap(lambda params: nnx.merge(graphs[0], params)(x))(together)
    np.testing.assert_allclose(found, asked, rtol=0, atol=1e-5)


class Films(nnx.Module):
    """Of pictures, in the two halves that are explained."""

    def __init__(self, in_features: int, outputs: int, *, rngs: nnx.Rngs) -> None:
        self.convolution = nnx.Conv(in_features, 4, (3, 3), rngs=rngs)
        self.last = nnx.Linear(4, outputs, rngs=rngs)

    def features(self, x: Any) -> Any:
        return nnx.relu(self.convolution(x))

    def head(self, maps: Any) -> Any:
        return self.last(maps.mean((1, 2)))

    def __call__(self, x: Any) -> Any:
        return self.head(self.features(x))


@pytest.mark.parametrize("platform", ["cpu", "reference"])
def test_models_compute_so_in_training_and_where_they_are_explained(platform: str) -> None:
    model, x = OwnModule(module=Films), jnp.ones((2, 6, 6, 5))
    params, rest = functional.initialise(
        model, jax.ShapeDtypeStruct(x.shape[1:], x.dtype), 2, keys.stream(0, "test", 0)
    )
    forward = Forward(context=Context(platform=platform))

    def trained(params: Any) -> Any:
        return functional.apply(model, params, rest, x, 2, forward, keys.stream(0, "test", 0))[0].sum()

    def explained(x: Any) -> Any:
        parts = functional.parts(model, params, rest, x, 2, platform)
        assert parts.features is not None
        return parts.whole(x).sum() + parts.features(x).sum()

    for function, argument in ((trained, params), (explained, x)):
        assert (turned_flops(jax.make_jaxpr(jax.grad(function))(argument)) > 0) == (platform == "reference")


def test_a_function_of_the_users_own_and_other_devices_are_left_alone() -> None:
    def own(*given: Any, **more: Any) -> Any:
        return jax.lax.conv_general_dilated(*given, **more)

    layer = nnx.Sequential(nnx.Conv(3, 4, (3,), rngs=nnx.Rngs(0), conv_general_dilated=own), nnx.relu)
    lower_convolutions(layer, CPU)
    assert layer.layers[0].conv_general_dilated is own
    plain = nnx.Conv(3, 4, (3,), rngs=nnx.Rngs(0))
    lower_convolutions(plain, OTHER)
    assert plain.conv_general_dilated is jax.lax.conv_general_dilated
