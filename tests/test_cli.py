"""The command line shows what users name as they named it."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from research.cli import main
from research.data.catalog import catalog, kinds
from research.datasets import KINDS, SUMMARIES

EXPERIMENT_FILE = """
from research.data import CSV, TableData
from tiny import EXPERIMENT

source = CSV(path="table [v2].csv", target="state [bold]", positive="ill [severe]")
experiment = EXPERIMENT.replace(data=TableData(source=source))
"""
CLASSES = ("well [/]", "ill [severe]")


@pytest.fixture
def bracketed(tmp_path: Path, monkeypatch: Any) -> Path:
    """A folder with an experiment and a table whose names hold what rich would take for markup."""
    monkeypatch.chdir(tmp_path)
    draw = np.random.default_rng(0)
    rows = [f"{draw.integers(60, 200)},{draw.random():.3f},{CLASSES[n % 2]}" for n in range(100)]
    (tmp_path / "table [v2].csv").write_text("\n".join(["glucose [mg/dL],x [/y],state [bold]", *rows]))
    (tmp_path / "study.py").write_text(EXPERIMENT_FILE)
    monkeypatch.setenv("COLUMNS", "160")
    return tmp_path


def test_text_in_brackets_is_shown_as_it_is(bracketed: Path, capsys: Any) -> None:
    def shown(*arguments: str) -> str:
        assert main(arguments) == 0, capsys.readouterr().err
        return capsys.readouterr().out

    text = shown("data", "show", "csv:table [v2].csv?target=state [bold]&positive=ill [severe]")
    assert all(name in text for name in ("table [v2]: 100", "glucose [mg/dL]", "x [/y]", "well [/] ", "ill [severe] "))
    card = shown("run", "study.py", "--dry-run")
    assert all(name in card for name in ("table [v2], fingerprint", "well [/] 3", "ill [severe] 3"))
    report = shown("run", "study.py", "execution.tensorboard=false", "steps=4", "evaluation.every_steps=4")
    assert all(name in report for name in CLASSES)
    assert report.count("\nstudy, seed 0: test split") == 1
    assert main(["data", "show", "csv:table [v2].csv?target=the [/state]"]) == 2
    assert "has no column 'the [/state]'" in capsys.readouterr().err


def test_in_a_folder_of_ones_own_its_experiments_and_all_datasets_are_listed(bracketed: Path, capsys: Any) -> None:
    Path("helpers.py").write_text("value = 3\n")
    assert main(["list"]) == 0
    listed = capsys.readouterr().out
    assert "study.py" in listed and "helpers.py" not in listed and "wisconsin" in listed and "image_folder:" in listed


def test_the_data_of_an_experiment_file_is_shown_and_prepared(bracketed: Path, capsys: Any) -> None:
    for action in ("show", "prepare"):
        assert main(["data", action, "study.py"]) == 0
        assert "table [v2]" in capsys.readouterr().out
    assert main(["run", "table [v2].csv"]) == 2
    assert "an experiment file is Python and ends in .py" in capsys.readouterr().err


def test_termination_undoes_what_is_half_done(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    undone = []

    def terminated(options: Any) -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(10)
        finally:
            undone.append(True)

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr("research.data_command._data", terminated)
    assert main(["data", "list"]) == 128 + signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) is before
    assert undone and "terminated" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["list"], ["data", "list"]])
def test_help_and_lists_are_there_at_once(arguments: list[str]) -> None:
    """What a command needs is imported when it runs; help, lists and mistakes in a command need none of it."""
    heavy = {"jax", "flax", "numpy", "pandas", "matplotlib", "sklearn", "scipy", "orbax"}
    code = (
        f"import sys, research.cli\ntry:\n    research.cli.main({arguments})\nexcept SystemExit:\n    pass\n"
        f"sys.exit(' '.join({heavy} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) > 10


def test_lists_say_of_each_source_what_it_says_of_itself(capsys: Any) -> None:
    assert {name: source().about().summary for name, source in catalog().items()} == SUMMARIES
    assert list(kinds()) == list(KINDS)
    assert main(["data", "list"]) == 0
    shown = capsys.readouterr().out
    assert all(words in shown for words in [*SUMMARIES.values(), *(kind.summary for kind in KINDS.values())])


def test_a_command_leaves_the_looks_for_garbage_as_they_were() -> None:
    before = gc.get_threshold()
    assert main(["data", "list"]) == 0
    assert gc.get_threshold() == before


@pytest.mark.parametrize(("arguments", "code"), [(["list"], 0), (["list", "--nonsense"], 2)])
def test_the_program_ends_with_the_exit_code_of_the_command(arguments: list[str], code: int) -> None:
    done = subprocess.run([sys.executable, "-m", "research", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    assert ("unrecognised argument" in done.stderr) == bool(code)
