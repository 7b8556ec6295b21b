"""Learning curves of the arms: mean over seeds of losses and validation metrics, with bands."""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from research.ablation.figures.arms import drawn_arms, title_of
from research.ablation.result import AblationResult
from research.ablation.statistics import Analysis
from research.evaluation.intervals import LEVEL
from research.reporting import style
from research.training.metrics_log import read_metrics

MOST_PANELS = 6
WIDE_RANGE = 50.0
"""A loss whose means differ by more than this factor is drawn on a logarithmic scale."""

_LINE = 0.155
"""Inches that a line of the legend takes."""


@dataclasses.dataclass(frozen=True)
class Curve:
    """One number of one arm as training goes on.

    Attributes:
        place: epochs, or updates where there are no epochs, ``[T]``.
        values: of each seed, the mean over its folds, ``[T, S]``; NaN once a member has stopped early.
    """

    place: np.ndarray
    values: np.ndarray

    def mean(self, log: bool = False) -> Float[np.ndarray, " T"]:
        """Over the seeds that still learn; for a logarithmic scale the geometric mean."""
        known = ~np.isnan(self.values)
        values = np.log(self.values) if log else self.values
        mean = np.where(known, values, 0.0).sum(1) / np.maximum(known.sum(1), 1)
        return np.exp(mean) if log else mean

    @property
    def whole(self) -> int:
        """How many events come before the first seed stops."""
        broken = np.isnan(self.values).any(1)
        return int(broken.argmax()) if broken.any() else len(self.values)

    def band(self, log: bool = False) -> tuple[Float[np.ndarray, " T"], Float[np.ndarray, " T"]] | None:
        """Limits of 95 % t intervals of `mean` while all seeds learn, at each event by itself; None for one seed."""
        from scipy.special import stdtrit

        seeds = self.values.shape[1]
        if seeds < 2:
            return None
        values = self.values[: self.whole]
        values = np.log(values) if log else values
        half = stdtrit(seeds - 1, (1 + LEVEL) / 2) * values.std(1, ddof=1) / np.sqrt(seeds)
        low, high = values.mean(1) - half, values.mean(1) + half
        return (np.exp(low), np.exp(high)) if log else (low, high)


def curves_of(result: AblationResult, arms: Sequence[str]) -> tuple[dict[str, dict[str, Curve]], bool]:
    """The curves of some arms, by arm and name such as ``validation/loss``; and whether their places are epochs.

    Seeds with a member whose loss was not finite are left out, as in the table.
    """
    logs: dict[Any, list[dict[str, Any]]] = {}
    members: dict[tuple[str, int], list[dict[str, dict[int, tuple[float, float]]]]] = {}
    failed = {(outcome.arm, outcome.seed) for outcome in result.outcomes if outcome.failed}
    epochs = True
    for outcome in result.outcomes:
        if outcome.arm not in arms or (outcome.arm, outcome.seed) in failed:
            continue
        if outcome.wave.path not in logs:
            logs[outcome.wave.path] = read_metrics(outcome.wave.curves)
            epochs &= all("epoch" in record for record in logs[outcome.wave.path])
        of_member: dict[str, dict[int, tuple[float, float]]] = {}
        for record in logs[outcome.wave.path]:
            if outcome.number not in record["member"]:
                continue
            at = record["member"].index(outcome.number)
            for name, values in record.items():
                if "/" in name and values[at] is not None:
                    of_member.setdefault(name, {})[record["step"]] = (record.get("epoch", 0.0), values[at])
        members.setdefault((outcome.arm, outcome.seed), []).append(of_member)
    found = {arm: _of_arm([each for (name, _), each in members.items() if name == arm], epochs) for arm in arms}
    return found, epochs


def _of_arm(seeds: list[list[dict[str, dict[int, tuple[float, float]]]]], epochs: bool) -> dict[str, Curve]:
    """The curves of an arm from the numbers of its members, seed by seed and fold by fold."""
    curves = {}
    for name in sorted({name for folds in seeds for member in folds for name in member}):
        steps = sorted({step for folds in seeds for member in folds for step in member.get(name, ())})
        epoch = {step: member[name][step][0] for folds in seeds for member in folds for step in member.get(name, ())}
        place = np.array([epoch[step] if epochs else step for step in steps], float)
        values = [
            [np.mean([member.get(name, {}).get(step, (0.0, np.nan))[1] for member in folds]) for folds in seeds]
            for step in steps
        ]
        curves[name] = Curve(place, np.array(values, float).reshape(len(steps), len(seeds)))
    return curves


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
    columns = 2 if len(names) > 1 else 1
    letters = 28 * min(3, len(names)) if columns == 2 else 48
    labels = {
        arm: "\n".join(textwrap.wrap(style.shortened(arm, 2 * letters), letters, break_on_hyphens=False))
        for arm in looks
    }
    rows = _legend_rows(list(labels.values()), columns)
    logs = {name for name in names if _is_log(curves, name)}
    figure, places = style.panels(
        len(names),
        (3.0, 2.5),
        f"Learning curves: {title}",
        _facts(curves, bool(logs), left_out),
        columns=3,
        own_ticks=True,
        below=0.1 + _LINE * rows,
    )
    for place, name in zip(places, names, strict=True):
        shown = {arm: curve[name] for arm, curve in curves.items() if name in curve}
        _panel(place.axes, shown, looks, labels, name in logs)
        split, metric = name.split("/", 1)
        style.dress(place.axes, "epoch" if epochs else "update", f"{title_of(metric)}, {split}")
    _legend(figure, looks, labels, columns)
    return figure


