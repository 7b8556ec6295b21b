"""Survival over time, estimated without a model (Kaplan-Meier), with its interval."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, Num, Shaped

from research.evaluation.intervals import LEVEL, normal_quantile


class Survival(NamedTuple):
    """A survival curve in steps: each value holds from its time up to the next.

    Attributes:
        time: 0, and each time at which an event came, ``[K]``.
        survival: share without the event after that time, ``[K]``.
        low: lower limit of its pointwise interval; NaN where none is known: once nobody is left without the event.
        high: upper limit.
    """

    time: Float[np.ndarray, " K"]
    survival: Float[np.ndarray, " K"]
    low: Float[np.ndarray, " K"]
    high: Float[np.ndarray, " K"]


def kaplan_meier(time: Num[np.ndarray, " N"], event: Shaped[np.ndarray, " N"], level: float = LEVEL) -> Survival:
    """The estimate of Kaplan & Meier (Journal of the American Statistical Association 1958).

    Intervals are those of Greenwood's variance on the scale of log(-log S), which stay within 0 and 1 (Kalbfleisch &
    Prentice 1980). They take each row as a patient of its own.

    Args:
        time: how long each patient was followed.
        event: 1 where the event came at the end, 0 where follow-up ended without it.
        level: nominal coverage.
    """
    time, came = np.asarray(time, np.float64), np.asarray(event) == 1
    moments, deaths = np.unique(time[came], return_counts=True)
    left = at_risk(time, moments)
    survival = np.cumprod(1 - deaths / left)
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = np.cumsum(deaths / (left * (left - deaths)))
        spread = normal_quantile(level) * np.sqrt(variance) / np.log(survival)
        low, high = survival ** np.exp(-spread), survival ** np.exp(spread)
    undefined = survival <= 0
    low[undefined], high[undefined] = np.nan, np.nan
    return Survival(
        *(
            np.append(first, rest)
            for first, rest in zip((0.0, 1.0, 1.0, 1.0), (moments, survival, low, high), strict=True)
        )
    )


def at_risk(time: Num[np.ndarray, " N"], moments: Num[np.ndarray, " K"]) -> Int[np.ndarray, " K"]:
    """How many are still followed, without the event, just before each moment."""
    return len(time) - np.searchsorted(np.sort(time), moments, side="left")
