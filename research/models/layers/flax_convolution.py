"""The convolutions of a user's own Flax modules, computed on a processor as those of this framework.

``nnx.Conv`` calls ``jax.lax.conv_general_dilated``, of whose gradients XLA makes slow loops there (`correlation`), some
thirty times as slow as the same update on its own. It also takes another function in its place, so it is given one. On
accelerators, for inputs dilated (``input_dilation``) and beyond three axes of space everything stays as it is.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from research.context import Context
from research.models.layers.correlation import Ends, Pair, correlate, has_channels_last, padded, reaches, shifted

MOST_PIXELS = 64
"""Of a window that is taken apart; larger ones would take longer to compile than they save."""

FEW_GROUPS = 8
"""Up to so many groups of several channels each are a convolution of its own, which XLA computes faster."""

WIDE = jnp.float32
"""Type in which parts are summed up, as within XLA's own convolution; rounded to that of the maps at the end."""

Sizes = tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class ProcessorConvolution:
    """What stands in an ``nnx.Conv`` for ``jax.lax.conv_general_dilated``. A value: equal layers stay equal.

    Attributes:
        stacked: see `research.context.Context`.
    """

    stacked: bool = False

    def __call__(
        self,
        x: Float[Array, "B *space C"],
        kernel: Float[Array, "*window c D"],
        window_strides: Sizes,
        padding: Any,
        lhs_dilation: Sizes | None = None,
        rhs_dilation: Sizes | None = None,
        dimension_numbers: Any = None,
        feature_group_count: int = 1,
        **more: Any,
    ) -> Float[Array, "B *places D"]:
        """As there; what has no form of its own here goes there.

        Args:
            x, kernel, window_strides, padding, lhs_dilation, rhs_dilation, dimension_numbers, feature_group_count: see
                there; ``c`` is the number of channels in each of the groups.
            more: its other arguments.
        """
        known = {"dimension_numbers": dimension_numbers, "feature_group_count": feature_group_count}
        strides = tuple(window_strides)
        spread = tuple(rhs_dilation or (1,) * len(strides))
        numbers = jax.lax.conv_dimension_numbers(x.shape, kernel.shape, dimension_numbers)
        plain = has_channels_last(numbers) and all(step == 1 for step in lhs_dilation or ()) and _plain(x, kernel, more)
        window = kernel.shape[:-2]
        ends = _ends(x.shape[1:-1], reaches(window, spread), strides, padding) if plain else None
        depthwise = feature_group_count > 1 and kernel.shape[-2] == 1
        if ends is None or (depthwise and math.prod(window) > MOST_PIXELS):
            return jax.lax.conv_general_dilated(
                x, kernel, strides, padding, lhs_dilation, rhs_dilation, **known, **more
            )
        plane = functools.partial(_plane, groups=feature_group_count, stacked=self.stacked)
        if len(strides) == 1:
            return plane(x[:, None], kernel[None], (1, *strides), ((0, 0), *ends), (1, *spread))[:, 0]
        if len(strides) == 2:
            return plane(x, kernel, strides, ends, spread)
        return _in_depth(plane, x.astype(WIDE), kernel.astype(WIDE), strides, ends, spread).astype(x.dtype)


def lower_convolutions(module: nnx.Module, context: Context) -> None:
    """Let each ``nnx.Conv`` within a module compute as suits a processor, but those that were given a function already.

    Args:
        module: changed in place; of its state nothing.
        context: what the pass knows of the device.
    """
    if context.platform != "cpu":
        return
    for _, node in nnx.iter_graph(module):
        if isinstance(node, nnx.Conv) and node.conv_general_dilated is jax.lax.conv_general_dilated:
            node.conv_general_dilated = ProcessorConvolution(context.stacked)


def _plain(x: Array, kernel: Array, more: dict[str, Any]) -> bool:
    """Whether there are one to three axes of space, one type, and nothing else is asked for."""
    kinds = (None, x.dtype)
    asked = more.get("batch_group_count", 1) != 1 or more.get("out_sharding") is not None
    return 3 <= x.ndim <= 5 and x.dtype == kernel.dtype and more.get("preferred_element_type") in kinds and not asked


def _ends(size: Sizes, reach: Sizes, strides: Sizes, padding: Any) -> Ends | None:
    """Zeros at both ends of each axis; None where the window does not fit."""
    if isinstance(padding, str):
        padding = jax.lax.padtype_to_pads(size, reach, strides, padding)
    ends = tuple((int(before), int(behind)) for before, behind in padding)
    fits = all(long + sum(both) >= least for long, both, least in zip(size, ends, reach, strict=True))
    return ends if fits else None


