"""How often the 95 % intervals of a report hold the truth, by simulation; prints a dated Markdown table.

    python scripts/prove/coverage.py --replications 1000 [--only bands]

Scores are binormal, prevalence .3. Clustered data has 4 rows per patient, whose scores share a patient effect with
half of the variance; the patient's rows are all of one class, or mixed. Each replication is one data set; a nominal
.95 with 1,000 replications has a Monte Carlo standard error of .007. Bands of curves, at some of their points, have a
fifth of the replications.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import time
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from scipy.special import ndtr, ndtri

from research import metrics
from research.evaluation import delong, intervals
from research.evaluation.report import bootstrap
from research.reporting import curves
from research.reporting.contrasts import Contrast

PREVALENCE = 0.3
RESAMPLES = 400


class Row(NamedTuple):
    """One line of the table."""

    metric: str
    truth: float
    rows: int
    units: int
    method: str
    covered: float
    width: float
    without: int


def binormal(random: np.random.Generator, area: float, patients: int, per_patient: int, mixed: bool) -> tuple:
    """Scores with the given area, targets with both classes, and the patient of each row."""
    unit = np.repeat(np.arange(patients), per_patient)
    while True:
        drawn = random.random(len(unit) if mixed else patients) < PREVALENCE
        targets = (drawn if mixed else drawn[unit]).astype(np.int32)
        if 0 < targets.sum() < len(targets):
            break
    # Total variance 1 in each class, so that the area is that of independent binormal scores.
    noise = random.normal(size=len(unit))
    if per_patient > 1:
        noise = (noise + random.normal(size=patients)[unit]) / np.sqrt(2)
    return noise + np.sqrt(2) * ndtri(area) * targets, targets, unit


def count(truth: float, found: list[intervals.Interval]) -> tuple[float, float, int]:
    """Share of intervals that hold the truth (no interval counts as a miss), mean width, number without one."""
    limits = np.array([(item.low, item.high) for item in found])
    return (
        float(np.mean((limits[:, 0] <= truth) & (truth <= limits[:, 1]))),
        float(np.nanmean(limits[:, 1] - limits[:, 0])),
        int(np.isnan(limits[:, 0]).sum()),
    )


def auroc_rows(replications: int, area: float, patients: int, per_patient: int = 1, mixed: bool = False) -> Iterator:
    """The reported interval, and the percentile bootstrap that it replaces."""
    found: dict[str, list[intervals.Interval]] = {"report": [], "percentile bootstrap": []}
    for replication in range(replications):
        random = np.random.default_rng([replication, patients, per_patient, round(area * 1000)])
        scores, targets, unit = binormal(random, area, patients, per_patient, mixed)
        found["report"].append(delong.auroc_interval(delong.influence(scores, targets), unit))
        # The bootstrap is a hundred times dearer, and shown for contrast in the small samples only.
        if replication < replications // 5 and patients <= 100:
            spread = bootstrap(
                lambda w, s=scores, t=targets: {"": metrics.auroc(s, t, w)}, unit, RESAMPLES, replication
            )
            found["percentile bootstrap"].append(intervals.percentile_interval(spread[""], "unit"))
    name = "AUROC" + (" (mixed patients)" if mixed else " (clustered)" if per_patient > 1 else "")
    rule = "Obuchowski, logit" if per_patient > 1 else "DeLong, logit"
    for method, items in found.items():
        if items:
            label = rule if method == "report" else method
            yield Row(name, area, patients * per_patient, patients, label, *count(area, items))


def proportion_rows(replications: int, truth: float, patients: int, per_patient: int = 1) -> Iterator:
    """Accuracy: independent rows, or rows of a patient that are right together in part."""
    found = []
    for replication in range(replications):
        random = np.random.default_rng([replication, patients, per_patient, round(truth * 1000), 7])
        unit = np.repeat(np.arange(patients), per_patient)
        shared = random.random(patients)[unit]
        own = random.random(len(unit))
        # Each row follows its patient's draw half of the time: the correlation within patients is one quarter.
        follow = (random.random(len(unit)) < 0.5) & (per_patient > 1)
        right = np.where(follow, shared, own) < truth
        found.append(intervals.proportion_interval(right, np.ones(len(unit), bool), unit))
    label = "Wilson, effective n" if per_patient > 1 else "Wilson"
    yield Row("accuracy", truth, patients * per_patient, patients, label, *count(truth, found))


def macro_rows(replications: int, patients: int, shift: float) -> Iterator:
    """Macro AUROC of three classes of unequal size."""
    shares = np.array([0.5, 0.3, 0.2])

    def draw(random: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray]:
        targets = random.choice(3, size, p=shares)
        return random.normal(size=(size, 3)) + shift * np.eye(3)[targets], targets

    def parts(scores: np.ndarray, targets: np.ndarray) -> list[delong.Influence]:
        return [delong.influence(scores[:, c], (targets == c).astype(np.int32)) for c in range(3)]

    truth = float(np.mean([part.area for part in parts(*draw(np.random.default_rng(1), 400_000))]))
    found = []
    for replication in range(replications):
        scores, targets = draw(np.random.default_rng([replication, patients, 3]), patients)
        each = parts(scores, targets)
        areas, moves = np.array([part.area for part in each]), np.stack([part.moves for part in each], -1)
        found.append(delong.mean_auroc_interval(areas, moves, np.arange(patients)))
    yield Row("AUROC (macro of 3)", truth, patients, patients, "influence, logit", *count(truth, found))


def band_rows(replications: int, area: float, patients: int, per_patient: int = 1) -> Iterator:
    """Bands of the ROC and the precision-recall curve, at some false positive rates and sensitivities."""
    places = (5, 20, 50, 90)
    found: dict[tuple[int, int], list[intervals.Interval]] = {(c, g): [] for c in range(2) for g in places}
    for replication in range(replications):
        random = np.random.default_rng([replication, patients, per_patient, round(area * 1000), 11])
        scores, targets, unit = binormal(random, area, patients, per_patient, False)
        contrast = Contrast("positive", np.arange(len(scores)), scores, targets == 1, {})
        for curve, band in enumerate(curves.bands([contrast], unit)[0]):
            for place in places:
                limits = intervals.Interval(float(band.low[place]), float(band.high[place]), "")
                found[curve, place].append(limits)
    shift = np.sqrt(2) * ndtri(area)
    for (curve, place), items in found.items():
        x = curves.GRID[place]
        if curve == 0:
            name, truth = "sensitivity", ndtr(shift - ndtri(1 - x))
        else:
            alarms = ndtr(-(shift - ndtri(x)))
            name, truth = "precision", PREVALENCE * x / (PREVALENCE * x + (1 - PREVALENCE) * alarms)
        name = f"{name} at {'1 - specificity' if curve == 0 else 'sensitivity'} {x:g}"
        rule = "band, by patient" if per_patient > 1 else "band"
        yield Row(name, truth, patients * per_patient, patients, f"{rule}; AUROC {area}", *count(truth, items))


def interval_rows(replications: int) -> Iterator:
    """Every interval of a report."""
    for area in (0.7, 0.9, 0.95, 0.99):
        for size in (100, 300, 1000):
            yield from auroc_rows(replications, area, size)
    for area in (0.9, 0.99):
        for patients in (50, 200):
            for mixed in (False, True):
                yield from auroc_rows(replications, area, patients, 4, mixed)
    for size, shift in ((100, 1.5), (300, 1.5), (100, 3.0), (300, 3.0)):
        yield from macro_rows(replications, size, shift)
    for truth in (0.9, 0.99):
        for size in (100, 300):
            yield from proportion_rows(replications, truth, size)
            yield from proportion_rows(replications, truth, size, 4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replications", type=int, default=1000, help="data sets per line (default 1000)")
    parser.add_argument("--only", choices=("intervals", "bands"), help="only this part")
    options = parser.parse_args()
    replications, began = options.replications, time.time()
    rows: list[Row] = []
    if options.only != "bands":
        rows += interval_rows(replications)
    if options.only != "intervals":
        for size, area in ((100, 0.9), (300, 0.9), (300, 0.99)):
            rows += band_rows(replications // 5, area, size)
        rows += band_rows(replications // 5, 0.9, 50, 4)
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    print(f"Coverage of nominal 95 % intervals, {today}, {replications} replications, numpy {np.__version__}, ")
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, {time.time() - began:.0f} s.")
    print("The percentile bootstrap has a fifth of the replications; it is what the report does not use here.\n")
    print("| metric | truth | rows | patients | method | coverage | mean width | without interval |")
    print("|---|---|---|---|---|---|---|---|")
    for row in rows:
        print(
            f"| {row.metric} | {row.truth:.3f} | {row.rows} | {row.units} | {row.method} | {row.covered:.3f} "
            f"| {row.width:.3f} | {row.without} |"
        )


if __name__ == "__main__":
    main()
