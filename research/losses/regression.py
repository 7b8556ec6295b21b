"""Losses of quantities: errors in their units, or in standard deviations of the training targets."""

from __future__ import annotations

from typing import ClassVar

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float32, Shaped

from research.errors import UserError
from research.losses.base import Loss, PerExample, Targets, check_count, numbers, row_of
from research.spec import Static, field
from research.task import Kind, Task

MEDIAN = 0.5


class _Regression(Loss):
    """Errors per predicted quantity; NaN targets are missing, and an example weighs as many as it has observed.

    With ``standardize`` a model learns each quantity with mean 0 and deviation 1, which are taken from the training
    targets, so that quantities of different scale weigh alike and a fresh network begins near all of them. The loss is
    then in deviations; predictions are in the units of the targets all the same.
    """

    abstract: ClassVar[bool] = True
    kinds: ClassVar[tuple[Kind, ...]] = ("regression",)

    standardize: bool = field(False, help="learn each quantity less its mean in train, over its deviation there")
    mean: tuple[float, ...] | None = field(None, help="what is taken off each quantity; standardize fills it in")
    deviation: tuple[float, ...] | None = field(
        None, above=0, help="what each quantity is divided by; standardize fills it in"
    )

    def validate(self) -> None:
        """Mean and deviation come together, and from one place."""
        if (self.mean is None) != (self.deviation is None):
            raise UserError("loss.mean, loss.deviation: both are needed, or neither; standardize=true fills them in.")
        if self.standardize and self.mean is not None:
            raise UserError("loss.mean: standardize=true takes the mean and the deviation from train; remove one.")

    def check_task(self, task: Task) -> None:
        """See `Loss.check_task`."""
        super().check_task(task)
        check_count("mean", self.mean, task)
        check_count("deviation", self.deviation, task)

    def fitted(self, task: Task, targets: Shaped[np.ndarray, "N ..."]) -> Loss:
        """See `Loss.fitted`; a quantity that does not vary in train keeps its scale."""
        if not self.standardize:
            return self
        values = targets.astype(np.float64).reshape(len(targets), -1)
        unknown = np.isnan(values).all(0)
        if unknown.any():
            name = task.names[int(np.flatnonzero(unknown)[0])]
            raise UserError(f"loss.standardize: {name} is known of no training example, so it has no mean. Remove it.")
        mean, deviation = np.nanmean(values, 0), np.nanstd(values, 0)
        deviation = np.where(deviation > 1e-12 * np.abs(mean), deviation, 1.0)
        return self.replace(standardize=False, mean=tuple(mean), deviation=tuple(deviation))

    def per_example(self, outputs: Float32[Array, "B K"], targets: Targets) -> PerExample:
        """See `Loss.per_example`; the mean is over all observed quantities of all examples, as in torch."""
        targets, observed = numbers(targets, outputs)
        cost = self._costs(outputs, self._standardized(targets))
        return jnp.where(observed, cost, 0).sum(1), observed.astype(outputs.dtype).sum(1)

    def _costs(self, outputs: Float32[Array, "B K"], targets: Float32[Array, "B L"]) -> Float32[Array, "B L"]:
        return self.cost(outputs - targets)

    def cost(self, error: Float32[Array, "B L"]) -> Float32[Array, "B L"]:
        """What an error costs, element by element."""
        raise NotImplementedError

    def predict(self, outputs: Float32[Array, "B K"], task: Task) -> Float32[Array, "B L"]:
        """See `Loss.predict`."""
        return self._in_units(outputs)

    def _standardized(self, targets: Float32[Array, "B L"]) -> Float32[Array, "B L"]:
        if self.mean is None or self.deviation is None:
            return targets
        mean, deviation = (
            jnp.broadcast_to(row_of(part, targets), targets.shape) for part in (self.mean, self.deviation)
        )
        return (targets - mean) / deviation

    def _in_units(self, values: Float32[Array, "B L"]) -> Float32[Array, "B L"]:
        if self.mean is None or self.deviation is None:
            return values
        mean, deviation = (jnp.broadcast_to(row_of(part, values), values.shape) for part in (self.mean, self.deviation))
        return values * deviation + mean


