"""`verify-resume` with real processes and real kills: it passes on an honest experiment, and it can fail."""

from __future__ import annotations

import functools
import json
import signal
from pathlib import Path
from typing import Any

from research.cli import main
from research.training.verify_resume import Interruption, Verdict, verify_resume

QUIET = "execution.tensorboard=false"
HONEST = """
from research.data import Data, SyntheticTable
from research.experiment import Evaluation, Experiment, Selection
from research.losses import CrossEntropy
from research.models import MLP
from research.optimizers import AdamW

experiment = Experiment(
    data=Data(source=SyntheticTable(patients=100)),
    model=MLP(widths=(4,), dropout=0.2),
    loss=CrossEntropy(),
    optimizer=AdamW(learning_rate=2e-2, average=0.8, accumulate=2),
    steps=60,
    batch_size=16,
    evaluation=Evaluation(every_steps=10, select=Selection(metric="auroc", patience=4), resamples=100),
)
"""
FAULTY = (
    HONEST
    + """
import os
import jax
from research.algorithms import Supervised

class Forgetful(Supervised):
    def update(self, spec, state, batch, key, context):
        return super().update(spec, state, batch, jax.random.key(os.getpid()), context)

# Without early stopping: both runs must have the same length for their checkpoints to be compared.
select = Selection(metric="auroc")
evaluation = Evaluation(every_steps=10, select=select, resamples=100)
experiment = experiment.replace(algorithm=Forgetful(), evaluation=evaluation)
"""
)


def verify(file: Path, text: str, *interruptions: Interruption) -> Verdict:
    """The verdict with fewer interruptions than a user's call makes, for each takes a process of some seconds."""
    file.write_text(text)
    return verify_resume([str(file), QUIET, "--seed", "3"], file.parent, lambda line: None, interruptions)


def test_passes_with_dropout_average_accumulation_and_early_stopping(tmp_path: Path) -> None:
    kill_in_save = Interruption("save", 0.3, signal.SIGKILL, 0.01)
    verdict = verify(tmp_path / "honest.py", HONEST, kill_in_save)
    assert verdict.equal and verdict.updates > 20
    assert len(verdict.kills) == 1 and "while a checkpoint is written" in verdict.kills[0][0]
    assert verdict.kills[0][1] != "not reached"
    compared = {comparison.what for comparison in verdict.comparisons}
    files = {"metrics.jsonl", "predictions/validation.parquet", "predictions/test.parquet", "results.json"}
    assert compared == files | {"last checkpoint", "best checkpoint"}


def test_fails_on_a_key_that_is_not_derived_from_the_step(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    few = functools.partial(verify_resume, interruptions=(Interruption("update", 0.5, signal.SIGTERM),))
    monkeypatch.setattr("research.training.verify_resume.verify_resume", few)
    file = tmp_path / "faulty.py"
    file.write_text(FAULTY)
    assert main(["verify-resume", str(file), QUIET, "--json"]) == 1
    output = capsys.readouterr()
    assert "a resumed run differs from one that was never interrupted" in output.err and "Traceback" not in output.err
    # What differs is named, with where and by how much.
    verdict = json.loads(output.out)
    differences = {entry["what"]: entry["difference"] for entry in verdict["compared"]}
    assert not verdict["equal"] and differences["metrics.jsonl"].startswith("at update 10: train/loss is ")
    assert "arrays differ, first" in differences["last checkpoint"]
    assert "largest difference" in differences["last checkpoint"]
