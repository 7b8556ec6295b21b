"""The confusion matrix of a report: counts, and shares of each true class."""

from __future__ import annotations

from typing import Any

import numpy as np

from research.evaluation.report import Report
from research.reporting import style
from research.reporting.contrasts import called_from

MOST_WITH_NUMBERS = 20
MOST_WITH_NAMES = 60


def confusion(report: Report, facts: str, title: str) -> Any:
    """The figure: true class by row, predicted class by column, coloured by the share of the true class.

    Args:
        report: with a confusion matrix.
        facts: what it rests on.
        title: of what.
    """
    matrix = np.array(report.confusion, dtype=np.float64)
    classes = len(matrix)
    totals = matrix.sum(1, keepdims=True)
    share = np.where(totals > 0, matrix / np.maximum(totals, 1), np.nan)
    side = 3.6 if classes <= 3 else min(8.5, 1.2 + 0.56 * classes)
    longest = min(28 if classes <= MOST_WITH_NUMBERS else 16, max(map(len, report.classes)))
    left = 0.42 + (0.075 * max(longest, 8) if classes <= MOST_WITH_NAMES else 0.0)
    below = 0.5 + (0.052 * longest if classes > 3 else 0.0)
    with_bar = classes > MOST_WITH_NUMBERS
    heading = f"Confusion matrix: {title}"
    figure, top = style.new_figure(
        left + side + (1.0 if with_bar else 0.2), side + below, heading, facts + _threshold(report)
    )
    axes = style.place(figure, left, top, side, side)
    image = axes.imshow(share, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    _names(axes, report, totals[:, 0].astype(int))
    if with_bar:
        _bar(figure, image, style.place(figure, left + side + 0.12, top, 0.16, side))
    else:
        _numbers(axes, matrix, share)
    return figure


def _bar(figure: Any, image: Any, axes: Any) -> None:
    bar = figure.colorbar(image, cax=axes)
    bar.outline.set_visible(False)
    axes.tick_params(labelsize=style.SMALL_SIZE, color=style.GREY)
    axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
    bar.set_label("share of the true class", size=style.TEXT_SIZE)


def _threshold(report: Report) -> str:
    """Where two classes are parted, and how that was chosen."""
    if len(report.thresholds) != 1:
        return "; the likeliest class is called"
    return f"; {called_from(report.thresholds, report.threshold_choice)}"


def _numbers(axes: Any, matrix: np.ndarray, share: np.ndarray) -> None:
    size = 13.0 if len(matrix) <= 3 else max(5.0, 9.5 - 0.2 * len(matrix))
    for (row, column), count in np.ndenumerate(matrix):
        part = share[row, column]
        ink = "white" if part > 0.55 else style.INK
        percent = "" if np.isnan(part) else f"\n{100 * part:.{1 if len(matrix) <= 12 else 0}f} %"
        axes.text(column, row, f"{count:,.0f}{percent}", ha="center", va="center", size=size, color=ink)


def _names(axes: Any, report: Report, totals: np.ndarray) -> None:
    classes = len(totals)
    style.dress(axes, "predicted class", "true class")
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.tick_params(length=0)
    if classes > MOST_WITH_NAMES:
        return
    longest = 28 if classes <= MOST_WITH_NUMBERS else 16
    names = [style.plain(style.shortened(name, longest)) for name in report.classes]
    rows = [f"{name}\nn = {total:,}" for name, total in zip(names, totals, strict=True)]
    size = style.SMALL_SIZE if classes <= MOST_WITH_NUMBERS else max(4.0, 9 - classes / 12)
    axes.set_yticks(range(classes), rows if classes <= MOST_WITH_NUMBERS else names, size=size)
    turned: dict[str, Any] = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"} if classes > 3 else {}
    axes.set_xticks(range(classes), names, size=size, **turned)
    axes.set_xticks(np.arange(1, classes) - 0.5, minor=True)
    axes.set_yticks(np.arange(1, classes) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=1.0 if classes <= MOST_WITH_NUMBERS else 0.3)
    axes.tick_params(which="minor", length=0)
