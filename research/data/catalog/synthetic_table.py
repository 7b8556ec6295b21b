"""`SyntheticTable`: measurements with interactions, of which the best possible AUROC is known."""

from __future__ import annotations

import functools

import numpy as np
import pandas as pd
from jaxtyping import Float64

from research.data.about import About
from research.data.catalog.known_risk import expected_auroc
from research.data.source import Source
from research.data.table import Column, Table
from research.datasets import SUMMARIES
from research.spec import Static, field
from research.task import Task

COLUMNS = (
    Column("age", "numeric", unit="years"),
    Column("sex", "categorical", ("female", "male")),
    Column("smoking", "categorical", ("current", "former", "never")),
    Column("systolic_blood_pressure", "numeric", unit="mmHg"),
    Column("body_mass_index", "numeric", unit="kg/m2"),
    Column("glucose", "numeric", unit="mg/dL"),
    Column("heart_rate", "numeric", unit="1/min"),
    Column("creatinine", "numeric", unit="mg/dL"),
)

SAME_AT_EVERY_VISIT = 3
"""The first latent numbers (age, sex, smoking) belong to the patient; the others vary between visits."""

WITHIN_PATIENT = 0.6
"""Correlation of a latent measurement between two visits of one patient."""

LOG2_POINTS = 16
"""The Bayes AUROC is integrated over 2 to this power points."""


class SyntheticTable(Source):
    """Made-up patients whose risk is a known function of what is measured.

    The label of each visit is drawn from Bernoulli(p(x)), where p is a logistic function of age, blood pressure
    (steeper in current smokers), glucose together with body mass index, a heart rate too low or too high, and
    creatinine by sex. No model can have a higher expected AUROC than p itself, and `bayes_auroc` says how high that
    is. With ``signal=False`` the label does not depend on the measurements: the control, at 0.5.
    """

    patients: int = field(20000, minimum=1, help="number of patients")
    visits: int = field(1, minimum=1, help="visits, and so rows, of each patient")
    seed: int = field(0, minimum=0, help="number of the sample")
    strength: Static[float] = field(1.0, minimum=0, help="how strongly risk depends on the measurements")
    signal: bool = field(True, help="whether it depends on them at all")

    def about(self) -> About:
        """What the rows are; the licence is that of this package."""
        return About(
            name="synthetic_table",
            summary=SUMMARIES["synthetic_table"],
            licence="Apache-2.0 (made by this package)",
            citation="none: made up, not measured",
            notes=(
                "positive class: disease",
                "every row has its patient" if self.visits == 1 else f"{self.visits} visits of each patient",
                "units: " + ", ".join(f"{column.name} {column.unit}" for column in COLUMNS if column.unit),
            ),
        )

    def load(self) -> Table:
        """The sample; the same fields give the same rows."""
        draw = np.random.default_rng(self.seed)
        patient = draw.standard_normal((self.patients, 1, len(COLUMNS)))
        visit = draw.standard_normal((self.patients, self.visits, len(COLUMNS)))
        share = np.where(np.arange(len(COLUMNS)) < SAME_AT_EVERY_VISIT, 1.0, WITHIN_PATIENT)
        latent = np.sqrt(share) * patient + np.sqrt(1 - share) * visit
        frame = _measure(latent.reshape(-1, len(COLUMNS)))
        label = draw.random(len(frame)) < self._risk(frame)
        width = len(str(self.patients - 1))
        names = np.asarray([f"p{number:0{width}d}" for number in range(self.patients)], dtype=object)
        return Table(
            frame=frame,
            columns=COLUMNS,
            targets=label.astype(np.int32),
            task=Task("binary", ("healthy", "disease")),
            patient=np.repeat(names, self.visits),
            split=None,
            row=np.arange(len(frame), dtype=np.int32),
            about=self.about(),
        )

    def bayes_auroc(self) -> float:
        """AUROC of the true risk over the whole population, the best that any model can expect; error below 0.001.

        With risk p and independent rows x, x', the AUROC is ``E[p(x) (1 - p(x')) ([p(x) > p(x')] + [equal] / 2)]``
        over ``E[p] (1 - E[p])``: labels are integrated out exactly, and the measurements over 65,536 scrambled Sobol
        points, whose seed is fixed. Each visit has the same distribution, so the number of visits does not matter.
        """
        if not self.signal:
            return 0.5
        risk = self._risk(_population())
        return expected_auroc(risk, risk)

    def _risk(self, frame: pd.DataFrame) -> Float64[np.ndarray, " N"]:
        """Probability of disease of each row."""
        score = _score(frame) if self.signal else np.zeros(len(frame))
        return 1 / (1 + np.exp(0.8 - self.strength * score))


def _measure(latent: Float64[np.ndarray, "N 8"]) -> pd.DataFrame:
    """Measurements, rounded as instruments report them, from independent standard normal numbers."""
    age = np.clip(np.round(58 + 14 * latent[:, 0]), 18, 95)
    male = latent[:, 1] > 0
    smoking = np.select([latent[:, 2] < 0, latent[:, 2] < 0.84], ["never", "former"], "current")
    body_mass_index = np.round(27 * np.exp(0.17 * latent[:, 4]), 1)
    return pd.DataFrame(
        {
            "age": age,
            "sex": np.where(male, "male", "female").astype(object),
            "smoking": smoking.astype(object),
            "systolic_blood_pressure": np.round(118 + 0.35 * (age - 58) + 14 * latent[:, 3]),
            "body_mass_index": body_mass_index,
            "glucose": np.round(98 * np.exp(0.012 * (body_mass_index - 27) + 0.15 * latent[:, 5])),
            "heart_rate": np.round(74 + 11 * latent[:, 6]),
            "creatinine": np.round(np.exp(-0.15 + 0.2 * male + 0.22 * latent[:, 7]), 2),
        }
    )


def _score(frame: pd.DataFrame) -> Float64[np.ndarray, " N"]:
    """Log-odds of disease without intercept: main effects and interactions of standardised measurements."""
    age = (frame["age"].to_numpy() - 58) / 14
    pressure = (frame["systolic_blood_pressure"].to_numpy() - 118) / 15
    glucose = (frame["glucose"].to_numpy() - 98) / 17
    mass = (frame["body_mass_index"].to_numpy() - 27) / 4.7
    rate = (frame["heart_rate"].to_numpy() - 74) / 11
    creatinine = np.log(frame["creatinine"].to_numpy())
    current = (frame["smoking"] == "current").to_numpy(np.float64)
    female = (frame["sex"] == "female").to_numpy(np.float64)
    return (
        0.7 * age
        + (0.4 + 0.9 * current) * pressure
        + 0.6 * glucose
        + 1.1 * np.tanh(glucose) * np.tanh(mass)
        + 0.5 * (np.abs(rate) - 0.8)
        + (1.5 + 2.0 * female) * (creatinine + 0.05)
        - 0.3 * female
    )


@functools.lru_cache(maxsize=1)
def _population() -> pd.DataFrame:
    """A fixed, evenly spread sample of the population of measurements."""
    from scipy.stats import norm, qmc

    points = qmc.Sobol(len(COLUMNS), scramble=True, rng=0).random_base2(LOG2_POINTS)
    return _measure(norm.ppf(points))
