"""`SyntheticXray`: drawn chest films with an opacity, of which the best possible AUROC is known."""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Float64, UInt8

from research.data.about import About
from research.data.catalog.known_risk import expected_auroc
from research.data.catalog.xray_phantom import DRAWING_VERSION, Anatomy, draw_film
from research.data.images import Images
from research.data.source import Source
from research.datasets import SUMMARIES
from research.spec import Static, field, fingerprint
from research.task import Task

WITHIN_PATIENT = 0.6
"""Correlation of the latent number behind the severity between two films of one patient."""

CLEAR = 0.3
"""Share of films without any opacity."""

EVEN = 0.4
"""Severity at which both labels are equally probable."""

SLOPE = 6.3
"""Log-odds of disease from severity 0 to 1, at strength 1; with it the Bayes AUROC is 0.90."""

POINTS = 2**16
"""The Bayes AUROC is integrated over so many points."""

PATIENT_LATENT, FILM_LATENT, LABEL, ANATOMY, FILM = range(1, 6)
"""What is drawn; each has random numbers of its own, so that none depends on how many another took."""


class SyntheticXray(Source):
    """Chest-film phantoms of made-up patients, whose risk is a known function of an opacity in one lung.

    Each film has a severity from 0 (three films of ten) to 1, by which the opacity grows in size and density. The
    label is drawn from Bernoulli(p(severity)), with p logistic. All else on the film is independent of severity and
    label: the patient's chest, heart and ribs, position, exposure, grain, the lead marker and where the opacity lies.
    So no model can have a higher expected AUROC than p itself, and `bayes_auroc` says how high that is.

    With ``opacity=False`` the labels are the same, but the opacity is not drawn: the control, at 0.5. Severity is
    correlated between films of one patient, so a split that divides patients would let a model do better than that
    by knowing chests again.
    """

    patients: int = field(3000, minimum=1, help="number of patients")
    films: int = field(2, minimum=1, help="films, and so rows, of each patient")
    size: int = field(64, minimum=32, maximum=1024, help="height and width of a film in pixels")
    seed: int = field(0, minimum=0, help="number of the sample")
    strength: Static[float] = field(1.0, minimum=0, help="how strongly risk depends on the severity")
    signal: bool = field(True, help="whether it depends on it at all")
    opacity: bool = field(True, help="whether the opacity is drawn")

    def about(self) -> About:
        """What the rows are; the licence is that of this package."""
        return About(
            name="synthetic_xray",
            summary=SUMMARIES["synthetic_xray"],
            licence="Apache-2.0 (made by this package)",
            citation="none: made up, not measured",
            notes=(
                "positive class: disease",
                "every film has its patient" if self.films == 1 else f"{self.films} films of each patient",
                "drawings, to test methods with; not fit to learn medicine from",
                *(() if self.opacity else ("control: the opacity is not drawn",)),
            ),
        )

    def load(self) -> Images:
        """Labels and patients of the sample; films are drawn when they are read. The same fields give the same."""
        draw = np.random.default_rng((LABEL, 0, self.seed))
        severity = self.severity()
        label = draw.random(len(severity)) < self.risk()
        width = len(str(self.patients - 1))
        patient = [f"p{number:0{width}d}" for number in range(self.patients)]
        films = _Films(self.seed, self.size, self.films, severity if self.opacity else np.zeros_like(severity))
        return Images(
            targets=label.astype(np.int32),
            task=Task("binary", ("healthy", "disease")),
            patient=np.repeat(np.asarray(patient, dtype=object), self.films),
            split=None,
            row=np.arange(len(severity), dtype=np.int32),
            about=self.about(),
            shape=(self.size, self.size, 1),
            read=films.read,
            signature=f"synthetic_xray, drawing {DRAWING_VERSION}, {fingerprint(self)}",
            names=np.asarray(
                [f"{name} film {film + 1}" for name in patient for film in range(self.films)], dtype=object
            ),
        )

    def severity(self) -> Float64[np.ndarray, " N"]:
        """Severity of each film, 0 (no opacity) to 1, whether it is drawn or not."""
        from scipy.special import ndtr

        patient = np.random.default_rng((PATIENT_LATENT, 0, self.seed)).standard_normal((self.patients, 1))
        film = np.random.default_rng((FILM_LATENT, 0, self.seed)).standard_normal((self.patients, self.films))
        latent = np.sqrt(WITHIN_PATIENT) * patient + np.sqrt(1 - WITHIN_PATIENT) * film
        return _severity(ndtr(latent).reshape(-1))

    def risk(self) -> Float64[np.ndarray, " N"]:
        """Probability of disease of each film."""
        return self._risk(self.severity())

    def bayes_auroc(self) -> float:
        """AUROC of the true risk over the whole population, the best that any model can expect; error below 0.0001.

        With risk p and independent films x, x', the AUROC is ``E[p(x) (1 - p(x')) ([p(x) > p(x')] + [equal] / 2)]``
        over ``E[p] (1 - E[p])``: labels are integrated out exactly, severity over 65,536 evenly spaced ranks. Each
        film has the same distribution, so the number of films does not matter. It is 0.5 where the opacity is not
        drawn, or does not matter.
        """
        if not (self.signal and self.opacity):
            return 0.5
        rank = (np.arange(POINTS) + 0.5) / POINTS
        risk = self._risk(_severity(rank))
        return expected_auroc(risk, risk)

    def _risk(self, severity: Float64[np.ndarray, " N"]) -> Float64[np.ndarray, " N"]:
        score = SLOPE * (severity - EVEN) if self.signal else np.zeros_like(severity)
        return 1 / (1 + np.exp(-self.strength * score))


def _severity(rank: Float64[np.ndarray, " N"]) -> Float64[np.ndarray, " N"]:
    """Severity of films from their rank in the population, 0 to 1."""
    return np.maximum(rank - CLEAR, 0) / (1 - CLEAR)


@dataclasses.dataclass(frozen=True, eq=False)
class _Films:
    """What the films are drawn from; other processes can be sent it."""

    seed: int
    size: int
    films: int
    severity: Float64[np.ndarray, " N"]

    def read(self, index: int) -> UInt8[np.ndarray, "S S 1"]:
        """One film; it depends on its number and on nothing drawn before it."""
        if not 0 <= index < len(self.severity):
            raise IndexError(f"film {index} of {len(self.severity)}")
        anatomy = Anatomy.draw(np.random.default_rng((ANATOMY, index // self.films, self.seed)))
        draw = np.random.default_rng((FILM, index, self.seed))
        return draw_film(anatomy, float(self.severity[index]), self.size, draw)
