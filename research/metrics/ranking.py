"""How well scores rank: areas under curves."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int, Num, Shaped

from research.metrics.arrays import one_hot, per_column, prepare, ratio, running, total

THRESHOLDS = np.arange(101) / 100
"""Where the sample-centric F-max is sought."""


def _at(xp: Any, running: Any, places: Any, untied: Any) -> Any:
    """``running[..., places]``; without ties (``untied``: where a slice would do) NumPy is spared the gathering."""
    if xp is np and len(places) and places[0] == untied.start and (np.diff(places) == 1).all():
        return running[..., untied]
    return xp.take(running, places, axis=-1)


def auroc(
    scores: Float[Any, " N"], targets: Num[Any, " N"], weights: Shaped[Any, "*batch N"] | None = None
) -> Float[Any, "*batch"]:
    """Area under the ROC curve: the chance that a positive scores above a negative, ties counting one half.

    Exact with ties, by mid-ranks (Hanley & McNeil, Radiology 1982). NaN where a class has no weight or a score that
    counts is NaN.

    Args:
        scores: larger means more likely positive; any scale.
        targets: 1 for positive, 0 for negative.
        weights: see the module.
    """
    xp, counted, scores, targets = prepare(weights, scores, targets)
    order = xp.argsort(scores, stable=True)
    ascending, size = scores[order], len(scores)
    start = xp.searchsorted(ascending, ascending, side="left")
    stop = xp.searchsorted(ascending, ascending, side="right")
    counted = xp.take(counted, order, axis=-1)
    positive = counted * xp.broadcast_to(targets[order], counted.shape)
    below = running(xp, counted - positive)
    rank = (_at(xp, below, start, slice(0, size)) + _at(xp, below, stop, slice(1, size + 1))) * 0.5
    positives = positive.sum(-1)
    # Divided in two steps: the product of both totals would lose digits in float32.
    area = ratio(xp, ratio(xp, (positive * rank).sum(-1), positives), below[..., -1])
    return xp.where(xp.isnan(scores).any(), xp.nan, area)


def _from_the_top(scores: Any, targets: Any, weights: Any) -> tuple[Any, Any, Any, Any, Any]:
    """Rows by falling score: the weight of the positive among them, and down to each row what was found and taken.

    Rows of equal score enter together.

    Returns:
        The array module, whether there is a score that is no number, the weight of each row that is positive
        ``[..., N]``, and down to its score the weights of the positives and of all rows ``[..., N]``.
    """
    xp, counted, scores, targets = prepare(weights, scores, targets)
    order = xp.argsort(-scores, stable=True)
    descending = -scores[order]
    last = xp.searchsorted(descending, descending, side="right") - 1
    counted = xp.take(counted, order, axis=-1)
    positive = counted * xp.broadcast_to(targets[order], counted.shape)
    found, taken = (_at(xp, xp.cumsum(w, axis=-1), last, slice(0, len(scores))) for w in (positive, counted))
    return xp, xp.isnan(scores).any(), positive, found, taken


def average_precision(
    scores: Float[Any, " N"], targets: Num[Any, " N"], weights: Shaped[Any, "*batch N"] | None = None
) -> Float[Any, "*batch"]:
    """Mean over the positives of the precision at their own score: a step-wise area under precision and recall.

    Rows of equal score enter together, as in scikit-learn's ``average_precision_score``. NaN where there is no
    positive. Arguments as in `auroc`.
    """
    xp, unknown, positive, found, taken = _from_the_top(scores, targets, weights)
    precision = ratio(xp, found, taken)
    # Rows of weight 0 at the top of the ranking have no precision and must not spoil the sum.
    area = ratio(xp, xp.where(positive > 0, positive * precision, 0).sum(-1), positive.sum(-1))
    return xp.where(unknown, xp.nan, area)


def auroc_per_class(
    probability: Float[Any, "N C"], targets: Int[Any, " N"], weights: Shaped[Any, "*batch N"] | None = None
) -> Float[Any, "*batch C"]:
    """AUROC of each class against all others; their `macro` is the usual one-vs-rest AUROC."""
    return per_column(auroc, probability, one_hot(targets, probability.shape[1]), weights)


def auroc_per_label(
    probability: Float[Any, "N L"], targets: Float[Any, "N L"], weights: Shaped[Any, "*batch N"] | None = None
) -> Float[Any, "*batch L"]:
    """AUROC of each label over the rows where the label is not missing (NaN)."""
    return per_column(auroc, probability, targets, weights)


def average_precision_per_label(
    probability: Float[Any, "N L"], targets: Float[Any, "N L"], weights: Shaped[Any, "*batch N"] | None = None
) -> Float[Any, "*batch L"]:
    """Average precision of each label (or class, with one-hot targets) where the label is not missing (NaN)."""
    return per_column(average_precision, probability, targets, weights)


def f1_max(
    scores: Float[Any, " N"], targets: Num[Any, " N"], weights: Shaped[Any, "*batch N"] | None = None
) -> Float[Any, "*batch"]:
    """F1 of class 1 at the threshold that makes it largest on these very rows; NaN where there is no positive.

    Of several labels the mean over them is the term-centric F-max; see `f_max` for the other. Arguments as in `auroc`.
    """
    xp, unknown, positive, found, taken = _from_the_top(scores, targets, weights)
    positives = positive.sum(-1)
    best = (2 * found / xp.maximum(taken + positives[..., None], 1e-12)).max(-1)
    return xp.where((positives > 0) & ~unknown, best, xp.nan)


class SampleCurves(NamedTuple):
    """Precision and recall among the labels of each example, at each threshold of `THRESHOLDS`.

    Attributes:
        precision: share of the labels called that are there, 0 where none is called, ``[N, T]``.
        called: 1 where any label is called, ``[N, T]``.
        recall: share of the labels that are called, 0 for an example without labels, ``[N, T]``.
        labelled: 1 for an example with a label, ``[N]``.
    """

    precision: Any
    called: Any
    recall: Any
    labelled: Any


def sample_curves(probability: Float[Any, "N L"], targets: Float[Any, "N L"]) -> SampleCurves:
    """What `f_max` averages; labels that are missing (NaN) count for nothing."""
    xp, _, probability = prepare(None, probability)
    targets = xp.asarray(targets, probability.dtype)
    thresholds = xp.asarray(THRESHOLDS, probability.dtype)[None]
    hits = calls = xp.zeros((len(probability), len(THRESHOLDS)), probability.dtype)
    for label in range(probability.shape[1]):
        said = (probability[:, label : label + 1] >= thresholds) & ~xp.isnan(targets[:, label : label + 1])
        hits = hits + (said & (targets[:, label : label + 1] == 1))
        calls = calls + said
    there = (targets == 1).sum(-1).astype(probability.dtype)[:, None]
    precision = hits / xp.maximum(calls, 1)
    recall = hits / xp.maximum(there, 1)
    return SampleCurves(precision, (calls > 0).astype(hits.dtype), recall, (there[:, 0] > 0).astype(hits.dtype))


def f_max(
    probability: Float[Any, "N L"],
    targets: Float[Any, "N L"],
    weights: Shaped[Any, "*batch N"] | None = None,
    curves: SampleCurves | None = None,
) -> Float[Any, "*batch"]:
    """Sample-centric F-max: the largest F1, over thresholds, of precision and recall averaged over examples.

    As in CAFA (Radivojac et al., Nature Methods 2013) and the benchmark of PTB-XL (Strodthoff et al., IEEE Journal of
    Biomedical and Health Informatics 2021): at each of the thresholds 0, 0.01, ..., 1, the same for all labels,
    precision is averaged over the examples of which any label is called, recall over those that have any. The
    threshold is the best on these very rows. NaN where no example has a label.

    Args:
        probability: of each label.
        targets: 1 and 0; NaN where a label is missing.
        weights: see the module.
        curves: `sample_curves` of the same, where they have been computed before.
    """
    found = sample_curves(probability, targets) if curves is None else curves
    xp, weights, *_ = prepare(weights, found.labelled)
    precision = ratio(xp, total(xp, weights, found.precision), total(xp, weights, found.called))
    labelled = total(xp, weights, found.labelled)[..., None]
    recall = total(xp, weights, found.recall) / xp.maximum(labelled, 1e-12)
    both = xp.where(xp.isnan(precision), 0, precision) + recall
    best = xp.where(both > 0, 2 * xp.where(xp.isnan(precision), 0, precision) * recall / xp.maximum(both, 1e-12), 0)
    return xp.where(labelled[..., 0] > 0, best.max(-1), xp.nan)
