"""How layers compute is measured for long trainings alone, kept, shown, recorded, and the same when a run goes on."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import pytest
from flax import nnx
from pictures import Dots
from rich.console import Console
from tiny import EXPERIMENT, QUIET

from research.data import ImageData
from research.experiment import Execution, Parallel
from research.models import CNN, OwnModule
from research.results import evaluate_run
from research.runner import dry_run, run
from research.trained_model import TrainedModel
from research.training import lowerings, trials
from research.training.fastest import fastest
from research.training.lowerings import by_fastest
from research.training.run_directory import RunDirectory
from research.training.setup import Setup, set_up

Clock = Callable[[float, float], None]


class ByLax(nnx.Module):
    """A network that calls JAX's convolution itself."""

    def __init__(self, in_features: int, outputs: int, *, rngs: nnx.Rngs) -> None:
        self.kernel = nnx.Param(jax.random.normal(rngs.params(), (3, 3, in_features, outputs)))

    def __call__(self, x: Any) -> Any:
        layout = ("NHWC", "HWIO", "NHWC")
        y = jax.lax.conv_general_dilated(x, self.kernel[...], (1, 1), "SAME", dimension_numbers=layout)
        return y.mean((1, 2))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Clock:
    """A processor on which updates take as long as a test says, by ``fast`` and by ``reference``; all are long."""
    monkeypatch.setattr(lowerings, "LEAST_TRAINING", 0)
    monkeypatch.setattr(trials, "LEAST_UPDATES", 0)
    monkeypatch.setattr(trials, "folder_of", lambda kind: tmp_path / kind)

    def takes(fast: float, reference: float) -> None:
        told = {"fast": fast, "reference": reference}
        monkeypatch.setattr(trials, "compared", lambda setups: {each: told[each] for each in setups if fast})

    return takes


def made(execution: Execution = QUIET) -> Setup:
    return set_up(EXPERIMENT, 0, execution)


def taken(setup: Setup) -> tuple[str, str]:
    """As recorded, and as compiled."""
    return setup.execution.lowerings, setup.program.outline.lowerings


@pytest.mark.parametrize(
    ("fast", "reference", "expected"), [(10.0, 5.0, "reference"), (10.0, 9.7, "fast"), (5.0, 50.0, "fast")]
)
def test_the_reference_is_taken_where_it_is_faster_by_more_than_chance(
    clock: Clock, fast: float, reference: float, expected: str
) -> None:
    clock(fast, reference)
    setup = by_fastest(made())
    assert taken(setup) == (expected, expected)
    said = f"{expected}; an update took {fast:.3g} ms by fast, {reference:.3g} ms by reference"
    assert setup.lowered.startswith(said)


def test_what_was_found_is_kept_and_what_is_damaged_measured_anew(clock: Clock, tmp_path: Path) -> None:
    clock(10.0, 5.0)
    first = by_fastest(made())
    clock(5.0, 10.0)
    assert taken(by_fastest(made())) == ("reference", "reference")
    assert by_fastest(made()).lowered == first.lowered
    for file in (tmp_path / "lowerings").glob("*.json"):
        file.write_text('{"lowerings": "other", "milliseconds": {"fast": 1, "reference": 2}, "day": ""}')
    assert taken(by_fastest(made())) == ("fast", "fast")


def test_a_measurement_gives_the_time_of_an_update_by_each(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trials, "MEASURED_SECONDS", 0.01)
    seen = []
    monkeypatch.setattr(trials, "keep", lambda kind, name, found, valid: seen.append(found) or found)
    setup = by_fastest(made())
    (found,) = seen
    assert set(found["milliseconds"]) == {"fast", "reference"}
    assert all(0 < took < 1e4 for took in found["milliseconds"].values())
    assert taken(setup) == (found["lowerings"],) * 2


