"""The loop: what it costs the host, early stopping, the best weights, losses that are not finite, lengths."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conversions import counted
from tiny import EXPERIMENT, QUIET, checkpoint, run

from research.cli import main
from research.data import CSV, TableData
from research.errors import RunError, UserError
from research.experiment import Evaluation, Selection
from research.losses import CrossEntropy
from research.models.functional import paths
from research.optimizers import SGD
from research.results import Result, evaluate_run
from research.spec import replace
from research.training import loop
from research.training.checkpoint import Checkpoints
from research.training.loop import Cadence, Interrupted, train
from research.training.metrics_log import MetricsLog, read_metrics
from research.training.setup import set_up


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Result:
    return run(EXPERIMENT, tmp_path_factory.mktemp("runs"))


# Conversions -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "convert",
    [
        float,
        bool,
        lambda x: np.asarray(x),  # looked up when it is called, so that the hook is in its place
        lambda x: np.array(x),
        jax.device_get,
        lambda x: int(x.astype(jnp.int32)),
        lambda x: x.item(),
        lambda x: x.tolist(),
        lambda x: f"{x:.3f}",
        lambda x: x.copy_to_host_async(),
    ],
)
def test_the_hook_can_count(convert: Any) -> None:
    number = jnp.float32(3) + 1
    with counted() as counter:
        jax.block_until_ready(number + 1)
        assert counter.total == 0
        convert(number)
        assert counter.total > 0


def conversions(updates: int, events: int, folder: Path) -> int:
    """Host conversions of training with this many updates and, evenly spread, evaluations."""
    setup = set_up(EXPERIMENT, 0, QUIET)
    cadence = dataclasses.replace(setup.cadence, total=updates, evaluate=updates // events)
    carry = setup.program.initialise()
    folder.mkdir()
    last, best = Checkpoints(folder / "last"), Checkpoints(folder / "best")
    log = MetricsLog(folder / "metrics.jsonl", 0, None)
    validation = setup.splits["validation"]
    with counted() as counter:
        train(setup.program, carry, setup.feed, validation, cadence, QUIET, log, last, best, lambda record: None)
    for thing in (log, last, best):
        thing.close()
    assert len(read_metrics(log.path)) == events
    return counter.total


def test_host_conversions_grow_with_events_and_not_with_updates(tmp_path: Path, monkeypatch: Any) -> None:
    # Many dispatches between two events, as in a long run.
    monkeypatch.setattr(loop, "FIRST_DISPATCH", 4)
    monkeypatch.setattr(loop, "DISPATCH_SECONDS", 1e-9)
    few = conversions(40, 2, tmp_path / "a")
    assert conversions(400, 2, tmp_path / "b") == few
    assert conversions(400, 10, tmp_path / "c") == conversions(40, 10, tmp_path / "d") > few


@pytest.mark.parametrize(
    ("clearing", "period", "expected", "most", "waits"),
    [
        (0.0, 1000, [1, 1] + [8] * 18, 16, 12),
        (0.06, 1000, [1, 1] + [16] * 18, 16, 20),
        (5.0, 1000, [1, 1, 16] + [32] * 17, 32, 20),
        (0.0, 2, [1, 1] + [2] * 18, 16, 6),
        (5.0, 4, [1, 1, 2] + [4] * 17, 32, 6),
    ],
)
def test_dispatches_grow_to_some_seconds_and_few_are_queued(
    clearing: float, period: int, expected: list[int], most: int, waits: int, monkeypatch: Any
) -> None:
    """Updates of 0.25 s; a dispatch ends after each ``period``, as where rows come in blocks of so many."""
    now, queued, found, sizes, waited = 0.0, 0, 0, [], 0

    def wait(_: Any) -> None:
        nonlocal now, queued, waited
        now, queued, waited = now + 0.25 * queued, 0, waited + 1

    carry = set_up(EXPERIMENT, 0, QUIET).program.initialise()
    monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=lambda: now))
    monkeypatch.setattr(jax, "block_until_ready", wait)
    pace, step = loop.Pace(clearing), 0
    for _ in range(20):
        count = min(pace.updates, period - step % period)
        sizes.append(count)
        step, queued = step + count, queued + count
        found = max(found, queued)
        pace.measure(carry, step, count)
    assert sizes == expected and found <= most and waited == waits


@pytest.mark.parametrize("feed", ["resident", "streaming"])
def test_rows_from_disk_do_not_pile_up_on_the_device(feed: str, tmp_path: Path, monkeypatch: Any) -> None:
    """Each queued program holds its rows and its temporary memory, so the next one is queued when the last is done."""
    monkeypatch.setattr("research.data.streaming.CHUNK_UPDATES", 1)
    # One update per dispatch, and the device is never waited for in order to measure it.
    monkeypatch.setattr(loop, "FIRST_DISPATCH", 1)
    monkeypatch.setattr(loop.Pace, "measure", lambda self, carry, step, count: None)
    setup = set_up(replace(EXPERIMENT, {"model.widths": (2048, 2048)}), 0, QUIET.replace(feed=feed))
    cadence = dataclasses.replace(setup.cadence, total=12, evaluate=None)
    done, advance = [], setup.program.advance

    def watched(carry: Any, window: Any, count: int) -> Any:
        done.append(carry.step.is_ready())
        return advance(carry, window, count)

    monkeypatch.setattr(setup.program, "advance", watched)
    last, best = Checkpoints(tmp_path / "last"), Checkpoints(tmp_path / "best")
    log = MetricsLog(tmp_path / "metrics.jsonl", 0, None)
    carry = setup.program.initialise()
    train(setup.program, carry, setup.feed, None, cadence, QUIET, log, last, best, lambda record: None)
    setup.feed.close()
    for thing in (log, last, best):
        thing.close()
    # The resident feed shows that the test can fail: nothing is waited for there.
    assert len(done) == 12 and all(done) == (feed == "streaming")


# Best weights and early stopping -----------------------------------------------------------------------------------


def test_the_best_weights_on_validation_are_reported(result: Result) -> None:
    records = read_metrics(result.directory / "metrics.jsonl")
    assert [record["step"] for record in records] == [10, 20, 30, 40, 50, 60]
    assert [record["epoch"] for record in records] == [2.5, 5, 7.5, 10, 12.5, 15]
    best = max(records, key=lambda record: record["validation/auroc"])
    assert result.summary["reported_step"] == best["step"]
    state = checkpoint(result.directory)
    assert np.float32(best["validation/auroc"]) == state["best/metric"] and state["best/step"] == best["step"]
    # What is stored for validation gives the metric that was seen then.
    from sklearn.metrics import roc_auc_score

    stored = result.predictions["validation"]
    assert roc_auc_score(stored.targets, stored.prediction) == pytest.approx(best["validation/auroc"], abs=1e-6)
    # Blocks of another size: equal but for rounding.
    np.testing.assert_allclose(result.model.predict(split_inputs("validation")), stored.prediction, rtol=1e-5)


def split_inputs(name: str) -> np.ndarray:
    return EXPERIMENT.data.prepare().splits[name].inputs


def test_early_stopping_restores_the_weights_of_the_best_step(tmp_path: Path) -> None:
    experiment = replace(
        EXPERIMENT,
        {"steps": 400, "optimizer.learning_rate": 0.1, "evaluation.select": Selection(metric="loss", patience=2)},
    )
    stopped = run(experiment, tmp_path)
    summary, records = stopped.summary, read_metrics(stopped.directory / "metrics.jsonl")
    losses = [record["validation/loss"] for record in records]
    best = int(np.argmin(losses))
    assert summary["stopped_early"] and summary["updates"] == records[-1]["step"] == 10 * len(records) < 400
    assert len(losses) == best + 1 + 2 and summary["reported_step"] == records[best]["step"]
    # The weights are those after that step.
    setup = set_up(experiment, 0, QUIET)
    carry = setup.program.advance(setup.program.initialise(), setup.feed.window(0), summary["reported_step"])
    kept = checkpoint(stopped.directory)
    for path, average in paths(carry.state.extra["average"]).items():
        np.testing.assert_array_equal(kept[f"best/state/params/{path}"], average)
    with pytest.raises(UserError, match=r"stopped early after update \d+, so there is nothing to extend.*patience"):
        run(experiment, tmp_path, extend=10)


def test_small_improvements_do_not_count(tmp_path: Path) -> None:
    select = Selection(metric="loss", patience=2, minimum_improvement=10)
    stopped = run(replace(EXPERIMENT, {"evaluation.select": select}), tmp_path)
    assert (stopped.summary["updates"], stopped.summary["reported_step"]) == (30, 10)


def test_without_selection_the_last_weights_are_reported(tmp_path: Path) -> None:
    last = run(replace(EXPERIMENT, {"evaluation.select": None}), tmp_path)
    assert last.summary["reported_step"] == last.summary["updates"] == 60
    assert not any(path.startswith("best/") for path in checkpoint(last.directory))


def test_cadence_is_in_absolute_steps() -> None:
    cadence = Cadence(total=25, evaluate=10, log=4, checkpoint=None, per_epoch=3)
    steps = [0]
    while steps[-1] < 25:
        steps.append(cadence.next_event(steps[-1]))
    assert steps[1:] == [4, 8, 10, 12, 16, 20, 24, 25]
    assert [step for step in range(26) if cadence.evaluates(step)] == [0, 10, 20, 25]
    assert Cadence(9, None, None, None, None).next_event(0) == 9


# Losses that are not finite ----------------------------------------------------------------------------------------


class Explodes(SGD):
    """Learning rate 0.01 until a number of updates, and 1e30 from there."""

    after: float = 35.0

    def _rate(self, total_steps: Any) -> Any:
        return lambda step: jnp.where(step.astype(jnp.float32) < self.after, 0.01, 1e30)


@pytest.mark.parametrize("log_every", [None, 7])
def test_the_last_good_checkpoint_is_kept(tmp_path: Path, log_every: int | None) -> None:
    execution = QUIET.replace(checkpoint_every=8, log_every=log_every)
    experiment = EXPERIMENT.replace(optimizer=Explodes(), steps=60, evaluation=Evaluation(every_steps=10))
    for _ in range(2):
        with pytest.raises(RunError, match=r"The loss of update 3[78] is not finite"):
            run(experiment, tmp_path, execution=execution)
        directory = next((tmp_path / "experiment").iterdir())
        kept = checkpoint(directory)
        assert kept["step"] == 32 and kept["failed_step"] == -1
        assert all(np.isfinite(leaf).all() for path, leaf in kept.items() if path.startswith("state/params"))
        steps = [record["step"] for record in read_metrics(directory / "metrics.jsonl")]
        assert steps == sorted(set(steps)) and steps[-1] <= 38


def test_a_loss_that_is_not_finite_ends_the_command_with_exit_code_1_and_names_the_step(
    tmp_path: Path, capsys: Any
) -> None:
    file = tmp_path / "diverging.py"
    file.write_text("from tiny import EXPERIMENT\nexperiment = EXPERIMENT\n")
    overrides = ["optimizer=SGD(learning_rate=1e30)", "evaluation.select=none", "execution.tensorboard=false"]
    assert main(["run", str(file), *overrides, "--runs", str(tmp_path), "--json"]) == 1
    output = capsys.readouterr()
    message = " ".join(output.err.split())
    assert re.search(r"The loss of update [23] is not finite.*stopped.*smaller learning rate.*clip_norm", message)
    assert "Traceback" not in message and output.out == ""
    directory = next((tmp_path / "diverging").iterdir())
    assert not (directory / "results.json").exists() and read_metrics(directory / "metrics.jsonl") == []
    assert Checkpoints(directory / "checkpoints" / "last", writable=False).latest() is None


# Length ------------------------------------------------------------------------------------------------------------


def test_extend_goes_on_where_the_run_ended(result: Result, tmp_path: Path) -> None:
    experiment = EXPERIMENT.replace(steps=40)
    first = run(experiment, tmp_path)
    extended = run(experiment, tmp_path, extend=20)
    assert extended.directory == first.directory and extended.fresh
    assert extended.summary["updates"] == extended.summary["total_updates"] == 60
    # Without a schedule the length changes nothing else: the bits are those of a run that was longer from the start.
    for file in ("metrics.jsonl", "predictions/test.parquet"):
        assert (extended.directory / file).read_bytes() == (result.directory / file).read_bytes()
    again = run(experiment, tmp_path)
    assert not again.fresh and again.summary == extended.summary
    assert json.loads((first.directory / "execution.json").read_text())["extended_to"] == 60


def test_an_interrupted_extension_is_finished_and_not_extended_again(tmp_path: Path, monkeypatch: Any) -> None:
    experiment = EXPERIMENT.replace(steps=40)
    run(experiment, tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(MetricsLog, "write", interrupt)
        with pytest.raises(Interrupted, match="update 60 of 80"):
            run(experiment, tmp_path, extend=40)
    assert run(experiment, tmp_path, extend=40).summary["updates"] == 80
    assert run(experiment, tmp_path).summary["updates"] == 80


def interrupt(log: MetricsLog, record: dict[str, Any]) -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def test_the_reported_loss_is_the_one_that_was_minimised(tmp_path: Path) -> None:
    weighted = EXPERIMENT.replace(loss=CrossEntropy(class_weight=(1.0, 5.0)), steps=20)
    result = run(weighted, tmp_path)
    seen = {r["step"]: r["validation/loss"] for r in read_metrics(result.directory / "metrics.jsonl")}
    _, report, _, _ = evaluate_run(result.directory, "validation")
    assert report["loss"].value == pytest.approx(seen[result.summary["reported_step"]], rel=1e-5)
    assert report["loss"].value != pytest.approx(report["log_loss"].value, rel=1e-2)


def test_weights_are_not_chosen_by_a_metric_that_validation_does_not_define(tmp_path: Path) -> None:
    parts = {"train": 30, "validation": 10, "test": 20}
    lines = ["x,y,split"]
    for part, rows in parts.items():
        lines += [f"{row % 7},{0 if part == 'validation' else row % 2},{part}" for row in range(rows)]
    path = tmp_path / "one_class.csv"
    path.write_text("\n".join(lines) + "\n")
    data = TableData(source=CSV(path=str(path), target="y", split="split"))
    with pytest.raises(UserError, match=r"evaluation\.select\.metric: auroc is not defined on validation.*class '1'"):
        run(EXPERIMENT.replace(data=data, batch_size=8), tmp_path)
