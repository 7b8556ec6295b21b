"""Two sets of predictions side by side: each metric with its interval, and the difference, paired where it can be."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
from rich.table import Table
from rich.text import Text

from research import metrics
from research.errors import UserError
from research.evaluation import delong, intervals
from research.evaluation.estimate import Estimate
from research.evaluation.measures import Measured
from research.evaluation.predictions import Predictions, Rows
from research.evaluation.report import bootstrap, evaluate
from research.evaluation.tables import TITLES, p_text, with_interval
from research.evaluation.thresholds import choose_own_thresholds, choose_thresholds


@dataclasses.dataclass(frozen=True)
class Difference:
    """One metric of two runs.

    Attributes:
        name: the metric.
        a: estimate of the first run.
        b: estimate of the second.
        difference: b - a.
        low: lower limit of its 95 % interval; NaN where there is none.
        high: upper limit.
        p_value: of the AUROC in two classes (DeLong's paired test); None elsewhere.
        paired: whether both hold the same examples and targets, and were resampled together.
        method: how the interval was found.
    """

    name: str
    a: Estimate
    b: Estimate
    difference: float
    low: float
    high: float
    p_value: float | None
    paired: bool
    method: str

    def to_json(self) -> dict[str, Any]:
        """A JSON object; numbers that are not defined become null."""
        data = dataclasses.asdict(self)
        for record in (data, data["a"], data["b"]):
            record |= {k: None for k, v in record.items() if isinstance(v, float) and math.isnan(v)}
        return data


def compare_predictions(
    a: Predictions | Rows,
    b: Predictions | Rows,
    validation_a: Predictions | None = None,
    validation_b: Predictions | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> list[Difference]:
    """Each metric that both have: both estimates, and b - a with a bootstrap interval.

    Where both hold the same examples with the same targets, the same patients are drawn for both (paired). Elsewhere
    the two are resampled independently, and each difference says that it is not paired.

    Args:
        a: predictions or rows of the first run.
        b: the same of the second.
        validation_a: validation predictions of the first run, for its thresholds.
        validation_b: those of the second.
        resamples: bootstrap resamples.
        seed: which resamples.

    Raises:
        UserError: if the two are not of one sort or task, or cannot be evaluated.
    """
    if isinstance(a, Rows) != isinstance(b, Rows):
        raise UserError("predictions per example cannot be compared with rows per episode or sample.")
    if isinstance(a, Predictions) and isinstance(b, Predictions) and a.task != b.task:
        raise UserError(
            f"the two runs predict different things: {a.task.kind} {', '.join(a.task.names)} and "
            f"{b.task.kind} {', '.join(b.task.names)}; only runs of one task can be compared."
        )
    reports = evaluate(a, validation_a, resamples, seed), evaluate(b, validation_b, resamples, seed)
    paired = isinstance(a, Predictions) and isinstance(b, Predictions) and same_examples(a, b)
    if paired:
        assert isinstance(a, Predictions) and isinstance(b, Predictions)
        a, b = in_order(a), in_order(b)
    # Unpaired resamples must not share draws: equal sizes would make them the same.
    spread_a, measured_a = _spread(a, validation_a, resamples, seed)
    spread_b, measured_b = _spread(b, validation_b, resamples, seed if paired else seed + 2**31)
    differences = []
    for first in reports[0].estimates:
        second = next((item for item in reports[1].estimates if item.name == first.name), None)
        if second is None:
            continue
        unit_name = a.unit if isinstance(a, Rows) else a.unit_name
        found = intervals.percentile_interval(spread_b[first.name] - spread_a[first.name], unit_name)
        p_value = None
        if paired and first.name == "auroc" and measured_a and measured_b and ("", "auroc") in measured_a.areas:
            p_value = delong.paired_p_value(
                measured_a.areas["", "auroc"], measured_b.areas["", "auroc"], measured_a.unit
            )
        method = f"{'paired' if paired else 'unpaired'} {found.method}"
        change = second.value - first.value
        differences.append(
            Difference(first.name, first, second, change, found.low, found.high, p_value, paired, method)
        )
    return differences


def same_examples(a: Predictions, b: Predictions) -> bool:
    """Whether both hold the same examples, of the same patients, with the same targets, in whatever order."""
    if len(a) != len(b) or a.targets is None or b.targets is None or (a.patient is None) != (b.patient is None):
        return False
    a, b = in_order(a), in_order(b)
    same_targets = np.array_equal(np.asarray(a.targets), np.asarray(b.targets), equal_nan=not a.task.is_classes)
    same_patients = a.patient is None or b.patient is None or np.array_equal(a.patient, b.patient)
    return bool(a.split == b.split and np.array_equal(a.example, b.example) and same_targets and same_patients)


def in_order(predictions: Predictions) -> Predictions:
    """The same rows in the order of their example."""
    step = np.zeros(len(predictions), np.int32) if predictions.step is None else predictions.step
    order = np.lexsort((step, predictions.example))
    columns = ("example", "prediction", "targets", "patient", "loss", "weight", "step", "quantiles")
    held: dict[str, Any] = {name: getattr(predictions, name) for name in columns}
    held = {name: None if column is None else column[order] for name, column in held.items()}
    origins = None if predictions.origins is None else predictions.origins.of(order)
    return dataclasses.replace(predictions, origins=origins, **held)


def _spread(
    rows: Predictions | Rows, validation: Predictions | None, resamples: int, seed: int
) -> tuple[dict[str, np.ndarray], Measured | None]:
    """Bootstrap values of the metrics over everything, by name."""
    if isinstance(rows, Rows):
        columns = rows.columns

        def means(weights: np.ndarray) -> dict[str, np.ndarray]:
            # A row without a value has no weight in that column.
            return {n: metrics.mean(np.nan_to_num(v), weights * ~np.isnan(v)[None, :]) for n, v in columns.items()}

        return bootstrap(means, np.arange(len(rows)), resamples, seed), None
    thresholds, _ = choose_thresholds(rows, validation)
    measured = Measured(rows, thresholds, choose_own_thresholds(rows, validation))
    wanted = {key for key in measured(np.ones(len(rows))) if not key[0]}
    values = bootstrap(lambda weights: measured(weights, wanted), measured.unit, resamples, seed)
    return {name: value for (_, name), value in values.items()}, measured


def comparison_table(differences: list[Difference]) -> Table:
    """The differences for a terminal of 80 columns."""
    table = Table(title_justify="left", title="A and B" if not differences else _title(differences))
    for column in ("metric", "A", "B", "B - A", "p"):
        table.add_column(column, overflow="fold")
    for item in differences:
        cells = [_stacked(each) for each in (item.a, item.b)]
        change = with_interval(item.difference, item.low, item.high)
        title = TITLES.get(item.name, item.name.replace("_", " "))
        table.add_row(*map(Text, [title, *cells, change.replace(" [", "\n["), p_text(item.p_value)]))
    if any(item.name == "sensitivity" for item in differences):
        table.caption = (
            "Sensitivity, specificity, balanced accuracy, F1 and min(Se, +P): each at its own run's threshold, which "
            "the intervals take as given; another validation split would move them."
        )
    return table


def _stacked(item: Estimate) -> str:
    return with_interval(item.value, item.low, item.high).replace(" [", "\n[")


def _title(differences: list[Difference]) -> str:
    paired = "paired, the same examples" if differences[0].paired else "not paired: the examples or targets differ"
    return f"B - A with 95 % interval ({paired})"
