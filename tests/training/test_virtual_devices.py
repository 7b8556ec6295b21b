"""Rows go over as many virtual devices of a processor as were measured to be fastest, which is kept and recorded."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import pytest
from rich.console import Console
from tiny import EXPERIMENT, QUIET

from research import results, runner
from research.data import SyntheticTable
from research.experiment import Parallel
from research.optimizers import SGD
from research.results import evaluate_run
from research.runner import dry_run, run
from research.training import processor, trials, virtual_devices
from research.training.program import Program
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
    monkeypatch.setattr(trials, "LEAST_UPDATES", 0)
    monkeypatch.setattr(trials, "folder_of", lambda kind: tmp_path)

    def takes(milliseconds: dict[int, float]) -> None:
        monkeypatch.setattr(
            trials, "compared", lambda setups: {each: milliseconds[each] for each in setups if milliseconds}
        )

    return takes


def made() -> Setup:
    return set_up(EXPERIMENT, 0, QUIET)


def test_numbers_of_devices_that_are_tried_divide_the_batch() -> None:
    assert counts(32, 2) == [2]
    assert counts(32, 20) == [2, 4, 8, 16]
    assert counts(30, 8) == [2, 5]
    assert counts(7, 4) == []


@pytest.mark.parametrize(("took", "devices"), [({1: 10.0, 2: 6.0}, 2), ({1: 10.0, 2: 9.7}, 1), ({1: 5.0, 2: 9.0}, 1)])
def test_more_devices_are_taken_where_they_are_faster_by_more_than_chance(
    clock: Clock, took: dict[int, float], devices: int
) -> None:
    clock(took)
    setup = over_fastest(made())
    assert setup.choice is not None and (setup.choice.devices, setup.choice.milliseconds) == (devices, took)
    assert setup.programs == devices
    assert f"{took[1]:.3g} ms over 1" in str(setup.choice)


def test_a_choice_is_kept_and_a_damaged_one_made_anew(clock: Clock, tmp_path: Path) -> None:
    clock({1: 10.0, 2: 5.0})
    first = over_fastest(made())
    clock({1: 5.0, 2: 10.0})
    again = over_fastest(
        set_up(EXPERIMENT.replace(optimizer=EXPERIMENT.optimizer.replace(learning_rate=0.5)), 1, QUIET)
    )
    assert again.choice == first.choice and again.programs == 2
    other = over_fastest(set_up(EXPERIMENT.replace(batch_size=8), 0, QUIET))
    assert other.programs == 1, "another program has a choice of its own"
    for file in tmp_path.glob("*.json"):
        file.write_text("{")
    assert over_fastest(made()).programs == 1


def test_a_measurement_gives_the_time_of_an_update_over_each_number(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trials, "MEASURED_SECONDS", 0.01)
    setup = over_fastest(made())
    assert setup.choice is not None and set(setup.choice.milliseconds) == {1, 2}
    assert all(0 < took < 1e4 for took in setup.choice.milliseconds.values())
    assert setup.choice.devices == setup.programs


@pytest.mark.parametrize(
    ("module", "least"),
    [(virtual_devices, "LEAST_UPDATE"), (virtual_devices, "LEAST_TRAINING"), (trials, "LEAST_UPDATES")],
)
def test_small_trainings_take_one_program_whatever_a_longer_one_has_left(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, module: Any, least: str
) -> None:
    clock({1: 10.0, 2: 5.0})
    assert over_fastest(made()).programs == 2
    monkeypatch.setattr(module, least, 1e30)
    setup = over_fastest(made())
    assert setup.choice is not None and str(setup.choice) == "" and setup.programs == 1


def test_what_cannot_be_measured_is_not_kept(clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock({})
    assert over_fastest(made()).programs == 1 and not list(tmp_path.iterdir())
    clock({1: 10.0, 2: 5.0})
    with monkeypatch.context() as patch:
        patch.setattr(trials, "compared", interrupted)
        with pytest.raises(KeyboardInterrupt):
            over_fastest(made())
    assert not list(tmp_path.iterdir())
    assert over_fastest(made()).programs == 2


def interrupted(*_: Any) -> Any:
    raise KeyboardInterrupt


def test_updates_that_end_in_no_number_and_memory_that_runs_out_are_no_measurement(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trials, "MEASURED_SECONDS", 0.01)
    monkeypatch.setattr(trials, "MUCH_SLOWER", 1e9)
    wild = EXPERIMENT.replace(optimizer=SGD(learning_rate=1e38))
    setup = over_fastest(set_up(wild, 0, QUIET))
    assert setup.choice is not None and not setup.choice.milliseconds and setup.programs == 1
    monkeypatch.setattr(Program, "advance", exhausted)
    setup = over_fastest(made())
    assert setup.choice is not None and not setup.choice.milliseconds


def exhausted(*_: Any) -> None:
    raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory")


def test_rows_that_lie_once_on_each_device_stay_within_what_may_be_resident(clock: Clock) -> None:
    clock({1: 10.0, 2: 5.0})
    held = sum(leaf.nbytes for leaf in jax.tree.leaves(made().splits))
    large = EXPERIMENT.replace(data=EXPERIMENT.data.replace(source=SyntheticTable(patients=2**20 * 120 // held)))
    for limit, programs in ((1, 1), (2, 1), (4, 2)):
        setup = over_fastest(set_up(large, 0, QUIET.replace(resident_mib=limit)))
        assert setup.programs == programs, (limit, sum(leaf.nbytes for leaf in jax.tree.leaves(setup.splits)))


def test_another_machine_measures_anew(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    clock({1: 10.0, 2: 5.0})
    assert over_fastest(made()).programs == 2
    clock({1: 5.0, 2: 10.0})
    with monkeypatch.context() as patch:
        patch.setattr(trials, "cores", lambda: 64)
        assert over_fastest(made()).programs == 1
    with monkeypatch.context() as patch:
        patch.setattr(trials, "processor_features", lambda: "others")
        assert over_fastest(made()).programs == 1
    assert over_fastest(made()).programs == 2


def test_what_is_much_slower_is_given_up_after_an_update(monkeypatch: pytest.MonkeyPatch) -> None:
    made_of: dict[str, int] = {"quick": 0, "slow": 0}

    class Trial:
        def __init__(self, kind: str) -> None:
            self.kind, self.whole, self.took = kind, True, {"quick": 10.0, "slow": 41.0}[kind]

        def milliseconds(self, updates: int) -> float:
            assert updates == 50  # half a second of the quicker one
            made_of[self.kind] += 1
            return self.took

    monkeypatch.setattr(trials, "_Trial", Trial)
    told: Any = {"quick": "quick", "slow": "slow"}
    assert trials.compared(told) == {"quick": 10.0, "slow": 41.0} and made_of == {"quick": 0, "slow": 0}
    monkeypatch.setattr(trials, "MUCH_SLOWER", 5)
    assert trials.compared(told) == {"quick": 10.0, "slow": 41.0} and made_of == {"quick": 3, "slow": 3}


@pytest.mark.parametrize(
    ("seconds", "left", "expected"),
    [
        (0.01, 2048, [1, 1, 50]),
        (0.01, 3, [1, 1, 3]),
        (0.15, 2048, [1, 1, 4]),
        (0.9, 2048, [1, 1, 2]),
        (1.5, 2048, [1, 1, 1]),
        (2.5, 2048, [1, 1]),
    ],
)
def test_a_measurement_is_of_several_updates_as_far_as_a_dispatch_has_so_many(
    seconds: float, left: int, expected: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clock that goes on by ``seconds`` with each update."""
    now, made_of = 0.0, []

    class Program:
        def compile(self, *given: Any) -> None: ...

        def initialise(self) -> Any:
            return SimpleNamespace(step=0)

        def advance(self, carry: Any, window: Any, count: int) -> Any:
            nonlocal now
            now += seconds * count
            made_of.append(count)
            return SimpleNamespace(step=carry.step + count)

    monkeypatch.setattr(trials, "time", SimpleNamespace(perf_counter=lambda: now))
    monkeypatch.setattr(trials, "ROUNDS", 1)
    feed = SimpleNamespace(window=lambda step: SimpleNamespace(left=left))
    setup: Any = SimpleNamespace(feed=feed, program=Program())
    assert trials.compared({1: setup}) == {1: pytest.approx(1e3 * seconds)}
    assert made_of == expected


