"""`SeriesAugmentation`: which random changes training series undergo, and how strong they are."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float32, Int32, UInt32

from research.data.augmentation.draws import Draw, Strength, normal, within
from research.errors import UserError
from research.keys import uniform
from research.spec import Spec, field

Inputs = dict[str, Any]
"""Scaled inputs as `research.data.series_data.SeriesData` describes them."""

BASELINE_CYCLES = (0.5, 4.0)
"""Least and most cycles of a wandering baseline over a series; 0.05 to 0.4 Hz for ten seconds."""


class SeriesAugmentation(Spec):
    """Random changes of the series of a training step, a new draw for each series and step.

    They take place on the device, inside the compiled step, after scaling: amplitudes are in standard deviations where
    ``scaling`` is on. Each draw is a function of (seed, step, example, purpose), so the other rows, their order and
    padding change nothing. Strengths are traced; None leaves a change out of the program.

    Baseline and jitter change what was observed alone. Amplitude and time warp change imputed values too, as the
    readings they stand for. What variable dropout and time mask take away is 0 and not observed; so is a value after
    the mask that was carried forward from a reading within it.

    In this order: crop, time warp, amplitude, baseline, jitter, variable dropout, time mask. Jitter, amplitude
    ("scaling") and time warp as in Um et al., "Data augmentation of wearable sensor data", ICMI 2017, here with uniform
    draws; the mask is that of SpecAugment (Park et al., Interspeech 2019) on the series itself.
    """

    crop: int | None = field(
        None, minimum=1, help="a random piece of so many samples; wrap the model in Windowed, which sees whole series"
    )
    time_warp: float | None = field(
        None, minimum=0, below=1, help="speed wanders between 1 - time_warp and 1 + time_warp; both ends stay in place"
    )
    amplitude: float | None = field(
        None, minimum=0, below=1, help="factors between 1 - amplitude and 1 + amplitude, one for each variable"
    )
    baseline: float | None = field(None, minimum=0, help="amplitude of a slow sine that is added to each variable")
    jitter: float | None = field(None, minimum=0, help="standard deviation of Gaussian noise on every observed value")
    variable_dropout: float | None = field(
        None, minimum=0, below=1, help="probability that a variable, such as a lead, is taken away from a whole series"
    )
    time_mask: float | None = field(
        None, minimum=0, below=1, help="a stretch of up to this share of the series is taken away from all variables"
    )

    def apply(self, inputs: Inputs, keys: UInt32[Array, "B 2"]) -> Inputs:
        """The changed inputs.

        Args:
            inputs: of a batch, scaled.
            keys: from `research.keys.example_keys`.

        Raises:
            UserError: where the series are shorter than the crop.
        """
        if self.crop is not None:
            inputs = _crop(inputs, keys, self.crop)
        if self.time_warp is not None:
            inputs = _warp(inputs, keys, self.time_warp)
        values, observed = inputs["values"], inputs["observed"]
        variables, steps = values.shape[2], values.shape[1]
        if self.amplitude is not None:
            values = values * (1 + within(keys, Draw.AMPLITUDE, self.amplitude, (1, variables)))
        if self.baseline is not None:
            values = jnp.where(
                observed, values + _sines(keys, self.baseline, inputs["length"], steps, variables), values
            )
        if self.jitter is not None:
            noise = self.jitter * normal(keys, Draw.JITTER, values.shape[1:])
            values = jnp.where(observed, values + noise, values)
        taken = jnp.zeros(values.shape, bool)
        if self.variable_dropout is not None:
            taken |= uniform(keys, Draw.VARIABLE_DROPOUT, (1, variables)) < self.variable_dropout
        if self.time_mask is not None:
            taken |= _carried_on(_stretch(keys, self.time_mask, inputs["length"], steps), observed)
        return inputs | {"values": jnp.where(taken, 0, values), "observed": observed & ~taken}


def _crop(inputs: Inputs, keys: UInt32[Array, "B 2"], size: int) -> Inputs:
    """A random piece of each series; a series that is shorter stays whole."""
    steps = inputs["values"].shape[1]
    if steps < size:
        raise UserError(f"data.augmentation.crop: {size} samples are asked for, but the series have {steps}.")
    length = inputs["length"]
    room = jnp.maximum(length - size, 0)
    start = jnp.floor(uniform(keys, Draw.TIME_CROP, ()) * (room + 1).astype(jnp.float32)).astype(jnp.int32)
    place = start[:, None] + jnp.arange(size, dtype=jnp.int32)[None, :]
    found = {name: _at(inputs[name], place) for name in ("values", "observed", "time")}
    return inputs | found | {"length": jnp.minimum(length, size)}


def _at(x: Array, place: Int32[Array, "B t"]) -> Array:
    """Rows of the time axis of each series."""
    index = place.reshape(*place.shape, *[1] * (x.ndim - 2))
    return jnp.take_along_axis(x, index, axis=1)


def _warp(inputs: Inputs, keys: UInt32[Array, "B 2"], strength: Strength) -> Inputs:
    """Time that runs faster and slower by turns: values between samples are interpolated, the ends stay in place."""
    values, last = inputs["values"], (inputs["length"] - 1).clip(1).astype(jnp.float32)[:, None]
    draws = uniform(keys, Draw.TIME_WARP, (2,))
    angle, cycles = 2 * jnp.pi * draws[:, :1], 1 + jnp.floor(2 * draws[:, 1:])
    place = jnp.arange(values.shape[1], dtype=jnp.float32)[None, :]
    turn = 2 * jnp.pi * cycles / last
    # Its derivative is `strength` times a cosine, and it is 0 at both ends.
    moved = place + strength / turn * (jnp.sin(turn * place + angle) - jnp.sin(angle))
    moved = jnp.where(place <= last, moved.clip(0, last), place)
    below = jnp.minimum(jnp.floor(moved), values.shape[1] - 2).clip(0).astype(jnp.int32)
    above = jnp.minimum(below + 1, values.shape[1] - 1)
    share = (moved - below.astype(jnp.float32))[..., None]
    mixed = (1 - share) * _at(values, below) + share * _at(values, above)
    return inputs | {"values": mixed, "observed": _at(inputs["observed"], jnp.round(moved).astype(jnp.int32))}


def _sines(
    keys: UInt32[Array, "B 2"], amplitude: Strength, length: Int32[Array, " B"], steps: int, variables: int
) -> Float32[Array, "B T C"]:
    """One slow sine for each variable of each series."""
    height, phase, cycles = jnp.split(uniform(keys, Draw.BASELINE, (3, variables)), 3, axis=1)
    low, high = BASELINE_CYCLES
    place = jnp.arange(steps, dtype=jnp.float32)[None, :, None] / length[:, None, None].astype(jnp.float32)
    return amplitude * height * jnp.sin(2 * jnp.pi * ((low + (high - low) * cycles) * place + phase))


def _stretch(
    keys: UInt32[Array, "B 2"], share: Strength, length: Int32[Array, " B"], steps: int
) -> Bool[Array, "B T 1"]:
    """True on one stretch of each series."""
    size, start = jnp.split(uniform(keys, Draw.TIME_MASK, (2,)), 2, axis=1)
    length = length[:, None].astype(jnp.float32)
    size = jnp.floor(share * size * (length + 1))
    first = jnp.floor(start * (length - size + 1))
    place = jnp.arange(steps, dtype=jnp.float32)[None, :]
    return ((place >= first) & (place < first + size))[..., None]


def _carried_on(hidden: Bool[Array, "B T 1"], observed: Bool[Array, "B T C"]) -> Bool[Array, "B T C"]:
    """True on hidden steps, and on those that show no reading of their own and whose last one is hidden."""
    place = jnp.broadcast_to(jnp.arange(observed.shape[1], dtype=jnp.int32)[None, :, None], observed.shape)
    last = jax.lax.cummax(jnp.where(observed, place, -1), axis=1)
    hidden = jnp.broadcast_to(hidden, observed.shape)
    return hidden | ((last >= 0) & jnp.take_along_axis(hidden, last.clip(0), axis=1))
