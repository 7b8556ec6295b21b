"""What convolutional models of signals share: checks, a convolution with its normalisation, what follows the maps."""

from __future__ import annotations

from typing import Any

from flax import nnx
from jaxtyping import Array, Bool, Float

from research.errors import UserError
from research.models.layers import BatchNorm, Convolution1D, Dense, Dropout, mean_over_steps, strided, through_block
from research.models.model import Forward
from research.models.placement import Placement
from research.models.series import Channel, beside_static, channels_of, valid_steps

KERAS_EPSILON = 1e-3
"""What Keras adds to the variance in batch normalisation; torch adds 1e-5."""


def check_alike(name: str, first: tuple[Any, ...], other: str, second: tuple[Any, ...]) -> None:
    """Raise `UserError` where two fields do not describe the same convolutions, or there is none."""
    if not first or len(first) != len(second):
        raise UserError(
            f"{other}: one number for each of {name} is needed, {name}={first} and {other}={second} were given."
        )


class ConvolutionNorm1D(nnx.Module):
    """A convolution over time and its batch normalisation."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        width: int,
        *,
        stride: int = 1,
        bias: bool = False,
        momentum: float | Array,
        epsilon: float,
        kernel_init: str,
        rngs: nnx.Rngs,
    ) -> None:
        """Make both; see `Convolution1D` and `BatchNorm` for the arguments."""
        self.convolution = Convolution1D(
            in_channels, out_channels, width=width, stride=stride, bias=bias, kernel_init=kernel_init, rngs=rngs
        )
        self.norm = BatchNorm(out_channels, momentum=momentum, epsilon=epsilon)

    def __call__(self, x: Float[Array, "B T C"], valid: Bool[Array, "B T"], forward: Forward) -> Float[Array, "B t D"]:
        """The normalised maps; ``valid`` says which steps of ``x`` count."""
        counts = strided(valid, self.convolution.stride)
        return self.norm(self.convolution(x, valid, forward), forward, counts)


class MeanPooled(nnx.Module):
    """A network whose output layer sees the mean over time of each map, and static descriptors."""

    channels: tuple[Channel, ...]
    placement: Placement

    def finish(self, spec: Any, features: int, outputs: int, rngs: nnx.Rngs) -> None:
        """Make what follows the maps; ``spec`` has the dropout and how kernels start."""
        self.dropout = Dropout(spec.dropout)
        self.output = Dense(features, outputs, kernel_init=spec.kernel_init, final=True, rngs=rngs)

    def features(self, inputs: dict[str, Array], forward: Forward) -> Float[Array, "B T D"]:
        """Maps of the last layer after their activation."""
        raise NotImplementedError

    def head(self, maps: Float[Array, "B T D"], inputs: dict[str, Array], forward: Forward) -> Float[Array, "B K"]:
        """Outputs from what `features` gave."""
        x = beside_static(mean_over_steps(maps, valid_steps(inputs)), inputs)
        return self.output(self.dropout(x, forward), forward)

    def __call__(self, inputs: dict[str, Array], forward: Forward) -> Float[Array, "B K"]:
        """Outputs of each example."""
        return self.head(self.features(inputs, forward), inputs, forward)


class MeanPooledBlocks(MeanPooled):
    """Such a network of blocks, one after the other; what a block gives is activated."""

    blocks: nnx.List

    def features(self, inputs: dict[str, Array], forward: Forward) -> Float[Array, "B T D"]:
        """Maps of the last block."""
        x, valid = channels_of(inputs, self.channels), valid_steps(inputs)
        for block in self.blocks:
            x = through_block(block, forward, x, valid)
        return x
