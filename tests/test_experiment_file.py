"""Experiment files import their neighbours, wherever the command is given and however it is started."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from research.errors import UserError
from research.experiment import Execution
from research.experiment_file import load_experiment
from research.spec import fingerprint
from research.training.run_directory import RunDirectory


def test_a_file_imports_a_module_beside_it(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    folder = tmp_path / "studies"
    folder.mkdir()
    (folder / "neighbour_of_study.py").write_text("from tiny import EXPERIMENT\nSHORT = EXPERIMENT.replace(steps=7)\n")
    (folder / "study.py").write_text("from neighbour_of_study import SHORT\nexperiment = SHORT\n")
    monkeypatch.chdir(tmp_path)
    for path in (Path("studies/study.py"), folder / "study.py", folder / "study.py"):
        experiment, source = load_experiment(path)
        assert experiment.steps == 7 and source is None
    # The folder is added once, however often its files are loaded.
    assert sys.path.count(str(folder.resolve())) == 1


def test_a_neighbour_that_is_missing_is_named_with_the_line(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    file = tmp_path / "study.py"
    file.write_text("\nfrom no_such_neighbour import experiment\n")
    with pytest.raises(UserError, match=r"study\.py, line 2: ModuleNotFoundError: .*no_such_neighbour"):
        load_experiment(file)


def test_a_class_beside_the_file_is_found_again_from_the_run_alone(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "losses_of_study.py").write_text(
        "from research.losses import CrossEntropy\nclass Mine(CrossEntropy):\n    pass\n"
    )
    file = tmp_path / "study_of_mine.py"
    file.write_text(
        "from losses_of_study import Mine\nfrom tiny import EXPERIMENT\nexperiment = EXPERIMENT.replace(loss=Mine())\n"
    )
    experiment, source = load_experiment(file)
    assert source == file
    directory = RunDirectory(tmp_path / "run")
    directory.open()
    directory.write_identity("study", experiment, 0, Execution(), {}, {}, source)
    directory.close()
    # As in another process, in another folder.
    sys.path.remove(str(tmp_path.resolve()))
    del sys.modules["losses_of_study"], sys.modules["experiment_file.study_of_mine"]
    again, _, _ = directory.experiment()
    assert type(again.loss).__name__ == "Mine" and fingerprint(again) == fingerprint(experiment)
