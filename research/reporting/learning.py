"""Learning curves: the losses and the metrics on validation as training went on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from research.evaluation.tables import TITLES
from research.reporting import style

_FEW_POINTS = 30
_WIDE_RANGE = 50.0
"""A loss that falls by more than this factor is drawn on a logarithmic scale."""


def learning_curves(records: Sequence[dict[str, Any]], title: str, best_step: int | None = None) -> Any | None:
    """The figure, or None where the records hold no loss and no metric.

    Args:
        records: lines of ``metrics.jsonl``: ``step``, ``epoch`` where there are epochs, ``train/...``,
            ``validation/...``; null where a number was not finite.
        title: of what.
        best_step: the update whose weights are reported, to be marked.
    """
    names = sorted({name for record in records for name in record if "/" in name})
    names = [name for name in names if _points(records, name)[1].size]
    losses = [name for name in names if name.endswith("loss")]
    metrics = [name for name in names if name.startswith("validation/") and name not in losses]
    shares = [name for name in metrics if _points(records, name)[1].min() >= 0 and _points(records, name)[1].max() <= 1]
    panels = [group for group in (losses, shares, *([name] for name in metrics if name not in shares)) if group]
    if not panels:
        return None
    last = records[-1]
    facts = f"{last['step']:,} updates" + (f", {last['epoch']:,.4g} epochs" if "epoch" in last else "")
    if best_step is not None:
        facts += f"; reported weights (dashed): update {best_step:,}"
    figure, places = style.panels(
        len(panels), (3.5, 2.9), f"Learning curves: {title}", facts, columns=3, own_ticks=True
    )
    for place, group in zip(places, panels, strict=True):
        _panel(place.axes, records, group, best_step)
    return figure


def _axis(record: dict[str, Any], records: Sequence[dict[str, Any]]) -> float:
    return record["epoch"] if all("epoch" in other for other in (records[0], records[-1])) else record["step"]


def _points(records: Sequence[dict[str, Any]], name: str) -> tuple[np.ndarray, np.ndarray]:
    """Where a number was measured, and what it was; without those that were not finite."""
    kept = [record for record in records if record.get(name) is not None]
    places = np.array([_axis(record, records) for record in kept], dtype=np.float64)
    values = np.array([record[name] for record in kept], dtype=np.float64)
    finite = np.isfinite(values)
    return places[finite], values[finite]


def _panel(axes: Any, records: Sequence[dict[str, Any]], group: list[str], best_step: int | None) -> None:
    from matplotlib.ticker import MaxNLocator

    everything, places = [], []
    for index, name in enumerate(sorted(group, key=lambda name: not name.startswith("train/"))):
        place, values = _points(records, name)
        everything.append(values)
        places.append(place)
        split, metric = name.split("/", 1)
        label = split if metric == "loss" else TITLES.get(metric, metric.replace("_", " "))
        if metric.endswith("loss") and metric != "loss":
            label = f"{metric.replace('_', ' ')}, {split}"
        marks: dict[str, Any] = {"marker": "o", "markersize": 3} if len(values) <= _FEW_POINTS else {}
        axes.plot(place, values, color=style.PALETTE[index % 6], linewidth=1.4, label=style.plain(label), **marks)
    loss = group[0].endswith("loss")
    values = np.concatenate(everything)
    if loss and len(values) and values.min() > 0 and values.max() > _WIDE_RANGE * values.min():
        style.logarithmic(axes)
    if best_step is not None:
        nearest = min(records, key=lambda record: abs(record["step"] - best_step))
        axes.axvline(_axis(nearest, records), color=style.GREY, linewidth=0.9, linestyle=(0, (2, 2)), zorder=0)
    epochs = "epoch" in records[0] and "epoch" in records[-1]
    names = [TITLES.get(name.split("/", 1)[1], name.split("/", 1)[1].replace("_", " ")) for name in group]
    title = "loss" if loss else ("metrics on validation" if len(group) > 1 else f"{names[0]} on validation")
    style.dress(axes, "epoch" if epochs else "update", title)
    if all((place == place.round()).all() for place in places):
        # Nothing was measured at 1.25 of an epoch, so no tick is there.
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.margins(x=0.02)
    if len(group) > 1:
        style.legend(axes)
