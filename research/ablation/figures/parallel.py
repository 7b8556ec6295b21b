"""Parallel coordinates of a search: a line a trial, through its values on one axis a field, to its metric."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from research.ablation.design import Axis, Design
from research.ablation.figures.arms import labels_of, ranked, scale_limits, seeds_text, sign_of, title_of
from research.ablation.statistics import Analysis
from research.evaluation.tables import number
from research.reporting import style

BEST = 3
"""Trials that are drawn above the others."""

MOST_FIELDS = 10
_APART, _HEIGHT = 1.5, 3.1
"""Inches between axes, and their height."""

_DARK, _LIGHT = 0.0, 0.82
"""The part of the scale of colours that is used: its yellow end cannot be seen on white."""

Tick = tuple[float, str]
"""A height from 0 to 1, and what stands there."""


def parallel(design: Design, analysis: Analysis, title: str) -> tuple[Any, tuple[str, ...]] | None:
    """The figure, and what was left out; None where there was no search.

    The colour is the metric, the darker the better; the best trials are thick and numbered, the baseline is dashed.

    Args:
        design: of the ablation.
        analysis: its numbers; the first metric is drawn.
        title: of what.
    """
    metric, baseline = analysis.metrics[0], analysis.variants[0]
    value = {arm: analysis.summary(arm, metric).mean for arm in design.on(design.search) if arm in analysis.variants}
    value = {arm: mean for arm, mean in value.items() if not math.isnan(mean)} if design.search else {}
    best = [arm for arm in ranked(analysis, metric) if arm in value][:BEST]
    if not best:
        return None
    fields, notes = design.search[:MOST_FIELDS], ()
    if len(fields) < len(design.search):
        notes = (f"parallel.png: the first {MOST_FIELDS} of {len(design.search)} fields are drawn.",)
    across = len(fields)
    about = _facts(analysis, len(value), len(best), baseline in value)
    figure, top = style.new_figure(2.0 + _APART * across, _HEIGHT + 0.75, f"Search: {title}", about)
    axes = style.place(figure, 0.85, top + 0.45, _APART * across, _HEIGHT)
    axes.set(xlim=(0, across), ylim=(0, 1))
    axes.set_axis_off()
    limits = scale_limits(np.array(list(value.values())))
    for place, axis in enumerate(fields):
        _axis(axes, place, axis.name, ticks(axis))
    better = {1: "↑ better", -1: "↓ better", 0: ""}[sign_of(metric)]
    _axis(axes, across, f"{title_of(metric)}\n{better}", metric_ticks(limits, list(value.values())), right=True)
    for arm in sorted(value, key=lambda arm: (-best.index(arm) if arm in best else -BEST, arm == baseline)):
        heights = [height(design.place(arm, axis), axis) for axis in fields]
        share = float(np.clip((value[arm] - limits[0]) / (limits[1] - limits[0]), 0, 1))
        look = _look(arm == baseline, arm in best, share, sign_of(metric))
        axes.plot(range(across + 1), [*heights, share], clip_on=False, gid=arm, **look)
        if arm in best:
            _rank(axes, across, share, best.index(arm) + 1, look["color"])
    return figure, notes


def height(value: Any, axis: Axis) -> float:
    """Where a value of a field is on its axis, from 0 to 1."""
    if axis.scale == "categories":
        return 0.5 if len(axis.values) == 1 else axis.values.index(value) / (len(axis.values) - 1)
    if axis.scale == "log":
        return math.log(value / axis.low) / math.log(axis.high / axis.low)
    return (value - axis.low) / (axis.high - axis.low)


def ticks(axis: Axis) -> list[Tick]:
    """Marks of an axis: all categories, powers of ten, or round numbers."""
    from matplotlib.ticker import LogLocator, MaxNLocator

    if axis.scale == "categories":
        return [(height(value, axis), label) for value, label in zip(axis.values, labels_of(axis, 18), strict=True)]
    values = MaxNLocator(5, steps=[1, 2, 5, 10]).tick_values(axis.low, axis.high)
    if axis.scale == "log":
        values = LogLocator(numticks=8).tick_values(axis.low, axis.high)
        if sum(axis.low <= value <= axis.high for value in values) < 3:
            values = LogLocator(subs=(1.0, 2.0, 5.0), numticks=8).tick_values(axis.low, axis.high)
    within = [value for value in map(float, values) if axis.low * (1 - 1e-9) <= value <= axis.high * (1 + 1e-9)]
    return [(height(value, axis), f"{value:.4g}") for value in within]


def metric_ticks(limits: tuple[float, float], values: list[float]) -> list[Tick]:
    """Marks of the metric's axis, whose ends say so where trials lie beyond them."""
    from matplotlib.ticker import MaxNLocator

    low, high = limits
    inner = [v for v in map(float, MaxNLocator(5).tick_values(low, high)) if low <= v <= high]
    found = [((value - low) / (high - low), f"{value:.4g}") for value in inner]
    for place, end, beyond in ((0.0, low, min(values) < low), (1.0, high, max(values) > high)):
        if beyond:
            sign = "≤" if place == 0 else "≥"
            found = [tick for tick in found if abs(tick[0] - place) > 0.06] + [(place, f"{sign} {number(end)}")]
    return found


