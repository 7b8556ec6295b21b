"""`verify-resume` with real processes and real kills: it passes on an honest experiment, and it can fail."""

from __future__ import annotations

import functools
import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny import EXPERIMENT, run

from research.cli import main
from research.training.run_directory import RunDirectory
from research.training.verify_resume import (
    NOT_REACHED,
    Comparison,
    Interruption,
    Verdict,
    compare_directories,
    verify_resume,
)

QUIET = ("execution.tensorboard=false", "execution.figures=false")
HONEST = """
from research.data import TableData, SyntheticTable
from research.experiment import Evaluation, Experiment, Selection
from research.losses import CrossEntropy
from research.models import MLP
from research.optimizers import AdamW

experiment = Experiment(
    data=TableData(source=SyntheticTable(patients=100)),
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
from research.optimizers import Adam

class Forgetful(Supervised):
    def update(self, spec, state, batch, key, context):
        return super().update(spec, state, batch, jax.random.key(os.getpid()), context)

# Without early stopping: both runs must have the same length for their checkpoints to be compared. With as little to
# compile as there may be, for the key is a constant of the program, which every process compiles anew.
select = Selection(metric="auroc")
evaluation = Evaluation(every_steps=10, select=select, resamples=100)
experiment = experiment.replace(algorithm=Forgetful(), evaluation=evaluation, optimizer=Adam(learning_rate=1e-2))
"""
)


def verify(file: Path, text: str, *interruptions: Interruption) -> Verdict:
    """The verdict with fewer interruptions than a user's call makes, for each takes a process of some seconds."""
    file.write_text(text)
    return verify_resume([str(file), *QUIET, "--seed", "3"], file.parent, lambda line: None, interruptions)


def test_passes_with_dropout_average_accumulation_and_early_stopping(tmp_path: Path) -> None:
    kill_in_save = Interruption("save", 0.3, signal.SIGKILL, 0.01)
    verdict = verify(tmp_path / "honest.py", HONEST, kill_in_save)
    assert verdict.equal and verdict.updates > 20
    assert len(verdict.kills) == verdict.reached == 1 and "while a checkpoint is written" in verdict.kills[0][0]
    assert verdict.kills[0][1] != NOT_REACHED
    compared = {comparison.what for comparison in verdict.comparisons}
    files = {"metrics.jsonl", "predictions/validation.parquet", "predictions/test.parquet", "results.json"}
    assert compared == files | {"last checkpoint", "best checkpoint"}


def test_fails_on_a_key_that_is_not_derived_from_the_step(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    few = functools.partial(verify_resume, interruptions=(Interruption("update", 0.5, signal.SIGTERM),))
    monkeypatch.setattr("research.training.verify_resume.verify_resume", few)
    file = tmp_path / "faulty.py"
    file.write_text(FAULTY)
    assert main(["verify-resume", str(file), *QUIET, "--json"]) == 1
    output = capsys.readouterr()
    assert "a resumed run differs from one that was never interrupted" in output.err and "Traceback" not in output.err
    # What differs is named, with where and by how much.
    verdict = json.loads(output.out)
    differences = {entry["what"]: entry["difference"] for entry in verdict["compared"]}
    assert not verdict["equal"] and differences["metrics.jsonl"].startswith("at update 10: train/loss is ")
    assert "arrays differ, first" in differences["last checkpoint"]
    assert "largest difference" in differences["last checkpoint"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    experiment = EXPERIMENT.replace(steps=8, evaluation=EXPERIMENT.evaluation.replace(every_steps=4))
    return run(experiment, tmp_path_factory.mktemp("runs")).directory


def without_steps(folder: Path) -> None:
    """Leave the folder of checkpoints, but none of them."""
    shutil.rmtree(folder)
    folder.mkdir()


def drop_entry(file: Path) -> None:
    """Remove one entry of the results."""
    results = json.loads(file.read_text())
    del results["reported_step"]
    file.write_text(json.dumps(results))


def drop_metric(file: Path) -> None:
    """Remove one metric of the last line."""
    lines = file.read_text().splitlines()
    record = json.loads(lines[-1])
    del record["train/loss"]
    file.write_text("\n".join([*lines[:-1], json.dumps(record)]) + "\n")


@pytest.mark.parametrize(
    ("what", "place", "spoil", "difference"),
    [
        ("last checkpoint", "checkpoints/last", shutil.rmtree, "only the {} run has it"),
        ("last checkpoint", "checkpoints/last", without_steps, "only the {} run has it"),
        ("best checkpoint", "checkpoints/best", shutil.rmtree, "only the {} run has it"),
        ("predictions/test.parquet", "predictions/test.parquet", Path.unlink, "only the {} run has it"),
        ("results.json", "results.json", drop_entry, "reported_step"),
        ("metrics.jsonl", "metrics.jsonl", drop_metric, "at update 8: train/loss is "),
    ],
)
def test_what_only_one_run_has_is_a_difference(
    finished: Path, tmp_path: Path, what: str, place: str, spoil: Callable[[Path], None], difference: str
) -> None:
    def found(left: Path, right: Path) -> list[Comparison]:
        return [entry for entry in compare_directories(RunDirectory(left), RunDirectory(right)) if entry.difference]

    other = tmp_path / "other"
    shutil.copytree(finished, other)
    assert found(finished, other) == []
    spoil(other / place)
    for left, right, which in ((finished, other, "uninterrupted"), (other, finished, "interrupted")):
        (only,) = found(left, right)
        assert only.what == what and only.difference.startswith(difference.format(which))


def test_a_run_that_was_never_interrupted_proves_nothing(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    verdict = Verdict(4, (("SIGKILL between updates", NOT_REACHED),), (Comparison("metrics.jsonl", "2 lines", ""),))
    monkeypatch.setattr("research.training.verify_resume.verify_resume", lambda *arguments: verdict)
    file = tmp_path / "short.py"
    file.write_text(HONEST)
    assert main(["verify-resume", str(file)]) == 1
    output = capsys.readouterr()
    assert "0 of 1 interruptions took place" in output.out and "not reached" in output.out
    assert "nothing is proven, for none of the 1 interruptions took place" in " ".join(output.err.split())
    assert "equal to the bit" in output.out


def test_a_verdict_needs_an_interruption_and_no_difference() -> None:
    equal, unequal = Comparison("a", "", ""), Comparison("b", "", "differs")
    kills = (("SIGKILL", NOT_REACHED), ("SIGTERM", "update 3"))
    assert Verdict(9, kills, (equal,)).equal and Verdict(9, kills, (equal,)).reached == 1
    assert not Verdict(9, kills[:1], (equal,)).equal and not Verdict(9, (), (equal,)).equal
    assert not Verdict(9, kills, (equal, unequal)).equal and Verdict(9, kills, (unequal,)).differs
