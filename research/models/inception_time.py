"""The network of InceptionTime."""

from __future__ import annotations

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from research.errors import UserError
from research.models.layers import BatchNorm, Convolution1D, initializers, max_pool_1d
from research.models.model import Forward, Model
from research.models.placement import Placement
from research.models.series import Channel, check_channels, series_shape
from research.models.signals import KERAS_EPSILON, ConvolutionNorm1D, MeanPooledBlocks
from research.spec import field

BLOCK = 3
"""Modules between the two ends of a shortcut."""
WINDOW = 3
"""Steps of the pooling within a module."""


class InceptionTime(Model):
    """One network of InceptionTime (Ismail Fawaz et al., Data Mining and Knowledge Discovery 2020).

    "InceptionTime: finding AlexNet for time series classification"; there, the probabilities of five such networks with
    different seeds are averaged. A module narrows its input to a few channels, lets convolutions of different widths
    see it side by side, adds a convolution of one step over the greatest of each three steps, and normalises and
    activates them together. Every three modules a shortcut is added. The mean of each map over time goes to an output
    layer. As it stands it is the authors' network to the initial values and the constants of Keras's batch
    normalisation. Beyond the original are series of different lengths (what lies behind the end of a series counts for
    nothing, in the batch statistics and the mean as well), static descriptors beside the means, and dropout on both.
    """

    blocks_apart: ClassVar[bool] = True

    depth: int = field(6, minimum=1, help="modules, one after the other")
    filters: int = field(32, minimum=1, help="channels of each of a module's convolutions")
    kernels: tuple[int, ...] = field((40, 20, 10), minimum=1, help="steps that the convolutions of a module see")
    bottleneck: int | None = field(
        32, minimum=1, help="channels to which a module narrows its input; none: it does not"
    )
    residual: bool = field(True, help="shortcuts past every three modules")
    channels: tuple[Channel, ...] = field(
        ("values",), help="what is seen of each variable: values, observed (the mask), since (time since it was)"
    )
    dropout: float | None = field(None, minimum=0, below=1, help="share of what the output layer sees that is dropped")
    momentum: float = field(0.99, minimum=0, maximum=1, help="share of running statistics kept; 0.9 for short runs")
    kernel_init: initializers.Name = field("glorot_uniform", help="how kernels start")

    def validate(self) -> None:
        """There is a convolution in a module, and something is seen."""
        if not self.kernels:
            raise UserError("kernels: at least one number is needed, () was given.")
        check_channels(self.channels)

    def build(self, inputs: Any, outputs: int, rngs: nnx.Rngs) -> nnx.Module:
        """See `Model.build`; raises `UserError` where the inputs are no series."""
        _, variables, static = series_shape(inputs, "InceptionTime")
        return InceptionNetwork(self, variables, static, outputs, rngs)


class InceptionNetwork(MeanPooledBlocks):
    """The module that `InceptionTime` builds."""

    def __init__(self, spec: InceptionTime, variables: int, static: int, outputs: int, rngs: nnx.Rngs) -> None:
        """Make the layers, from the first to the last."""
        self.channels = spec.channels
        self.blocks = nnx.List([])
        features = variables * len(spec.channels)
        for first in range(0, spec.depth, BLOCK):
            block = InceptionBlock(spec, features, min(BLOCK, spec.depth - first), rngs)
            self.blocks.append(block)
            features = block.out_channels
        # Kernels of different widths look at the same step; even ones look half a step further.
        self.placement = Placement()
        self.finish(spec, features + static, outputs, rngs)


class InceptionBlock(nnx.Module):
    """Three modules and their shortcut; the last block may have fewer, and then has none."""

    def __init__(self, spec: InceptionTime, in_channels: int, count: int, rngs: nnx.Rngs) -> None:
        """Make ``count`` modules, and the shortcut's convolution."""
        self.out_channels = spec.filters * (len(spec.kernels) + 1)
        self.layers = nnx.List([])
        for number in range(count):
            self.layers.append(InceptionModule(spec, self.out_channels if number else in_channels, rngs))
        self.projection = self._shortcut(spec, in_channels, rngs) if spec.residual and count == BLOCK else None

    def _shortcut(self, spec: InceptionTime, in_channels: int, rngs: nnx.Rngs) -> ConvolutionNorm1D:
        return ConvolutionNorm1D(
            in_channels,
            self.out_channels,
            1,
            momentum=spec.momentum,
            epsilon=KERAS_EPSILON,
            kernel_init=spec.kernel_init,
            rngs=rngs,
        )

    def __call__(self, x: Float[Array, "B T C"], valid: Bool[Array, "B T"], forward: Forward) -> Float[Array, "B T D"]:
        """What the last module gives, or its sum with the shortcut after another activation."""
        start = x
        for layer in self.layers:
            x = layer(x, valid, forward)
        return x if self.projection is None else jax.nn.relu(x + self.projection(start, valid, forward))


class InceptionModule(nnx.Module):
    """Convolutions of different widths side by side."""

    def __init__(self, spec: InceptionTime, in_channels: int, rngs: nnx.Rngs) -> None:
        """Make the convolutions, none of which has a bias; a single channel is not narrowed."""

        def made(channels: int, outputs: int, width: int) -> Convolution1D:
            return Convolution1D(channels, outputs, width=width, bias=False, kernel_init=spec.kernel_init, rngs=rngs)

        narrow = spec.bottleneck if in_channels > 1 else None
        self.bottleneck = None if narrow is None else made(in_channels, narrow, 1)
        seen = in_channels if narrow is None else narrow
        self.branches = nnx.List([made(seen, spec.filters, width) for width in spec.kernels])
        self.pooled = made(in_channels, spec.filters, 1)
        self.norm = BatchNorm(spec.filters * (len(spec.kernels) + 1), momentum=spec.momentum, epsilon=KERAS_EPSILON)

    def __call__(self, x: Float[Array, "B T C"], valid: Bool[Array, "B T"], forward: Forward) -> Float[Array, "B T D"]:
        """The normalised and activated maps of all convolutions."""
        narrow = x if self.bottleneck is None else self.bottleneck(x, valid, forward)
        found = [branch(narrow, valid, forward) for branch in self.branches]
        found.append(self.pooled(max_pool_1d(x, valid, WINDOW, 1), valid, forward))
        return jax.nn.relu(self.norm(jnp.concatenate(found, axis=-1), forward, valid))