def _facts(analysis: Analysis, trials: int, best: int, baseline: bool) -> str:
    metric = analysis.metrics[0]
    which = f"best {best}" if sign_of(metric) else f"{best} largest"
    parts = [f"{trials - baseline} trials, mean over {seeds_text(analysis, metric)}"]
    parts.append(f"thick: the {which}; values chosen on the test data are too good")
    if baseline:
        parts.append("dashed: the baseline")
    return "; ".join(parts)


def _axis(axes: Any, place: int, name: str, marks: list[Tick], right: bool = False) -> None:
    """A vertical line with its name above and its marks at one side."""
    axes.plot([place, place], [0, 1], color=style.GREY, linewidth=0.9, zorder=1, clip_on=False, gid="axis")
    look: dict[str, Any] = {"textcoords": "offset points", "color": style.INK, "zorder": 6}
    title = style.plain("\n".join(style.shortened(line, 22) for line in name.strip().split("\n")))
    axes.annotate(title, (place, 1), (0, 9), ha="center", va="bottom", size=style.TEXT_SIZE, **look)
    box = {"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 0.6}
    for at, text in marks:
        aside, side = (32, "left") if right else (-4, "right")
        axes.plot([place], [at], "_", color=style.GREY, markersize=6, zorder=2, clip_on=False)
        axes.annotate(
            style.plain(text), (place, at), (aside, 0), ha=side, va="center", size=style.SMALL_SIZE, bbox=box, **look
        )


def _look(baseline: bool, best: bool, share: float, sign: int) -> dict[str, Any]:
    """Colour and width of a line; ``share`` is where its metric lies between the ends, 0 to 1."""
    from matplotlib import colormaps

    good = share if sign >= 0 else 1 - share
    colour = colormaps["viridis"](_DARK + (1 - good) * (_LIGHT - _DARK))
    if baseline:
        return {"color": style.VERMILION, "linewidth": 2.0, "linestyle": (0, (4, 2)), "zorder": 5}
    return {
        "color": colour,
        "linewidth": 2.4 if best else 0.9,
        "alpha": 1.0 if best else 0.7,
        "zorder": 4 if best else 3,
    }


def _rank(axes: Any, place: int, share: float, rank: int, colour: Any) -> None:
    """The number of one of the best trials, at the end of its line."""
    look: dict[str, Any] = {"ha": "left", "va": "center", "size": style.SMALL_SIZE, "weight": "bold"}
    axes.annotate(f"{rank}", (place, share), (4 + 9 * (rank - 1), 0), textcoords="offset points", color=colour, **look)
