"""The residual network for series of Wang, Yan and Oates."""

from __future__ import annotations

from typing import Any, ClassVar

import jax
from flax import nnx
from jaxtyping import Array, Bool, Float

from research.errors import UserError
from research.models.layers import BatchNorm, initializers
from research.models.model import Forward, Model
from research.models.placement import Placement
from research.models.series import Channel, check_channels, series_shape
from research.models.signals import KERAS_EPSILON, ConvolutionNorm1D, MeanPooledBlocks
from research.spec import field


class ResNet1D(Model):
    """Residual network for series ("ResNet" of Wang, Yan and Oates, IJCNN 2017).

    Wang et al., "Time series classification from scratch with deep neural networks: a strong baseline". Blocks of three
    convolutions over time, each with batch normalisation, whose result is added to the block's input and goes through
    relu; then the mean of each map over time and an output layer. The shortcut has a convolution of one step where the
    number of channels changes, and batch normalisation in any case. As it stands it is the network of Ismail Fawaz et
    al., "Deep learning for time series classification: a review", Data Mining and Knowledge Discovery 2019, to the
    biases, initial values, and the constants of Keras's batch normalisation. Beyond the original are series of
    different lengths (what lies behind the end of a series counts for nothing, in the batch statistics and the mean as
    well), static descriptors beside the means, and dropout on both.
    """

    blocks_apart: ClassVar[bool] = True

    widths: tuple[int, ...] = field((64, 128, 128), minimum=1, help="channels of each block")
    kernels: tuple[int, ...] = field((8, 5, 3), minimum=1, help="steps that each convolution of a block sees")
    channels: tuple[Channel, ...] = field(
        ("values",), help="what is seen of each variable: values, observed (the mask), since (time since it was)"
    )
    dropout: float | None = field(None, minimum=0, below=1, help="share of what the output layer sees that is dropped")
    momentum: float = field(0.99, minimum=0, maximum=1, help="share of running statistics kept; 0.9 for short runs")
    kernel_init: initializers.Name = field("glorot_uniform", help="how kernels start")

    def validate(self) -> None:
        """There is a block, a convolution in it, and something is seen."""
        for name in ("widths", "kernels"):
            if not getattr(self, name):
                raise UserError(f"{name}: at least one number is needed, () was given.")
        check_channels(self.channels)

    def build(self, inputs: Any, outputs: int, rngs: nnx.Rngs) -> nnx.Module:
        """See `Model.build`; raises `UserError` where the inputs are no series."""
        _, variables, static = series_shape(inputs, "ResNet1D")
        return ResidualNetwork1D(self, variables, static, outputs, rngs)


class ResidualNetwork1D(MeanPooledBlocks):
    """The module that `ResNet1D` builds."""

    def __init__(self, spec: ResNet1D, variables: int, static: int, outputs: int, rngs: nnx.Rngs) -> None:
        """Make the layers, from the first to the last."""
        self.channels = spec.channels
        self.blocks = nnx.List([])
        features, placement = variables * len(spec.channels), Placement()
        for width in spec.widths:
            self.blocks.append(ResidualBlock1D(spec, features, width, rngs))
            features = width
            for kernel in spec.kernels:
                placement = placement.through(kernel, 1, (kernel - 1) // 2)
        self.placement = placement
        self.finish(spec, features + static, outputs, rngs)


class ResidualBlock1D(nnx.Module):
    """Convolutions whose result is added to the input."""

    def __init__(self, spec: ResNet1D, in_channels: int, width: int, rngs: nnx.Rngs) -> None:
        """Make the convolutions, and the shortcut's one where input and output differ in channels."""

        def made(features: int, kernel: int) -> ConvolutionNorm1D:
            return ConvolutionNorm1D(
                features,
                width,
                kernel,
                bias=True,
                momentum=spec.momentum,
                epsilon=KERAS_EPSILON,
                kernel_init=spec.kernel_init,
                rngs=rngs,
            )

        self.path = nnx.List([])
        for number, kernel in enumerate(spec.kernels):
            self.path.append(made(width if number else in_channels, kernel))
        projects = in_channels != width
        self.projection = made(in_channels, 1) if projects else None
        self.norm = None if projects else BatchNorm(width, momentum=spec.momentum, epsilon=KERAS_EPSILON)

    def __call__(self, x: Float[Array, "B T C"], valid: Bool[Array, "B T"], forward: Forward) -> Float[Array, "B T D"]:
        """The sum of path and shortcut, after its activation."""
        if self.projection is not None:
            shortcut = self.projection(x, valid, forward)
        else:
            assert self.norm is not None
            shortcut = self.norm(x, forward, valid)
        for number, layer in enumerate(self.path):
            x = layer(jax.nn.relu(x) if number else x, valid, forward)
        return jax.nn.relu(x + shortcut)
