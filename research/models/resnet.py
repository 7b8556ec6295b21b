"""Residual networks, in the form for CIFAR and in the form for ImageNet."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from research.errors import UserError
from research.models.images import Stem, StemName, choose_stem, image_shape, require_size
from research.models.layers import Convolution, Dense, global_mean_pool, initializers, normalization, through_block
from research.models.model import Forward, Model
from research.spec import field

CIFAR_DEPTHS = (20, 32, 44, 56, 110)
BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3)}
EXPANSION = 4
"""A bottleneck block puts out four times the channels that its 3x3 convolution sees."""


class ResNet(Model):
    """Residual network for images ``[H, W, C]``: He et al., "Deep residual learning", CVPR 2016.

    Depths 20, 32, 44, 56 and 110 are the form for CIFAR: a 3x3 stem of 16 channels, three stages of 16, 32 and 64
    channels, and shortcuts without parameters, in which missing channels are zeros (option A). Depths 18, 34 and 50
    are the form for ImageNet: four stages of 64, 128, 256 and 512 channels with projecting shortcuts, and bottleneck
    blocks at 50, with the stride in their 3x3 convolution (version 1.5). The outputs are read from the mean of the
    last maps.
    """

    blocks_apart: ClassVar[bool] = True

    depth: Literal[18, 20, 32, 34, 44, 50, 56, 110] = field(18, help="layers with kernels; 20 to 110 as for CIFAR")
    stem: StemName = field("auto", help="first layers; auto: 3x3 where a side of the image is below 64 pixels")
    blocks: tuple[int, ...] | None = field(None, minimum=1, help="blocks of each stage; none: as published for depth")
    width: int | None = field(None, minimum=1, help="channels of the first stage; none: as published")
    normalization: Literal["batch", "group"] = field("batch", help="normalisation after each convolution")
    momentum: float = field(0.9, minimum=0, maximum=1, help="share of running statistics kept at each step")
    zero_init_residual: bool = field(False, help="start each block as the identity: its last scale is 0")
    kernel_init: initializers.Name = field("he_normal", help="how kernels start")

    def validate(self) -> None:
        """Raises `UserError` where the form for CIFAR is given the stem for ImageNet, or there is no stage."""
        if self.blocks == ():
            raise UserError("blocks: at least one stage is needed, () was given. Leave it out for the published ones.")
        if self.depth in CIFAR_DEPTHS and self.stem == "imagenet":
            raise UserError(
                f"stem: ResNet-{self.depth} is the form for CIFAR, whose stem is 3x3, but 'imagenet' was given. Use "
                f"stem='auto', or a depth of 18, 34 or 50."
            )

    def build(self, inputs: Any, outputs: int, rngs: nnx.Rngs) -> nnx.Module:
        """See `Model.build`.

        Raises:
            UserError: where the inputs are not one image, or one too small.
        """
        name = f"ResNet-{self.depth}"
        shape = image_shape(inputs, name)
        cifar = self.depth in CIFAR_DEPTHS
        stem = "3x3" if cifar else choose_stem(self.stem, shape)
        blocks = self.blocks or (((self.depth - 2) // 6,) * 3 if cifar else BLOCKS[self.depth])
        least = 2 ** (len(blocks) - 1) * (4 if stem == "imagenet" else 1)
        require_size(shape, least, name, "Use stem='3x3', fewer stages (blocks) or larger images.")
        return ResidualNetwork(self, shape[2], stem, blocks, outputs, rngs)


class ResidualNetwork(nnx.Module):
    """The module that `ResNet` builds."""

    def __init__(
        self,
        spec: ResNet,
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
            blocks: number of blocks in each stage; each stage but the first halves the maps.
            outputs: number of outputs.
            rngs: keys of the initialisers.
        """
        first = spec.width or (16 if spec.depth in CIFAR_DEPTHS else 64)
        self.stem = Stem(
            stem,
            channels,
            first,
            norm=spec.normalization,
            momentum=spec.momentum,
            kernel_init=spec.kernel_init,
            rngs=rngs,
        )
        self.blocks = nnx.List([])
        channels, self.placement = first, self.stem.placement
        for stage, count in enumerate(blocks):
            for number in range(count):
                stride = 2 if stage and number == 0 else 1
                block = ResidualBlock(spec, channels, first * 2**stage, stride, rngs)
                self.blocks.append(block)
                channels = block.out_channels
                self.placement = self.placement.through(3, stride, 1)
        self.output = Dense(channels, outputs, kernel_init=spec.kernel_init, final=True, rngs=rngs)

    def features(self, inputs: Float[Array, "B H W C"], forward: Forward) -> Float[Array, "B h w D"]:
        """Maps of the last block after their activation."""
        x = self.stem(inputs, forward)
        for block in self.blocks:
            x = through_block(block, forward, x)
        return x

    def head(self, maps: Float[Array, "B h w D"], forward: Forward) -> Float[Array, "B K"]:
        """Outputs from what `features` gave."""
        return self.output(global_mean_pool(maps), forward)

    def __call__(self, inputs: Float[Array, "B H W C"], forward: Forward) -> Float[Array, "B K"]:
        """Outputs of each example."""
        return self.head(self.features(inputs, forward), forward)


