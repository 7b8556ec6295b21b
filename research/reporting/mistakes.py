"""The most confident mistakes, to be looked at: often a wrong label, a bad picture, or a shortcut."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int, Shaped

from research.errors import UserError
from research.evaluation.predictions import Predictions
from research.reporting.contact_sheet import contact_sheet
from research.reporting.style import Figures


class Mistakes(NamedTuple):
    """Examples whose likeliest answer is wrong, the most confident first.

    Attributes:
        row: position in the predictions, ``[M]``.
        confidence: probability that was given to the wrong answer, above 0.5 for two classes and labels, ``[M]``.
        true: what it is.
        said: what was said.
        answer: number of the class that was said, or of the label that is wrong, ``[M]``.
    """

    row: Int[np.ndarray, " M"]
    confidence: Float[np.ndarray, " M"]
    true: tuple[str, ...]
    said: tuple[str, ...]
    answer: Int[np.ndarray, " M"]


def find_mistakes(predictions: Predictions) -> Mistakes:
    """All mistakes of predictions of classes or labels.

    A mistake is an example whose likeliest class is not the true one, whatever the threshold of the report; of
    several labels the one that is most wrong counts, where it is known.

    Raises:
        UserError: if the targets are not known or are quantities.
    """
    task, truth = predictions.task, predictions.targets
    if truth is None or task.kind == "regression":
        raise UserError("mistakes: predictions of classes or labels with known targets are needed.")
    names = np.array(task.names, dtype=object)
    probability = predictions.prediction.astype(np.float64)
    every = np.arange(len(predictions))
    if task.kind == "multilabel":
        # A missing label is no mistake; -1 is less than any error.
        wrong = np.where(np.isnan(truth), -1.0, np.abs(probability - np.nan_to_num(truth)))
        label = answer = wrong.argmax(1)
        confidence, mistaken = wrong[every, label], wrong[every, label] > 0.5
        has = truth[every, label] == 1
        true = np.where(has, names[label], "no " + names[label])
        said = np.where(has, "no " + names[label], names[label])
    else:
        shares = np.stack([1 - probability, probability], axis=1) if task.kind == "binary" else probability
        called = answer = (probability >= 0.5).astype(np.int32) if task.kind == "binary" else shares.argmax(1)
        confidence, mistaken = shares[every, called], called != truth
        true, said = names[truth], names[called]
    rows = np.flatnonzero(mistaken)
    rows = rows[np.argsort(-confidence[rows], kind="stable")]
    return Mistakes(rows, confidence[rows], tuple(true[rows]), tuple(said[rows]), answer[rows])


def mistakes_sheet(
    path: Path,
    predictions: Predictions,
    images_of: Callable[[np.ndarray], Shaped[np.ndarray, "N ..."]],
    names: Sequence[str] | None = None,
    count: int = 24,
    title: str = "",
    white: float = 255.0,
) -> Figures:
    """Write a sheet of the most confident mistakes; where there is none, say so and leave no file.

    Args:
        path: the PNG; an older one is replaced, or removed where there are no mistakes.
        predictions: of classes or labels, with targets.
        images_of: pictures ``[n, H, W]`` or ``[n, H, W, C]`` of the examples of the given numbers in the split
            (`Predictions.example`), ``[n]``.
        names: what to call each example of the split, such as its file, by the same number; None for nothing.
        count: how many to show at most.
        title: name of the run; the name of the split is added.
        white: as in `contact_sheet`.

    Raises:
        UserError: if the targets are not known or are quantities.
        RunError: if the file cannot be written.
    """
    found = find_mistakes(predictions)
    if not len(found.row):
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
        return Figures((), (f"{path.name} is left out: none of {len(predictions)} examples is mistaken.",))
    shown = range(min(count, len(found.row)))
    captions = [_caption(predictions, found, index, names) for index in shown]
    images = np.asarray(images_of(predictions.example[found.row[: len(shown)]]))
    heading = "Most confident mistakes" + (f": {title}, {predictions.split}" if title else "")
    total = len(predictions)
    likeliest = "likelier" if predictions.task.kind == "binary" else "likeliest"
    what = f"put in a wrong class by the {likeliest} one"
    if predictions.task.kind == "multilabel":
        what = "with a wrong label"
    facts = f"{len(found.row):,} of {total:,} examples {what}; the {len(shown)} most confident are shown"
    return Figures((contact_sheet(path, images, captions, title=heading, facts=facts, white=white),))


def _caption(predictions: Predictions, found: Mistakes, index: int, names: Sequence[str] | None) -> str:
    row = found.row[index]
    lines = [f"true {found.true[index]}", f"said {found.said[index]} {rounded(found.confidence[index])}"]
    if predictions.patient is not None:
        lines.append(f"patient {predictions.patient[row]}")
    if names is not None:
        lines.append(shortened(str(names[int(predictions.example[row])])))
    return "\n".join(lines)


def rounded(confidence: Any) -> str:
    """Two decimals; a confidence that is not certainty is not rounded up to it."""
    return ">0.99" if 0.995 <= confidence < 1 else f"{confidence:.2f}"


def shortened(name: str, longest: int = 40) -> str:
    """The end of a long path, where files of one folder differ."""
    return name if len(name) <= longest else "…" + name[-(longest - 1) :]
