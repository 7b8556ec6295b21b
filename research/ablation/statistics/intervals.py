"""Intervals and p-values of a mean over few seeds and a sample of patients.

The percentile bootstrap over few seeds is too narrow (5 seeds: 84 % for 95 %). Here the variance of the seeds, with
few degrees of freedom, and that of the patients, with many, are added, and the quantile follows from both.
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import numpy as np
import scipy.special

from research.ablation.statistics.components import Components
from research.evaluation.intervals import LEVEL, Interval

UNIT_SCALE = frozenset(
    {
        *("accuracy", "auroc", "auroc_weighted", "average_precision", "balanced_accuracy", "concordance", "coverage"),
        *("f1", "f1_max", "f_max", "min_sensitivity_precision", "precision", "sensitivity", "specificity"),
    }
)
"""Metrics between 0 and 1, whose limits are found on the logit scale."""

POSITIVE_SCALE = frozenset({"brier", "log_loss", "mae", "mse", "pinball", "rmse"})
"""Metrics above 0, whose limits are found on the scale of the logarithm."""

_NORMAL = np.linspace(-8, 8, 161)
_WEIGHTS = np.exp(-(_NORMAL**2) / 2) / np.exp(-(_NORMAL**2) / 2).sum()
_PLACES = scipy.special.ndtr(_NORMAL)


@functools.lru_cache(maxsize=64)
def _quantiles(freedom: float) -> np.ndarray:
    """Of Student's t distribution, at the places of `_WEIGHTS`."""
    return np.clip(scipy.special.stdtrit(freedom, _PLACES), -1e9, 1e9)


class Reference(NamedTuple):
    """The distribution of an estimate that errs by seeds and by patients, each with its own degrees of freedom.

    Tail areas are the mean of two: Student's t with the degrees of freedom of Satterthwaite (Biometrics Bulletin
    1946; Welch, Biometrika 1947), and the distribution of Behrens and Fisher, ``seed_error t + data_error t'``. With 3
    seeds a nominal 95 % of the first is as little as 92 %, of the second as much as 98 %, and of their mean 94 to
    97 % (`scripts/prove/ablation_statistics.py`). Where one error is 0, both are the other's t distribution.

    Attributes:
        seed_error: standard error due to the seeds.
        seed_freedom: its degrees of freedom.
        data_error: standard error due to the patients; see `Components.patient_variance`.
        data_freedom: its degrees of freedom.
    """

    seed_error: float
    seed_freedom: float
    data_error: float
    data_freedom: float

    def p_value(self, distance: float) -> float:
        """Two-sided tail area: how often an estimate errs by ``distance`` or more."""
        seed, data = self.seed_error**2, self.data_error**2
        if seed + data <= 0:
            return math.nan
        if min(seed, data) <= 1e-12 * (seed + data):
            error, freedom = (self.data_error, self.data_freedom) if data > seed else self[:2]
            return 2 * float(scipy.special.stdtr(freedom, -abs(distance) / error))
        return (self.satterthwaite(distance) + self.behrens_fisher(distance)) / 2

    def half_width(self, level: float = LEVEL) -> float:
        """The distance whose `p_value` is ``1 - level``."""
        from scipy.optimize import brentq  # slow to import

        if self.seed_error + self.data_error <= 0:
            return math.nan
        above = 2 * (self.seed_error + self.data_error)
        while self.p_value(above) > 1 - level:
            above *= 4
        return float(brentq(lambda x: self.p_value(x) - (1 - level), 0.0, above, xtol=1e-7 * above))  # pyright: ignore[reportArgumentType]

    def satterthwaite(self, distance: float) -> float:
        """Two-sided tail area of Student's t with the degrees of freedom of Satterthwaite."""
        seed, data = self.seed_error**2, self.data_error**2
        freedom = (seed + data) ** 2 / (seed**2 / self.seed_freedom + data**2 / self.data_freedom)
        return 2 * float(scipy.special.stdtr(freedom, -abs(distance) / math.sqrt(seed + data)))

    def behrens_fisher(self, distance: float) -> float:
        """Two-sided tail area of the sum of both errors, each a t distribution; both must be above 0."""
        parts = (self[:2], self[2:]) if self.seed_error < self.data_error else (self[2:], self[:2])
        (small, small_freedom), (large, large_freedom) = parts
        # The smaller part is summed over; given it, the larger has a t distribution.
        drawn = small * _quantiles(small_freedom)
        return 2 * float(_WEIGHTS @ scipy.special.stdtr(large_freedom, (drawn - abs(distance)) / large))


def reference(part: Components) -> Reference:
    """The distribution of ``part.mean`` about what new seeds and new patients would give."""
    seed_error = math.sqrt(part.seed_variance / part.seeds) if part.seeds > 1 else 0.0
    return Reference(seed_error, max(1, part.seeds - 1), math.sqrt(part.patient_variance()), max(1.0, part.carriers))


def mean_interval(metric: str, part: Components, alone: Interval | None = None, level: float = LEVEL) -> Interval:
    """Interval of the mean over seeds of a metric, for new seeds and new patients.

    Args:
        metric: its name, which decides the scale.
        part: what `components` found.
        alone: interval of the first seed alone as a report has it: taken for a single seed, and where all seeds give
            the same value at a bound (as all sensitivities of 1), so that nothing varies, or agree by chance.
        level: nominal coverage.
    """
    if math.isnan(part.mean):
        return Interval(math.nan, math.nan, "none: not defined")
    if part.seeds == 1 and alone is not None:
        return alone
    # A variance found from K patients has 2 K / (kurtosis - 1) degrees of freedom, here about 2 carriers. Differences
    # keep to half of that: near a bound they are skewed as well.
    half = reference(part)._replace(data_freedom=max(2.0, 2 * part.carriers)).half_width(level)
    if part.seeds == 1 and not part.has_data:
        return Interval(math.nan, math.nan, "none: one seed")
    if math.isnan(half) or (part.agree_by_chance and alone is not None):
        return alone if alone is not None else Interval(math.nan, math.nan, "none: no variation")
    value, how = part.mean, explain(part)
    if metric in UNIT_SCALE and 0 < value < 1:
        centre, half = scipy.special.logit(value), half / (value * (1 - value))
        low, high = scipy.special.expit([centre - half, centre + half]).tolist()
        return Interval(low, high, f"{how}, logit")
    if metric in POSITIVE_SCALE and value > 0:
        return Interval(value * math.exp(-half / value), value * math.exp(half / value), f"{how}, log")
    return Interval(value - half, value + half, how)


def explain(part: Components) -> str:
    """What an interval from `reference` takes into account, in a few words."""
    if part.seeds == 1:
        return "patients only: one seed"
    if part.agree_by_chance:
        return f"t, patients only: {part.seeds} seeds agree"
    return f"t, {part.seeds} seeds and patients" if part.has_data else f"t, {part.seeds} seeds"
