"""A series over time: what was measured, what was said and true at each step, and where the model looked."""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from research.reporting import style

COLOURS = "viridis"
_WIDE, _ROW, _SAID, _CLASS, _LAYER, _LEFT, _RIGHT = 7.0, 0.62, 1.1, 0.2, 0.22, 1.6, 0.7
_MOST_VARIABLES = 8
_MOST_CLASSES = 8
_LETTERS = 20
"""Of a name in one line at the left."""


@dataclasses.dataclass(frozen=True, eq=False)
class Said:
    """What is said and true at each step.

    Attributes:
        names: of the classes.
        probability: of each class, ``[T, C]``.
        true: number of the true class, ``[T]``; below 0 where none is known.
        threshold: probability from which the second of two classes is called; None where there is none.
    """

    names: tuple[str, ...]
    probability: Float[np.ndarray, "T C"]
    true: Int[np.ndarray, " T"]
    threshold: float | None = None


def series_figure(
    time: Float[np.ndarray, " T"],
    values: Float[np.ndarray, "T C"],
    variables: Sequence[str],
    title: str,
    facts: str,
    time_unit: str,
    said: Said | None = None,
    layers: Mapping[str, Float[np.ndarray, " T"]] | None = None,
) -> Any:
    """The figure: the observed values of a series, and below them over one axis of time what a model makes of it.

    Args:
        time: of each step.
        values: in their units, NaN where nothing was measured.
        variables: name and unit of each; those measured most often are drawn.
        title: above all.
        facts: below the title.
        time_unit: of ``time``.
        said: at each step; of two classes the probability of the second is drawn, and where it is true is shaded.
        layers: weight of each step in each layer of attention, by name; 1 in all.
    """
    layers = layers or {}
    counts = (~np.isnan(values)).sum(0)
    shown = np.sort(np.argsort(-counts, kind="stable")[: min(_MOST_VARIABLES, max(1, int((counts > 0).sum())))])
    if len(shown) < len(variables):
        facts += f" The {len(shown)} of {len(variables)} variables that were measured most often are drawn."
    classes = _classes(said) if said is not None else []
    if said is not None:
        facts += _explained(said, classes)
    tall = 0.0 if said is None else (_SAID if len(said.names) == 2 else len(classes) * _CLASS) + 0.12
    body = len(shown) * _ROW + 0.12 + tall + len(layers) * (_LAYER + 0.06) + 0.5
    figure, upper = style.new_figure(_LEFT + _WIDE + _RIGHT, body, title, facts.strip())
    span = (float(time.min()), float(max(time.max(), time.min() + 1e-6)))
    margin = 0.01 * (span[1] - span[0])
    rows = []
    for variable in shown:
        axes = style.place(figure, _LEFT, upper, _WIDE, _ROW - 0.08)
        known = ~np.isnan(values[:, variable])
        axes.plot(time[known], values[known, variable], color=style.BLUE, marker="o", markersize=2, linewidth=0.8)
        axes.locator_params(axis="y", nbins=3)
        rows.append((axes, str(variables[variable])))
        upper += _ROW
    upper += 0.12
    if said is not None:
        axes = style.place(figure, _LEFT, upper, _WIDE, tall - 0.12)
        name = f"probability of {said.names[1]}" if len(said.names) == 2 else ""
        rows.append((axes, name))
        if len(said.names) == 2:
            _two_classes(axes, time, said)
        else:
            image = _many_classes(axes, time, said, classes)
            colour_bar(figure, image, style.place(figure, _LEFT + _WIDE + 0.1, upper, 0.1, min(1.0, tall - 0.12)))
        upper += tall
    if layers:
        highest, image = max(float(weights.max()) for weights in layers.values()), None
        tall = len(layers) * (_LAYER + 0.06) - 0.06
        bar = style.place(figure, _LEFT + _WIDE + 0.1, upper, 0.1, tall)
        for name, weights in layers.items():
            axes = style.place(figure, _LEFT, upper, _WIDE, _LAYER)
            image = axes.pcolormesh(_edges(time), [0, 1], weights[None, :], cmap=COLOURS, vmin=0, vmax=highest)
            axes.set_yticks([])
            rows.append((axes, name))
            upper += _LAYER + 0.06
        colour_bar(figure, image, bar)
    for axes, name in rows:
        axes.set_xlim(span[0] - margin, span[1] + margin)
        _quiet(axes, name)
    last = rows[-1][0]
    last.tick_params(axis="x", labelsize=style.SMALL_SIZE, labelbottom=True, bottom=True)
    last.set_xlabel(style.plain(time_unit), size=style.SMALL_SIZE, color=style.INK)
    return figure


