"""What was logged while the members of an ablation were trained, arm by arm and seed by seed."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from research.ablation.result import AblationResult
from research.evaluation.intervals import LEVEL
from research.training.metrics_log import read_metrics

Scale = Literal["linear", "positive", "share", "log"]

WIDE_RANGE = 50.0
"""A loss whose means differ by more than this factor is shown on a logarithmic scale."""


@dataclasses.dataclass(frozen=True)
class Curve:
    """One number of one arm as training goes on.

    Attributes:
        place: epochs, or updates where there are no epochs, ``[T]``.
        values: of each seed, the mean over its folds, ``[T, S]``; NaN where it is not defined, and once a member has
            stopped early; at each place one seed at least has a value.
    """

    place: np.ndarray
    values: np.ndarray

    @property
    def whole(self) -> int:
        """How many places come before the first seed stops."""
        last = [np.flatnonzero(~np.isnan(seed)).max(initial=-1) for seed in self.values.T]
        return int(min(last)) + 1

    def mean(self, scale: Scale) -> Float[np.ndarray, " T"]:
        """Over the seeds that have a value; on a logarithmic scale the geometric mean."""
        mean = np.nanmean(np.log(self.values) if scale == "log" else self.values, axis=1)
        return np.exp(mean) if scale == "log" else mean

    def band(self, scale: Scale) -> tuple[Float[np.ndarray, " W"], Float[np.ndarray, " W"]] | None:
        """Limits of 95 % t intervals of `mean` at each place by itself, while all seeds learn; None for one seed.

        Those of a share end at 0 and 1, those of other numbers that are never negative at 0.
        """
        from scipy.special import stdtrit  # slow to import

        values, seeds = self.values[: self.whole], self.values.shape[1]
        if seeds < 2 or not self.whole:
            return None
        values = np.log(values) if scale == "log" else values
        half = stdtrit(seeds - 1, (1 + LEVEL) / 2) * values.std(axis=1, ddof=1) / np.sqrt(seeds)
        limits = np.stack([values.mean(1) - half, values.mean(1) + half])
        if scale == "log":
            limits = np.exp(limits)
        elif scale != "linear":
            limits = np.clip(limits, 0, 1 if scale == "share" else None)
        return limits[0], limits[1]


def curves_of(result: AblationResult, arms: Sequence[str]) -> tuple[dict[str, dict[str, Curve]], bool]:
    """The curves of some arms, by arm and name such as ``validation/loss``; and whether their places are epochs.

    Seeds with a member whose loss was not finite are left out, as in the table.
    """
    logs: dict[Path, list[dict[str, Any]]] = {}
    members: dict[str, dict[int, list[tuple[Path, int]]]] = {arm: {} for arm in arms}
    failed = {(outcome.arm, outcome.seed) for outcome in result.outcomes if outcome.failed}
    for outcome in result.outcomes:
        if outcome.arm in members and (outcome.arm, outcome.seed) not in failed:
            if outcome.wave.path not in logs:
                logs[outcome.wave.path] = read_metrics(outcome.wave.curves)
            place = (outcome.wave.path, outcome.number)
            members[outcome.arm].setdefault(outcome.seed, []).append(place)
    epochs = _comparable_epochs(result, logs)
    along = "epoch" if epochs else "step"
    found = {}
    for arm, seeds in members.items():
        numbers = [[_numbers(logs[path], at, along) for path, at in folds] for folds in seeds.values()]
        found[arm] = {
            name: _curve(numbers, name) for name in sorted({n for folds in numbers for m in folds for n in m})
        }
    return found, epochs


def _comparable_epochs(result: AblationResult, logs: dict[Path, list[dict[str, Any]]]) -> bool:
    """Whether everything logged has an epoch, which takes as many updates in all arms (of a fold, where there are)."""
    if not all("epoch" in record for log in logs.values() for record in log):
        return False
    updates: dict[int | None, set[float]] = {}
    for outcome in result.outcomes:
        for record in logs.get(outcome.wave.path, [])[:1]:
            updates.setdefault(outcome.fold, set()).add(round(record["step"] / record["epoch"], 6))
    return all(len(each) == 1 for each in updates.values())


def scale_of(curves: Collection[Curve], loss: bool) -> Scale:
    """On which scale these are shown: a loss that falls far on a logarithmic one, other metrics by where they lie."""
    low = min(float(np.nanmin(curve.values)) for curve in curves)
    high = max(float(np.nanmax(curve.values)) for curve in curves)
    if low < 0:
        return "linear"
    if not loss:
        return "share" if high <= 1 else "positive"
    means = np.concatenate([curve.mean("linear") for curve in curves])
    return "log" if low > 0 and float(means.max()) > WIDE_RANGE * float(means.min()) else "positive"


def _numbers(log: Sequence[dict[str, Any]], member: int, along: str) -> dict[str, dict[float, float]]:
    """What was logged of one member of a wave: by name, its value at each place."""
    found: dict[str, dict[float, float]] = {}
    for record in log:
        if member in record["member"]:
            at = record["member"].index(member)
            for name, values in record.items():
                if "/" in name and values[at] is not None:
                    found.setdefault(name, {})[float(record[along])] = float(values[at])
    return found


def _curve(seeds: Sequence[Sequence[dict[str, dict[float, float]]]], name: str) -> Curve:
    """One number of the members of an arm, seed by seed and fold by fold."""
    places = sorted({place for folds in seeds for member in folds for place in member.get(name, ())})
    values = np.array(
        [
            [np.mean([member.get(name, {}).get(place, np.nan) for member in folds]) for folds in seeds]
            for place in places
        ]
    )
    # Of folds, a seed counts while none of them has stopped.
    kept = ~np.isnan(values).all(1)
    return Curve(np.array(places)[kept], values[kept])
