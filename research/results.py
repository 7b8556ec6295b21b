"""What a finished run gives: its result, written at the end of training, read again, or evaluated anew."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from pathlib import Path
from typing import Any

import jax
from rich.console import Console

from research.errors import UserError
from research.evaluation.predictions import Predictions, Rows, read_predictions
from research.evaluation.report import Report, evaluate
from research.experiment import Experiment, Parallel
from research.reporting.run_pictures import (
    EXPLANATIONS,
    check_explainable,
    discard_explanations,
    write_explanations,
    write_run_pictures,
)
from research.reporting.run_sequences import check_patient, write_attention, write_patient
from research.spec import fingerprint
from research.trained_model import TrainedModel, has_best, predict_split, reported, restore_finished
from research.training.carry import Carry
from research.training.code import code_hash
from research.training.compilation_cache import use_compilation_cache
from research.training.layout import fitting
from research.training.metrics_log import read_metrics
from research.training.processor import posed
from research.training.profiling import Throughput
from research.training.progress import PreparingDisplay, say
from research.training.run_directory import RunDirectory, write_json
from research.training.setup import Setup, choose_device, set_up
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


def load(path: str | Path) -> Result:
    """The result of a finished run, from its directory."""
    directory = RunDirectory(Path(path))
    experiment, seed, _ = directory.experiment()
    summary = directory.read("results")
    predictions = {f.stem: read_predictions(f) for f in sorted(directory.predictions.glob("*.parquet"))}
    return Result(
        directory.path, experiment, seed, Report.from_json(summary["report"]), predictions, summary, fresh=False
    )


def write_results(
    setup: Setup,
    carry: Carry,
    directory: RunDirectory,
    name: str,
    began: float,
    pace: Throughput,
    console: Console | None,
) -> Result:
    """Predict, store, and compute every metric from what was stored; draws the pictures.

    Args:
        setup: of the run.
        carry: after training.
        directory: open.
        name: of the run.
        began: when, as `time.perf_counter` says.
        pace: of the training.
        console: where notes are shown; None shows nothing.
    """
    if tripwire := Tripwire.armed():
        tripwire.reached("report", int(carry.step))
    state = reported(setup.experiment, carry)
    names = reported_splits(setup)
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
        "feed": "streaming" if setup.streamed else "resident",
        "input_wait_share": round(pace.waited, 5),
        "throughput": pace.to_json(),
    }
    write_json(directory.results, summary)
    discard_explanations(directory.figures)
    if setup.execution.figures:
        for note in _draw(setup, directory, predictions[names[-1]], report, name, summary["reported_step"])[1]:
            say(console, f"note: {note}")
    return Result(directory.path, setup.experiment, setup.seed, report, predictions, summary, fresh=True)


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
    kind = choose_device("auto", recorded.deterministic).platform
    spread = recorded.parallel
    if spread == Parallel() and posed(kind) and (devices := directory.virtual_devices()) is not None:
        spread = spread.replace(data=devices)
    execution = recorded.replace(device="auto", parallel=fitting(spread, jax.device_count(kind)))
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


def reported_splits(setup: Setup) -> list[str]:
    """Splits that are predicted at the end."""
    return [split for split in REPORTED if split in setup.splits] or ["rows"]
