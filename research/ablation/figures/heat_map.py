"""Heat maps of a grid: the metric by two of its fields, for each pair of them the mean over the others."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from research.ablation.design import Axis, Design
from research.ablation.figures.arms import labels_of, scale_limits, seeds_text, sign_of, title_of
from research.ablation.statistics import Analysis
from research.evaluation.tables import number, with_interval
from research.reporting import style

MOST_PANELS = 6
MOST_WITH_NUMBERS = 16
"""Values of a field; of more, numbers in the cells could not be read."""

_CELL = (0.74, 0.46)
"""Width and height of a cell, in inches."""

_LETTER = 0.068
_BELOW, _BAR, _GAP = 0.44, 0.95, 0.2
"""Inches that the names below a panel, the bar of colours, and the room between panels take."""

Pair = tuple[Axis, Axis]
"""The field that goes across, and the one that goes down."""


def heat_map(design: Design, analysis: Analysis, title: str) -> tuple[Any, tuple[str, ...]] | None:
    """The figure, and what was left out; None where the grid has fewer than two fields with several values.

    A cell holds the mean of the metric over seeds and, of a grid of more than two fields, over all values of the
    others. Below it stands the difference to the baseline, with an asterisk where that is decided. The darker, the
    better.

    Args:
        design: of the ablation.
        analysis: its numbers; the first metric is drawn.
        title: of what.
    """
    fields = [axis for axis in design.grid if len(axis.values) > 1]
    # The longer list goes across, where there is more room.
    pairs: list[Pair] = [
        (a, b) if len(a.values) >= len(b.values) else (b, a) for a, b in itertools.combinations(fields, 2)
    ]
    if not pairs:
        return None
    notes = ()
    if len(pairs) > MOST_PANELS:
        notes = (f"heat_map.png: the first {MOST_PANELS} of {len(pairs)} pairs of fields are drawn.",)
        pairs = pairs[:MOST_PANELS]
    tables = [cells(design, analysis, pair) for pair in pairs]
    every = np.concatenate([table.ravel() for table in tables])
    if np.isnan(every).all():
        return None
    figure, places = _layout(pairs, f"{title_of(analysis.metrics[0])} over the grid: {title}", _facts(design, analysis))
    image = None
    for axes, pair, table in zip(places, pairs, tables, strict=False):
        image = _panel(axes, design, analysis, pair, table, scale_limits(every))
    _bar(figure, image, places[-1], analysis.metrics[0], every)
    return figure, notes


def cells(design: Design, analysis: Analysis, pair: Pair) -> Float[np.ndarray, "D A"]:
    """The mean of the metric at each pair of values, down by across; NaN where an arm is missing or not defined."""
    across, down = pair
    metric = analysis.metrics[0]
    found: list[list[list[float]]] = [[[] for _ in across.values] for _ in down.values]
    for arm in design.on(design.grid):
        value = analysis.summary(arm, metric).mean if arm in analysis.variants else math.nan
        row, column = (axis.values.index(design.place(arm, axis)) for axis in (down, across))
        found[row][column].append(value)
    wanted = math.prod(len(axis.values) for axis in design.grid) // (len(across.values) * len(down.values))
    return np.array(
        [[np.mean(values) if len(values) == wanted else math.nan for values in row] for row in found], dtype=np.float64
    )


def _facts(design: Design, analysis: Analysis) -> str:
    """What a cell is."""
    metric, baseline = analysis.metrics[0], analysis.variants[0]
    first = analysis.summary(baseline, metric)
    parts = [f"mean over {seeds_text(analysis, metric)}; darker is better"]
    if not sign_of(metric):
        parts[0] = parts[0].replace("better", "more")
    others = len([axis for axis in design.grid if len(axis.values) > 1]) > 2
    if others:
        parts[0] = parts[0].replace("seeds", "seeds and over the other fields of the grid")
    shown = with_interval(first.mean, first.low, first.high)
    numbers = max(len(axis.values) for axis in design.grid) <= MOST_WITH_NUMBERS
    parts.append(f"below: difference to {baseline}, {shown}" if numbers else f"{baseline}: {shown}")
    if numbers and not others and any(item.p_corrected is not None for item in analysis.differences):
        parts[-1] += " (* decided: Holm's p of 0.05 or less)"
    on = baseline in design.on(design.grid)
    parts.append("outlined: where the baseline is" if on else "the baseline is not on the grid")
    return "; ".join(parts)


def _layout(pairs: Sequence[Pair], title: str, facts: str) -> tuple[Any, list[Any]]:
    """The figure, the axes of the panels, and last those of the bar of colours."""
    width = min(9.0, max(_CELL[0] * max(len(across.values) for across, _ in pairs), 1.5))
    height = min(6.0, max(_CELL[1] * max(len(down.values) for _, down in pairs), 1.0))
    left = 0.4 + _LETTER * max(_longest(down) for _, down in pairs)
    below = _BELOW + max(0.5 * _LETTER * _longest(axis) if _turned(axis, width) else 0.0 for axis, _ in pairs)
    rows, columns = style.grid_shape(len(pairs), max(1, int(11 / (left + width + _GAP))))
    across, down = left + width + _GAP, height + below + _GAP
    figure, top = style.new_figure(max(4.6, columns * across + _BAR), rows * down - _GAP + 0.06, title, facts)
    places = [
        style.place(figure, left + (n % columns) * across, top + (n // columns) * down, width, height)
        for n in range(len(pairs))
    ]
    return figure, [*places, style.place(figure, columns * across - 0.06, top, 0.14, height)]


def _names(axis: Axis) -> list[str]:
    return labels_of(axis, 24)


def _longest(axis: Axis) -> int:
    return max(map(len, _names(axis)))


def _turned(axis: Axis, width: float) -> bool:
    """Whether names below a panel of so many inches would run into each other, and are turned."""
    return (_longest(axis) + 1) * _LETTER > width / len(axis.values)


def _panel(
    axes: Any, design: Design, analysis: Analysis, pair: Pair, table: np.ndarray, limits: tuple[float, float]
) -> Any:
    """One pair of fields."""
    across, down = pair
    image = axes.imshow(table, cmap=_colours(analysis.metrics[0]), vmin=limits[0], vmax=limits[1], aspect="auto")
    style.dress(axes, across.name, down.name)
    for side in axes.spines.values():
        side.set_visible(False)
    axes.tick_params(length=0)
    look: dict[str, Any] = {"rotation": 30, "ha": "right", "rotation_mode": "anchor"}
    look = look if _turned(across, float(axes.bbox.width) / style.DPI) else {}
    for axis, set_ticks, turned in ((across, axes.set_xticks, look), (down, axes.set_yticks, {})):
        names = [style.plain(name) for name in _names(axis)]
        set_ticks(range(len(names)), names, size=style.SMALL_SIZE, **turned)
    axes.set_xticks(np.arange(1, table.shape[1]) - 0.5, minor=True)
    axes.set_yticks(np.arange(1, table.shape[0]) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=1.0)
    axes.tick_params(which="minor", length=0)
    if max(table.shape) <= MOST_WITH_NUMBERS:
        _numbers(axes, design, analysis, pair, table, image)
    _outline(axes, design, analysis.variants[0], pair)
    return image


def _numbers(axes: Any, design: Design, analysis: Analysis, pair: Pair, table: np.ndarray, image: Any) -> None:
    """In each cell its mean, and the difference to the baseline."""
    metric, baseline = analysis.metrics[0], analysis.variants[0]
    first = analysis.summary(baseline, metric).mean
    decided = {item.variant for item in analysis.differences if item.metric == metric and item.decided}
    alone = len([axis for axis in design.grid if len(axis.values) > 1]) == 2
    arms = {}
    for arm in design.on(design.grid) if alone else ():
        arms[tuple(pair[n].values.index(design.place(arm, pair[n])) for n in (1, 0))] = arm
    for cell, value in np.ndenumerate(table):
        arm = arms.get(cell)
        shade = image.cmap(image.norm(value))
        dark = 0.2126 * shade[0] + 0.7152 * shade[1] + 0.0722 * shade[2] < 0.5
        text = number(value)
        if not math.isnan(value):
            text += "\n" + ("baseline" if arm == baseline else f"{value - first:+.3f}" + "*" * (arm in decided))
        look: dict[str, Any] = {"color": "white" if dark and not math.isnan(value) else style.INK, "linespacing": 1.25}
        axes.text(*cell[::-1], text.replace("-", "−"), ha="center", va="center", size=style.SMALL_SIZE, **look)


def _outline(axes: Any, design: Design, baseline: str, pair: Pair) -> None:
    """A frame around the cell of the baseline, where it is on the grid."""
    from matplotlib.patches import Rectangle

    if baseline not in design.on(design.grid):
        return
    column, row = (axis.values.index(design.place(baseline, axis)) for axis in pair)
    frame: dict[str, Any] = {"fill": False, "edgecolor": style.VERMILION, "linewidth": 2.2, "zorder": 5}
    axes.add_patch(Rectangle((column - 0.48, row - 0.47), 0.96, 0.94, clip_on=False, gid="baseline", **frame))


def _colours(metric: str) -> Any:
    """Of a metric whose small values are better, those are dark; cells without a value are grey."""
    from matplotlib import colormaps

    return colormaps["Blues_r" if sign_of(metric) < 0 else "Blues"].with_extremes(bad=style.PALE)


def _bar(figure: Any, image: Any, axes: Any, metric: str, every: np.ndarray) -> None:
    """The bar of colours, with a pointed end where values lie beyond it."""
    low, high = np.nanmin(every) < image.norm.vmin, np.nanmax(every) > image.norm.vmax
    ends: Any = {(False, False): "neither", (True, False): "min", (False, True): "max", (True, True): "both"}
    bar = figure.colorbar(image, cax=axes, extend=ends[bool(low), bool(high)])
    bar.outline.set_visible(False)
    bar.locator = _few_ticks()
    bar.update_ticks()
    axes.tick_params(labelsize=style.SMALL_SIZE, color=style.GREY, labelcolor=style.INK)
    bar.set_label(style.plain(title_of(metric)), size=style.TEXT_SIZE, color=style.INK)


def _few_ticks() -> Any:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(5)
