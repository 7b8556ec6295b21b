"""The residual networks of the PTB-XL benchmark."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from research.errors import UserError
from research.models.layers import (
    BatchNorm,
    Dense,
    Dropout,
    initializers,
    max_over_steps,
    max_pool_1d,
    mean_over_steps,
    mean_pool_1d,
    strided,
    through_block,
)
from research.models.model import Forward, Model
from research.models.placement import Placement
from research.models.series import Channel, beside_static, channels_of, check_channels, series_shape, valid_steps
from research.models.signals import ConvolutionNorm1D
from research.spec import field

BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
EXPANSION = 4
"""A bottleneck block puts out four times the channels that its wide convolution sees."""
EPSILON = 1e-5


class XResNet1D(Model):
    """Residual network for signals: xresnet1d of the PTB-XL benchmark (Strodthoff et al., IEEE JBHI 2021).

    "Deep learning for ECG analysis: benchmarks and insights from PTB-XL"; it is the XResNet of fastai (He et al., "Bag
    of tricks for image classification", CVPR 2019) with one axis. Three convolutions and a max-pooling leave a quarter
    of the steps; four stages of blocks follow, each but the first of which halves the steps, and all with the same
    channels. A shortcut halves by the mean of two steps, and has a convolution of one step where the number of channels
    changes. The greatest and the mean value of each map over time go through batch normalisation, dropout and dense
    layers; hidden ones have half the dropout. As it stands it is xresnet1d101 as the benchmark trained it: its trainer
    draws all kernels anew (He's normal, the output layer's too; ours are cut at two deviations), and sets all scales to
    1, the last ones of the blocks too, which fastai starts at 0. The running variance is biased, torch's not.

    Beyond the original are static descriptors beside the pooled maps, and series of different lengths. What lies behind
    the end of a series counts for nothing, in the batch statistics and both poolings as well: a series of ``n`` steps
    has ``ceil(n / 2)`` after a layer of stride 2, however far it is padded, which is what it has alone.
    """

    blocks_apart: ClassVar[bool] = True

    depth: Literal[18, 34, 50, 101, 152] = field(101, help="layers with kernels, as in the ResNet of that name")
    blocks: tuple[int, ...] | None = field(None, minimum=1, help="blocks of each stage; none: as published for depth")
    width: int = field(64, minimum=1, help="channels that the wide convolutions see, in every stage")
    kernel: int = field(5, minimum=1, help="steps that the wide convolutions see, those of the stem too")
    stem: tuple[int, ...] = field((32, 32, 64), minimum=1, help="channels of the first convolutions")
    dense_widths: tuple[int, ...] = field((128,), minimum=1, help="units of hidden dense layers after the poolings")
    channels: tuple[Channel, ...] = field(
        ("values",), help="what is seen of each variable: values, observed (the mask), since (time since it was)"
    )
    dropout: float | None = field(0.5, minimum=0, below=1, help="share dropped before the output layer; half, earlier")
    momentum: float = field(0.9, minimum=0, maximum=1, help="share of running statistics kept at each step")
    kernel_init: initializers.Name = field("he_normal", help="how kernels start")

    def validate(self) -> None:
        """There is a first convolution and a stage, and something is seen."""
        if not self.stem:
            raise UserError("stem: at least one convolution is needed, () was given.")
        if self.blocks == ():
            raise UserError("blocks: at least one stage is needed, () was given. Leave it out for the published ones.")
        check_channels(self.channels)

    def build(self, inputs: Any, outputs: int, rngs: nnx.Rngs) -> nnx.Module:
        """See `Model.build`; raises `UserError` where the inputs are no series."""
        _, variables, static = series_shape(inputs, f"XResNet1D-{self.depth}")
        return ExtendedResidualNetwork1D(self, variables, static, outputs, rngs)

    def convolution(
        self, in_channels: int, out_channels: int, width: int, stride: int, rngs: nnx.Rngs
    ) -> ConvolutionNorm1D:
        """A convolution and its normalisation."""
        return ConvolutionNorm1D(
            in_channels,
            out_channels,
            width,
            stride=stride,
            momentum=self.momentum,
            epsilon=EPSILON,
            kernel_init=self.kernel_init,
            rngs=rngs,
        )


class ExtendedResidualNetwork1D(nnx.Module):
    """The module that `XResNet1D` builds."""

    def __init__(self, spec: XResNet1D, variables: int, static: int, outputs: int, rngs: nnx.Rngs) -> None:
        """Make the layers, from the first to the last."""
        self.channels = spec.channels
        features, placement, before = variables * len(spec.channels), Placement(), (spec.kernel - 1) // 2
        self.stem = nnx.List([])
        for number, width in enumerate(spec.stem):
            stride = 1 if number else 2
            self.stem.append(spec.convolution(features, width, spec.kernel, stride, rngs))
            features, placement = width, placement.through(spec.kernel, stride, before)
        placement = placement.through(3, 2, 1)
        self.blocks = nnx.List([])
        for stage, count in enumerate(spec.blocks or BLOCKS[spec.depth]):
            for number in range(count):
                stride = 2 if stage and number == 0 else 1
                block = ResidualBlock(spec, features, stride, rngs)
                self.blocks.append(block)
                features, placement = block.out_channels, placement.through(spec.kernel, stride, before)
        self.placement = placement
        features = 2 * features + static
        self.hidden = nnx.List([])
        for width in spec.dense_widths:
            rate = None if spec.dropout is None else spec.dropout / 2
            self.hidden.append(NormDense(spec, features, width, rate, rngs))
            features = width
        self.output = NormDense(spec, features, outputs, spec.dropout, rngs, final=True)

    def features(self, inputs: dict[str, Array], forward: Forward) -> Float[Array, "B t D"]:
        """Maps of the last block after their activation."""
        x, valid = channels_of(inputs, self.channels), valid_steps(inputs)
        for number, layer in enumerate(self.stem):
            x = jax.nn.relu(layer(x, valid, forward))
            valid = valid if number else strided(valid, 2)
        x, valid = max_pool_1d(x, valid, 3, 2), strided(valid, 2)
        for block in self.blocks:
            x = through_block(block, forward, x, valid)
            valid = strided(valid, block.stride)
        return x

    def head(self, maps: Float[Array, "B t D"], inputs: dict[str, Array], forward: Forward) -> Float[Array, "B K"]:
        """Outputs from what `features` gave."""
        valid = strided(valid_steps(inputs), int(self.placement.stride))
        x = jnp.concatenate([max_over_steps(maps, valid), mean_over_steps(maps, valid)], axis=-1)
        x = beside_static(x, inputs)
        for layer in self.hidden:
            x = jax.nn.relu(layer(x, forward))
        return self.output(x, forward)

    def __call__(self, inputs: dict[str, Array], forward: Forward) -> Float[Array, "B K"]:
        """Outputs of each example."""
        return self.head(self.features(inputs, forward), inputs, forward)


class ResidualBlock(nnx.Module):
    """Two wide convolutions, or a wide one between two of one step, whose result is added to the input."""

    def __init__(self, spec: XResNet1D, in_channels: int, stride: int, rngs: nnx.Rngs) -> None:
        """Make the convolutions, and the shortcut's one where input and output differ in channels."""
        bottleneck = spec.depth >= 50
        self.stride = stride
        self.out_channels = spec.width * EXPANSION if bottleneck else spec.width
        # Kernel, channels and stride of each convolution.
        plan = (
            ((1, spec.width, 1), (spec.kernel, spec.width, stride), (1, self.out_channels, 1))
            if bottleneck
            else ((spec.kernel, spec.width, stride), (spec.kernel, spec.width, 1))
        )
        self.path = nnx.List([])
        channels = in_channels
        for kernel, out_channels, step in plan:
            self.path.append(spec.convolution(channels, out_channels, kernel, step, rngs))
            channels = out_channels
        changes = in_channels != self.out_channels
        self.projection = spec.convolution(in_channels, self.out_channels, 1, 1, rngs) if changes else None

    def __call__(self, x: Float[Array, "B T C"], valid: Bool[Array, "B T"], forward: Forward) -> Float[Array, "B t D"]:
        """The sum of path and shortcut, after its activation."""
        counts = strided(valid, self.stride)
        shortcut = x if self.stride == 1 else mean_pool_1d(x, valid, 2, self.stride)
        if self.projection is not None:
            shortcut = self.projection(shortcut, counts, forward)
        for number, layer in enumerate(self.path):
            x = layer(jax.nn.relu(x) if number else x, valid, forward)
            valid = strided(valid, layer.convolution.stride)
        return jax.nn.relu(x + shortcut)


class NormDense(nnx.Module):
    """Batch normalisation, dropout and a dense layer."""

    def __init__(
        self,
        spec: XResNet1D,
        in_features: int,
        out_features: int,
        rate: float | Array | None,
        rngs: nnx.Rngs,
        final: bool = False,
    ) -> None:
        """Make the three; ``final`` as in `Dense`."""
        self.norm = BatchNorm(in_features, momentum=spec.momentum, epsilon=EPSILON)
        self.dropout = Dropout(rate)
        self.dense = Dense(in_features, out_features, kernel_init=spec.kernel_init, final=final, rngs=rngs)

    def __call__(self, x: Float[Array, "B C"], forward: Forward) -> Float[Array, "B D"]:
        """What the dense layer gives, without activation."""
        return self.dense(self.dropout(self.norm(x, forward), forward), forward)
