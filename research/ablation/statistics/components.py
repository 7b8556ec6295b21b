"""What the mean of a metric over seeds is uncertain by: the seeds and the patients, told apart."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from jaxtyping import Float


@dataclasses.dataclass(frozen=True)
class Components:
    """The mean over seeds of a metric, or of a difference, and the variances it is made of.

    A member's metric on a sample of patients is ``mean + seed + patients + seed x patients``. The spread over seeds
    on one sample shows the first and the last of these three variances; the spread of one member over samples shows
    the last two; what two seeds have in common over samples shows the patients alone.

    Attributes:
        mean: over the seeds.
        seeds: how many; those in which the metric is not defined are left out.
        seed_variance: variance between seeds on these patients; NaN for one seed.
        data_variance: variance of one seed's value over samples of patients; NaN where not known.
        shared_variance: the part of it that all seeds share, which no number of seeds removes; 0 where not known.
        carriers: effective number of patients who carry the shared part, ``(sum m^2)^2 / sum m^4`` of their
            influences m: a third of the patients where these are normal, few where few errors decide. Where seeds
            agree by chance, of those who carry the data variance: ``(sum q)^2 / sum q^2``, q the sum of m^2 over seeds.
    """

    mean: float
    seeds: int
    seed_variance: float
    data_variance: float
    shared_variance: float
    carriers: float

    @property
    def seed_deviation(self) -> float:
        """Standard deviation over seeds."""
        return math.sqrt(self.seed_variance)

    @property
    def data_deviation(self) -> float:
        """Standard deviation of one seed's value over samples of patients of this size."""
        return math.sqrt(self.data_variance)

    @property
    def has_data(self) -> bool:
        """Whether the data variance is known."""
        return not math.isnan(self.data_variance)

    @property
    def agree_by_chance(self) -> bool:
        """Whether all seeds have the same value and share nothing, although each of them varies with the patients."""
        return self.seed_variance == 0 and self.shared_variance == 0 and self.data_variance > 0

    def patient_variance(self, seeds: float | None = None) -> float:
        """Variance of the mean due to patients that the variance of the seeds on this sample does not contain.

        This is the shared variance. Of seeds that agree by chance, as rank metrics of few patients may, the data
        variance is all seed x patients; their spread, which is 0, does not show it, so that it is counted here.

        Args:
            seeds: of so many seeds; None for those there are.
        """
        return self.data_variance / (seeds or self.seeds) if self.agree_by_chance else self.shared_variance

    def variance(self, seeds: int | None = None) -> float:
        """Variance of the mean over new seeds and new patients, of as many or of another number of seeds.

        The seed's variance on this sample contains that of seed x patients, and the shared variance does not, so
        that nothing is counted twice.
        """
        of_seeds = 0.0 if self.seeds < 2 else self.seed_variance / (seeds or self.seeds)
        return of_seeds + self.patient_variance(seeds)


def components(values: Float[np.ndarray, " S"], moves: Float[np.ndarray, "K S"] | None) -> Components:
    """Variance components of the mean over seeds.

    The shared variance is the mean covariance of two seeds, 0 where it comes out negative.

    Args:
        values: the metric of each seed, or a paired difference; NaN where not defined, which leaves the seed out.
        moves: influence of each patient on each of them, scaled such that ``moves.T @ moves`` is their covariance
            over samples of patients; None, or NaN in it, where that is not known.
    """
    kept = ~np.isnan(values)
    values, seeds = values[kept], int(kept.sum())
    if not seeds:
        return Components(math.nan, 0, math.nan, math.nan, 0.0, 0.0)
    mean = float(values.mean())
    between = float(values.var(ddof=1)) if seeds > 1 else math.nan
    if moves is None or np.isnan(moves := moves[:, kept]).any():
        return Components(mean, seeds, between, math.nan, 0.0, 0.0)
    total, each = moves.sum(1), float((moves**2).sum())
    shared = each if seeds == 1 else max(0.0, (float(total @ total) - each) / (seeds * (seeds - 1)))
    # Of float32 losses and the like, differences of nothing leave some dust.
    dust = (1e-12 * max(1.0, abs(mean))) ** 2
    between, data, shared = (0.0 if value < dust else value for value in (between, each / seeds, shared))
    parts = Components(mean, seeds, between, data, shared, 0.0)
    squares = (moves**2).sum(1) if parts.agree_by_chance else total**2
    fourth = float(squares @ squares)
    return dataclasses.replace(parts, carriers=float(squares.sum()) ** 2 / fourth if fourth > 0 else 0.0)
