"""Performance profiles: the share of the seeds of each arm that reach each value (Agarwal et al., NeurIPS 2021)."""

from __future__ import annotations

import textwrap
from typing import Any

import numpy as np

from research.ablation.figures.arms import drawn_arms, seeds_text, sign_of, title_of
from research.ablation.statistics import Analysis, performance_profile
from research.evaluation.tables import number
from research.reporting import style

FEWEST_SEEDS = 5
"""Of fewer seeds a profile has so few steps that the table says it better."""

_LINE = 0.155
"""Inches that a line of the legend takes."""


def profiles(analysis: Analysis, title: str) -> Any | None:
    """The figure: a line an arm, and a mark below at its interquartile mean; None where there are too few seeds.

    Args:
        analysis: its numbers; the first metric is drawn.
        title: of what.
    """
    metric, baseline = analysis.metrics[0], analysis.variants[0]
    looks, left_out = drawn_arms(analysis, metric)
    summaries = {arm: analysis.summary(arm, metric) for arm in looks}
    if min(item.seeds for item in summaries.values()) < FEWEST_SEEDS:
        return None
    # The share changes at the values of the seeds and nowhere else; a little beyond them it is 0 or 1.
    thresholds = np.unique(np.concatenate([item.values for item in summaries.values()]))
    thresholds = thresholds[~np.isnan(thresholds)]
    room = 0.03 * float(thresholds[-1] - thresholds[0]) or 0.01
    thresholds = np.concatenate([[thresholds[0] - room], thresholds, [thresholds[-1] + room]])
    better, steps = ("at most", "post") if sign_of(metric) < 0 else ("at least", "pre")
    facts = (
        f"{seeds_text(analysis, metric)}; triangles: interquartile mean (IQM); band: 95 % intervals of {baseline} "
        f"over its seeds (Wilson, pointwise)"
    )
    labels = {
        arm: "\n".join(textwrap.wrap(f"{style.shortened(arm, 80)} (IQM {number(item.interquartile_mean)})", 52))
        for arm, item in summaries.items()
    }
    lines = sum(label.count("\n") + 1 for label in labels.values())
    figure, (panel,) = style.panels(
        1,
        (4.6, 2.9),
        f"Performance profiles: {title}",
        f"{facts}; {left_out}" if left_out else facts,
        below=0.1 + _LINE * lines,
    )
    axes = panel.axes
    for arm, look in looks.items():
        found = performance_profile(metric, np.array(summaries[arm].values), thresholds)
        if arm == baseline:
            band: dict[str, Any] = {"color": style.GREY, "alpha": 0.18, "linewidth": 0, "step": steps}
            axes.fill_between(thresholds, found.low, found.high, **band)
        axes.step(thresholds, found.share, where=steps, label=style.plain(labels[arm]), **look)
        mark: dict[str, Any] = {"color": look["color"], "markersize": 6, "clip_on": False, "zorder": 6, "alpha": 0.85}
        axes.plot([summaries[arm].interquartile_mean], [-0.03], "^", label="_iqm", **mark)
    axes.set(xlim=(thresholds[0], thresholds[-1]), ylim=(-0.03, 1.03))
    style.dress(axes, title_of(metric), f"share of seeds with {better} this value")
    handles, names = axes.get_legend_handles_labels()
    width, tall = figure.get_size_inches()
    options: dict[str, Any] = {"frameon": False, "fontsize": style.SMALL_SIZE, "labelcolor": style.INK}
    figure.legend(
        handles, names, loc="lower left", bbox_to_anchor=(0.5 / width, 0.02 / tall), handlelength=3.6, **options
    )
    return figure
