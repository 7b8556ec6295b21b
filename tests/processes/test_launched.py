"""Two real processes: the losses of one with two devices, from either feed; stopped, killed, and resumed to the bit."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import pytest
from launched import came, ended, launch, processes_of
from tiny import EXPERIMENT, QUIET, left_behind, run

from research.errors import REQUEUE
from research.experiment import Parallel
from research.training.checkpoint import Checkpoints
from research.training.metrics_log import read_metrics

FILE = """
from tiny import EXPERIMENT as experiment
"""
EXECUTION = QUIET.replace(parallel=Parallel(data=2), log_every=1, checkpoint_every=14)
OPTIONS = [
    "execution.tensorboard=false",
    "execution.figures=false",
    "execution.parallel.data=2",
    "execution.log_every=1",
    "execution.checkpoint_every=14",
]


def only(runs: Path) -> Path:
    """The directory of the only run there."""
    (directory,) = (runs / "tiny_run").iterdir()
    return directory


def losses(directory: Path) -> dict[int, float]:
    """Loss of each update."""
    return {record["step"]: record["train/loss"] for record in read_metrics(directory / "metrics.jsonl")}


def newest(runs: Path) -> int:
    """The step of the newest checkpoint."""
    return max(int(path.name) for path in (only(runs) / "checkpoints" / "last").iterdir() if path.name.isdigit())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("launched")
    (found / "tiny_run.py").write_text(FILE)
    return found


@pytest.fixture(scope="module")
def whole(folder: Path) -> Path:
    """Two processes with a device each, each of which reads its rows from disk, never interrupted."""
    arguments = [str(folder / "tiny_run.py"), *OPTIONS, "execution.feed=streaming", "--runs", str(folder / "whole")]
    code, said = ended(launch(2, arguments))
    assert code == 0, said
    return only(folder / "whole")


def test_two_processes_have_the_losses_of_one_with_their_devices(whole: Path, tmp_path: Path) -> None:
    alone = run(EXPERIMENT, tmp_path, execution=EXECUTION)
    one, two = (
        {r["step"]: r["train/loss"] for r in read_metrics(d / "metrics.jsonl")} for d in (alone.directory, whole)
    )
    assert one.keys() == two.keys() == set(range(1, 61))
    assert two[1] == pytest.approx(one[1], rel=1e-5) and two[20] == pytest.approx(one[20], rel=1e-3)
    assert len({*one.values()}) > 50


def test_a_checkpoint_without_the_part_of_a_killed_process_counts_for_nothing(whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole / "checkpoints" / "last", tmp_path / "last")
    newest = tmp_path / "last" / "60"
    # As a kill leaves it: the parts are not put together, and that of process 1 is not there.
    half = newest.rename(newest.with_name(f"{newest.name}.orbax-checkpoint-tmp"))
    parts = (half / "default").rename(half / "default.orbax-checkpoint-tmp")
    (half / "commit_success.txt").unlink()
    for name in ("commit_success.txt", "manifest.ocdbt", "_METADATA", "_sharding"):
        (parts / name).unlink()
    for name in ("ocdbt.process_1", "d"):
        shutil.rmtree(parts / name)
    kept = Checkpoints(tmp_path / "last")
    assert kept.latest() == 56
    kept.save(60, kept.restore_free(56))
    kept.wait()
    assert sorted(path.name for path in (tmp_path / "last").iterdir()) == ["56", "60"]


def test_stopped_and_killed_it_resumes_to_the_bit(whole: Path, folder: Path) -> None:
    runs = folder / "struck"
    arguments = [str(folder / "tiny_run.py"), *OPTIONS, "--runs", str(runs)]

    # SIGTERM to one of them: both save, and say that they are to be started again.
    launched = launch(2, arguments, f"update:10:{folder / 'stop'}")
    there = came(launched, folder / "stop")
    assert there is not None
    os.kill(there[0], signal.SIGTERM)
    code, said = ended(launched)
    assert code == REQUEUE and "the checkpoint is saved" in said and newest(runs) >= 10, said
    assert f"Interrupted after update {newest(runs)} of 60" in said

    # SIGKILL to process 0 while it writes a checkpoint: the other one says who is lost, in words.
    launched = launch(2, arguments, f"save:{newest(runs) + 1}:{folder / 'kill'}")
    assert came(launched, folder / "kill") is not None
    first, second = processes_of(launched)
    os.kill(first, signal.SIGKILL)
    code, said = ended(launched)
    assert code == 128 + signal.SIGKILL and "killed: process 0" in said, said
    assert f"pid {second}): process 0 (" in said and "has given no sign of life for 4 s, so this one ends too" in said
    assert "run the same command again" in said and "Check failure stack trace" not in said

    code, said = ended(launch(2, arguments))
    assert code == 0, said
    assert left_behind(only(runs)) == left_behind(whole)