class MSE(_Regression):
    """Mean squared error, ``(prediction - target)^2``, in squared units of the target."""

    def cost(self, error: Float32[Array, "B L"]) -> Float32[Array, "B L"]:
        """See `_Regression.cost`."""
        return jnp.square(error)


class MAE(_Regression):
    """Mean absolute error, in the units of the target."""

    def cost(self, error: Float32[Array, "B L"]) -> Float32[Array, "B L"]:
        """See `_Regression.cost`."""
        return jnp.abs(error)


class Huber(_Regression):
    """Half the squared error up to ``delta``, linear beyond (Huber, Annals of Mathematical Statistics 1964)."""

    delta: float = field(
        1.0, above=0, help="error at which the loss becomes linear, in units of the target, or in deviations of it"
    )

    def cost(self, error: Float32[Array, "B L"]) -> Float32[Array, "B L"]:
        """See `_Regression.cost`."""
        within = jnp.minimum(jnp.abs(error), self.delta)
        return within * (jnp.abs(error) - 0.5 * within)


class Quantile(_Regression):
    """Pinball loss: ``q e`` for a target that lies e above its predicted quantile q, ``(1 - q) e`` for one e below.

    Koenker & Bassett, "Regression quantiles", Econometrica 1978. A model has an output for each quantity and quantile;
    the loss is the mean over them. What is reported as the prediction is the median; the quantiles stand beside it.
    They are brought into ascending order for that, which leaves the loss equal or smaller (Chernozhukov, Fernandez-Val
    & Galichon, Econometrica 2010).
    """

    quantiles: Static[tuple[float, ...]] = field(
        (0.1, MEDIAN, 0.9), above=0, below=1, help="what is predicted of each quantity, ascending, 0.5 among them"
    )

    def validate(self) -> None:
        """Quantiles ascend, and the median is one of them."""
        super().validate()
        if any(low >= high for low, high in zip(self.quantiles, self.quantiles[1:], strict=False)):
            raise UserError(f"loss.quantiles: they are needed in ascending order, {self.quantiles} was given.")
        if MEDIAN not in self.quantiles:
            raise UserError(
                f"loss.quantiles: 0.5 is needed among them, for the median is the prediction; {self.quantiles} was "
                f"given."
            )

    @property
    def levels(self) -> tuple[float, ...]:
        """See `Loss.levels`."""
        return self.quantiles

    def outputs(self, task: Task) -> int:
        """See `Loss.outputs`; those of a quantity follow one another."""
        return super().outputs(task) * len(self.quantiles)

    def _costs(self, outputs: Float32[Array, "B K"], targets: Float32[Array, "B L"]) -> Float32[Array, "B L"]:
        said = self._apart(outputs)
        above = jnp.broadcast_to(targets[..., None], said.shape) - said
        levels = jnp.broadcast_to(jnp.asarray(self.quantiles, outputs.dtype)[None, None], said.shape)
        return jnp.maximum(levels * above, (levels - 1) * above).mean(-1)

    def predict(self, outputs: Float32[Array, "B K"], task: Task) -> Float32[Array, "B L"]:
        """See `Loss.predict`; the median of each quantity."""
        return self.predict_quantiles(outputs, task)[..., self.quantiles.index(MEDIAN)]

    def predict_quantiles(self, outputs: Float32[Array, "B K"], task: Task) -> Float32[Array, "B L Q"]:
        """See `Loss.predict_quantiles`."""
        ascending = jnp.sort(self._apart(outputs), axis=-1)
        return jnp.stack([self._in_units(ascending[..., place]) for place in range(len(self.quantiles))], axis=-1)

    def _apart(self, outputs: Float32[Array, "B K"]) -> Float32[Array, "B L Q"]:
        return outputs.reshape(len(outputs), -1, len(self.quantiles))
