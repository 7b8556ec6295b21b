"""Reports as tables for a terminal of 80 columns."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from rich.table import Table
from rich.text import Text

from research.evaluation.estimate import Estimate
from research.evaluation.report import Report

TITLES = {
    "auroc": "AUROC",
    "auroc_weighted": "AUROC (weighted)",
    "average_precision": "average precision",
    "balanced_accuracy": "balanced accuracy",
    "quadratic_kappa": "quadratic kappa",
    "brier": "Brier score",
    "f1": "F1",
    "f1_max": "F-max by label",
    "f_max": "F-max by example",
    "log_loss": "log loss",
    "mae": "MAE",
    "min_sensitivity_precision": "min(Se, +P)",
    "mse": "MSE",
    "pinball": "pinball loss",
    "r2": "R2",
    "rmse": "RMSE",
}
DECISIONS = ("balanced_accuracy", "sensitivity", "specificity", "f1")
MOST_CLASSES = 8
"""A wider confusion matrix does not fit; its most frequent confusions are listed in its place."""


def tables(report: Report) -> list[Any]:
    """Metrics; one row per class, label or quantity; confusion matrix; notes and warnings."""
    found: list[Any] = [metrics_table(report)]
    found += parts_tables(report)
    if report.confusion is not None:
        found.append(confusion_table(report))
    found.append(Text("\n".join(_lines(report))))
    return found


def number(value: float) -> str:
    """Three decimals, or four significant digits where a number is large; a dash where it is not defined."""
    if math.isnan(value):
        return "–"
    return f"{value:.3f}" if abs(value) < 100 else f"{value:.4g}"


def with_interval(value: float, low: float, high: float) -> str:
    """``value [low, high]``, or the value alone where there is no interval."""
    return number(value) if math.isnan(low) else f"{number(value)} [{number(low)}, {number(high)}]"


def _method(item: Estimate) -> str:
    # What the unit is, the notes below the tables say.
    return re.sub(" by (patient|series|row)", "", item.method)


def p_text(p_value: float | None) -> str:
    """A p-value in three decimals, ``<0.001``, or nothing."""
    if p_value is None:
        return ""
    return "<0.001" if p_value < 0.001 else number(p_value)


def metrics_table(report: Report) -> Table:
    """Metrics over everything, with n, patients and method."""
    table = Table(title=f"{report.title}: metrics", title_justify="left")
    patients = any(estimate.patients is not None for estimate in report.estimates)
    table.add_column("metric", overflow="fold")
    table.add_column("value [95 % interval]", no_wrap=True)
    table.add_column("n", justify="right", no_wrap=True)
    if patients:
        table.add_column("patients", justify="right", no_wrap=True)
    table.add_column("interval by", overflow="fold")
    hidden = _repeated(report)
    for item in report.estimates:
        if item.name in hidden:
            continue
        title = TITLES.get(item.name, item.name.replace("_", " ")) + _at(report, item.name)
        row = [title, with_interval(item.value, item.low, item.high), str(item.n)]
        table.add_row(*map(Text, [*row, *([str(item.patients)] if patients else []), _method(item)]))
    return table


def _at(report: Report, name: str) -> str:
    """At which threshold a decision in two classes was made: the accuracy at 0.5, as the literature has it."""
    if name in report.own_thresholds:
        return f" at {report.own_thresholds[name]:.3g}"
    if len(report.thresholds) != 1 or len(report.classes) != 2:
        return ""
    if name == "accuracy":
        return " at 0.5"
    return f" at {next(iter(report.thresholds.values())):.3g}" if name in DECISIONS else ""


def _repeated(report: Report) -> set[str]:
    """The loss, where it is the log loss once more."""
    values = {item.name: (item.value, item.low, item.high) for item in report.estimates}
    same = "loss" in values and "log_loss" in values and np.allclose(values["loss"], values["log_loss"], atol=1e-6)
    return {"loss"} if same else set()


def parts_tables(report: Report) -> list[Table]:
    """One row per class, label or quantity, and a table of its own for what has other metrics than these."""
    groups: dict[tuple[str, ...], dict[str, list[Estimate]]] = {}
    for name, found in report.parts.items():
        # RMSE is shown, not its square.
        shown = [item for item in found if item.name != "mse"]
        groups.setdefault(tuple(item.name for item in shown), {})[name] = shown
    return [_parts_table(report, parts) for parts in groups.values()]


def _parts_table(report: Report, parts: dict[str, list[Estimate]]) -> Table:
    """A row for each part; the intervals stand below the values."""
    first: Sequence[Estimate] = next(iter(parts.values()))
    kind = "name" if report.confusion is None else "class" if set(parts) <= set(report.classes) else "group"
    title = f"{report.title}: by {kind}{_at(report, 'sensitivity')}"
    table = Table(title=title, title_justify="left")
    table.add_column("", overflow="fold")
    table.add_column("n", justify="right", no_wrap=True)
    wide = len(first) <= 4
    titles = TITLES if wide else TITLES | {"sensitivity": "sens.", "specificity": "spec."}
    for item in first:
        table.add_column(titles.get(item.name, item.name.replace("_", " ")))
    for name, estimates in parts.items():
        cases = {item.name: item for item in estimates}
        count = cases.get("sensitivity", estimates[0]).n
        table.add_row(*map(Text, [name, str(count), *(_cell(item, wide) for item in estimates)]))
    return table


def _cell(item: Estimate, wide: bool) -> str:
    """The value, and the interval below it, in fewer digits where there is little room."""
    if math.isnan(item.low):
        return number(item.value)
    limits = (
        number(v) if wide else f"{v:.{max(0, 2 - (abs(v) >= 10) - (abs(v) >= 100))}f}" for v in (item.low, item.high)
    )
    # A dash would be taken for a minus where a limit is negative.
    return f"{number(item.value)}\n{(' to ' if item.low < 0 else '–').join(limits)}"


def confusion_table(report: Report) -> Table:
    """Counts of true class (row) and predicted class (column), or the most frequent confusions."""
    assert report.confusion is not None
    if len(report.classes) > MOST_CLASSES:
        pairs = [
            (count, report.classes[i], report.classes[j])
            for i, row in enumerate(report.confusion)
            for j, count in enumerate(row)
            if i != j and count
        ]
        title = f"{report.title}: most frequent confusions"
        table = Table("true", "predicted", "n", title=title, title_justify="left", min_width=min(80, len(title)))
        for count, true, said in sorted(pairs, key=lambda pair: -pair[0])[:10]:
            table.add_row(Text(true), Text(said), str(count))
        return table
    title = f"{report.title}: true class by row, predicted by column{_at(report, 'sensitivity')}"
    # The title is folded to the width of the table, which two short names would make narrow.
    table = Table(title=title, title_justify="left", min_width=min(80, len(title)))
    table.add_column("", overflow="fold")
    for name in report.classes:
        table.add_column(Text(name), justify="right", overflow="fold")
    for name, row in zip(report.classes, report.confusion, strict=True):
        table.add_row(Text(name), *(str(count) for count in row))
    return table


def _lines(report: Report) -> list[str]:
    lines = []
    if report.thresholds:
        chosen = set(report.thresholds.values())
        values = ", ".join(f"{name} {value:.3g}" for name, value in report.thresholds.items())
        lines.append(f"threshold: {f'{chosen.pop():.3g}' if len(chosen) == 1 else values} ({report.threshold_choice})")
    for name, value in report.own_thresholds.items():
        how = "not chosen" if report.threshold_choice.startswith("not chosen") else "the best on validation"
        lines.append(f"threshold of {TITLES.get(name, name)}: {value:.3g} ({how})")
    lines += report.notes
    return [*lines, *(f"warning: {warning}" for warning in report.warnings)]
