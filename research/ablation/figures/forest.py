"""Forest plot: the difference of each variant to the baseline, with its interval, as in the table."""

from __future__ import annotations

import math
import textwrap
from typing import Any

import numpy as np

from research.ablation.figures.arms import ranked, seeds_text, sign_of, title_of
from research.ablation.statistics import Analysis, Difference
from research.evaluation.tables import p_text, with_interval
from research.reporting import style

MOST_ROWS = 40
"""Variants that are drawn; of more, the best and the worst."""

MOST_METRICS = 3

_LINE, _PAD = 0.145, 0.085
"""Inches that a line of a name takes, and between rows."""

_LETTER = 0.066
"""Inches that a letter of a name takes."""

_LONGEST, _MOST_LINES = 56, 3
_WIDE, _NUMBERS = 2.9, 2.4
"""Inches of the plot of a metric, and of the numbers at its right."""

_FEW = 8
"""Rows of which all marks are within the plot, however far one of them is from the others."""


def forest(analysis: Analysis, title: str) -> Any:
    """The figure: a row a variant in the order of the table, a plot for each of the first metrics.

    Filled marks are differences that are decided (Holm's p of 0.05 or less), open ones are not; small grey ones belong
    to metrics that are not tested.

    Args:
        analysis: with at least one variant beside the baseline.
        title: of what.
    """
    names, about = _rows(analysis)
    labels = [_label(name, " *" if name == analysis.selected else "") for name in names]
    heights = np.array([_LINE * (label.count("\n") + 1) + _PAD for label in labels])
    places = np.cumsum(heights) - heights / 2
    metrics = analysis.metrics[:MOST_METRICS]
    left = 0.25 + _LETTER * max(len(line) for label in labels for line in label.split("\n"))
    height = float(heights.sum())
    width = left + len(metrics) * (_WIDE + _NUMBERS)
    figure, top = style.new_figure(
        width, height + 0.8, f"Differences to {analysis.variants[0]}: {title}", _facts(analysis, names, about)
    )
    top += 0.22
    for number, metric in enumerate(metrics):
        axes = style.place(figure, left + number * (_WIDE + _NUMBERS), top, _WIDE, height)
        found = [analysis.difference(name, metric) for name in names]
        _plot(axes, found, places, metric)
        axes.set_ylim(height, 0)
        axes.set_yticks(places, [style.plain(label) for label in labels] if number == 0 else [""] * len(labels))
        axes.tick_params(axis="y", length=0, labelsize=style.SMALL_SIZE, pad=7)
    return figure


def _rows(analysis: Analysis) -> tuple[list[str], str]:
    """Variants that are drawn, in the order of the table, and a line that says which are left out, or nothing."""
    metric, names = analysis.metrics[0], list(analysis.variants[1:])
    if len(names) <= MOST_ROWS:
        return names, ""
    order = ranked(analysis, metric)
    half = MOST_ROWS // 2
    kept = {*order[:half], *order[-half:]}
    which = ("best", "worst") if sign_of(metric) else ("largest", "smallest")
    about = (
        f"drawn: the {half} {which[0]} and the {half} {which[1]} of {len(names)} variants by {title_of(metric)}; left "
        f"out between them: {len(names) - MOST_ROWS}"
    )
    return [name for name in names if name in kept], about


def _label(name: str, mark: str) -> str:
    lines = textwrap.wrap(name, _LONGEST, break_on_hyphens=False) or [name]
    if len(lines) > _MOST_LINES:
        lines = [*lines[: _MOST_LINES - 1], style.shortened(" ".join(lines[_MOST_LINES - 1 :]), _LONGEST)]
    return "\n".join(lines) + mark


def _facts(analysis: Analysis, names: list[str], about: str) -> str:
    """What the numbers rest on."""
    first = analysis.summary(analysis.variants[0], analysis.metrics[0])
    shown = with_interval(first.mean, first.low, first.high)
    metric = title_of(first.metric)
    parts = [f"{analysis.variants[0]}: {metric} {shown}; {seeds_text(analysis, first.metric)}"]
    if analysis.patients:
        unit = {"patient": "patients", "row": "rows (no patient identifiers)"}.get(analysis.unit_name, "series")
        parts[0] += f", {analysis.patients:,} {unit}"
    tested = sum(item.p_value is not None for item in analysis.differences)
    if tested:
        by = "by seed and example" if analysis.patients else "by seed"
        parts.append(f"95 % intervals, paired {by}; p by Holm over {tested}; filled: decided, open: undecided")
        if tested < len(analysis.differences) and len(analysis.metrics) > 1:
            parts.append("diamonds: not tested")
    elif max(item.seeds for item in analysis.summaries) <= 1:
        intervals = "intervals are of the patients alone" if analysis.patients else "there are no intervals"
        parts.append(f"one seed: nothing is tested, {intervals}")
    if any(_beyond(analysis, names, metric) for metric in analysis.metrics[:MOST_METRICS]):
        parts.append("arrows: beyond the plot")
    if analysis.selected in names:
        parts.append("*: chosen by its value on the test data, which is therefore too good")
    if len(analysis.metrics) > MOST_METRICS:
        parts.append(f"the first {MOST_METRICS} of {len(analysis.metrics)} metrics are drawn")
    return "; ".join([*parts, about] if about else parts)


