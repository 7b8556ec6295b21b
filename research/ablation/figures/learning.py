"""Learning curves of the arms: mean over seeds of losses and validation metrics, with bands."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from research.ablation.figures.arms import drawn_arms, title_of
from research.ablation.figures.curves import Curve, Scale, curves_of, scale_of
from research.ablation.result import AblationResult
from research.ablation.statistics import Analysis
from research.reporting import style

MOST_PANELS = 6
_COLUMNS = 3
_LINE, _LETTER = 0.155, 0.068
"""Inches that a line of the legend takes, and a letter of it."""

_FEW_POINTS = 15
_BAND_ALPHA = 0.13
"""Fainter than the bands of other figures, for up to seven lie above each other."""


def learning_curves(result: AblationResult, analysis: Analysis, title: str) -> Any | None:
    """The figure, a panel a number and a line an arm; None where nothing was logged.

    Args:
        result: of the ablation.
        analysis: which decides the arms that are drawn, where there are many.
        title: of what.
    """
    looks, left_out = drawn_arms(analysis, analysis.metrics[0])
    curves, epochs = curves_of(result, list(looks))
    names = panel_names(curves, analysis.metrics)
    if not names:
        return None
    shown = {name: {arm: curve[name] for arm, curve in curves.items() if name in curve} for name in names}
    scales: dict[str, Scale] = {name: scale_of(shown[name].values(), name.endswith("loss")) for name in names}
    columns = 2 if len(names) > 1 else 1
    width = 3.76 * style.grid_shape(len(names), _COLUMNS)[1]
    letters = int((max(4.2, width) / columns - 0.75) / _LETTER)
    labels = {arm: _label(arm, letters) for arm in looks}
    figure, places = style.panels(
        len(names),
        (3.0, 2.5),
        f"Learning curves: {title}",
        _facts(shown, "log" in scales.values(), left_out),
        columns=_COLUMNS,
        own_ticks=True,
        below=0.1 + _LINE * _legend_lines(list(labels.values()), columns),
    )
    for place, name in zip(places, names, strict=True):
        _panel(place.axes, shown[name], looks, labels, scales[name])
        split, metric = name.split("/", 1)
        style.dress(place.axes, "epoch" if epochs else "update", f"{title_of(metric)}, {split}")
    _legend(figure, looks, labels, columns)
    return figure


def panel_names(curves: Mapping[str, Mapping[str, Curve]], metrics: Sequence[str]) -> list[str]:
    """What is drawn: of the validation metrics those of the table, or else the first one, and all losses."""
    every = sorted({name for curve in curves.values() for name in curve})
    losses = [name for name in every if name.endswith("loss")]
    others = [name for name in every if name.startswith("validation/") and name not in losses]
    chosen = [f"validation/{metric}" for metric in metrics if f"validation/{metric}" in others] or others[:1]
    return [*chosen, *losses][:MOST_PANELS]


def _label(arm: str, letters: int) -> str:
    return "\n".join(textwrap.wrap(style.shortened(arm, 2 * letters), letters, break_on_hyphens=False))


def _facts(shown: Mapping[str, Mapping[str, Curve]], log: bool, left_out: str) -> str:
    """What lines and bands are."""
    every = [curve for by_arm in shown.values() for curve in by_arm.values()]
    counts = sorted({curve.values.shape[1] for curve in every})
    if counts[-1] == 1:
        parts = ["one seed, so there are no bands"]
    else:
        seeds = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
        parts = [f"mean over {seeds} seeds, with bands: pointwise 95 % t intervals over seeds"]
        if log:
            parts.append("on logarithmic scales means and intervals are of logarithms")
    if any(0 < curve.whole < len(curve.place) for curve in every):
        parts.append("thin: some seeds have stopped early, and it is the mean of the others")
    return "; ".join([*parts, left_out] if left_out else parts)


def _panel(
    axes: Any, curves: Mapping[str, Curve], looks: Mapping[str, dict[str, Any]], labels: Mapping[str, str], scale: Scale
) -> None:
    """The lines of one number."""
    from matplotlib.ticker import MaxNLocator

    for arm, curve in curves.items():
        whole, mean, look = curve.whole, curve.mean(scale), looks[arm]
        if (band := curve.band(scale)) is not None:
            fill: dict[str, Any] = {"color": look["color"], "alpha": _BAND_ALPHA, "linewidth": 0, "zorder": 1}
            axes.fill_between(curve.place[:whole], *band, **fill)
        marks: dict[str, Any] = {"marker": "o", "markersize": 2.5} if len(curve.place) <= _FEW_POINTS else {}
        axes.plot(curve.place[:whole], mean[:whole], label=style.plain(labels[arm]), **look, **marks)
        if whole < len(curve.place):
            rest = slice(max(0, whole - 1), None)
            axes.plot(curve.place[rest], mean[rest], label="_thin", **(look | {"linewidth": 0.6}))
    if scale == "log":
        style.logarithmic(axes)
    axes.set_ylim(*_limits(list(curves.values()), scale))
    if all((curve.place == curve.place.round()).all() for curve in curves.values()):
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, steps=[1, 2, 5, 10]))
    axes.margins(x=0.02)


def _limits(curves: Sequence[Curve], scale: Scale) -> tuple[float, float]:
    """Room for all means, and for bands as far as they do not take most of it: those of two seeds may be huge."""
    means = np.concatenate([curve.mean(scale) for curve in curves])
    bands = [limit for curve in curves if (band := curve.band(scale)) is not None for limit in band]
    every = np.concatenate([means, *bands])
    every = every[np.isfinite(every)]
    low, high = float(means.min()), float(means.max())
    least, most = float(every.min()), float(every.max())
    if scale == "log":
        return max(least, low / 3) / 1.1, min(most, high * 3) * 1.1
    room = (high - low) or 0.1 * abs(high) or 1.0
    bottom, up = max(least, low - 0.25 * room), min(most, high + 0.25 * room)
    margin = 0.04 * ((up - bottom) or room)
    return bottom - margin, up + margin


def _legend_lines(labels: Sequence[str], columns: int) -> int:
    """How many lines of text the tallest column of the legend has."""
    tall = -(-len(labels) // columns)
    parts = [labels[first : first + tall] for first in range(0, len(labels), tall)]
    return max(sum(label.count("\n") + 1 for label in part) for part in parts)


def _legend(figure: Any, looks: Mapping[str, dict[str, Any]], labels: Mapping[str, str], columns: int) -> None:
    """Which line is which arm, once for all panels, below them."""
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], **look) for look in looks.values()]
    names = [style.plain(label) for label in labels.values()]
    width, height = figure.get_size_inches()
    options: dict[str, Any] = {"frameon": False, "fontsize": style.SMALL_SIZE, "labelcolor": style.INK}
    figure.legend(
        handles, names, loc="lower left", bbox_to_anchor=(0.4 / width, 0.02 / height), ncols=columns,
        handlelength=3.6, **options,
    )  # fmt: skip
