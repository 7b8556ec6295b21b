"""ROC and precision-recall curves of weighted examples, and their bands.

As in `research.metrics`, weights of shape ``[R, N]`` give R curves at once, so that the bootstrap is a matrix product
away: sorting is done once, a resample costs two running sums.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from research.evaluation import intervals
from research.reporting.contrasts import Contrast

GRID = np.arange(101) / 100
"""False positive rates, or sensitivities, at which bands are found."""
RESAMPLES = 300


@dataclasses.dataclass(frozen=True, eq=False)
class Ranking:
    """Examples in the order in which they are called positive; those of equal score are called together.

    Attributes:
        order: positions by falling score, ``[N]``.
        last: where in that order each distinct score ends, ``[K]``.
        positive: which examples are positive, in that order, ``[N]``.
    """

    order: Int[np.ndarray, " N"]
    last: Int[np.ndarray, " K"]
    positive: Bool[np.ndarray, " N"]


class Band(NamedTuple):
    """Pointwise limits at `GRID`; NaN where none are known."""

    low: Float[np.ndarray, " G"]
    high: Float[np.ndarray, " G"]


def rank(score: Float[np.ndarray, " N"], positive: Bool[np.ndarray, " N"]) -> Ranking:
    """Sort once what every resample needs."""
    order = np.argsort(-score, kind="stable")
    falling = score[order]
    last = np.flatnonzero(np.append(falling[1:] != falling[:-1], True))
    return Ranking(order, last, positive[order])


def counts(
    ranking: Ranking, weights: Float[np.ndarray, "*batch N"]
) -> tuple[Float[np.ndarray, "*batch K"], Float[np.ndarray, "*batch K"]]:
    """Weight of the positives, and of the negatives, among those called at each distinct score."""
    sorted_weights = np.take(weights, ranking.order, axis=-1)
    called = np.cumsum(sorted_weights, axis=-1)[..., ranking.last]
    hits = np.cumsum(sorted_weights * np.broadcast_to(ranking.positive, sorted_weights.shape), axis=-1)
    hits = hits[..., ranking.last]
    return hits, called - hits


def roc(hits: Float[np.ndarray, "R K"], alarms: Float[np.ndarray, "R K"]) -> Float[np.ndarray, "R G"]:
    """Sensitivity at each false positive rate of `GRID`, along straight lines between thresholds.

    Where the curve rises straight up, its upper end. NaN where a class has no weight.
    """
    found = np.full((len(hits), len(GRID)), np.nan)
    for row, (hit, alarm) in enumerate(zip(hits, alarms, strict=True)):
        if hit[-1] > 0 and alarm[-1] > 0:
            found[row] = np.interp(GRID, np.append(0, alarm / alarm[-1]), np.append(0, hit / hit[-1]))
    return found


def precision(hits: Float[np.ndarray, "R K"], alarms: Float[np.ndarray, "R K"]) -> Float[np.ndarray, "R G"]:
    """Precision at the highest threshold that reaches each sensitivity of `GRID`.

    In steps: straight lines would flatter (Davis & Goadrich, ICML 2006). At 0 it is that of the first positive, so
    that the area below is the average precision. NaN where there is no positive.
    """
    found = np.full((len(hits), len(GRID)), np.nan)
    wanted = np.maximum(GRID, 1e-12)
    for row, (hit, alarm) in enumerate(zip(hits, alarms, strict=True)):
        if hit[-1] > 0:
            place = np.searchsorted(hit / hit[-1], wanted)
            found[row] = hit[place] / (hit[place] + alarm[place])
    return found


def roc_points(contrast: Contrast) -> tuple[Float[np.ndarray, " K"], Float[np.ndarray, " K"]]:
    """False positive rate and sensitivity at every threshold, from (0, 0) to (1, 1)."""
    hits, alarms = counts(rank(contrast.score, contrast.positive), np.ones(len(contrast.score)))
    return np.append(0, alarms / alarms[-1]), np.append(0, hits / hits[-1])


def precision_recall_points(contrast: Contrast) -> tuple[Float[np.ndarray, " K"], Float[np.ndarray, " K"]]:
    """Sensitivity and precision wherever another positive is found; each precision holds up to its sensitivity."""
    hits, alarms = counts(rank(contrast.score, contrast.positive), np.ones(len(contrast.score)))
    found = np.flatnonzero(np.diff(hits, prepend=0) > 0)
    share = hits[found] / (hits[found] + alarms[found])
    return np.append(0, hits[found] / hits[-1]), np.append(share[0], share)


def bands(
    found: list[Contrast], unit: Int[np.ndarray, " N"], resamples: int = RESAMPLES, seed: int = 0
) -> list[tuple[Band, Band]]:
    """Pointwise 95 % bands of the ROC and the precision-recall curve of each contrast.

    They are those of the bootstrap, but at least as wide as Wilson's interval of the proportion that a curve is at each
    point: sensitivity among the positives, precision among the examples called positive. Near 0 and 1, where few or no
    resamples differ, the bootstrap alone would claim to know what it does not (`scripts/prove/coverage.py`).

    Args:
        found: what to draw.
        unit: number of the sampling unit, patient or row, of each row of the predictions.
        resamples: how many; the same for all contrasts.
        seed: which.
    """
    rankings = [rank(contrast.score, contrast.positive) for contrast in found]
    curves: list[list[tuple[np.ndarray, np.ndarray]]] = [[] for _ in found]
    for weights in intervals.bootstrap_weights(unit, resamples, seed):
        for contrast, ranking, chunks in zip(found, rankings, curves, strict=True):
            hits, alarms = counts(ranking, weights[:, contrast.rows])
            chunks.append((roc(hits, alarms), precision(hits, alarms)))
    both = []
    for contrast, ranking, chunks in zip(found, rankings, curves, strict=True):
        once = np.ones((1, len(contrast.rows)))
        hits, alarms = counts(ranking, once)
        own = unit[contrast.rows]
        # Rows of one patient know less than as many patients.
        positives, share = len(np.unique(own[contrast.positive])), len(np.unique(own)) / len(own)
        called = share * _called(hits[0], alarms[0])
        both.append(
            (
                _widened(_band([rocs for rocs, _ in chunks]), roc(hits, alarms)[0], np.full(len(GRID), positives)),
                _widened(_band([shares for _, shares in chunks]), precision(hits, alarms)[0], called),
            )
        )
    return both


def _called(hits: Float[np.ndarray, " K"], alarms: Float[np.ndarray, " K"]) -> Float[np.ndarray, " G"]:
    """How many examples are called positive where each sensitivity of `GRID` is reached."""
    place = np.searchsorted(hits / hits[-1], np.maximum(GRID, 1e-12))
    return hits[place] + alarms[place]


def _widened(band: Band, share: Float[np.ndarray, " G"], count: Shaped[np.ndarray, " G"]) -> Band:
    """The band, at least as wide as Wilson's interval of each share among so many."""
    limits = np.array([intervals.wilson(float(one), float(n)) for one, n in zip(share, count, strict=True)])
    return Band(np.minimum(band.low, limits[:, 0]), np.maximum(band.high, limits[:, 1]))


def _band(chunks: list[np.ndarray]) -> Band:
    """Percentiles of the resamples in which the curve is defined; none where those are fewer than half."""
    curves = np.concatenate(chunks)
    defined = curves[~np.isnan(curves).any(1)]
    if len(defined) * 2 < len(curves):
        return Band(np.full(len(GRID), np.nan), np.full(len(GRID), np.nan))
    tail = (1 - intervals.LEVEL) / 2
    return Band(*np.quantile(defined, [tail, 1 - tail], axis=0))
