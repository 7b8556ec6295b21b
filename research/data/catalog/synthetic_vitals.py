"""`SyntheticVitals`: two days of vital signs at irregular times, of which the best possible score is known."""

from __future__ import annotations

import dataclasses
import functools
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float64

from research.data.about import About
from research.data.catalog.known_risk import bayes_auroc, latent_normal, patient_names, risk_of
from research.data.catalog.vitals_dynamics import (
    BETWEEN,
    DETERIORATION,
    FLUCTUATION,
    HOURS,
    MEAN,
    MEASUREMENT,
    OFTEN,
    STEP,
    VITALS,
    circadian,
    drift,
    fluctuations,
    forecast,
    levels,
    rounds,
)
from research.data.series import Series, Variable
from research.data.source import Source
from research.datasets import SUMMARIES
from research.errors import UserError
from research.spec import Static, field
from research.task import Task

ROUNDS = 112
"""Rounds of a stay, at most."""

INFORMATIVE = 1.2
"""Log-odds of a measurement per deviation from the mean in the direction of deterioration, if not at random."""

STAYS = 200
"""The best error of a forecast is averaged over the times of measurement of so many stays."""

AT_ONCE = 64
"""Stays that are forecast together, so that what is computed fits into the processor's cache."""

SEVERITY_OF_PATIENT, SEVERITY_OF_STAY, LABEL, PATIENT, STAY, ROUND, FLUCTUATIONS, ERRORS, MEASURED = range(1, 10)
OTHER = 10
"""What is drawn; each has random numbers of its own, so that none depends on how many another took. With ``OTHER``
added they are those of the stays that are shown in the place of the labelled ones."""


