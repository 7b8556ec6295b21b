"""The vision transformer."""

from __future__ import annotations

from typing import Any, Literal

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from research.models.images import image_shape, patch_grid
from research.models.layers import Dense, Dropout, LearnedPositions
from research.models.model import Forward
from research.models.transformer import Transformer, class_token, with_token
from research.spec import field


class ViT(Transformer):
    """Vision transformer for images ``[H, W, C]``: Dosovitskiy et al., "An image is worth 16x16 words", ICLR 2021.

    Square patches, which do not overlap, are mapped to vectors, given trained positions, and passed through the blocks.
    As it stands it is ViT-Ti/16 (Touvron et al. (DeiT), ICML 2021); ViT-S/16 has ``width=384 heads=6``, ViT-B/16
    ``width=768 heads=12``. For small images, take small patches.
    """

    width: int = field(192, minimum=1, help="features of each patch")
    depth: int = field(12, minimum=1, help="blocks of attention and perceptron")
    heads: int = field(3, minimum=1, help="heads of attention; they divide the width")
    patch: int = field(16, minimum=1, help="height and width of the patches, pixels; divides those of the images")
    readout: Literal["class_token", "mean"] = field("class_token", help="how patches become one vector")

    def build(self, inputs: Any, outputs: int, rngs: nnx.Rngs) -> nnx.Module:
        """See `Model.build`.

        Raises:
            UserError: where the inputs are not one image, or patches do not cover it.
        """
        shape = image_shape(inputs, "ViT")
        return VisionNetwork(self, shape[2], patch_grid(shape, self.patch, "ViT"), outputs, rngs)


class VisionNetwork(nnx.Module):
    """The module that `ViT` builds."""

    def __init__(self, spec: ViT, channels: int, grid: tuple[int, int], outputs: int, rngs: nnx.Rngs) -> None:
        """Make the layers, for a grid of rows and columns of patches."""
        self.patch = spec.patch
        self.embedding = Dense(spec.patch**2 * channels, spec.width, rngs=rngs)
        self.token = class_token(spec.width, rngs) if spec.readout == "class_token" else None
        self.positions = LearnedPositions(grid[0] * grid[1] + (self.token is not None), spec.width, rngs=rngs)
        self.dropout = Dropout(spec.dropout)
        self.encoder = spec.encoder(rngs)
        self.output = Dense(spec.width, outputs, final=True, rngs=rngs)

    def __call__(self, inputs: Float[Array, "B H W C"], forward: Forward) -> Float[Array, "B K"]:
        """Outputs of each example."""
        x = self.embedding(patches(inputs, self.patch), forward)
        x = x if self.token is None else with_token(self.token[...], x)
        encoding = self.positions(x.shape[1]).astype(x.dtype)
        x = self.dropout(x + jnp.broadcast_to(encoding, x.shape), forward)
        x = self.encoder(x, None, forward)
        x = x.astype(jnp.float32).mean(1).astype(x.dtype) if self.token is None else x[:, 0]
        return self.output(x, forward)


def patches(images: Float[Array, "B H W C"], patch: int) -> Float[Array, "B T D"]:
    """Square patches of images, row by row, each laid out as one vector: rows, columns, channels."""
    batch, height, width, channels = images.shape
    tiles = images.reshape(batch, height // patch, patch, width // patch, patch, channels)
    return tiles.swapaxes(2, 3).reshape(batch, -1, patch * patch * channels)