def _in_depth(plane: Any, x: Array, kernel: Array, strides: Sizes, ends: Ends, spread: Sizes) -> Array:
    """Of volumes ``[B, Z, H, W, C]``: for each layer of the kernel the planes that it meets, summed over its layers."""
    x = jax.lax.pad(x, jnp.zeros((), x.dtype), ((0, 0, 0), (*ends[0], 0), *((0, 0, 0),) * 3))
    last = (x.shape[1] - reaches(kernel.shape[:1], spread[:1])[0]) // strides[0] * strides[0]
    total: Any = 0
    for number, layer in enumerate(kernel):
        start = number * spread[0]
        met = x[:, start : start + last + 1 : strides[0]]
        found = plane(met.reshape(-1, *met.shape[2:]), layer, strides[1:], ends[1:], spread[1:])
        total += found.reshape(*met.shape[:2], *found.shape[1:])
    return total


def _plane(
    x: Float[Array, "B H W C"],
    kernel: Float[Array, "R S c D"],
    strides: Sizes,
    ends: Ends,
    spread: Sizes,
    groups: int,
    stacked: bool,
) -> Float[Array, "B h w D"]:
    step, gap = (strides[0], strides[1]), (spread[0], spread[1])
    context = Context(platform="cpu", stacked=stacked)
    if groups == 1:
        return correlate(x, kernel, step, ends, context, gap)
    rows, columns, channels, outputs = kernel.shape
    if channels == 1:
        numbers = kernel.reshape(rows, columns, groups, -1).astype(WIDE)
        found: Any = _depthwise(padded(x, ends).astype(WIDE), numbers, step, gap)
        return found.reshape(*found.shape[:3], outputs).astype(x.dtype)
    if groups <= FEW_GROUPS:
        each = zip(jnp.split(x, groups, axis=-1), jnp.split(kernel, groups, axis=-1), strict=True)
        return jnp.concatenate([correlate(x, kernel, step, ends, context, gap) for x, kernel in each], axis=-1)
    views = shifted(padded(x, ends), (rows, columns), step, gap)
    seen = jnp.stack([view.reshape(*view.shape[:3], groups, channels) for view in views], axis=3)
    found = jnp.einsum("bhwpgc,pcgd->bhwgd", seen, kernel.reshape(len(views), channels, groups, -1))
    return found.reshape(*found.shape[:3], outputs)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _depthwise(
    x: Float[Array, "B H W C"], kernel: Float[Array, "R S C m"], strides: Pair, spread: Pair
) -> Float[Array, "B h w C m"]:
    """What the pixels of a window see, each times ``m`` numbers of each channel, summed up; keeps no view."""
    return _summed(x, kernel, strides, spread)


def _summed(x: Array, kernel: Array, strides: Pair, spread: Pair) -> Array:
    views = shifted(x, (kernel.shape[0], kernel.shape[1]), strides, spread)
    numbers = kernel.reshape(len(views), 1, 1, 1, *kernel.shape[2:])
    return functools.reduce(jnp.add, [view[..., None] * part for view, part in zip(views, numbers, strict=True)])


def _forward(x: Array, kernel: Array, strides: Pair, spread: Pair) -> tuple[Array, tuple[Array, Array]]:
    return _summed(x, kernel, strides, spread), (x, kernel)


def _backward(strides: Pair, spread: Pair, kept: tuple[Array, Array], gradient: Array) -> tuple[Array, Array]:
    x, kernel = kept
    (by_x,) = jax.linear_transpose(lambda x: _summed(x, kernel, strides, spread), x)(gradient)
    seen = [(size - 1) * step + 1 for size, step in zip(gradient.shape[1:3], strides, strict=True)]

    def of_pixel(number: Array) -> Array:
        start = number // kernel.shape[1] * spread[0], number % kernel.shape[1] * spread[1]
        view = jax.lax.dynamic_slice(x, (0, *start, 0), (x.shape[0], *seen, x.shape[3]))
        return (view[:, :: strides[0], :: strides[1], :, None] * gradient).sum((0, 1, 2))

    of_pixels = jax.lax.map(of_pixel, jnp.arange(kernel.shape[0] * kernel.shape[1]))
    return by_x, of_pixels.reshape(kernel.shape)


_depthwise.defvjp(_forward, _backward)
