"""The worst mistakes, to be looked at: often a wrong label, a bad picture, or a shortcut."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int, Shaped

from research import metrics
from research.errors import UserError
from research.evaluation.measures import DECISION
from research.evaluation.predictions import Predictions
from research.evaluation.report import Report
from research.reporting.contact_sheet import contact_sheet
from research.reporting.contrasts import called_from
from research.reporting.style import Figures
from research.task import Task

_LEAST = 1e-9
"""Probabilities nearer to 0 or 1 count as this near: their log odds would be infinite."""


class Mistakes(NamedTuple):
    """Examples whose answer is wrong, the worst first.

    Attributes:
        row: position in the predictions, ``[M]``.
        confidence: probability that was given to the wrong answer, ``[M]``; below 0.5 where the threshold allows it.
        true: what it is.
        said: what was said.
        answer: number of the class that was said, or of the label that is wrong, ``[M]``.
    """

    row: Int[np.ndarray, " M"]
    confidence: Float[np.ndarray, " M"]
    true: tuple[str, ...]
    said: tuple[str, ...]
    answer: Int[np.ndarray, " M"]


def find_mistakes(predictions: Predictions, thresholds: Mapping[str, float] | None = None) -> Mistakes:
    """All mistakes of predictions of classes or labels, as a report with the same thresholds counts them.

    Of several classes a mistake is an example whose likeliest class is not the true one; the most confident come first.

    Of two classes, and of labels, it is one on the wrong side of the threshold. First come those farthest beyond it,
    by the difference between the log odds of the probability and those of the threshold: from a threshold of 0.02,
    0.001 and 0.3 are about as far, though the one lies 0.019 below it and the other 0.28 above. From 0.5 the order is
    that of confidence. Of several labels, the one that is farthest on the wrong side counts, where it is known.

    Args:
        predictions: of classes or labels, with targets.
        thresholds: probability from which the positive class or each label is called, by name, as
            `research.evaluation.report.Report.thresholds` has them; None or none for 0.5. Of several classes the
            likeliest is called whatever they are.

    Raises:
        UserError: if the targets are not known, or are quantities or times, or the threshold of a name is missing.
    """
    if predictions.targets is None or predictions.task.kind in ("regression", "survival"):
        raise UserError("mistakes: predictions of classes or labels with known targets are needed.")
    if predictions.task.kind == "multiclass":
        return _of_classes(predictions, predictions.targets)
    return _of_thresholds(predictions, predictions.targets, _complete(predictions.task, thresholds))


def _of_classes(predictions: Predictions, truth: np.ndarray) -> Mistakes:
    names = np.array(predictions.task.names, dtype=object)
    called = predictions.prediction.argmax(1)
    confidence = predictions.prediction.max(1).astype(np.float64)
    rows = np.flatnonzero(called != truth)
    rows = rows[np.argsort(-confidence[rows], kind="stable")]
    return Mistakes(rows, confidence[rows], tuple(names[truth[rows]]), tuple(names[called[rows]]), called[rows])


def _of_thresholds(predictions: Predictions, truth: np.ndarray, thresholds: Mapping[str, float]) -> Mistakes:
    names, count = np.array(predictions.task.names, dtype=object), len(predictions)
    two = predictions.task.kind == "binary"
    # Compared as the report does it, in the same precision, so that both count the same.
    cut: Any = thresholds[names[1]] if two else np.array([thresholds[name] for name in names])
    called = metrics.called(predictions.prediction, cut).reshape(count, -1) == 1
    truth = truth.reshape(count, -1)
    wrong = ~np.isnan(truth) & (called != (truth == 1))
    probability = predictions.prediction.astype(np.float64).reshape(count, -1)
    # A label that is right or missing is no mistake; -1 is less than any distance.
    distance = np.where(wrong, np.abs(_log_odds(probability) - _log_odds(np.atleast_1d(cut))), -1.0)
    rows = np.flatnonzero(wrong.any(1))
    rows = rows[np.argsort(-distance[rows].max(1), kind="stable")]
    label = distance[rows].argmax(1)
    has, share = truth[rows, label] == 1, probability[rows, label]
    # What is said where a label is there, and where it is not.
    there, absent = (names[1:], names[:1]) if two else (names, "no " + names)
    true, said = np.where(has, there[label], absent[label]), np.where(has, absent[label], there[label])
    answer = (~has).astype(np.int64) if two else label
    return Mistakes(rows, np.where(has, 1 - share, share), tuple(true), tuple(said), answer)


def _log_odds(probability: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    clipped = probability.clip(_LEAST, 1 - _LEAST)
    return np.log(clipped) - np.log1p(-clipped)


def _complete(task: Task, thresholds: Mapping[str, float] | None) -> dict[str, float]:
    """The threshold of the positive class or of every label; 0.5 where none are given."""
    names = task.names[1:] if task.kind == "binary" else task.names
    if not thresholds:
        return dict.fromkeys(names, DECISION)
    missing = [name for name in names if name not in thresholds]
    if missing:
        raise UserError(
            f"thresholds: {missing[0]!r} has none; given are those of {', '.join(thresholds)}. Give those of the "
            f"report of these predictions, or none for {DECISION}."
        )
    return {name: float(thresholds[name]) for name in names}


def mistakes_sheet(
    path: Path,
    predictions: Predictions,
    images_of: Callable[[np.ndarray], Shaped[np.ndarray, "N ..."]],
    names: Sequence[str] | None = None,
    count: int = 24,
    title: str = "",
    white: float = 255.0,
    report: Report | None = None,
) -> Figures:
    """Write a sheet of the worst mistakes; where there is none, say so and leave no file.

    Args:
        path: the PNG; an older one is replaced, or removed where there are no mistakes.
        predictions: of classes or labels, with targets.
        images_of: pictures ``[n, H, W]`` or ``[n, H, W, C]`` of the examples of the given numbers in the split
            (`Predictions.example`), ``[n]``.
        names: what to call each example of the split, such as its file, by the same number; None for nothing.
        count: how many to show at most.
        title: name of the run; the name of the split is added.
        white: as in `contact_sheet`.
        report: of these predictions; its thresholds say what a mistake is, 0.5 without it (`find_mistakes`).

    Raises:
        UserError: if the targets are not known, or are quantities or times, or the report has no threshold of a label.
        RunError: if the file cannot be written.
    """
    given = {} if report is None else report.thresholds
    found = find_mistakes(predictions, given)
    if not len(found.row):
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
        return Figures((), (f"{path.name} is left out: none of {len(predictions)} examples is mistaken.",))
    shown = range(min(count, len(found.row)))
    cuts = {} if predictions.task.kind == "multiclass" else _complete(predictions.task, given)
    captions = [_caption(predictions, found, index, names, cuts) for index in shown]
    images = np.asarray(images_of(predictions.example[found.row[: len(shown)]]))
    choice = report.threshold_choice if report is not None and given else "no threshold was given"
    heading, what = _words(predictions.task, cuts, choice, len(shown))
    heading += f": {title}, {predictions.split}" if title else ""
    facts = f"{len(found.row):,} of {len(predictions):,} examples {what}"
    return Figures((contact_sheet(path, images, captions, title=heading, facts=facts, white=white),))


def _words(task: Task, cuts: Mapping[str, float], choice: str, shown: int) -> tuple[str, str]:
    """The heading of a sheet, and what was done to its examples: which are mistakes, and which of them are shown."""
    if task.kind == "multiclass":
        what = f"put in a wrong class by the likeliest one; the {shown} most confident are shown"
        return "Most confident mistakes", what
    two = task.kind == "binary"
    what = "on the wrong side of the threshold" if two else "with a wrong label"
    far = f"the {shown} farthest beyond the threshold, by log odds, are shown"
    share = f"p: predicted probability of {task.names[1] if two else 'the label'}"
    return "Mistakes farthest beyond the threshold", f"{what}: {called_from(cuts, choice)}; {far}; {share}"


def _caption(
    predictions: Predictions, found: Mistakes, index: int, names: Sequence[str] | None, cuts: Mapping[str, float]
) -> str:
    row, task = found.row[index], predictions.task
    lines = [f"true {found.true[index]}"]
    if task.kind == "multiclass":
        lines.append(f"said {found.said[index]} {rounded(found.confidence[index])}")
    else:
        two = task.kind == "binary"
        answer = 1 if two else found.answer[index]
        share = predictions.prediction[row] if two else predictions.prediction[row, answer]
        cut = cuts[task.names[answer]]
        lines += [f"said {found.said[index]}", f"p {_three_digits(share)} (from {_three_digits(cut)})"]
    if predictions.patient is not None:
        lines.append(f"patient {predictions.patient[row]}")
    if names is not None:
        lines.append(shortened(str(names[int(predictions.example[row])])))
    return "\n".join(lines)


def _three_digits(share: Any) -> str:
    """As many as the line above the sheet gives of a threshold; like `rounded`, no certainty is made up."""
    return ">0.999" if 0.9995 <= share < 1 else f"{share:.3g}"


def rounded(confidence: Any) -> str:
    """Two decimals; a confidence that is not certainty is not rounded up to it."""
    return ">0.99" if 0.995 <= confidence < 1 else f"{confidence:.2f}"


def shortened(name: str, longest: int = 40) -> str:
    """The end of a long path, where files of one folder differ."""
    return name if len(name) <= longest else "…" + name[-(longest - 1) :]
