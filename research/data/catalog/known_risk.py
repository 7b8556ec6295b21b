"""Made-up patients whose risk is known: what visits of one patient share, and the best AUROC that there can be."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float64, Int

WITHIN_PATIENT = 0.6
"""Correlation of the latent number behind the severity between two rows of one patient."""

SLOPE = 7.6
"""Log-odds of disease from severity 0 to 1, at strength 1; with it the Bayes AUROC is 0.90."""

POINTS = 2**14
"""The Bayes AUROC is integrated over so many points."""


def latent_normal(
    patients: int, rows: int, streams: tuple[tuple[int, ...], tuple[int, ...]]
) -> Float64[np.ndarray, " N"]:
    """A standard normal number of each row, correlated by ``WITHIN_PATIENT`` within a patient, patient by patient.

    Args:
        patients: number of patients.
        rows: rows of each.
        streams: seeds of what belongs to the patient and of what belongs to the row.
    """
    patient = np.random.default_rng(streams[0]).standard_normal((patients, 1))
    row = np.random.default_rng(streams[1]).standard_normal((patients, rows))
    return (np.sqrt(WITHIN_PATIENT) * patient + np.sqrt(1 - WITHIN_PATIENT) * row).reshape(-1)


def patient_names(patients: int) -> list[str]:
    """``p000``, ``p001`` and so on, all of one length."""
    width = len(str(patients - 1))
    return [f"p{number:0{width}d}" for number in range(patients)]


def risk_of(severity: Float64[np.ndarray, " N"], strength: float) -> Float64[np.ndarray, " N"]:
    """Probability of disease at a severity from 0 to 1: logistic, and one half in the middle."""
    return 1 / (1 + np.exp(-strength * SLOPE * (severity - 0.5)))


def bayes_auroc(strength: float) -> float:
    """AUROC of `risk_of` where all severities are equally frequent, the best that there can be; error below 0.0001.

    Labels are integrated out exactly, severity over 16,384 evenly spaced ranks.
    """
    risk = risk_of((np.arange(POINTS) + 0.5) / POINTS, strength)
    return expected_auroc(risk, risk)


def expected_auroc(score: Float[np.ndarray, " N"], risk: Float[np.ndarray, " N"]) -> float:
    """AUROC of a score over a population whose labels are drawn with known probabilities.

    It is ``E[p (1 - p') ([s > s'] + [s = s'] / 2)]`` over ``E[p] (1 - E[p])`` for independent rows with scores s, s'
    and risks p, p': labels are integrated out exactly. No score can have a higher one than the risk itself.
    """
    place: Int[np.ndarray, " N"] = np.unique(score, return_inverse=True)[1].reshape(-1)
    disease, healthy = np.bincount(place, risk), np.bincount(place, 1 - risk)
    below = np.cumsum(healthy) - healthy / 2
    return float((disease * below).sum() / (disease.sum() * healthy.sum()))
