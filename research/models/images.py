"""What models of images ask of their inputs, and the two ways in which deep ones begin."""

from __future__ import annotations

from typing import Any, Literal

import jax
from flax import nnx
from jaxtyping import Array, Float

from research.errors import UserError
from research.models.layers import Convolution, max_pool, normalization
from research.models.model import Forward
from research.models.placement import Placement

SMALL = 64
"""Images with fewer pixels in either direction are too small to be halved twice before the first block."""


def image_shape(inputs: Any, model: str) -> tuple[int, int, int]:
    """Height, width and channels of one image.

    Args:
        inputs: shape of one example, as given to `Model.build`.
        model: name of the model, for messages.

    Raises:
        UserError: where the inputs are not one image.
    """
    if not hasattr(inputs, "shape"):
        names = ", ".join(map(str, inputs)) if isinstance(inputs, dict) else type(inputs).__name__
        raise UserError(f"model: {model} takes one image per example, but this data has several inputs ({names}).")
    if len(inputs.shape) != 3:
        raise UserError(
            f"model: {model} takes images of shape (height, width, channels), but one example of this data has the "
            f"shape {tuple(inputs.shape)}. Use MLP for tables, or data of images; grey images have one channel."
        )
    height, width, channels = inputs.shape
    return height, width, channels


def require_size(shape: tuple[int, int, int], least: int, model: str, remedy: str) -> None:
    """Raise `UserError` where a side of the image has fewer than ``least`` pixels; ``remedy`` says what to do."""
    if min(shape[:2]) < least:
        raise UserError(
            f"model: {model} halves its maps until images of {shape[0]}x{shape[1]} pixels have nothing left; at "
            f"least {least}x{least} are needed. {remedy}"
        )


def patch_grid(shape: tuple[int, int, int], patch: int, model: str) -> tuple[int, int]:
    """Rows and columns of square patches of ``patch`` pixels that cover an image.

    Raises:
        UserError: where they do not.
    """
    height, width = shape[:2]
    if height % patch or width % patch:
        sizes = [size for size in range(2, min(height, width) + 1) if height % size == 0 and width % size == 0]
        allowed = f"patch={' or '.join(map(str, sizes))}" if sizes else "a common divisor of both sides"
        raise UserError(
            f"patch: {model} cuts images into patches of {patch}x{patch} pixels, which do not cover "
            f"{height}x{width} pixels. Use {allowed}, or images of another size."
        )
    return height // patch, width // patch


StemName = Literal["auto", "imagenet", "3x3"]


def choose_stem(name: StemName, shape: tuple[int, int, int]) -> Literal["imagenet", "3x3"]:
    """The stem meant by ``auto``: the 3x3 one for small images."""
    if name == "auto":
        return "3x3" if min(shape[:2]) < SMALL else "imagenet"
    return name


class Stem(nnx.Module):
    """The first layers of a deep network.

    ``imagenet``: a convolution of 7x7 pixels with stride 2, normalisation, relu and max-pooling of 3x3 with stride 2,
    which leaves a quarter of each side (He et al., CVPR 2016). ``3x3``: a convolution of 3x3 pixels, normalisation and
    relu, which keep the size, as for CIFAR and for the small images of MedMNIST.
    """

    def __init__(
        self,
        kind: Literal["imagenet", "3x3"],
        in_channels: int,
        width: int,
        *,
        norm: normalization.Name,
        momentum: float | Array,
        kernel_init: str,
        rngs: nnx.Rngs,
    ) -> None:
        """Make the convolution, of ``width`` channels, and its normalisation."""
        self.kind = kind
        kernel, strides = ((7, 7), (2, 2)) if kind == "imagenet" else ((3, 3), (1, 1))
        self.convolution = Convolution(
            in_channels,
            width,
            kernel=kernel,
            strides=strides,
            padding=kernel[0] // 2,
            bias=False,
            kernel_init=kernel_init,
            rngs=rngs,
        )
        self.norm = normalization.by_name(norm, width, momentum=momentum)
        self.placement = Placement().through(kernel[0], strides[0], kernel[0] // 2)
        if kind == "imagenet":
            self.placement = self.placement.through(3, 2, 1)

    def __call__(self, x: Float[Array, "B H W C"], forward: Forward) -> Float[Array, "B h w D"]:
        """The first maps."""
        x = jax.nn.relu(self.norm(self.convolution(x, forward), forward))
        return max_pool(x, (3, 3), (2, 2), padding=1) if self.kind == "imagenet" else x
