"""What models of series take from their inputs, and messages for inputs that are no series."""

from __future__ import annotations

from typing import Any, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from research.errors import UserError

Channel = Literal["values", "observed", "since"]
"""What a model sees of each variable at each step: its value, whether it was measured, the time since it last was."""


def check_channels(channels: tuple[str, ...]) -> None:
    """Raise `UserError` where no channel is given, or one twice."""
    if not channels or len(set(channels)) < len(channels):
        raise UserError(f"channels: one or more different channels are needed, {channels} was given.")


def series_shape(inputs: Any, name: str) -> tuple[int, int, int]:
    """Steps, variables and static descriptors of one example.

    Args:
        inputs: `jax.ShapeDtypeStruct` of one example, as `Model.build` is given them.
        name: of the model, for messages.

    Raises:
        UserError: where the inputs are no series.
    """
    if not isinstance(inputs, dict) or not {"values", "observed", "time", "length"} <= set(inputs):
        given = f"a dict of {', '.join(inputs)}" if isinstance(inputs, dict) else f"an array of {inputs.shape}"
        raise UserError(
            f"model: {name} takes series (values, observed, time, length), but one example is {given}. Use SeriesData, "
            f"or another model: MLP for tables, CNN for images."
        )
    steps, variables = inputs["values"].shape
    static = inputs["static"].shape[0] if "static" in inputs else 0
    return steps, variables, static


def valid_steps(inputs: dict[str, Array]) -> Bool[Array, "B T"]:
    """Which steps are not padding."""
    steps = jnp.arange(inputs["values"].shape[1], dtype=jnp.int32)
    return steps[None, :] < inputs["length"][:, None]


def time_since_observed(observed: Bool[Array, "B T C"], time: Float[Array, "B T"]) -> Float[Array, "B T C"]:
    """Time from the last step before this one at which a variable was measured, or from the first step, to this one.

    0 at the first step; Che et al., Scientific Reports 2018, equation 3.
    """
    when = jnp.broadcast_to(time[:, :, None], observed.shape)
    begin = when[:, :1]
    measured = jnp.where(observed, when, begin)
    before = jnp.concatenate([begin, measured[:, :-1]], axis=1)
    return when - jax.lax.cummax(before, axis=1)


def channels_of(inputs: dict[str, Array], channels: tuple[Channel, ...]) -> Float[Array, "B T D"]:
    """The chosen channels of all variables, side by side; padding is 0.

    Of the time ``t`` since a measurement ``log(1 + t)`` is taken, so that days do not drown minutes.
    """
    values, observed = inputs["values"], inputs["observed"]
    parts = []
    for channel in channels:
        if channel == "values":
            parts.append(values)
        elif channel == "observed":
            parts.append(observed.astype(values.dtype))
        else:
            since = jnp.log1p(time_since_observed(observed, inputs["time"].astype(jnp.float32)))
            parts.append(since.astype(values.dtype))
    found = jnp.concatenate(parts, axis=-1)
    return jnp.where(valid_steps(inputs)[..., None], found, 0)


def beside_static(x: Float[Array, "B ... D"], inputs: dict[str, Array]) -> Float[Array, "B ... E"]:
    """``x`` with the static descriptors of its series beside it, at each step where ``x`` has steps."""
    if "static" not in inputs:
        return x
    static = inputs["static"].astype(x.dtype)
    if x.ndim == 3:
        static = jnp.broadcast_to(static[:, None, :], (*x.shape[:2], static.shape[1]))
    return jnp.concatenate([x, static], axis=-1)
