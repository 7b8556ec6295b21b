"""An ablation as training leaves it, its numbers made up: its directory, for tests of what is made from that alone."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
from tiny import EXPERIMENT

from research.ablation.ablation import Ablation
from research.ablation.directory import AblationDirectory
from research.ablation.run import _described as described
from research.evaluation import Predictions
from research.evaluation.predictions import write_members
from research.task import Task
from research.training.metrics_log import MetricsLog
from research.training.run_directory import write_json

TASK = Task("binary", ("well", "ill"))
GRID = {"optimizer.learning_rate": [1e-3, 2e-2], "optimizer.weight_decay": [0.0, 0.01]}
SEEDS = 3
STEPS = range(10, 60, 10)
LOGGED = ("train/loss", "validation/auroc", "validation/loss")
METRICS = {"auroc": 0.0, "log_loss": 0.0}
SECONDS = 6.0


def plan_in(path: Path, ablation: Ablation) -> None:
    """A directory with a plan, in which nothing has been trained."""
    path.mkdir()
    (arms, notes), members = ablation.arms(), ablation.members()
    AblationDirectory(path).write_plan(described(ablation, "study", arms, notes, members), None)


def made_in(path: Path) -> None:
    """A directory of four arms and three seeds in one wave, all of them trained."""
    ablation = Ablation(baseline=EXPERIMENT, grid=GRID, seeds=SEEDS)
    plan_in(path, ablation)
    members, wave = ablation.members(), path / "waves" / "only"
    (wave / "predictions").mkdir(parents=True)
    listed = [{"name": member.name, "identity": member.identity} for member in members]
    write_json(wave / "wave.json", {"members": listed, "codes": ["0"], "way": {"strategy": "map", "replicas": 1}})
    draw = np.random.default_rng(0)
    targets = (np.arange(60) % 3 == 0).astype(np.int32)
    for split in ("validation", "test"):
        scores = 1 / (1 + np.exp(-draw.normal(size=(len(members), 60)) - 1.5 * targets))
        found = {n: Predictions(TASK, split, np.arange(60), row, targets) for n, row in enumerate(scores)}
        write_members(wave / "predictions" / f"{split}.parquet", found)
    with contextlib.closing(MetricsLog(wave / "curves.jsonl", 0, None)) as log:
        for step in STEPS:
            record: dict[str, Any] = {"step": step, "epoch": step / 4, "member": list(range(len(members)))}
            for name in LOGGED:
                record[name] = draw.uniform(0.5, 0.6, len(members)).tolist()
            log.write(record)
    ended = {"failed_step": None, "stopped_early": False, "metrics": METRICS, "updates": 50, "reported_step": 30}
    each = [{"name": m.name} | ended for m in members]
    write_json(wave / "results.json", {"split": "test", "members": each, "seconds": SECONDS})


__all__ = ["GRID", "LOGGED", "METRICS", "SECONDS", "SEEDS", "STEPS", "TASK", "made_in", "plan_in"]
