"""A tiny experiment that uses most of training, and what is left of a run, for the tests of training."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import jax
import numpy as np

import research
from research.data import SyntheticTable, TableData
from research.evaluation import Predictions
from research.experiment import Evaluation, Execution, Experiment, Selection
from research.losses import CrossEntropy
from research.models import MLP
from research.optimizers import AdamW
from research.results import Result
from research.trained_model import begin
from research.training.checkpoint import Checkpoints
from research.training.loop import train
from research.training.metrics_log import MetricsLog, read_metrics
from research.training.run_directory import RunDirectory
from research.training.setup import set_up

EXPERIMENT = Experiment(
    data=TableData(source=SyntheticTable(patients=100)),
    model=MLP(widths=(4,), dropout=0.2),
    loss=CrossEntropy(),
    optimizer=AdamW(learning_rate=2e-2, average=0.8, accumulate=2),
    steps=60,
    batch_size=16,
    evaluation=Evaluation(every_steps=10, select=Selection(metric="auroc"), resamples=100),
)
"""64 training rows, so 4 updates per epoch; the last batch of an epoch is full."""

QUIET = Execution(tensorboard=False, figures=False)


def run(experiment: Experiment, runs: Path, **options: Any) -> Result:
    """A run without TensorBoard events and figures."""
    return research.run(experiment, runs=runs, **{"execution": QUIET, **options})


class Unsaved(Checkpoints):
    """Stands where checkpoints would be kept: whatever is to be saved is there already."""

    def __init__(self, step: int) -> None:
        self.step = step

    def latest(self) -> int:
        return self.step

    def check(self) -> None:
        pass

    def wait(self) -> None:
        pass


def log_of(experiment: Experiment, folder: Path) -> list[dict[str, Any]]:
    """The lines of the log of a training, without the report that a run ends with and without checkpoints."""
    setup = set_up(experiment, 0, QUIET)
    folder.mkdir(exist_ok=True)
    none = Unsaved(setup.cadence.total)
    with contextlib.closing(MetricsLog(folder / "metrics.jsonl", 0, None)) as log:
        carry, validation = begin(setup, setup.program.initialise()), setup.splits.get("validation")
        train(setup.program, carry, setup.feed, validation, setup.cadence, QUIET, log, none, none, lambda record: None)
    return read_metrics(folder / "metrics.jsonl")


def left_behind(directory: Path) -> dict[str, bytes]:
    """The bits that a run leaves: metrics, predictions, both checkpoints, and results but for the time they took."""
    run_directory = RunDirectory(directory)
    found = {"metrics.jsonl": run_directory.metrics.read_bytes()}
    for file in sorted(run_directory.predictions.glob("*.parquet")):
        rows = Predictions.read(file)
        found[file.name] = np.asarray(rows.prediction).tobytes() + np.asarray(rows.example).tobytes()
    for kind in ("last", "best"):
        for path, leaf in checkpoint(directory, kind).items():
            found[f"{kind}/{path}"] = np.asarray(leaf).tobytes()
    results = run_directory.read("results")
    del results["seconds"], results["feed"], results["input_wait_share"], results["throughput"]
    found["results.json"] = repr(results).encode()
    return found


def checkpoint(directory: Path, kind: str = "last") -> dict[str, Any]:
    """Arrays of the newest checkpoint, by path."""
    checkpoints = Checkpoints(directory / "checkpoints" / kind, writable=False)
    step = checkpoints.latest()
    if step is None:
        return {}
    tree = checkpoints.restore_free(step)
    flat = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in flat}


__all__ = ["EXPERIMENT", "QUIET", "checkpoint", "left_behind", "log_of", "run"]
