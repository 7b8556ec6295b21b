"""What each experiment reaches over five seeds, beside published or best possible numbers; prints a dated table.

    RESEARCH_DATA_DIR=DATA python scripts/prove/experiments.py --runs RUNS

Five seeds share one split, so their spread is that of training alone; the interval (mean of the seeds' 95 %
intervals) is that of the test patients. Where published numbers come from cross-validation, five folds are run as
well, seed 0: every row is then tested once, and the interval is DeLong's over all of them. Logistic regression
(scikit-learn, its defaults) sees the same features and rows. Experiments without their data file are left out.
Settings were chosen on the validation rows of the one split, some of which are test rows of the folds.
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

import jax
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

import research
from research.data import SyntheticTable
from research.errors import UserError
from research.evaluation.delong import auroc_interval, influence
from research.experiment import Experiment
from research.experiment_file import load_experiment
from research.spec import replace

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
FOLDS = 5


@dataclasses.dataclass(frozen=True)
class Reference:
    """What an experiment is held against.

    Attributes:
        name: file of the experiment, without ``.py``.
        low, high: AUROC that is accepted.
        source: numbers of others.
        folds: whether cross-validation is run as well.
    """

    name: str
    low: float
    high: float
    source: str
    folds: bool = False


@dataclasses.dataclass(frozen=True)
class Line:
    """One line of the table; arrays have one entry per seed or fold."""

    what: str
    rows: int
    patients: str
    auroc: np.ndarray
    accuracy: np.ndarray
    interval: tuple[float, float]
    logistic: float
    seconds: np.ndarray
    reference: Reference

    @property
    def verdict(self) -> str:
        """Whether the mean AUROC lies in the range, and if not, whether its interval reaches it."""
        mean, (low, high) = self.auroc.mean(), self.interval
        if self.reference.low <= mean <= self.reference.high:
            return "in range"
        side = "above" if mean > self.reference.high else "below"
        reaches = low <= self.reference.high and high >= self.reference.low
        return f"{side}, range within the interval" if reaches else f"{side} the range"

    def __str__(self) -> str:
        auroc, accuracy = self.auroc, self.accuracy
        cells = [
            self.what,
            str(self.rows),
            self.patients,
            f"{auroc.mean():.4f} ± {auroc.std(ddof=1):.4f} ({auroc.min():.4f} to {auroc.max():.4f})",
            f"{self.interval[0]:.3f} to {self.interval[1]:.3f}",
            f"{accuracy.mean():.3f} ({accuracy.min():.3f} to {accuracy.max():.3f})",
            f"{self.logistic:.4f}",
            self.reference.source,
            f"{self.reference.low:.3f} to {self.reference.high:.3f}",
            self.verdict,
            f"{np.median(self.seconds):.1f}",
        ]
        return f"| {' | '.join(cells)} |"


def references() -> list[Reference]:
    """The experiments in the order of the table."""
    bayes = SyntheticTable().bayes_auroc()
    return [
        Reference("wisconsin_mlp", 0.99, 1.0, "accuracy 0.975: wdbc.names (UCI), repeated 10-fold"),
        Reference(
            "heart_disease_mlp",
            0.88,
            0.92,
            "0.91, accuracy 0.85: best of ten models, Ogundepo & Yahya 2023, 200 splits of 297; "
            "accuracy 0.75 to 0.79: heart-disease.names (UCI)",
            folds=True,
        ),
        Reference(
            "diabetes_mlp",
            0.80,
            0.84,
            "0.81 to 0.83, accuracy 0.74 to 0.77: Battineni et al. 2019, cross-validation of 768",
            folds=True,
        ),
        Reference("synthetic_table_mlp", bayes - 0.02, bayes + 0.02, f"{bayes:.4f}: the true risk, population"),
    ]


def logistic_regression(experiment: Experiment) -> tuple[np.ndarray, np.ndarray]:
    """Scores and targets of the test rows by a model fitted on the same features of the same training rows."""
    assert experiment.data is not None
    splits = experiment.data.prepare().splits
    model = LogisticRegression(max_iter=5000).fit(splits["train"].inputs, splits["train"].targets)
    return model.predict_proba(splits["test"].inputs)[:, 1], splits["test"].targets


def over_seeds(reference: Reference, experiment: Experiment, runs: Path, seeds: int) -> Line:
    """The experiment as its file says, once per seed."""
    results = [research.run(experiment, seed=seed, name=reference.name, runs=runs) for seed in range(seeds)]
    auroc = [result.metrics["auroc"] for result in results]
    scores, targets = logistic_regression(experiment)
    return Line(
        what=f"{reference.name}, {seeds} seeds",
        rows=auroc[0].n,
        patients="not identified" if auroc[0].patients is None else str(auroc[0].patients),
        auroc=np.array([estimate.value for estimate in auroc]),
        accuracy=np.array([result.metrics["accuracy"].value for result in results]),
        interval=(float(np.mean([e.low for e in auroc])), float(np.mean([e.high for e in auroc]))),
        logistic=float(roc_auc_score(targets, scores)),
        seconds=np.array([result.summary["seconds"] for result in results]),
        reference=reference,
    )


def over_folds(reference: Reference, experiment: Experiment, runs: Path) -> Line:
    """Cross-validation, seed 0: AUROC is the mean over folds; its interval that of all rows together."""
    variants = [replace(experiment, {"data.split.folds": FOLDS, "data.split.fold": fold}) for fold in range(FOLDS)]
    results = [research.run(variant, seed=0, name=reference.name, runs=runs) for variant in variants]
    predicted = [result.predictions["test"] for result in results]
    scores = np.concatenate([np.asarray(p.prediction, np.float64) for p in predicted])  # pyright: ignore
    targets = np.concatenate([p.targets for p in predicted])  # pyright: ignore
    interval = auroc_interval(influence(scores, targets), np.arange(len(targets)))
    return Line(
        what=f"{reference.name}, {FOLDS} folds",
        rows=len(targets),
        patients="not identified",
        auroc=np.array([result.metrics["auroc"].value for result in results]),
        accuracy=np.array([result.metrics["accuracy"].value for result in results]),
        interval=(interval.low, interval.high),
        logistic=float(np.mean([roc_auc_score(t, s) for s, t in map(logistic_regression, variants)])),
        seconds=np.array([result.summary["seconds"] for result in results]),
        reference=reference,
    )


def lines(runs: Path, seeds: int) -> Iterator[Line]:
    """Every line of the table, as it is finished."""
    for reference in references():
        experiment, _ = load_experiment(EXPERIMENTS / f"{reference.name}.py")
        try:
            yield over_seeds(reference, experiment, runs, seeds)
            if reference.folds:
                yield over_folds(reference, experiment, runs)
        except UserError as error:
            print(f"{reference.name} is left out: {error}", file=sys.stderr)


def commit() -> str:
    """The commit that is checked out, with a mark if files differ from it."""
    command = ["git", "-C", str(EXPERIMENTS), "describe", "--always", "--dirty", "--abbrev=10", "--exclude=*"]
    described = subprocess.run(command, capture_output=True, text=True, check=False)
    return described.stdout.strip() or "unknown"


def main() -> None:
    """Run everything and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, required=True, help="folder for the runs; finished ones are not repeated")
    parser.add_argument("--seeds", type=int, default=5, help="runs of each experiment, seeds from 0 (5)")
    options = parser.parse_args()
    if options.seeds < 2:
        parser.error("--seeds: at least 2 are needed for a standard deviation.")
    found = list(lines(options.runs, options.seeds))
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    print(
        f"Experiments, {today}, commit {commit()}, jax {jax.__version__} on {jax.default_backend()}, "
        f"Python {platform.python_version()}, {os.cpu_count()} cores."
    )
    print("AUROC: mean ± standard deviation (range) over seeds or folds, test split. Seconds: median run, all told.\n")
    print(
        "| experiment | test rows | patients | AUROC | 95 % interval | accuracy | logistic regression "
        "| reference | accepted | verdict | s |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    for line in found:
        print(line)


if __name__ == "__main__":
    main()
