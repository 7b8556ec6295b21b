"""What every loss keeps: how many outputs a task needs, what they cost, and how they become predictions."""

from __future__ import annotations

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Float32, Int32, Shaped

from research.context import Context
from research.errors import UserError
from research.spec import Spec, registered_specs
from research.task import NO_LABEL, Kind, Task

Targets = Int32[Array, " B"] | Float32[Array, "B L"] | Int32[Array, "B T"]
PerExample = tuple[Float32[Array, " B"], Float32[Array, " B"]]


class Loss(Spec):
    """Base of all losses."""

    abstract: ClassVar[bool] = True
    kinds: ClassVar[tuple[Kind, ...]] = ()
    """The kinds of task that the loss fits."""

    @property
    def compares_rows(self) -> bool:
        """Whether the cost of a row rests on the other rows of its batch; see `batch_cost`."""
        return type(self).batch_cost is not Loss.batch_cost

    @property
    def levels(self) -> tuple[float, ...]:
        """Quantiles that are predicted beside the prediction itself, ascending; none under most losses."""
        return ()

    def predict_quantiles(self, outputs: Float32[Array, "B K"], task: Task) -> Float32[Array, "B L Q"]:
        """The quantiles of `levels` of each quantity; asked only where there are any."""
        raise NotImplementedError

    def outputs(self, task: Task) -> int:
        """How many outputs per example a model needs under this loss.

        Raises:
            UserError: as `check_task`.
        """
        self.check_task(task)
        return len(task.names)

    def check_task(self, task: Task) -> None:
        """Raises `UserError` where the loss, or the number of its weights, does not fit the task."""
        if task.kind not in self.kinds:
            losses = [cls for cls in registered_specs().values() if issubclass(cls, Loss)]
            fitting = sorted(
                cls.__name__ for cls in losses if task.kind in cls.kinds and not cls.__dict__.get("abstract", False)
            )
            raise UserError(
                f"loss: {type(self).__name__} is for {' and '.join(self.kinds)} targets, but the data has "
                f"{task.kind} targets ({names_of(task)}). Losses that fit: {', '.join(fitting)}."
            )

    def fitted(self, task: Task, targets: Shaped[np.ndarray, "N ..."]) -> Loss:
        """The same with what is taken from the training targets filled in, such as balanced weights."""
        return self

    def per_example(self, outputs: Float32[Array, "B K"], targets: Targets) -> PerExample:
        """Cost and weight of each example.

        Args:
            outputs: what the model returns.
            targets: as `research.task.Task` says for the task's kind.

        Returns:
            ``total [B]`` and ``weight [B]``; the loss of a batch is the sum of the one over the sum of the other.
        """
        raise NotImplementedError

    def per_row(self, outputs: Float32[Array, "B ..."], targets: Targets, task: Task) -> tuple[Array, Array]:
        """`per_example`; where the task has a target at each step, of each step, ``[B, T]``, 0 where it has none.

        Args:
            outputs: ``[B, K]``, or ``[B, T, K]`` for each step.
            targets: as `research.task.Task` says.
            task: what they mean.
        """
        if not task.per_step:
            return self.per_example(outputs, targets)
        known = targets != NO_LABEL
        each = self.per_example(outputs.reshape(-1, outputs.shape[-1]), jnp.where(known, targets, 0).reshape(-1))
        total, weight = (jnp.where(known, part.reshape(known.shape), 0) for part in each)
        return total, weight

    def batch_cost(self, outputs: Float32[Array, "B ..."], batch: Any, context: Context) -> tuple[Array, Array]:
        """`per_row` of a batch, for losses in which the cost of a row rests on the other rows too.

        Args:
            outputs: as `per_row`.
            batch: the rows, as `research.data.batch.Batch`; those of padding must change nothing of the others.
            context: gives the rows of the other programs that share an update.
        """
        return self.per_row(outputs, batch.targets, batch.task)

    def predict_rows(self, outputs: Float32[Array, "B ..."], task: Task) -> Float32[Array, "B ..."]:
        """`predict`; where the task has a target at each step, of each step: ``[B, T]`` or ``[B, T, C]``."""
        if not task.per_step:
            return self.predict(outputs, task)
        found = self.predict(outputs.reshape(-1, outputs.shape[-1]), task)
        return found.reshape(*outputs.shape[:2], *found.shape[1:])

    def predict(self, outputs: Float32[Array, "B K"], task: Task) -> Float32[Array, " B"] | Float32[Array, "B K"]:
        """Outputs as predictions.

        Returns:
            ``binary``: probability of the positive class, ``[B]``; ``multiclass``: probabilities ``[B, C]`` that sum
            to 1; ``multilabel``: a probability per label, ``[B, L]``; ``regression``: the values, ``[B, L]``;
            ``survival``: a risk, larger where the event is expected earlier, ``[B, 1]``.
        """
        if task.kind in ("regression", "survival"):
            return outputs
        if task.kind == "multilabel":
            return jax.nn.sigmoid(outputs)
        if task.kind == "multiclass":
            return jax.nn.softmax(outputs)
        return jax.nn.sigmoid(outputs[:, 0] if outputs.shape[1] == 1 else outputs[:, 1] - outputs[:, 0])


def numbers(targets: Targets, outputs: Float[Array, "B K"]) -> tuple[Float[Array, "B L"], Bool[Array, "B L"]]:
    """Targets as numbers of the outputs' type, a column each, 0 where missing, and which are observed."""
    targets = targets.astype(outputs.dtype)
    if targets.ndim == 1:
        targets = targets[:, None]
    observed = ~jnp.isnan(targets)
    # Missing values are replaced before any arithmetic: a NaN behind a `where` would still poison the gradient.
    return jnp.where(observed, targets, 0), observed


def row_of(numbers: tuple[float | Array, ...], outputs: Float[Array, "B K"]) -> Float[Array, "1 K"]:
    return jnp.stack([jnp.asarray(number, outputs.dtype) for number in numbers])[None]


def check_count(name: str, weights: tuple[float | Array, ...] | None, task: Task) -> None:
    if weights is not None and len(weights) != len(task.names):
        raise UserError(
            f"loss.{name}: {len(task.names)} numbers are needed, one for each of {names_of(task)}, in that order; "
            f"{len(weights)} were given: {weights}."
        )


def names_of(task: Task) -> str:
    shown = ", ".join(task.names[:8])
    return shown if len(task.names) <= 8 else f"{shown}, ... ({len(task.names)})"
