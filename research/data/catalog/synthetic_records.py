"""`SyntheticRecords`: coded events of made-up patients, of which the best possible score is known."""

from __future__ import annotations

import functools
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float64, Int64

from research.data.about import About
from research.data.catalog.known_risk import expected_auroc, patient_names
from research.data.catalog.records_process import (
    AGE,
    AGE_DEVIATION,
    LONGEST,
    VISITS,
    VOCABULARY,
    Sample,
    belief,
    next_code,
    write,
)
from research.data.events import Events
from research.data.formats.meds import MEDS
from research.data.source import Source
from research.datasets import SUMMARIES
from research.errors import UserError
from research.spec import Static, field
from research.task import NO_LABEL, Task

LOG_ODDS = np.asarray([-2.4, -2.0, 2.0, 2.4, -2.1, -2.4])
"""Log-odds of progression with each condition at the mean age, at strength 1."""

BY_AGE = 0.3
"""Log-odds per deviation of the age at the last event."""

POPULATION = 20_000
"""The best scores are averages over so many records."""

AT_ONCE = 2000
"""Records whose next codes are forecast together, so that they fit into memory."""

UNIFORM, NORMAL, LABEL = range(1, 4)
OTHER = 10
"""What is drawn; each has random numbers of its own, so that none depends on how many another took. With ``OTHER``
added they are those of the records that are shown in the place of the labelled ones."""


class SyntheticRecords(Source):
    """Records of made-up patients, 10 to 40 coded events over visits, with a known risk or a known best forecast.

    Each patient has one of six conditions, which is not in the record. It decides which diagnoses are made, which
    visits come about, and where laboratory values lie; a diagnosis calls for its own drugs and tests right after it.
    With each condition codes are a Markov chain, so the probability of each condition given the events is known
    exactly, by Bayes' rule along the chain; see `research.data.catalog.records_process`.

    ``task=risk``: the label, progression, is drawn from Bernoulli(p(condition, age at the last event)). The expectation
    of p over the conditions given the events is the best risk that there is: no model can have a higher expected AUROC,
    and `bayes_auroc` says how high that is: 0.90 by default.

    ``task=next_code``: at each event the next code of the record is to be predicted, one of the vocabulary.
    `best_accuracy` and `best_log_loss` say what the true probabilities reach.

    With ``visible=False`` the labels of ``task=risk`` are the same, but what is shown is another patient's record: the
    control, at 0.5.
    """

    patients: int = field(8000, minimum=1, help="number of patients, each with one record")
    seed: int = field(0, minimum=0, help="number of the sample")
    task: Literal["risk", "next_code"] = field("risk", help="a label drawn from a known risk, or the next code")
    strength: Static[float] = field(1.0, minimum=0, help="how strongly risk depends on the condition and the age")
    visible: bool = field(True, help="whether what is shown is the record that the label is about")

    def validate(self) -> None:
        """There is no control of the next code: it is in the record itself."""
        if self.task == "next_code" and not self.visible:
            raise UserError(
                "visible: task=next_code has no control, for its targets are in the record; set it to true."
            )

    def about(self) -> About:
        """What the rows are; the licence is that of this package."""
        return About(
            name="synthetic_records",
            summary=SUMMARIES["synthetic_records"],
            licence="Apache-2.0 (made by this package)",
            citation="none: made up, not measured",
            notes=(
                "positive class: progression" if self.task == "risk" else "classes: the next code at each event",
                "one record of each patient",
                "codes look like ICD-10 and ATC, but what goes with what is made up; not fit to learn medicine from",
                *(() if self.visible else ("control: what is shown has nothing to do with the label",)),
            ),
        )

    def load(self) -> Events:
        """The sample; the same fields give the same records."""
        shown = self._sample(0 if self.visible else OTHER)
        there = _there(shown)
        names = np.asarray(patient_names(self.patients), dtype=object)
        if self.task == "risk":
            label = np.random.default_rng((LABEL, 0, self.seed)).random(self.patients) < self.risk()
            targets, task = label.astype(np.int32), Task("binary", ("stable", "progression"))
        else:
            targets = np.full(shown.codes.shape, NO_LABEL, np.int32)
            targets[:, :-1] = np.where(there[:, 1:], shown.codes[:, 1:], NO_LABEL)
            task = Task("multiclass", VOCABULARY, per_step=True, ahead=True)
        visit = np.cumsum(shown.codes < len(VISITS), axis=1) - 1
        return Events(
            codes=shown.codes[there].astype(np.int32),
            vocabulary=VOCABULARY,
            lengths=shown.length.astype(np.int32),
            time=shown.days[there].astype(np.float32),
            visit=visit[there].astype(np.int32),
            age=shown.age[there].astype(np.float32),
            number=shown.number[there].astype(np.float32),
            targets=targets,
            task=task,
            patient=names,
            split=None,
            row=np.arange(self.patients, dtype=np.int32),
            about=self.about(),
            names=names,
        )

    def reads_records(self) -> MEDS:
        """See `Source.reads_records`: MEDS in which a visit begins at each ``VISIT//``."""
        return MEDS(visit_code="VISIT//")

    def condition(self) -> Int64[np.ndarray, " N"]:
        """Number of the condition of each patient, of `research.data.catalog.records_process.CONDITIONS`."""
        return self._sample(0).condition

    def risk(self) -> Float64[np.ndarray, " N"]:
        """Probability of progression of each patient, by condition and age."""
        sample = self._sample(0)
        return self._risks(sample)[np.arange(self.patients), sample.condition]

    def best_risk(self) -> Float64[np.ndarray, " N"]:
        """Probability of progression of each patient given the events: the best prediction that there is."""
        sample = self._sample(0)
        return (_at_the_end(sample) * self._risks(sample)).sum(axis=1)

    def bayes_auroc(self) -> float:
        """AUROC of the best risk over the whole population, the best that any model can expect; error below 0.001.

        It is averaged over 20,000 records whose seed is fixed; labels and conditions are integrated out exactly. It is
        0.5 where other records than the labelled ones are shown. Raises `UserError` for other tasks.
        """
        if self.task != "risk":
            raise UserError(f"task: {self.task} has no AUROC; see best_accuracy, or set task=risk.")
        if not self.visible:
            return 0.5
        best = (_believed() * self._risks(_population())).sum(axis=1)
        return expected_auroc(best, best)

    def best_accuracy(self) -> float:
        """Share of next codes that the true probabilities predict, over all events but the last; error about 0.001.

        It is the expectation of the highest probability, over 20,000 records whose seed is fixed. Raises `UserError`
        where no next code is asked for.
        """
        return self._best_forecast()[0]

    def best_log_loss(self) -> float:
        """Cross-entropy of the true probabilities of the next code, in nats; otherwise as `best_accuracy`."""
        return self._best_forecast()[1]

    def best_next_code(self) -> Float64[np.ndarray, "N T V"]:
        """Probability of each code to come next after each event; steps beyond the record tell nothing."""
        return next_code(self._sample(0))

    def _best_forecast(self) -> tuple[float, float]:
        if self.task != "next_code":
            raise UserError(f"task: {self.task} asks for no next code; see bayes_auroc, or set task=next_code.")
        return _best_forecast()

    def _sample(self, stream: int) -> Sample:
        return _sample(self.patients, stream, self.seed)

    def _risks(self, sample: Sample) -> Float64[np.ndarray, "N K"]:
        """Probability of progression of each patient with each condition."""
        last = sample.age[np.arange(len(sample.length)), sample.length - 1]
        score = LOG_ODDS[None, :] + BY_AGE * (last[:, None] - AGE) / AGE_DEVIATION
        return 1 / (1 + np.exp(-self.strength * score))


