"""Rows set aside by chance, stratified or not.

The rows are those of scikit-learn's ``train_test_split`` for the same seed, which the tests hold this against. It is
written anew because scikit-learn takes longer to import than most data takes to prepare.
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Int


def set_aside(count: int, fraction: float, seed: int, strata: Int[np.ndarray, " N"] | None = None) -> np.ndarray:
    """Positions of the rows set aside, ascending: a share of all of them, and of each stratum as evenly as can be.

    Args:
        count: how many rows there are, N.
        fraction: the share, above 0 and below 1, rounded up to whole rows.
        seed: which rows, 0 to 2**32 - 1.
        strata: number of the stratum of each row; None draws from all rows alike.

    Raises:
        ValueError: if nothing would be left, or not every stratum can have a row on either side.
    """
    aside = math.ceil(fraction * count)
    left = count - aside
    if left < 1:
        raise ValueError(f"{aside} of {count} set aside leaves none")
    # The legacy generator, as scikit-learn has it: its streams never change.
    random = np.random.RandomState(seed)
    if strata is None:
        return np.sort(random.permutation(count)[:aside])
    sizes = np.unique(strata, return_counts=True)[1]
    if sizes.min() < 2:
        raise ValueError("a class has only 1 member; 2 or more are needed")
    if min(left, aside) < len(sizes):
        raise ValueError(f"{left} and {aside} were to have all {len(sizes)} classes")
    kept = _shares(sizes, left, random)
    taken = _shares(sizes - kept, aside, random)
    members = np.split(np.argsort(np.unique(strata, return_inverse=True)[1].reshape(-1), kind="stable"), sizes.cumsum())
    chosen = []
    for own, first, number in zip(members, kept, taken, strict=False):
        shuffled = own[random.permutation(len(own))]
        chosen.append(shuffled[first : first + number])
    return np.sort(np.concatenate(chosen))


def _shares(sizes: Int[np.ndarray, " C"], draws: int, random: np.random.RandomState) -> Int[np.ndarray, " C"]:
    """How many of ``draws`` fall to each stratum: in proportion, the largest remainders rounded up, ties by chance."""
    exact = sizes / sizes.sum() * draws
    shares = np.floor(exact)
    lacking = int(draws - shares.sum())
    remainder = exact - shares
    for value in np.unique(remainder)[::-1]:
        if lacking <= 0:
            break
        tied = np.flatnonzero(remainder == value)
        number = min(len(tied), lacking)
        shares[random.choice(tied, size=number, replace=False)] += 1
        lacking -= number
    return shares.astype(int)
