"""Where a model looks in a record: the weights of its attention beside the events."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from research.reporting import style
from research.reporting.series import COLOURS, colour_bar

_MOST_EVENTS = 24
_CODE_WIDE, _CELL, _LINE, _LETTER = 3.6, 0.42, 0.19, 0.075


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
    image = axes.pcolormesh(table[chosen], cmap=COLOURS, vmin=0, vmax=highest, **grid)
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
    colour_bar(figure, image, style.place(figure, left + wide + 0.15, top + 0.3, 0.1, min(1.5, tall)))
    return style.save(figure, path)
