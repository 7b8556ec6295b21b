"""A run directory belongs to one experiment, seed, data and code, and to one process at a time."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from tiny import EXPERIMENT, QUIET, run

from research.errors import UserError
from research.experiment import Parallel, check_execution
from research.optimizers import AdamW
from research.results import Result, load
from research.spec import fingerprint, to_json
from research.training.run_directory import RunDirectory, write_json


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Result:
    return run(EXPERIMENT, tmp_path_factory.mktemp("runs"), seed=3)


@pytest.fixture
def copy(original: Result, tmp_path: Path) -> Path:
    """A copy of the run below ``tmp_path`` that may be spoiled."""
    return shutil.copytree(original.directory, tmp_path / "experiment" / original.directory.name)


def change(file: Path, **entries: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | entries))


def test_the_directory_says_what_was_run(original: Result) -> None:
    directory = original.directory
    assert directory.name == f"{fingerprint(EXPERIMENT)}-s3"
    identity = json.loads((directory / "experiment.json").read_text())
    assert identity["seed"] == 3 and identity["experiment"] == json.loads(json.dumps(to_json(EXPERIMENT)))
    data = json.loads((directory / "data.json").read_text())
    assert data["splits"]["train"]["examples"] == 64 and data["splits"]["train"]["patients"] == 64
    environment = RunDirectory(directory).environment()
    assert {"code", "commit", "dirty", "packages", "device", "cores"} <= set(environment)
    assert environment["packages"]["jax"]
    assert {path.name for path in (directory / "predictions").iterdir()} == {"validation.parquet", "test.parquet"}
    assert load(directory).experiment == EXPERIMENT and load(directory).seed == 3


def test_other_code_is_refused_named_and_accepted_on_demand(copy: Path, tmp_path: Path) -> None:
    made = RunDirectory(copy).environment()
    sessions = [{"from_update": 0} | made | {"code": "0123456789ab", "commit": "abc"}]
    change(copy / "environment.json", sessions=sessions)
    with pytest.raises(UserError, match=r"made by other code \(abc, code 0123456789ab; .*--fresh.*--accept-ch"):
        run(EXPERIMENT, tmp_path, seed=3)
    assert not run(EXPERIMENT, tmp_path, seed=3, accept_changes=True).fresh
    # Nothing was trained by this code, so the result stays the other's; going on records who did what.
    assert RunDirectory(copy).environment()["code"] == "0123456789ab"
    longer = run(EXPERIMENT, tmp_path, seed=3, accept_changes=True, extend=5)
    recorded = RunDirectory(copy).read("environment")["sessions"]
    assert [(s["from_update"], s["code"]) for s in recorded] == [(0, "0123456789ab"), (60, made["code"])]
    assert longer.summary["code"] == made["code"]


def test_other_data_is_refused_and_named(copy: Path, tmp_path: Path) -> None:
    change(copy / "data.json", fingerprint="0000")
    with pytest.raises(UserError, match=r"(?s)made from other data.*fingerprint: '0000' there, '\w+' here.*--fresh"):
        run(EXPERIMENT, tmp_path, seed=3)


def test_other_starting_weights_are_refused_and_named(copy: Path, tmp_path: Path) -> None:
    change(copy / "data.json", start_from="0123")
    with pytest.raises(UserError, match=r"(?s)made from other data.*start_from: '0123' there, None here"):
        run(EXPERIMENT, tmp_path, seed=3)


def test_another_experiment_or_seed_is_refused_and_named(copy: Path) -> None:
    directory = RunDirectory(copy)
    for experiment, seed, words in [
        (
            EXPERIMENT.replace(steps=70, batch_size=8),
            3,
            r"(?s)another experiment.*steps: 60 there, 70 here.*batch",
        ),
        (EXPERIMENT, 4, "seed: 3 there, 4 here"),
    ]:
        with pytest.raises(UserError, match=words):
            directory.check_identity(experiment, seed, {}, {}, accept_changes=False)


def test_a_changed_machine_is_noted_and_not_refused(original: Result) -> None:
    directory = RunDirectory(original.directory)
    now = directory.environment() | {"cores": 999, "dirty": None}
    now["flags"] = now["flags"] | {"XLA_FLAGS": "--xla_gpu_deterministic_ops=true"}
    cores, flags = directory.check_identity(EXPERIMENT, 3, now, directory.read("data"), accept_changes=False)
    assert "cores was" in cores and "999" in cores and "not promised" in cores
    assert "flags.XLA_FLAGS was" in flags and "is '--xla_gpu_deterministic_ops=true' now" in flags


def test_one_process_at_a_time(copy: Path, tmp_path: Path) -> None:
    first, second = RunDirectory(copy), RunDirectory(copy)
    first.open()
    with pytest.raises(UserError, match=r"another process is working in this run directory \(process \d+ on .*--seed"):
        second.open()
    with pytest.raises(UserError, match="another process"):
        run(EXPERIMENT, tmp_path, seed=3)
    first.close()
    second.open()
    second.close()


def test_a_directory_of_something_else_is_left_alone(original: Result, tmp_path: Path) -> None:
    directory = tmp_path / "experiment" / original.directory.name
    directory.mkdir(parents=True)
    (directory / "thesis.tex").write_text("mine")
    with pytest.raises(UserError, match=r"not a run directory, for it holds thesis\.tex.*empty or new"):
        run(EXPERIMENT, tmp_path, seed=3)
    assert (directory / "thesis.tex").read_text() == "mine" and not (directory / "experiment.json").exists()


def test_a_process_killed_while_it_writes_the_identity_leaves_an_empty_run(tmp_path: Path, monkeypatch: Any) -> None:
    from research.training import run_directory

    def killed(path: Path, value: Any) -> None:
        if path.name == "experiment.json":
            path.with_name(f"{path.name}.part").write_text("{")
            raise KeyboardInterrupt
        write_json(path, value)

    with monkeypatch.context() as patch:
        patch.setattr(run_directory, "write_json", killed)
        with pytest.raises(KeyboardInterrupt):
            run(EXPERIMENT, tmp_path, seed=3)
    assert run(EXPERIMENT, tmp_path, seed=3).fresh


def test_files_are_written_whole_or_not_at_all(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    write_json(file, {"x": 1})
    with pytest.raises(TypeError):
        write_json(file, {"x": object()})
    assert json.loads(file.read_text()) == {"x": 1}


def test_an_experiment_is_checked_before_its_directory_is_named(tmp_path: Path) -> None:
    # Not a number has no fingerprint; the message is about the field all the same.
    with pytest.raises(UserError, match=r"optimizer\.learning_rate: a number of at least 0 is needed, nan was given"):
        run(EXPERIMENT.replace(optimizer=AdamW(learning_rate=float("nan"))), tmp_path)
    assert not list(tmp_path.iterdir())


def test_an_execution_is_one() -> None:
    assert check_execution(QUIET) is QUIET
    for wrong, said in (({"device": "cpu"}, "dict"), (Parallel(data=2), "Parallel")):
        with pytest.raises(UserError, match=rf"execution: an Execution such as .* is needed, {said} was given"):
            check_execution(wrong)
