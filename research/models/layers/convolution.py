"""Convolution of images, and the seam in which its lowering is chosen by the device."""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from research.errors import UserError
from research.models.layers import initializers
from research.models.model import Forward

Padding = Literal["same", "valid"] | int
"""``same``: as many positions as strides fit into the image, zeros shared out between both ends, the odd one at the
far end, as in Keras; ``valid``: no zeros; a number: so many zeros at all four ends, as in PyTorch."""


class Convolution(nnx.Module):
    """Cross-correlation of images ``[B, H, W, C]`` with a learnt kernel; computed in the precision of ``x``."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        kernel: tuple[int, int] = (3, 3),
        strides: tuple[int, int] = (1, 1),
        padding: Padding = "same",
        bias: bool = True,
        kernel_init: str = "he_normal",
        rngs: nnx.Rngs,
    ) -> None:
        """Draw the kernel ``[height, width, in_channels, out_channels]``; the bias starts at 0.

        Args:
            in_channels: channels of the input.
            out_channels: channels of the output.
            kernel: height and width of the kernel in pixels.
            strides: pixels between neighbouring positions of the kernel, downwards and to the right.
            padding: see `Padding`.
            bias: whether a bias is added; without it ``self.bias`` is None.
            kernel_init: name of an initialiser, see `initializers.by_name`.
            rngs: keys of the initialisers.
        """
        self.strides = strides
        self.padding: Padding = padding
        initial = initializers.by_name(kernel_init)
        drawn = initial(initializers.next_key(rngs.params), (*kernel, in_channels, out_channels), jnp.float32)
        self.kernel = nnx.Param(drawn, tensor_axis=3)
        self.bias = nnx.Param(jnp.zeros(out_channels, jnp.float32), tensor_axis=0) if bias else None

    def __call__(self, x: Float[Array, "B H W C"], forward: Forward) -> Float[Array, "B h w D"]:
        """The convolved images.

        Raises:
            UserError: where the images are smaller than the kernel.
        """
        kernel = self.kernel[...].astype(x.dtype)
        around = _zeros_around(x.shape[1:3], kernel.shape[:2], self.strides, self.padding)
        y = convolve(x, kernel, self.strides, around, forward.context.platform)
        return y if self.bias is None else y + jnp.broadcast_to(self.bias[...].astype(x.dtype), y.shape)


Ends = tuple[tuple[int, int], tuple[int, int]]
"""Rows above and below, columns left and right."""


def convolve(
    x: Float[Array, "B H W C"], kernel: Float[Array, "R S C D"], strides: tuple[int, int], around: Ends, platform: str
) -> Float[Array, "B h w D"]:
    """Cross-correlation, lowered as suits the kind of device.

    Within a compiled loop on a CPU, XLA's own convolution falls back to a slow one, its gradient most of all: there
    the patches of the image are laid side by side and the convolution is one matrix product.

    Args:
        x: images.
        kernel: one kernel of R by S pixels per pair of channels.
        strides: pixels between neighbouring positions.
        around: zeros added to the images.
        platform: kind of device (cpu, gpu, tpu).
    """
    if platform == "cpu":
        return _by_patches(x, kernel, strides, around)
    return jax.lax.conv_general_dilated(x, kernel, strides, around, dimension_numbers=("NHWC", "HWIO", "NHWC"))


def _by_patches(
    x: Float[Array, "B H W C"], kernel: Float[Array, "R S C D"], strides: tuple[int, int], around: Ends
) -> Float[Array, "B h w D"]:
    height, width, channels, outputs = kernel.shape
    padded = jnp.pad(x, ((0, 0), *around, (0, 0)))
    patches = jnp.concatenate(shifted(padded, (height, width), strides), axis=-1)
    return jax.lax.dot_general(patches, kernel.reshape(height * width * channels, outputs), (((3,), (0,)), ((), ())))


def shifted(
    x: Float[Array, "B H W C"], window: tuple[int, int], strides: tuple[int, int]
) -> list[Float[Array, "B h w C"]]:
    """For each pixel of a window, row by row, what it sees as the window moves over the images."""
    rows, columns = (
        (size - one) // step * step + 1 for size, one, step in zip(x.shape[1:3], window, strides, strict=True)
    )
    return [
        jax.lax.slice(x, (0, i, j, 0), (x.shape[0], i + rows, j + columns, x.shape[3]), (1, *strides, 1))
        for i in range(window[0])
        for j in range(window[1])
    ]


def output_size(size: int, kernel: int, stride: int, padding: Padding) -> int:
    """Positions of a kernel along an axis of ``size`` pixels; below 1 where it does not fit."""
    if padding == "same":
        return -(-size // stride)
    zeros = 0 if padding == "valid" else 2 * padding
    return (size + zeros - kernel) // stride + 1


def _zeros_around(image: tuple[int, ...], kernel: tuple[int, ...], strides: tuple[int, int], padding: Padding) -> Ends:
    def ends(size: int, window: int, step: int) -> tuple[int, int]:
        positions = output_size(size, window, step, padding)
        if positions < 1:
            raise UserError(
                f"Convolution: a kernel of {kernel[0]}x{kernel[1]} pixels does not fit into maps of "
                f"{image[0]}x{image[1]} with padding {padding!r}. Use a smaller kernel, fewer poolings, padding "
                f"'same' or larger images."
            )
        if padding == "same":
            total = max((positions - 1) * step + window - size, 0)
            return total // 2, total - total // 2
        return (0, 0) if padding == "valid" else (padding, padding)

    return ends(image[0], kernel[0], strides[0]), ends(image[1], kernel[1], strides[1])
