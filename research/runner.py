"""The Python face: run an experiment, load a finished run, evaluate it again, predict for new patients."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from pathlib import Path
from typing import Any

from rich.console import Console

from research.errors import UserError
from research.evaluation.predictions import Predictions, Rows, read_predictions
from research.evaluation.report import Report, evaluate
from research.experiment import Execution, Experiment, check_experiment
from research.processes import ProcessGroup, current
from research.reporting.run_pictures import (
    EXPLANATIONS,
    check_explainable,
    discard_explanations,
    write_explanations,
    write_run_pictures,
)
from research.reporting.run_sequences import check_patient, write_attention, write_patient
from research.spec import check, fingerprint, to_json
from research.trained_model import (
    TrainedModel,
    begin,
    has_best,
    predict_split,
    reported,
    restore,
    restore_finished,
)
from research.training import start_from
from research.training.carry import Carry
from research.training.checkpoint import Checkpoints
from research.training.code import code_hash
from research.training.compilation_cache import use_compilation_cache
from research.training.loop import train
from research.training.metrics_log import MetricsLog, NoLog, read_metrics
from research.training.preflight import Preflight, preflight
from research.training.pretend import pretended_preflight
from research.training.profiling import Throughput, Trace, memory_in_use
from research.training.progress import PreparingDisplay, ProgressDisplay
from research.training.provenance import environment
from research.training.run_directory import RunDirectory, write_json
from research.training.setup import Setup, set_up, with_fitted
from research.training.together import check_together, telling
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
    directory = RunDirectory.of(Path(runs), name, experiment, seed)
    return run_in(
        directory,
        experiment,
        seed=seed,
        execution=execution or Execution(),
        name=name,
        extend=extend,
        fresh=fresh,
        accept_changes=accept_changes,
        source=source,
        console=console,
    )


def run_in(
    directory: RunDirectory,
    experiment: Experiment,
    *,
    seed: int,
    execution: Execution,
    name: str,
    extend: int = 0,
    fresh: bool = False,
    accept_changes: bool = False,
    source: Path | None = None,
    console: Console | None = None,
) -> Result:
    """As `run`, in a directory of one's own choice."""
    began, group = time.perf_counter(), current()
    console = console if group.leads else None
    setup, extended_to = _set_up(experiment, seed, execution, name, directory, extend, fresh, console)
    now = environment(setup.device, experiment)
    if group.count > 1:
        check_together(setup, group, now, directory.path, extended_to)
        if not group.leads:
            return _follow(setup, directory, group, now, name)
    if fresh and directory.exists():
        directory.open()
        try:
            aside = directory.set_aside()
        finally:
            directory.close()
        _say(console, f"the earlier run is now {aside}")
    directory.open()
    try:
        notes = claim(directory, setup, now, name, source, accept_changes)
        finished = _finished(directory, setup)
        group.decide({"finished": finished is not None})
        if finished is not None:
            _say(console, f"this run has finished already; its result is in {directory.path}")
            return finished
        directory.record_execution(execution, extended_to)
        carry, pace = _train(setup, directory, now, notes, name, console)
        result = _report(setup, carry, directory, name, began, pace, console)
        group.wait_for_all("reported")
        return result
    finally:
        directory.close()
        if setup.feed is not None:
            setup.feed.close()


def _follow(setup: Setup, directory: RunDirectory, group: ProcessGroup, now: dict[str, Any], name: str) -> Result:
    """As `run_in`, on a process that leaves all files but its part of the checkpoints to process 0."""
    try:
        if not group.decide({})["finished"]:
            carry, _ = _train(setup, directory, now, (), name, None)
            for split in _reported_splits(setup):
                predict_split(setup, reported(setup.experiment, carry), split)
            group.wait_for_all("reported")
        return load(directory.path)
    finally:
        if setup.feed is not None:
            setup.feed.close()


