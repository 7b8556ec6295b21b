"""How good decisions are: classes that were called, against the true ones."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float, Int, Num, Shaped

from research.metrics.arrays import one_hot, prepare, ratio, total, weighted_mean


def called(probability: Float[Any, "*shape"], threshold: Any = 0.5) -> Int[Any, "*shape"]:
    """1 where the probability reaches the threshold, else 0."""
    return (probability >= threshold).astype(np.int32)


def accuracy(
    predicted: Int[Any, " N"], targets: Num[Any, " N"], weights: Shaped[Any, "*batch N"] | None = None
) -> Float[Any, "*batch"]:
    """Share of examples whose predicted class is the true one."""
    xp, weights, predicted, targets = prepare(weights, predicted, targets)
    return weighted_mean(xp, weights, (predicted == targets).astype(predicted.dtype))


def sensitivity(
    predicted: Int[Any, " N"], targets: Num[Any, " N"], weights: Shaped[Any, "*batch N"] | None = None
) -> Float[Any, "*batch"]:
    """Share of the positives (class 1) that are called positive; NaN without positives."""
    xp, weights, predicted, targets = prepare(weights, predicted, targets)
    return ratio(xp, total(xp, weights, predicted * targets), total(xp, weights, targets))


def specificity(
    predicted: Int[Any, " N"], targets: Num[Any, " N"], weights: Shaped[Any, "*batch N"] | None = None
) -> Float[Any, "*batch"]:
    """Share of the negatives (class 0) that are called negative; NaN without negatives."""
    xp, weights, predicted, targets = prepare(weights, predicted, targets)
    return ratio(xp, total(xp, weights, (1 - predicted) * (1 - targets)), total(xp, weights, 1 - targets))


def precision(
    predicted: Int[Any, " N"], targets: Num[Any, " N"], weights: Shaped[Any, "*batch N"] | None = None
) -> Float[Any, "*batch"]:
    """Share of those called positive that are positive; NaN where none is called positive."""
    xp, weights, predicted, targets = prepare(weights, predicted, targets)
    return ratio(xp, total(xp, weights, predicted * targets), total(xp, weights, predicted))


def f1(
    predicted: Int[Any, " N"], targets: Num[Any, " N"], weights: Shaped[Any, "*batch N"] | None = None
) -> Float[Any, "*batch"]:
    """Harmonic mean of precision and sensitivity of class 1; NaN with neither positives nor calls."""
    xp, weights, predicted, targets = prepare(weights, predicted, targets)
    return ratio(xp, 2 * total(xp, weights, predicted * targets), total(xp, weights, predicted + targets))


def min_sensitivity_precision(
    predicted: Int[Any, " N"], targets: Num[Any, " N"], weights: Shaped[Any, "*batch N"] | None = None
) -> Float[Any, "*batch"]:
    """The smaller of sensitivity and precision: event 1 of the PhysioNet/CinC Challenge 2012 (Silva et al., CinC 2012).

    0 where none is called positive, NaN without positives.
    """
    xp, weights, predicted, targets = prepare(weights, predicted, targets)
    hits, calls, cases = (total(xp, weights, values) for values in (predicted * targets, predicted, targets))
    return ratio(xp, hits, xp.where(cases > 0, xp.maximum(calls, cases), 0))


def class_scores(
    predicted: Int[Any, " N"], targets: Int[Any, " N"], classes: int, weights: Shaped[Any, "*batch N"] | None = None
) -> dict[str, Float[Any, "*batch C"]]:
    """``sensitivity``, ``precision`` and ``f1`` of each class against all others, NaN where not defined."""
    said, true = one_hot(predicted, classes), one_hot(targets, classes)
    xp, weights, said, true = prepare(weights, said, true)
    return _scores(xp, *(total(xp, weights, values) for values in (said * true, said, true)))


def _scores(xp: Any, hits: Any, calls: Any, cases: Any) -> dict[str, Any]:
    return {
        "sensitivity": ratio(xp, hits, cases),
        "precision": ratio(xp, hits, calls),
        "f1": ratio(xp, 2 * hits, calls + cases),
    }


class CountedDecisions:
    """Decisions to be counted under many weights, as the bootstrap does: in NumPy, one pass over the rows each time.

    Args:
        predicted: the class called, 0 to C - 1.
        targets: the true class.
        classes: C.
    """

    def __init__(self, predicted: Int[np.ndarray, " N"], targets: Int[np.ndarray, " N"], classes: int) -> None:
        self._classes = classes
        self._cell = targets.astype(np.intp) * classes + predicted

    def confusion_matrix(self, weights: Float[np.ndarray, "*batch N"]) -> Float[np.ndarray, "*batch C C"]:
        """As `confusion_matrix`: the true class by row, the predicted one by column."""
        cells = self._classes**2
        each = weights.reshape(-1, weights.shape[-1])
        counts = [np.bincount(self._cell, weights=row, minlength=cells) for row in each]
        return np.reshape(counts, (*weights.shape[:-1], self._classes, self._classes))

    def class_scores(self, weights: Float[np.ndarray, "*batch N"]) -> dict[str, Float[np.ndarray, "*batch C"]]:
        """As `class_scores`."""
        matrix = self.confusion_matrix(weights)
        return _scores(np, np.diagonal(matrix, axis1=-2, axis2=-1), matrix.sum(-2), matrix.sum(-1))


def confusion_matrix(
    predicted: Int[Any, " N"], targets: Int[Any, " N"], classes: int, weights: Shaped[Any, " N"] | None = None
) -> Float[Any, "C C"]:
    """Weight of each pair of true class (row) and predicted class (column)."""
    said, true = one_hot(predicted, classes), one_hot(targets, classes)
    xp, counted, said, true = prepare(weights, said, true)
    return total(xp, (true * counted[:, None]).T, said)


def quadratic_kappa(
    said: Int[Any, " N"], targets: Int[Any, " N"], weights: Shaped[Any, "*batch N"] | None = None
) -> Float[Any, "*batch"]:
    """Agreement of grades with the true ones beyond chance; disagreement counts by the square of the distance.

    Cohen's kappa with quadratic weights (Cohen, Psychological Bulletin 1968): 1 is perfect, 0 what independent grades
    of the same frequencies would reach; NaN where there is only one grade.
    """
    xp, weights, said, targets = prepare(weights, said, targets)
    apart = weighted_mean(xp, weights, (said - targets) ** 2)
    first, second = weighted_mean(xp, weights, said), weighted_mean(xp, weights, targets)
    # Of independent grades the mean square is that of the two variances and the distance of the means.
    chance = weighted_mean(xp, weights, said**2) + weighted_mean(xp, weights, targets**2) - 2 * first * second
    return 1 - ratio(xp, apart, chance)
