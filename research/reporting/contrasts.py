"""One class against the rest, or one label where it is known: what curves and reliability are drawn of."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from research.evaluation.predictions import Predictions
from research.evaluation.report import Estimate, Report
from research.evaluation.tables import with_interval
from research.reporting.style import shortened
from research.task import Task

MOST_PANELS = 15
"""A figure with more panels cannot be read on a page; the classes with most cases are shown then."""
_LETTERS = 34
"""Letters that fit above a panel."""


@dataclasses.dataclass(frozen=True, eq=False)
class Contrast:
    """Scores of the examples for one class or label, and which of them belong to it.

    Attributes:
        name: the class or label.
        rows: positions of the examples in the predictions, ``[n]``: those where the label is known.
        score: predicted probability, ``[n]``.
        positive: whether the example belongs to the class, ``[n]``.
        estimates: metrics of this class in the report, by name.
    """

    name: str
    rows: Int[np.ndarray, " n"]
    score: Float[np.ndarray, " n"]
    positive: Bool[np.ndarray, " n"]
    estimates: Mapping[str, Estimate]

    @property
    def cases(self) -> int:
        """Examples that belong to the class."""
        return int(self.positive.sum())

    @property
    def prevalence(self) -> float:
        """Share of the examples that belong to the class."""
        return float(self.positive.mean())

    def shown(self, metric: str) -> str:
        """The metric with its interval as the report has it; empty where it has none."""
        found = self.estimates.get(metric)
        return "" if found is None else with_interval(found.value, found.low, found.high)


def contrasts(predictions: Predictions, report: Report) -> tuple[list[Contrast], list[str]]:
    """The contrasts of a task that have examples of both kinds, and notes on those that are left out."""
    task = predictions.task
    targets: Any = predictions.targets
    everything = np.arange(len(predictions))
    found = []
    for index, name in enumerate(task.names):
        estimates = {item.name: item for item in report.parts.get(name, ())}
        score: Any = predictions.prediction if task.kind == "binary" else predictions.prediction[:, index]
        if task.kind == "multilabel":
            rows = np.flatnonzero(~np.isnan(targets[:, index]))
            positive = targets[rows, index] == 1
        else:
            rows, positive = everything, targets == index
        if task.kind == "binary":
            if index == 0:
                continue
            estimates = {item.name: item for item in report.estimates}
        found.append(Contrast(name, rows, score[rows].astype(np.float64), positive, estimates))
    usable = [item for item in found if 0 < item.cases < len(item.rows)]
    notes = [f"{item.name}: {_one_kind(item)}, so it has no curve." for item in found if item not in usable]
    if len(usable) > MOST_PANELS:
        notes.append(f"the {MOST_PANELS} of {len(task.names)} {plural(task)} with most cases are drawn.")
        most = sorted(usable, key=lambda item: -item.cases)[:MOST_PANELS]
        usable = [item for item in usable if item in most]
    return usable, notes


def _one_kind(contrast: Contrast) -> str:
    return "no cases" if contrast.cases == 0 else "cases only"


def facts(predictions: Predictions, found: list[Contrast]) -> str:
    """Examples, patients and, where there is one class to be found, its prevalence; how many are drawn if not all."""
    parts = [f"{len(predictions):,} examples"]
    if predictions.unit_name != "row":
        what = "patients" if predictions.unit_name == "patient" else "series"
        parts[0] += f" of {predictions.unit.max() + 1:,} {what}"
    if predictions.task.kind == "binary" and found:
        parts.append(f"{found[0].name} in {found[0].cases:,} ({found[0].prevalence:.1%})".replace("%", " %"))
    if predictions.task.kind == "multiclass":
        parts.append("each class against the rest")
    if predictions.task.kind == "multilabel":
        parts.append("each label where it is known")
    if predictions.task.kind != "binary" and 0 < len(found) < len(predictions.task.names):
        which = "those with most cases" if len(found) == MOST_PANELS else "those with cases and others"
        # One panel alone has no title of its own.
        which = found[0].name if len(found) == 1 else which
        parts.append(f"drawn: {len(found)} of {len(predictions.task.names)} {plural(predictions.task)}, {which}")
    return "; ".join(parts)


def plural(task: Task) -> str:
    """What several of a task's names are."""
    return "labels" if task.kind == "multilabel" else "classes"


def called_from(thresholds: Mapping[str, float], choice: str) -> str:
    """From which probability the positive class, or each label, is called, and how that was chosen."""
    low, high = min(thresholds.values()), max(thresholds.values())
    if len(thresholds) == 1:
        return f"{next(iter(thresholds))} is called from {low:.3g} ({choice})"
    own = f"{low:.3g}" if low == high else f"a threshold of its own, {low:.3g} to {high:.3g}"
    return f"each label is called from {own} ({choice})"


def panel_title(contrast: Contrast, alone: bool) -> str:
    """What one panel of several shows."""
    counts = f": {contrast.cases:,} of {len(contrast.rows):,}"
    return "" if alone else shortened(contrast.name, _LETTERS - len(counts)) + counts
