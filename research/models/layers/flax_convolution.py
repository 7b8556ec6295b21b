"""The convolutions of a user's own Flax modules, computed on a processor as those of this framework.

``nnx.Conv`` calls ``jax.lax.conv_general_dilated``, of whose gradients XLA makes slow loops there (`correlation`), some
thirty times as slow as the same update on its own. It also takes another function in its place, so it is given one. On
accelerators, for inputs dilated (``input_dilation``) and beyond three axes of space everything stays as it is.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from research.context import Context
from research.models.layers.correlation import Ends, correlate, padded, reaches, shifted

LAX = jax.lax.conv_general_dilated


def lower_convolutions(module: nnx.Module, context: Context) -> None:
    """Let each ``nnx.Conv`` within a module compute by `convolve`, but those that were given a function already.

    Args:
        module: changed in place; of its state nothing.
        context: what the pass knows of the device.
    """
    if context.platform != "cpu":
        return
    for _, node in nnx.iter_graph(module):
        if isinstance(node, nnx.Conv) and node.conv_general_dilated is LAX:
            node.conv_general_dilated = functools.partial(convolve, context)


def convolve(
    context: Context,
    x: Float[Array, "B *space C"],
    kernel: Float[Array, "*window c D"],
    window_strides: tuple[int, ...],
    padding: Any,
    lhs_dilation: tuple[int, ...] | None = None,
    rhs_dilation: tuple[int, ...] | None = None,
    dimension_numbers: Any = None,
    feature_group_count: int = 1,
    **more: Any,
) -> Float[Array, "B *places D"]:
    """``jax.lax.conv_general_dilated`` of maps with their channels last, one to three axes of space.

    Args:
        context: what the pass knows of the device.
        x, kernel, window_strides, padding, lhs_dilation, rhs_dilation, dimension_numbers, feature_group_count: see
            there; ``c`` is the number of channels in each of the groups.
        more: its other arguments.
    """
    axes, window = x.ndim - 2, kernel.shape[:-2]
    strides, spread = tuple(window_strides), tuple(rhs_dilation or (1,) * axes)
    plain = 1 <= axes <= 3 and all(step == 1 for step in lhs_dilation or ()) and x.dtype == kernel.dtype
    asked = any(more.get(name) is not None for name in ("preferred_element_type", "out_sharding"))
    ends = _ends(x.shape[1:-1], reaches(window, spread), strides, padding) if plain and not asked else None
    if ends is None:
        known = {"dimension_numbers": dimension_numbers, "feature_group_count": feature_group_count}
        return LAX(x, kernel, window_strides, padding, lhs_dilation, rhs_dilation, **known, **more)
    plane = functools.partial(_plane, groups=feature_group_count, context=context)
    if axes == 1:
        return plane(x[:, None], kernel[None], (1, *strides), ((0, 0), *ends), (1, *spread))[:, 0]
    if axes == 2:
        return plane(x, kernel, strides, ends, spread)
    return _in_depth(plane, x, kernel, strides, ends, spread)


def _ends(size: tuple[int, ...], reach: tuple[int, ...], strides: tuple[int, ...], padding: Any) -> Ends | None:
    """Zeros at both ends of each axis; None where the window does not fit."""
    if isinstance(padding, str):
        padding = jax.lax.padtype_to_pads(size, reach, strides, padding)
    ends = tuple((int(before), int(behind)) for before, behind in padding)
    fits = all(long + sum(both) >= least for long, both, least in zip(size, ends, reach, strict=True))
    return ends if fits else None


def _in_depth(
    plane: Any, x: Array, kernel: Array, strides: tuple[int, ...], ends: Ends, spread: tuple[int, ...]
) -> Float[Array, "B d h w D"]:
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
    strides: tuple[int, ...],
    ends: Ends,
    spread: tuple[int, ...],
    groups: int,
    context: Context,
) -> Float[Array, "B h w D"]:
    step, gap = (strides[0], strides[1]), (spread[0], spread[1])
    if groups == 1:
        return correlate(x, kernel, step, ends, context, gap)
    if kernel.shape[2] > 1:
        maps, kernels = jnp.split(x, groups, axis=-1), jnp.split(kernel, groups, axis=-1)
        each = zip(maps, kernels, strict=True)
        return jnp.concatenate([correlate(x, kernel, step, ends, context, gap) for x, kernel in each], axis=-1)
    # One channel in each group: what the pixels of the window see, each times a number for each channel, summed up.
    views = shifted(padded(x, ends), (kernel.shape[0], kernel.shape[1]), step, gap)
    numbers = kernel.reshape(len(views), 1, 1, 1, groups, -1)
    found: Any = sum(view[..., None] * number for view, number in zip(views, numbers, strict=True))
    return found.reshape(*found.shape[:3], -1)
