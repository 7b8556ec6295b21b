"""The hierarchical bootstrap over seeds and patients, which is shown beside the interval that is reported."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float

from research.evaluation.intervals import Interval, percentile_interval


def hierarchical_interval(resampled: Float[np.ndarray, "R S"] | None, unit_name: str, seed: int = 0) -> Interval:
    """Percentile interval of the mean over seeds, where each resample draws seeds as well as patients.

    Seeds and patients are crossed, not nested: the patients of a resample are the same for all its seeds (Owen, The
    pigeonhole bootstrap, Annals of Applied Statistics 2007). Over few seeds it is too narrow, by the factor
    ``sqrt((S - 1) / S)`` in the seeds' part and by its normal quantiles.

    Args:
        resampled: the metric, or a paired difference, of each seed in each resample of the patients.
        unit_name: what was resampled.
        seed: which draws of seeds.
    """
    if resampled is None or not resampled.size:
        return Interval(math.nan, math.nan, "none: no resamples")
    resamples, seeds = resampled.shape
    if seeds == 1:
        return percentile_interval(resampled[:, 0], unit_name)
    random = np.random.default_rng([seed, seeds])
    drawn = random.multinomial(seeds, np.full(seeds, 1 / seeds), resamples)
    # A seed that was not drawn may be undefined there.
    values = np.where(drawn > 0, drawn * resampled, 0).sum(1) / seeds
    return percentile_interval(values, f"seed and {unit_name}")
