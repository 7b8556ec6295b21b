"""Predicted against true quantities, and the differences between them."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float

from research.evaluation import intervals
from research.evaluation.predictions import Predictions
from research.evaluation.report import Estimate, Report
from research.evaluation.tables import number, with_interval
from research.reporting import style
from research.reporting.contrasts import facts
from research.reporting.curves import RESAMPLES

MOST_PANELS = 10


def agreement(predictions: Predictions, report: Report, title: str) -> list[Any]:
    """The figure of predicted against true values, and that of Bland and Altman; a panel per quantity."""
    names = predictions.task.names[:MOST_PANELS]
    about = facts(predictions, [])
    if len(names) < len(predictions.task.names):
        about += f"; drawn: the first {len(names)} of {len(predictions.task.names)} quantities"
    by = f"95 % intervals by bootstrap ({predictions.unit_name}, {RESAMPLES} resamples)"
    side = 4.4 if len(names) == 1 else 2.6
    grid: dict[str, Any] = {"own_ticks": True, "columns": 4, "titled": len(names) > 1}
    scatter, upper = style.panels(
        len(names), (side, side), f"Predicted against true: {title}", f"{about}; dashed line: identity", **grid
    )
    about = f"{about}; bias and limits of agreement; {by}"
    bland, lower = style.panels(len(names), (side, side), f"Bland-Altman: {title}", about, aside=1.05, **grid)
    targets: Any = predictions.targets
    limits = limits_of_agreement(predictions)
    for index, name in enumerate(names):
        true, said = (values[:, index].astype(np.float64) for values in (targets, predictions.prediction))
        estimates = {item.name: item for item in report.parts.get(name, report.estimates)}
        _against(upper[index].axes, true, said, name if len(names) > 1 else "", predictions.task.unit, estimates)
        _differences(
            lower[index].axes, (true + said) / 2, said - true, limits[:, :, index], name if len(names) > 1 else "",
            predictions.task.unit,
        )  # fmt: skip
    return [scatter, bland]


def limits_of_agreement(
    predictions: Predictions, resamples: int = RESAMPLES, seed: int = 0
) -> Float[np.ndarray, "3 3 L"]:
    """Lower limit, bias and upper limit (first axis) of predicted minus true, each with its interval (second axis).

    The limits are ``bias ± 1.96 SD`` (Bland & Altman, Lancet 1986), their intervals those of the bootstrap by unit;
    the second axis is value, low, high.
    """
    difference = predictions.prediction.astype(np.float64) - np.asarray(predictions.targets, dtype=np.float64)
    unit = predictions.unit
    z = intervals.normal_quantile()

    def measure(weights: np.ndarray) -> np.ndarray:
        total = weights.sum(-1)[:, None]
        mean = weights @ difference / total
        # Differences from the overall mean first, or the squares would lose digits.
        centred = difference - difference.mean(0, keepdims=True)
        square = weights @ centred**2 - (weights @ centred) ** 2 / total
        spread = z * np.sqrt(np.maximum(square, 0) / np.maximum(total - 1, 1))
        return np.stack([mean - spread, mean, mean + spread])

    value = measure(np.ones((1, len(difference))))[:, 0]
    drawn = [measure(weights) for weights in intervals.bootstrap_weights(unit, resamples, seed)]
    tail = (1 - intervals.LEVEL) / 2
    low, high = np.quantile(np.concatenate(drawn, axis=1), [tail, 1 - tail], axis=1)
    return np.stack([value, low, high], axis=1)


def _dots(count: int) -> dict[str, Any]:
    """Points that stay single where they are few and make a cloud where they are many."""
    return {"s": 14 if count < 1000 else 5, "alpha": float(np.clip(150 / count, 0.06, 0.55)), "linewidths": 0}


def _with_unit(label: str, unit: str) -> str:
    return f"{label} ({unit})" if unit else label


def _against(axes: Any, true: Any, said: Any, title: str, unit: str, estimates: dict[str, Estimate]) -> None:
    low, high = min(true.min(), said.min()), max(true.max(), said.max())
    margin = 0.04 * (high - low) or 1.0
    ends = (low - margin, high + margin)
    axes.scatter(true, said, color=style.BLUE, **_dots(len(true)))
    axes.locator_params(nbins=6)
    axes.plot(ends, ends, color=style.GREY, linewidth=0.9, linestyle=(0, (4, 3)))
    axes.set(xlim=ends, ylim=ends, aspect="equal")
    style.dress(axes, _with_unit("true", unit), _with_unit("predicted", unit), title)
    lines = [
        f"{label} {with_interval(item.value, item.low, item.high)}"
        for name, label in (("r2", "R²"), ("mae", "MAE"))
        if (item := estimates.get(name)) is not None
    ]
    axes.text(
        0.03, 0.98, "\n".join(lines), va="top", size=style.SMALL_SIZE, transform=axes.transAxes,
        bbox={"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 1.5},
    )  # fmt: skip


def _differences(axes: Any, mean: Any, difference: Any, limits: np.ndarray, title: str, unit: str) -> None:
    axes.scatter(mean, difference, color=style.BLUE, **_dots(len(mean)))
    axes.locator_params(axis="x", nbins=5)
    axes.axhline(0, color=style.GREY, linewidth=0.8)
    left, right = axes.get_xlim()
    for (value, low, high), name in zip(limits, ("lower limit", "bias", "upper limit"), strict=True):
        dashes: Any = "-" if name == "bias" else (0, (4, 3))
        axes.axhspan(low, high, color=style.VERMILION, alpha=0.15, linewidth=0)
        axes.axhline(value, color=style.VERMILION, linewidth=1.1, linestyle=dashes)
        shown = f"{name}\n{number(value)}\n[{number(low)}, {number(high)}]".replace("-", "−")
        where: dict[str, Any] = {"ha": "left", "va": "center", "size": style.SMALL_SIZE, "color": style.VERMILION}
        axes.annotate(shown, (1, value), (5, 0), ("axes fraction", "data"), "offset points", **where)
    axes.set_xlim(left, right)
    spread = max(np.abs(difference).max(), np.abs(limits).max()) * 1.12
    axes.set_ylim(-spread or -1.0, spread or 1.0)
    x, y = _with_unit("mean of predicted and true", unit), _with_unit("predicted − true", unit)
    style.dress(axes, x, y, title)
