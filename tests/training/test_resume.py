"""Exact resume: whatever ends the process, the same command again gives the bits of a run never interrupted."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny import EXPERIMENT, QUIET, left_behind, run

from research import results, runner
from research.evaluation import Predictions
from research.results import Result
from research.training.checkpoint import Checkpoints
from research.training.loop import Interrupted
from research.training.metrics_log import MetricsLog, read_metrics


class Killed(BaseException):
    """What stands for the end of the process: nothing catches it."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Result:
    return run(EXPERIMENT, tmp_path_factory.mktemp("runs"))


def kill() -> None:
    raise Killed


def terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def after(number: int, original: Callable[..., Any], action: Callable[[], None]) -> Callable[..., Any]:
    """``original``, with ``action`` in place of its ``number``-th call."""
    calls = 0

    def called(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == number:
            action()
        return original(*arguments, **options)

    return called


@pytest.mark.parametrize(
    ("place", "number", "action"),
    [
        ((MetricsLog, "write"), 1, kill),
        ((MetricsLog, "write"), 4, kill),
        ((MetricsLog, "write"), 3, terminate),
        ((Checkpoints, "save"), 1, kill),
        ((Checkpoints, "save"), 4, kill),
        ((Predictions, "write"), 1, kill),
        ((Predictions, "write"), 2, kill),
        ((results, "write_json"), 1, kill),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)).replace("<class ", ""),
)
def test_resumed_equals_uninterrupted(
    whole: Result, tmp_path: Path, monkeypatch: Any, place: Any, number: int, action: Any
) -> None:
    owner, name = place
    execution = QUIET.replace(checkpoint_every=14)
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, after(number, getattr(owner, name), action))
        with pytest.raises(Killed if action is kill else Interrupted):
            run(EXPERIMENT, tmp_path, execution=execution)
    directory = next((tmp_path / "experiment").iterdir())
    assert not (directory / "results.json").exists()
    resumed = run(EXPERIMENT, tmp_path, execution=execution)
    assert resumed.fresh and left_behind(resumed.directory) == left_behind(whole.directory)


def test_interrupted_again_and_again(whole: Result, tmp_path: Path, monkeypatch: Any) -> None:
    for _ in range(2):
        with monkeypatch.context() as patch:
            patch.setattr(MetricsLog, "write", after(1, MetricsLog.write, terminate))
            with pytest.raises(Interrupted, match=r"checkpoint is saved. Run the same command again"):
                run(EXPERIMENT, tmp_path)
    assert left_behind(run(EXPERIMENT, tmp_path).directory) == left_behind(whole.directory)


def test_metrics_are_cut_at_the_checkpoint_and_a_half_written_line_is_dropped(
    whole: Result, tmp_path: Path, monkeypatch: Any
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(MetricsLog, "write", after(6, MetricsLog.write, kill))
        with pytest.raises(Killed):
            run(EXPERIMENT, tmp_path, execution=QUIET.replace(checkpoint_every=14))
    metrics = next(tmp_path.glob("experiment/*/metrics.jsonl"))
    assert [record["step"] for record in read_metrics(metrics)] == [10, 20, 30, 40, 50]
    with metrics.open("a") as file:
        file.write('{"step": 60, "epoch": 15.0, "trai')
    assert read_metrics(metrics)[-1]["step"] == 50
    resumed = run(EXPERIMENT, tmp_path)
    assert left_behind(resumed.directory) == left_behind(whole.directory)


def test_a_damaged_newest_checkpoint_is_named_and_removing_it_falls_back(
    whole: Result, tmp_path: Path, monkeypatch: Any
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(MetricsLog, "write", after(6, MetricsLog.write, kill))
        with pytest.raises(Killed):
            run(EXPERIMENT, tmp_path, execution=QUIET.replace(checkpoint_every=14))
    last = next(tmp_path.glob("experiment/*/checkpoints/last"))
    newest = last / str(Checkpoints(last, writable=False).latest())
    for file in newest.rglob("*"):
        if file.is_file() and file.stat().st_size > 200:
            file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(Exception, match=rf"{newest.name}: the checkpoint cannot be read.*remove it to fall back"):
        run(EXPERIMENT, tmp_path)
    shutil.rmtree(newest)
    assert left_behind(run(EXPERIMENT, tmp_path).directory) == left_behind(whole.directory)


def test_finished_runs_are_shown_and_not_trained_again(whole: Result, compiles: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(runner, "train_on", kill)
    before = modified(whole.directory)
    again = run(EXPERIMENT, whole.directory.parent.parent)
    assert not again.fresh and again.summary == whole.summary and again.metrics == whole.metrics
    assert modified(whole.directory) == before
    assert compiles() == 0


def modified(directory: Path) -> dict[Path, int]:
    files = [path for path in directory.rglob("*") if path.is_file() and path.name != "run.lock"]
    return {path: path.stat().st_mtime_ns for path in files}


def test_fresh_sets_the_earlier_run_aside(whole: Result, tmp_path: Path) -> None:
    shutil.copytree(whole.directory, tmp_path / "experiment" / whole.directory.name)
    again = run(EXPERIMENT, tmp_path, fresh=True)
    assert again.fresh
    aside = again.directory.with_name(f"{again.directory.name}.old1")
    assert left_behind(aside) == left_behind(whole.directory) == left_behind(again.directory)
    assert json.loads((aside / "results.json").read_text()) == whole.summary
