"""What the experiments on series reach, beside published numbers; prints a dated table.

    RESEARCH_DATA_DIR=DATA python scripts/prove/series.py --runs RUNS

Death in hospital after the first 48 hours in intensive care (PhysioNet 2012, set A), five folds of the patients as in
Che et al. 2018: mean and standard deviation over the folds, and DeLong's interval over all patients, each of whom is
tested once.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import os
import platform
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

import research
from research.evaluation.delong import auroc_interval, influence
from research.experiment_file import load_experiment
from research.spec import replace

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
FOLDS = 5


@dataclasses.dataclass(frozen=True)
class Published:
    """An experiment on vital signs and what others report.

    Attributes:
        name: file of the experiment, without ``.py``.
        source: AUROC of others, as they state it.
    """

    name: str
    source: str


VITALS = (
    Published("vitals_gru", "GRU-mean .8195, GRU-forward .8162, GRU-simple .8155: Che et al. 2018, five folds"),
    Published("vitals_grud", "GRU-D .8424 ± .012: Che et al. 2018, five folds"),
)


def vitals(runs: Path) -> Iterator[str]:
    """Five folds of each experiment."""
    yield "| experiment | patients | deaths | AUROC, mean ± sd of folds | range | 95 % interval | published | s |"
    yield "|---|---|---|---|---|---|---|---|"
    for published in VITALS:
        experiment = load_experiment(EXPERIMENTS / f"{published.name}.py")[0]
        variants = [replace(experiment, {"data.split.folds": FOLDS, "data.split.fold": fold}) for fold in range(FOLDS)]
        results = [research.run(variant, seed=0, name=published.name, runs=runs) for variant in variants]
        predicted: list[Any] = [result.predictions["test"] for result in results]
        scores = np.concatenate([p.prediction.astype(np.float64) for p in predicted])
        targets = np.concatenate([p.targets for p in predicted])
        patients = np.concatenate([p.patient for p in predicted])
        assert len(np.unique(patients)) == len(patients)
        interval = auroc_interval(influence(scores, targets), np.arange(len(targets)))
        found = np.array([result.metrics["auroc"].value for result in results])
        cells = [
            published.name,
            f"{len(targets)}",
            f"{int(targets.sum())}",
            f"{found.mean():.4f} ± {found.std(ddof=1):.4f}",
            f"{found.min():.4f} to {found.max():.4f}",
            f"{interval.low:.4f} to {interval.high:.4f}",
            published.source,
            f"{np.median([result.summary['seconds'] for result in results]):.0f}",
        ]
        yield f"| {' | '.join(cells)} |"


def main() -> None:
    """Run what is asked for and print its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, required=True, help="folder for the runs; finished ones are not repeated")
    options = parser.parse_args()
    command = ["git", "-C", str(EXPERIMENTS), "describe", "--always", "--dirty", "--abbrev=10", "--exclude=*"]
    commit = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() or "unknown"
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    print(
        f"Experiments on series, {today}, commit {commit}, jax {jax.__version__} on {jax.default_backend()}, Python "
        f"{platform.python_version()}, {os.cpu_count()} cores. Seconds: median run.\n"
    )
    for text in vitals(options.runs):
        print(text, flush=True)


if __name__ == "__main__":
    main()
