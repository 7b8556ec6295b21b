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
from research.reporting.contrasts import Contrast, facts, panel_title

MOST_BINS = 10
FEWEST_IN_A_BIN = 20
FAR_BELOW = 0.5
"""A panel whose points and intervals all end below this has a scale of its own; a rare label would fill one corner."""
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
    by unit where patients or series have several rows (`research.evaluation.intervals.proportion_interval`).
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


def scale_end(bins: Bins) -> float:
    """Where both axes of a panel end: at 1, or a tenth above the highest mean or limit where that is far below 1."""
    highest = 1.1 * float(max(bins.predicted.max(), bins.high.max()))
    return highest if 0 < highest < FAR_BELOW else 1.0


def reliability(predictions: Predictions, report: Report, found: list[Contrast], title: str) -> Any:
    """The figure: a panel per label, or one of the confidence in the likeliest class; probabilities below."""
    unit = predictions.unit
    if predictions.task.kind == "multiclass":
        hit = predictions.prediction.argmax(1) == predictions.targets
        drawn = [_Drawn.of(predictions.prediction.max(1).astype(np.float64), hit, unit)]
        about = f"{facts(predictions, found).split(';')[0]}; confidence in the likeliest class"
        scores = f"{_shown(report, 'accuracy')}, {_shown(report, 'brier')}"
        x, y, words = "predicted probability of the likeliest class", "share correct", ("right", "wrong")
    else:
        drawn = [_Drawn.of(item.score, item.positive, unit[item.rows]) for item in found]
        about, y = facts(predictions, found), "observed share"
        mean = " (macro mean over labels)" if predictions.task.kind == "multilabel" else ""
        scores = _shown(report, "brier", mean)
        alone = len(found) == 1
        x = f"predicted probability of {style.shortened(found[0].name, 30) if alone else 'the label'}"
        words = (found[0].name, "others") if alone else ("with", "without")
    narrow = any(item.end < 1 for item in drawn)
    about = f"{about}; {scores}; {_how(predictions, narrow)}"
    several = len(drawn) > 1
    figure, panels = _panels(len(drawn), f"Reliability: {title}", about, own_ticks=several and narrow)
    for index, (panel, item) in enumerate(zip(panels, drawn, strict=True)):
        _draw(panel.axes, item)
        _strip(panel.strip, item, words if panel.left else ("", ""))
        style.dress(panel.axes, "", y if panel.left else "", panel_title(found[index], False) if several else "")
        style.dress(panel.strip, x if panel.bottom else "", "share of own group" if panel.left else "")
    _same_scale([panel.strip for panel in panels])
    return figure


class _Drawn(NamedTuple):
    """What one panel shows; the axes end at ``end``."""

    probability: Float[np.ndarray, " n"]
    outcome: Bool[np.ndarray, " n"]
    bins: Bins
    end: float

    @classmethod
    def of(
        cls, probability: Float[np.ndarray, " n"], outcome: Bool[np.ndarray, " n"], unit: Int[np.ndarray, " n"]
    ) -> _Drawn:
        bins = reliability_bins(probability, outcome, unit)
        return cls(probability.clip(0, 1), outcome, bins, scale_end(bins))


def _how(predictions: Predictions, narrow: bool) -> str:
    """What the points are, and that scales do not reach 1 where they do not."""
    by = "" if predictions.unit_name == "row" else f" by {predictions.unit_name}"
    scales = "; scales end where points and intervals do" if narrow else ""
    return (
        f"bins of about equally many examples, equal probabilities stay together; 95 % intervals (Wilson{by}){scales}"
    )


def _shown(report: Report, metric: str, what: str = "") -> str:
    found = report[metric]
    name = {"brier": "Brier score"}.get(metric, metric)
    return f"{name}{what} {with_interval(found.value, found.low, found.high)}"


def _panels(count: int, title: str, about: str, own_ticks: bool) -> tuple[Any, list[style.Panel]]:
    """A figure with, for each panel, a square for the diagram and a strip for the probabilities below it."""
    side = 4.4 if count == 1 else 2.3
    return style.panels(count, (side, side), title, about, strip=side / 4, titled=count > 1, own_ticks=own_ticks)


def _draw(axes: Any, drawn: _Drawn) -> None:
    bins = drawn.bins
    axes.plot([0, 1], [0, 1], color=style.GREY, linewidth=0.8, linestyle=(0, (4, 3)))
    errors = np.stack([bins.observed - bins.low, bins.high - bins.observed]).clip(0)
    axes.plot(bins.predicted, bins.observed, color=style.BLUE, linewidth=0.8, alpha=0.6)
    axes.errorbar(
        bins.predicted, bins.observed, errors, fmt="o", color=style.BLUE, markersize=4, elinewidth=1.1, capsize=2
    )
    style.square(axes, drawn.end)


def _strip(axes: Any, drawn: _Drawn, words: tuple[str, str]) -> None:
    """Predicted probabilities of either group as shares of that group, so that a rare one is seen beside the other."""
    edges = np.linspace(0, drawn.end, _STRIP_BARS + 1)
    groups = ((drawn.outcome, 1, style.VERMILION), (~drawn.outcome, -1, style.GREY))
    for (rows, sign, colour), word in zip(groups, words, strict=True):
        among = drawn.probability[rows]
        shares = np.histogram(among, edges)[0] / max(1, len(among))
        axes.bar(edges[:-1], sign * shares, np.diff(edges), align="edge", color=colour, edgecolor="white", lw=0.4)
        beyond = int((among > drawn.end).sum())
        shown = [style.shortened(word, 20)] * bool(word)
        if beyond:
            share = beyond / len(among)
            shown.append(f"{'<1' if share < 0.01 else f'{100 * share:.0f}'} % beyond →")
        # Where bars are low; what is beyond is told at that end.
        left = not beyond and shares[:7].sum() <= shares[-7:].sum()
        look: dict[str, Any] = {"ha": "left" if left else "right", "va": "top" if sign > 0 else "bottom"}
        where = (0.02 if left else 0.98, 0.96 if sign > 0 else 0.04)
        axes.text(
            *where, style.plain(", ".join(shown)), size=style.SMALL_SIZE, color=colour, transform=axes.transAxes, **look
        )
    axes.axhline(0, color=style.INK, linewidth=0.6)


def _same_scale(strips: list[Any]) -> None:
    """One scale for all, with room for the words on either side."""
    from matplotlib.ticker import MaxNLocator

    limits = [strip.get_ylim() for strip in strips]
    low, high = min(low for low, _ in limits), max(high for _, high in limits)
    room = 0.4 * (high - low)
    for strip in strips:
        strip.set_ylim(min(low * 1.05, -room), max(high * 1.05, room))
        strip.yaxis.set_major_locator(MaxNLocator(3))
        strip.yaxis.set_major_formatter(lambda value, _: f"{abs(value):.3g}")