def dry_run(
    experiment: Experiment,
    *,
    seed: int,
    execution: Execution,
    name: str,
    runs: str | Path = "runs",
    extend: int = 0,
    fresh: bool = False,
    devices: int | None = None,
    device_memory: float | None = None,
) -> Preflight:
    """The preflight card of the run that the same arguments would make, with nothing trained and nothing written.

    Args:
        experiment, seed, execution, name, runs, extend, fresh: as in `run`.
        devices: so many pretended ones in place of those there are; see `research.training.pretend`.
        device_memory: of each of these, in GB; what does not fit is refused.
    """
    check_experiment(experiment, name)
    if devices is not None:
        check(execution, "execution.")
        return pretended_preflight(experiment, seed=seed, execution=execution, devices=devices, memory=device_memory)
    directory = RunDirectory.of(Path(runs), name, experiment, seed)
    setup, _ = _set_up(experiment, seed, execution, name, directory, extend, fresh)
    carry = begin(setup, setup.program.initialise()) if fresh else restore(setup, directory)
    facts = preflight(setup, carry, directory.path, ("dry run: nothing is trained, no run is written",))
    if setup.feed is not None:
        setup.feed.close()
    return facts


def _set_up(
    experiment: Experiment,
    seed: int,
    execution: Execution,
    name: str,
    directory: RunDirectory,
    extend: int,
    fresh: bool,
    console: Console | None = None,
) -> tuple[Setup, int | None]:
    """Check everything that can be checked before the directory is touched; returns the length of an extended run too.

    An extension that was interrupted is finished first: the same command again never extends twice.
    """
    check(execution, "execution.")
    if not isinstance(extend, int) or isinstance(extend, bool) or extend < 0:
        raise UserError(f"extend: a whole number of updates of at least 1 is needed, {extend!r} was given.")
    use_compilation_cache()
    extended_to = None if fresh else _recorded_extension(directory)
    with contextlib.closing(PreparingDisplay(console)) as told:
        setup = set_up(experiment, seed, execution, extended_to, told)
        if extend and (extended_to is None or directory.results_reach(extended_to)):
            extended_to = setup.cadence.total + extend
            setup = set_up(experiment, seed, execution, extended_to, told)
    return setup, extended_to


def evaluate_run(
    path: str | Path,
    split: str = "test",
    explained: int | None = None,
    attention: str | None = None,
    patient: str | None = None,
    console: Console | None = None,
) -> tuple[str, Report, Path | None, tuple[str, ...]]:
    """Predict a split of a finished run's own data again, and draw its pictures.

    Args:
        path: the run directory.
        split: which split.
        explained: how many pictures to explain by Grad-CAM and input gradients; None for none.
        attention: a patient for whom the weights of attention are drawn; None for none.
        patient: a patient whose series are drawn with what the model says of them; None for none.
        console: where to show progress in reading the data; None shows nothing.

    Returns:
        A title, the report, the folder of the pictures (None where none could be written), and what was left out of
        them and why.

    Raises:
        UserError: if the run has not finished, its data has changed since, or there is no such split; for
            explanations, as `research.reporting.run_pictures.write_explanations`.
    """
    directory = RunDirectory(Path(path))
    experiment, seed, name = directory.experiment()
    directory.read("results")
    use_compilation_cache()
    recorded = directory.execution()
    execution = recorded.replace(device="auto")
    with contextlib.closing(PreparingDisplay(console)) as told:
        setup = set_up(experiment, seed, execution, listener=told)
    data = directory.read("data")
    if setup.prepared is not None and data["fingerprint"] != setup.prepared.fingerprint:
        raise UserError(
            f"{path}: this run was made from other data (fingerprint {data['fingerprint']}, now "
            f"{setup.prepared.fingerprint}). Restore the data that it was trained on."
        )
    if explained is not None:
        check_explainable(setup, explained)
    for option, whom in (("--attention", attention), ("--patient", patient)):
        if whom is not None:
            check_patient(setup, split, whom, option)
    state = reported(experiment, restore_finished(directory, setup.program))
    rows = predict_split(setup, state, split)
    validation = predict_split(setup, state, "validation") if "validation" in setup.splits else None
    report = _evaluate(rows, validation, setup)
    if code_hash(experiment)[0] != directory.environment()["code"]:
        note = "the code has changed since this run was made"
        report = dataclasses.replace(report, warnings=(*report.warnings, note))
    folder, notes = _draw(setup, directory, rows, report, name, directory.read("results")["reported_step"])
    if any(asked is not None for asked in (explained, attention, patient)):
        folder, title = directory.figures / split, f"{name}, seed {seed}"
        folder.mkdir(parents=True, exist_ok=True)
        if explained is not None:
            assert setup.prepared is not None
            about = f"{title}, {setup.prepared.about.name}"
            write_explanations(folder / EXPLANATIONS, setup, state, rows, report, explained, about)
        if attention is not None:
            write_attention(folder, setup, state, split, attention, title, report)
        if patient is not None:
            write_patient(folder, setup, state, rows, patient, title, report)
    return f"{name}, seed {seed}: {split} split", report, folder, notes


