"""Errors of probabilities and of predicted quantities."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float, Num, Shaped

from research.metrics.arrays import one_hot, prepare, ratio, total, weighted_mean


def _column_mean(xp: Any, weights: Any, errors: Any) -> Any:
    """Mean over examples and, where there are several columns, over columns."""
    return weighted_mean(xp, weights, errors if errors.ndim == 1 else errors.mean(-1))


def brier(
    probability: Float[Any, "N ..."], targets: Num[Any, " N"], weights: Shaped[Any, "*batch N"] | None = None
) -> Float[Any, "*batch"]:
    """Brier score, 0 at best.

    With probabilities of the positive class ``[N]`` the mean of ``(p - y)^2``, from 0 to 1. With class probabilities
    ``[N, C]`` the mean over examples of the sum over classes (Brier 1950), from 0 to 2: twice the former for C = 2.
    """
    xp, weights, probability, truth = prepare(weights, probability, _truth(probability, targets))
    return weighted_mean(xp, weights, _squares(probability, truth))


def brier_of_each(probability: Float[Any, "N ..."], targets: Num[Any, " N"]) -> Float[Any, " N"]:
    """What `brier` is the mean of."""
    _, _, probability, truth = prepare(None, probability, _truth(probability, targets))
    return _squares(probability, truth)


def log_loss(
    probability: Float[Any, "N ..."], targets: Num[Any, " N"], weights: Shaped[Any, "*batch N"] | None = None
) -> Float[Any, "*batch"]:
    """Mean negative logarithm (base e) of the probability given to the true class.

    Probabilities are kept off 0 and 1 by the resolution of their own type, as in scikit-learn; the loss that an
    algorithm computes from its logits is exact.
    """
    tiny = _resolution(probability)
    xp, weights, probability, truth = prepare(weights, probability, _truth(probability, targets))
    return weighted_mean(xp, weights, _surprise(xp, probability, truth, tiny))


def log_loss_of_each(probability: Float[Any, "N ..."], targets: Num[Any, " N"]) -> Float[Any, " N"]:
    """What `log_loss` is the mean of."""
    tiny = _resolution(probability)
    xp, _, probability, truth = prepare(None, probability, _truth(probability, targets))
    return _surprise(xp, probability, truth, tiny)


def _truth(probability: Any, targets: Any) -> Any:
    """Targets beside which probabilities of one class, or of each class, can be laid."""
    return one_hot(targets, probability.shape[1]) if probability.ndim == 2 else targets


def _resolution(probability: Any) -> float:
    return float(np.finfo(np.dtype(probability.dtype)).eps)


def _squares(probability: Any, truth: Any) -> Any:
    errors = (probability - truth) ** 2
    return errors.sum(-1) if errors.ndim == 2 else errors


def _surprise(xp: Any, probability: Any, truth: Any, tiny: float) -> Any:
    if probability.ndim == 2:
        given = (probability * truth).sum(-1)
    else:
        given = xp.where(truth == 1, probability, 1 - probability)
    return -xp.log(given.clip(tiny, 1 - tiny))


def mean_squared_error(
    predicted: Float[Any, "N ..."], targets: Num[Any, "N ..."], weights: Shaped[Any, "*batch N"] | None = None
) -> Float[Any, "*batch"]:
    """Mean of the squared errors over examples and quantities, in the square of the targets' unit."""
    xp, weights, predicted, targets = prepare(weights, predicted, targets)
    return _column_mean(xp, weights, (predicted - targets) ** 2)


def root_mean_squared_error(
    predicted: Float[Any, "N ..."], targets: Num[Any, "N ..."], weights: Shaped[Any, "*batch N"] | None = None
) -> Float[Any, "*batch"]:
    """Square root of `mean_squared_error`, in the targets' unit; of several quantities that of their mean."""
    found = mean_squared_error(predicted, targets, weights)
    return found**0.5


def mean_absolute_error(
    predicted: Float[Any, "N ..."], targets: Num[Any, "N ..."], weights: Shaped[Any, "*batch N"] | None = None
) -> Float[Any, "*batch"]:
    """Mean of the absolute errors over examples and quantities, in the targets' unit."""
    xp, weights, predicted, targets = prepare(weights, predicted, targets)
    return _column_mean(xp, weights, xp.abs(predicted - targets))


def r2(
    predicted: Float[Any, "N ..."], targets: Num[Any, "N ..."], weights: Shaped[Any, "*batch N"] | None = None
) -> Float[Any, "*batch"]:
    """Share of the targets' variance that is explained, averaged over quantities; NaN where a target is constant."""
    xp, counted, predicted, targets = prepare(weights, predicted, targets)
    predicted, targets = (v.reshape(len(v), -1) for v in (predicted, targets))
    count = counted.sum(-1)[..., None]
    centred = targets - xp.broadcast_to(targets.mean(0), targets.shape)
    squares = total(xp, counted, centred**2)
    spread = squares - ratio(xp, total(xp, counted, centred) ** 2, xp.broadcast_to(count, squares.shape))
    # What is left of a constant after this subtraction is rounding, not variance.
    spread = xp.where(spread > 64 * np.finfo(np.dtype(squares.dtype)).eps * squares, spread, 0)
    return (1 - ratio(xp, total(xp, counted, (predicted - targets) ** 2), spread)).mean(-1)


def skill(
    predicted: Float[Any, "N ..."],
    targets: Num[Any, "N ..."],
    reference: Float[Any, "N ..."],
    weights: Shaped[Any, "*batch N"] | None = None,
) -> Float[Any, "*batch"]:
    """By how much the mean squared error is smaller than that of a reference forecast, as a share of the latter.

    Murphy, "Skill scores based on the mean square error and their relationships to the correlation coefficient",
    Monthly Weather Review 1988: 1 is perfect, 0 no better than the reference, below 0 worse. NaN where the reference
    has no error.

    Args:
        predicted: what is judged.
        targets: the true quantities.
        reference: what it is held against, such as persistence.
        weights: see the module.
    """
    xp, weights, predicted, targets, reference = prepare(weights, predicted, targets, reference)
    own, other = (_column_mean(xp, weights, (said - targets) ** 2) for said in (predicted, reference))
    return 1 - ratio(xp, own, other)


def pinball(
    quantiles: Float[Any, "N L Q"],
    targets: Num[Any, "N L"],
    levels: tuple[float, ...],
    weights: Shaped[Any, "*batch N"] | None = None,
) -> Float[Any, "*batch"]:
    """Mean pinball loss over examples, quantities and predicted quantiles, in the targets' unit.

    Koenker & Bassett, "Regression quantiles", Econometrica 1978.

    Args:
        quantiles: predicted quantiles of each quantity.
        targets: the true quantities.
        levels: which quantiles, between 0 and 1.
        weights: see the module.
    """
    xp, weights, quantiles, targets = prepare(weights, quantiles, targets)
    above = xp.broadcast_to(targets[..., None], quantiles.shape) - quantiles
    share = xp.broadcast_to(xp.asarray(levels, quantiles.dtype)[None, None], above.shape)
    cost = xp.maximum(share * above, (share - 1) * above)
    return weighted_mean(xp, weights, cost.reshape(len(cost), -1).mean(-1))
