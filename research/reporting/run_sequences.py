"""What one run makes of one patient's series or record, as pictures: predictions over time, and attention."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from research.algorithms.algorithm import State
from research.data.event_data import PreparedEvents
from research.data.prepare import Examples, Prepared
from research.data.resident import put
from research.data.series_data import PreparedSeries, SeriesData
from research.errors import UserError, did_you_mean
from research.evaluation.attention import Attention, attend
from research.evaluation.predictions import Predictions, Rows
from research.evaluation.report import Report
from research.reporting import style
from research.reporting.attention import record_attention
from research.reporting.forecast import forecasts
from research.reporting.series import Said, series_figure
from research.task import Task
from research.training.setup import Setup, with_fitted

MOST_DRAWN = 4
"""Examples of one patient that are drawn."""


def check_patient(setup: Setup, split: str, patient: str, option: str) -> None:
    """Raises `UserError` where ``option`` draws nothing of such inputs, or the split has no such patient."""
    _of_patient(setup, split, patient, option)


def write_attention(
    folder: Path, setup: Setup, state: State, split: str, patient: str, name: str, report: Report
) -> tuple[Path, ...]:
    """Draw what the model attended to, and said, in the examples of a patient, the first few of them.

    Args:
        folder: where to.
        setup: the run.
        state: its reported weights.
        split: which the patient is in.
        patient: identifier, or the number of the row in the source where the data has none.
        name: of the run.
        report: of the split, for its threshold.

    Returns:
        The files.

    Raises:
        UserError: as `check_patient`, or for a model without attention.
    """
    prepared, rows = _of_patient(setup, split, patient, "--attention")
    found = _seen(setup, state, prepared, split, rows[:MOST_DRAWN])
    if not found.layers:
        raise UserError(
            f"--attention: {type(setup.experiment.model).__name__} has no attention layer. Use a transformer, or RNN "
            f"with readout='attention'; --patient draws what any model says of a series."
        )
    examples, paths = prepared.splits[split], []
    for place, row in enumerate(rows[:MOST_DRAWN]):
        path = folder / f"attention-{_safe(patient)}{f'-{place + 1}' if len(rows) > 1 else ''}.png"
        title = f"Attention: {name}, {split}, {_called(prepared, examples, int(row))}"
        facts = f"{_facts(prepared, examples, found, rows, place)} Attention: mean over heads; steps sum to 1.".strip()
        length = int(found.inputs["length"][place])
        layers = {layer: found.read(layer, place)[:length] for layer in found.layers}
        if isinstance(prepared, PreparedEvents):
            time = found.inputs["time"][place, :length]
            paths.append(record_attention(path, examples.inputs.texts(int(row)), time, layers, title, facts))
        else:
            paths.append(_draw(path, prepared, found, place, examples, int(row), title, facts, report, layers))
    return tuple(paths)


def write_patient(
    folder: Path,
    setup: Setup,
    state: State,
    predictions: Predictions | Rows,
    patient: str,
    name: str,
    report: Report,
) -> tuple[Path, ...]:
    """Draw what was measured of a patient over time and what the model says; of forecasts those of the patient.

    Args:
        folder: where to.
        setup: the run.
        state: its reported weights.
        predictions: of the split that the patient is in.
        patient: identifier, or the number of the row in the source where the data has none.
        name: of the run.
        report: of the split, for its threshold.

    Returns:
        The files; of several series the first few are drawn.

    Raises:
        UserError: as `check_patient`.
    """
    split = predictions.split
    prepared, rows = _of_patient(setup, split, patient, "--patient")
    if isinstance(predictions, Predictions) and predictions.origins is not None:
        figure = forecasts(predictions, f"{name}, {split}", patient)
        return (style.save(figure, folder / f"patient-{_safe(patient)}.png"),)
    found = _seen(setup, state, prepared, split, rows[:MOST_DRAWN])
    examples, paths = prepared.splits[split], []
    for place, row in enumerate(rows[:MOST_DRAWN]):
        path = folder / f"patient-{_safe(patient)}{f'-{place + 1}' if len(rows) > 1 else ''}.png"
        title = f"{name}, {split}, {_called(prepared, examples, int(row))}"
        facts = _facts(prepared, examples, found, rows, place)
        paths.append(_draw(path, prepared, found, place, examples, int(row), title, facts, report))
    return tuple(paths)


def _seen(setup: Setup, state: State, prepared: Prepared, split: str, chosen: np.ndarray) -> Attention:
    """What the model saw of some examples, said of them, and attended to."""
    examples = prepared.splits[split]
    numbers = np.arange(len(chosen), dtype=np.int32)
    part = Examples(examples.read(chosen), examples.targets[chosen], numbers, None, numbers)
    batch = put(part, prepared.task, setup.device)
    return attend(with_fitted(setup.experiment, prepared), state, batch, setup.program.outline.context_platform)


def _draw(
    path: Path,
    prepared: Prepared,
    found: Attention,
    place: int,
    examples: Examples,
    row: int,
    title: str,
    facts: str,
    report: Report,
    layers: Mapping[str, Any] | None = None,
) -> Path:
    """One series."""
    assert isinstance(prepared, PreparedSeries) and isinstance(prepared.data, SeriesData)
    length, task = int(found.inputs["length"][place]), prepared.task
    time = found.inputs["time"][place, :length]
    statistics = prepared.data.statistics
    values, observed = found.inputs["values"][place, :length], found.inputs["observed"][place, :length]
    if prepared.data.scaling == "train" and statistics is not None:
        values = values * np.asarray(statistics.deviation) + np.asarray(statistics.mean)
    unit = prepared.data.scaling != "series"
    names = [f"{v.name}, {v.unit}" if v.unit and unit else v.name for v in prepared.variables]
    said = None
    if task.per_step:
        probability = found.prediction[place, :length]
        if probability.ndim == 1:
            probability = np.stack([1 - probability, probability], axis=1)
        threshold = report.thresholds.get(task.names[1]) if task.kind == "binary" else None
        said = Said(task.names, probability, examples.targets[row, :length], threshold)
    values = np.where(observed, values, np.nan)
    figure = series_figure(time, values, names, title, facts, prepared.time_unit, said, layers)
    return style.save(figure, path)


def _of_patient(setup: Setup, split: str, patient: str, option: str) -> tuple[Prepared, np.ndarray]:
    """The prepared data, and the positions of a patient's examples in a split."""
    prepared = setup.prepared
    if option == "--patient" and isinstance(prepared, PreparedEvents):
        raise UserError("--patient: only series are drawn over time; of records use --attention.")
    if not isinstance(prepared, PreparedSeries | PreparedEvents):
        what = "series are" if option == "--patient" else "series and records are"
        raise UserError(f"{option}: only {what} drawn; this run learnt from something else.")
    if split not in prepared.splits:
        raise UserError(f"split: {split!r} is not a split of this data. Allowed: {', '.join(prepared.splits)}.")
    examples = prepared.splits[split]
    known = examples.example if examples.patient is None else examples.patient
    texts = np.asarray([str(name) for name in known])
    rows = np.flatnonzero(texts == patient)
    if not len(rows):
        what = "row" if examples.patient is None else "patient"
        some = ", ".join(dict.fromkeys(texts[:3].tolist()))
        raise UserError(
            f"{option}: {split} has no {what} {patient!r}.{did_you_mean(patient, texts.tolist())} It has {some}, ..."
        )
    return prepared, rows


