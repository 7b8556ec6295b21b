"""The difference of a variant to the baseline: paired by seed and by example, with interval and p-values."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from research.ablation.statistics.bootstrap import hierarchical_interval
from research.ablation.statistics.components import Components, components
from research.ablation.statistics.crossvalidation import corrected_interval
from research.ablation.statistics.intervals import explain, reference
from research.ablation.statistics.measuring import Measurements, of_seeds
from research.ablation.statistics.tests_over_seeds import sign_flip_p_values
from research.evaluation.intervals import LEVEL, Interval


@dataclasses.dataclass(frozen=True)
class Difference:
    """One metric of a variant less that of the baseline.

    Attributes:
        variant: name of the variant.
        metric: name of the metric.
        seeds: the seeds that both have and in which the metric is defined.
        difference: mean over these seeds of variant - baseline, on the same examples.
        low: lower limit of its 95 % interval for new seeds and new patients; NaN where there is none.
        high: upper limit.
        method: what the interval takes into account.
        p_value: of the question whether a difference would be found with new seeds and new patients, 0.05 where a
            limit is 0; None for one seed, and for a metric that is not tested.
        p_corrected: after Holm's correction over all p-values of the analysis; None likewise.
        p_seeds: of the exact test over seeds: whether, on these very patients, other seeds would differ too; None for
            one seed.
        parts: the variance components.
        bootstrap: interval of the hierarchical bootstrap, for comparison.
        corrected: with folds, the interval of Nadeau & Bengio over folds, for comparison.
    """

    variant: str
    metric: str
    seeds: tuple[int, ...]
    difference: float
    low: float
    high: float
    method: str
    p_value: float | None
    p_corrected: float | None
    p_seeds: float | None
    parts: Components
    bootstrap: Interval
    corrected: Interval | None = None

    @property
    def decided(self) -> bool:
        """Whether the corrected p-value is 0.05 or less."""
        return self.p_corrected is not None and self.p_corrected <= 1 - LEVEL


def differences(metric: str, baseline: Measurements, variants: list[Measurements], seed: int = 0) -> list[Difference]:
    """One metric of each variant against the baseline; p-values are not corrected yet."""
    found = [_difference(metric, baseline, variant, seed) for variant in variants]
    # The exact tests of equally many pairs share their signs.
    for count in {len(item.seeds) for item, _ in found if len(item.seeds) > 1}:
        alike = [place for place, (item, _) in enumerate(found) if len(item.seeds) == count]
        p_values = sign_flip_p_values(np.stack([found[place][1] for place in alike], axis=1))
        for place, p_value in zip(alike, p_values, strict=True):
            found[place] = dataclasses.replace(found[place][0], p_seeds=float(p_value)), found[place][1]
    return [item for item, _ in found]


def _difference(metric: str, baseline: Measurements, variant: Measurements, seed: int) -> tuple[Difference, np.ndarray]:
    """The difference without the exact test, and its value in each seed."""
    shared = [s for s in baseline.seeds if s in variant.seeds]
    at = [np.array([item.seeds.index(s) for s in shared], int) for item in (baseline, variant)]
    change = variant.values[metric][at[1]] - baseline.values[metric][at[0]]
    kept = ~np.isnan(change)
    change, at, seeds = change[kept], [places[kept] for places in at], tuple(np.array(shared, int)[kept].tolist())
    moves, resampled = (
        None if metric not in baseline.moves or first is None or second is None else second - first
        for first, second in (
            (of_seeds(baseline.moves, metric, at[0]), of_seeds(variant.moves, metric, at[1])),
            (of_seeds(baseline.resampled, metric, at[0]), of_seeds(variant.resampled, metric, at[1])),
        )
    )
    parts = components(change, moves)
    low, high, method, p_value = _conclusion(parts)
    over_folds = None
    if metric in variant.folds and seeds:
        over_folds = (variant.folds[metric][at[1]] - baseline.folds[metric][at[0]]).mean(0)
    item = Difference(
        variant=variant.name,
        metric=metric,
        seeds=seeds,
        difference=parts.mean,
        low=low,
        high=high,
        method=method,
        p_value=p_value,
        p_corrected=None,
        p_seeds=None,
        parts=parts,
        bootstrap=hierarchical_interval(resampled, variant.unit_name, seed),
        corrected=None if over_folds is None else corrected_interval(over_folds),
    )
    return item, change


def _conclusion(parts: Components) -> tuple[float, float, str, float | None]:
    """Limits, method and p-value of a paired difference from its components."""
    if not parts.seeds:
        return math.nan, math.nan, "none: no seed in common", None
    if parts.seeds == 1 and not parts.has_data:
        return math.nan, math.nan, "none: one seed", None
    about = reference(parts)
    half = about.half_width()
    if math.isnan(half):
        same = abs(parts.mean) <= 1e-12
        return math.nan, math.nan, "none: no variation", 1.0 if same and parts.seeds > 1 else None
    p_value = about.p_value(parts.mean) if parts.seeds > 1 else None
    return parts.mean - half, parts.mean + half, f"paired, {explain(parts)}", p_value
