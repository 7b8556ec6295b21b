"""Reliability diagrams: whether of the examples given a probability of 0.8, eight in ten are what was said."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from research.evaluation import intervals
from research.evaluation.predictions import Predictions
from research.evaluation.report import Report
from research.evaluation.tables import with_interval
from research.reporting import style
from research.reporting.contrasts import Contrast, facts, panel_title, unit_name

MOST_BINS = 10
FEWEST_IN_A_BIN = 20
_STRIP_BARS = 20


class Bins(NamedTuple):
    """Bins of about equally many examples, ``[B]`` each.

    Attributes:
        size: examples in the bin.
        predicted: mean probability.
        observed: share of the examples that are what was predicted.
        low: lower limit of that share's 95 % interval.
        high: upper limit.
    """

    size: Int[np.ndarray, " B"]
    predicted: Float[np.ndarray, " B"]
    observed: Float[np.ndarray, " B"]
    low: Float[np.ndarray, " B"]
    high: Float[np.ndarray, " B"]


def reliability_bins(
    probability: Float[np.ndarray, " n"], outcome: Bool[np.ndarray, " n"], unit: Int[np.ndarray, " n"]
) -> Bins:
    """Group examples by predicted probability; equal probabilities are never parted.

    At most `MOST_BINS`, and fewer where a bin would hold fewer than `FEWEST_IN_A_BIN` examples. Limits are Wilson's,
    by patient where patients have several rows (`research.evaluation.intervals.proportion_interval`).
    """
    bins = max(1, min(MOST_BINS, len(probability) // FEWEST_IN_A_BIN))
    values = np.sort(probability)
    # The first value of each bin but the first; rows of one value fall into one bin, so some may be empty.
    edges = values[[round(len(values) * part / bins) for part in range(1, bins)]]
    place = np.searchsorted(edges, probability, side="right")
    rows = []
    for number in np.unique(place):
        among = place == number
        limits = intervals.proportion_interval(outcome, among, unit)
        rows.append((among.sum(), probability[among].mean(), outcome[among].mean(), limits.low, limits.high))
    size, *others = map(np.array, zip(*rows, strict=True))
    return Bins(size.astype(np.int64), *others)


def reliability(predictions: Predictions, report: Report, found: list[Contrast], title: str) -> Any:
    """The figure: a panel per label, or one of the confidence in the likeliest class; probabilities below."""
    unit = intervals.unit_numbers(predictions.patient, len(predictions))
    by = " by patient" if unit_name(predictions) == "patient" else ""
    how = f"bins of equally many examples, 95 % intervals (Wilson{by})"
    if predictions.task.kind == "multiclass":
        probability = predictions.prediction.max(1).astype(np.float64)
        hit = predictions.prediction.argmax(1) == predictions.targets
        about = f"confidence in the likeliest class; {_shown(report, 'accuracy')}, {_shown(report, 'brier')}"
        first = facts(predictions, found).split(";")[0]
        figure, panels = _panels(1, f"Reliability: {title}", f"{first}; {about}; {how}")
        _draw(panels[0], probability, hit, unit)
        _label(panels[0], "predicted probability of the likeliest class", "share correct", "", ("right", "wrong"))
        _same_scale([panels[0].strip])
        return figure
    alone = len(found) == 1
    about = f"{facts(predictions, found)}; {_shown(report, 'brier')}; {how}"
    figure, panels = _panels(len(found), f"Reliability: {title}", about)
    for panel, contrast in zip(panels, found, strict=True):
        _draw(panel, contrast.score, contrast.positive, unit[contrast.rows])
        name = style.shortened(contrast.name, 30) if alone else "the label"
        words = (contrast.name, "others") if alone else ("with", "without")
        _label(panel, f"predicted probability of {name}", "observed share", panel_title(contrast, alone), words)
    _same_scale([panel.strip for panel in panels])
    return figure


def _same_scale(strips: list[Any]) -> None:
    """One scale for all, with room for the words on either side."""
    limits = [strip.get_ylim() for strip in strips]
    low, high = min(low for low, _ in limits), max(high for _, high in limits)
    room = 0.4 * (high - low)
    for strip in strips:
        strip.set_ylim(min(low * 1.05, -room), max(high * 1.05, room))


def _shown(report: Report, metric: str) -> str:
    found = report[metric]
    name = {"brier": "Brier score"}.get(metric, metric)
    return f"{name} {with_interval(found.value, found.low, found.high)}"


def _panels(count: int, title: str, about: str) -> tuple[Any, list[style.Panel]]:
    """A figure with, for each panel, a square for the diagram and a strip for the probabilities below it."""
    side = 4.4 if count == 1 else 2.3
    return style.panels(count, (side, side), title, about, strip=side / 4, titled=count > 1)


def _draw(
    panel: style.Panel,
    probability: Float[np.ndarray, " n"],
    outcome: Bool[np.ndarray, " n"],
    unit: Int[np.ndarray, " n"],
) -> None:
    upper, lower = panel.axes, panel.strip
    assert lower is not None
    upper.plot([0, 1], [0, 1], color=style.GREY, linewidth=0.8, linestyle=(0, (4, 3)))
    bins = reliability_bins(probability, outcome, unit)
    errors = np.stack([bins.observed - bins.low, bins.high - bins.observed]).clip(0)
    upper.plot(bins.predicted, bins.observed, color=style.BLUE, linewidth=0.8, alpha=0.6)
    upper.errorbar(
        bins.predicted, bins.observed, errors, fmt="o", color=style.BLUE, markersize=4, elinewidth=1.1, capsize=2
    )
    style.unit_square(upper)
    edges = np.linspace(0, 1, _STRIP_BARS + 1)
    for rows, sign, colour in ((outcome, 1, style.VERMILION), (~outcome, -1, style.GREY)):
        heights = np.histogram(probability[rows], edges)[0]
        lower.bar(edges[:-1], sign * heights, np.diff(edges), align="edge", color=colour, edgecolor="white", lw=0.4)
    lower.axhline(0, color=style.INK, linewidth=0.6)


def _label(panel: style.Panel, x: str, y: str, title: str, words: tuple[str, str]) -> None:
    from matplotlib.ticker import MaxNLocator

    upper, lower = panel.axes, panel.strip
    assert lower is not None
    style.dress(upper, "", y if panel.left else "", title)
    style.dress(lower, x if panel.bottom else "", "examples" if panel.left else "")
    lower.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    lower.yaxis.set_major_formatter(lambda value, _: f"{abs(value):,.0f}")
    if panel.left:
        _word(lower, words[0], lower.patches[:_STRIP_BARS], 0.96, style.VERMILION)
        _word(lower, words[1], lower.patches[_STRIP_BARS:], 0.04, style.GREY)


def _word(axes: Any, word: str, bars: list[Any], y: float, colour: str) -> None:
    """Name a half of the strip, on the side where its bars are low."""
    heights = [abs(bar.get_height()) for bar in bars]
    left = sum(heights[:7]) <= sum(heights[-7:])
    look: dict[str, Any] = {"ha": "left" if left else "right", "va": "top" if y > 0.5 else "bottom", "color": colour}
    x = 0.02 if left else 0.98
    axes.text(x, y, style.plain(style.shortened(word, 20)), size=style.SMALL_SIZE, transform=axes.transAxes, **look)
