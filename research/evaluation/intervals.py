"""Confidence intervals in which the patient is the unit: the bootstrap as integer weights, and proportions.

The area under the ROC curve has intervals of its own, in `research.evaluation.delong`.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

LEVEL = 0.95
"""Every interval of a report has this nominal coverage."""

_CHUNK_BYTES = 4 * 2**20


class Interval(NamedTuple):
    """Limits of a confidence interval and, in a few words, how they were found; NaN where there is none."""

    low: float
    high: float
    method: str


def normal_quantile(level: float = LEVEL) -> float:
    """The two-sided quantile of the normal distribution, 1.96 for 0.95."""
    return statistics.NormalDist().inv_cdf((1 + level) / 2)


def unit_numbers(patient: np.ndarray | None, count: int) -> Int[np.ndarray, " N"]:
    """Number of the sampling unit of each row: its patient (or series), or the row itself where none is known."""
    if patient is None:
        return np.arange(count)
    return np.unique(patient.astype(str), return_inverse=True)[1].reshape(-1)


def bootstrap_weights(
    unit: Int[np.ndarray, " N"], resamples: int, seed: int, chunk: int | None = None
) -> Iterator[Float[np.ndarray, "r N"]]:
    """How often each row occurs in each bootstrap resample of the units (Efron & Tibshirani 1993).

    Units are drawn with replacement and bring all their rows. Each resample is a function of (seed, its number), so
    the size of the chunks changes nothing.

    Args:
        unit: number of the unit of each row, 0 to U - 1, from `unit_numbers`.
        resamples: how many resamples in all.
        seed: which resamples.
        chunk: resamples per array that is yielded; chosen for about 4 MiB by default, which caches hold.
    """
    units = int(unit.max()) + 1 if len(unit) else 0
    alone = units == len(unit) and np.array_equal(unit, np.arange(units))
    chunk = chunk or max(1, _CHUNK_BYTES // (8 * max(1, len(unit))))
    for first in range(0, resamples, chunk):
        counts = np.empty((min(chunk, resamples - first), units))
        for row in range(len(counts)):
            random = np.random.Generator(np.random.PCG64([seed, first + row]))
            counts[row] = np.bincount(random.integers(0, units, units), minlength=units)
        yield counts if alone else np.take(counts, unit, axis=1)


def percentile_interval(values: Float[np.ndarray, " R"], unit_name: str, level: float = LEVEL) -> Interval:
    """Percentile interval of bootstrap values; resamples in which the metric is not defined are left out, and counted.

    There is none (NaN) where fewer than half of the resamples define the metric, or where all give one value: a
    bootstrap that never varies knows nothing of the error.
    """
    defined = values[~np.isnan(values)]
    if len(defined) * 2 < len(values) or not len(values):
        return Interval(np.nan, np.nan, "none: mostly undefined")
    if np.ptp(defined) <= 1e-12 * max(1.0, abs(defined[0])):
        return Interval(np.nan, np.nan, "none: no variation")
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    skipped = len(values) - len(defined)
    method = f"bootstrap by {unit_name}" + (f", {skipped} undefined" if skipped else "")
    return Interval(float(low), float(high), method)


def wilson(share: float, count: float, level: float = LEVEL) -> tuple[float, float]:
    """Score interval of a proportion (Wilson 1927; method 3 of Newcombe, Statistics in Medicine 1998).

    Args:
        share: the observed proportion.
        count: number of independent observations, or the effective number.
        level: nominal coverage.
    """
    if count <= 0 or np.isnan(share):
        return np.nan, np.nan
    z = normal_quantile(level)
    centre = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count) * np.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    low = 0.0 if share <= 0 else max(0.0, centre - half)
    return low, 1.0 if share >= 1 else min(1.0, centre + half)


def proportion_interval(
    success: Bool[np.ndarray, " N"],
    among: Bool[np.ndarray, " N"],
    unit: Int[np.ndarray, " N"],
    level: float = LEVEL,
    unit_name: str = "patient",
) -> Interval:
    """Interval of the share of ``success`` among the rows of ``among``.

    Wilson's, with the number of rows where each is a unit of its own. Where units have several rows, with the
    effective number that gives the variance between units (ratio estimator; the approach of Rao & Scott, Biometrics
    1992), and with the number of units where all rows succeed or fail, so that the effective number is not known.
    """
    rows = np.flatnonzero(among)
    if not len(rows):
        return Interval(np.nan, np.nan, "none: no cases")
    share = float(success[rows].mean())
    _, groups = np.unique(unit[rows], return_inverse=True)
    units = int(groups.max()) + 1
    if units == len(rows):
        return Interval(*wilson(share, len(rows), level), "Wilson")
    effective = float(units)
    if 0 < share < 1 and units > 1:
        deviations = np.bincount(groups, weights=success[rows] - share)
        variance = units / (units - 1) * float((deviations**2).sum()) / len(rows) ** 2
        # Never more than the rows: a design that seems to gain information is chance.
        effective = min(len(rows), share * (1 - share) / variance) if variance > 0 else float(units)
    return Interval(*wilson(share, effective, level), f"Wilson by {unit_name}")


def mean_of_proportions(shares: Float[np.ndarray, " C"], limits: Float[np.ndarray, "C 2"]) -> tuple[float, float]:
    """Limits of the mean of independent proportions from the limits of each.

    The method of variance estimates recovery (Zou & Donner, Statistics in Medicine 2008).
    """
    mean = float(shares.mean())
    low = mean - float(np.sqrt(((shares - limits[:, 0]) ** 2).sum())) / len(shares)
    high = mean + float(np.sqrt(((limits[:, 1] - shares) ** 2).sum())) / len(shares)
    return max(0.0, low), min(1.0, high)
