"""Survival of the patients whom a model puts at low, middle and high risk."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float, Int

from research.evaluation.predictions import Predictions
from research.evaluation.report import Report
from research.evaluation.survival import at_risk, kaplan_meier
from research.evaluation.tables import with_interval
from research.reporting import style
from research.reporting.contrasts import facts

THIRDS = ("lowest third of risk", "middle third", "highest third")
COLOURS = (style.BLUE, style.ORANGE, style.VERMILION)
_LINE = 0.17
"""Inches from line to line of the numbers at risk."""


def thirds(risk: Float[np.ndarray, " N"]) -> Int[np.ndarray, " N"]:
    """0, 1 or 2 for each patient; equal risks stay together, so that a third may be larger than another, or empty."""
    cuts = np.quantile(risk, (1 / 3, 2 / 3), method="lower")
    return np.searchsorted(cuts, risk, side="left")


def risk_thirds(predictions: Predictions, report: Report, title: str) -> Any:
    """The figure: Kaplan-Meier curves of the thirds by predicted risk, with 95 % bands and the numbers at risk."""
    targets = np.asarray(predictions.targets, np.float64)
    time, event = targets[:, 0], targets[:, 1]
    third = thirds(predictions.prediction[:, 0].astype(np.float64))
    shown = [number for number in range(3) if (third == number).any()]
    found = report["concordance"]
    name, unit = predictions.task.names[0], predictions.task.unit
    about = (
        f"{facts(predictions, [])}; {name} in {int(event.sum()):,}, the others censored; concordance "
        f"{with_interval(found.value, found.low, found.high)}; Kaplan-Meier with pointwise 95 % bands (Greenwood, "
        f"log-log), for which rows are independent"
    )
    below = 0.1 + _LINE * (len(shown) + 1)
    figure, (panel,) = style.panels(
        1, (5.6, 3.6), f"Survival by predicted risk: {title}", about, below=below, aside=0.2
    )
    axes = panel.axes
    end = time.max() or 1.0
    for number in shown:
        rows = third == number
        label = f"{THIRDS[number]}: {int(event[rows].sum()):,} events in {int(rows.sum()):,}"
        _curve(axes, time[rows], event[rows], COLOURS[number], label)
    axes.set(xlim=(0, 1.01 * end), ylim=(-0.015, 1.015))
    axes.locator_params(axis="x", nbins=9)
    style.dress(axes, f"time ({unit})" if unit else "time", f"share without {name}")
    axes.legend(loc="lower left", frameon=True, framealpha=0.85, edgecolor="none", fontsize=style.SMALL_SIZE)
    _numbers_at_risk(axes, [(COLOURS[number], time[third == number]) for number in shown], end)
    return figure


def _curve(axes: Any, time: np.ndarray, event: np.ndarray, colour: str, label: str) -> None:
    curve = kaplan_meier(time, event)
    # The last value holds as long as anyone of the group is followed.
    moments = np.append(curve.time, max(time.max(), curve.time[-1]))
    survival = np.append(curve.survival, curve.survival[-1])
    # Limits hold up to the next event, also where none are known from there on.
    known = int((~np.isnan(curve.low)).sum())
    low, high = (np.append(values[:known], values[known - 1]) for values in (curve.low, curve.high))
    axes.fill_between(moments[: known + 1], low, high, step="post", color=colour, alpha=style.BAND_ALPHA, linewidth=0)
    axes.step(moments, survival, where="post", color=colour, linewidth=1.4, label=style.plain(label))
    censored = np.unique(time[event != 1])
    if 0 < len(censored) <= 60:
        height = survival[np.searchsorted(moments[:-1], censored, side="right") - 1]
        axes.plot(censored, height, "|", color=colour, markersize=5, markeredgewidth=0.8)


def _numbers_at_risk(axes: Any, groups: list[tuple[str, np.ndarray]], end: float) -> None:
    """How many are still followed, below each tick of time."""
    from matplotlib.transforms import blended_transform_factory

    points = 72 * _LINE
    across = blended_transform_factory(axes.transData, axes.transAxes)
    look: dict[str, Any] = {"size": style.SMALL_SIZE, "va": "top", "textcoords": "offset points"}
    axes.annotate("at risk", (0, 0), (0, -36), xycoords="axes fraction", ha="left", color=style.INK, **look)
    for line, (colour, time) in enumerate(groups, 1):
        for tick in axes.get_xticks():
            if 0 <= tick <= end:
                count = f"{at_risk(time, np.array([tick]))[0]:,}"
                axes.annotate(
                    count, (tick, 0), (0, -36 - points * line), xycoords=across, ha="center", color=colour, **look
                )
