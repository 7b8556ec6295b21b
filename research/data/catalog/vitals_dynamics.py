"""Vital signs as they come and go, behind `SyntheticVitals`, and the best forecast of the heart rate."""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Bool, Float64

from research.data.series import Variable


@dataclasses.dataclass(frozen=True)
class Vital:
    """How one vital sign behaves in the population.

    Attributes:
        variable: name and unit.
        mean: over patients, at the age of 60.
        between: deviation between patients.
        circadian: half of the difference between day and night, on average; each patient's differs.
        deterioration: change after 48 hours at severity 1.
        fluctuation: deviation of what comes and goes within hours.
        shared: share of the variance of the fluctuation that the vital signs have in common.
        measurement: deviation of the error of measurement.
        step: to which measurements are rounded.
        often: probability that it is measured in a round.
    """

    variable: Variable
    mean: float
    between: float
    circadian: float
    deterioration: float
    fluctuation: float
    shared: float
    measurement: float
    step: float
    often: float


VITALS = (
    Vital(Variable("heart rate", "1/min"), 80, 10, 5, 30, 4.0, 0.2, 1.5, 1, 0.9),
    Vital(Variable("systolic blood pressure", "mmHg"), 128, 14, 6, -32, 5.5, 0.2, 3.0, 1, 0.8),
    Vital(Variable("diastolic blood pressure", "mmHg"), 74, 8, 4, -16, 3.5, 0.2, 2.0, 1, 0.8),
    Vital(Variable("glucose", "mg/dL"), 122, 18, 8, 45, 9.0, 0.1, 4.0, 1, 0.25),
    Vital(Variable("respiratory rate", "1/min"), 17, 2, 1, 9, 1.2, 0.2, 0.8, 1, 0.7),
    Vital(Variable("temperature", "°C"), 36.9, 0.25, 0.3, 1.3, 0.15, 0.0, 0.08, 0.1, 0.35),
    Vital(Variable("oxygen saturation", "%"), 96.5, 0.8, 0.2, -6, 0.5, 0.0, 0.4, 1, 0.8),
)
"""What is measured; the temperature and the saturation share no fluctuation with the heart rate."""

MEAN, BETWEEN, CIRCADIAN, DETERIORATION, FLUCTUATION, SHARED, MEASUREMENT, STEP, OFTEN = (
    np.asarray([getattr(vital, name) for vital in VITALS], np.float64)
    for name in (
        *("mean", "between", "circadian", "deterioration", "fluctuation", "shared", "measurement", "step", "often"),
    )
)

OWN_CIRCADIAN = 0.3
"""Deviation of a patient's circadian swing, and of its delay, as shares of the usual swing."""

BEGIN, PEAK = 8.0, 16.0
"""Time of day at which every stay begins, and at which the vital signs are highest."""

HOURS = 48.0
LATEST_ONSET = 12.0
"""Length of a stay, and hour at which deterioration begins at the latest."""

MEMORY = 2.0
"""Hours in which a fluctuation falls to a third (1 / e)."""

PRESSURE_PER_YEAR = 0.3
"""Systolic blood pressure, mmHg per year of age."""


def rounds(normal: Float64[np.ndarray, "N T 4"], pace: Float64[np.ndarray, " N"]) -> Float64[np.ndarray, "N T"]:
    """Times of the rounds, the first at 0: gaps about an hour long, of a gamma distribution with shape 2."""
    gaps = np.exp(0.2 * pace)[:, None] * (normal**2).sum(axis=2) / 4
    return np.cumsum(gaps, axis=1) - gaps[:, :1]


def circadian(time: Float64[np.ndarray, "N T"], own: Float64[np.ndarray, "N 2 C"]) -> Float64[np.ndarray, "N T C"]:
    """Circadian swing of each vital sign; ``own`` are standard normal."""
    angle = 2 * np.pi * (time + BEGIN - PEAK)[..., None] / 24
    swing = CIRCADIAN * (1 + OWN_CIRCADIAN * own[:, :1])
    return swing * np.cos(angle) + CIRCADIAN * OWN_CIRCADIAN * own[:, 1:] * np.sin(angle)


def drift(
    time: Float64[np.ndarray, "N T"], onset: Float64[np.ndarray, " N"], severity: Float64[np.ndarray, " N"]
) -> Float64[np.ndarray, "N T"]:
    """Share of the largest change: 0 until the onset (standard normal), the severity after 48 hours, a line between."""
    from scipy.special import ndtr

    begin = LATEST_ONSET * ndtr(onset)[:, None]
    return severity[:, None] * np.clip((time - begin) / (HOURS - begin), 0, 1)


