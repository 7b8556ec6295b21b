"""Robust summaries of runs: interquartile mean and performance profile (Agarwal et al., NeurIPS 2021)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from research.evaluation.intervals import LEVEL, wilson
from research.metrics import LARGER_IS_BETTER


def interquartile_mean(values: Float[np.ndarray, " S"]) -> float:
    """Mean of the middle half of the seeds: robust to a run that went astray; NaN where none is defined.

    Fewer than four seeds have no quarter to leave out, and it is their mean.
    """
    defined = np.sort(values[~np.isnan(values)])
    cut = len(defined) // 4
    return float(defined[cut : len(defined) - cut].mean()) if len(defined) else float("nan")


class Profile(NamedTuple):
    """Share of the seeds that do at least as well as each threshold.

    Attributes:
        thresholds: values of the metric, ascending, ``[T]``.
        share: of seeds at or beyond each, ``[T]``.
        low: lower limits of pointwise 95 % intervals, ``[T]``.
        high: upper limits.
    """

    thresholds: np.ndarray
    share: np.ndarray
    low: np.ndarray
    high: np.ndarray


def performance_profile(
    metric: str, values: Float[np.ndarray, " S"], thresholds: Float[np.ndarray, " T"], level: float = LEVEL
) -> Profile:
    """The performance profile of one variant over its seeds.

    Intervals are Wilson's over seeds, since a bootstrap of few seeds is too narrow; they know nothing of patients.

    Args:
        metric: its name: of a loss, the share of seeds at or below each threshold is taken.
        values: of each seed; NaN counts as missing every threshold.
        thresholds: at which values.
        level: nominal coverage of each interval.
    """
    sign = 1.0 if LARGER_IS_BETTER.get(metric, True) else -1.0
    reached = sign * values[None, :] >= sign * np.asarray(thresholds)[:, None]
    share = reached.mean(1)
    limits = np.array([wilson(float(value), len(values), level) for value in share]).reshape(-1, 2)
    return Profile(np.asarray(thresholds), share, limits[:, 0], limits[:, 1])
