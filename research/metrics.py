"""Metrics of weighted examples, written once for NumPy (reports, in float64) and `jax.numpy` (steering, on device).

Every function takes arrays of N examples and ``weights`` of shape ``[..., N]`` and gives ``[...]``: a mask gives the
value over the rows it admits, ``[R, N]`` bootstrap counts give R values at once, None means that every row counts
once. Rows of weight 0 count for nothing, whatever they hold. A metric that is not defined (a class is absent) is NaN,
never a plausible number. Shapes do not depend on the data, so all of this runs under `jax.jit` and `jax.vmap`; the
work is done in `jax.numpy` as soon as one argument is a JAX array.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Num, Shaped

from research.errors import UserError, did_you_mean
from research.task import Kind, Task

STEERING: dict[Kind, tuple[str, ...]] = {
    "binary": ("accuracy", "auroc"),
    "multiclass": ("accuracy", "auroc"),
    "multilabel": ("auroc",),
    "regression": ("mse", "mae"),
}
"""Metrics computed on device while training, by kind of task; for several classes or labels ``auroc`` is the macro."""

LARGER_IS_BETTER: dict[str, bool] = {
    "accuracy": True,
    "auroc": True,
    "auroc_weighted": True,
    "average_precision": True,
    "balanced_accuracy": True,
    "brier": False,
    "f1": True,
    "log_loss": False,
    "loss": False,
    "mae": False,
    "mse": False,
    "precision": True,
    "quadratic_kappa": True,
    "r2": True,
    "sensitivity": True,
    "specificity": True,
}


def larger_is_better(name: str) -> bool:
    """Whether a larger value of the metric is the better one.

    Raises:
        UserError: if the metric is not known, with the nearest name and the list.
    """
    if name not in LARGER_IS_BETTER:
        raise UserError(
            f"metric {name!r} is not known.{did_you_mean(name, LARGER_IS_BETTER)} "
            f"Known: {', '.join(sorted(LARGER_IS_BETTER))}."
        )
    return LARGER_IS_BETTER[name]


def steering(
    task: Task, predictions: Float[Array, "N ..."], targets: Num[Array, "N ..."], weights: Shaped[Array, " N"]
) -> dict[str, Float[Array, ""]]:
    """The metrics of ``STEERING[task.kind]``, computed on device.

    Args:
        task: what is predicted.
        predictions: as `research.losses` gives them: the probability of the positive class ``[N]``, class
            probabilities ``[N, C]``, label probabilities ``[N, L]``, or predicted quantities ``[N, L]``.
        targets: as the task says.
        weights: 1 or True for rows that count, 0 or False for padding.
    """
    if task.kind == "binary":
        return {
            "accuracy": accuracy(called(predictions), targets, weights),
            "auroc": auroc(predictions, targets, weights),
        }
    if task.kind == "multiclass":
        return {
            "accuracy": accuracy(predictions.argmax(-1), targets, weights),
            "auroc": macro(auroc_per_class(predictions, targets, weights)),
        }
    if task.kind == "multilabel":
        return {"auroc": macro(auroc_per_label(predictions, targets, weights))}
    return {
        "mse": mean_squared_error(predictions, targets, weights),
        "mae": mean_absolute_error(predictions, targets, weights),
    }


# Arrays of either library ------------------------------------------------------------------------------------------


def _prepare(weights: Any, *values: Any) -> tuple[Any, ...]:
    """The namespace, the weights and the values as floats; rows without any weight may hold no NaN."""
    xp = jnp if any(isinstance(v, jax.Array) for v in (weights, *values)) else np
    dtype = np.float32 if xp is jnp else np.float64
    if weights is None:
        weights = xp.ones(len(values[0]), dtype)
    weights = xp.asarray(weights, dtype)
    values = tuple(xp.asarray(value, dtype) for value in values)
    if xp is np and all(np.isfinite(value).all() for value in values):
        return xp, weights, *values
    used = (weights != 0).reshape(-1, weights.shape[-1]).any(0)
    cleaned = []
    for value in values:
        keep = xp.broadcast_to(used.reshape(-1, *[1] * (value.ndim - 1)), value.shape)
        cleaned.append(xp.where(keep, value, dtype(0)))
    return xp, weights, *cleaned


def _total(xp: Any, weights: Any, values: Any) -> Any:
    """Weighted sums over the examples: ``[..., N]`` with ``[N]`` or ``[N, K]``."""
    # Accelerators would round the products to fewer bits; NumPy knows no such argument.
    return jnp.matmul(weights, values, precision="highest") if xp is jnp else weights @ values


def _ratio(xp: Any, numerator: Any, denominator: Any) -> Any:
    """``numerator / denominator``, NaN where the denominator is 0."""
    defined = denominator > 0
    return xp.where(defined, numerator / xp.where(defined, denominator, 1), xp.nan)


def _mean(xp: Any, weights: Any, values: Any) -> Any:
    return _ratio(xp, _total(xp, weights, values), weights.sum(-1))


def quadratic_kappa(
    said: Int[Any, " N"], targets: Int[Any, " N"], weights: Shaped[Any, "*batch N"] | None = None
) -> Float[Any, "*batch"]:
    """Agreement of grades with the true ones beyond chance; disagreement counts by the square of the distance.

    Cohen's kappa with quadratic weights (Cohen, Psychological Bulletin 1968): 1 is perfect, 0 what independent grades
    of the same frequencies would reach; NaN where there is only one grade.
    """
    xp, weights, said, targets = _prepare(weights, said, targets)
    apart = _mean(xp, weights, (said - targets) ** 2)
    first, second = _mean(xp, weights, said), _mean(xp, weights, targets)
    # Of independent grades the mean square is that of the two variances and the distance of the means.
    chance = _mean(xp, weights, said**2) + _mean(xp, weights, targets**2) - 2 * first * second
    return 1 - _ratio(xp, apart, chance)


def mean(values: Float[Any, " N"], weights: Shaped[Any, "*batch N"] | None = None) -> Float[Any, "*batch"]:
    """Weighted mean of a number per example, such as its loss; NaN where nothing has weight."""
    return _mean(*_prepare(weights, values))


def macro(values: Float[Any, "*batch C"], over: Bool[np.ndarray, " C"] | None = None) -> Float[Any, "*batch"]:
    """Unweighted mean over classes.

    Args:
        values: one value per class.
        over: the classes to take, all of which must be defined or the mean is NaN; None takes those that are defined
            and is NaN only where none is.
    """
    xp = jnp if isinstance(values, jax.Array) else np
    if over is not None:
        chosen = np.flatnonzero(over)
        return values[..., chosen].mean(-1) if len(chosen) else xp.full(values.shape[:-1], xp.nan)
    defined = ~xp.isnan(values)
    total = xp.where(defined, values, 0).sum(-1)
    return _ratio(xp, total, defined.sum(-1).astype(values.dtype))


# Ranking -----------------------------------------------------------------------------------------------------------


def _running(xp: Any, weights: Any) -> Any:
    """Sums of the first 0, 1, ..., N weights, ``[..., N + 1]``."""
    return xp.concatenate([xp.zeros_like(weights[..., :1]), xp.cumsum(weights, axis=-1)], axis=-1)


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
    xp, counted, scores, targets = _prepare(weights, scores, targets)
    order = xp.argsort(scores, stable=True)
    ascending, size = scores[order], len(scores)
    start = xp.searchsorted(ascending, ascending, side="left")
    stop = xp.searchsorted(ascending, ascending, side="right")
    counted = xp.take(counted, order, axis=-1)
    positive = counted * xp.broadcast_to(targets[order], counted.shape)
    below = _running(xp, counted - positive)
    rank = (_at(xp, below, start, slice(0, size)) + _at(xp, below, stop, slice(1, size + 1))) * 0.5
    positives = positive.sum(-1)
    # Divided in two steps: the product of both totals would lose digits in float32.
    area = _ratio(xp, _ratio(xp, (positive * rank).sum(-1), positives), below[..., -1])
    return xp.where(xp.isnan(scores).any(), xp.nan, area)


def average_precision(
    scores: Float[Any, " N"], targets: Num[Any, " N"], weights: Shaped[Any, "*batch N"] | None = None
) -> Float[Any, "*batch"]:
    """Mean over the positives of the precision at their own score: a step-wise area under precision and recall.

    Rows of equal score enter together, as in scikit-learn's ``average_precision_score``. NaN where there is no
    positive. Arguments as in `auroc`.
    """
    xp, counted, scores, targets = _prepare(weights, scores, targets)
    order = xp.argsort(-scores, stable=True)
    descending = -scores[order]
    last = xp.searchsorted(descending, descending, side="right") - 1
    counted = xp.take(counted, order, axis=-1)
    positive = counted * xp.broadcast_to(targets[order], counted.shape)
    found, taken = (_at(xp, xp.cumsum(w, axis=-1), last, slice(0, len(scores))) for w in (positive, counted))
    precision = _ratio(xp, found, taken)
    # Rows of weight 0 at the top of the ranking have no precision and must not spoil the sum.
    area = _ratio(xp, xp.where(positive > 0, positive * precision, 0).sum(-1), positive.sum(-1))
    return xp.where(xp.isnan(scores).any(), xp.nan, area)


def one_hot(classes: Int[Any, " N"], count: int) -> Float[Any, "N C"]:
    """Rows of 0 with a 1 in the column of the class."""
    xp = jnp if isinstance(classes, jax.Array) else np
    return (classes[:, None] == xp.arange(count, dtype=classes.dtype)[None, :]).astype(
        np.float32 if xp is jnp else np.float64
    )


def per_column(
    metric: Any,
    predicted: Num[Any, "N C"],
    targets: Num[Any, "N C"],
    weights: Shaped[Any, "*batch N"] | None = None,
) -> Float[Any, "*batch C"]:
    """``metric(predicted, targets, weights)`` of each column; rows whose target there is NaN do not count."""
    xp = jnp if any(isinstance(v, jax.Array) for v in (weights, predicted, targets)) else np
    dtype = np.float32 if xp is jnp else np.float64
    counts: Any = xp.ones(len(predicted), dtype) if weights is None else xp.asarray(weights, dtype)

    def one(column: Any, target: Any) -> Any:
        observed = ~xp.isnan(target)
        if xp is np and observed.all():
            return metric(column, target, counts)
        counted = counts * xp.broadcast_to(observed, counts.shape).astype(dtype)
        return metric(column, xp.where(observed, target, 0), counted)

    if xp is jnp:
        return jax.vmap(one, in_axes=1, out_axes=-1)(jnp.asarray(predicted), jnp.asarray(targets))
    return np.stack([one(predicted[:, c], targets[:, c]) for c in range(predicted.shape[1])], axis=-1)


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


# Decisions ---------------------------------------------------------------------------------------------------------


def called(probability: Float[Any, "*shape"], threshold: Any = 0.5) -> Int[Any, "*shape"]:
    """1 where the probability reaches the threshold, else 0."""
    return (probability >= threshold).astype(np.int32)


def accuracy(
    predicted: Int[Any, " N"], targets: Num[Any, " N"], weights: Shaped[Any, "*batch N"] | None = None
) -> Float[Any, "*batch"]:
    """Share of examples whose predicted class is the true one."""
    xp, weights, predicted, targets = _prepare(weights, predicted, targets)
    return _mean(xp, weights, (predicted == targets).astype(predicted.dtype))


def sensitivity(
    predicted: Int[Any, " N"], targets: Num[Any, " N"], weights: Shaped[Any, "*batch N"] | None = None
) -> Float[Any, "*batch"]:
    """Share of the positives (class 1) that are called positive; NaN without positives."""
    xp, weights, predicted, targets = _prepare(weights, predicted, targets)
    return _ratio(xp, _total(xp, weights, predicted * targets), _total(xp, weights, targets))


def specificity(
    predicted: Int[Any, " N"], targets: Num[Any, " N"], weights: Shaped[Any, "*batch N"] | None = None
) -> Float[Any, "*batch"]:
    """Share of the negatives (class 0) that are called negative; NaN without negatives."""
    xp, weights, predicted, targets = _prepare(weights, predicted, targets)
    return _ratio(xp, _total(xp, weights, (1 - predicted) * (1 - targets)), _total(xp, weights, 1 - targets))


def precision(
    predicted: Int[Any, " N"], targets: Num[Any, " N"], weights: Shaped[Any, "*batch N"] | None = None
) -> Float[Any, "*batch"]:
    """Share of those called positive that are positive; NaN where none is called positive."""
    xp, weights, predicted, targets = _prepare(weights, predicted, targets)
    return _ratio(xp, _total(xp, weights, predicted * targets), _total(xp, weights, predicted))


def f1(
    predicted: Int[Any, " N"], targets: Num[Any, " N"], weights: Shaped[Any, "*batch N"] | None = None
) -> Float[Any, "*batch"]:
    """Harmonic mean of precision and sensitivity of class 1; NaN with neither positives nor calls."""
    xp, weights, predicted, targets = _prepare(weights, predicted, targets)
    return _ratio(xp, 2 * _total(xp, weights, predicted * targets), _total(xp, weights, predicted + targets))


def class_scores(
    predicted: Int[Any, " N"], targets: Int[Any, " N"], classes: int, weights: Shaped[Any, "*batch N"] | None = None
) -> dict[str, Float[Any, "*batch C"]]:
    """``sensitivity``, ``precision`` and ``f1`` of each class against all others, NaN where not defined."""
    said, true = one_hot(predicted, classes), one_hot(targets, classes)
    xp, weights, said, true = _prepare(weights, said, true)
    hits, calls, cases = (_total(xp, weights, values) for values in (said * true, said, true))
    return {
        "sensitivity": _ratio(xp, hits, cases),
        "precision": _ratio(xp, hits, calls),
        "f1": _ratio(xp, 2 * hits, calls + cases),
    }


def balanced_accuracy(
    predicted: Int[Any, " N"], targets: Int[Any, " N"], classes: int, weights: Shaped[Any, "*batch N"] | None = None
) -> Float[Any, "*batch"]:
    """Mean over the classes that occur of the share of their cases that are recognised."""
    return macro(class_scores(predicted, targets, classes, weights)["sensitivity"])


def confusion_matrix(
    predicted: Int[Any, " N"], targets: Int[Any, " N"], classes: int, weights: Shaped[Any, " N"] | None = None
) -> Float[Any, "C C"]:
    """Weight of each pair of true class (row) and predicted class (column)."""
    said, true = one_hot(predicted, classes), one_hot(targets, classes)
    xp, counted, said, true = _prepare(weights, said, true)
    return _total(xp, (true * counted[:, None]).T, said)


# Errors of probabilities and quantities ----------------------------------------------------------------------------


def _column_mean(xp: Any, weights: Any, errors: Any) -> Any:
    """Mean over examples and, where there are several columns, over columns."""
    return _mean(xp, weights, errors if errors.ndim == 1 else errors.mean(-1))


def brier(
    probability: Float[Any, "N ..."], targets: Num[Any, " N"], weights: Shaped[Any, "*batch N"] | None = None
) -> Float[Any, "*batch"]:
    """Brier score, 0 at best.

    With probabilities of the positive class ``[N]`` the mean of ``(p - y)^2``, from 0 to 1. With class probabilities
    ``[N, C]`` the mean over examples of the sum over classes (Brier 1950), from 0 to 2: twice the former for C = 2.
    """
    if probability.ndim == 2:
        xp, weights, probability, truth = _prepare(weights, probability, one_hot(targets, probability.shape[1]))
        return _mean(xp, weights, ((probability - truth) ** 2).sum(-1))
    xp, weights, probability, targets = _prepare(weights, probability, targets)
    return _mean(xp, weights, (probability - targets) ** 2)


def log_loss(
    probability: Float[Any, "N ..."], targets: Num[Any, " N"], weights: Shaped[Any, "*batch N"] | None = None
) -> Float[Any, "*batch"]:
    """Mean negative logarithm (base e) of the probability given to the true class.

    Probabilities are kept off 0 and 1 by the resolution of their own type, as in scikit-learn; the loss that an
    algorithm computes from its logits is exact.
    """
    tiny = float(np.finfo(np.dtype(probability.dtype)).eps)
    if probability.ndim == 2:
        xp, weights, probability, truth = _prepare(weights, probability, one_hot(targets, probability.shape[1]))
        given = (probability * truth).sum(-1)
    else:
        xp, weights, probability, targets = _prepare(weights, probability, targets)
        given = xp.where(targets == 1, probability, 1 - probability)
    return _mean(xp, weights, -xp.log(given.clip(tiny, 1 - tiny)))


def mean_squared_error(
    predicted: Float[Any, "N ..."], targets: Num[Any, "N ..."], weights: Shaped[Any, "*batch N"] | None = None
) -> Float[Any, "*batch"]:
    """Mean of the squared errors over examples and quantities, in the square of the targets' unit."""
    xp, weights, predicted, targets = _prepare(weights, predicted, targets)
    return _column_mean(xp, weights, (predicted - targets) ** 2)