class SyntheticVitals(Source):
    """48 hours of seven vital signs of made-up patients, at irregular times, with a known risk or a known best error.

    A vital sign is the sum of the patient's own level, a circadian swing, deterioration, fluctuations that come and go
    within hours (Ornstein-Uhlenbeck processes, in part common to heart rate, pressures, glucose and respiration), and
    the error of measurement; it is rounded as instruments do. Rounds come about every hour, in some stays more often
    than in others; in each round, each vital sign is measured or not: the first is complete.

    ``task=risk``: each stay has a severity from 0 to 1, all equally frequent; from an onset within the first 12 hours
    on all vital signs drift away in proportion to it. The label is drawn from Bernoulli(p(severity)), with p logistic;
    all else is independent of severity and label. So no model can have a higher expected AUROC than p itself, and
    `bayes_auroc` says how high that is: 0.90 by default. Fluctuations hide little of the severity: a linear model of
    least-squares slopes comes within 0.01.

    ``task=forecast``: nobody deteriorates, and the true heart rate ``horizon`` hours after the end is to be predicted.
    All is Gaussian then, so the conditional mean is the best forecast, and `best_rmse` says how large its error is.

    With ``missing=informative`` a vital sign is measured more often the further it is on the side of deterioration, so
    values are missing not at random. With ``visible=False`` labels and targets are the same, but what is shown is
    another patient's stay: the control, at an AUROC of 0.5. The severity is correlated between stays of one patient,
    so a split that divided patients would let a model do better than that.
    """

    patients: int = field(2000, minimum=1, help="number of patients")
    stays: int = field(2, minimum=1, help="stays, and so rows, of each patient")
    seed: int = field(0, minimum=0, help="number of the sample")
    task: Literal["risk", "forecast"] = field("risk", help="a label drawn from a known risk, or the heart rate to come")
    strength: Static[float] = field(1.0, minimum=0, help="how strongly risk depends on the severity")
    visible: bool = field(True, help="whether what is shown is the stay that the label or target is about")
    missing: Literal["random", "informative"] = field(
        "random", help="measured at random, or the more often the further on the side of deterioration"
    )
    horizon: Static[float] = field(1.0, above=0, maximum=24, help="hours from the end to the forecast")

    def validate(self) -> None:
        """The best error of a forecast is known only where what is missing tells nothing."""
        if self.task == "forecast" and self.missing == "informative":
            raise UserError(
                "missing: the best error of a forecast is known for missing=random only; set it, or task=risk."
            )

    def about(self) -> About:
        """What the rows are; the licence is that of this package."""
        return About(
            name="synthetic_vitals",
            summary=SUMMARIES["synthetic_vitals"],
            licence="Apache-2.0 (made by this package)",
            citation="none: made up, not measured",
            notes=(
                "positive class: deterioration"
                if self.task == "risk"
                else f"target: true heart rate {self.horizon:g} h after the end",
                "every stay has its patient" if self.stays == 1 else f"{self.stays} stays of each patient",
                f"values are missing {'at random' if self.missing == 'random' else 'not at random'}",
                "made up, to test methods with; not fit to learn medicine from",
                *(() if self.visible else ("control: what is shown has nothing to do with the label",)),
            ),
        )

    def load(self) -> Series:
        """The sample; the same fields give the same stays."""
        shown = self._stays(0 if self.visible else OTHER)
        if self.task == "risk":
            label = np.random.default_rng((LABEL, 0, self.seed)).random(len(shown.age)) < self.risk()
            targets, task = label.astype(np.int32), Task("binary", ("stable", "deterioration"))
        else:
            own = shown if self.visible else self._stays(0)
            targets = own.ahead[:, None].astype(np.float32)
            task = Task("regression", (f"heart rate in {self.horizon:g} h",), unit="1/min")
        seen, names = shown.there & shown.measured.any(axis=2), patient_names(self.patients)
        values = np.where(shown.measured, shown.values, np.nan)[seen]
        return Series(
            values=values.astype(np.float32),
            lengths=seen.sum(axis=1).astype(np.int32),
            variables=tuple(vital.variable for vital in VITALS),
            time=shown.time[seen].astype(np.float32),
            time_unit="hours",
            static=shown.age[:, None].astype(np.float32),
            static_variables=(Variable("age", "years"),),
            targets=targets,
            task=task,
            patient=np.repeat(np.asarray(names, dtype=object), self.stays),
            split=None,
            row=np.arange(len(seen), dtype=np.int32),
            about=self.about(),
            names=np.asarray([f"{name} stay {stay + 1}" for name in names for stay in range(self.stays)], dtype=object),
        )

    def severity(self) -> Float64[np.ndarray, " N"]:
        """Severity of each stay, 0 to 1, that its label was drawn by: the change after 48 hours.

        1 is the largest change of each vital sign. The severity plays no part in ``task=forecast``.
        """
        return self._severity(0)

    def risk(self) -> Float64[np.ndarray, " N"]:
        """Probability of deterioration of each stay."""
        return risk_of(self.severity(), self.strength)

    def bayes_auroc(self) -> float:
        """AUROC of the true risk over the whole population, the best that any model can expect; error below 0.0001.

        Labels are integrated out exactly, severity over 16,384 evenly spaced ranks. It is 0.5 where other stays than
        the labelled ones are shown. Raises `UserError` for a forecast.
        """
        if self.task != "risk":
            raise UserError(f"task: {self.task} has no AUROC; see best_rmse, or set task=risk.")
        if not self.visible:
            return 0.5
        return bayes_auroc(self.strength)

    def best_rmse(self) -> float:
        """Root mean squared error (1/min) of the best forecast, the conditional mean; error below 0.5 %.

        The conditional variance is averaged over the times of measurement of 200 stays; it does not depend on what was
        measured. Where other stays than the patient's are shown, it is the deviation in the population. Raises
        `UserError` where no forecast is asked for.
        """
        if self.task != "forecast":
            raise UserError(f"task: {self.task} has no error of a forecast; see bayes_auroc, or set task=forecast.")
        return _best_rmse(self.horizon) if self.visible else float(np.sqrt(_prior_variance(self.horizon)))

    def best_forecast(self) -> tuple[Float64[np.ndarray, " N"], Float64[np.ndarray, " N"]]:
        """Mean and variance of the heart rate to come, given all measurements of each stay that is shown."""
        stays = self._stays(0 if self.visible else OTHER)
        count, mean, variance = stays.there.sum(axis=1), np.empty(len(stays.age)), np.empty(len(stays.age))
        # Stays alike in length together, so that few rounds without a measurement are gone through.
        order = np.argsort(count, kind="stable")
        for first in range(0, len(order), AT_ONCE):
            rows = order[first : first + AT_ONCE]
            until = int(count[rows].max())
            time, values, measured = (part[rows, :until] for part in (stays.time, stays.values, stays.measured))
            mean[rows], variance[rows] = forecast(time, values, measured, stays.age[rows], HOURS + self.horizon)
        return mean, variance

    def _severity(self, stream: int) -> Float64[np.ndarray, " N"]:
        from scipy.special import ndtr

        of_patient, of_stay = ((number + stream, 0, self.seed) for number in (SEVERITY_OF_PATIENT, SEVERITY_OF_STAY))
        return ndtr(latent_normal(self.patients, self.stays, (of_patient, of_stay)))

    def _stays(self, stream: int) -> _Stays:
        """All stays, whether measured or not."""
        count, shape = self.patients * self.stays, (self.patients * self.stays, ROUNDS, len(VITALS))

        def draw(number: int) -> np.random.Generator:
            return np.random.default_rng((number + stream, 0, self.seed))

        patient = np.repeat(draw(PATIENT).standard_normal((self.patients, len(VITALS) + 1)), self.stays, axis=0)
        stay, onset = np.split(draw(STAY).standard_normal((count, 2 * len(VITALS) + 2)), [-1], axis=1)
        time = rounds(draw(ROUND).standard_normal((count, ROUNDS, 4)), stay[:, -1])
        age = np.clip(np.round(60 + 14 * patient[:, -1]), 18, 95)
        level = levels(age) + BETWEEN * patient[:, :-1]
        severity = self._severity(stream) if self.task == "risk" else np.zeros(count)
        swing = stay[:, :-1].reshape(count, 2, len(VITALS))
        moments = np.concatenate([np.minimum(time, HOURS), np.full((count, 1), HOURS + self.horizon)], axis=1)
        changes = fluctuations(moments, draw(FLUCTUATIONS).standard_normal((count, ROUNDS + 1, len(VITALS) + 1)))
        true = level[:, None, :] + circadian(moments, swing) + changes
        true += drift(moments, onset[:, 0], severity)[..., None] * DETERIORATION
        values = true[:, :-1] + MEASUREMENT * draw(ERRORS).standard_normal(shape)
        values = np.round(values / STEP) * STEP
        values[:, :, -1] = np.minimum(values[:, :, -1], 100)
        measured = draw(MEASURED).random(shape) < self._chance(values)
        measured[:, 0] = True
        there = time < HOURS
        return _Stays(time, there, values, measured & there[..., None], age, true[:, -1, 0])

    def _chance(self, values: Float64[np.ndarray, "N T C"]) -> Float64[np.ndarray, "N T C"]:
        """Probability that each value is measured."""
        if self.missing == "random":
            return np.broadcast_to(OFTEN, values.shape)
        deviation = np.sqrt(BETWEEN**2 + FLUCTUATION**2 + DETERIORATION**2 / 12)
        worse = np.sign(DETERIORATION) * (values - MEAN - DETERIORATION / 4) / deviation
        return 1 / (1 + (1 / OFTEN - 1) * np.exp(-INFORMATIVE * worse))