class ResidualBlock(nnx.Module):
    """Two 3x3 convolutions, or a bottleneck of 1x1, 3x3 and 1x1, whose result is added to the input."""

    def __init__(self, spec: ResNet, in_channels: int, width: int, stride: int, rngs: nnx.Rngs) -> None:
        """Make the convolutions, and the shortcut where input and output differ in shape."""
        bottleneck = spec.depth == 50
        self.stride = stride
        self.out_channels = width * EXPANSION if bottleneck else width
        # Kernel, channels and stride of each convolution.
        plan = (
            ((1, width, 1), (3, width, stride), (1, self.out_channels, 1))
            if bottleneck
            else ((3, width, stride), (3, width, 1))
        )
        self.path = nnx.List([])
        channels = in_channels
        for kernel, out_channels, step in plan:
            self.path.append(ConvolutionNorm(spec, channels, out_channels, kernel, step, rngs))
            channels = out_channels
        if spec.zero_init_residual:
            scale = self.path[-1].norm.scale
            scale.set_value(jnp.zeros_like(scale[...]))
        changes = stride != 1 or in_channels != self.out_channels
        projects = changes and spec.depth not in CIFAR_DEPTHS
        self.projection = ConvolutionNorm(spec, in_channels, self.out_channels, 1, stride, rngs) if projects else None

    def __call__(self, x: Float[Array, "B H W C"], forward: Forward) -> Float[Array, "B h w D"]:
        """The sum of path and shortcut, after its activation."""
        shortcut = self._widened(x) if self.projection is None else self.projection(x, forward)
        for number, layer in enumerate(self.path):
            x = layer(jax.nn.relu(x) if number else x, forward)
        return jax.nn.relu(x + shortcut)

    def _widened(self, x: Float[Array, "B H W C"]) -> Float[Array, "B h w D"]:
        """Every ``stride``-th pixel, with zeros for the channels that are missing (option A)."""
        missing = self.out_channels - x.shape[3]
        return jnp.pad(x[:, :: self.stride, :: self.stride], ((0, 0), (0, 0), (0, 0), (0, missing)))


class ConvolutionNorm(nnx.Module):
    """A convolution without bias, and its normalisation."""

    def __init__(
        self, spec: ResNet, in_channels: int, out_channels: int, kernel: int, stride: int, rngs: nnx.Rngs
    ) -> None:
        """Make both; zeros around the maps keep their size where the stride is 1."""
        self.convolution = Convolution(
            in_channels,
            out_channels,
            kernel=(kernel, kernel),
            strides=(stride, stride),
            padding=kernel // 2,
            bias=False,
            kernel_init=spec.kernel_init,
            rngs=rngs,
        )
        self.norm = normalization.by_name(spec.normalization, out_channels, momentum=spec.momentum)

    def __call__(self, x: Float[Array, "B H W C"], forward: Forward) -> Float[Array, "B h w D"]:
        """The normalised maps."""
        return self.norm(self.convolution(x, forward), forward)
