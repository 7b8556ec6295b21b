"""Pooling of images: the greatest or the mean value within a window, and the mean of whole maps."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from research.errors import UserError
from research.models.layers.correlation import Pair, shifted

MOST_VIEWS = 16


def max_pool(
    x: Float[Array, "B H W C"], window: Pair, strides: Pair | None = None, padding: int = 0
) -> Float[Array, "B h w C"]:
    """Greatest value within each window, per channel.

    Where several pixels of a window share the greatest value, the first of them has its gradient, as in PyTorch.

    Args:
        x: images.
        window: height and width in pixels.
        strides: pixels between neighbouring windows; None: one beside the other.
        padding: pixels added at all four ends; they are never the greatest.

    Rows and columns that do not fill a window are left out, as with ``valid`` in Keras and by default in PyTorch.

    Raises:
        UserError: where no window fits.
    """
    strides = window if strides is None else strides
    _check(x, window, padding)
    return _greatest(x, window, strides, padding, x.shape)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3, 4))
def _greatest(
    x: Float[Array, "B H W C"], window: Pair, strides: Pair, padding: int, shape: tuple[int, ...]
) -> Float[Array, "B h w C"]:
    """As `max_pool`, with a gradient of its own.

    XLA's reduction over windows has a slow gradient on a CPU, so views of the image take its place. The gradient goes
    by the number of the greatest view, found in the forward pass. JAX's own asks which values *equal* the maximum:
    where a compiler computes the two sides in different fusions they may differ in the last bit, and then nothing is
    equal and the gradient is 0 / 0 (seen with ``--xla_backend_optimization_level=0``).
    """
    return _greatest_forward(x, window, strides, padding, shape)[0]


def _greatest_forward(
    x: Float[Array, "B H W C"], window: Pair, strides: Pair, padding: int, shape: tuple[int, ...]
) -> tuple[Array, Array]:
    if _is_large(window, strides, padding):
        tiles = _tiles(x, window)
        tiles = tiles.swapaxes(2, 3).reshape(*tiles.shape[:2], tiles.shape[3], -1, x.shape[3])
        return tiles.max(3), tiles.argmax(3).astype(_place_type(window))
    views = shifted(_pad(x, padding, -np.inf), window, strides)
    best, place = views[0], jnp.zeros(views[0].shape, _place_type(window))
    for number, view in enumerate(views[1:], 1):
        place = jnp.where(view > best, place.dtype.type(number), place)
        best = jnp.maximum(best, view)
    return best, place


def _place_type(window: Pair) -> Any:
    return jnp.int8 if window[0] * window[1] <= 128 else jnp.int32


def _greatest_backward(
    window: Pair, strides: Pair, padding: int, shape: tuple[int, ...], place: Array, gradient: Array
) -> tuple[Array]:
    if _is_large(window, strides, padding):
        numbers = jnp.arange(window[0] * window[1], dtype=place.dtype)[None, None, None, :, None]
        return (_laid_out(jnp.where(place[:, :, :, None] == numbers, gradient[:, :, :, None], 0), window, shape),)
    parts = [jnp.where(place == number, gradient, 0) for number in range(window[0] * window[1])]
    if window == strides and padding == 0:
        # Each pixel belongs to one window at most: the parts are laid side by side.
        return (_laid_out(jnp.stack(parts, axis=3), window, shape),)

    # The views are a linear function of the image; its transpose lays the parts back where they come from.
    image = jax.ShapeDtypeStruct(shape, gradient.dtype)
    transposed = jax.linear_transpose(lambda image: shifted(_pad(image, padding, 0), window, strides), image)
    return transposed(parts)


def _is_large(window: Pair, strides: Pair, padding: int) -> bool:
    """Whether the views are so many that a chain of comparisons would take the compiler minutes and gigabytes."""
    return window[0] * window[1] > MOST_VIEWS and window == strides and padding == 0


def _laid_out(parts: Float[Array, "B h w K C"], window: Pair, shape: tuple[int, ...]) -> Float[Array, "B H W C"]:
    """The pixels of windows that lie side by side, in their places; 0 where no window was."""
    batch, rows, columns, _, channels = parts.shape
    tiles = parts.reshape(batch, rows, columns, *window, channels).swapaxes(2, 3)
    whole = tiles.reshape(batch, rows * window[0], columns * window[1], channels)
    return jnp.pad(whole, [(0, here - there) for here, there in zip(shape, whole.shape, strict=True)])


_greatest.defvjp(_greatest_forward, _greatest_backward)


def mean_pool(
    x: Float[Array, "B H W C"], window: Pair, strides: Pair | None = None, padding: int = 0
) -> Float[Array, "B h w C"]:
    """Mean value within each window, per channel, summed in float32; see `max_pool` for the arguments.

    Padding counts for nothing: at the ends, the mean is over the pixels of the image.
    """
    strides = window if strides is None else strides
    _check(x, window, padding)
    wide = x.astype(jnp.float32)
    if window == strides and padding == 0:
        return _tiles(wide, window).mean((2, 4)).astype(x.dtype)
    total, counts = (
        functools.reduce(jnp.add, shifted(_pad(values, padding, 0), window, strides))
        for values in (wide, jnp.ones_like(wide[:1, :, :, :1]))
    )
    return (total / jnp.broadcast_to(counts, total.shape)).astype(x.dtype)


def global_mean_pool(x: Float[Array, "B H W C"]) -> Float[Array, "B C"]:
    """Mean of each map, summed in float32."""
    return x.astype(jnp.float32).mean((1, 2)).astype(x.dtype)


def _tiles(x: Float[Array, "B H W C"], window: Pair) -> Float[Array, "B h R w S C"]:
    rows, columns = x.shape[1] // window[0], x.shape[2] // window[1]
    whole = x[:, : rows * window[0], : columns * window[1]]
    return whole.reshape(x.shape[0], rows, window[0], columns, window[1], x.shape[3])


def _pad(x: Float[Array, "B H W C"], padding: int, value: float) -> Float[Array, "B h w C"]:
    ends = (padding, padding)
    return jnp.pad(x, ((0, 0), ends, ends, (0, 0)), constant_values=value)


def _check(x: Float[Array, "B H W C"], window: Pair, padding: int) -> None:
    height, width = x.shape[1:3]
    if min(height + 2 * padding - window[0], width + 2 * padding - window[1]) < 0:
        raise UserError(
            f"Pooling: a window of {window[0]}x{window[1]} pixels does not fit into maps of {height}x{width}. Use "
            f"fewer poolings, a smaller window, padding 'same' or larger images."
        )
    if 2 * padding > min(window):
        raise UserError(f"Pooling: padding {padding} is more than half of the window {window[0]}x{window[1]}.")
