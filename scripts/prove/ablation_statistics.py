"""Coverage and false positives of the statistics of an ablation, by simulation; prints dated Markdown tables.

    python scripts/prove/ablation_statistics.py [--replications 2000] [--workers 2] [--only auroc]

Each replication is one ablation: a baseline, a twin of it (same distribution, other luck) and a better variant, each
with the same seeds, on one sample of test patients, 30 % of them positive. A score is the sum of what is hard about
the patient for every model, what is hard about it for this variant, what is so for this member alone (variance 1
together), and of the separation for a positive. The separation of a member varies with its seed; half of that
variance is shared by all variants, so that seeds are paired. What an interval should hold is the mean over all seeds
and all patients, known in closed form. A nominal .95 with 2,000 replications has a Monte Carlo standard error of .005.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import datetime
import functools
import itertools
import os
import platform
import time
from typing import NamedTuple

import numpy as np
import scipy
from scipy.special import expit, ndtr, ndtri

from research.ablation.statistics import Outcomes, analyse, components, sign_flip_p_values
from research.ablation.statistics.analysis import few_carriers
from research.ablation.statistics.bootstrap import hierarchical_interval
from research.ablation.statistics.intervals import Reference, mean_interval, reference
from research.ablation.statistics.measuring import area_moves
from research.evaluation import Predictions, delong
from research.evaluation.intervals import bootstrap_weights
from research.evaluation.measures import Measured
from research.evaluation.thresholds import choose_own_thresholds, choose_thresholds
from research.task import Task

PREVALENCE = 0.3
RESAMPLES = 400
SHARED = 0.5
"""Share of the seeds' variance that all variants have in common."""


class Setting(NamedTuple):
    """How members vary.

    Attributes:
        name: in the table.
        seed: standard deviation over seeds of the separation of the classes.
        parts: variance of a score that all models share, that a variant's members share, and of each member alone.
    """

    name: str
    seed: float
    parts: tuple[float, float, float]


SETTINGS = (Setting("alike", 0.1, (0.6, 0.2, 0.2)), Setting("unlike", 0.3, (0.5, 0.1, 0.4)))


class Cell(NamedTuple):
    """One line of the table."""

    area: float
    patients: int
    seeds: int
    setting: Setting
    replications: int


class Ablation(NamedTuple):
    """One simulated ablation: scores ``[V, S, N]``, targets ``[N]`` and the unit of each row ``[N]``."""

    scores: np.ndarray
    targets: np.ndarray
    unit: np.ndarray


def separations(area: float) -> np.ndarray:
    """Mean separation of baseline, twin and better variant; the last halves the errors in ranking at most."""
    better = area + min(0.03, (1 - area) / 2)
    return np.sqrt(2) * ndtri(np.array([area, area, better]))


def truths(area: float, setting: Setting) -> np.ndarray:
    """Mean area over all seeds and patients of each variant."""
    return ndtr(separations(area) / np.sqrt(2 + setting.seed**2))


def draw(random: np.random.Generator, cell: Cell, rows: int = 1) -> Ablation:
    """One ablation; with several rows a patient, half of what is hard for every model belongs to the patient."""
    common, own, alone = cell.setting.parts
    unit = np.repeat(np.arange(cell.patients), rows)
    while True:
        targets = (random.random(cell.patients) < PREVALENCE).astype(np.int32)[unit]
        if 2 * rows <= targets.sum() <= len(targets) - 2 * rows:
            break
    shared, lone = (random.normal(size=shape) * cell.setting.seed for shape in ((1, cell.seeds), (3, cell.seeds)))
    varied = np.sqrt(SHARED) * shared + np.sqrt(1 - SHARED) * lone
    separation = separations(cell.area)[:, None] + varied
    hard = random.normal(size=len(unit))
    if rows > 1:
        hard = (hard + random.normal(size=cell.patients)[unit]) / np.sqrt(2)
    scores = np.sqrt(common) * hard + np.sqrt(own) * random.normal(size=(3, 1, len(unit)))
    scores = scores + np.sqrt(alone) * random.normal(size=(3, cell.seeds, len(unit)))
    return Ablation(scores + separation[:, :, None] * targets, targets, unit)