def panel_names(curves: Mapping[str, Mapping[str, Curve]], metrics: Sequence[str]) -> list[str]:
    """What is drawn: all losses, and of the validation metrics those of the table, or else the first one."""
    every = sorted({name for curve in curves.values() for name in curve})
    losses = [name for name in every if name.endswith("loss")]
    others = [name for name in every if name.startswith("validation/") and name not in losses]
    chosen = [f"validation/{metric}" for metric in metrics if f"validation/{metric}" in others] or others[:1]
    return [*chosen, *losses][:MOST_PANELS]


def _is_log(curves: Mapping[str, Mapping[str, Curve]], name: str) -> bool:
    """Whether a loss falls so far that its scale is logarithmic."""
    shown = [curve[name] for curve in curves.values() if name in curve]
    means = np.concatenate([curve.mean() for curve in shown])
    positive = all(np.nanmin(curve.values) > 0 for curve in shown)
    return name.endswith("loss") and positive and float(means.max()) > WIDE_RANGE * float(means.min())


def _facts(curves: Mapping[str, Mapping[str, Curve]], log: bool, left_out: str) -> str:
    """What lines and bands are."""
    every = [curve for by_name in curves.values() for curve in by_name.values()]
    counts = sorted({curve.values.shape[1] for curve in every})
    seeds = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    if counts[-1] == 1:
        parts = ["one seed, so there are no bands"]
    else:
        parts = [f"mean over {seeds} seeds, with bands: pointwise 95 % t intervals over seeds"]
    if log:
        parts.append("on logarithmic scales means and intervals are of logarithms")
    if any(0 < curve.whole < len(curve.place) for curve in every):
        parts.append("thin: some seeds have stopped early, and it is the mean of the others")
    return "; ".join([*parts, left_out] if left_out else parts)


def _panel(
    axes: Any, curves: Mapping[str, Curve], looks: Mapping[str, dict[str, Any]], labels: Mapping[str, str], log: bool
) -> None:
    """The lines of one number."""
    from matplotlib.ticker import MaxNLocator

    for arm, curve in curves.items():
        look = looks[arm]
        whole, mean = curve.whole, curve.mean(log)
        if (band := curve.band(log)) is not None:
            axes.fill_between(
                curve.place[:whole], *band, color=look["color"], alpha=0.13, linewidth=0, zorder=1, label="_band"
            )
        marks: dict[str, Any] = {"marker": "o", "markersize": 2.5} if len(curve.place) <= 15 else {}
        axes.plot(curve.place[:whole], mean[:whole], label=style.plain(labels[arm]), **look, **marks)
        if 0 < whole < len(curve.place):
            rest = slice(whole - 1, None)
            axes.plot(curve.place[rest], mean[rest], label="_thin", **(look | {"linewidth": 0.6}))
    if log:
        axes.set_yscale("log")
    axes.set_ylim(*_limits(curves, log))
    if all((curve.place == curve.place.round()).all() for curve in curves.values()):
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.margins(x=0.02)


def _limits(curves: Mapping[str, Curve], log: bool) -> tuple[float, float]:
    """Room for all means, and for bands as far as they do not take most of it: those of two seeds may be huge."""
    means = np.concatenate([curve.mean(log) for curve in curves.values()])
    low, high = float(means.min()), float(means.max())
    bands = [band for curve in curves.values() if (band := curve.band(log)) is not None and len(band[0])]
    room = (high - low) or 0.1 * abs(high) or 1.0
    least = min((float(band[0].min()) for band in bands), default=low)
    most = max((float(band[1].max()) for band in bands), default=high)
    if log:
        return max(least, low / 3) / 1.1, min(most, high * 3) * 1.1
    bottom, up = max(least, low - 0.25 * room), min(most, high + 0.25 * room)
    if low >= 0 and high <= 1:
        bottom, up = max(bottom, 0.0), min(up, 1.0)
    margin = 0.04 * (up - bottom)
    return bottom - margin, up + margin


def _legend_rows(labels: list[str], columns: int) -> int:
    """How many lines of text the tallest column of the legend has."""
    tall = -(-len(labels) // columns)
    return max(
        sum(label.count("\n") + 1 for label in labels[first : first + tall]) for first in range(0, len(labels), tall)
    )


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
