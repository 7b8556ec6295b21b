"""Losses of the time to an event that is not seen of everyone: follow-up may end before it comes (censoring)."""

from __future__ import annotations

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float32, Shaped

from research.context import Context
from research.errors import UserError
from research.losses.base import Loss, PerExample, Targets, row_of
from research.spec import field
from research.task import Kind, Task


class _Survival(Loss):
    """Targets are pairs: how long a patient was followed, and whether the event came at the end (1) or not (0)."""

    abstract: ClassVar[bool] = True
    kinds: ClassVar[tuple[Kind, ...]] = ("survival",)

    def fitted(self, task: Task, targets: Shaped[np.ndarray, "N ..."]) -> Loss:
        """See `Loss.fitted`; refuses times and events that are none."""
        time, event = targets[:, 0], targets[:, 1]
        wrong = ~(np.isfinite(time) & (time >= 0) & np.isin(event, (0, 1)))
        if wrong.any():
            row = int(np.flatnonzero(wrong)[0])
            raise UserError(
                f"loss: a time of at least 0 and an event of 0 or 1 are needed; training row {row} has time "
                f"{time[row]:g} and event {event[row]:g}."
            )
        if not event.any():
            raise UserError(
                f"loss: no training example has {task.names[0]!r}, so there is nothing to learn its time from."
            )
        return self


class CoxPH(_Survival):
    """Negative logarithm of the partial likelihood of the proportional hazards model, per event.

    Cox, "Regression models and life-tables", Journal of the Royal Statistical Society B 1972; with a network for the
    linear predictor it is DeepSurv (Katzman et al., BMC Medical Research Methodology 2018). The one output is the
    logarithm of the relative hazard, which is the risk that is reported. Events at the same time have the same risk set
    (Breslow, Biometrics 1974).

    Risk sets are those of the batch, over all programs that share an update: patients of the batch who were followed at
    least as long. So the loss depends on the size of the batch, in evaluation on ``evaluation.batch_size``, and small
    batches have few comparisons; a batch without events teaches nothing. It does not depend on the number of devices.
    """

    def outputs(self, task: Task) -> int:
        """See `Loss.outputs`."""
        self.check_task(task)
        return 1

    def per_example(self, outputs: Float32[Array, "B K"], targets: Targets) -> PerExample:
        """See `Loss.per_example`; all rows are one batch, and an example weighs 1 where the event came."""
        everyone = jnp.ones(len(outputs), bool)
        return _partial_likelihood(outputs[:, 0], targets, everyone, (outputs[:, 0], targets[:, 0], everyone))

    def batch_cost(self, outputs: Float32[Array, "B ..."], batch: Any, context: Context) -> tuple[Array, Array]:
        """See `Loss.batch_cost`."""
        own = outputs[:, 0], batch.targets[:, 0], batch.mask
        return _partial_likelihood(own[0], batch.targets, batch.mask, context.gather(own))


def _partial_likelihood(
    score: Float32[Array, " B"],
    targets: Float32[Array, "B 2"],
    mask: Bool[Array, " B"],
    everyone: tuple[Float32[Array, " A"], Float32[Array, " A"], Bool[Array, " A"]],
) -> PerExample:
    """Cost of each row whose event came: log of the summed hazards of those at risk, less its own log hazard.

    Args:
        score: log hazard of each row.
        targets: time and event of each row.
        mask: rows that are none of padding.
        everyone: log hazard, time and mask of all rows that may be at risk.
    """
    scores, times, counts = everyone
    # By falling time, padding last: those at risk at a time are the first ones, up to the last of the same time.
    falling = jnp.where(counts, -times, jnp.inf)
    order = jnp.argsort(falling)
    # What stands in rows of padding must not reach a sum, nor its gradient.
    at_risk = lax.cumlogsumexp(jnp.where(counts, scores, 0)[order])
    time, came = targets[:, 0], (targets[:, 1] == 1) & mask
    last = jnp.searchsorted(falling[order], jnp.where(came, -time, -jnp.inf), side="right") - 1
    cost = at_risk[last.clip(0)] - jnp.where(came, score, 0)
    return jnp.where(came, cost, 0), came.astype(score.dtype)


