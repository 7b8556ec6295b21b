"""How well the classes are told apart: ROC and precision-recall curves with bands."""

from __future__ import annotations

from typing import Any

import numpy as np

from research.evaluation.predictions import Predictions
from research.reporting import style
from research.reporting.contrasts import Contrast, facts, panel_title
from research.reporting.curves import GRID, Band, bands, precision_recall_points, roc_points


def discrimination(predictions: Predictions, found: list[Contrast], title: str, overall: dict[str, str]) -> list[Any]:
    """The ROC figure and the precision-recall figure.

    Args:
        predictions: whose contrasts are drawn.
        found: one or more contrasts.
        title: of what.
        overall: the macro means of the report with their intervals, by metric, or nothing for one contrast.
    """
    unit = predictions.unit
    both = bands(found, unit)
    how = f"95 % band, pointwise (bootstrap by {predictions.unit_name}, at least Wilson's interval)"
    drawn = []
    for kind, name, metric, label in (
        (0, "ROC curve", "auroc", "macro AUROC"),
        (1, "Precision-recall curve", "average_precision", "macro average precision"),
    ):
        about = facts(predictions, found) + (f"; {label} {overall[metric]}" if metric in overall else "")
        side = 4.4 if len(found) == 1 else 2.3
        heading = f"{name}{'s' if len(found) > 1 else ''}: {title}"
        figure, panels = style.panels(
            len(found), (side, side), heading, about, below=0.6 if len(found) < 4 else 0.3, titled=len(found) > 1
        )
        for contrast, band, panel in zip(found, both, panels, strict=True):
            (_roc, _precision_recall)[kind](panel.axes, contrast, band[kind])
            style.square(panel.axes)
            x, y = (("1 − specificity", "sensitivity"), ("recall (sensitivity)", "precision"))[kind]
            words = x if panel.bottom else "", y if panel.left else ""
            style.dress(panel.axes, *words, panel_title(contrast, len(found) == 1))
        _explain(figure, panels[0].axes, how if any(_has_width(band[kind]) for band in both) else "")
        drawn.append(figure)
    return drawn


def _explain(figure: Any, axes: Any, band: str) -> None:
    """What lines and areas mean, once for all panels, below them; the numbers of each panel stay in it."""
    handles = {handle.get_label(): handle for handle in axes.get_lines() if handle.get_gid() == "common"}
    if band:
        from matplotlib.patches import Patch

        handles[band] = Patch(color=style.BLUE, alpha=style.BAND_ALPHA, linewidth=0)
    options: dict[str, Any] = {"frameon": False, "fontsize": style.SMALL_SIZE, "labelcolor": style.INK}
    width, height = figure.get_size_inches()
    columns = len(handles) if width > 9 else 1
    where = (0.6 / width, 0.03 / height)
    figure.legend(
        list(handles.values()), list(handles), loc="lower left", bbox_to_anchor=where, ncols=columns, **options
    )


def _has_width(band: Band) -> bool:
    return bool(np.isfinite(band.low).all() and (band.high - band.low).max() > 1e-9)


def _fill(axes: Any, band: Band) -> None:
    if _has_width(band):
        axes.fill_between(GRID, band.low, band.high, color=style.BLUE, alpha=style.BAND_ALPHA, linewidth=0)


def _number(axes: Any, text: str, x: float, y: float) -> None:
    """The metric of this panel, in the corner that the curve leaves free."""
    box = {"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 1.5}
    where = {"ha": "left" if x < 0.5 else "right", "va": "bottom" if y < 0.5 else "top", "transform": axes.transAxes}
    axes.text(x, y, text, size=style.SMALL_SIZE + 0.5, color=style.INK, bbox=box, **where)


def _roc(axes: Any, contrast: Contrast, band: Band) -> None:
    axes.plot([0, 1], [0, 1], color=style.GREY, linewidth=0.8, linestyle=(0, (4, 3)), label="chance", gid="common")
    _fill(axes, band)
    alarm, hit = roc_points(contrast)
    axes.plot(alarm, hit, color=style.BLUE, linewidth=1.6, solid_joinstyle="round")
    sensitivity, specificity = (contrast.estimates.get(name) for name in ("sensitivity", "specificity"))
    if sensitivity is not None and specificity is not None:
        x, y = 1 - specificity.value, sensitivity.value
        limits = {
            "xerr": [[x - (1 - specificity.high)], [1 - specificity.low - x]],
            "yerr": [[y - sensitivity.low], [sensitivity.high - y]],
        }
        known = {name: np.abs(value) for name, value in limits.items() if np.isfinite(value).all()}
        marks = {"color": style.VERMILION, "markersize": 4.5, "linewidth": 1.0, "zorder": 5}
        axes.errorbar(x, y, fmt="none", ecolor=style.VERMILION, elinewidth=1.0, zorder=5, **known)
        label = "threshold of the report, with 95 % intervals"
        axes.plot([x], [y], marker="o", linestyle="none", label=label, gid="common", **marks)
    shown = contrast.shown("auroc")
    if shown:
        _number(axes, f"AUROC\n{shown}", 0.97, 0.04)


def _precision_recall(axes: Any, contrast: Contrast, band: Band) -> None:
    style_of_chance: dict[str, Any] = {"color": style.GREY, "linewidth": 0.8, "linestyle": (0, (4, 3))}
    axes.plot([0, 1], [contrast.prevalence] * 2, label="prevalence (chance)", gid="common", **style_of_chance)
    _fill(axes, band)
    recall, precision = precision_recall_points(contrast)
    axes.plot(recall, precision, color=style.BLUE, linewidth=1.6, drawstyle="steps-pre")
    shown = contrast.shown("average_precision")
    if shown:
        low = precision[recall > 0.4].max() < 0.7
        _number(axes, f"average precision\n{shown}", *((0.97, 0.97) if low else (0.04, 0.04)))
