"""Which arms lines are drawn of, how each looks in all figures, and what a metric is called."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from jaxtyping import Float

from research.ablation.design import Axis
from research.ablation.names import value_texts
from research.ablation.statistics import Analysis
from research.evaluation.tables import TITLES
from research.metrics import LARGER_IS_BETTER
from research.reporting import style

BEST, WORST = 3, 3
"""Variants beside the baseline that lines are drawn of, where there are more than both together."""

BASELINE_LOOK: dict[str, Any] = {"color": style.INK, "linestyle": "-", "linewidth": 1.8, "zorder": 4}
_DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (6, 1.5, 1.2, 1.5)), (0, (9, 2)), (0, (3, 3)))


def title_of(metric: str) -> str:
    """A metric as tables call it."""
    return TITLES.get(metric, metric.replace("_", " "))


def sign_of(metric: str) -> int:
    """1 where larger is better, -1 where smaller is, 0 where it is not known."""
    larger = LARGER_IS_BETTER.get(metric)
    return 0 if larger is None else 1 if larger else -1


def ranked(analysis: Analysis, metric: str) -> list[str]:
    """The variants without the baseline, the best first; the largest first where it is not known what is better.

    Those in which the metric is not defined come last.
    """
    sign = sign_of(metric) or 1
    means = {name: sign * analysis.summary(name, metric).mean for name in analysis.variants[1:]}
    return sorted(means, key=lambda name: math.inf if math.isnan(means[name]) else -means[name])


def labels_of(axis: Axis, longest: int) -> list[str]:
    """A label of at most so many letters for each category of an axis; different where the categories are."""
    texts = value_texts(axis.values)
    found: list[str] = []
    for text in texts:
        label, times = style.shortened(text, longest), 1
        while label in found:
            times += 1
            label = f"{style.shortened(text, longest - len(f' ({times})'))} ({times})"
        found.append(label)
    return found


def drawn_arms(analysis: Analysis, metric: str) -> tuple[dict[str, dict[str, Any]], str]:
    """How each arm is drawn, by name in the order of the table, and a line that says which are left out, or nothing.

    Colours differ for any colour vision, and dashes without colours.
    """
    names, left_out = ranked(analysis, metric), ""
    if len(names) > BEST + WORST:
        what = f"best {BEST} and worst {WORST}" if sign_of(metric) else f"{BEST} largest and {WORST} smallest"
        left_out = f"the baseline and, by {title_of(metric)}, the {what} of {len(names)} variants are drawn"
        names = names[:BEST] + names[-WORST:]
    looks = {analysis.variants[0]: BASELINE_LOOK}
    variants = [name for name in analysis.variants[1:] if name in names]
    for name, colour, dashes in zip(variants, style.PALETTE, _DASHES, strict=False):
        looks[name] = {"color": colour, "linestyle": dashes, "linewidth": 1.4, "zorder": 3}
    return looks, left_out


def seeds_text(analysis: Analysis, metric: str) -> str:
    """Over how many seeds the means are."""
    counts = sorted({item.seeds for item in analysis.summaries if item.metric == metric})
    if len(counts) > 1:
        return f"{counts[0]} to {counts[-1]} seeds"
    return "1 seed" if counts[0] == 1 else f"{counts[0]} seeds"


def scale_limits(values: Float[np.ndarray, " N"]) -> tuple[float, float]:
    """Least and largest value of a scale that a few arms which went astray do not spoil (Tukey's fences).

    Args:
        values: those to be shown; those that are NaN count for nothing.
    """
    values = values[~np.isnan(values)]
    if not len(values):
        return 0.0, 1.0
    first, third = np.quantile(values, (0.25, 0.75))
    reach = 1.5 * (third - first)
    inside = values[(values >= first - reach) & (values <= third + reach)]
    low, high = float(inside.min()), float(inside.max())
    return (low, high) if low < high else (low - 0.5 * (abs(low) or 1.0) * 1e-3, high + 0.5 * (abs(high) or 1.0) * 1e-3)
