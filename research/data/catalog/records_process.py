"""The process that writes the records of `SyntheticRecords`, and what events tell of the condition behind them."""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Float64, Int64

CONDITIONS = ("none", "diabetes", "kidney disease", "heart failure", "lung disease", "depression")
SHARES = np.asarray([0.22, 0.13, 0.2, 0.2, 0.13, 0.12])
"""What a patient can have, one of them each, and how often that is."""

VISITS = {
    "VISIT//clinic": (0.75, 0.72, 0.62, 0.45, 0.55, 0.8),
    "VISIT//emergency": (0.2, 0.18, 0.2, 0.25, 0.3, 0.15),
    "VISIT//inpatient": (0.05, 0.1, 0.18, 0.3, 0.15, 0.05),
}
"""Kinds of visits, and how often each is with each condition."""

DIAGNOSES: dict[str, tuple[float, tuple[int, ...], dict[str, float]]] = {
    "ICD10//E11": (0.6, (1,), {"ATC//A10": 0.5, "LAB//HbA1c": 0.3}),
    "ICD10//I10": (2.0, (1, 2, 3), {"ATC//C09": 0.6}),
    "ICD10//E78": (1.5, (1,), {"ATC//C10": 0.6}),
    "ICD10//N18": (0.5, (2,), {"LAB//creatinine": 0.6}),
    "ICD10//D63": (0.5, (2,), {"LAB//haemoglobin": 0.6}),
    "ICD10//I50": (0.5, (3,), {"ATC//C03": 0.5, "LAB//NT-proBNP": 0.3}),
    "ICD10//I48": (0.6, (3,), {"ATC//B01": 0.7}),
    "ICD10//J44": (0.5, (4,), {"ATC//R03": 0.7}),
    "ICD10//J18": (0.6, (4,), {"ATC//J01": 0.6, "LAB//CRP": 0.3}),
    "ICD10//F32": (0.7, (5,), {"ATC//N06": 0.7}),
    "ICD10//G47": (0.6, (5,), {"ATC//N05": 0.5}),
    "ICD10//R07": (0.8, (3, 4), {"LAB//troponin": 0.6}),
    "ICD10//M54": (1.5, (0,), {"ATC//N02": 0.6}),
    "ICD10//Z00": (1.5, (0,), {"LAB//HbA1c": 0.2, "LAB//haemoglobin": 0.2}),
}
"""Diagnoses: how often each is made, with which conditions it is made ``TYPICAL`` times as often, and what comes next
with which probability."""

TYPICAL = 6.0

LABORATORY: dict[str, tuple[float, float, float, dict[int, float]]] = {
    "LAB//HbA1c": (0.4, 5.6, 0.5, {1: 7.0}),
    "LAB//creatinine": (0.4, 0.9, 0.2, {2: 1.5}),
    "LAB//haemoglobin": (0.4, 13.8, 1.2, {2: 11.6}),
    "LAB//NT-proBNP": (0.2, 180.0, 50.0, {3: 300.0}),
    "LAB//CRP": (0.4, 12.0, 3.5, {}),
    "LAB//troponin": (0.2, 14.0, 4.0, {3: 18.0}),
}
"""Laboratory tests: how often each is made, mean and deviation of the result, and the mean with some conditions. Units
are %, mg/dL, g/dL, pg/mL, mg/L and ng/L."""

DRUGS = tuple(f"ATC//{group}" for group in ("A10", "B01", "C03", "C09", "C10", "J01", "N02", "N05", "N06", "R03"))
OTHER_DRUG = 0.15
"""How often each drug is given without the diagnosis before it."""

VOCABULARY = (*VISITS, *DIAGNOSES, *DRUGS, *LABORATORY)

NEW_VISIT = 0.25
"""Probability that the next event begins another visit; no visit is without an event."""

DAYS_BETWEEN = 45.0
"""Days between two visits, on average."""

SHORTEST, LONGEST = 10, 40
"""Events of a record; all lengths between them are equally frequent, whatever is in the record."""

AGE, AGE_DEVIATION = 62.0, 13.0
"""Years of age at the first event."""


@dataclasses.dataclass(frozen=True)
class Process:
    """A Markov chain of codes for each of K conditions, ``P(next | last) = from_last + again * drawn + visit * kind``.

    Attributes:
        from_last: ``[V, V]``, what follows from the last code alone.
        again: ``[V]``, probability that a code is drawn from the condition's own, after each code.
        drawn: ``[K, V]``, the condition's own codes.
        visit: ``[V]``, probability that a visit begins, after each code.
        kind: ``[K, V]``, kinds of visits.
        mean: ``[K, V]``, mean of the number of a code; NaN where it has none.
        deviation: ``[V]`` of the number.
    """

    from_last: Float64[np.ndarray, "V V"]
    again: Float64[np.ndarray, " V"]
    drawn: Float64[np.ndarray, "K V"]
    visit: Float64[np.ndarray, " V"]
    kind: Float64[np.ndarray, "K V"]
    mean: Float64[np.ndarray, "K V"]
    deviation: Float64[np.ndarray, " V"]

    def transitions(self) -> Float64[np.ndarray, "K V V"]:
        """Probability of the next code after the last one, with each condition."""
        own = self.again[:, None] * self.drawn[:, None, :] + self.visit[:, None] * self.kind[:, None, :]
        return self.from_last + own


