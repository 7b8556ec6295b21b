"""The attention of one run for one patient, as pictures."""

from __future__ import annotations

import re
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
from research.reporting.attention import record_attention, series_attention
from research.task import Task
from research.training.setup import Setup, with_fitted

MOST_DRAWN = 4
"""Examples of one patient that are drawn."""


def check_attention(setup: Setup, split: str, patient: str) -> None:
    """Raises `UserError` where the inputs are no sequences, or the split has no such patient."""
    _of_patient(setup, split, patient)


def write_attention(folder: Path, setup: Setup, state: State, split: str, patient: str, name: str) -> tuple[Path, ...]:
    """Draw what the model attended to in the examples of a patient, the first few of them.

    Args:
        folder: where to.
        setup: the run.
        state: its reported weights.
        split: which the patient is in.
        patient: identifier, or the number of the row in the source where the data has none.
        name: of the run.

    Returns:
        The files.

    Raises:
        UserError: as `check_attention`, or for a model without attention.
    """
    prepared, rows = _of_patient(setup, split, patient)
    examples = prepared.splits[split]
    chosen = rows[:MOST_DRAWN]
    numbers = np.arange(len(chosen), dtype=np.int32)
    part = Examples(examples.read(chosen), examples.targets[chosen], numbers, None, numbers)
    batch = put(part, prepared.task, setup.device)
    found = attend(with_fitted(setup.experiment, prepared), state, batch, setup.device.platform)
    paths = []
    for place, row in enumerate(chosen):
        safe = re.sub(r"[^A-Za-z0-9_.-]+", "_", patient)
        path = folder / f"attention-{safe}{f'-{place + 1}' if len(rows) > 1 else ''}.png"
        title = f"Attention: {name}, {split}, {_called(prepared, examples, int(row))}"
        facts = (
            f"{_said(prepared.task, examples.targets[row], found.prediction[place])} Mean over heads; steps sum to 1."
        )
        length = int(found.inputs["length"][place])
        layers = {layer: found.read(layer, place)[:length] for layer in found.layers}
        paths.append(_draw(path, prepared, found, place, layers, examples, int(row), title, facts))
    return tuple(paths)


def _draw(
    path: Path,
    prepared: Prepared,
    found: Attention,
    place: int,
    layers: dict[str, Any],
    examples: Examples,
    row: int,
    title: str,
    facts: str,
) -> Path:
    length = int(found.inputs["length"][place])
    time = found.inputs["time"][place, :length]
    if isinstance(prepared, PreparedEvents):
        return record_attention(path, examples.inputs.texts(row), time, layers, title, facts)
    assert isinstance(prepared, PreparedSeries) and isinstance(prepared.data, SeriesData)
    statistics = prepared.data.statistics
    values, observed = found.inputs["values"][place, :length], found.inputs["observed"][place, :length]
    if prepared.data.scaling == "train" and statistics is not None:
        values = values * np.asarray(statistics.deviation) + np.asarray(statistics.mean)
    unit = prepared.data.scaling != "series"
    names = [f"{v.name}, {v.unit}" if v.unit and unit else v.name for v in prepared.variables]
    return series_attention(
        path, time, np.where(observed, values, np.nan), names, layers, title, facts, prepared.time_unit
    )


def _of_patient(setup: Setup, split: str, patient: str) -> tuple[Prepared, np.ndarray]:
    """The prepared data, and the positions of a patient's examples in a split."""
    prepared = setup.prepared
    if not isinstance(prepared, PreparedSeries | PreparedEvents):
        raise UserError("--attention: only series and records are drawn; this run learnt from something else.")
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
            f"--attention: {split} has no {what} {patient!r}.{did_you_mean(patient, texts.tolist())} It has {some}, ..."
        )
    return prepared, rows


def _called(prepared: Prepared, examples: Examples, row: int) -> str:
    if examples.names is not None:
        return str(examples.names[row])
    return f"row {examples.example[row]}" if examples.patient is None else f"patient {examples.patient[row]}"


def _said(task: Task, target: Any, prediction: Any) -> str:
    """What is true and what the model says, in a sentence."""
    if task.per_step or task.kind == "survival":
        return ""
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
