"""Convolution of images."""

from __future__ import annotations

from typing import Literal

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from research.errors import UserError
from research.models.layers import initializers
from research.models.layers.correlation import Ends, correlate
from research.models.layers.products import with_bias
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
        y = correlate(x, kernel, self.strides, around, forward.context)
        return y if self.bias is None else with_bias(y, self.bias[...], forward.context.platform)


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
