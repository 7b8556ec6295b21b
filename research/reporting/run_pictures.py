"""The pictures of one run: figures of its report, its worst mistakes, and what moved chosen answers."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Int, Int32, UInt8

from research.algorithms.algorithm import State
from research.data.batch import Batch
from research.data.image_data import PreparedImages
from research.data.prepare import Examples
from research.data.resident import put
from research.errors import UserError
from research.evaluation.explanation import Explanation, explain
from research.evaluation.predictions import Predictions, Rows
from research.evaluation.report import Report
from research.reporting import explanation_sheet, mistakes_sheet, write_figures
from research.reporting.contrasts import called_from
from research.reporting.mistakes import find_mistakes, rounded, shortened
from research.training.setup import Setup

MOST_EXPLAINED = 48
EXPLANATIONS = "explanations.png"


def write_run_pictures(
    folder: Path,
    setup: Setup,
    predictions: Predictions | Rows,
    report: Report,
    records: Sequence[dict[str, Any]],
    title: str,
    best_step: int | None,
) -> tuple[str, ...]:
    """Write the figures of a report and, where the inputs are pictures, the worst mistakes.

    Args:
        folder: where to; made if need be.
        setup: the run.
        predictions: what was evaluated.
        report: of these predictions.
        records: lines of the run's log.
        title: name of the run.
        best_step: the update whose weights are reported; None for the last.

    Returns:
        What was left out, and why.
    """
    if isinstance(predictions, Rows):
        return ()
    notes = write_figures(folder, predictions, report, records, title, best_step).notes
    prepared = setup.prepared
    if isinstance(prepared, PreparedImages) and predictions.task.kind not in ("regression", "survival"):
        pictures = _Pictures(prepared.splits[predictions.split])
        sheet = mistakes_sheet(
            folder / "mistakes.png", predictions, pictures.of, pictures.names, title=title, report=report
        )
        notes = (*notes, *sheet.notes)
    return notes


def discard_explanations(figures: Path) -> None:
    """Remove what explains earlier weights, so that it does not stand beside new numbers."""
    for path in figures.glob(f"*/{EXPLANATIONS}"):
        path.unlink(missing_ok=True)


def write_explanations(
    path: Path, setup: Setup, state: State, predictions: Predictions | Rows, report: Report, count: int, title: str
) -> int:
    """Write Grad-CAM and input gradients of chosen pictures: the worst mistakes, and answers of all degrees.

    Of a mistaken label that label is explained; of other pictures the likeliest class or label, and of two classes
    always the positive one.

    Args:
        path: the PNG.
        setup: the run.
        state: its reported weights.
        predictions: of the split that is looked at.
        report: of these predictions, whose thresholds say what a mistake is.
        count: how many pictures at most.
        title: above all.

    Returns:
        How many pictures are explained.
    """
    prepared, experiment = setup.prepared, setup.experiment
    assert isinstance(prepared, PreparedImages) and isinstance(predictions, Predictions)
    assert experiment.model is not None and experiment.loss is not None
    model, task = experiment.model, prepared.task
    outputs = experiment.loss.outputs(task)
    chosen, answer = chosen_examples(predictions, count, report.thresholds)
    pictures = _Pictures(prepared.splits[predictions.split])
    shown = pictures.of(predictions.example[chosen])
    rows = np.arange(len(shown), dtype=np.int32)
    batch = put(Examples(shown, pictures.examples.targets[rows], rows, None, rows), task, setup.device)
    platform, loss, predict = setup.program.outline.context_platform, setup.program.spec.loss, None
    if loss is not None and task.kind in ("regression", "survival"):
        # Not every output is a prediction: there may be one for each quantile or interval of time.
        predict = functools.partial(loss.predict, task=task)

    def explained(state: State, batch: Batch, answer: Array) -> Explanation:
        inputs = prepared.data.transform(batch).inputs
        return explain(model, state, inputs, outputs, task, answer, platform, predict)

    found = jax.device_get(jax.jit(explained)(state, batch, jax.device_put(answer, setup.device)))
    captions = [
        _caption(predictions, int(row), int(which), pictures.names)
        for row, which in zip(chosen, found.answer, strict=True)
    ]
    what = {
        "binary": f"Explained: {task.names[-1]}",
        "regression": f"Explained: {task.names[0]}",
        "survival": f"Explained: the risk of {task.names[0]}",
    }.get(task.kind, "Explained: the answer that the caption gives")
    if report.thresholds:
        what += f"; {called_from(report.thresholds, report.threshold_choice)}"
    heading = f"Explanations: {title}, {predictions.split}"
    explanation_sheet(path, shown, found.cams, found.gradients, captions, heading, what)
    return len(chosen)


def check_explainable(setup: Setup, count: int) -> None:
    """Raises `UserError` where the run has no pictures, or the number of them is out of range."""
    if not isinstance(setup.prepared, PreparedImages):
        raise UserError("--explain: only answers to pictures can be explained; this run learnt from something else.")
    if not 1 <= count <= MOST_EXPLAINED:
        raise UserError(f"--explain: a number of pictures from 1 to {MOST_EXPLAINED} is needed, {count} was given.")


def chosen_examples(
    predictions: Predictions, count: int, thresholds: Mapping[str, float] | None = None
) -> tuple[Int[np.ndarray, " n"], Int32[np.ndarray, " n"]]:
    """Rows worth a look, and the answer to look at in each.

    Up to a third are the worst mistakes, with the class that was said or the label that is wrong; the rest
    are spread over all degrees of the likeliest answer.

    Args:
        predictions: of one split, with targets.
        count: how many rows at most.
        thresholds: what a mistake is, as in `research.reporting.mistakes.find_mistakes`.
    """
    wrong = mistaken = np.zeros(0, np.int64)
    quantities = predictions.task.kind in ("regression", "survival")
    if not quantities:
        mistakes = find_mistakes(predictions, thresholds)
        wrong, mistaken = mistakes.row[: -(-count // 3)], mistakes.answer[: -(-count // 3)]
    probability, likeliest = predictions.prediction, np.ones(len(predictions), np.int64)
    if probability.ndim > 1:
        likeliest = 0 * likeliest if quantities else probability.argmax(1)
        probability = probability.max(1)
    others = np.setdiff1d(np.argsort(-probability, kind="stable"), wrong, assume_unique=True)
    spread = np.unique(np.linspace(0, len(others) - 1, min(count - len(wrong), len(others))).round().astype(np.int64))
    rows = np.concatenate([wrong, others[spread]])
    return rows, np.concatenate([mistaken, likeliest[others[spread]]]).astype(np.int32)


class _Pictures:
    """Pictures of a split by the number of their row in the source, as predictions name them."""

    def __init__(self, examples: Examples) -> None:
        self.examples = examples
        self.position = np.full(int(examples.example.max()) + 1, -1, np.int32)
        self.position[examples.example] = np.arange(len(examples), dtype=np.int32)
        self.names: list[str] | None = None
        if examples.names is not None:
            self.names = [""] * len(self.position)
            for row, name in zip(examples.example, examples.names, strict=True):
                self.names[int(row)] = str(name)

    def of(self, rows: Int[np.ndarray, " n"]) -> UInt8[np.ndarray, "n H W C"]:
        return self.examples.read(self.position[rows])


def _caption(predictions: Predictions, row: int, answer: int, names: list[str] | None) -> str:
    """What is true, and what the model says of the answer that is explained."""
    task, truth = predictions.task, predictions.targets
    assert truth is not None
    said = predictions.prediction[row] if task.kind == "binary" else predictions.prediction[row, answer]
    name = task.names[answer]
    if task.is_classes:
        true = task.names[int(truth[row])]
    elif task.kind == "survival":
        true = f"{truth[row, 0]:.4g}, {name if truth[row, 1] else 'censored'}"
    elif np.isnan(truth[row, answer]):
        true = f"{name}: not known"
    elif task.kind == "multilabel":
        true = name if truth[row, answer] else f"no {name}"
    else:
        true = f"{truth[row, answer]:.4g}"
    # A probability, and not what was called: that is decided by the threshold.
    answered = f"p of {name} {rounded(said)}"
    if task.kind in ("regression", "survival"):
        answered = f"said {said:.4g}" if task.kind == "regression" else f"risk {said:.4g}"
    lines = [f"true {true}", answered]
    if predictions.patient is not None:
        lines.append(f"patient {predictions.patient[row]}")
    if names is not None:
        lines.append(shortened(names[int(predictions.example[row])]))
    return "\n".join(lines)
