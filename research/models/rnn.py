"""Recurrent networks for series."""

from __future__ import annotations

from typing import Any, Literal

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from research.errors import UserError
from research.models.layers import (
    AttentionPooling,
    DecayRecurrent,
    Dense,
    Dropout,
    Recurrent,
    max_over_steps,
    mean_over_steps,
)
from research.models.model import Forward, Model
from research.models.series import Channel, beside_static, channels_of, series_shape, time_since_observed, valid_steps
from research.spec import field

Readout = Literal["last", "mean", "max", "attention", "each"]


class RNN(Model):
    """Recurrent layers over a series, then a readout and an output layer.

    The readout takes the hidden states of the last layer to one vector: that at the true end of the series (``last``;
    of a layer that goes backwards, that at its beginning), their ``mean`` or ``max``, or a mean with learnt weights
    (``attention``). With ``each`` there are outputs for each step. Static descriptors are laid beside that vector.
    Dropout acts on the inputs of each recurrent layer but the first, and on what is read out. Padding changes nothing.

    ``grud`` reads values, mask and times by itself, in its first layer; further layers are GRUs.
    """

    cell: Literal["simple", "lstm", "gru", "grud"] = field("lstm", help="recurrence; see the layers")
    widths: tuple[int, ...] = field((64,), minimum=1, help="units of each recurrent layer")
    bidirectional: bool = field(False, help="a second layer beside each, from the end to the beginning")
    channels: tuple[Channel, ...] = field(
        ("values",), help="what is seen of each variable: values, observed (the mask), since (time since it was)"
    )
    readout: Readout = field("last", help="how steps become one vector; each: outputs for each step")
    dense_widths: tuple[int, ...] = field((), minimum=1, help="units of dense layers after the readout")
    dropout: float | None = field(None, minimum=0, below=1, help="share of units dropped in training")

    def validate(self) -> None:
        """GRU-D has its own channels and one direction; there is a layer and a channel."""
        if not self.widths:
            raise UserError("widths: at least one recurrent layer is needed, () was given.")
        if not self.channels or len(set(self.channels)) < len(self.channels):
            raise UserError(f"channels: one or more different channels are needed, {self.channels} was given.")
        if self.cell == "grud" and self.bidirectional:
            raise UserError("bidirectional: GRU-D decays forwards in time; use cell=gru, or bidirectional=false.")
        if self.cell == "grud" and self.channels != ("values",):
            raise UserError("channels: GRU-D reads values, mask and times by itself; leave channels out.")

    def build(self, inputs: Any, outputs: int, rngs: nnx.Rngs) -> nnx.Module:
        """See `Model.build`; raises `UserError` where the inputs are no series."""
        _, variables, static = series_shape(inputs, "RNN")
        return RecurrentNetwork(self, variables, static, outputs, rngs)


class RecurrentNetwork(nnx.Module):
    """The module that `RNN` builds."""

    def __init__(self, spec: RNN, variables: int, static: int, outputs: int, rngs: nnx.Rngs) -> None:
        """Make the layers, from the first to the last."""
        self.channels, self.readout = spec.channels, spec.readout
        self.first = DecayRecurrent(variables, spec.widths[0], rngs=rngs) if spec.cell == "grud" else None
        features = spec.widths[0] if self.first is not None else variables * len(spec.channels)
        self.layers = nnx.List([])
        for width in spec.widths[self.first is not None :]:
            cell = "gru" if spec.cell == "grud" else spec.cell
            directions = (False, True) if spec.bidirectional else (False,)
            self.layers.append(
                nnx.List([Recurrent(features, width, cell=cell, backwards=back, rngs=rngs) for back in directions])
            )
            features = width * len(directions)
        self.pooling = AttentionPooling(features, rngs=rngs) if spec.readout == "attention" else None
        features += static
        self.dense = nnx.List([])
        for width in spec.dense_widths:
            self.dense.append(Dense(features, width, kernel_init="he_normal", rngs=rngs))
            features = width
        self.dropout = Dropout(spec.dropout)
        self.output = Dense(features, outputs, rngs=rngs)

    def __call__(self, inputs: dict[str, Array], forward: Forward) -> Float[Array, "B ..."]:
        """Outputs of each example, ``[B, K]``, or of each step, ``[B, T, K]``."""
        valid = valid_steps(inputs)
        if self.first is not None:
            since = time_since_observed(inputs["observed"], inputs["time"])
            x, last = self.first(inputs["values"], inputs["observed"], since, valid, forward)
            ends = [last[0]]
        else:
            x, ends = channels_of(inputs, self.channels), []
        for number, layers in enumerate(self.layers):
            x = self.dropout(x, forward) if number or self.first is not None else x
            found = [layer(x, valid, forward) for layer in layers]
            x = jnp.concatenate([hidden for hidden, _ in found], axis=-1)
            ends = [last[0] for _, last in found]
        x = self._read(x, jnp.concatenate(ends, axis=-1), valid, forward)
        x = self.dropout(beside_static(x, inputs), forward)
        for layer in self.dense:
            x = self.dropout(nnx.relu(layer(x, forward)), forward)
        return self.output(x, forward)

    def _read(
        self, x: Float[Array, "B T D"], end: Float[Array, "B D"], valid: Bool[Array, "B T"], forward: Forward
    ) -> Float[Array, "B ..."]:
        if self.readout == "mean":
            return mean_over_steps(x, valid)
        if self.readout == "max":
            return max_over_steps(x, valid)
        if self.pooling is not None:
            return self.pooling(x, valid, forward)
        return end if self.readout == "last" else x