def test_all_processes_take_what_the_first_has_kept(clock: Clock, tmp_path: Path) -> None:
    clock({1: 10.0, 2: 5.0})
    over_fastest(made())
    (file,) = tmp_path.iterdir()
    kept = virtual_devices._keep(file.stem, Choice(1, {1: 10.0, 2: 12.0}, "2026-01-01", 1.0))
    assert kept.devices == 2 and [each.name for each in tmp_path.iterdir()] == [file.name]


def test_a_dry_run_says_what_is_open_and_leaves_nothing(clock: Clock, tmp_path: Path) -> None:
    clock({1: 10.0, 2: 5.0})
    arguments: dict[str, Any] = {"seed": 0, "execution": QUIET, "name": "tiny", "runs": tmp_path / "runs"}
    said = dry_run(EXPERIMENT, **arguments).facts["parallel"]
    assert said == "rows over 1 or 2 of its cores: measured when the run begins" and not list(tmp_path.iterdir())
    run(EXPERIMENT, execution=QUIET, runs=tmp_path / "runs")
    assert dry_run(EXPERIMENT, **arguments | {"fresh": True}).facts["parallel"].startswith("rows over 2 of its cores;")


def test_a_run_over_several_is_evaluated_over_as_many(
    clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock({1: 10.0, 2: 5.0})
    made = run(EXPERIMENT, execution=QUIET, runs=tmp_path / "runs")
    asked = []

    def noted(*arguments: Any, **options: Any) -> Setup:
        asked.append(arguments[2].parallel.data)
        return set_up(*arguments, **options)

    monkeypatch.setattr(results, "set_up", noted)
    assert evaluate_run(made.directory)[1] == made.report
    # Where the processor is one device, or an accelerator is taken, the number of cores says nothing.
    monkeypatch.setattr(results, "posed", lambda kind: False)
    evaluate_run(made.directory)
    assert asked == [2, -1]


def test_a_run_that_streams_is_spread_with_the_same_batches(clock: Clock, tmp_path: Path) -> None:
    clock({1: 10.0, 2: 5.0})
    predicted = []
    for number, execution in enumerate((QUIET, QUIET.replace(feed="streaming"))):
        result = run(EXPERIMENT, execution=execution, runs=tmp_path / str(number))
        assert RunDirectory(result.directory).virtual_devices() == 2
        predicted.append(result.predictions["test"].prediction.tobytes())
    assert predicted[0] == predicted[1]


def test_going_on_where_a_processor_is_one_device_is_said(
    clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock({1: 10.0, 2: 5.0})
    run(EXPERIMENT, execution=QUIET, runs=tmp_path / "runs")
    monkeypatch.setattr(processor, "_posed", False)
    console = Console(file=io.StringIO(), width=200)
    run(EXPERIMENT, execution=QUIET, runs=tmp_path / "runs", extend=5, console=console)
    said = " ".join(console.file.getvalue().split())
    assert "lay over 2 of the processor's cores when this run went on and lie over 1 now" in said


def test_a_run_that_failed_before_its_first_update_is_measured_as_a_new_one(
    clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock({1: 5.0, 2: 10.0})
    with monkeypatch.context() as patch:
        patch.setattr(runner, "train_on", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(EXPERIMENT, execution=QUIET, runs=tmp_path / "runs")
    for file in tmp_path.glob("*.json"):
        file.unlink()
    clock({1: 10.0, 2: 5.0})
    result = run(EXPERIMENT, execution=QUIET, runs=tmp_path / "runs")
    assert RunDirectory(result.directory).virtual_devices() == 2


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
    assert recorded.virtual_devices() == 2
    for file in tmp_path.glob("*.json"):
        file.unlink()
    clock({1: 5.0, 2: 10.0})
    run(EXPERIMENT, execution=QUIET, runs=folder, extend=5)
    assert recorded.virtual_devices() == 2
    assert run(EXPERIMENT, execution=QUIET, runs=tmp_path / "other").fresh
    aside = run(EXPERIMENT, execution=QUIET, runs=folder, fresh=True)
    assert RunDirectory(aside.directory).virtual_devices() == 1


def test_a_layout_of_ones_own_is_kept_or_its_change_said(clock: Clock, tmp_path: Path) -> None:
    clock({1: 5.0, 2: 10.0})
    folder = tmp_path / "runs"

    def said(parallel: Parallel) -> str:
        console = Console(file=io.StringIO(), width=200)
        run(EXPERIMENT, execution=QUIET.replace(parallel=parallel), runs=folder, extend=5, console=console)
        return " ".join(console.file.getvalue().split())

    first = run(EXPERIMENT, execution=QUIET.replace(parallel=Parallel(data=2)), runs=folder)
    recorded = RunDirectory(first.directory)
    assert "equality to the bit" not in said(Parallel()) and recorded.virtual_devices() == 2
    assert evaluate_run(first.directory)
    assert "lay over 2 of the processor's cores when this run went on and lie over 1 now" in said(Parallel(data=1))
    assert "execution.parallel.mode was jit when this run went on and is pmap now" in said(
        Parallel(data=1, mode="pmap")
    )


def test_a_smaller_limit_of_memory_leaves_a_run_over_its_cores(clock: Clock, tmp_path: Path) -> None:
    clock({1: 10.0, 2: 5.0})
    first = run(EXPERIMENT, execution=QUIET, runs=tmp_path / "runs")
    run(EXPERIMENT, execution=QUIET.replace(resident_mib=0), runs=tmp_path / "runs", extend=5)
    assert RunDirectory(first.directory).virtual_devices() == 2


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