def fluctuations(
    time: Float64[np.ndarray, "N T"], normal: Float64[np.ndarray, "N T D"]
) -> Float64[np.ndarray, "N T C"]:
    """Ornstein-Uhlenbeck processes, the first of them common to all vital signs, from standard normal numbers."""
    kept = np.exp(-np.diff(time, axis=1) / MEMORY)[..., None]
    new, found = np.sqrt(1 - kept**2), np.empty_like(normal)
    found[:, 0] = normal[:, 0]
    for step in range(time.shape[1] - 1):
        found[:, step + 1] = kept[:, step] * found[:, step] + new[:, step] * normal[:, step + 1]
    return FLUCTUATION * (np.sqrt(SHARED) * found[:, :, :1] + np.sqrt(1 - SHARED) * found[:, :, 1:])


def levels(age: Float64[np.ndarray, " N"]) -> Float64[np.ndarray, "N C"]:
    """Mean of each vital sign at an age, in years."""
    found = np.repeat(MEAN[None, :], len(age), axis=0)
    found[:, 1] += PRESSURE_PER_YEAR * (age - 60)
    return found


def forecast(
    time: Float64[np.ndarray, "N T"],
    values: Float64[np.ndarray, "N T C"],
    measured: Bool[np.ndarray, "N T C"],
    age: Float64[np.ndarray, " N"],
    ahead: float,
) -> tuple[Float64[np.ndarray, " N"], Float64[np.ndarray, " N"]]:
    """Mean and variance of the true heart rate at a later time, given what was measured while nobody deteriorated.

    A Kalman filter: the state is what each patient's level and circadian swing deviate by, and the fluctuations of
    each vital sign and of all together. Rounding counts as an error of measurement of variance 1/12 of its step. What
    shares no fluctuation with the heart rate tells nothing of it and is left out.

    Args:
        time: of each round, hours; not going back.
        values: as measured.
        measured: which of them were.
        age: in years.
        ahead: hour that is asked for, not before the last measurement.
    """
    told = np.flatnonzero(SHARED > 0)
    count, common = len(told), 4 * len(told)
    swing = (OWN_CIRCADIAN * CIRCADIAN[told]) ** 2
    prior = np.concatenate([BETWEEN[told] ** 2, swing, swing, np.ones(count + 1)])
    mean, covariance = np.zeros((len(time), common + 1)), np.repeat(np.diag(prior)[None], len(time), axis=0)
    usual = levels(age)

    def seen(vital: int, when: Float64[np.ndarray, " N"]) -> tuple[list[int], Float64[np.ndarray, "N 5"]]:
        """Parts of the state that a vital sign depends on, and how."""
        angle = 2 * np.pi * (when + BEGIN - PEAK) / 24
        ones, index = np.ones(len(when)), told[vital]
        own, shared = FLUCTUATION[index] * np.sqrt([1 - SHARED[index], SHARED[index]])
        weights = np.stack([ones, np.cos(angle), np.sin(angle), own * ones, shared * ones], axis=1)
        return [vital, count + vital, 2 * count + vital, 3 * count + vital, common], weights

    def move(hours: Float64[np.ndarray, " N"]) -> None:
        """Let fluctuations fade and new ones come."""
        kept, changing = np.exp(-hours / MEMORY)[:, None], np.arange(3 * count, common + 1)
        mean[:, 3 * count :] *= kept
        covariance[:, 3 * count :] *= kept[..., None]
        covariance[:, :, 3 * count :] *= kept[..., None]
        covariance[:, changing, changing] += 1 - kept**2

    for step in range(time.shape[1]):
        now = np.minimum(time[:, step], ahead)
        move(now - (np.minimum(time[:, step - 1], ahead) if step else now))
        for vital, index in enumerate(told):
            parts, weights = seen(vital, now)
            expected = usual[:, index] + CIRCADIAN[index] * weights[:, 1] + (mean[:, parts] * weights).sum(axis=1)
            along = (covariance[:, :, parts] * weights[:, None, :]).sum(axis=2)
            error = MEASUREMENT[index] ** 2 + STEP[index] ** 2 / 12
            gain = along / ((along[:, parts] * weights).sum(axis=1) + error)[:, None]
            gain *= measured[:, step, index, None]
            surprise = np.where(measured[:, step, index], values[:, step, index] - expected, 0)
            mean += gain * surprise[:, None]
            covariance -= gain[:, :, None] * along[:, None, :]
    move(ahead - np.minimum(time[:, -1], ahead))
    parts, weights = seen(0, np.full(len(time), ahead))
    along = (covariance[:, :, parts] * weights[:, None, :]).sum(axis=2)
    found = usual[:, 0] + CIRCADIAN[0] * weights[:, 1] + (mean[:, parts] * weights).sum(axis=1)
    return found, (along[:, parts] * weights).sum(axis=1)