class DiscreteTimeHazard(_Survival):
    """Time in intervals, with a logistic hazard in each: the chance of the event there for who has reached it.

    Gensheimer & Narasimhan, "A scalable discrete-time survival model for neural networks", PeerJ 2019 (nnet-survival).
    The cost of a patient is the negative log likelihood: the event in its interval, and survival of each interval
    before. Who is censored has survived each interval whose middle was reached. Who is followed beyond the last cut has
    survived them all. No proportional hazards are assumed, and rows do not depend on each other.

    Intervals end at ``cuts`` and hold them: an event at a cut belongs to the interval that ends there. By default the
    cuts are event times of train, at equal shares of the events, the last event the last cut. The risk that is reported
    is minus the restricted mean survival time, in units of time: minus the area below the survival curve up to the last
    cut, with straight lines between cuts. It weighs early events more than the chance of the event by some date would,
    and is defined where survival curves cross.
    """

    intervals: int = field(10, minimum=1, help="number of intervals, each with an output; cuts, where given, say it")
    cuts: tuple[float, ...] | None = field(
        None, above=0, help="ends of the intervals, ascending, in units of time; none: from the events of train"
    )

    def validate(self) -> None:
        """Cuts ascend."""
        if self.cuts is not None and any(a >= b for a, b in zip(self.cuts, self.cuts[1:], strict=False)):
            raise UserError(f"loss.cuts: they are needed in ascending order, {self.cuts} was given.")

    def outputs(self, task: Task) -> int:
        """See `Loss.outputs`."""
        self.check_task(task)
        return self.intervals if self.cuts is None else len(self.cuts)

    def fitted(self, task: Task, targets: Shaped[np.ndarray, "N ..."]) -> Loss:
        """See `Loss.fitted`."""
        super().fitted(task, targets)
        if self.cuts is not None:
            return self
        events = targets[targets[:, 1] == 1, 0].astype(np.float64)
        different, count = np.unique(events[events > 0]), self.intervals
        if len(different) < count:
            raise UserError(
                f"loss.intervals: {count} intervals need as many different times of {task.names[0]}, but train has "
                f"{len(different)}. Use at most {len(different)}, or give cuts."
            )
        shares = np.arange(1, count + 1) / count
        wanted = np.searchsorted(different, np.quantile(events, shares, method="inverted_cdf"))
        # Where many events share a time the next ones are taken, so that no interval is empty.
        places = np.arange(count)
        wanted = np.maximum.accumulate(wanted - places) + places
        wanted = np.minimum(wanted, len(different) - count + places)
        return self.replace(cuts=tuple(different[wanted]))

    def per_example(self, outputs: Float32[Array, "B K"], targets: Targets) -> PerExample:
        """See `Loss.per_example`; every example weighs 1."""
        ends = jnp.broadcast_to(self._cuts(outputs), outputs.shape)
        starts = jnp.concatenate([jnp.zeros_like(ends[:, :1]), ends[:, :-1]], axis=1)
        time, event = (jnp.broadcast_to(targets[:, k : k + 1], outputs.shape) for k in range(2))
        came = event == 1
        survived = jnp.where(came, time > ends, time >= (starts + ends) / 2)
        # An event at time 0 belongs to the first interval.
        failed = came & (time <= ends) & ((time > starts) | (starts == 0))
        cost = jnp.where(survived, jax.nn.softplus(outputs), 0) + jnp.where(failed, jax.nn.softplus(-outputs), 0)
        return cost.sum(1), jnp.ones(len(outputs), outputs.dtype)

    def survival(self, outputs: Float32[Array, "B K"]) -> Float32[Array, "B K"]:
        """Chance of no event up to each cut."""
        return jnp.exp(-jnp.cumsum(jax.nn.softplus(outputs), axis=1))

    def predict(self, outputs: Float32[Array, "B K"], task: Task) -> Float32[Array, "B 1"]:
        """See `Loss.predict`; minus the restricted mean survival time."""
        ends = self._cuts(outputs)
        widths = jnp.diff(ends, axis=1, prepend=jnp.zeros_like(ends[:, :1]))
        after = self.survival(outputs)
        before = jnp.concatenate([jnp.ones_like(after[:, :1]), after[:, :-1]], axis=1)
        return -(jnp.broadcast_to(widths, after.shape) * (before + after) / 2).sum(1, keepdims=True)

    def _cuts(self, outputs: Float32[Array, "B K"]) -> Float32[Array, "1 K"]:
        if self.cuts is None:
            raise UserError("loss.cuts: they are not known yet; `fitted` takes them from the training targets.")
        return row_of(self.cuts, outputs)