def areas(scores: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`delong.influence` of many members at once, of scores without ties: areas ``[M]`` and moves ``[M, N]``."""

    def ranks(values: np.ndarray) -> np.ndarray:
        order = values.argsort(-1)
        found = np.empty(values.shape)
        np.put_along_axis(found, order, np.arange(1.0, values.shape[-1] + 1)[None, :], -1)
        return found

    positive = targets == 1
    positives, negatives = positive.sum(), (~positive).sum()
    everyone = ranks(scores)
    above = (everyone[:, positive] - ranks(scores[:, positive])) / negatives
    below = 1 - (everyone[:, ~positive] - ranks(scores[:, ~positive])) / positives
    area = above.mean(1)
    moves = np.empty(scores.shape)
    moves[:, positive] = (above - area[:, None]) / positives
    moves[:, ~positive] = (below - area[:, None]) / negatives
    return area, moves


class Tally:
    """Counts of a cell."""

    def __init__(self) -> None:
        self.held: dict[str, list[bool]] = {}
        self.widths: dict[str, list[float]] = {}

    def interval(self, name: str, low: float, high: float, truth: float) -> None:
        """No interval counts as a miss."""
        self.held.setdefault(name, []).append(bool(low <= truth <= high))
        self.widths.setdefault(name, []).append(high - low)

    def event(self, name: str, happened: bool) -> None:
        self.held.setdefault(name, []).append(happened)

    def share(self, name: str) -> float:
        return float(np.mean(self.held[name])) if name in self.held else float("nan")

    def width(self, name: str) -> float:
        return float(np.nanmean(self.widths[name]))


def auroc_cell(cell: Cell) -> Tally:
    """All replications of one cell, through the fast path of the AUROC."""
    tally, truth = Tally(), truths(cell.area, cell.setting)
    for replication in range(cell.replications):
        key = [replication, cell.patients, cell.seeds, round(1000 * cell.area), round(1000 * cell.setting.seed)]
        random = np.random.default_rng(key)
        scores, targets, unit = draw(random, cell)
        area, rows = areas(scores.reshape(-1, len(targets)), targets)
        if not replication:
            known = delong.influence(scores[0, 0], targets)
            assert np.allclose(known.moves, rows[0])
            assert np.isclose(known.area, area[0])
        positive = targets == 1
        moves = np.stack([area_moves(delong.Influence(0.0, row, positive), unit) for row in rows])
        values, moves = area.reshape(3, -1), moves.reshape(3, cell.seeds, -1).transpose(0, 2, 1)
        level = components(values[0], moves[0])
        alone = delong.auroc_interval(delong.Influence(float(area[0]), rows[0], positive), unit)
        limits = mean_interval("auroc", level, alone)
        tally.interval("level", limits.low, limits.high, truth[0])
        twin, better = (components(values[v] - values[0], moves[v] - moves[0]) for v in (1, 2))
        tally.event("false", reference(twin).p_value(twin.mean) <= 0.05)
        if replication < cell.replications // 5:
            tally.event("exact", float(sign_flip_p_values((values[1] - values[0])[:, None])[0]) <= 0.05)
        half = reference(better).half_width()
        tally.interval("difference", better.mean - half, better.mean + half, truth[2] - truth[0])
        warned = any(few_carriers("auroc", float(values.mean(1).max()), part) for part in (level, better))
        tally.event("warned", warned)
        if not warned:
            tally.interval("without warning", better.mean - half, better.mean + half, truth[2] - truth[0])
        if cell.patients <= 100 and replication < cell.replications // 5:
            # To first order in the weights, which spares 400 rankings of every member.
            weights = np.concatenate(list(bootstrap_weights(unit, RESAMPLES, replication)))
            each = rows.reshape(3, cell.seeds, -1)
            resampled = values[2] - values[0] + (weights - 1) @ (each[2] - each[0]).T
            found = hierarchical_interval(resampled, "row", replication)
            tally.interval("bootstrap", found.low, found.high, truth[2] - truth[0])
    return tally


TASK = Task("binary", ("negative", "positive"))
GENERAL = ("auroc", "average_precision", "accuracy", "sensitivity", "brier")


def outcomes(cell: Cell, found: Ablation, rows: int) -> list[Outcomes]:
    """As runs would leave them, with probabilities that are calibrated for the baseline."""
    shift = separations(cell.area)[0]
    probability = expit(shift * (found.scores - shift / 2) + np.log(PREVALENCE / (1 - PREVALENCE)))
    patient = None if rows == 1 else found.unit
    example = np.arange(len(found.targets))
    return [
        Outcomes(
            name,
            range(cell.seeds),
            [Predictions(TASK, "test", example, member, found.targets, patient) for member in variant],
        )
        for name, variant in zip(("baseline", "twin", "better"), probability, strict=True)
    ]


def general_cell(cell: Cell, rows: int) -> tuple[Tally, Cell, int]:
    """All replications of one cell through `analyse`, for several metrics."""
    tally, truth = Tally(), general_truths(cell.area, cell.setting)
    for replication in range(cell.replications):
        random = np.random.default_rng([replication, cell.patients, cell.seeds, rows, 17])
        analysis = analyse(outcomes(cell, draw(random, cell, rows), rows), GENERAL, resamples=0)
        for name in GENERAL:
            item, twin = analysis.summary("baseline", name), analysis.difference("twin", name)
            better = analysis.difference("better", name)
            tally.interval(f"{name} level", item.low, item.high, truth[name][0])
            tally.interval(f"{name} difference", better.low, better.high, truth[name][2] - truth[name][0])
            tally.event(f"{name} false", twin.p_value is not None and twin.p_value <= 0.05)
    return tally, cell, rows


@functools.cache
def general_truths(area: float, setting: Setting) -> dict[str, np.ndarray]:
    """What each metric of each variant is over all patients and seeds: a large sample, and quadrature over seeds."""
    random, patients = np.random.default_rng(99), 100_000
    nodes, weights = np.polynomial.hermite_e.hermegauss(9)
    cell = Cell(area, patients, 1, Setting(setting.name, 0.0, setting.parts), 1)
    found = draw(random, cell)
    total = {name: np.zeros(3) for name in GENERAL}
    for node, weight in zip(nodes, weights / weights.sum(), strict=True):
        moved = found._replace(scores=found.scores + setting.seed * node * found.targets)
        for name, values in analyse_values(outcomes(cell, moved, 1)).items():
            total[name] += weight * values
    return total


def analyse_values(found: list[Outcomes]) -> dict[str, np.ndarray]:
    """Each metric of the only seed of each variant."""
    rows = [report_values(item.members[0][0]) for item in found]
    return {name: np.array([row[name] for row in rows]) for name in GENERAL}


def report_values(predictions: Predictions) -> dict[str, float]:
    thresholds, _ = choose_thresholds(predictions, None)
    measured = Measured(predictions, thresholds, choose_own_thresholds(predictions, None))
    point = measured(np.ones(len(predictions)), {("", name) for name in GENERAL})
    return {name: float(point["", name]) for name in GENERAL}


def reference_table(replications: int) -> None:
    """The reference distribution itself: a normal estimate whose seeds' part is estimated and the other known."""
    print("| seeds | seeds' share of the variance | Satterthwaite | Behrens-Fisher | their mean |")
    print("|" + "---|" * 5)
    for seeds, share in itertools.product((3, 4, 5, 8), (0.05, 0.2, 0.5, 0.8, 0.95)):
        random = np.random.default_rng([seeds, round(100 * share)])
        estimated = share * random.chisquare(seeds - 1, replications) / (seeds - 1)
        held = np.zeros(3)
        for variance, error in zip(estimated, random.normal(size=replications), strict=True):
            about = Reference(np.sqrt(variance), seeds - 1, np.sqrt(1 - share), 1e6)
            tails = about.satterthwaite(error), about.behrens_fisher(error), about.p_value(error)
            held += np.array(tails) > 0.05
        print(f"| {seeds} | {share} | " + " | ".join(f"{value:.3f}" for value in held / replications) + " |")


def auroc_table(cells: list[Cell], found: list[Tally]) -> None:
    print(
        "| AUROC | patients | seeds | members | level | width | difference | width | warned | without warning "
        "| hierarchical bootstrap | false positives | exact, seeds only |"
    )
    print("|" + "---|" * 13)
    for cell, tally in zip(cells, found, strict=True):
        boot, quiet = tally.share("bootstrap"), tally.share("without warning")
        print(
            f"| {cell.area} | {cell.patients} | {cell.seeds} | {cell.setting.name} | {tally.share('level'):.3f} "
            f"| {tally.width('level'):.3f} | {tally.share('difference'):.3f} | {tally.width('difference'):.3f} "
            f"| {tally.share('warned'):.2f} | {'' if np.isnan(quiet) else f'{quiet:.3f}'} "
            f"| {'' if np.isnan(boot) else f'{boot:.3f}'} | {tally.share('false'):.3f} | {tally.share('exact'):.3f} |"
        )


def general_table(found: list[tuple[Tally, Cell, int]]) -> None:
    print("| metric | AUROC | patients | rows each | seeds | level | difference | false positives |")
    print("|" + "---|" * 8)
    for tally, cell, rows in found:
        for name in GENERAL:
            where = f"{cell.area} | {cell.patients} | {rows} | {cell.seeds}"
            print(
                f"| {name} | {where} | {tally.share(f'{name} level'):.3f} "
                f"| {tally.share(f'{name} difference'):.3f} | {tally.share(f'{name} false'):.3f} |"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replications", type=int, default=2000, help="ablations per line (default 2000)")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes (default: one a core)")
    parser.add_argument("--only", choices=("reference", "auroc", "general"), help="only this table")
    options = parser.parse_args()
    began, count = time.time(), options.replications
    grid = itertools.product((0.7, 0.9, 0.99), (100, 500, 2000), (3, 5, 10, 20), SETTINGS)
    cells = [Cell(area, patients, seeds, setting, count) for area, patients, seeds, setting in grid]
    others = [
        (Cell(0.9, patients, seeds, SETTINGS[1], max(1, count // 4)), rows)
        for patients, rows in ((100, 1), (300, 1), (100, 4))
        for seeds in (3, 8)
    ]
    with concurrent.futures.ProcessPoolExecutor(options.workers) as pool:
        # Costly ones first, so that no worker is left with one at the end.
        order = sorted(range(len(cells)), key=lambda place: -cells[place].patients * cells[place].seeds)
        wanted = {"reference", "auroc", "general"} if options.only is None else {options.only}
        running = {place: pool.submit(auroc_cell, cells[place]) for place in order if "auroc" in wanted}
        general = [pool.submit(general_cell, *other) for other in others if "general" in wanted]
        found = [running[place].result() for place in sorted(running)]
        more = [item.result() for item in general]
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    print(f"Statistics of ablations, nominal 95 %, {today}, {count} replications, numpy {np.__version__}, ")
    print(
        f"scipy {scipy.__version__}, Python {platform.python_version()}, {os.cpu_count()} cores, "
        f"{time.time() - began:.0f} s.\n"
    )
    if "reference" in wanted:
        print(f"The reference distribution on normal estimates, {10 * count} replications.\n")
        reference_table(10 * count)
    if found:
        print("\nAUROC. Members alike: seeds and initialisation matter little beside the patients; unlike: as much or")
        print("more. Warned: share of the replications in which the output says that few patients carry the variance.")
        print("The hierarchical percentile bootstrap, shown for contrast, and the exact test, which asks of these")
        print("patients only, have a fifth of the replications.\n")
        auroc_table(cells, found)
    if more:
        print(f"\nThe general path, by jackknife over patients, members unlike, {max(1, count // 4)} replications.\n")
        general_table(more)


if __name__ == "__main__":
    main()
