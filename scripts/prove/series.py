"""What the experiments on series reach, beside published numbers; prints dated tables.

    RESEARCH_DATA_DIR=DATA python scripts/prove/series.py --runs RUNS [--only vitals heartbeats ucr]

vitals: death in hospital after the first 48 hours in intensive care (PhysioNet 2012, set A), five folds of the
patients as in Che et al. 2018: mean and standard deviation over the folds, and DeLong's interval over all patients,
each of whom is tested once. heartbeats: MIT-BIH between patients (de Chazal et al. 2004), in the form of the AAMI. ucr:
sets of the UCR archive, five seeds, the last epoch, nothing chosen; published are mean and standard deviation of ten
runs of Fawaz et al. 2019.
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
from research.evaluation.aami import aami
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
    Published("vitals_transformer", "none for this protocol"),
)

UCR = (
    ("ecg200_fcn", {}, "0.889 (0.010)"),
    ("ecg200_resnet", {}, "0.874 (0.019)"),
    ("ecg200_fcn", {"data.source.name": "ECGFiveDays"}, "0.987"),
    ("ecg200_fcn", {"data.source.name": "ECG5000"}, "0.940"),
    ("ecg200_resnet", {"data.source.name": "ECG5000"}, "0.934"),
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


def heartbeats(runs: Path) -> Iterator[str]:
    """Inter-patient classes of beats, seed 0."""
    yield "| experiment | beats | what | sensitivity | positive predictivity | false positive rate |"
    yield "|---|---|---|---|---|---|"
    for name in ("ecg_fcn", "ecg_lstm"):
        experiment = load_experiment(EXPERIMENTS / f"{name}.py")[0]
        result = research.run(experiment, seed=0, name=name, runs=runs)
        predicted: Any = result.predictions["test"]
        for part, estimates in result.report.parts.items():
            shown = {e.name: _shown(e) for e in estimates}
            cells = [name, f"{len(predicted)}", f"class {part}", shown["sensitivity"], shown["precision"], ""]
            yield f"| {' | '.join(cells)} |"
        for group, estimates in aami(predicted).items():
            yield f"| {' | '.join([name, f'{len(predicted)}', f'{group}, AAMI', *map(_shown, estimates)])} |"


def _shown(estimate: Any) -> str:
    return f"{estimate.value:.3f} ({estimate.low:.3f} to {estimate.high:.3f})"


def ucr(runs: Path, seeds: int) -> Iterator[str]:
    """Accuracy of the last epoch over the seeds."""
    yield "| experiment | set | test series | accuracy, mean (sd) | range | published, mean (sd) | s |"
    yield "|---|---|---|---|---|---|---|"
    for name, changes, published in UCR:
        experiment: Any = replace(load_experiment(EXPERIMENTS / f"{name}.py")[0], changes)
        results = [research.run(experiment, seed=seed, name=name, runs=runs) for seed in range(seeds)]
        found = np.array([result.metrics["accuracy"].value for result in results])
        cells = [
            name,
            experiment.data.source.name,
            f"{results[0].metrics['accuracy'].n}",
            f"{found.mean():.4f} ({found.std(ddof=1):.4f})",
            f"{found.min():.4f} to {found.max():.4f}",
            published,
            f"{np.median([result.summary['seconds'] for result in results]):.0f}",
        ]
        yield f"| {' | '.join(cells)} |"


def main() -> None:
    """Run what is asked for and print its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, required=True, help="folder for the runs; finished ones are not repeated")
    parser.add_argument("--seeds", type=int, default=5, help="runs of each set of the UCR archive (5)")
    tables = ("vitals", "heartbeats", "ucr")
    parser.add_argument("--only", nargs="*", default=tables, choices=tables, help="only these tables")
    options = parser.parse_args()
    command = ["git", "-C", str(EXPERIMENTS), "describe", "--always", "--dirty", "--abbrev=10", "--exclude=*"]
    commit = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() or "unknown"
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    print(
        f"Experiments on series, {today}, commit {commit}, jax {jax.__version__} on {jax.default_backend()}, Python "
        f"{platform.python_version()}, {os.cpu_count()} cores. Seconds: median run."
    )
    for table in options.only:
        lines = {
            "vitals": lambda: vitals(options.runs),
            "heartbeats": lambda: heartbeats(options.runs),
            "ucr": lambda: ucr(options.runs, options.seeds),
        }[table]()
        print(f"\n{table}\n")
        for text in lines:
            print(text, flush=True)


if __name__ == "__main__":
    main()
