"""Utility of hourly warnings of sepsis, as the PhysioNet/Computing in Cardiology Challenge 2019 scored them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from research import metrics
from research.errors import UserError
from research.evaluation.estimate import Estimate
from research.evaluation.intervals import bootstrap_weights, percentile_interval
from research.evaluation.predictions import Predictions

EARLY, OPTIMAL, LATE = -12, -6, 3
"""Hours from the onset of sepsis: from when, best when and until when a warning is of use."""
_MISSED, _FALSE = -2.0, -0.05


class Utilities(NamedTuple):
    """What each hour is worth under each decision.

    Attributes:
        warned: utility of a warning, ``[N]``.
        silent: utility of none, ``[N]``.
        useful: whether the best possible predictor warns, ``[N]``.
    """

    warned: Float[np.ndarray, " N"]
    silent: Float[np.ndarray, " N"]
    useful: Bool[np.ndarray, " N"]


def utilities(labels: Int[np.ndarray, " N"], series: Int[np.ndarray, " N"], hour: Int[np.ndarray, " N"]) -> Utilities:
    """Utility of warning or not at each hour (Reyna et al., Critical Care Medicine 2020).

    Labels are 1 from six hours before the onset of sepsis on, so the first one of a series tells the onset. Of a
    patient with sepsis a warning gains up to 1, most six hours before the onset, and nothing later than three hours
    after it; silence costs up to 2 from six hours before on. Without sepsis a warning costs 0.05.

    Args:
        labels: 1 or 0 at each hour.
        series: which hours belong together.
        hour: hours since the start of the series, from 0.
    """
    place = np.unique(series, return_inverse=True)[1].reshape(-1)
    first = np.full(int(place.max(initial=-1)) + 1, np.inf)
    np.minimum.at(first, place, np.where(labels == 1, hour, np.inf))
    # Infinite, minus infinite here, without sepsis.
    since = hour - (first[place] - OPTIMAL)
    septic = np.isfinite(since)
    early, in_time = septic & (since <= OPTIMAL), septic & (since > OPTIMAL) & (since <= LATE)
    since = np.where(septic, since, 0.0)
    rising = np.maximum((since - EARLY) / (OPTIMAL - EARLY), _FALSE)
    passed = (since - OPTIMAL) / (LATE - OPTIMAL)
    warned = np.where(early, rising, np.where(in_time, 1 - passed, np.where(septic, 0.0, _FALSE)))
    silent = np.where(in_time, _MISSED * passed, 0.0)
    return Utilities(warned, silent, septic & (since >= EARLY) & (since <= LATE))


class Gains(NamedTuple):
    """What warnings gain beside silence.

    Attributes:
        reached: by the warnings that were given, ``[N]``.
        possible: by those of the best possible predictor, ``[N]``.
    """

    reached: Float[np.ndarray, " N"]
    possible: Float[np.ndarray, " N"]

    def utility(self, weights: Float[np.ndarray, "*batch N"]) -> Any:
        """The normalised utility where each hour counts so often; NaN where no warning could gain anything."""
        best = weights @ self.possible
        return np.where(best > 0, weights @ self.reached / np.where(best > 0, best, 1), np.nan)


def gains(predictions: Predictions, threshold: float) -> Gains:
    """Gains of warning from a probability on; raises `UserError` as `sepsis_utility`."""
    found = _utilities(predictions)
    gain = found.warned - found.silent
    said = metrics.called(predictions.prediction, threshold) == 1
    return Gains(np.where(said, gain, 0.0), np.where(found.useful, gain, 0.0))


def sepsis_utility(predictions: Predictions, threshold: float, resamples: int = 1000, seed: int = 0) -> Estimate:
    """Normalised utility of warnings: 1 for the best possible ones, 0 for none, negative for harmful ones.

    Args:
        predictions: of a task with a label at each hour, with targets; ``step`` is the hour.
        threshold: probability from which a warning is given; choose it on validation, by `utility_threshold`.
        resamples: bootstrap resamples of the patients; of the series where patients are not known.
        seed: which resamples.

    Returns:
        The estimate ``utility``, NaN where no warning could gain anything, with the percentile interval.

    Raises:
        UserError: if the predictions are not of two classes at each hour, or have no targets.
    """
    found, unit = gains(predictions, threshold), predictions.unit
    spread = np.concatenate([found.utility(weights) for weights in bootstrap_weights(unit, resamples, seed)])
    value = float(found.utility(np.ones(len(predictions))))
    interval = percentile_interval(spread, predictions.unit_name)
    patients = int(unit.max()) + 1 if predictions.patient is not None else None
    return Estimate("utility", value, interval.low, interval.high, len(predictions), patients, interval.method)


def utility_threshold(validation: Predictions) -> float:
    """The threshold with the largest utility on these rows, midway between neighbouring probabilities."""
    found = _utilities(validation)
    order = np.argsort(-validation.prediction, kind="stable")
    falling = validation.prediction[order].astype(np.float64)
    last = np.flatnonzero(np.append(falling[1:] != falling[:-1], True))
    total = np.cumsum((found.warned - found.silent)[order])[last]
    # The first entry stands for no warning at all.
    total, edges = np.append(0.0, total), np.append(1.0 + 1e-6, falling[last])
    best = int(total.argmax())
    below = edges[best + 1] if best + 1 < len(edges) else 0.0
    return float((edges[best] + below) / 2) if best else float(edges[0])


def _utilities(predictions: Predictions) -> Utilities:
    task, targets, step = predictions.task, predictions.targets, predictions.step
    if task.kind != "binary" or not task.per_step or targets is None or step is None:
        raise UserError("utility: predictions of two classes at each hour, with known targets, are needed.")
    labels: Any = targets
    return utilities(labels, predictions.example, step)
