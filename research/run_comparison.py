"""Two runs side by side: what differs in experiment, execution, environment and data, and in their metrics."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from research.errors import UserError
from research.evaluation import Difference, Predictions, compare_predictions, comparison_table
from research.results import load
from research.spec import diff
from research.training.provenance import differences
from research.training.run_directory import RunDirectory

ASPECTS = ("experiment", "execution", "environment", "data")


@dataclasses.dataclass(frozen=True)
class RunComparison:
    """What `compare_runs` found.

    Attributes:
        a, b: the run directories.
        differing: for each of experiment, execution, environment and data: ``{path: (value in a, value in b)}``.
        metrics: test metrics of both, and their differences with intervals.
        incomparable: why there are no metrics; empty where there are.
    """

    a: Path
    b: Path
    differing: dict[str, dict[str, tuple[Any, Any]]]
    metrics: list[Difference]
    incomparable: str = ""

    def tables(self) -> list[RenderableType]:
        """What differs, and the metrics, for a terminal."""
        parts: list[RenderableType] = [Text(f"A: {self.a}\nB: {self.b}")]
        for aspect, changed in self.differing.items():
            if not changed:
                parts.append(Text(f"{aspect}: no difference"))
                continue
            table = Table(aspect, "A", "B", box=None, padding=(0, 2, 0, 0))
            for path, (left, right) in changed.items():
                table.add_row(*map(Text, (path, _shown(left), _shown(right))))
            parts.append(table)
        return [*parts, Text(f"metrics: {self.incomparable}") if self.incomparable else comparison_table(self.metrics)]

    def to_json(self) -> dict[str, Any]:
        """The same as a JSON object."""
        metrics = [difference.to_json() for difference in self.metrics]
        return {
            "a": str(self.a),
            "b": str(self.b),
            "differences": self.differing,
            "metrics": metrics,
            "incomparable": self.incomparable,
        }


def compare_runs(a: Path, b: Path) -> RunComparison:
    """Compare two finished runs.

    Raises:
        UserError: if one is no run directory or has not finished.
    """
    directories = RunDirectory(a), RunDirectory(b)
    first, second = load(a), load(b)
    differing = {"experiment": diff(first.experiment, second.experiment)}
    if first.seed != second.seed:
        differing["experiment"]["seed"] = (first.seed, second.seed)
    for aspect in ASPECTS[1:]:
        left, right = (d.environment() if aspect == "environment" else d.read(aspect) for d in directories)
        differing[aspect] = differences(left, right)
    split = first.summary["split"]
    validations = [_validation(result.predictions.get("validation")) for result in (first, second)]
    evaluation = first.experiment.evaluation
    ends = first.predictions[split], second.predictions[second.summary["split"]]
    try:
        metrics = compare_predictions(*ends, *validations, resamples=evaluation.resamples, seed=evaluation.seed)
    except UserError as error:
        return RunComparison(a, b, differing, [], str(error))
    return RunComparison(a, b, differing, metrics)


def _validation(predictions: Any) -> Predictions | None:
    return predictions if isinstance(predictions, Predictions) else None


def _shown(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
