"""A model of short windows, applied to whole series."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int32

from research.errors import UserError
from research.models.model import Forward, Model
from research.models.series import series_shape
from research.spec import field

ON_TIME_AXIS = ("values", "observed", "time")
"""Inputs that are cut to a window; ``static`` descriptors are those of the whole series."""


class Windowed(Model):
    """A model that is trained on random pieces of series and evaluated on all windows of each.

    In training it passes on what it is given: pieces of ``length`` steps, cut by ``SeriesAugmentation(crop=length)``.
    Otherwise each series is cut into windows of ``length`` steps that begin ``stride`` steps after one another, the
    last of them at the end of the series; a series that is no longer than a window is one window. The outputs (logits)
    of a series are the greatest or the mean ones of its windows, each output by itself. Where each label is predicted
    on its own the greatest logit is that of the greatest probability; this, with windows of 2.5 s and strides of half
    as much, is what the PTB-XL benchmark does (Strodthoff et al., IEEE JBHI 2021). The mean of logits is not the logit
    of the mean probability.

    Windows are computed one after the other, all series side by side, so evaluation takes no more memory than training
    with batches of that size. Attention weights of windows are not noted.
    """

    model: Model = field(help="what sees a window")
    length: int = field(minimum=1, help="steps of a window")
    stride: int | None = field(None, minimum=1, help="steps from one window to the next; none: half a window")
    combine: Literal["max", "mean"] = field(
        "max", help="which logits a series has: the greatest of its windows, or mean"
    )

    def validate(self) -> None:
        """No step is left out between two windows."""
        if self.stride is not None and self.stride > self.length:
            raise UserError(
                f"stride: with {self.stride} steps from one window of {self.length} to the next some are never seen. "
                f"Give at most {self.length}."
            )

    @property
    def looks_ahead(self) -> str:
        """See `Model.looks_ahead`: as the model that sees a window."""
        return f"model.{self.model.looks_ahead}" if self.model.looks_ahead else ""

    @property
    def has_blocks(self) -> bool:
        """See `Model.has_blocks`: as the model that sees a window."""
        return self.model.has_blocks

    @property
    def recurrent(self) -> bool:
        """See `Model.recurrent`: as the model that sees a window."""
        return self.model.recurrent

    def build(self, inputs: Any, outputs: int, rngs: nnx.Rngs) -> nnx.Module:
        """See `Model.build`; raises `UserError` where the inputs are no series."""
        steps, _, _ = series_shape(inputs, "Windowed")
        window = {
            name: jax.ShapeDtypeStruct((min(steps, self.length), *x.shape[1:]), x.dtype) if name in ON_TIME_AXIS else x
            for name, x in inputs.items()
        }
        return WindowedNetwork(self, self.model.build(window, outputs, rngs))


class WindowedNetwork(nnx.Module):
    """The module that `Windowed` builds."""

    def __init__(self, spec: Windowed, inner: nnx.Module) -> None:
        """Keep the module that sees a window."""
        self.length, self.combine = spec.length, spec.combine
        self.stride = spec.stride or max(spec.length // 2, 1)
        self.inner: Any = inner

    def __call__(self, inputs: dict[str, Array], forward: Forward) -> Float[Array, "B K"]:
        """Outputs of each example.

        Raises:
            UserError: in training on longer series than a window, and for a model with an output at each step.
        """
        steps = inputs["values"].shape[1]
        if forward.train and steps > self.length:
            raise UserError(
                f"model: Windowed is trained on windows of {self.length} steps, but these series have {steps}. Set "
                f"data.augmentation=SeriesAugmentation(crop={self.length})."
            )
        if steps <= self.length:
            return self.inner(inputs, forward)
        starts, counts = windows(inputs["length"], steps, self.length, self.stride)
        quiet = dataclasses.replace(forward, attention=None)

        def outputs_of(start: Int32[Array, " B"]) -> Array:
            return self.inner(window_of(inputs, start, self.length), quiet)

        found = jax.lax.map(outputs_of, starts)
        if found.ndim != 3:
            raise UserError(
                "model: Windowed combines one output of each window, but its model has outputs for each step. Use "
                "another readout than 'each'."
            )
        counts = counts[..., None]
        if self.combine == "max":
            return jnp.where(counts, found, -jnp.inf).max(0)
        return jnp.where(counts, found, 0).sum(0) / counts.sum(0).astype(found.dtype)


def windows(
    length: Int32[Array, " B"], steps: int, size: int, stride: int
) -> tuple[Int32[Array, "n B"], Bool[Array, "n B"]]:
    """Where windows begin, and which of them a series has: those before which not all of it was seen.

    Args:
        length: steps of each series.
        steps: to which they are padded; more than ``size``.
        size: steps of a window.
        stride: steps from one window to the next.
    """
    begin = jnp.arange(1 - (size - steps) // stride, dtype=jnp.int32)[:, None] * stride
    length = length[None, :]
    return jnp.minimum(begin, jnp.maximum(length - size, 0)), (begin == 0) | (begin - stride + size < length)


def window_of(inputs: dict[str, Array], start: Int32[Array, " B"], length: int) -> dict[str, Array]:
    """``length`` steps of each series from ``start`` on, which must all be there."""
    place = start[:, None] + jnp.arange(length, dtype=jnp.int32)[None, :]

    def cut(x: Array) -> Array:
        return jnp.take_along_axis(x, place.reshape(*place.shape, *[1] * (x.ndim - 2)), axis=1)

    found = {name: cut(x) if name in ON_TIME_AXIS else x for name, x in inputs.items()}
    return found | {"length": jnp.minimum(inputs["length"] - start, length)}
