"""The Python face: run an experiment, load a finished run, evaluate it again, predict for new patients."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Any

from rich.console import Console

from research.errors import UserError
from research.evaluation.predictions import Predictions, Rows, read_predictions
from research.evaluation.report import Report, evaluate
from research.experiment import Execution, Experiment, check_experiment
from research.spec import check, fingerprint
from research.trained_model import TrainedModel, has_best, predict_split, reported, restore, restore_finished
from research.training import start_from
from research.training.carry import Carry
from research.training.checkpoint import Checkpoints
from research.training.loop import train
from research.training.metrics_log import MetricsLog
from research.training.preflight import Preflight, preflight
from research.training.progress import ProgressDisplay
from research.training.provenance import environment
from research.training.run_directory import RunDirectory, write_json
from research.training.setup import Setup, set_up, use_compilation_cache
from research.training.tripwire import Tripwire

REPORTED = ("validation", "test")


@dataclasses.dataclass(frozen=True)
class Result:
    """What a finished run gives.

    Attributes:
        directory: the run directory.
        experiment, seed: what was run.
        report: metrics on the test split, each with n and a 95 % interval.
        predictions: stored predictions by split (``validation``, ``test``), or rows of an algorithm without data.
        summary: what ``results.json`` holds: steps, the best step, timing, the metrics.
        fresh: False if the result had been there already and nothing was trained.
    """

    directory: Path
    experiment: Experiment
    seed: int
    report: Report
    predictions: dict[str, Predictions | Rows]
    summary: dict[str, Any]
    fresh: bool

    @property
    def metrics(self) -> dict[str, Any]:
        """Test metrics by name; each has ``value``, ``low``, ``high``, ``n`` and ``patients``."""
        return {estimate.name: estimate for estimate in self.report.estimates}

    @property
    def model(self) -> TrainedModel:
        """The trained model with the reported weights, loaded when first asked for."""
        return TrainedModel(RunDirectory(self.directory))


def run(
    experiment: Experiment,
    *,
    seed: int = 0,
    execution: Execution | None = None,
    name: str = "experiment",
    runs: str | Path = "runs",
    extend: int = 0,
    fresh: bool = False,
    accept_changes: bool = False,
    source: Path | None = None,
    console: Console | None = None,
) -> Result:
    """Train an experiment, or resume it, or show what it gave; the same call again never trains twice.

    Args:
        experiment: what to train.
        seed: seed of initial weights, order and every draw.
        execution: device, cadence of logs and checkpoints.
        name: folder of its runs below ``runs``.
        runs: where all runs lie.
        extend: further updates, beyond those that the experiment says; the schedules stay at their end.
        fresh: set an earlier run aside, under another name, and begin anew.
        accept_changes: resume or show a run although the code has changed since.
        source: file that defines classes which the experiment uses; a copy goes into the run directory.
        console: where to show the card, the progress and the metrics; None shows nothing.

    Raises:
        UserError: for a mistake in the experiment or its data, or a run directory that belongs to something else.
        RunError: for a failure while training; what was saved stays.
    """
    check_experiment(experiment, name)
    execution = execution or Execution()
    check(execution, "execution.")
    use_compilation_cache()
    directory = RunDirectory.of(Path(runs), name, experiment, seed)
    if fresh and directory.exists():
        directory.open()
        try:
            aside = directory.set_aside()
        finally:
            directory.close()
        _say(console, f"the earlier run is now {aside}")
    began = time.perf_counter()
    extended_to = _recorded_extension(directory)
    setup = set_up(experiment, seed, execution, extended_to)
    # An extension that was interrupted is finished first: the same command again never extends twice.
    if extend and (extended_to is None or directory.results_reach(extended_to)):
        setup = set_up(experiment, seed, execution, setup.cadence.total + extend)
    directory.open()
    try:
        notes = _claim(directory, setup, name, source, accept_changes)
        if finished := _finished(directory, setup):
            _say(console, f"this run has finished already; its result is in {directory.path}")
            return finished
        directory.record_execution(execution, setup.cadence.total if extend else extended_to)
        carry = _train(setup, directory, notes, name, console)
        return _report(setup, carry, directory, name, began)
    finally:
        directory.close()


def dry_run(
    experiment: Experiment, *, seed: int, execution: Execution, name: str, runs: str | Path = "runs"
) -> Preflight:
    """The preflight card of a run, with nothing trained and nothing written."""
    check_experiment(experiment, name)
    check(execution, "execution.")
    use_compilation_cache()
    setup = set_up(experiment, seed, execution)
    directory = RunDirectory.of(Path(runs), name, experiment, seed)
    return preflight(setup, restore(setup, directory), directory.path, ("dry run: nothing is trained or written",))


def evaluate_run(path: str | Path, split: str = "test") -> tuple[str, Report]:
    """Predict a split of a finished run's own data again; returns a title and the report.

    Raises:
        UserError: if the run has not finished, its data has changed since, or there is no such split.
    """
    directory = RunDirectory(Path(path))
    experiment, seed, name = directory.experiment()
    directory.read("results")
    use_compilation_cache()
    setup = set_up(experiment, seed, Execution())
    data = directory.read("data")
    if setup.prepared is not None and data["fingerprint"] != setup.prepared.fingerprint:
        raise UserError(
            f"{path}: this run was made from other data (fingerprint {data['fingerprint']}, now "
            f"{setup.prepared.fingerprint}). Restore the data that it was trained on."
        )
    state = reported(experiment, restore_finished(directory, setup.program.initialise(), setup.device))
    rows = predict_split(setup, state, split)
    validation = predict_split(setup, state, "validation") if "validation" in setup.splits else None
    report = _evaluate(rows, validation, experiment)
    return f"{name}, seed {seed}: {split} split", report


def load(path: str | Path) -> Result:
    """The result of a finished run, from its directory."""
    directory = RunDirectory(Path(path))
    experiment, seed, _ = directory.experiment()
    summary = directory.read("results")
    predictions = {f.stem: read_predictions(f) for f in sorted(directory.predictions.glob("*.parquet"))}
    return Result(
        directory.path, experiment, seed, Report.from_json(summary["report"]), predictions, summary, fresh=False
    )


def _say(console: Console | None, text: str) -> None:
    if console is not None:
        console.print(text)


def _claim(
    directory: RunDirectory, setup: Setup, name: str, source: Path | None, accept_changes: bool
) -> tuple[str, ...]:
    """Record a new run's identity, or check that the directory is this run's; returns notes for the card."""
    start = setup.experiment.start_from
    data = setup.prepared.summary() if setup.prepared is not None else {"fingerprint": "", "splits": {}}
    data["start_from"] = start_from.content_hash(start) if start is not None else None
    now = environment(setup.device, source)
    if not directory.exists() or directory.untouched():
        directory.write_identity(name, setup.experiment, setup.seed, setup.execution, now, data, source)
        return ()
    return tuple(directory.check_identity(setup.experiment, setup.seed, now, data, accept_changes))


def _recorded_extension(directory: RunDirectory) -> int | None:
    return directory.read("execution")["extended_to"] if directory.exists() else None


def _finished(directory: RunDirectory, setup: Setup) -> Result | None:
    if not directory.results.exists():
        return None
    result = load(directory.path)
    if result.summary["total_updates"] >= setup.cadence.total:
        return result
    if result.summary["stopped_early"]:
        raise UserError(
            f"{directory.path}: this run stopped early after update {result.summary['updates']}, so there is "
            f"nothing to extend. Set evaluation.select.patience higher, or none, in a new run."
        )
    return None


def _train(setup: Setup, directory: RunDirectory, notes: tuple[str, ...], name: str, console: Console | None) -> Carry:
    carry = restore(setup, directory)
    facts = preflight(setup, carry, directory.path, notes)
    if console is not None:
        console.print(facts.card(name))
    last, best = Checkpoints(directory.last), Checkpoints(directory.best)
    step = int(carry.step)
    log = MetricsLog(directory.metrics, step, directory.tensorboard if setup.execution.tensorboard else None)
    display = None
    if console is not None:
        display = ProgressDisplay(console, setup.cadence.total, step, setup.examples_per_update)
    try:
        return train(
            setup.program,
            carry,
            setup.order,
            setup.splits.get("validation"),
            setup.cadence,
            setup.execution,
            log,
            last,
            best,
            display or (lambda record: None),
        )
    finally:
        if display is not None:
            display.close()
        log.close()
        last.close()
        best.close()


def _evaluate(rows: Predictions | Rows, validation: Predictions | Rows | None, experiment: Experiment) -> Report:
    """The report on a split, with thresholds chosen on validation where the rows are predictions."""
    chosen_on = validation if isinstance(validation, Predictions) else None
    return evaluate(rows, chosen_on, resamples=experiment.evaluation.resamples, seed=experiment.evaluation.seed)


def _report(setup: Setup, carry: Carry, directory: RunDirectory, name: str, began: float) -> Result:
    """Predict, store, and compute every metric from what was stored."""
    if tripwire := Tripwire.armed():
        tripwire.reached("report", int(carry.step))
    state = reported(setup.experiment, carry)
    names = [split for split in REPORTED if split in setup.splits] or ["rows"]
    directory.predictions.mkdir(exist_ok=True)
    predictions: dict[str, Predictions | Rows] = {}
    for split in names:
        predictions[split] = predict_split(setup, state, split)
        predictions[split].write(directory.predictions / f"{split}.parquet")
    report = _evaluate(predictions[names[-1]], predictions.get("validation"), setup.experiment)
    summary = {
        "name": name,
        "seed": setup.seed,
        "fingerprint": fingerprint(setup.experiment),
        "updates": int(carry.step),
        "total_updates": setup.cadence.total,
        "stopped_early": bool(carry.stopped),
        "reported_step": int(carry.best.step) if carry.best is not None and has_best(carry) else int(carry.step),
        "split": names[-1],
        "report": report.to_json(),
        "seconds": round(time.perf_counter() - began, 3),
    }
    write_json(directory.results, summary)
    return Result(directory.path, setup.experiment, setup.seed, report, predictions, summary, fresh=True)