@dataclasses.dataclass(frozen=True)
class Sample:
    """Records, all of `LONGEST` events, of which the first ``length`` count.

    Attributes:
        condition: ``[N]``, number of the condition.
        length: ``[N]``.
        codes: ``[N, T]``.
        number: ``[N, T]``; NaN where a code has none.
        days: ``[N, T]`` since the first event.
        age: ``[N, T]`` in years.
    """

    condition: Int64[np.ndarray, " N"]
    length: Int64[np.ndarray, " N"]
    codes: Int64[np.ndarray, "N T"]
    number: Float64[np.ndarray, "N T"]
    days: Float64[np.ndarray, "N T"]
    age: Float64[np.ndarray, "N T"]


def process() -> Process:
    """The process, from the tables above."""
    place, size = {code: number for number, code in enumerate(VOCABULARY)}, len(VOCABULARY)
    from_last, again, visit = np.zeros((size, size)), np.ones(size), np.full(size, NEW_VISIT)
    drawn, kind = np.zeros((len(CONDITIONS), size)), np.zeros((len(CONDITIONS), size))
    mean, deviation = np.full((len(CONDITIONS), size), np.nan), np.ones(size)
    for code, often in VISITS.items():
        kind[:, place[code]] = often
        visit[place[code]] = 0
    for code, (often, typical, next_codes) in DIAGNOSES.items():
        drawn[:, place[code]] = often
        drawn[list(typical), place[code]] *= TYPICAL
        for following, probability in next_codes.items():
            from_last[place[code], place[following]] = probability
    drawn[:, [place[code] for code in DRUGS]] = OTHER_DRUG
    for code, (often, usual, spread, others) in LABORATORY.items():
        drawn[:, place[code]] = often
        mean[:, place[code]], deviation[place[code]] = usual, spread
        for condition, other in others.items():
            mean[condition, place[code]] = other
    again = (1 - visit) * (1 - from_last.sum(axis=1))
    from_last *= (1 - visit)[:, None]
    return Process(from_last, again, drawn / drawn.sum(axis=1, keepdims=True), visit, kind, mean, deviation)


PROCESS = process()


def write(uniform: Float64[np.ndarray, "N U"], normal: Float64[np.ndarray, "N E"]) -> Sample:
    """Records of random numbers, a row each.

    Args:
        uniform: between 0 and 1: for the condition, the length, the code of each event and the gap before it.
        normal: standard normal: for the age, and for the number of each event.
    """
    condition = np.searchsorted(np.cumsum(SHARES), uniform[:, 0] * SHARES.sum(), side="right")
    condition = np.minimum(condition, len(CONDITIONS) - 1)
    length = SHORTEST + np.floor(uniform[:, 1] * (LONGEST - SHORTEST + 1)).astype(np.int64)
    next_code, gap = uniform[:, 2 : 2 + LONGEST], uniform[:, 2 + LONGEST :]
    first, later = np.cumsum(PROCESS.kind, axis=1), np.cumsum(PROCESS.transitions(), axis=2)
    codes = np.empty(next_code.shape, np.int64)
    for step in range(LONGEST):
        below = first[condition] if step == 0 else later[condition, codes[:, step - 1]]
        codes[:, step] = (below[:, :-1] <= next_code[:, step, None]).sum(axis=1)
    begins = codes < len(VISITS)
    begins[:, 0] = False
    days = np.cumsum(np.where(begins, np.ceil(-DAYS_BETWEEN * np.log1p(-gap)), 0.0), axis=1)
    age = np.clip(AGE + AGE_DEVIATION * normal[:, :1], 20, 95)
    number = PROCESS.mean[condition[:, None], codes] + PROCESS.deviation[codes] * normal[:, 1:]
    return Sample(condition, length, codes, np.round(number, 2), days, age + days / 365.25)


def belief(sample: Sample) -> Float64[np.ndarray, "N T K"]:
    """Probability of each condition given the events up to each one: Bayes' rule along the chain.

    Ages, times and lengths do not depend on the condition and tell nothing of it. Numbers count by their density.
    """
    transitions = np.log(np.maximum(PROCESS.transitions(), 1e-300))
    found = np.empty((*sample.codes.shape, len(CONDITIONS)))
    for condition in range(len(CONDITIONS)):
        first = np.log(SHARES[condition]) + np.log(PROCESS.kind[condition, sample.codes[:, :1]])
        later = transitions[condition, sample.codes[:, :-1], sample.codes[:, 1:]]
        away = (sample.number - PROCESS.mean[condition, sample.codes]) / PROCESS.deviation[sample.codes]
        told = np.where(np.isnan(away), 0, -0.5 * away**2)
        found[:, :, condition] = np.cumsum(np.concatenate([first, later], axis=1) + told, axis=1)
    found = np.exp(found - found.max(axis=2, keepdims=True))
    return found / found.sum(axis=2, keepdims=True)


def next_code(sample: Sample) -> Float64[np.ndarray, "N T V"]:
    """Probability of each code to come next, given the events up to each one; the best forecast that there is."""
    believed, last = belief(sample), sample.codes
    drawn, kind = believed @ PROCESS.drawn, believed @ PROCESS.kind
    return PROCESS.from_last[last] + PROCESS.again[last][..., None] * drawn + PROCESS.visit[last][..., None] * kind