def _beyond(analysis: Analysis, names: list[str], metric: str) -> bool:
    """Whether a mark or an interval is cut."""
    found = [analysis.difference(name, metric) for name in names]
    low, high = _limits(found)
    ends = [value for item in found for value in (item.difference, item.low, item.high)]
    return any(end < low or end > high for end in ends)


def _plot(axes: Any, found: list[Difference], places: np.ndarray, metric: str) -> None:
    """Marks, intervals and numbers of one metric."""
    axes.axvline(0, color=style.INK, linewidth=0.9, zorder=1, gid="baseline")
    for place in places[1::2]:
        row = np.diff(places).min() if len(places) > 1 else 0.3
        axes.axhspan(place - row / 2, place + row / 2, color=style.PALE, alpha=0.3, linewidth=0, zorder=0)
    limits = _limits(found)
    for item, place in zip(found, places, strict=True):
        if not math.isnan(item.difference):
            _mark(axes, item, float(place), limits)
        text = with_interval(item.difference, item.low, item.high)
        look: dict[str, Any] = {"size": style.SMALL_SIZE, "va": "center", "color": style.INK}
        look |= {"xycoords": ("axes fraction", "data"), "textcoords": "offset points"}
        look["weight"] = "bold" if item.decided else "normal"
        axes.annotate(text.replace("-", "−"), (1, place), (8, 0), ha="left", **look)
        axes.annotate(p_text(item.p_corrected), (1, place), (72 * _NUMBERS - 12, 0), ha="right", **look)
    axes.set_xlim(*limits)
    axes.locator_params(axis="x", nbins=5)
    style.dress(axes, f"{title_of(metric)}, variant − baseline")
    axes.spines["left"].set_visible(False)
    look = {"size": style.SMALL_SIZE, "color": style.INK, "xycoords": "axes fraction", "textcoords": "offset points"}
    axes.annotate("difference [95 % interval]", (1, 1), (8, 4), ha="left", **look)
    if any(item.p_corrected is not None for item in found):
        axes.annotate("p", (1, 1), (72 * _NUMBERS - 12, 4), ha="right", **look)
    if (sign := sign_of(metric)) != 0:
        text, end = ("better →", 1.0) if sign > 0 else ("← better", 0.0)
        side = "right" if sign > 0 else "left"
        axes.annotate(text, (end, 1), (0, 4), ha=side, **look)


def _limits(found: list[Difference]) -> tuple[float, float]:
    """Where the axis begins and ends: 0 is within, and so are marks and intervals but for the few that are cut.

    A few arms that went astray, or have very wide intervals, shall not press the others together: it reaches to four
    times what is usual, and to all marks where there are few rows or many marks lie beyond.
    """
    known = [item for item in found if not math.isnan(item.difference)]
    marks = np.array([abs(item.difference) for item in known])
    ends = np.array([np.nanmax(np.abs([item.difference, item.low, item.high])) for item in known])
    if not len(known) or ends.max() <= 0:
        return -1.0, 1.0
    reach = min(float(ends.max()), 4 * float(np.median(ends)))
    if len(known) <= _FEW or (marks > reach).mean() > 0.25:
        reach = max(reach, float(marks.max()))
    every = [value for item in known for value in (item.difference, item.low, item.high) if not math.isnan(value)]
    low, high = max(-reach, min(0.0, *every)), min(reach, max(0.0, *every))
    margin = 0.06 * (high - low)
    return low - margin, high + margin


def _mark(axes: Any, item: Difference, place: float, limits: tuple[float, float]) -> None:
    """Mark and interval of a row; an arrow where they go beyond the plot."""
    sign = sign_of(item.metric)
    good = item.difference * (sign or 1) > 0
    colour = style.GREY if not item.decided else style.BLUE if good else style.VERMILION
    low, high = np.nanmin([item.low, item.difference]), np.nanmax([item.high, item.difference])
    if not math.isnan(item.low):
        ends = np.clip([low, high], *limits)
        wide = 1.6 if item.decided else 1.1
        axes.plot(ends, [place, place], color=colour, linewidth=wide, gid="interval", solid_capstyle="butt")
    for beyond, end, arrow in ((low < limits[0], limits[0], "<"), (high > limits[1], limits[1], ">")):
        if beyond:
            axes.plot([end], [place], arrow, color=colour, markersize=5, clip_on=False, gid="beyond")
    if not limits[0] <= item.difference <= limits[1]:
        return
    tested = item.p_corrected is not None
    face = colour if item.decided or not tested else "white"
    size = 6.0 if tested else 4.0
    axes.plot(
        [item.difference], [place], "s" if tested else "D", color=colour, markerfacecolor=face, markersize=size,
        markeredgewidth=1.3, zorder=3, gid="decided" if item.decided else "undecided" if tested else "untested",
    )  # fmt: skip
