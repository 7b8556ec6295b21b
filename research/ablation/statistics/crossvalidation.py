"""Folds by patient: each fold, the pooled predictions, and the mean over folds.

The interval of the mean over folds is that of every other mean: what each held-out patient moves its fold's metric
by, divided by the number of folds, is that patient's influence on the mean (LeDell, Petersen & van der Laan,
Electronic Journal of Statistics 2015; Bayle et al., NeurIPS 2020). It speaks of the models that these training
patients gave. Training sets of folds overlap, so that their spread over new training patients cannot be estimated
without bias (Bengio & Grandvalet, JMLR 2004), and the interval is too narrow for the error of the procedure (Bates,
Hastie & Tibshirani, JASA 2023, whose nested scheme trains many times more models). The interval of Nadeau & Bengio,
which adds a rough allowance for it, is given beside.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import scipy.special
from jaxtyping import Float

from research.ablation.statistics.measuring import Measurements
from research.evaluation.intervals import LEVEL, Interval


@dataclasses.dataclass(frozen=True)
class OverFolds:
    """A metric of one variant by fold, the mean over its seeds.

    Attributes:
        each: of every fold.
        pooled: of the predictions of all folds as one set, each decision at the threshold of its own fold.
        deviation: standard deviation over folds.
        corrected: interval of the mean over folds by Nadeau & Bengio.
    """

    each: tuple[float, ...]
    pooled: float
    deviation: float
    corrected: Interval


def over_folds(measurements: Measurements, metric: str) -> OverFolds | None:
    """What the folds gave, or None without folds; seeds in which any of it is not defined are left out."""
    if metric not in measurements.folds:
        return None
    values, together = measurements.folds[metric], measurements.pooled[metric]
    kept = ~np.isnan(values).any(1)
    each = values[kept].mean(0) if kept.any() else np.full(values.shape[1], np.nan)
    defined = together[~np.isnan(together)]
    return OverFolds(
        each=tuple(each.tolist()),
        pooled=float(defined.mean()) if len(defined) else math.nan,
        deviation=float(each.std(ddof=1)),
        corrected=corrected_interval(each),
    )


def corrected_error(folds: Float[np.ndarray, " K"]) -> float:
    """Standard error of the mean over folds by Nadeau & Bengio (Machine Learning 2003).

    The variance between folds counts ``1 / K + held out / trained on`` times, of which the second stands for the
    overlap of the training sets; with K folds it is ``1 / (K - 1)``.
    """
    count = len(folds)
    return math.sqrt((1 / count + 1 / (count - 1)) * float(folds.var(ddof=1)))


def corrected_interval(folds: Float[np.ndarray, " K"], level: float = LEVEL) -> Interval:
    """Interval of the mean over folds with `corrected_error` and K - 1 degrees of freedom."""
    error = corrected_error(folds)
    if not error > 0:
        return Interval(math.nan, math.nan, "none: no variation")
    half = float(scipy.special.stdtrit(len(folds) - 1, (1 + level) / 2)) * error
    return Interval(float(folds.mean()) - half, float(folds.mean()) + half, f"Nadeau & Bengio, {len(folds)} folds")
