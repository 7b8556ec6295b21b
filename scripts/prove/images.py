"""What each experiment on pictures reaches over five seeds, beside published or best possible numbers.

    RESEARCH_DATA_DIR=DATA python scripts/prove/images.py --runs RUNS [--only NAME ...]

Prints a dated table. Five seeds share one split, so their spread is that of training alone; the interval (mean of the
seeds' 95 % intervals) is that of the test pictures or patients. A published number is reached where it lies inside
that interval or below it. Experiments without their data are left out.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from scipy import stats

import research
from research.data import SyntheticXray
from research.errors import UserError
from research.experiment_file import load_experiment
from research.spec import replace

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
MEDMNIST = "Yang et al. 2023, ResNet-18 (28)"


@dataclasses.dataclass(frozen=True)
class Reference:
    """What a metric of an experiment is held against.

    Attributes:
        name: file of the experiment, without ``.py``.
        metric: as in the report.
        value: the published or best possible value; NaN for none.
        source: where it is from.
        within: how far below ``value`` the mean may lie; None where ``value`` is to lie inside or below the interval.
        control: override that takes the signal away. Each seed then draws a sample of its own, so that the AUROCs are
            independent, and the interval, which must hold ``value``, is Student's over them.
    """

    name: str
    metric: str
    value: float
    source: str
    within: float | None = None
    control: str = ""


def references() -> list[Reference]:
    """The lines of the table."""
    experiment = load_experiment(EXPERIMENTS / "synthetic_xray_cnn.py")[0]
    assert experiment.data is not None and isinstance(experiment.data.source, SyntheticXray)
    bayes = experiment.data.source.bayes_auroc()
    return [
        Reference("chest_xray_cnn", "auroc", 0.944, MEDMNIST),
        Reference("chest_xray_cnn", "accuracy", 0.854, MEDMNIST),
        Reference("breast_ultrasound_resnet", "auroc", 0.901, MEDMNIST),
        Reference("breast_ultrasound_resnet", "accuracy", 0.863, MEDMNIST),
        Reference("synthetic_xray_cnn", "auroc", bayes, "true risk, population", within=0.02),
        Reference("synthetic_xray_cnn", "auroc", 0.5, "no opacity drawn", control="data.source.opacity"),
        Reference("cifar10_cnn", "accuracy", float("nan"), "none"),
    ]


def changes_of(reference: Reference, seeds: int) -> list[dict[str, Any]]:
    """What each seed's run changes in the experiment."""
    if not reference.control:
        return [{}] * seeds
    return [{reference.control: False, "data.source.seed": seed} for seed in range(seeds)]


def verdict(reference: Reference, values: np.ndarray, low: float, high: float) -> str:
    """Whether what was asked for is met."""
    if np.isnan(reference.value):
        return ""
    if reference.control:
        return "in the interval" if low <= reference.value <= high else "NOT in the interval"
    gap = float(values.mean()) - reference.value
    if reference.within is not None:
        return f"{gap:+.4f}{'' if abs(gap) <= reference.within else f', MORE than {reference.within}'}"
    if reference.value > high:
        return "ABOVE the interval"
    return "inside the interval" if reference.value >= low else "below the interval"


def line(reference: Reference, runs: Path, seeds: int) -> str:
    """One line of the table; finished runs are not repeated."""
    experiment = load_experiment(EXPERIMENTS / f"{reference.name}.py")[0]
    results = [
        research.run(replace(experiment, changes), seed=seed, name=reference.name, runs=runs)
        for seed, changes in enumerate(changes_of(reference, seeds))
    ]
    found = [result.metrics[reference.metric] for result in results]
    values = np.array([estimate.value for estimate in found])
    low, high = (float(np.mean([getattr(estimate, end) for estimate in found])) for end in ("low", "high"))
    if reference.control:
        low, high = stats.t.interval(0.95, seeds - 1, values.mean(), stats.sem(values))
    seconds = [result.summary["seconds"] for result in results]
    assert experiment.data is not None
    cells = [
        reference.name + (f" {reference.control}=false, {seeds} samples" if reference.control else ""),
        experiment.data.source.about().name,
        str(found[0].n),
        "not identified" if found[0].patients is None else str(found[0].patients),
        reference.metric,
        f"{values.mean():.4f} ({values.min():.4f} to {values.max():.4f})",
        f"{low:.3f} to {high:.3f}",
        "" if np.isnan(reference.value) else f"{reference.value:.4f}: {reference.source}",
        verdict(reference, values, low, high),
        f"{np.median(seconds):.0f}",
    ]
    return f"| {' | '.join(cells)} |"


def lines(runs: Path, seeds: int, only: list[str]) -> Iterator[str]:
    """Every line of the table, as it is finished."""
    for reference in references():
        if only and reference.name not in only:
            continue
        data = load_experiment(EXPERIMENTS / f"{reference.name}.py")[0].data
        assert data is not None
        try:
            data.source.load()
        except UserError as error:
            print(f"{reference.name} is left out: {error}", file=sys.stderr)
            continue
        yield line(reference, runs, seeds)


def main() -> None:
    """Run everything and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, required=True, help="folder for the runs; finished ones are not repeated")
    parser.add_argument("--seeds", type=int, default=5, help="runs of each experiment, seeds from 0 (5)")
    parser.add_argument("--only", nargs="*", default=[], metavar="NAME", help="only these experiments")
    options = parser.parse_args()
    command = ["git", "-C", str(EXPERIMENTS), "describe", "--always", "--dirty", "--abbrev=10", "--exclude=*"]
    commit = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() or "unknown"
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    print(
        f"Experiments on pictures, {today}, commit {commit}, jax {jax.__version__} on {jax.default_backend()}, "
        f"Python {platform.python_version()}, {os.cpu_count()} cores; {options.seeds} seeds, test split. "
        f"Seconds: median run.\n"
    )
    print("| experiment | data | n | patients | metric | mean (range) | 95 % interval | held against | verdict | s |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for text in lines(options.runs, options.seeds, options.only):
        print(text, flush=True)


if __name__ == "__main__":
    main()
