"""Exact tests over seeds, and the correction for several comparisons."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

EXACT_SEEDS = 16
"""Up to so many pairs all signs are tried; beyond, as many random ones."""

_CHUNK = 2**14


def sign_flip_p_values(differences: Float[np.ndarray, "S C"]) -> Float[np.ndarray, " C"]:
    """Exact two-sided permutation test of paired differences: their signs are exchangeable if nothing differs.

    Fisher's randomisation test (The Design of Experiments, 1935). On given test patients it says whether these seeds
    differ more than by chance; it knows nothing of other patients. With S pairs it cannot go below ``2 / 2^S``.
    Beyond `EXACT_SEEDS` pairs it uses random signs, the observed ones among them (Phipson & Smyth 2010).

    Args:
        differences: of the S pairs, for C comparisons; a column with NaN gives NaN.

    Returns:
        One p-value a comparison: the share of signs whose mean is at least as far from 0.
    """
    pairs = len(differences)
    observed = np.abs(differences.sum(0))
    # Rounding must not part equal sums.
    threshold = observed - 1e-9 * np.abs(differences).sum(0)
    exact = pairs <= EXACT_SEEDS
    # Both signs of everything give the same distance: the first pair keeps its sign.
    count = 2 ** (min(pairs, EXACT_SEEDS) - 1)
    random = np.random.default_rng(0)
    reached = np.zeros(differences.shape[1])
    for first in range(0, count, _CHUNK):
        numbers = np.arange(first, min(count, first + _CHUNK))
        if exact:
            minus = (numbers[:, None] >> np.arange(pairs)[None, :]) & 1
        else:
            minus = random.integers(0, 2, (len(numbers), pairs)) * (numbers > 0)[:, None]
        reached += (np.abs((1.0 - 2.0 * minus) @ differences) >= threshold[None, :]).sum(0)
    return np.where(np.isnan(observed), np.nan, reached / count)


def holm(p_values: Sequence[float] | np.ndarray) -> Float[np.ndarray, " C"]:
    """P-values corrected for their number by Holm's step-down method (Scandinavian Journal of Statistics 1979).

    NaN stays NaN and is not counted.
    """
    values = np.asarray(p_values, np.float64)
    corrected = np.full(len(values), np.nan)
    tested = np.flatnonzero(~np.isnan(values))
    order = tested[np.argsort(values[tested], kind="stable")]
    steps = values[order] * np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(1, np.maximum.accumulate(steps)) if len(order) else steps
    return corrected


class SmallestP(NamedTuple):
    """What the exact test over seeds, which is about these very patients, can reach at most.

    Attributes:
        seeds: number of seeds.
        comparisons: number of comparisons in the table.
        p_value: the smallest that is possible, ``2 / 2^S``; NaN for one seed.
        corrected: after Holm's correction.
        reachable: whether that is 0.05 or less.
        seeds_wanted: the smallest number of seeds for which it would be.
    """

    seeds: int
    comparisons: int
    p_value: float
    corrected: float
    reachable: bool
    seeds_wanted: int

    def text(self) -> str:
        """Two lines for a plan, of one seed one."""
        many = f"{self.comparisons} comparison{'s' * (self.comparisons != 1)}"
        if self.seeds < 2:
            return "1 seed: nothing can be said about other seeds, and no p-value will be printed."
        line = f"{self.seeds} seeds, {many}: exact p over seeds at least {self.p_value:.2g}"
        line += f", {self.corrected:.2g} after Holm" if self.comparisons > 1 else ""
        line += "." if self.reachable else f": never significant; {self.seeds_wanted} seeds could be."
        return f"{line}\nIt is of these very patients; the table's p, for new ones too, may be smaller or larger."


def smallest_p(seeds: int, comparisons: int = 1, level: float = 0.05) -> SmallestP:
    """Whether so many seeds can ever reach significance with the exact test, after correction."""
    comparisons = max(1, comparisons)
    possible = 2.0 ** (1 - seeds) if seeds > 1 else math.nan
    corrected = min(1.0, possible * comparisons) if seeds > 1 else math.nan
    wanted = max(2, 1 + math.ceil(math.log2(comparisons / level)))
    return SmallestP(seeds, comparisons, possible, corrected, corrected <= level, wanted)
