"""Where a model looks in a series or a record: the weights of its attention beside what it saw."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from research.reporting import style

_COLOURS = "viridis"
_WIDE, _ROW, _LAYER, _LEFT, _RIGHT = 7.0, 0.62, 0.22, 1.5, 0.7
_MOST_VARIABLES = 8
_MOST_EVENTS = 24
_CODE_WIDE, _CELL, _LINE, _LETTER = 3.6, 0.42, 0.19, 0.075


def series_attention(
    path: Path,
    time: Float[np.ndarray, " T"],
    values: Float[np.ndarray, "T C"],
    variables: Sequence[str],
    layers: dict[str, Float[np.ndarray, " T"]],
    title: str,
    facts: str,
    time_unit: str,
) -> Path:
    """Write the observed values of a series above the weights of each layer, over one axis of time.

    Args:
        path: the PNG; an older one is replaced.
        time: of each step.
        values: in their units, NaN where nothing was measured.
        variables: name and unit of each; those measured most often are drawn.
        layers: weight of each step in each layer, by name; 1 in all.
        title: above all.
        facts: below the title.
        time_unit: of ``time``.
    """
    counts = (~np.isnan(values)).sum(0)
    shown = np.sort(np.argsort(-counts, kind="stable")[: min(_MOST_VARIABLES, int((counts > 0).sum()))])
    if len(shown) < len(variables):
        facts += f" The {len(shown)} of {len(variables)} variables that were measured most often are drawn."
    body = len(shown) * _ROW + 0.12 + len(layers) * (_LAYER + 0.06) + 0.5
    figure, top = style.new_figure(_LEFT + _WIDE + _RIGHT, body, title, facts)
    span = (float(time.min()), float(max(time.max(), time.min() + 1e-6)))
    margin = 0.01 * (span[1] - span[0])
    limits = (span[0] - margin, span[1] + margin)
    for place, variable in enumerate(shown):
        axes = style.place(figure, _LEFT, top + place * _ROW, _WIDE, _ROW - 0.08)
        known = ~np.isnan(values[:, variable])
        axes.plot(time[known], values[known, variable], color=style.BLUE, marker="o", markersize=2, linewidth=0.8)
        axes.set_xlim(*limits)
        _quiet(axes, str(variables[variable]))
        axes.tick_params(labelsize=6, length=2)
    highest = max(float(weights.max()) for weights in layers.values())
    upper, image = top + len(shown) * _ROW + 0.12, None
    for place, (name, weights) in enumerate(layers.items()):
        axes = style.place(figure, _LEFT, upper + place * (_LAYER + 0.06), _WIDE, _LAYER)
        image = axes.pcolormesh(_edges(time), [0, 1], weights[None, :], cmap=_COLOURS, vmin=0, vmax=highest)
        axes.set_xlim(*limits)
        axes.set_yticks([])
        _quiet(axes, name)
        last = place == len(layers) - 1
        axes.tick_params(labelsize=style.SMALL_SIZE, labelbottom=last, bottom=last)
        if last:
            axes.set_xlabel(time_unit, size=style.SMALL_SIZE, color=style.INK)
    tall = len(layers) * (_LAYER + 0.06) - 0.06
    _colour_bar(figure, image, style.place(figure, _LEFT + _WIDE + 0.1, upper, 0.1, tall))
    return style.save(figure, path)


def record_attention(
    path: Path,
    codes: list[str],
    time: Float[np.ndarray, " T"],
    layers: dict[str, Float[np.ndarray, " T"]],
    title: str,
    facts: str,
) -> Path:
    """Write the events of a record that have the largest weights, in the order of time, with those of each layer.

    Args:
        path: the PNG; an older one is replaced.
        codes: of each event, as the source writes them.
        time: of each event, days.
        layers: weight of each event in each layer, by name; 1 in all.
        title: above all.
        facts: below the title.
    """
    table = np.stack(list(layers.values()), axis=1)
    chosen = np.sort(np.argsort(-table.max(1), kind="stable")[:_MOST_EVENTS])
    if len(chosen) < len(codes):
        share = ", ".join(f"{100 * part:.0f} %" for part in table[chosen].sum(0))
        facts += (
            f" The {len(chosen)} of {len(codes)} events with the largest weights are drawn; they have {share} of all."
        )
    shown = [codes[event] if len(codes[event]) < 48 else f"{codes[event][:45]}..." for event in chosen]
    texts = min(_CODE_WIDE, 0.3 + _LETTER * max(map(len, shown)))
    wide, tall, left = len(layers) * _CELL, len(chosen) * _LINE, 0.7 + texts
    figure, top = style.new_figure(left + wide + 0.9, 0.3 + tall + 0.15, title, facts)
    axes = style.place(figure, left, top + 0.3, wide, tall)
    highest, grid = float(table.max()), {"edgecolors": "white", "linewidth": 0.5}
    image = axes.pcolormesh(table[chosen], cmap=_COLOURS, vmin=0, vmax=highest, **grid)
    axes.invert_yaxis()
    axes.set_xticks(np.arange(len(layers)) + 0.5, list(layers), size=6, color=style.INK)
    axes.xaxis.tick_top()
    axes.set_yticks([])
    axes.tick_params(length=0)
    for side in axes.spines.values():
        side.set_visible(False)
    look: dict[str, Any] = {"size": style.SMALL_SIZE, "color": style.INK, "va": "center"}
    for line, event in enumerate(chosen):
        axes.text(-0.15, line + 0.5, style.plain(shown[line]), ha="right", **look)
        axes.text(-0.15 - texts / _CELL, line + 0.5, f"day {time[event]:.1f}", ha="right", **look)
    _colour_bar(figure, image, style.place(figure, left + wide + 0.15, top + 0.3, 0.1, min(1.5, tall)))
    return style.save(figure, path)


def _quiet(axes: Any, name: str) -> None:
    """A name at the left, no frame but the lower edge, no labels of time."""
    axes.set_ylabel(style.plain(name), rotation=0, ha="right", va="center", size=style.SMALL_SIZE, color=style.INK)
    axes.tick_params(labelbottom=False, bottom=False)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(style.PALE)


def _colour_bar(figure: Any, image: Any, place: Any) -> None:
    bar = figure.colorbar(image, cax=place)
    bar.ax.tick_params(labelsize=6, length=2)
    bar.outline.set_visible(False)


def _edges(time: Float[np.ndarray, " T"]) -> Float[np.ndarray, " edges"]:
    """Midway between neighbouring times, and as far beyond the ends."""
    if len(time) < 2:
        return np.asarray([time[0] - 0.5, time[0] + 0.5])
    middle = (time[1:] + time[:-1]) / 2
    return np.concatenate([[2 * time[0] - middle[0]], middle, [2 * time[-1] - middle[-1]]])