def _draw(
    setup: Setup,
    directory: RunDirectory,
    rows: Predictions | Rows,
    report: Report,
    name: str,
    best_step: int,
) -> tuple[Path | None, tuple[str, ...]]:
    """Draw the pictures of a report; returns their folder, and notes. A run does not fail for want of them."""
    if isinstance(rows, Rows):
        return None, ()
    folder = directory.figures / rows.split
    assert setup.prepared is not None
    title = f"{name}, seed {setup.seed}, {setup.prepared.about.name}"
    try:
        records = read_metrics(directory.metrics)
        notes = write_run_pictures(folder, setup, rows, report, records, title, best_step)
    except Exception as error:
        return None, (f"the figures could not be drawn ({type(error).__name__}: {error})",)
    return folder, notes


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
        # Names and paths may have brackets in them, which rich would take for its markup.
        console.print(text, markup=False)


def claim(
    directory: RunDirectory,
    setup: Setup,
    now: dict[str, Any],
    name: str,
    source: Path | None,
    accept_changes: bool,
) -> tuple[str, ...]:
    """Record a new run's identity, or check that the directory is this run's; returns notes for the card."""
    start = setup.experiment.start_from
    data = setup.prepared.summary() if setup.prepared is not None else {"fingerprint": "", "splits": {}}
    data["start_from"] = start_from.content_hash(start) if start is not None else None
    loss = with_fitted(setup.experiment, setup.prepared).loss if setup.prepared is not None else None
    data["loss"] = to_json(loss) if loss is not None and loss != setup.experiment.loss else None
    unreadable = [
        f"the source of {name} cannot be read: a change of it would go unnoticed" for name in now["unreadable_code"]
    ]
    if not directory.exists() or directory.untouched():
        directory.write_identity(name, setup.experiment, setup.seed, setup.execution, now, data, source)
        return tuple(unreadable)
    return (*directory.check_identity(setup.experiment, setup.seed, now, data, accept_changes), *unreadable)


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


def _train(
    setup: Setup,
    directory: RunDirectory,
    now: dict[str, Any],
    notes: tuple[str, ...],
    name: str,
    console: Console | None,
) -> tuple[Carry, Throughput]:
    """The carry after training, and how fast that was."""
    carry = restore(setup, directory)
    with _compiling(console):
        facts = preflight(setup, carry, directory.path, notes)
    if console is not None:
        console.print(facts.card(name))
    step, leads = int(carry.step), current().leads
    if leads:
        directory.record_environment(now, step)
    with contextlib.ExitStack() as stack:
        last = stack.enter_context(contextlib.closing(Checkpoints(directory.last)))
        best = stack.enter_context(contextlib.closing(Checkpoints(directory.best)))
        tensorboard = directory.tensorboard if setup.execution.tensorboard else None
        log = MetricsLog(directory.metrics, step, tensorboard) if leads else NoLog()
        stack.enter_context(contextlib.closing(log))
        display = None
        if console is not None:
            display = ProgressDisplay(console, setup.cadence.total, step, setup.examples_per_update)
            stack.enter_context(contextlib.closing(display))
        # Processes of one machine would write traces over each other.
        trace = Trace(setup.execution.profile if leads else None, directory.profile)
        stack.enter_context(telling(current()))
        waited, began = _waited(setup), time.perf_counter()
        carry = train(
            setup.program,
            carry,
            setup.feed,
            setup.splits.get("validation"),
            setup.cadence,
            setup.execution,
            log,
            last,
            best,
            display or (lambda record: None),
            stack.enter_context(contextlib.closing(trace)),
        )
        seconds = time.perf_counter() - began
        return carry, _throughput(setup, int(carry.step) - step, seconds, (_waited(setup) - waited) / seconds)


