"""What the experiments on series reach, beside published numbers; prints dated tables.

    RESEARCH_DATA_DIR=DATA python scripts/prove/series.py --runs RUNS [--only vitals ucr heartbeats synthetic seeds]

vitals: death in hospital after the first 48 hours in intensive care (PhysioNet 2012, set A), five folds of the
patients as in Che et al. 2018: mean and standard deviation over the folds, and DeLong's interval over all patients,
each of whom is tested once.

ucr: sets of the UCR archive with their official split, five seeds, the last weights, nothing chosen; published are
mean and standard deviation of ten runs of Ismail Fawaz et al. 2019, who train for 2,000 (FCN) or 1,500 (ResNet) epochs.

heartbeats: MIT-BIH between patients (de Chazal et al. 2004): the beats of each class beside the published counts, and
for each class and in the form of the AAMI what is found, seed 0, with intervals by patient.

synthetic: made-up series and records beside the best score that any model can expect, and their controls, in which
nothing that is shown tells of the labels; seed 0. Control and signal have the same labels.

seeds: experiments on the one split of their files over some seeds, beside what simple rules reach on the same rows.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import os
import platform
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pandas as pd
from sklearn.linear_model import LinearRegression

import research
from research.data import MITBIH
from research.evaluation.delong import auroc_interval, influence
from research.evaluation.report import Estimate
from research.experiment_file import load_experiment
from research.losses import MSE
from research.models import FCN
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
    Published("vitals_transformer", "none by this protocol"),
)

SEEDS = 5
UCR = (
    ("ECG200", "FCN", 150, 10, "0.889 (0.010)"),
    ("ECG200", "ResNet", 150, 10, "0.874 (0.019)"),
    ("ECGFiveDays", "FCN", 300, 4, "0.987 (0.003)"),
    ("ECGFiveDays", "ResNet", 300, 4, "0.975 (0.019)"),
    ("ECG5000", "FCN", 20, 16, "0.940 (0.001)"),
    ("ECG5000", "ResNet", 20, 16, "0.934 (0.002)"),
)
"""Set, network, epochs, batch size, and the published accuracy, mean and standard deviation of ten runs."""

DE_CHAZAL = {"train": (45_866, 944, 3_788, 415, 8), "test": (44_259, 1_837, 3_221, 388, 7)}
"""Beats of the classes N, S, V, F and Q in DS1 and DS2, as published."""

NEXT_CODE = {"data.source.task": "next_code", "model.causal": True, "model.readout": "each"}
FORECAST = {"data.source.task": "forecast", "loss": MSE(standardize=True), "model.readout": "last"}

SYNTHETIC: tuple[tuple[str, dict[str, Any], str, Callable[[Any], float]], ...] = (
    ("synthetic_vitals_gru", {}, "auroc", lambda source: source.bayes_auroc()),
    ("synthetic_vitals_gru", FORECAST, "rmse", lambda source: source.best_rmse()),
    ("synthetic_ecg_fcn", {}, "auroc", lambda source: source.bayes_auroc()),
    ("synthetic_ecg_fcn", {"data.source.task": "rhythm"}, "accuracy", lambda source: 1.0),
    ("synthetic_records_transformer", {}, "auroc", lambda source: source.bayes_auroc()),
    ("synthetic_records_transformer", NEXT_CODE, "log_loss", lambda source: source.best_log_loss()),
)
"""Experiment, what is changed in it, the metric, and the best that any model can expect of it."""


SEEDED = (
    ("vitals_transformer", "auroc", 3),
    ("ptbxl_xresnet", "auroc", 5),
    ("glucose_lstm", "rmse", 5),
    ("records_transformer", "accuracy", 3),
)
"""Experiment, metric, and number of seeds."""


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


def ucr(runs: Path) -> Iterator[str]:
    """Accuracy of the last weights over the seeds."""
    yield "| set | network | test series | epochs | accuracy, mean (sd) | range | published, mean (sd) | s |"
    yield "|---|---|---|---|---|---|---|---|"
    resnet = load_experiment(EXPERIMENTS / "ecg200_resnet.py")[0]
    for name, network, epochs, batch_size, published in UCR:
        changes: dict[str, Any] = {
            "data.source.name": name,
            "data.source.positive": None,
            "epochs": epochs,
            "batch_size": batch_size,
        }
        changes |= {"model": FCN(momentum=0.9)} if network == "FCN" else {}
        experiment = replace(resnet, changes)
        results = [research.run(experiment, seed=seed, name=f"ucr_{name}", runs=runs) for seed in range(SEEDS)]
        found = np.array([result.metrics["accuracy"].value for result in results])
        cells = [
            name,
            network,
            f"{results[0].metrics['accuracy'].n}",
            f"{epochs}",
            f"{found.mean():.4f} ({found.std(ddof=1):.4f})",
            f"{found.min():.4f} to {found.max():.4f}",
            published,
            f"{np.median([result.summary['seconds'] for result in results]):.0f}",
        ]
        yield f"| {' | '.join(cells)} |"


def heartbeats(runs: Path) -> Iterator[str]:
    """Beats of each class, and what is found of each class in patients that were not trained on."""
    series = MITBIH(shared_patient="keep").load()
    assert series.split is not None
    yield f"| beats | {' | '.join(series.task.names)} |"
    yield "|---|---|---|---|---|---|"
    for split, published in DE_CHAZAL.items():
        counts = np.bincount(series.targets[series.split == split], minlength=len(published))
        yield f"| {split}, found | {' | '.join(f'{count:,}' for count in counts)} |"
        yield f"| {split}, published | {' | '.join(f'{count:,}' for count in published)} |"
    yield ""
    yield "| experiment | what | sensitivity | positive predictivity | false positive rate | AUROC |"
    yield "|---|---|---|---|---|---|"
    for name in ("ecg_lstm", "ecg_fcn"):
        result = research.run(load_experiment(EXPERIMENTS / f"{name}.py")[0], seed=0, name=name, runs=runs)
        for part, estimates in result.report.parts.items():
            shown = {estimate.name: _shown(estimate) for estimate in estimates}
            cells = [name, part if "AAMI" in part else f"class {part}"]
            cells += [shown.get(key, "") for key in ("sensitivity", "precision", "false_positive_rate", "auroc")]
            yield f"| {' | '.join(cells)} |"


def _shown(estimate: Estimate) -> str:
    return f"{estimate.value:.3f} ({estimate.low:.3f} to {estimate.high:.3f})"


def synthetic(runs: Path) -> Iterator[str]:
    """Scores on made-up data beside the best possible ones, and on the controls."""
    yield "| experiment | changed | metric | found | 95 % interval | best possible | control | 95 % interval | s |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for name, changes, metric, best in SYNTHETIC:
        experiment: Any = replace(load_experiment(EXPERIMENTS / f"{name}.py")[0], changes)
        result = research.run(experiment, seed=0, name=name, runs=runs)
        found = result.metrics[metric]
        cells = [name, ", ".join(f"{path}={value}" for path, value in changes.items()), metric]
        cells += [f"{found.value:.4f}", f"{found.low:.4f} to {found.high:.4f}", f"{best(experiment.data.source):.4f}"]
        if metric == "auroc":
            hidden = replace(experiment, {"data.source.visible": False})
            control = research.run(hidden, seed=0, name=name, runs=runs).metrics[metric]
            cells += [f"{control.value:.4f}", f"{control.low:.4f} to {control.high:.4f}"]
        else:
            cells += ["", ""]
        yield f"| {' | '.join([*cells, str(round(result.summary['seconds']))])} |"


def seeds(runs: Path) -> Iterator[str]:
    """Mean and range over seeds."""
    yield "| experiment | metric | seeds | mean (range) | 95 % interval, seed 0 | simple rules, the same rows | s |"
    yield "|---|---|---|---|---|---|---|"
    for name, metric, count in SEEDED:
        experiment = load_experiment(EXPERIMENTS / f"{name}.py")[0]
        results = [research.run(experiment, seed=seed, name=name, runs=runs) for seed in range(count)]
        first, found = results[0].metrics[metric], np.array([result.metrics[metric].value for result in results])
        cells = [
            name,
            metric,
            f"{count}",
            f"{found.mean():.4f} ({found.min():.4f} to {found.max():.4f})",
            f"{first.low:.4f} to {first.high:.4f}",
            RULES[name](experiment.data.prepare()) if experiment.data is not None and name in RULES else "",
            f"{np.median([result.summary['seconds'] for result in results]):.0f}",
        ]
        yield f"| {' | '.join(cells)} |"


def _forecast_rules(prepared: Any) -> str:
    """RMSE of the last reading, and of a linear autoregression on all readings of a window."""
    readings, truth = {}, {}
    for split in ("train", "test"):
        examples = prepared.splits[split]
        readings[split] = examples.read(np.arange(len(examples)))["values"][..., 0].astype(np.float64)
        truth[split] = examples.targets.astype(np.float64)
    centre = np.nanmean(readings["train"])
    filled = {split: np.nan_to_num(values - centre) for split, values in readings.items()}
    linear = LinearRegression().fit(filled["train"], truth["train"]).predict(filled["test"])
    as_now = prepared.splits["test"].origins.value[:, None]
    shown = []
    for rule, said in (("as now", as_now), ("linear autoregression", linear)):
        squared = (said - truth["test"]) ** 2
        each = ", ".join(f"{np.sqrt(error):.2f}" for error in squared.mean(0))
        shown.append(f"{rule} {np.sqrt(squared.mean()):.2f} ({each} by horizon)")
    return ", ".join(shown)


def _next_code_rules(prepared: Any) -> str:
    """Accuracy of the code most frequent in train, and of that which follows each code most often there."""
    pairs = {}
    for split in ("train", "test"):
        examples = prepared.splits[split]
        codes = examples.read(np.arange(len(examples)))["codes"]
        pairs[split] = pd.DataFrame(
            {"code": codes[examples.targets >= 0], "next": examples.targets[examples.targets >= 0]}
        )
    most = pairs["train"]["next"].mode()[0]
    follows = pairs["train"].groupby("code")["next"].agg(lambda codes: codes.mode()[0])
    said = pairs["test"]["code"].map(follows).fillna(most)
    shares = [(pairs["test"]["next"] == guess).mean() for guess in (most, said)]
    return f"most frequent {shares[0]:.3f}, most frequent after the last one {shares[1]:.3f}"


RULES: dict[str, Callable[[Any], str]] = {"glucose_lstm": _forecast_rules, "records_transformer": _next_code_rules}

TABLES: dict[str, Callable[[Path], Iterator[str]]] = {
    "vitals": vitals,
    "ucr": ucr,
    "heartbeats": heartbeats,
    "synthetic": synthetic,
    "seeds": seeds,
}


def main() -> None:
    """Run what is asked for and print its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, required=True, help="folder for the runs; finished ones are not repeated")
    parser.add_argument("--only", nargs="*", default=TABLES, choices=TABLES, help="only these tables")
    options = parser.parse_args()
    command = ["git", "-C", str(EXPERIMENTS), "describe", "--always", "--dirty", "--abbrev=10", "--exclude=*"]
    commit = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() or "unknown"
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    print(
        f"Experiments on series, {today}, commit {commit}, jax {jax.__version__} on {jax.default_backend()}, Python "
        f"{platform.python_version()}, {os.cpu_count()} cores. Seconds: median run."
    )
    for table in options.only:
        print(f"\n{table}\n")
        for text in TABLES[table](options.runs):
            print(text, flush=True)


if __name__ == "__main__":
    main()
