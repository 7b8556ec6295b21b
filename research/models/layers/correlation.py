"""Cross-correlation of maps with kernels, and the seam in which its lowering is chosen by the device.

On accelerators it is the vendor's convolution, gradients and all. On a processor XLA has one fast convolution, whose
form is narrow: rows of the batch first, channels last, no kernel read backwards. What JAX derives for gradients has
another form, for which XLA falls back, within a loop, to one that takes up to two hundred times as long. So here the
gradients are written as convolutions of the fast form; where the kernel moves by more than one pixel, that of the maps
goes by products of patches, which were faster there, as they were for one or two channels. From few channels to few
others neighbouring outputs are computed at once: a pixel of few channels is less than a vector of the processor, and
what it takes to lay out a window is shared by them.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from research.context import Context
from research.models.layers.products import product

FEW_CHANNELS = 4
"""Up to so many channels a product of patches is faster than a convolution of one output at a time."""

FEW_SEEN = 256
"""Up to so many numbers are seen by a window of few channels for that; patches of more take too long to lay out."""

FEW_PAIRS = 192
"""Up to so many pairs of channels, one of the maps and one of the output, neighbouring outputs are computed at once."""

LEAST_CHANNELS = 3
"""Of the maps, for that; with fewer a product of patches is as fast or faster."""

AT_ONCE = (2, 3)
"""How many neighbours: the first number that divides the outputs of a row."""

LAYOUT = ("NHWC", "HWIO", "NHWC")
Pair = tuple[int, int]
"""Downwards and to the right."""

Ends = tuple[tuple[int, int], ...]
"""Rows above and below, columns left and right; negative: taken away."""

NEIGHBOURS = (1, 1)
"""How far apart the pixels of a kernel are that is not dilated."""


def correlate(
    x: Float[Array, "B H W C"],
    kernel: Float[Array, "R S C D"],
    strides: Pair,
    around: Ends,
    context: Context,
    spread: Pair = NEIGHBOURS,
) -> Float[Array, "B h w D"]:
    """Cross-correlation, lowered as suits the kind of device.

    Args:
        x: maps.
        kernel: one kernel of R by S pixels per pair of channels.
        strides: pixels between neighbouring positions.
        around: zeros added to the maps.
        context: what the pass knows besides.
        spread: pixels from one of the kernel's to the next; 1: neighbours.
    """
    if context.platform != "cpu":
        return jax.lax.conv_general_dilated(x, kernel, strides, around, rhs_dilation=spread, dimension_numbers=LAYOUT)
    if kernel.shape[:2] == (1, 1) and around == ((0, 0), (0, 0)):
        return product(shifted(x, (1, 1), strides)[0], kernel[0, 0], context.platform)
    if context.stacked:
        # Convolutions of several kernels at once are slower still than their patches.
        return _by_patches(x, kernel, strides, around, spread)
    return _fast(x, kernel, strides, around, spread)


def shifted(
    x: Float[Array, "B H W C"], window: Pair, strides: Pair, spread: Pair = NEIGHBOURS
) -> list[Float[Array, "B h w C"]]:
    """For each pixel of a window, row by row, what it sees as the window moves over the maps."""
    rows, columns = (
        (size - reach) // step * step + 1
        for size, reach, step in zip(x.shape[1:3], reaches(window, spread), strides, strict=True)
    )
    return [
        jax.lax.slice(x, (0, i, j, 0), (x.shape[0], i + rows, j + columns, x.shape[3]), (1, *strides, 1))
        for i in range(0, window[0] * spread[0], spread[0])
        for j in range(0, window[1] * spread[1], spread[1])
    ]


def has_channels_last(numbers: Any) -> bool:
    """Whether the maps of a convolution have their channels last, and its kernel inputs before outputs at the end.

    Args:
        numbers: its `jax.lax.ConvDimensionNumbers`.
    """
    rank = len(numbers.lhs_spec)
    last, kernel = (0, rank - 1, *range(1, rank - 1)), (rank - 1, rank - 2, *range(rank - 2))
    return (numbers.lhs_spec, numbers.rhs_spec, numbers.out_spec) == (last, kernel, last)


def reaches(window: tuple[int, ...], spread: tuple[int, ...]) -> tuple[int, ...]:
    """Pixels from the first to the last of a window, along each axis."""
    return tuple((size - 1) * step + 1 for size, step in zip(window, spread, strict=True))


def _by_patches(
    x: Float[Array, "B H W C"], kernel: Float[Array, "R S C D"], strides: Pair, around: Ends, spread: Pair
) -> Float[Array, "B h w D"]:
    height, width, channels, outputs = kernel.shape
    patches = _patches(x, (height, width), strides, around, spread)
    return jax.lax.dot_general(patches, kernel.reshape(height * width * channels, outputs), (((3,), (0,)), ((), ())))


def _patches(
    x: Float[Array, "B H W C"], window: Pair, strides: Pair, around: Ends, spread: Pair
) -> Float[Array, "B h w E"]:
    """All pixels of each window side by side."""
    return jnp.concatenate(shifted(padded(x, around), window, strides, spread), axis=-1)


def padded(x: Float[Array, "B H W C"], around: Ends) -> Float[Array, "B h w C"]:
    """Maps with zeros around them."""
    ends = ((0, 0, 0), *((before, behind, 0) for before, behind in around), (0, 0, 0))
    return jax.lax.pad(x, jnp.zeros((), x.dtype), ends)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _fast(x: Array, kernel: Array, strides: Pair, around: Ends, spread: Pair) -> Array:
    count = _at_once(x, kernel, strides, around, spread)
    if count > 1:
        return neighbours_at_once(x, kernel, around, count)
    if kernel.shape[2] <= FEW_CHANNELS and math.prod(kernel.shape[:3]) <= FEW_SEEN:
        return _by_patches(x, kernel, strides, around, spread)
    return _convolution(x, kernel, strides, around, spread)


def _at_once(x: Array, kernel: Array, strides: Pair, around: Ends, spread: Pair) -> int:
    """How many neighbouring outputs are computed at once; 1 where that is not faster."""
    width, channels, outputs = kernel.shape[1:]
    few = width > 1 and channels >= LEAST_CHANNELS and channels * outputs <= FEW_PAIRS
    if not few or strides != NEIGHBOURS or spread != NEIGHBOURS:
        return 1
    row = x.shape[2] + sum(around[1]) - width + 1
    return next((count for count in AT_ONCE if row % count == 0), 1)


@functools.partial(jax.jit, static_argnums=(2, 3))
def neighbours_at_once(
    x: Float[Array, "B H W C"], kernel: Float[Array, "R S C D"], around: Ends, count: int
) -> Float[Array, "B h w D"]:
    """Cross-correlation by windows that move over ``count`` pixels, from each of which come the outputs of all of them.

    The kernel is there ``count`` times, one pixel further each, with zeros beside it; so two neighbours of a kernel of
    three pixels take four thirds of the multiplications, ``(S + count - 1) / S``. A pixel that is not finite makes the
    outputs beside those that see it NaN too. `research.training.flops` knows this function by its name, and leaves
    multiplications by those zeros out.

    Args:
        x: maps.
        kernel: whose pixels are neighbours.
        around: zeros added to the maps.
        count: divides the outputs of a row.
    """
    moved = [jnp.pad(kernel, ((0, 0), (left, count - 1 - left), (0, 0), (0, 0))) for left in range(count)]
    y = _convolution(x, jnp.concatenate(moved, axis=-1), (1, count), around, NEIGHBOURS)
    return y.reshape(*y.shape[:2], y.shape[2] * count, kernel.shape[3])


def _convolution(x: Array, kernel: Array, strides: Pair, around: Ends, spread: Pair) -> Array:
    """Where pixels are taken away at an end this comes first: XLA would read numbers from before the array."""
    if min(min(ends) for ends in around) < 0:
        x = padded(x, tuple((min(before, 0), min(behind, 0)) for before, behind in around))
        around = tuple((max(before, 0), max(behind, 0)) for before, behind in around)
    return jax.lax.conv_general_dilated(
        x, kernel, strides, around, rhs_dilation=spread, dimension_numbers=LAYOUT, preferred_element_type=x.dtype
    )


def _forward(x: Array, kernel: Array, strides: Pair, around: Ends, spread: Pair) -> tuple[Array, tuple[Array, Array]]:
    # What makes the maps is not to be computed again inside the loop that turns them round for the gradient.
    x = jax.lax.optimization_barrier(x)
    return _fast(x, kernel, strides, around, spread), (x, kernel)


def _backward(
    strides: Pair, around: Ends, spread: Pair, kept: tuple[Array, Array], gradient: Array
) -> tuple[Array, Array]:
    x, kernel = kept
    gradient = jax.lax.optimization_barrier(gradient)
    by_x = _by_columns if max(strides) > 1 else _by_reversed
    of_x = by_x(x, kernel, strides, around, spread, gradient)
    return of_x, _of_kernel(x, kernel, strides, around, spread, gradient)


def _by_reversed(x: Array, kernel: Array, strides: Pair, around: Ends, spread: Pair, gradient: Array) -> Array:
    """Gradient of the maps for strides of 1: each pixel was seen by the outputs around it, by the kernel backwards."""
    ends = tuple(
        (reach - 1 - before, size + before - outputs)
        for reach, (before, _), size, outputs in zip(
            reaches(kernel.shape[:2], spread), around, x.shape[1:3], gradient.shape[1:3], strict=True
        )
    )
    return _fast(gradient, kernel[::-1, ::-1].swapaxes(2, 3), strides, ends, spread)


def _by_columns(x: Array, kernel: Array, strides: Pair, around: Ends, spread: Pair, gradient: Array) -> Array:
    """Gradient of the maps by that of their patches, each pixel of which is put back where it came from."""
    (height, width), outputs = kernel.shape[:2], kernel.shape[3]
    of_patches = jax.lax.dot_general(gradient, kernel.reshape(-1, outputs), (((3,), (1,)), ((), ())))
    (by_x,) = jax.linear_transpose(lambda x: _patches(x, (height, width), strides, around, spread), x)(of_patches)
    return by_x


def _of_kernel(x: Array, kernel: Array, strides: Pair, around: Ends, spread: Pair, gradient: Array) -> Array:
    """Gradient of the kernel: channels take the place of the batch, rows of the batch that of the channels."""
    ends = tuple(
        (before, (outputs - 1) * step + reach - size - before)
        for (before, _), outputs, step, reach, size in zip(
            around, gradient.shape[1:3], strides, reaches(kernel.shape[:2], spread), x.shape[1:3], strict=True
        )
    )
    turned = _convolution(x.transpose(3, 1, 2, 0), gradient.transpose(1, 2, 0, 3), spread, ends, strides)
    return turned.transpose(1, 2, 0, 3)


_fast.defvjp(_forward, _backward)
