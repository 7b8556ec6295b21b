"""Forecasts over time: what was observed, what was forecast for each moment, and the band it should lie in."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Int, Shaped

from research.evaluation.predictions import Predictions
from research.evaluation.tables import number
from research.reporting import style

MOST_HORIZONS = 4
MOST_FORECASTS = 300
"""Forecasts of one series that are drawn: a day of readings five minutes apart."""

_WIDE, _TALL = 8.0, 1.45
_LARGER = {"seconds": (60.0, "minutes"), "minutes": (60.0, "hours"), "hours": (24.0, "days")}


def forecasts(predictions: Predictions, title: str, patient: str | None = None) -> Any:
    """The figure: a panel per horizon, in which each forecast stands at the moment that it is made for.

    Args:
        predictions: forecasts with their origins and targets.
        title: above all.
        patient: whose are drawn; None chooses the patient whose mean absolute error is the median of all, of an even
            number the lower of the two in the middle.
    """
    task, origins, targets = predictions.task, predictions.origins, predictions.targets
    assert origins is not None and targets is not None
    owner = origins.series.astype(str) if predictions.patient is None else predictions.patient.astype(str)
    error = np.abs(predictions.prediction.astype(np.float64) - targets)
    who, about = patient, ""
    if who is None:
        who, about = _median(owner, error.mean(1), task.unit)
    own = np.flatnonzero(owner == who)
    rows, part = _drawn(own, origins.series[own], origins.time[own])
    about = f"{'Series' if predictions.patient is None else 'Patient'} {who}{about}{part}"
    levels = predictions.levels if len(predictions.levels) > 1 else ()
    if levels:
        about += (
            f"; band: between the predicted quantiles {levels[0]:g} and {levels[-1]:g}, which should hold "
            f"{100 * (levels[-1] - levels[0]):.3g} % of what is observed"
        )
    count = len(task.names)
    shown = np.unique(np.linspace(0, count - 1, min(count, MOST_HORIZONS)).round().astype(int))
    if len(shown) < count:
        about += f"; {len(shown)} of {count} horizons are drawn"
    figure, panels = style.panels(
        len(shown), (_WIDE, _TALL), f"Forecasts: {title}", about, columns=1, below=0.22, titled=True
    )
    ahead = origins.time[rows][:, None] + np.asarray(task.horizons)[None, :]
    factor, unit = _scale(float(np.ptp(ahead)), task.time_unit)
    margin = 0.01 * np.ptp(ahead) or 1.0
    for panel, horizon in zip(panels, shown.tolist(), strict=True):
        axes = panel.axes
        _draw(axes, predictions, rows, horizon, ahead[:, horizon] / factor)
        words = f"{task.names[horizon]} ahead: {_errors(predictions, error, own, horizon)}"
        axes.set_xlim((ahead.min() - margin) / factor, (ahead.max() + margin) / factor)
        axes.locator_params(axis="y", nbins=4)
        style.dress(axes, f"time ({unit})" if panel.bottom else "", task.unit, words)
    handles, labels = panels[0].axes.get_legend_handles_labels()
    look: dict[str, Any] = {"frameon": False, "fontsize": style.SMALL_SIZE, "labelcolor": style.INK}
    figure.legend(handles, labels, loc="lower center", ncols=len(labels), **look)
    return figure


def _median(owner: Shaped[np.ndarray, " N"], error: Shaped[np.ndarray, " N"], unit: str) -> tuple[str, str]:
    """The patient of median error, and how that came about."""
    names, number_of = np.unique(owner, return_inverse=True)
    each = np.bincount(number_of, error) / np.bincount(number_of)
    chosen = int(np.argsort(each, kind="stable")[(len(names) - 1) // 2])
    if len(names) == 1:
        return str(names[0]), ""
    amount = f"{number(each[chosen])} {unit}".strip()
    which = "median" if len(names) % 2 else "lower median"
    why = f", whose mean absolute error over all horizons ({amount}) is the {which} of {len(names)}"
    return str(names[chosen]), why


def _drawn(
    rows: Int[np.ndarray, " n"], series: Shaped[np.ndarray, " n"], time: Shaped[np.ndarray, " n"]
) -> tuple[Int[np.ndarray, " m"], str]:
    """The first forecasts of a patient's longest series in the order of time, and what was left out."""
    names, counts = np.unique(series, return_counts=True)
    inside = series == names[np.argmax(counts)]
    found = rows[inside][np.argsort(time[inside], kind="stable")]
    part = f"; the longest of {len(names)} series" if len(names) > 1 else ""
    if len(found) > MOST_FORECASTS:
        part += f"; the first {MOST_FORECASTS} of {len(found):,} forecasts are drawn"
    return found[:MOST_FORECASTS], part


def _scale(span: float, unit: str) -> tuple[float, str]:
    """A larger unit of time where the axis spans ten of it."""
    factor = 1.0
    while unit in _LARGER and span / (factor * _LARGER[unit][0]) >= 10:
        factor, unit = factor * _LARGER[unit][0], _LARGER[unit][1]
    return factor, unit


def _draw(axes: Any, predictions: Predictions, rows: Int[np.ndarray, " m"], horizon: int, time: Any) -> None:
    """One panel; lines are broken where forecasts are missing."""
    targets: Any = predictions.targets
    steps = np.diff(time)
    breaks = np.flatnonzero(steps > 2.5 * np.median(steps)) + 1 if len(steps) else []

    def broken(values: Any) -> Any:
        return np.insert(values.astype(np.float64), breaks, np.nan)

    when = broken(time)
    if predictions.quantiles is not None and len(predictions.levels) > 1:
        low, high = (broken(predictions.quantiles[rows, horizon, side]) for side in (0, -1))
        axes.fill_between(when, low, high, color=style.BLUE, alpha=style.BAND_ALPHA, linewidth=0, label="band")
    look: dict[str, Any] = {"marker": ".", "markersize": 2.5}
    axes.plot(when, broken(targets[rows, horizon]), color=style.INK, linewidth=0.9, label="observed", **look)
    said = broken(predictions.prediction[rows, horizon])
    axes.plot(when, said, color=style.BLUE, linewidth=1.2, label="forecast", **look)


def _errors(predictions: Predictions, error: np.ndarray, own: Int[np.ndarray, " n"], horizon: int) -> str:
    """Mean absolute error and coverage, of the patient and of all."""
    parts = [f"MAE {number(error[own, horizon].mean())} here, {number(error[:, horizon].mean())} of all"]
    if predictions.quantiles is not None and len(predictions.levels) > 1:
        targets: Any = predictions.targets
        within = predictions.quantiles[:, horizon, [0, -1]]
        inside = (targets[:, horizon] >= within[:, 0]) & (targets[:, horizon] <= within[:, 1])
        parts.append(f"in the band {100 * inside[own].mean():.0f} % here, {100 * inside.mean():.0f} % of all")
    return "; ".join(parts)