def test_short_trainings_measure_nothing_whatever_a_longer_one_has_left(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock(10.0, 5.0)
    assert taken(by_fastest(made()))[0] == "reference"
    monkeypatch.setattr(lowerings, "LEAST_TRAINING", 1e30)
    setup = by_fastest(made())
    assert taken(setup) == ("fast", "fast") and setup.lowered == ""


@pytest.mark.parametrize("model", [CNN(widths=(4,)), OwnModule(module=ByLax)])
def test_a_program_whose_convolutions_would_be_plain_loops_is_not_tried(
    clock: Clock, tmp_path: Path, model: Any
) -> None:
    """Of a large network its first update would take minutes, in which nothing could be interrupted."""
    clock(10.0, 5.0)
    experiment = EXPERIMENT.replace(data=ImageData(source=Dots(count=24)), model=model, batch_size=4)
    setup = by_fastest(set_up(experiment, 0, QUIET))
    assert taken(setup) == ("fast", "fast") and setup.lowered == "" and not list(tmp_path.iterdir())


def test_what_cannot_be_measured_is_not_kept(clock: Clock, tmp_path: Path) -> None:
    clock(0.0, 0.0)
    assert taken(by_fastest(made())) == ("fast", "fast") and not list(tmp_path.iterdir())


@pytest.mark.parametrize("asked", ["fast", "reference"])
def test_what_the_user_says_is_done(clock: Clock, asked: str) -> None:
    clock(10.0, 5.0) if asked == "fast" else clock(5.0, 10.0)
    setup = made(QUIET.replace(lowerings=asked))
    assert by_fastest(setup) is setup and taken(setup) == (asked, asked)


def test_a_run_goes_on_as_it_began_and_is_evaluated_and_used_so(clock: Clock, tmp_path: Path) -> None:
    clock(10.0, 5.0)
    result = run(EXPERIMENT, execution=QUIET, runs=tmp_path / "runs")
    recorded = RunDirectory(result.directory)
    assert recorded.execution().lowerings == "reference"
    for file in (tmp_path / "lowerings").glob("*.json"):
        file.unlink()
    clock(5.0, 10.0)
    assert evaluate_run(result.directory)[1] == result.report
    assert TrainedModel(recorded)._program.outline.lowerings == "reference"
    run(EXPERIMENT, execution=QUIET, runs=tmp_path / "runs", extend=5)
    assert recorded.execution().lowerings == "reference"
    console = Console(file=io.StringIO(), width=200)
    run(EXPERIMENT, execution=QUIET.replace(lowerings="fast"), runs=tmp_path / "runs", extend=5, console=console)
    said = " ".join(console.file.getvalue().split())
    assert "computed by lowerings=reference when this run went on and are by fast now" in said


def test_a_run_by_the_kernels_of_a_vendor_goes_on_without_them_elsewhere(tmp_path: Path) -> None:
    result = run(EXPERIMENT, execution=QUIET, runs=tmp_path / "runs")
    recorded, file = RunDirectory(result.directory), result.directory / "execution.json"
    told = file.read_text(encoding="utf-8")
    assert told.count('"lowerings": "fast"') == 1
    file.write_text(told.replace('"lowerings": "fast"', '"lowerings": "vendor"'), encoding="utf-8")
    assert recorded.execution().lowerings == "vendor"
    assert evaluate_run(result.directory)[1] == result.report
    assert TrainedModel(recorded)._program.outline.lowerings == "fast"
    console = Console(file=io.StringIO(), width=200)
    run(EXPERIMENT, execution=QUIET, runs=tmp_path / "runs", extend=5, console=console)
    said = " ".join(console.file.getvalue().split())
    assert "computed by lowerings=vendor when this run went on and are by fast now" in said


def test_a_measurement_that_is_interrupted_closes_what_reads(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(trials, "compared", interrupted)
    closed = []
    monkeypatch.setattr(Setup, "close", lambda setup: closed.append(setup))
    with pytest.raises(KeyboardInterrupt):
        fastest(made())
    assert closed
    closed.clear()
    monkeypatch.setattr(trials, "flops_of", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fastest(made())
    assert closed


def test_the_other_program_shares_arrays_feed_and_devices(clock: Clock) -> None:
    setup = made(QUIET.replace(parallel=Parallel(data=2)))
    other = setup.computing("reference")
    assert other.feed is setup.feed and other.splits is setup.splits and other.programs == 2
    assert other.program.spec is setup.program.spec and other.program.outline.layout == setup.program.outline.layout
    assert taken(other) == ("reference", "reference") and setup.program.outline.lowerings == "fast"


def test_a_dry_run_says_what_is_open_and_leaves_nothing(clock: Clock, tmp_path: Path) -> None:
    clock(10.0, 5.0)
    arguments: dict[str, Any] = {"seed": 0, "execution": QUIET, "name": "tiny", "runs": tmp_path / "runs"}
    assert dry_run(EXPERIMENT, **arguments).facts["lowerings"] == "fast or reference: measured when the run begins"
    assert not list(tmp_path.iterdir())
    run(EXPERIMENT, execution=QUIET, runs=tmp_path / "runs")
    assert dry_run(EXPERIMENT, **arguments | {"fresh": True}).facts["lowerings"].startswith("reference; an update took")