def _sample(patients: int, stream: int, seed: int) -> Sample:
    uniform = np.random.default_rng((UNIFORM + stream, 0, seed)).random((patients, 2 + 2 * LONGEST))
    normal = np.random.default_rng((NORMAL + stream, 0, seed)).standard_normal((patients, 1 + LONGEST))
    return write(uniform, normal)


def _there(sample: Sample) -> Bool[np.ndarray, "N T"]:
    """Which events belong to the records."""
    return np.arange(LONGEST)[None, :] < sample.length[:, None]


@functools.lru_cache(maxsize=1)
def _population() -> Sample:
    return _sample(POPULATION, 0, 2**31)


@functools.lru_cache(maxsize=1)
def _believed() -> Float64[np.ndarray, "N K"]:
    return _at_the_end(_population())


def _at_the_end(sample: Sample) -> Float64[np.ndarray, "N K"]:
    """Probability of each condition given all events of each record."""
    return belief(sample)[np.arange(len(sample.length)), sample.length - 1]


@functools.lru_cache(maxsize=1)
def _best_forecast() -> tuple[float, float]:
    """Expected accuracy and cross-entropy of the true probabilities over a fixed population."""
    right, loss, count, population = 0.0, 0.0, 0, _population()
    for first in range(0, POPULATION, AT_ONCE):
        part = slice(first, first + AT_ONCE)
        sample = Sample(*(getattr(population, name)[part] for name in Sample.__dataclass_fields__))
        probability = next_code(sample)[:, :-1][_there(sample)[:, 1:]]
        right += float(probability.max(axis=1).sum())
        loss -= float((probability * np.log(np.maximum(probability, 1e-300))).sum())
        count += len(probability)
    return right / count, loss / count
