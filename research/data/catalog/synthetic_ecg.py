"""`SyntheticECG`: electrocardiograms of a dynamical model, of which the best possible AUROC is known."""

from __future__ import annotations

from typing import Literal

import numpy as np
from jaxtyping import Float32, Float64, Int64

from research.data.about import About
from research.data.catalog.ecg_dynamics import (
    ANGLES,
    FREQUENCIES,
    HEIGHTS,
    WARM_UP,
    WAVES,
    WIDTHS,
    Waves,
    beat_times,
    tachogram,
    voltage,
)
from research.data.catalog.known_risk import bayes_auroc, latent_normal, patient_names, risk_of
from research.data.series import Series, Variable
from research.data.source import Source
from research.datasets import SUMMARIES
from research.errors import UserError
from research.spec import Static, field
from research.task import Task

UPRIGHT, FALL = 1.1, 1.9
"""Height of T at severity 0, and how much lower it is at 1, as shares of its usual height: -0.8 is inverted."""

SLOWEST, QUICKEST = 45.0, 130.0
"""Limits of a record's mean heart rate, per minute."""

SHORTEST = 0.24
"""Seconds between two beats, at least."""

RHYTHMS = ("regular", "irregular", "ectopic")
REGULAR, IRREGULAR, ECTOPIC = range(3)

IRREGULARITY = 0.22
"""Deviation of the time between two beats of an irregular rhythm, as a share of its mean."""

PREMATURE, PAUSE = 0.6, 1.4
"""Time before and after an ectopic beat, as a share of that between others."""

OFTEN = 0.12
"""Share of ectopic beats, beside the one that each such record has in any case."""

AT_ONCE = 64
"""Records that are integrated together, so that what is computed fits into the processor's cache."""

SEVERITY_OF_PATIENT, SEVERITY_OF_RECORD, LABEL, RHYTHM, PATIENT, RECORD, PHASES, BEATS, NOISE = range(1, 10)
OTHER_SEVERITY_OF_PATIENT, OTHER_SEVERITY_OF_RECORD, OTHER_RHYTHM = range(10, 13)
"""What is drawn; each has random numbers of its own, so that none depends on how many another took."""