@dataclasses.dataclass(frozen=True)
class _Stays:
    """Stays as they are, and what of them is measured.

    Attributes:
        time: of each round, hours.
        there: which rounds lie within the stay.
        values: as they would be measured.
        measured: whether they are.
        age: in years.
        ahead: true heart rate after the end.
    """

    time: Float64[np.ndarray, "N T"]
    there: Bool[np.ndarray, "N T"]
    values: Float64[np.ndarray, "N T C"]
    measured: Bool[np.ndarray, "N T C"]
    age: Float64[np.ndarray, " N"]
    ahead: Float64[np.ndarray, " N"]


def _prior_variance(horizon: float) -> float:
    """Variance of the heart rate in the population, at the time of the forecast."""
    nothing = np.zeros((1, 1, len(VITALS)))
    return float(forecast(np.zeros((1, 1)), nothing, nothing > 0, np.full(1, 60.0), HOURS + horizon)[1][0])


@functools.lru_cache(maxsize=16)
def _best_rmse(horizon: float) -> float:
    """Error of the conditional mean of the heart rate, over stays whose seed is fixed."""
    sample = SyntheticVitals(patients=STAYS, stays=1, seed=2**31, task="forecast", horizon=horizon)
    return float(np.sqrt(sample.best_forecast()[1].mean()))