def mean_absolute_error(
    predicted: Float[Any, "N ..."], targets: Num[Any, "N ..."], weights: Shaped[Any, "*batch N"] | None = None
) -> Float[Any, "*batch"]:
    """Mean of the absolute errors over examples and quantities, in the targets' unit."""
    xp, weights, predicted, targets = _prepare(weights, predicted, targets)
    return _column_mean(xp, weights, xp.abs(predicted - targets))


def r2(
    predicted: Float[Any, "N ..."], targets: Num[Any, "N ..."], weights: Shaped[Any, "*batch N"] | None = None
) -> Float[Any, "*batch"]:
    """Share of the targets' variance that is explained, averaged over quantities; NaN where a target is constant."""
    xp, counted, predicted, targets = _prepare(weights, predicted, targets)
    predicted, targets = (v.reshape(len(v), -1) for v in (predicted, targets))
    count = counted.sum(-1)[..., None]
    centred = targets - xp.broadcast_to(targets.mean(0), targets.shape)
    squares = _total(xp, counted, centred**2)
    spread = squares - _ratio(xp, _total(xp, counted, centred) ** 2, xp.broadcast_to(count, squares.shape))
    # What is left of a constant after this subtraction is rounding, not variance.
    spread = xp.where(spread > 64 * np.finfo(np.dtype(squares.dtype)).eps * squares, spread, 0)
    return (1 - _ratio(xp, _total(xp, counted, (predicted - targets) ** 2), spread)).mean(-1)
