"""Densely connected networks."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from research.errors import UserError
from research.models.images import Stem, StemName, choose_stem, image_shape, require_size
from research.models.layers import (
    Convolution,
    Dense,
    Dropout,
    global_mean_pool,
    initializers,
    mean_pool,
    normalization,
    through_block,
)
from research.models.model import Forward, Model
from research.spec import field

BLOCKS = {121: (6, 12, 24, 16), 169: (6, 12, 32, 32), 201: (6, 12, 48, 32)}
BOTTLENECK = 4
"""The 1x1 convolution of a layer puts out four times ``growth`` channels, for its 3x3 convolution to read."""


class DenseNet(Model):
    """Densely connected network for images ``[H, W, C]``: Huang et al., CVPR 2017, the form DenseNet-BC.

    Every layer of a block sees the maps of all layers before it and adds ``growth`` maps of its own; between two
    blocks the maps are halved in number and in size. The outputs are read from the mean of the last maps. DenseNet-121
    is the standard of chest films (Rajpurkar et al., "CheXNet", 2017).
    """

    blocks_apart: ClassVar[bool] = True

    depth: Literal[121, 169, 201] = field(121, help="layers with kernels")
    growth: int = field(32, minimum=1, help="maps that each layer adds; the stem has twice as many")
    blocks: tuple[int, ...] | None = field(None, minimum=1, help="layers of each block; none: as published for depth")
    stem: StemName = field("auto", help="first layers; auto: 3x3 where a side of the image is below 64 pixels")
    dropout: float | None = field(None, minimum=0, below=1, help="share of each layer's maps dropped, pixel by pixel")
    normalization: Literal["batch", "group"] = field("batch", help="normalisation before each convolution")
    momentum: float = field(0.9, minimum=0, maximum=1, help="share of running statistics kept at each step")
    kernel_init: initializers.Name = field("he_normal", help="how kernels start")

    def validate(self) -> None:
        """Raises `UserError` where there is no block."""
        if self.blocks == ():
            raise UserError("blocks: at least one block is needed, () was given. Leave it out for the published ones.")

    def build(self, inputs: Any, outputs: int, rngs: nnx.Rngs) -> nnx.Module:
        """See `Model.build`.

        Raises:
            UserError: where the inputs are not one image, or one too small.
        """
        name = "DenseNet" if self.blocks else f"DenseNet-{self.depth}"
        shape = image_shape(inputs, name)
        stem = choose_stem(self.stem, shape)
        blocks = self.blocks or BLOCKS[self.depth]
        least = 2 ** (len(blocks) - 1) * (4 if stem == "imagenet" else 1)
        require_size(shape, least, name, "Use stem='3x3', fewer blocks or larger images.")
        return DenselyConnectedNetwork(self, shape[2], stem, blocks, outputs, rngs)


class DenselyConnectedNetwork(nnx.Module):
    """The module that `DenseNet` builds."""

    def __init__(
        self,
        spec: DenseNet,
        channels: int,
        stem: Literal["imagenet", "3x3"],
        blocks: tuple[int, ...],
        outputs: int,
        rngs: nnx.Rngs,
    ) -> None:
        """Make the layers, from the first to the last.

        Args:
            spec: the spec.
            channels: channels of the images.
            stem: the first layers.
            blocks: number of layers in each block.
            outputs: number of outputs.
            rngs: keys of the initialisers.
        """
        first = 2 * spec.growth
        self.stem = Stem(
            stem,
            channels,
            first,
            norm=spec.normalization,
            momentum=spec.momentum,
            kernel_init=spec.kernel_init,
            rngs=rngs,
        )
        self.layers = nnx.List([])
        channels, self.placement = first, self.stem.placement
        for block, count in enumerate(blocks):
            if block:
                self.layers.append(Transition(spec, channels, channels // 2, rngs))
                channels //= 2
                self.placement = self.placement.through(2, 2)
            for _ in range(count):
                self.layers.append(DenseLayer(spec, channels, rngs))
                channels += spec.growth
        self.norm = normalization.by_name(spec.normalization, channels, momentum=spec.momentum)
        self.output = Dense(channels, outputs, kernel_init=spec.kernel_init, final=True, rngs=rngs)

    def features(self, inputs: Float[Array, "B H W C"], forward: Forward) -> Float[Array, "B h w D"]:
        """Maps of the last block after their normalisation and activation."""
        x = self.stem(inputs, forward)
        for layer in self.layers:
            x = through_block(layer, forward, x)
        return jax.nn.relu(self.norm(x, forward))

    def head(self, maps: Float[Array, "B h w D"], forward: Forward) -> Float[Array, "B K"]:
        """Outputs from what `features` gave."""
        return self.output(global_mean_pool(maps), forward)

    def __call__(self, inputs: Float[Array, "B H W C"], forward: Forward) -> Float[Array, "B K"]:
        """Outputs of each example."""
        return self.head(self.features(inputs, forward), forward)


class DenseLayer(nnx.Module):
    """Maps of its own, by a 1x1 and a 3x3 convolution, laid beside those it was given."""

    def __init__(self, spec: DenseNet, in_channels: int, rngs: nnx.Rngs) -> None:
        """Make both convolutions, each behind its normalisation."""
        between = BOTTLENECK * spec.growth
        self.narrow = NormConvolution(spec, in_channels, between, 1, rngs)
        self.convolve = NormConvolution(spec, between, spec.growth, 3, rngs)
        self.dropout = Dropout(spec.dropout)

    def __call__(self, x: Float[Array, "B H W C"], forward: Forward) -> Float[Array, "B H W D"]:
        """All maps so far."""
        own = self.convolve(self.narrow(x, forward), forward)
        return jnp.concatenate([x, self.dropout(own, forward)], axis=-1)


class Transition(nnx.Module):
    """Between two blocks: a 1x1 convolution to fewer maps, and mean-pooling to half their size."""

    def __init__(self, spec: DenseNet, in_channels: int, out_channels: int, rngs: nnx.Rngs) -> None:
        """Make the convolution behind its normalisation."""
        self.narrow = NormConvolution(spec, in_channels, out_channels, 1, rngs)

    def __call__(self, x: Float[Array, "B H W C"], forward: Forward) -> Float[Array, "B h w D"]:
        """Fewer and smaller maps."""
        return mean_pool(self.narrow(x, forward), (2, 2))


class NormConvolution(nnx.Module):
    """Normalisation, relu and a convolution without bias that keeps the size of the maps."""

    def __init__(self, spec: DenseNet, in_channels: int, out_channels: int, kernel: int, rngs: nnx.Rngs) -> None:
        """Make normalisation and convolution."""
        self.norm = normalization.by_name(spec.normalization, in_channels, momentum=spec.momentum)
        self.convolution = Convolution(
            in_channels,
            out_channels,
            kernel=(kernel, kernel),
            padding=kernel // 2,
            bias=False,
            kernel_init=spec.kernel_init,
            rngs=rngs,
        )

    def __call__(self, x: Float[Array, "B H W C"], forward: Forward) -> Float[Array, "B H W D"]:
        """The convolved maps."""
        return self.convolution(jax.nn.relu(self.norm(x, forward)), forward)