def _safe(patient: str) -> str:
    """A patient's identifier as a part of a file's name."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", patient)


def _called(prepared: Prepared, examples: Examples, row: int) -> str:
    if examples.names is not None:
        return str(examples.names[row])
    return f"row {examples.example[row]}" if examples.patient is None else f"patient {examples.patient[row]}"


def _facts(prepared: Prepared, examples: Examples, found: Attention, rows: np.ndarray, place: int) -> str:
    """What is true and said, and which of a patient's examples it is."""
    said = _said(prepared.task, examples.targets[rows[place]], found.prediction[place])
    what = "Record" if isinstance(prepared, PreparedEvents) else "Series"
    return said if len(rows) == 1 else f"{said} {what} {place + 1} of {len(rows)} of this patient."


def _said(task: Task, target: Any, prediction: Any) -> str:
    """What is true and what the model says, in a sentence; nothing where each step has its own."""
    if task.per_step:
        return ""
    if task.kind == "survival":
        true = f"{target[0]:.4g} {task.unit}".strip()
        true += f", then {task.names[0]}" if target[1] else f" without {task.names[0]}, censored"
        return f"True: {true}; said: risk {float(prediction[0]):.4g}."
    if task.kind == "binary":
        return f"True: {task.names[int(target)]}; said: {task.names[1]} with probability {float(prediction):.2f}."
    if task.kind == "multiclass":
        likeliest = int(np.argmax(prediction))
        return (
            f"True: {task.names[int(target)]}; said: {task.names[likeliest]} with {float(prediction[likeliest]):.2f}."
        )
    if task.kind == "multilabel":
        true = [name for name, label in zip(task.names, target, strict=True) if label == 1]
        return f"True: {', '.join(true) or 'none'}; likeliest: {task.names[int(np.argmax(prediction))]}."
    pairs = zip(task.names, target, prediction, strict=True)
    return "; ".join(f"{name}: true {t:.4g}, said {p:.4g}" for name, t, p in pairs) + f" {task.unit}."
