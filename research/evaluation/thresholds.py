"""From which probability something is called: chosen on validation, never on what is evaluated."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from research.evaluation.measures import DECISION
from research.evaluation.predictions import Predictions
from research.evaluation.sepsis import utility_threshold

OWN = "min_sensitivity_precision"
"""A metric of two classes whose threshold is chosen for itself: the other decisions are those of Youden's."""

UTILITY = "utility"
"""Likewise, of warnings of sepsis."""


def youden_threshold(probability: np.ndarray, targets: np.ndarray) -> float:
    """The threshold with the largest sensitivity + specificity - 1 (Youden, Cancer 1950); NaN if a class is absent.

    It lies midway between the neighbouring probabilities, so that rounding cannot turn a decision. Of equally good
    ones the nearest to 0.5 is taken.
    """
    positives, negatives = int((targets == 1).sum()), int((targets == 0).sum())
    # In whole counts, so that equal is equal.
    return _best(probability, targets, lambda found, wrong: negatives * found - positives * wrong)


def balanced_threshold(probability: np.ndarray, targets: np.ndarray) -> float:
    """The threshold with the largest min(sensitivity, precision), as event 1 of the Challenge 2012 asks for.

    Placed, and chosen among equals, as by `youden_threshold`; NaN if a class is absent.
    """
    positives = int((targets == 1).sum())
    return _best(probability, targets, lambda found, wrong: found / np.maximum(positives, found + wrong))


def _best(probability: np.ndarray, targets: np.ndarray, gain: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> float:
    """The threshold with the largest gain, which is one of the numbers of positives and negatives above it."""
    if not (targets == 1).any() or not (targets == 0).any():
        return math.nan
    values, place = np.unique(probability.astype(np.float64), return_inverse=True)
    found = np.bincount(place, weights=targets == 1, minlength=len(values))
    wrong = np.bincount(place, weights=targets == 0, minlength=len(values))
    # Calling positive from values[k] upwards, for each k.
    gained = gain(np.cumsum(found[::-1])[::-1], np.cumsum(wrong[::-1])[::-1])
    edges = values.copy()
    edges[1:] = (values[1:] + values[:-1]) / 2
    best = np.flatnonzero(gained == gained.max())
    return float(edges[best[np.argmin(np.abs(edges[best] - 0.5))]])


def choose_thresholds(predictions: Predictions, validation: Predictions | None) -> tuple[dict[str, float], str]:
    """Thresholds of the positive class or of each label, and how they were chosen: on validation or not at all."""
    task = predictions.task
    if task.kind not in ("binary", "multilabel"):
        return {}, ""
    names = task.names[1:] if task.kind == "binary" else task.names
    if validation is None or validation.targets is None:
        return dict.fromkeys(names, DECISION), "not chosen: no validation predictions"
    chosen = {}
    for index, name in enumerate(names):
        probability: Any = validation.prediction
        targets: Any = validation.targets
        if task.kind == "multilabel":
            seen = ~np.isnan(targets[:, index])
            probability, targets = probability[seen, index], targets[seen, index]
        chosen[name] = youden_threshold(probability, targets)
    missing = [name for name, value in chosen.items() if math.isnan(value)]
    how = f"Youden's J on {validation.split}"
    if missing:
        how += f"; 0.5 for {', '.join(missing)} (one class only there)"
    return {name: DECISION if math.isnan(value) else value for name, value in chosen.items()}, how


def choose_own_thresholds(predictions: Predictions, validation: Predictions | None) -> dict[str, float]:
    """Thresholds of the metrics that have one of their own, by metric: the best on validation, 0.5 without it."""
    if predictions.task.kind != "binary":
        return {}
    names = (OWN, UTILITY) if "sepsis_utility" in predictions.task.scorers else (OWN,)
    if validation is None or validation.targets is None:
        return dict.fromkeys(names, DECISION)
    chosen = {OWN: balanced_threshold(validation.prediction, validation.targets)}
    if UTILITY in names:
        chosen[UTILITY] = utility_threshold(validation)
    return {name: DECISION if math.isnan(value) else value for name, value in chosen.items()}
