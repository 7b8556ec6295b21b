"""Rows go over as many virtual devices of a processor as were measured to be fastest, which is kept and recorded."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny import EXPERIMENT, QUIET

from research.experiment import Parallel
from research.runner import run
from research.training import processor, virtual_devices
from research.training.run_directory import RunDirectory
from research.training.setup import Setup, set_up
from research.training.virtual_devices import Choice, counts, over_fastest

PROGRAM = """
import sys
import jax
if sys.argv[1:]:
    jax.config.update("jax_num_cpu_devices", int(sys.argv[1]))
from research.training.processor import cores, posed
from research.training.setup import choose_device
choose_device("cpu", True)
print(jax.device_count("cpu") == cores(), jax.device_count("cpu"), posed("cpu"))
"""

Clock = Callable[[dict[int, float]], None]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Clock:
    """A processor that poses as two devices, on which updates take as long as a test says."""
    monkeypatch.setattr(processor, "_posed", True)
    monkeypatch.setattr(virtual_devices, "LEAST_UPDATE", 0)
    monkeypatch.setattr(virtual_devices, "LEAST_TRAINING", 0)
    monkeypatch.setattr(virtual_devices, "_folder", lambda: tmp_path)

    def takes(milliseconds: dict[int, float]) -> None:
        monkeypatch.setattr(virtual_devices, "_compared", lambda setups: {each: milliseconds[each] for each in setups})

    return takes


def made() -> Setup:
    return set_up(EXPERIMENT, 0, QUIET)


def spread_over(setup: Setup) -> int:
    return 1 if setup.program.outline.layout is None else setup.program.outline.layout.programs


def test_numbers_of_devices_that_are_tried_divide_the_batch() -> None:
    assert counts(32, 2) == [2]
    assert counts(32, 20) == [2, 4, 8, 16]
    assert counts(30, 8) == [2, 5]
    assert counts(7, 4) == []


@pytest.mark.parametrize(("took", "devices"), [({1: 10.0, 2: 6.0}, 2), ({1: 10.0, 2: 9.5}, 1), ({1: 5.0, 2: 9.0}, 1)])
def test_more_devices_are_taken_where_they_are_faster_by_more_than_chance(
    clock: Clock, took: dict[int, float], devices: int
) -> None:
    clock(took)
    setup = over_fastest(made())
    assert setup.choice is not None and (setup.choice.devices, setup.choice.milliseconds) == (devices, took)
    assert spread_over(setup) == devices
    assert f"{took[1]:.3g} ms over 1" in str(setup.choice)


def test_a_choice_is_kept_and_a_damaged_one_made_anew(clock: Clock, tmp_path: Path) -> None:
    clock({1: 10.0, 2: 5.0})
    first = over_fastest(made())
    clock({1: 5.0, 2: 10.0})
    again = over_fastest(
        set_up(EXPERIMENT.replace(optimizer=EXPERIMENT.optimizer.replace(learning_rate=0.5)), 1, QUIET)
    )
    assert again.choice == first.choice and spread_over(again) == 2
    other = over_fastest(set_up(EXPERIMENT.replace(batch_size=8), 0, QUIET))
    assert spread_over(other) == 1, "another program has a choice of its own"
    for file in tmp_path.glob("*.json"):
        file.write_text("{")
    assert spread_over(over_fastest(made())) == 1


def test_a_measurement_gives_the_time_of_an_update_over_each_number(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(virtual_devices, "MEASURED_SECONDS", 0.01)
    setup = over_fastest(made())
    assert setup.choice is not None and set(setup.choice.milliseconds) == {1, 2}
    assert all(0 < took < 1e4 for took in setup.choice.milliseconds.values())
    assert setup.choice.devices == spread_over(setup)


def test_small_trainings_are_not_measured(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    clock({})
    monkeypatch.setattr(virtual_devices, "LEAST_TRAINING", 1e30)
    setup = over_fastest(made())
    assert setup.choice == Choice(1) and str(setup.choice) == "" and spread_over(setup) == 1


@pytest.mark.parametrize("parallel", [Parallel(data=1), Parallel(data=2), Parallel(data=1, fsdp=2)])
def test_what_the_user_says_is_done(clock: Clock, parallel: Parallel) -> None:
    clock({1: 10.0, 2: 5.0})
    setup = set_up(EXPERIMENT, 0, QUIET.replace(parallel=parallel))
    assert over_fastest(setup) is setup


def test_a_run_goes_on_over_as_many_as_it_began(clock: Clock, tmp_path: Path) -> None:
    clock({1: 10.0, 2: 5.0})
    folder = tmp_path / "runs"
    first = run(EXPERIMENT, execution=QUIET, runs=folder)
    recorded = RunDirectory(first.directory)
    assert recorded.read("execution")["virtual_devices"] == 2
    assert recorded.execution().parallel.data == 2
    for file in tmp_path.glob("*.json"):
        file.unlink()
    clock({1: 5.0, 2: 10.0})
    run(EXPERIMENT, execution=QUIET, runs=folder, extend=5)
    assert recorded.read("execution")["virtual_devices"] == 2
    assert run(EXPERIMENT, execution=QUIET, runs=tmp_path / "other").fresh
    aside = run(EXPERIMENT, execution=QUIET, runs=folder, fresh=True)
    assert RunDirectory(aside.directory).read("execution")["virtual_devices"] == 1


def test_runs_of_earlier_versions_go_on_over_one(clock: Clock, tmp_path: Path) -> None:
    clock({1: 10.0, 2: 5.0})
    folder = tmp_path / "runs"
    first = run(EXPERIMENT, execution=QUIET.replace(parallel=Parallel(data=1)), runs=folder)
    file = first.directory / "execution.json"
    written = json.loads(file.read_text())
    del written["virtual_devices"]
    file.write_text(json.dumps(written))
    run(EXPERIMENT, execution=QUIET, runs=folder, extend=5)
    assert json.loads(file.read_text())["virtual_devices"] == 1


@pytest.mark.parametrize(
    ("flags", "config", "said"),
    [
        ("", [], "True {cores} True"),
        (f"{processor.FLAG}=257", [], "False 257 False"),
        ("", ["257"], "False 257 False"),  # as pretended devices are made
    ],
)
def test_a_processor_poses_unless_the_user_has_chosen(flags: str, config: list[str], said: str) -> None:
    environment = os.environ | {"XLA_FLAGS": flags}
    command = [sys.executable, "-c", PROGRAM, *config]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.split() == said.format(cores=processor.cores()).split()