def _classes(said: Said) -> list[int]:
    """The classes that are drawn: those most frequently true, then those said most."""
    true = np.bincount(said.true[said.true >= 0], minlength=len(said.names))
    order = np.lexsort((-said.probability.mean(0), -true))
    return sorted(order[:_MOST_CLASSES].tolist())


def _explained(said: Said, classes: list[int]) -> str:
    """What the marks mean."""
    if len(said.names) == 2:
        text = f" Shaded: {said.names[1]} is true."
        if (said.true < 0).any():
            text += " Hatched: no step has a label there."
        return text + (f" Dashed: called from {said.threshold:.3g}." if said.threshold is not None else "")
    text = " Colour: probability; dots: the true class."
    if len(classes) < len(said.names):
        text += f" The {len(classes)} of {len(said.names)} classes that were true most often are drawn."
    return text


def _two_classes(axes: Any, time: Float[np.ndarray, " T"], said: Said) -> None:
    edges, probability = _edges(time), said.probability[:, 1]
    for first, beyond in _runs(said.true == 1):
        axes.axvspan(edges[first], edges[beyond], color=style.ORANGE, alpha=0.3, linewidth=0)
    for first, beyond in _runs(said.true < 0):
        axes.axvspan(edges[first], edges[beyond], facecolor="none", edgecolor=style.PALE, hatch="///", linewidth=0)
    axes.plot(time, probability, color=style.VERMILION, marker="o", markersize=2, linewidth=1.0)
    highest = float(probability.max())
    if said.threshold is not None:
        axes.axhline(said.threshold, color=style.GREY, linewidth=0.9, linestyle=(0, (4, 3)))
        highest = max(highest, said.threshold)
    axes.set_ylim(-0.02 * min(1.0, 1.15 * highest), 1.02 * min(1.0, 1.15 * highest or 1.0))
    axes.locator_params(axis="y", nbins=5)


def _many_classes(axes: Any, time: Float[np.ndarray, " T"], said: Said, classes: list[int]) -> Any:
    table = said.probability[:, classes].T
    image = axes.pcolormesh(_edges(time), np.arange(len(classes) + 1), table, cmap="Blues", vmin=0, vmax=1)
    for row, number in enumerate(classes):
        at = time[said.true == number]
        axes.plot(at, np.full(len(at), row + 0.5), ".", color=style.VERMILION, markersize=3)
    names = [style.plain(style.shortened(said.names[number], 24)) for number in classes]
    axes.set_yticks(np.arange(len(classes)) + 0.5, names)
    axes.set_ylim(len(classes), 0)
    return image


def _runs(chosen: Bool[np.ndarray, " T"]) -> list[tuple[int, int]]:
    """First step and the step after the last of each stretch of steps that are chosen."""
    turns = np.diff(np.concatenate([[0], chosen.astype(np.int8), [0]]))
    return list(zip(np.flatnonzero(turns == 1).tolist(), np.flatnonzero(turns == -1).tolist(), strict=True))


def _quiet(axes: Any, name: str) -> None:
    """A name at the left, no frame but the lower edge, no labels of time."""
    text = style.plain("\n".join(textwrap.wrap(name, _LETTERS)[:3]))
    axes.set_ylabel(text, rotation=0, ha="right", va="center", size=style.SMALL_SIZE, color=style.INK)
    axes.tick_params(labelsize=6, length=2, labelbottom=False, bottom=False)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(style.PALE)


def colour_bar(figure: Any, image: Any, place: Any) -> None:
    """A narrow bar of colours without a frame."""
    bar = figure.colorbar(image, cax=place)
    bar.ax.tick_params(labelsize=6, length=2)
    bar.outline.set_visible(False)


def _edges(time: Float[np.ndarray, " T"]) -> Float[np.ndarray, " edges"]:
    """Midway between neighbouring times, and as far beyond the ends."""
    if len(time) < 2:
        return np.asarray([time[0] - 0.5, time[0] + 0.5])
    middle = (time[1:] + time[:-1]) / 2
    return np.concatenate([[2 * time[0] - middle[0]], middle, [2 * time[-1] - middle[-1]]])
