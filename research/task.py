"""What is predicted: the one value that data, losses and evaluation agree on."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

Kind = Literal["binary", "multiclass", "multilabel", "regression", "survival"]

Scorer = Literal["aami", "sepsis_utility"]

NO_LABEL = -1
"""Class number of a step that has none."""


@dataclasses.dataclass(frozen=True)
class Task:
    """Kind and names of the targets.

    Attributes:
        kind: ``binary`` and ``multiclass`` targets are int32 ``[N]`` class numbers; ``multilabel`` targets are
            float32 ``[N, L]`` of 0, 1 and NaN where the label is missing; ``regression`` targets are float32
            ``[N, L]``; ``survival`` targets are float32 ``[N, 2]``, the time that a patient was followed and whether
            the event came at its end (1) or not (0, censored).
        names: the class names (two or more, in the order of the class numbers; for ``binary`` the second is the
            positive one), the label names, the names of the predicted quantities, or the name of the event.
        unit: unit of the predicted quantities or of the time to the event; empty otherwise.
        ordinal: whether ``multiclass`` classes have an order, that of their numbers, such as grades of a disease.
        per_step: whether there is a target at each step of a series: ``binary`` and ``multiclass`` targets are then
            int32 ``[N, T]`` with `NO_LABEL` where a step has none.
        horizons: where quantities are forecasts of one variable: how long ahead each of them lies, ascending.
        time_unit: unit of the horizons, in the plural, such as ``minutes``.
        ahead: whether the targets of steps are among the inputs of later steps, as the next code of a record is: a
            model that looks ahead would read them off. Files of earlier versions do not say it, and it tells no two
            tasks apart.
        scorers: recommendations by which predictions of this task are judged besides: `research.evaluation.aami.aami`,
            `research.evaluation.sepsis.sepsis_utility`. They tell no two tasks apart either.
    """

    kind: Kind
    names: tuple[str, ...]
    unit: str = ""
    ordinal: bool = False
    per_step: bool = False
    horizons: tuple[float, ...] = ()
    time_unit: str = ""
    ahead: bool = dataclasses.field(default=False, compare=False)
    scorers: tuple[Scorer, ...] = dataclasses.field(default=(), compare=False)

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Task:
        """The task that `dataclasses.asdict` and JSON, which knows no tuples, made an object of."""
        values: dict[str, Any] = {n: tuple(value) if isinstance(value, list) else value for n, value in found.items()}
        return cls(**values)

    @property
    def is_classes(self) -> bool:
        """Whether every example, or every step with a label, has exactly one class."""
        return self.kind in ("binary", "multiclass")

    def unknown(self, count: int, steps: int = 0) -> np.ndarray:
        """Targets of ``count`` rows of which none is known, in the form of the task; nothing may be read out of them.

        Args:
            count: number of rows.
            steps: of the longest row, where there is a target at each step.
        """
        if self.per_step:
            return np.full((count, steps), NO_LABEL, np.int32)
        if self.is_classes:
            return np.zeros(count, np.int32)
        return np.zeros((count, 2 if self.kind == "survival" else len(self.names)), np.float32)
