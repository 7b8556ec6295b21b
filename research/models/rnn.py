"""Recurrent networks for series."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from research import keys
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
from research.models.series import (
    Channel,
    beside_static,
    channels_of,
    check_channels,
    series_shape,
    time_since_observed,
    valid_steps,
)
from research.spec import field
from research.task import Task

Cell = Literal["simple", "lstm", "gru", "grud"]
Readout = Literal["last", "mean", "max", "attention", "each"]


class RNN(Model):
    """Recurrent layers over a series, then a readout and an output layer.

    The readout takes the hidden states of the last layer to one vector: that at the true end of the series (``last``;
    of a layer that goes backwards, that at its beginning), their ``mean`` or ``max``, or a mean with learnt weights
    (``attention``). With ``each`` there are outputs for each step. Static descriptors are laid beside that vector.
    Dropout acts on the inputs of each recurrent layer but the first, and on what is read out. Padding changes nothing.

    ``grud`` reads values, mask and times by itself, in its first layer; further layers are GRUs.

    With ``steps_ahead`` quantities at as many horizons are forecast autoregressively, by an encoder and a decoder
    (Sutskever, Vinyals and Le, NeurIPS 2014; Cho et al., EMNLP 2014). The first forecast is read off the end of the
    series, as where all are made at once. Then cells of their own, as many layers of the same widths, go on from the
    last states, the forecast before being their input, and the same dense layers read the next forecast off them. With
    `research.losses.Quantile` a forecast is all quantiles of a horizon. So it is in training too: the model sees its
    own forecasts there, never the true values (no teacher forcing). Horizons an equal time apart suit it, and
    ``loss.standardize``, which makes forecasts about as large as the scaled inputs. Beside the parameters of a model of
    one horizon, K outputs, a decoder has ``G W (I + W + 1)`` in each layer of width W: G is 1, 4 or 3 (simple, LSTM,
    GRU), I the width of the layer before, in the first layer K; a GRU has W more.
    """

    cell: Cell = field("lstm", help="recurrence; see the layers")
    widths: tuple[int, ...] = field((64,), minimum=1, help="units of each recurrent layer")
    bidirectional: bool = field(False, help="a second layer beside each, from the end to the beginning")
    channels: tuple[Channel, ...] = field(
        ("values",), help="what is seen of each variable: values, observed (the mask), since (time since it was)"
    )
    readout: Readout = field("last", help="how steps become one vector; each: outputs for each step")
    dense_widths: tuple[int, ...] = field((), minimum=1, help="units of dense layers after the readout")
    steps_ahead: int | None = field(
        None, minimum=2, help="horizons, forecast one after the other, each from the one before; none: all at once"
    )
    dropout: float | None = field(None, minimum=0, below=1, help="share of units dropped in training")

    @property
    def recurrent(self) -> bool:
        """See `Model.recurrent`."""
        return True

    def validate(self) -> None:
        """GRU-D has its own channels and one direction; there is a layer and a channel."""
        if not self.widths:
            raise UserError("widths: at least one recurrent layer is needed, () was given.")
        check_channels(self.channels)
        if self.cell == "grud" and self.bidirectional:
            raise UserError("bidirectional: GRU-D decays forwards in time; use cell=gru, or bidirectional=false.")
        if self.cell == "grud" and self.channels != ("values",):
            raise UserError("channels: GRU-D reads values, mask and times by itself; leave channels out.")
        if self.steps_ahead is not None and self.bidirectional:
            raise UserError(
                "bidirectional: with steps_ahead the forecast goes on from the last state, forwards in time. Use "
                "bidirectional=false, or steps_ahead=none."
            )
        if self.steps_ahead is not None and self.readout != "last":
            raise UserError(
                f"readout: with steps_ahead each forecast is read off the state at its step; readout={self.readout} "
                f"was given. Use readout=last, or steps_ahead=none."
            )

    @property
    def looks_ahead(self) -> str:
        """See `Model.looks_ahead`: a layer that goes backwards comes from the end."""
        return "bidirectional=false" if self.bidirectional else ""

    def check_data(self, details: dict[str, Any], task: Task) -> None:
        """See `Model.check_data`: gaps are filled as GRU-D takes it, and there is a quantity for each step ahead."""
        series = details.get("series", {})
        if self.cell == "grud" and series.get("gaps"):
            for name, needed in (("impute", ("forward",)), ("scaling", ("train", "series"))):
                if series[name] not in needed:
                    raise UserError(
                        f"data.{name}: GRU-D lets a variable that is not measured decay from its last value to its "
                        f"mean, which must be 0; {series[name]} was given. Set data.{name}={needed[0]}, or another "
                        f"model.cell."
                    )
        if self.steps_ahead is None:
            return
        if task.kind != "regression":
            raise UserError(
                f"model.steps_ahead: quantities at several horizons are forecast step by step, but the data has "
                f"{task.kind} targets. Set model.steps_ahead=none."
            )
        if self.steps_ahead != len(task.names):
            remedy = f"model.steps_ahead={len(task.names)}" if len(task.names) > 1 else "model.steps_ahead=none"
            raise UserError(
                f"model.steps_ahead: {self.steps_ahead} steps do not fit the {len(task.names)} quantities of the data: "
                f"{', '.join(task.names)}. Set {remedy}."
            )

    def build(self, inputs: Any, outputs: int, rngs: nnx.Rngs) -> nnx.Module:
        """See `Model.build`; raises `UserError` where the inputs are no series or outputs do not divide into steps."""
        _, variables, static = series_shape(inputs, "RNN")
        if outputs % (self.steps_ahead or 1):
            raise UserError(
                f"model.steps_ahead: {outputs} outputs do not divide into {self.steps_ahead} steps. Set it to the "
                f"number of horizons."
            )
        return RecurrentNetwork(self, variables, static, outputs, rngs)


class RecurrentNetwork(nnx.Module):
    """The module that `RNN` builds."""

    def __init__(self, spec: RNN, variables: int, static: int, outputs: int, rngs: nnx.Rngs) -> None:
        """Make the layers, from the first to the last."""
        self.channels, self.readout, self.steps_ahead = spec.channels, spec.readout, spec.steps_ahead
        outputs //= spec.steps_ahead or 1
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
        self.output = Dense(features, outputs, final=True, rngs=rngs)
        self.decoder = nnx.List([])
        if spec.steps_ahead is not None:
            cell = "gru" if spec.cell == "grud" else spec.cell
            for before, width in zip((outputs, *spec.widths), spec.widths, strict=False):
                self.decoder.append(Recurrent(before, width, cell=cell, rngs=rngs))

    def __call__(self, inputs: dict[str, Array], forward: Forward) -> Float[Array, "B ..."]:
        """Outputs of each example, ``[B, K]``, or of each step, ``[B, T, K]``; those of a step ahead stand together."""
        valid = valid_steps(inputs)
        if self.first is not None:
            since = time_since_observed(inputs["observed"], inputs["time"])
            x, last = self.first(inputs["values"], inputs["observed"], since, valid, forward)
            states = [(last,)]
        else:
            x, states = channels_of(inputs, self.channels), []
        for number, layers in enumerate(self.layers):
            x = self.dropout(x, forward) if number or self.first is not None else x
            found = [layer(x, valid, forward) for layer in layers]
            x = jnp.concatenate([hidden for hidden, _ in found], axis=-1)
            states.append(tuple(last for _, last in found))
        end = jnp.concatenate([last[0] for last in states[-1]], axis=-1).astype(x.dtype)
        x = self._read(x, end, valid, forward)
        first = self._say(x, inputs, forward)
        if self.steps_ahead is None:
            return first
        return self._go_on(tuple(state for (state,) in states), first, self.steps_ahead, inputs, forward)

    def _say(self, x: Float[Array, "B ... D"], inputs: dict[str, Array], forward: Forward) -> Float[Array, "B ... K"]:
        """Outputs from what was read out."""
        x = self.dropout(beside_static(x, inputs), forward)
        for layer in self.dense:
            x = self.dropout(nnx.relu(layer(x, forward)), forward)
        return self.output(x, forward)

    def _go_on(
        self,
        states: tuple[tuple[Array, ...], ...],
        first: Float[Array, "B K"],
        steps: int,
        inputs: dict[str, Array],
        forward: Forward,
    ) -> Float[Array, "B L"]:
        """The outputs of all steps ahead, from those of the first and the states of all layers before it.

        What goes from step to step is float32; the layers see it in the precision of the pass.
        """
        dtype = inputs["values"].dtype

        def step(carry: tuple[Any, Array], drawn: Any) -> tuple[tuple[Any, Array], Array]:
            states, x = carry[0], carry[1].astype(dtype)
            now, found = dataclasses.replace(forward, keys=drawn, attention=None), []
            for number, (layer, state) in enumerate(zip(self.decoder, states, strict=True)):
                x = self.dropout(x, now) if number else x
                found.append(layer.step(state, layer.project(x)))
                x = found[-1][0].astype(dtype)
            said = self._say(x, inputs, now)
            return (tuple(found), said), said

        drawn = None
        if forward.keys is not None and self.dropout.rate is not None:
            drawn = keys.step_keys(forward.keys, steps - 1)
        _, others = jax.lax.scan(step, (states, first), drawn, length=steps - 1)
        every = jnp.concatenate([first[None], others])
        return jnp.swapaxes(every, 0, 1).reshape(len(first), -1)

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
