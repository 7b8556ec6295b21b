"""Checkpoints: complete or absent, two at most, readable by a reader that removes nothing, and full disks."""

from __future__ import annotations

import contextlib
import resource
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest
from tiny import EXPERIMENT, QUIET, checkpoint, left_behind, run

from research.errors import RunError, UserError
from research.training.checkpoint import Checkpoints, _without_late_reports

TREE = {"a": {"kernel": jnp.arange(6.0).reshape(2, 3)}, "count": jnp.int32(3), "flag": jnp.bool_(True)}
LARGE = {"kernel": jax.random.normal(jax.random.key(0), (4_000,))}
CPU = jax.devices()[0]


def test_what_is_saved_is_restored(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path / "last")
    assert kept.latest() is None
    for step in (3, 5, 9):
        kept.save(step, {**TREE, "count": jnp.int32(3 + step)})
    kept.close()
    reader = Checkpoints(tmp_path / "last", writable=False)
    assert reader.latest() == 9
    restored = reader.restore(9, TREE, CPU)
    np.testing.assert_array_equal(restored["a"]["kernel"], TREE["a"]["kernel"])
    assert restored["count"].dtype == "int32" and int(restored["count"]) == 12
    assert int(reader.restore_free(5)["count"]) == 8
    assert sorted(path.name for path in (tmp_path / "last").iterdir() if path.name.isdigit()) == ["5", "9"]


def test_what_a_killed_process_leaves_half_written_counts_for_nothing(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path)
    kept.save(3, TREE)
    kept.close()
    half = tmp_path / "7.orbax-checkpoint-tmp"
    half.mkdir()
    (half / "manifest").write_text("half")
    assert Checkpoints(tmp_path, writable=False).latest() == 3
    again = Checkpoints(tmp_path)
    assert again.latest() == 3
    again.save(7, TREE)
    again.wait()
    assert again.latest() == 7


def test_another_structure_is_refused_in_words(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path)
    kept.save(3, TREE)
    kept.wait()
    with pytest.raises(UserError, match=r"3: the checkpoint cannot be read.*another experiment"):
        kept.restore(3, {"b": TREE["a"]}, CPU)
    with pytest.raises(UserError, match=r"4: not a readable checkpoint"):
        kept.restore_free(4)


def test_one_that_has_lost_the_part_of_a_process_is_named_and_can_be_removed(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path)
    for step in (3, 5):
        kept.save(step, LARGE)
    kept.close()
    shutil.rmtree(tmp_path / "5" / "default" / "ocdbt.process_0")
    with pytest.raises(UserError, match=r"5: the checkpoint cannot be read .*damaged.*remove it to fall back"):
        Checkpoints(tmp_path).restore(5, LARGE, CPU)
    shutil.rmtree(tmp_path / "5")
    earlier = Checkpoints(tmp_path).restore(3, LARGE, CPU)
    np.testing.assert_array_equal(earlier["kernel"], LARGE["kernel"])


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="checkpoints cannot be kept here"):
        Checkpoints(tmp_path / "file" / "last")


@contextlib.contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Writing beyond ``size`` bytes of a file fails, as it does on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_save_that_fails_on_one_process_alone_is_told_while_the_others_do_not_come(
    tmp_path: Path, monkeypatch: Any
) -> None:
    kept = Checkpoints(tmp_path)
    kept.save(3, LARGE)
    kept.wait()
    others = threading.Event()

    def meet(*, key: str, timeout_ms: int) -> None:
        if threading.current_thread() is not threading.main_thread():
            others.wait(60)

    def check_for_a_while() -> None:
        for _ in range(1_000):
            kept.check()
            time.sleep(0.01)

    monkeypatch.setattr(ocp.multihost, "get_barrier_sync_fn", lambda **options: meet)
    with largest_file(2_500):
        kept.save(5, LARGE)
        with pytest.raises(RunError, match=r"written: File too large. The checkpoint of step 3 is intact. Free some"):
            check_for_a_while()
    kept.close()
    assert Checkpoints(tmp_path, writable=False).latest() == 3
    others.set()


def test_a_full_disk_stops_the_run_keeps_the_last_checkpoint_and_is_resumed(
    tmp_path: Path, monkeypatch: Any, capfd: Any
) -> None:
    # The hook of a process without pytest, which sets its own.
    monkeypatch.setattr(sys, "unraisablehook", _without_late_reports)
    # Each checkpoint has a larger file, and nothing else that the run writes.
    execution = QUIET.replace(checkpoint_every=14)
    whole = run(EXPERIMENT, tmp_path / "whole", execution=execution)
    saves = 0
    save = Checkpoints.save

    with contextlib.ExitStack() as disk:

        def filling(self: Checkpoints, step: int, value: Any) -> None:
            nonlocal saves
            saves += 1
            if saves == 4:
                self.wait()
                disk.enter_context(largest_file(2_500))
            save(self, step, value)

        with monkeypatch.context() as patch:
            patch.setattr(Checkpoints, "save", filling)
            with pytest.raises(RunError, match=r"could not be written.*[Ff]ree some disk.*run the same command again"):
                run(EXPERIMENT, tmp_path / "full", execution=execution)
    assert "Traceback" not in capfd.readouterr().err
    directory = next((tmp_path / "full" / "experiment").iterdir())
    assert checkpoint(directory)["step"] in (14, 28) and not (directory / "results.json").exists()
    resumed = run(EXPERIMENT, tmp_path / "full", execution=execution)
    assert left_behind(resumed.directory) == left_behind(whole.directory)
