"""Metrics of weighted examples, written once for NumPy (reports, in float64) and `jax.numpy` (steering, on device).

Every function takes arrays of N examples and ``weights`` of shape ``[..., N]`` and gives ``[...]``: a mask gives the
value over the rows it admits, ``[R, N]`` bootstrap counts give R values at once, None means that every row counts
once. Rows of weight 0 count for nothing, whatever they hold. A metric that is not defined (a class is absent) is NaN,
never a plausible number. Shapes do not depend on the data, so all of this runs under `jax.jit` and `jax.vmap`; the
work is done in `jax.numpy` as soon as one argument is a JAX array.
"""

from __future__ import annotations

from jaxtyping import Array, Float, Num, Shaped

from research.errors import UserError, did_you_mean
from research.metrics.arrays import macro, mean, one_hot, per_column
from research.metrics.decisions import (
    CountedDecisions,
    accuracy,
    called,
    class_scores,
    confusion_matrix,
    f1,
    min_sensitivity_precision,
    precision,
    quadratic_kappa,
    sensitivity,
    specificity,
)
from research.metrics.quantities import (
    brier,
    brier_of_each,
    log_loss,
    log_loss_of_each,
    mean_absolute_error,
    mean_squared_error,
    pinball,
    r2,
    root_mean_squared_error,
    skill,
)
from research.metrics.ranked import RankedScores, Standing
from research.metrics.ranking import (
    SampleCurves,
    auroc,
    auroc_per_class,
    auroc_per_label,
    average_precision,
    average_precision_per_label,
    f1_max,
    f_max,
    sample_curves,
)
from research.metrics.survival import concordance, concordance_moves
from research.task import Task

__all__ = [
    "LARGER_IS_BETTER",
    "CountedDecisions",
    "RankedScores",
    "SampleCurves",
    "Standing",
    "accuracy",
    "auroc",
    "auroc_per_class",
    "auroc_per_label",
    "average_precision",
    "average_precision_per_label",
    "brier",
    "brier_of_each",
    "called",
    "class_scores",
    "concordance",
    "concordance_moves",
    "confusion_matrix",
    "f1",
    "f1_max",
    "f_max",
    "larger_is_better",
    "log_loss",
    "log_loss_of_each",
    "macro",
    "mean",
    "mean_absolute_error",
    "mean_squared_error",
    "min_sensitivity_precision",
    "one_hot",
    "per_column",
    "pinball",
    "precision",
    "quadratic_kappa",
    "r2",
    "root_mean_squared_error",
    "sample_curves",
    "sensitivity",
    "skill",
    "specificity",
    "steering",
]

LARGER_IS_BETTER: dict[str, bool] = {
    "accuracy": True,
    "auroc": True,
    "auroc_weighted": True,
    "average_precision": True,
    "balanced_accuracy": True,
    "brier": False,
    "concordance": True,
    "f1": True,
    "f1_max": True,
    "f_max": True,
    "false_positive_rate": False,
    "log_loss": False,
    "loss": False,
    "mae": False,
    "min_sensitivity_precision": True,
    "mse": False,
    "pinball": False,
    "precision": True,
    "quadratic_kappa": True,
    "r2": True,
    "rmse": False,
    "sensitivity": True,
    "skill": True,
    "specificity": True,
    "utility": True,
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
    """Metrics computed on device while training.

    They are ``accuracy`` and ``auroc`` of classes (of several the macro), ``auroc`` of labels (the macro), ``mse``,
    ``mae`` and ``rmse`` of quantities, and ``concordance`` of times to an event.

    Args:
        task: what is predicted.
        predictions: as `research.losses` gives them: the probability of the positive class ``[N]``, class
            probabilities ``[N, C]``, label probabilities ``[N, L]``, predicted quantities ``[N, L]``, or risks
            ``[N, 1]``.
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
    if task.kind == "survival":
        return {"concordance": concordance(predictions[:, 0], targets, weights)}
    return {
        "mse": mean_squared_error(predictions, targets, weights),
        "mae": mean_absolute_error(predictions, targets, weights),
        "rmse": root_mean_squared_error(predictions, targets, weights),
    }
