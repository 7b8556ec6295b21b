"""The fully convolutional network for series."""

from __future__ import annotations

from typing import Any

import jax
from flax import nnx
from jaxtyping import Array, Float

from research.models.layers import initializers
from research.models.model import Forward, Model
from research.models.placement import Placement
from research.models.series import Channel, channels_of, check_channels, series_shape, valid_steps
from research.models.signals import KERAS_EPSILON, ConvolutionNorm1D, MeanPooled, check_alike
from research.spec import field


class FCN(Model):
    """Fully convolutional network for series ("FCN" of Wang, Yan and Oates, IJCNN 2017).

    Wang et al., "Time series classification from scratch with deep neural networks: a strong baseline". Convolutions
    over time, each with batch normalisation and relu, then the mean of each map over time and an output layer. As it
    stands it is the network of Ismail Fawaz et al., "Deep learning for time series classification: a review", Data
    Mining and Knowledge Discovery 2019, to the biases, initial values, and the constants of Keras's batch
    normalisation. Beyond the original are series of different lengths (what lies behind the end of a series counts for
    nothing, in the batch statistics and the mean as well), static descriptors beside the means, and dropout on both.
    """

    widths: tuple[int, ...] = field((128, 256, 128), minimum=1, help="channels of each convolution")
    kernels: tuple[int, ...] = field((8, 5, 3), minimum=1, help="steps that each convolution sees")
    channels: tuple[Channel, ...] = field(
        ("values",), help="what is seen of each variable: values, observed (the mask), since (time since it was)"
    )
    dropout: float | None = field(None, minimum=0, below=1, help="share of what the output layer sees that is dropped")
    momentum: float = field(0.99, minimum=0, maximum=1, help="share of running statistics kept; 0.9 for short runs")
    kernel_init: initializers.Name = field("glorot_uniform", help="how kernels start")

    def validate(self) -> None:
        """Each convolution has channels and a kernel, and something is seen."""
        check_alike("widths", self.widths, "kernels", self.kernels)
        check_channels(self.channels)

    def build(self, inputs: Any, outputs: int, rngs: nnx.Rngs) -> nnx.Module:
        """See `Model.build`; raises `UserError` where the inputs are no series."""
        _, variables, static = series_shape(inputs, "FCN")
        return FullyConvolutionalNetwork(self, variables, static, outputs, rngs)


class FullyConvolutionalNetwork(MeanPooled):
    """The module that `FCN` builds."""

    def __init__(self, spec: FCN, variables: int, static: int, outputs: int, rngs: nnx.Rngs) -> None:
        """Make the layers, from the first to the last."""
        self.channels = spec.channels
        self.maps = nnx.List([])
        features, placement = variables * len(spec.channels), Placement()
        for out_channels, width in zip(spec.widths, spec.kernels, strict=True):
            layer = ConvolutionNorm1D(
                features,
                out_channels,
                width,
                bias=True,
                momentum=spec.momentum,
                epsilon=KERAS_EPSILON,
                kernel_init=spec.kernel_init,
                rngs=rngs,
            )
            self.maps.append(layer)
            features, placement = out_channels, placement.through(width, 1, (width - 1) // 2)
        self.placement = placement
        self.finish(spec, features + static, outputs, rngs)

    def features(self, inputs: dict[str, Array], forward: Forward) -> Float[Array, "B T D"]:
        """Maps of the last convolution after their activation."""
        x, valid = channels_of(inputs, self.channels), valid_steps(inputs)
        for layer in self.maps:
            x = jax.nn.relu(layer(x, valid, forward))
        return x