class SyntheticECG(Source):
    """One lead of made-up patients, whose risk is a known function of the T wave, or who have one of three rhythms.

    The voltage is that of the dynamical model of McSharry, Clifford, Tarassenko and Smith (IEEE Transactions on
    Biomedical Engineering 50(3), 2003), with its variability of the heart rate and its wandering baseline; see
    `research.data.catalog.ecg_dynamics`. As in the authors' program, widths and angles grow with the heart rate.

    ``task=risk``: each record has a severity from 0 to 1, all equally frequent, by which the T wave falls, from
    upright to inverted, in proportion to R. The label is drawn from Bernoulli(p(severity)), with p logistic. All else
    is independent of severity and label: heart rate and its variability, the gain of the lead, the other waves, the
    place and width of all, breathing and noise. So no model can have a higher expected AUROC than p itself, and
    `bayes_auroc` says how high that is: 0.90 by default. The noise hides little: the height of T as a share of R in the
    mean beat of a record comes within 0.001.

    ``task=rhythm``: three classes, equally frequent: regular; irregular, without P wave, each time between beats being
    independent of the last (as in atrial fibrillation); ectopic, with early, wide beats and a pause after them, at
    least one a record. They do not overlap: the best accuracy and AUROC are 1.

    With ``visible=False`` labels are the same, but what is drawn has another severity or rhythm: the control, at 0.5.
    The severity is correlated between records of one patient, so a split that divided patients would let a model do
    better than that by knowing hearts again.
    """

    patients: int = field(800, minimum=1, help="number of patients")
    records: int = field(2, minimum=1, help="records, and so rows, of each patient")
    seconds: int = field(10, minimum=3, maximum=200, help="length of a record")
    rate: int = field(100, minimum=50, maximum=1000, help="samples a second")
    seed: int = field(0, minimum=0, help="number of the sample")
    task: Literal["risk", "rhythm"] = field("risk", help="a label drawn from a known risk, or the class of the rhythm")
    strength: Static[float] = field(1.0, minimum=0, help="how strongly risk depends on the severity")
    visible: bool = field(True, help="whether the record shows the severity, or the rhythm, that the label is about")
    heart_rate: Static[float] = field(72.0, minimum=50, maximum=120, help="mean over patients, 1/min")
    variability: Static[float] = field(0.03, minimum=0, maximum=0.1, help="deviation of the time between beats, s")
    noise: Static[float] = field(0.02, minimum=0, help="deviation of the noise of each sample, mV")
    angles: Static[tuple[float, ...]] = field(
        ANGLES, minimum=-np.pi, maximum=np.pi, help="where P, Q, R, S and T are at 60 beats a minute, radians from R"
    )
    widths: Static[tuple[float, ...]] = field(WIDTHS, above=0, help="deviation of each at 60 beats a minute, radians")
    heights: Static[tuple[float, ...]] = field(HEIGHTS, help="height of each as a share of R's")

    def validate(self) -> None:
        """There are five waves."""
        for name in ("angles", "widths", "heights"):
            given = getattr(self, name)
            if len(given) != len(WAVES):
                raise UserError(f"{name}: five numbers are needed, of P, Q, R, S and T; {len(given)} were given.")

    def about(self) -> About:
        """What the rows are; the licence is that of this package."""
        return About(
            name="synthetic_ecg",
            summary=SUMMARIES["synthetic_ecg"],
            licence="Apache-2.0 (made by this package)",
            citation=(
                "made up, not measured; the model is that of P. E. McSharry, G. D. Clifford, L. Tarassenko, L. A. "
                "Smith: A dynamical model for generating synthetic electrocardiogram signals. IEEE Transactions on "
                "Biomedical Engineering 50(3), 289-294 (2003)"
            ),
            notes=(
                "positive class: disease" if self.task == "risk" else "classes: rhythms, equally frequent",
                "every record has its patient" if self.records == 1 else f"{self.records} records of each patient",
                "made up, to test methods with; not fit to learn medicine from",
                *(() if self.visible else ("control: what is drawn has nothing to do with the label",)),
            ),
        )

    def load(self) -> Series:
        """The sample; the same fields give the same records."""
        count, names = self.patients * self.records, patient_names(self.patients)
        if self.task == "risk":
            labels = np.random.default_rng((LABEL, 0, self.seed)).random(count) < self.risk()
            task = Task("binary", ("healthy", "disease"))
        else:
            labels, task = self._rhythm(RHYTHM), Task("multiclass", RHYTHMS)
        values = self._records()
        return Series(
            values=values.reshape(-1, 1),
            lengths=np.full(count, values.shape[1], np.int32),
            variables=(Variable("lead", "mV"),),
            interval=1 / self.rate,
            time_unit="seconds",
            targets=labels.astype(np.int32),
            task=task,
            patient=np.repeat(np.asarray(names, dtype=object), self.records),
            split=None,
            row=np.arange(count, dtype=np.int32),
            about=self.about(),
            names=np.asarray(
                [f"{name} record {record + 1}" for name in names for record in range(self.records)], dtype=object
            ),
        )

    def severity(self) -> Float64[np.ndarray, " N"]:
        """Severity of each record, 0 to 1, that its label was drawn by."""
        return self._severity(SEVERITY_OF_PATIENT, SEVERITY_OF_RECORD)

    def risk(self) -> Float64[np.ndarray, " N"]:
        """Probability of disease of each record."""
        return risk_of(self.severity(), self.strength)

    def bayes_auroc(self) -> float:
        """AUROC of the true risk over the whole population, the best that any model can expect; error below 0.0001.

        Labels are integrated out exactly, severity over 16,384 evenly spaced ranks. Each record has the same
        distribution, so the number of records does not matter. Of rhythms it is 1, for they do not overlap. It is 0.5
        where nothing of that is drawn.
        """
        if not self.visible:
            return 0.5
        if self.task == "rhythm":
            return 1.0
        return bayes_auroc(self.strength)

    def mean_rates(self) -> Float64[np.ndarray, " N"]:
        """Mean heart rate of each record, per minute, about which its beats vary."""
        patient, record = self._shared(), self._own()
        spread = 10 * patient[:, 0] + 5 * record[:, 0]
        return np.clip(self.heart_rate + spread, SLOWEST, QUICKEST)

    def _severity(self, *streams: int) -> Float64[np.ndarray, " N"]:
        from scipy.special import ndtr

        of_patient, of_record = ((stream, 0, self.seed) for stream in streams)
        return ndtr(latent_normal(self.patients, self.records, (of_patient, of_record)))

    def _rhythm(self, stream: int) -> Int64[np.ndarray, " N"]:
        return np.random.default_rng((stream, 0, self.seed)).integers(0, len(RHYTHMS), self.patients * self.records)

    def _shared(self) -> Float64[np.ndarray, "N 13"]:
        """Standard normal numbers of the patient of each record."""
        draw = np.random.default_rng((PATIENT, 0, self.seed))
        return np.repeat(draw.standard_normal((self.patients, 13)), self.records, axis=0)

    def _own(self) -> Float64[np.ndarray, "N 6"]:
        """Standard normal numbers of each record."""
        return np.random.default_rng((RECORD, 0, self.seed)).standard_normal((self.patients * self.records, 6))

    def _records(self) -> Float32[np.ndarray, "N T"]:
        """The records, in mV."""
        from scipy.special import ndtr

        rate, own = self.mean_rates(), self._own()
        if self.task == "risk":
            drawn = (SEVERITY_OF_PATIENT, SEVERITY_OF_RECORD)
            fall = self._severity(*(drawn if self.visible else (OTHER_SEVERITY_OF_PATIENT, OTHER_SEVERITY_OF_RECORD)))
            kind = np.zeros(len(rate), np.int64)
        else:
            kind, fall = self._rhythm(RHYTHM if self.visible else OTHER_RHYTHM), np.zeros(len(rate))
        beats, ectopic = self._beats(rate, kind, ndtr(own[:, 1]))
        waves = _by_beat(self._waves(rate, fall, kind), ectopic if self.task == "rhythm" else ectopic[:, :0])
        wander = np.stack(
            [0.15 * np.exp(0.3 * own[:, 2]), 0.25 + 0.03 * own[:, 3], 2 * np.pi * ndtr(own[:, 4])], axis=1
        )
        found = []
        for first in range(0, len(rate), AT_ONCE):
            part = slice(first, first + AT_ONCE)
            some = Waves(waves.angle[part], waves.width[part], waves.height[part])
            found.append(voltage(beats[part], some, wander[part], self.seconds, self.rate))
        values = np.concatenate(found).astype(np.float32)
        noise = np.random.default_rng((NOISE, 0, self.seed)).standard_normal(values.shape, dtype=np.float32)
        return values + np.float32(self.noise) * noise

    def _beats(
        self, rate: Float64[np.ndarray, " N"], kind: Int64[np.ndarray, " N"], begin: Float64[np.ndarray, " N"]
    ) -> tuple[Float64[np.ndarray, "N beats"], Float64[np.ndarray, "N beats"]]:
        """Times of the beats from the beginning of the warm-up on, and 1 for each that is ectopic."""
        from scipy.special import ndtri

        end = WARM_UP + self.seconds
        phases = np.random.default_rng((PHASES, 0, self.seed)).uniform(0, 2 * np.pi, (len(rate), FREQUENCIES))
        between = np.maximum(tachogram(phases, 60 / rate, np.full(len(rate), self.variability)), SHORTEST)
        # The quickest record has so many beats; one that is early is made up for by the pause after it.
        count = int(np.ceil((end + 3) * QUICKEST / 60 * 1.5))
        draw = np.random.default_rng((BEATS, 0, self.seed)).random((len(rate), 2 * count + 1))
        chance, sure, rows = draw[:, :count] < OFTEN, draw[:, -1], np.arange(len(rate))
        # No two in a row, and none as the first, for which there would be no beat to come early after.
        ectopic = chance & ~np.concatenate([np.ones((len(rate), 1), bool), chance[:, :-1]], axis=1)
        middle = ((WARM_UP + self.seconds * (0.25 + 0.5 * sure)) * rate / 60).astype(np.int64)
        for beat, there in ((middle - 1, False), (middle + 1, False), (middle, True)):
            ectopic[rows, beat] = there
        ectopic &= (kind == ECTOPIC)[:, None]
        early = np.concatenate([ectopic[:, 1:], np.zeros((len(rate), 1), bool)], axis=1)
        uneven = np.maximum(1 + IRREGULARITY * ndtri(draw[:, count:-1]), 0.5)
        factor = np.where((kind == IRREGULAR)[:, None], uneven, 1.0)
        factor = np.where(early, PREMATURE, np.where(ectopic, PAUSE, factor))
        times = beat_times(between, begin, factor)
        return times, np.concatenate([ectopic, np.zeros((len(rate), 1), bool)], axis=1).astype(np.float64)

    def _waves(
        self, rate: Float64[np.ndarray, " N"], fall: Float64[np.ndarray, " N"], kind: Int64[np.ndarray, " N"]
    ) -> tuple[Waves, Waves]:
        """The waves of the usual beats of each record, and of its ectopic ones; K is 1."""
        patient, own = self._shared(), self._own()
        quick = np.sqrt(rate / 60)[:, None]
        angles, widths, heights = (np.asarray(part)[None, :] for part in (self.angles, self.widths, self.heights))
        stretch = np.concatenate([np.sqrt(quick), quick, quick, quick, np.sqrt(quick)], axis=1)
        angle = angles * stretch * (1 + 0.04 * patient[:, 1:2])
        width = widths * quick * np.exp(0.08 * patient[:, 2:7])
        gain = np.exp(0.2 * patient[:, 7] + 0.1 * own[:, 5])[:, None]
        height = heights * np.exp(0.15 * patient[:, 8:13])
        height[:, 2] = self.heights[2]
        height[:, 4] = self.heights[4] * (UPRIGHT - FALL * fall)
        height[kind == IRREGULAR, 0] = 0
        usual = Waves(angle[:, None], width[:, None], (gain * height)[:, None])
        wide = width * np.array([[1.0, 1.0, 2.2, 2.2, 1.2]])
        strange = height * np.array([[0.0, 0.0, 1.3, 2.5, -1.2]])
        return usual, Waves(angle[:, None], wide[:, None], (gain * strange)[:, None])


def _by_beat(pair: tuple[Waves, Waves], ectopic: Float64[np.ndarray, "N beats"]) -> Waves:
    """The waves of each beat; of all beats alike where none can be ectopic."""
    usual, strange = pair
    if not ectopic.shape[1]:
        return usual
    share = ectopic[:, :, None]
    angle, width, height = (
        (1 - share) * getattr(usual, name) + share * getattr(strange, name) for name in ("angle", "width", "height")
    )
    return Waves(angle, width, height)
