"""The perceptron for series of one length."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from research.errors import UserError
from research.models.layers import Dense, Dropout, initializers
from research.models.model import Forward, Model
from research.models.series import Channel, beside_static, channels_of, check_channels, series_shape
from research.spec import field


class SeriesMLP(Model):
    """Perceptron that sees a whole series at once ("MLP" of Wang, Yan and Oates, IJCNN 2017).

    Wang et al., "Time series classification from scratch with deep neural networks: a strong baseline". Dense layers
    with relu, and dropout before each of them and before the output layer; kernels start as in Keras, which the paper
    used. Each step has weights of its own, so series should begin at the same moment and be about as long; shorter ones
    are filled up with zeros, the mean of scaled values. Beyond the original are these, and static descriptors, which
    the output layer sees beside the last hidden one.
    """

    widths: tuple[int, ...] = field((500, 500, 500), minimum=1, help="units of each hidden layer")
    dropout: tuple[float, ...] | None = field(
        (0.1, 0.2, 0.2, 0.3), minimum=0, below=1, help="share dropped of the series, then of each hidden layer"
    )
    channels: tuple[Channel, ...] = field(
        ("values",), help="what is seen of each variable: values, observed (the mask), since (time since it was)"
    )
    kernel_init: initializers.Name = field("glorot_uniform", help="how kernels start")

    def validate(self) -> None:
        """There is a hidden layer, a rate for the series and for each hidden layer, and something is seen."""
        if not self.widths:
            raise UserError("widths: at least one hidden layer is needed, () was given.")
        if self.dropout is not None and len(self.dropout) != len(self.widths) + 1:
            raise UserError(
                f"dropout: one share for the series and one for each of the {len(self.widths)} hidden layers are "
                f"needed, {len(self.dropout)} were given. Give {len(self.widths) + 1}, or none."
            )
        check_channels(self.channels)

    def build(self, inputs: Any, outputs: int, rngs: nnx.Rngs) -> nnx.Module:
        """See `Model.build`; raises `UserError` where the inputs are no series."""
        steps, variables, static = series_shape(inputs, "SeriesMLP")
        return SeriesPerceptron(self, steps * variables * len(self.channels), static, outputs, rngs)


class SeriesPerceptron(nnx.Module):
    """The module that `SeriesMLP` builds."""

    def __init__(self, spec: SeriesMLP, features: int, static: int, outputs: int, rngs: nnx.Rngs) -> None:
        """Make the layers, from the first to the last, for so many ``features`` of a whole series."""
        self.channels = spec.channels
        rates = spec.dropout if spec.dropout is not None else (None,) * (len(spec.widths) + 1)
        self.dropout = nnx.List([Dropout(rate) for rate in rates])
        self.hidden = nnx.List([])
        for width in spec.widths:
            self.hidden.append(Dense(features, width, kernel_init=spec.kernel_init, rngs=rngs))
            features = width
        self.output = Dense(features + static, outputs, kernel_init=spec.kernel_init, final=True, rngs=rngs)

    def __call__(self, inputs: dict[str, Array], forward: Forward) -> Float[Array, "B K"]:
        """Outputs of each example.

        Raises:
            UserError: for series that are longer than those the network was made for.
        """
        x = self._whole(channels_of(inputs, self.channels))
        for layer, dropout in zip(self.hidden, self.dropout[:-1], strict=True):
            x = jax.nn.relu(layer(dropout(x, forward), forward))
        return self.output(self.dropout[-1](beside_static(x, inputs), forward), forward)

    def _whole(self, x: Float[Array, "B T C"]) -> Float[Array, "B F"]:
        """Series as single vectors, as long as the first kernel is high: batches may have been cut to shorter ones."""
        steps, channels = x.shape[1:]
        rows = self.hidden[0].kernel.shape[0]
        if steps * channels > rows:
            raise UserError(
                f"model: SeriesMLP was made for series of {rows // channels} steps, but these have {steps}. Set "
                f"data.longest to {rows // channels}."
            )
        return jnp.pad(x.reshape(x.shape[0], -1), ((0, 0), (0, rows - steps * channels)))