def _throughput(setup: Setup, updates: int, seconds: float, waited: float) -> Throughput:
    layout = setup.program.outline.layout
    devices = [setup.device] if layout is None else layout.devices
    return Throughput(
        updates,
        seconds,
        setup.examples_per_update,
        setup.program.flops_per_update,
        waited,
        len(devices),
        setup.device.device_kind,
        setup.experiment.precision.compute,
        memory_in_use([device for device in devices if device.process_index == setup.device.process_index]),
    )


def _compiling(console: Console | None) -> contextlib.AbstractContextManager[Any]:
    """Says in a terminal, until it is done, why nothing else happens for a while."""
    if console is None or not console.is_terminal:
        return contextlib.nullcontext()
    return console.status("compiling the training ...")


def _waited(setup: Setup) -> float:
    return setup.feed.waited if setup.feed is not None else 0.0


def _evaluate(rows: Predictions | Rows, validation: Predictions | Rows | None, setup: Setup) -> Report:
    """The report on a split, with thresholds chosen on validation where the rows are predictions."""
    chosen_on = validation if isinstance(validation, Predictions) else None
    options = setup.experiment.evaluation
    report = evaluate(rows, chosen_on, resamples=options.resamples, seed=options.seed)
    if setup.prepared is None:
        return report
    data = f"data: {setup.prepared.about.name}, fingerprint {setup.prepared.fingerprint}"
    return dataclasses.replace(
        report,
        notes=(data, *report.notes, *setup.prepared.prevalence()),
        warnings=(*setup.prepared.leaks.get(report.title, ()), *report.warnings),
    )


def _reported_splits(setup: Setup) -> list[str]:
    return [split for split in REPORTED if split in setup.splits] or ["rows"]


def _report(
    setup: Setup,
    carry: Carry,
    directory: RunDirectory,
    name: str,
    began: float,
    pace: Throughput,
    console: Console | None,
) -> Result:
    """Predict, store, and compute every metric from what was stored."""
    if tripwire := Tripwire.armed():
        tripwire.reached("report", int(carry.step))
    state = reported(setup.experiment, carry)
    names = _reported_splits(setup)
    directory.predictions.mkdir(exist_ok=True)
    predictions: dict[str, Predictions | Rows] = {}
    for split in names:
        predictions[split] = predict_split(setup, state, split)
        predictions[split].write(directory.predictions / f"{split}.parquet")
    report = _evaluate(predictions[names[-1]], predictions.get("validation"), setup)
    select = setup.experiment.evaluation.select
    if select is not None and not has_best(carry):
        warning = f"{select.metric} on validation was never defined: the last weights are reported, not the best."
        report = dataclasses.replace(report, warnings=(*report.warnings, warning))
    summary = {
        "name": name,
        "seed": setup.seed,
        "fingerprint": fingerprint(setup.experiment),
        "code": directory.environment()["code"],
        "updates": int(carry.step),
        "total_updates": setup.cadence.total,
        "stopped_early": bool(carry.stopped),
        "reported_step": int(carry.best.step) if carry.best is not None and has_best(carry) else int(carry.step),
        "split": names[-1],
        "report": report.to_json(),
        "seconds": round(time.perf_counter() - began, 3),
        "input_wait_share": round(pace.waited, 5),
        "throughput": pace.to_json(),
    }
    write_json(directory.results, summary)
    discard_explanations(directory.figures)
    if setup.execution.figures:
        for note in _draw(setup, directory, predictions[names[-1]], report, name, summary["reported_step"])[1]:
            _say(console, f"note: {note}")
    return Result(directory.path, setup.experiment, setup.seed, report, predictions, summary, fresh=True)
