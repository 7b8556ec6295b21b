"""Variance, intervals and tests of the area under the ROC curve, without and with several rows per patient."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Num

from research.evaluation.intervals import LEVEL, Interval, normal_quantile


class Influence(NamedTuple):
    """An area under the ROC curve and how far each row moves it; the sum over the rows of either class is 0.

    Attributes:
        area: the area; NaN where a class is absent.
        moves: influence of each row, ``[N]``.
        positive: which rows are positives, ``[N]``.
    """

    area: float
    moves: Float[np.ndarray, " N"]
    positive: Bool[np.ndarray, " N"]


def influence(scores: Float[np.ndarray, " N"], targets: Num[np.ndarray, " N"]) -> Influence:
    """The structural components of DeLong, DeLong & Clarke-Pearson (Biometrics 1988), centred and scaled.

    Found from mid-ranks in O(N log N), as Sun & Xu (IEEE Signal Processing Letters 2014) do.
    """
    positive = targets == 1
    positives, negatives = int(positive.sum()), int((~positive).sum())
    moves = np.zeros(len(scores))
    if not positives or not negatives:
        return Influence(np.nan, moves, positive)
    ranks = _mid_ranks(scores)
    # A row's rank among all, less that within its class, counts the rows of the other class below it.
    above = (ranks[positive] - _mid_ranks(scores[positive])) / negatives
    below = 1 - (ranks[~positive] - _mid_ranks(scores[~positive])) / positives
    area = float(above.mean())
    moves[positive] = (above - area) / positives
    moves[~positive] = (below - area) / negatives
    return Influence(area, moves, positive)


def _mid_ranks(values: Float[np.ndarray, " N"]) -> Float[np.ndarray, " N"]:
    """Ranks from 1, ties sharing the mean of theirs."""
    ordered = np.sort(values)
    return (np.searchsorted(ordered, values, "left") + np.searchsorted(ordered, values, "right") + 1) / 2


def covariance(first: Influence, second: Influence, unit: Int[np.ndarray, " N"]) -> float:
    """Covariance of two areas over the same rows and targets; of an area with itself, its variance.

    DeLong's where every row is a unit of its own. Where units have several rows, that of Obuchowski (Biometrics
    1997), which sums the components of each unit and admits units with rows of both classes. NaN where a class has
    fewer than two units.
    """
    groups = np.unique(unit, return_inverse=True)[1].reshape(-1)
    units = int(groups.max()) + 1
    sides = (first.positive, ~first.positive)
    counts = [len(np.unique(groups[rows])) for rows in sides]
    if min(counts) < 2:
        return np.nan

    def per_unit(part: Influence, rows: Bool[np.ndarray, " N"]) -> np.ndarray:
        return np.bincount(groups, weights=np.where(rows, part.moves, 0), minlength=units)

    total = 0.0
    for i, left in enumerate(sides):
        for j, right in enumerate(sides):
            count = counts[i] if i == j else units
            total += count / (count - 1) * float(per_unit(first, left) @ per_unit(second, right))
    return total


def logit_interval(area: float, variance: float, level: float = LEVEL) -> tuple[float, float]:
    """Limits from a normal approximation on the logit scale, which stay within 0 and 1 and suit areas near 1.

    Recommended for the Mann-Whitney statistic by Pepe (2003) and by Pohar Perme & Manevski (2019).

    Args:
        area: strictly between 0 and 1.
        variance: of it.
        level: of the interval.
    """
    half = normal_quantile(level) * np.sqrt(variance) / (area * (1 - area))
    centre = math.log(area / (1 - area))
    # The logistic function; the import of SciPy's takes longer than a short report.
    low, high = (float(np.exp(-np.logaddexp(0, -end))) for end in (centre - half, centre + half))
    return low, high


def newcombe(area: float, positives: int, negatives: int, level: float = LEVEL) -> tuple[float, float]:
    """Score-type limits that need only the area and the numbers of cases, and have width at areas of 0 and 1.

    Method 5 of Newcombe (Statistics in Medicine 2006, part 2): all areas t with
    ``|t - area| <= z * sd(t)``, where ``sd`` is that of Hanley & McNeil with both sizes made equal to their mean.
    """
    z, half = normal_quantile(level), (positives + negatives) / 2 - 1

    def excess(t: float) -> float:
        variance = t * (1 - t) * (1 + half * (1 - t) / (2 - t) + half * t / (1 + t)) / (positives * negatives)
        return (t - area) ** 2 - z**2 * variance

    def root(low: float, high: float) -> float:
        # Just inside 0 and 1: there the variance is 0 too, which is no limit that is sought.
        bracket = max(low, 1e-9), min(high, 1 - 1e-9)
        if excess(bracket[0]) * excess(bracket[1]) > 0:
            return low if low < area else high
        from scipy.optimize import brentq  # rarely needed, and slow to import

        return float(brentq(excess, *bracket))  # pyright: ignore[reportArgumentType, reportCallIssue]

    return (0.0 if area <= 0 else root(0.0, area)), (1.0 if area >= 1 else root(area, 1.0))


def auroc_interval(
    part: Influence, unit: Int[np.ndarray, " N"], level: float = LEVEL, unit_name: str = "patient"
) -> Interval:
    """Interval of an area under the ROC curve.

    By the variance of `covariance` on the logit scale; by `newcombe` where that variance is 0 or not defined (a
    perfect ranking, a single positive), with the numbers of units that have positives and negatives.
    """
    if np.isnan(part.area):
        return Interval(np.nan, np.nan, "none: a class is absent")
    variance = covariance(part, part, unit)
    clustered = len(np.unique(unit)) < len(unit)
    if not variance > 1e-15 or not 0 < part.area < 1:
        positives, negatives = (len(np.unique(unit[rows])) for rows in (part.positive, ~part.positive))
        low, high = newcombe(part.area, positives, negatives, level)
        return Interval(low, high, f"Newcombe by {unit_name}" if clustered else "Newcombe")
    low, high = logit_interval(part.area, variance, level)
    return Interval(low, high, "Obuchowski, logit" if clustered else "DeLong, logit")


def mean_auroc_interval(
    areas: Float[np.ndarray, " C"],
    moves: Float[np.ndarray, "N C"],
    unit: Int[np.ndarray, " N"],
    shares: Float[np.ndarray, " C"] | None = None,
    own: Int[np.ndarray, " N"] | None = None,
    level: float = LEVEL,
) -> Interval:
    """Interval of a mean of areas over classes or labels, from the influence of each unit on it, on the logit scale.

    Args:
        areas: area of each class; all must be defined.
        moves: influence of each row on each area, 0 where the label is missing.
        unit: number of the unit of each row.
        shares: weights of the classes in the mean, 1 / C by default. Where they are the shares of the classes among
            the rows, ``own`` must be given, since these vary from sample to sample too.
        own: the class of each row.
        level: nominal coverage.
    """
    weights = np.full(len(areas), 1 / len(areas)) if shares is None else shares
    mean = float(areas @ weights)
    total = moves @ weights
    if own is not None:
        total = total + (areas[own] - mean) / len(own)
    groups = np.unique(unit, return_inverse=True)[1].reshape(-1)
    units = int(groups.max()) + 1
    per_unit = np.bincount(groups, weights=total, minlength=units)
    variance = units / (units - 1) * float(per_unit @ per_unit) if units > 1 else np.nan
    if not variance > 1e-15 or not 0 < mean < 1:
        return Interval(np.nan, np.nan, "none: no variation")
    return Interval(*logit_interval(mean, variance, level), "influence, logit")


def paired_p_value(first: Influence, second: Influence, unit: Int[np.ndarray, " N"]) -> float:
    """Two-sided p-value of the difference of two areas over the same rows (DeLong 1988; Obuchowski 1997).

    1 where the areas are equal and do not vary against each other, NaN where the variance is not defined.
    """
    variance = covariance(first, first, unit) + covariance(second, second, unit) - 2 * covariance(first, second, unit)
    difference = second.area - first.area
    if np.isnan(variance) or np.isnan(difference):
        return np.nan
    if variance <= 1e-15:
        return 1.0 if abs(difference) < 1e-12 else np.nan
    return math.erfc(abs(difference) / math.sqrt(2 * variance))
