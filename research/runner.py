"""The Python face: run an experiment, load a finished run, evaluate it again, predict for new patients."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.console import Console

from research.algorithms.algorithm import State
from research.data.prepare import Examples
from research.errors import UserError
from research.evaluation.predictions import Predictions, Rows, read_predictions
from research.evaluation.report import Report, evaluate
from research.experiment import Execution, Experiment, check_experiment
from research.spec import check, fingerprint, to_json
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


class TrainedModel:
    """The reported weights of a run, ready to predict.

    Args:
        directory: the run's directory.
        device: kind of device, as in `Execution`.
    """

    def __init__(self, directory: RunDirectory, device: str = "auto") -> None:
        self.directory = directory
        self.experiment, self.seed, self.name = directory.experiment()
        directory.read("results")
        self.setup = set_up(self.experiment, self.seed, Execution(device=device))  # pyright: ignore[reportArgumentType]
        data = directory.read("data")
        if self.setup.prepared is not None and data["fingerprint"] != self.setup.prepared.fingerprint:
            raise UserError(
                f"{directory.path}: this run was made from other data (fingerprint {data['fingerprint']}, now "
                f"{self.setup.prepared.fingerprint}). Restore the data that it was trained on."
            )
        self.state = _reported(self.setup, _restore(self.setup, directory))

    def rows(self, split: str) -> Predictions | Rows:
        """Predictions for a split of the run's own data, each example once."""
        if self.setup.prepared is not None and split not in self.setup.splits:
            raise UserError(f"split: {split!r} is not a split of this data. Allowed: {', '.join(self.setup.splits)}.")
        return _rows(self.setup, self.state, split)

    def predict(self, inputs: np.ndarray) -> np.ndarray:
        """Predictions for prepared inputs ``[N, F]``: probabilities or values, ``[N]`` or ``[N, K]``."""
        from research.data.resident import put

        assert self.setup.prepared is not None
        task, count = self.setup.prepared.task, len(inputs)
        targets = np.zeros_like(self.setup.prepared.splits["train"].targets[:1]).repeat(count, axis=0)
        rows = np.arange(count, dtype=np.int32)
        examples = Examples(inputs=inputs, targets=targets, example=rows, patient=None, patient_code=rows)
        batch = put(examples, task, self.setup.device)
        return np.asarray(self.setup.program.predict(self.state, batch, f"new {inputs.shape}")["prediction"])


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
    if extend:
        setup = set_up(experiment, seed, execution, setup.cadence.total + extend)
    directory.open()
    try:
        notes = _claim(directory, setup, name, source, accept_changes)
        if finished := _finished(directory, setup):
            _say(console, f"this run has finished already; its result is in {directory.path}")
            return finished
        if extend:
            write_json(
                directory.path / "execution.json",
                {"execution": to_json(execution), "extended_to": setup.cadence.total},
            )
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
    return preflight(setup, _restore(setup, directory), directory.path, ("dry run: nothing is trained or written",))


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
    if not directory.exists():
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
            f"{directory.path}: this run stopped early after update {result.summary['updates']}, so there is nothing to "
            f"extend. Set evaluation.select.patience higher, or none, in a new run."
        )
    return None


def _begin(setup: Setup) -> Carry:
    """The carry of a run that has not started."""
    carry = setup.program.initialise()
    start = setup.experiment.start_from
    if start is not None:
        state = start_from.transfer(carry.state, start)
        best = carry.best
        if best is not None:
            deployed = setup.experiment.algorithm.deployed(setup.experiment, state)
            best = dataclasses.replace(best, state=jax.tree.map(lambda x: x.copy(), deployed))
        carry = dataclasses.replace(carry, state=state, best=best)
        carry = jax.device_put(carry, setup.device)
    return carry


def _restore(setup: Setup, directory: RunDirectory) -> Carry:
    """The newest checkpoint of a run, or its beginning where there is none."""
    if not directory.last.is_dir():
        return _begin(setup)
    last = Checkpoints(directory.last, writable=False)
    step = last.latest()
    return _begin(setup) if step is None else last.restore(step, setup.program.initialise(), setup.device)


def _train(setup: Setup, directory: RunDirectory, notes: tuple[str, ...], name: str, console: Console | None) -> Carry:
    carry = _restore(setup, directory)
    if console is not None:
        console.print(preflight(setup, carry, directory.path, notes).card(name))
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


def _reported(setup: Setup, carry: Carry) -> State:
    """The weights that the experiment reports: the best on validation, or the last."""
    if carry.best is not None and np.isfinite(float(carry.best.metric)):
        return carry.best.state
    return setup.experiment.algorithm.deployed(setup.experiment, carry.state)


def _rows(setup: Setup, state: State, split: str) -> Predictions | Rows:
    rows = jax.device_get(setup.program.predict(state, setup.splits.get(split), split))
    if setup.prepared is None or setup.experiment.algorithm.rows != "example":
        columns = {name: np.asarray(row, np.float64) for name, row in rows.items() if row.ndim == 1}
        return Rows(unit=setup.experiment.algorithm.rows, columns=columns)
    examples = setup.prepared.splits[split]
    weight = np.where(rows["weight"] > 0, rows["weight"], np.nan)
    return Predictions(
        task=setup.prepared.task,
        split=split,
        example=examples.example,
        patient=examples.patient,
        targets=examples.targets,
        prediction=np.asarray(rows["prediction"]),
        loss=np.asarray(rows["loss"] / weight),
    )


def _report(setup: Setup, carry: Carry, directory: RunDirectory, name: str, began: float) -> Result:
    """Predict, store, and compute every metric from what was stored."""
    if tripwire := Tripwire.armed():
        tripwire.reached("report", int(carry.step))
    state = _reported(setup, carry)
    names = [split for split in REPORTED if split in setup.splits] or ["rows"]
    directory.predictions.mkdir(exist_ok=True)
    predictions: dict[str, Predictions | Rows] = {}
    for split in names:
        predictions[split] = _rows(setup, state, split)
        predictions[split].write(directory.predictions / f"{split}.parquet")
    evaluation = setup.experiment.evaluation
    report = evaluate(
        predictions[names[-1]], predictions.get("validation"), resamples=evaluation.resamples, seed=evaluation.seed
    )
    selected = carry.best is not None and np.isfinite(float(carry.best.metric))
    summary = {
        "name": name,
        "seed": setup.seed,
        "fingerprint": fingerprint(setup.experiment),
        "updates": int(carry.step),
        "total_updates": setup.cadence.total,
        "stopped_early": bool(carry.stopped),
        "reported_step": int(carry.best.step) if selected and carry.best is not None else int(carry.step),
        "split": names[-1],
        "report": report.to_json(),
        "seconds": round(time.perf_counter() - began, 3),
    }
    write_json(directory.results, summary)
    return Result(directory.path, setup.experiment, setup.seed, report, predictions, summary, fresh=True)
