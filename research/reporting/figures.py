"""All pictures of one evaluation, written beside its numbers."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from research.evaluation.predictions import Predictions
from research.evaluation.report import Report
from research.evaluation.tables import with_interval
from research.reporting import style
from research.reporting.agreement import MOST_PANELS, agreement
from research.reporting.confusion import confusion
from research.reporting.contrasts import contrasts, facts
from research.reporting.discrimination import discrimination
from research.reporting.forecast import forecasts
from research.reporting.learning import learning_curves
from research.reporting.reliability import reliability
from research.reporting.style import Figures
from research.reporting.survival import risk_thirds

NAMES = (
    "roc.png",
    "precision_recall.png",
    "reliability.png",
    "confusion.png",
    "predicted.png",
    "bland_altman.png",
    "forecast.png",
    "survival.png",
    "learning_curves.png",
)
"""Every picture that `write_figures` may write."""


def write_figures(
    folder: Path,
    predictions: Predictions,
    report: Report,
    records: Sequence[dict[str, Any]],
    title: str,
    best_step: int | None = None,
) -> Figures:
    """Write the pictures that fit the task, in place of older ones; those that no longer fit are removed.

    Numbers with intervals are those of the report; the curves are drawn from the predictions the report was made
    from. Classes: ``roc.png``, ``precision_recall.png``, ``reliability.png`` and, where an example has one class,
    ``confusion.png``. Quantities: ``predicted.png``, ``bland_altman.png`` and, of forecasts, ``forecast.png``. Times to
    an event: ``survival.png``. All: ``learning_curves.png``.

    Args:
        folder: where to; made if need be.
        predictions: what was evaluated; without targets only the learning curves can be drawn.
        report: of these predictions.
        records: lines of ``metrics.jsonl``; none draws no learning curves.
        title: name of the run or model; the pictures of predictions add the name of their split.
        best_step: the update whose weights are reported, marked in the learning curves.

    Returns:
        The files, and what was left out and why.

    Raises:
        RunError: if a file cannot be written.
    """
    drawn: dict[str, Any] = {}
    notes: list[str] = []
    evaluated = f"{title}, {predictions.split}"
    if predictions.targets is None or not len(predictions):
        notes.append("no targets are known, so predictions cannot be drawn against them.")
    elif predictions.task.kind == "regression":
        drawn |= dict(
            zip(("predicted.png", "bland_altman.png"), agreement(predictions, report, evaluated), strict=True)
        )
        if predictions.origins is not None:
            drawn["forecast.png"] = forecasts(predictions, evaluated)
        if len(predictions.task.names) > MOST_PANELS:
            notes.append(f"the first {MOST_PANELS} of {len(predictions.task.names)} quantities are drawn.")
    elif predictions.task.kind == "survival":
        drawn["survival.png"] = risk_thirds(predictions, report, evaluated)
    else:
        drawn |= _of_classes(predictions, report, evaluated, notes)
    curves = learning_curves(records, title, best_step) if records else None
    if curves is None:
        notes.append("learning_curves.png is left out: nothing was logged while training.")
    else:
        drawn["learning_curves.png"] = curves
    for name in NAMES:
        if name not in drawn:
            with contextlib.suppress(OSError):
                (folder / name).unlink(missing_ok=True)
    return Figures(tuple(style.save(drawn[name], folder / name) for name in NAMES if name in drawn), tuple(notes))


def _of_classes(predictions: Predictions, report: Report, title: str, notes: list[str]) -> dict[str, Any]:
    """Figures of classes and labels; what cannot be drawn is added to the notes."""
    drawn: dict[str, Any] = {}
    found, left_out = contrasts(predictions, report)
    notes += left_out
    if found:
        overall = {}
        if predictions.task.kind != "binary":
            estimates = {name: report[name] for name in ("auroc", "average_precision")}
            overall = {name: with_interval(item.value, item.low, item.high) for name, item in estimates.items()}
        figures = discrimination(predictions, found, title, overall)
        drawn |= dict(zip(("roc.png", "precision_recall.png"), figures, strict=True))
    else:
        notes.append("roc.png and precision_recall.png are left out: they need cases and others.")
    if found or predictions.task.kind == "multiclass":
        drawn["reliability.png"] = reliability(predictions, report, found, title)
    else:
        notes.append("reliability.png is left out: all examples are of one kind.")
    if report.confusion is not None:
        drawn["confusion.png"] = confusion(report, facts(predictions, found).split("; each")[0], title)
    return drawn
