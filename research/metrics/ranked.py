"""Scores sorted once, to be ranked under many weights: what the bootstrap of areas under curves is made of.

The metrics are those of `research.metrics.ranking`, in NumPy. There every call sorts; here a resample costs one pass
over the rows and a few over the positives.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float, Num

from research.metrics.arrays import ratio


@dataclasses.dataclass(frozen=True, eq=False)
class Standing:
    """Scores under given weights; positives by falling score, of which there are P.

    Attributes:
        positive: weight of each positive, ``[..., P]``.
        found: weight of the positives with at least its score, ``[..., P]``.
        wrong: weight of the negatives with at least its score, ``[..., P]``.
        negatives: weight of all negatives, ``[...]``.
        beaten: gives the weight of the negatives with a higher score, ``[..., P]``.
    """

    positive: Float[np.ndarray, "*batch P"]
    found: Float[np.ndarray, "*batch P"]
    wrong: Float[np.ndarray, "*batch P"]
    negatives: Float[np.ndarray, "*batch"]
    beaten: Callable[[], Float[np.ndarray, "*batch P"]]

    def auroc(self) -> Any:
        """As `research.metrics.auroc`."""
        below = self.negatives[..., None] - (self.wrong + self.beaten()) * 0.5
        positives = self.positive.sum(-1)
        return ratio(np, ratio(np, (self.positive * below).sum(-1), positives), self.negatives)

    def average_precision(self) -> Any:
        """As `research.metrics.average_precision`."""
        # Where nothing with weight is at the top of the ranking, the positive there has none either.
        precision = self.found / np.maximum(self.found + self.wrong, np.finfo(np.float64).tiny)
        return ratio(np, (self.positive * precision).sum(-1), self.positive.sum(-1))

    def f1_max(self) -> Any:
        """As `research.metrics.f1_max`: the best threshold is the score of a positive."""
        positives = self.positive.sum(-1)
        taken = self.found + self.wrong
        best = (2 * self.found / np.maximum(taken + positives[..., None], 1e-12)).max(-1, initial=0)
        return np.where(positives > 0, best, np.nan)


class RankedScores:
    """Scores and targets, sorted.

    Args:
        scores: finite; larger means more likely positive.
        targets: 1 for positive, 0 for negative, NaN for rows that do not count.
    """

    def __init__(self, scores: Float[np.ndarray, " N"], targets: Num[np.ndarray, " N"]) -> None:
        # In float64, as `research.metrics` compares them.
        scores, targets = np.asarray(scores, np.float64), np.asarray(targets, np.float64)
        rows = np.flatnonzero(targets == 1)
        self._positives = rows[np.argsort(-scores[rows], kind="stable")]
        falling = -scores[self._positives]
        last = np.searchsorted(falling, falling, side="right") - 1
        self._last = None if np.array_equal(last, np.arange(len(last))) else last
        # Negatives are counted by how many positives come before them; all other rows where nobody looks.
        nobody = len(falling) + 1
        rows = np.flatnonzero(targets == 0)
        ahead, level = (np.searchsorted(falling, -scores[rows], side=side) for side in ("left", "right"))
        self._ahead = np.full(len(scores), nobody)
        self._ahead[rows] = ahead
        self._level = None if np.array_equal(ahead, level) else np.full(len(scores), nobody)
        if self._level is not None:
            self._level[rows] = level

    def standing(self, weights: Float[np.ndarray, "*batch N"]) -> Standing:
        """The same scores with weights, each row's or its count in a resample."""
        positive = weights.take(self._positives, axis=-1)
        found = positive.cumsum(-1)
        if self._last is not None:
            found = found.take(self._last, axis=-1)
        wrong, negatives = self._running(weights, self._ahead)
        level = self._level
        # A second pass over the rows, which few metrics need, and none where positives and negatives have no ties.
        beaten = (lambda: wrong) if level is None else (lambda: self._running(weights, level)[0])
        return Standing(positive, found, wrong, negatives, beaten)

    def _running(self, weights: np.ndarray, before: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Weight of the negatives before each positive ``[..., P]``, and of all ``[...]``."""
        size, each = len(self._positives) + 2, weights.reshape(-1, weights.shape[-1])
        sums = np.empty((len(each), size))
        for number, row in enumerate(each):
            sums[number] = np.bincount(before, weights=row, minlength=size)
        running = sums[:, :-1].cumsum(-1).reshape(*weights.shape[:-1], size - 1)
        return running[..., :-1], running[..., -1]
