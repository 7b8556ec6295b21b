"""Target columns as text become targets: classes checked against what is declared, never guessed."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32, Int32, Shaped

from research.data.dataset import SPLITS
from research.data.formats.delimited import Delimited, as_number, whole
from research.errors import UserError, did_you_mean
from research.task import Task

KNOWN_PAIRS = (
    ("0", "1"),
    ("no", "yes"),
    ("false", "true"),
    ("negative", "positive"),
    ("n", "y"),
    ("f", "t"),
    ("absent", "present"),
    ("normal", "abnormal"),
    ("benign", "malignant"),
    ("healthy", "diseased"),
    ("healthy", "disease"),
    ("healthy", "sick"),
    ("control", "case"),
)
"""Pairs of labels of which the second is plainly the positive one."""

SPLIT_NAMES = {name: name for name in SPLITS} | {
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "dev": "validation",
    "testing": "test",
}
"""How official split names are written, in lower case."""

COMPARISON = re.compile(r"(>=|<=|>|<)\s*([-+]?[\d.]+(?:[eE][-+]?\d+)?)")


def binary(
    file: Delimited, column: str, classes: tuple[str, ...], positive: tuple[str, ...], names: tuple[str, ...]
) -> tuple[Int32[np.ndarray, " N"], Task]:
    """Class 1 where the label is positive, class 0 elsewhere.

    Args:
        file: the file; the target column has no missing values.
        column: name of the target column.
        classes: labels that may occur; empty: any.
        positive: labels, or comparisons such as ``>0``, that make the positive class; empty: the second of two
            ``classes``, or the plainly positive one of a pair such as 0 and 1.
        names: names of the negative and the positive class; empty: made from the labels.

    Raises:
        UserError: for a label outside ``classes``, or where the positive class is not determined.
    """
    classes = _declared(classes)
    labels = _labels(file, column, classes)
    found = list(classes) or in_order(set(labels))
    if positive:
        chosen = {label for rule in positive for label in _matching(rule, found, file, column)}
    else:
        chosen = {_positive_of(found, bool(classes), file, column, labels)}
    if not names:
        pair = [label for label in found if label not in chosen], [label for label in found if label in chosen]
        names = (pair[0][0], pair[1][0]) if len(pair[0]) == len(pair[1]) == 1 else ("negative", "positive")
    if len(names) != 2:
        raise UserError(f"class_names: two names are needed for a binary target, {len(names)} were given.")
    return np.asarray([label in chosen for label in labels], dtype=np.int32), Task("binary", names)


def multiclass(
    file: Delimited, column: str, classes: tuple[str, ...], names: tuple[str, ...], ordinal: bool = False
) -> tuple[Int32[np.ndarray, " N"], Task]:
    """Class numbers in the order of ``classes``, or of the sorted labels where none are declared.

    With ``ordinal`` the order means something; text, which sorts by letter, must then be declared.
    """
    classes = _declared(classes)
    labels = _labels(file, column, classes)
    found = list(classes) or in_order(set(labels))
    if len(found) < 2:
        raise UserError(f"{file.path}: column {column!r} holds only {found[0]!r}; at least two classes are needed.")
    if len(found) > max(20, len(labels) // 10) and not classes:
        raise UserError(
            f"{file.path}: column {column!r} holds {len(found)} different labels in {len(labels)} rows. If it is a "
            f"measurement, declare task='regression'; if these are classes, declare them as classes=(...)."
        )
    if names and len(names) != len(found):
        raise UserError(f"class_names: {len(names)} names were given for {len(found)} classes: {', '.join(found)}.")
    if ordinal:
        check_order(found, bool(classes))
    number = {label: index for index, label in enumerate(found)}
    task = Task("multiclass", names or tuple(found), ordinal=ordinal)
    return np.asarray([number[label] for label in labels], dtype=np.int32), task


def check_order(classes: Sequence[str], declared: bool) -> None:
    """Raise `UserError` unless the order of the classes is declared, or that of numbers."""
    if not declared and any(math.isnan(as_number(name)) for name in classes):
        raise UserError(
            f"ordinal: the order of {', '.join(map(repr, classes))} is not known. Declare the classes in their order, "
            f"such as classes=('none', 'mild', 'severe')."
        )


def multilabel(file: Delimited, columns: tuple[str, ...]) -> tuple[Float32[np.ndarray, "N L"], Task]:
    """One column per label with 0, 1 or missing (NaN)."""
    targets = np.stack([file.numbers(column, target=True) for column in columns], axis=1)
    wrong = np.argwhere(~(np.isnan(targets) | (targets == 0) | (targets == 1)))
    if len(wrong):
        row, label = (int(place) for place in wrong[0])
        raise UserError(f"{file.where(row, columns[label])}: {targets[row, label]:g} is no label; use 0, 1 or missing.")
    return targets.astype(np.float32), Task("multilabel", columns)


def regression(file: Delimited, columns: tuple[str, ...], unit: str) -> tuple[Float32[np.ndarray, "N L"], Task]:
    """One column per predicted quantity."""
    targets = np.stack([file.numbers(column, target=True) for column in columns], axis=1).astype(np.float32)
    return targets, Task("regression", columns, unit)


def survival(
    file: Delimited, columns: tuple[str, ...], positive: tuple[str, ...], unit: str
) -> tuple[Float32[np.ndarray, "N 2"], Task]:
    """How long each row was followed, and whether the event came at the end of that time.

    Args:
        file: the file; the target columns have no missing values.
        columns: that of the time and that of the event, whose name is the name of the event.
        positive: labels, or comparisons such as ``>0``, that mean that the event came; empty: 1 does, and 0 that it did
            not.
        unit: of the time.

    Raises:
        UserError: for a time that is not larger than 0, and for what is no event.
    """
    time, event = columns
    days, events = file.numbers(time, target=True), _labels(file, event, ())
    if (days <= 0).any():
        row = int(np.flatnonzero(days <= 0)[0])
        raise UserError(
            f"{file.where(row, time)}: {days[row]:g} is no time to an event, which is larger than 0, in "
            f"{int((days <= 0).sum())} rows in all. Correct it, or leave such rows out of the file."
        )
    if positive:
        found = in_order(set(events))
        chosen = {label for rule in positive for label in _matching(rule, found, file, event)}
    else:
        chosen = {"1"}
        wrong = [row for row, label in enumerate(events) if label not in ("0", "1")]
        if wrong:
            raise UserError(
                f"{file.where(wrong[0], event)}: {events[wrong[0]]!r} is no event; 1 means that it came, 0 that it did "
                f"not up to that time. Write it so, or say what means that it came, such as "
                f"positive={events[wrong[0]]!r}."
            )
    came = np.asarray([label in chosen for label in events])
    return np.stack([days, came], axis=1).astype(np.float32), Task("survival", (event,), unit)


def check_survival(target: int | str | tuple[str, ...] | None) -> None:
    """Raise `UserError` unless the target of survival, where one is given, is two columns."""
    if target not in (None, ()) and (not isinstance(target, tuple) or len(set(target)) != 2 or len(target) != 2):
        raise UserError(
            f"target: of survival it is two columns, that of the time and that of the event, such as "
            f"target=('days', 'died'); {target!r} was given."
        )


def patients(file: Delimited, column: str) -> Shaped[np.ndarray, " N"]:
    """Identifiers from the column of the patients, each row's own; raises `UserError` where one is missing."""
    cells = file.cells[column]
    if None in cells:
        raise UserError(
            f"{file.where(cells.index(None), column)}: the patient is missing, so the row cannot be kept out of the "
            f"wrong split. Give each row its patient, or remove the row."
        )
    return np.asarray([whole(cell) for cell in cells], dtype=object)


def splits(file: Delimited, column: str) -> Shaped[np.ndarray, " N"]:
    """Official splits, however they are written; raises `UserError` for what is none."""
    names = []
    for row, cell in enumerate(file.cells[column]):
        name = SPLIT_NAMES.get((cell or "").lower())
        if name is None:
            raise UserError(f"{file.where(row, column)}: {cell!r} is no split; use {', '.join(SPLITS)}.")
        names.append(name)
    return np.asarray(names)


def _declared(classes: tuple[str, ...]) -> tuple[str, ...]:
    """Declared classes in the form that cells are brought into, so that ``1.0`` is the class 1 here and there."""
    same = tuple(str(whole(label.strip())) for label in classes)
    for place, label in enumerate(same):
        if label in same[:place]:
            raise UserError(f"classes: {classes[place]!r} is declared twice. Name each class once.")
    return same


def _labels(file: Delimited, column: str, classes: tuple[str, ...]) -> list[str]:
    labels = [str(label) for label in file.categories(column)]
    for row, label in enumerate(labels):
        if classes and label not in classes:
            raise UserError(
                f"{file.where(row, column)}: {label!r} is not one of the declared classes {', '.join(classes)}."
                f"{did_you_mean(label, classes)} Correct the value, or declare it in classes=(...)."
            )
    return labels


def _matching(rule: str, labels: list[str], file: Delimited, column: str) -> list[str]:
    """The labels that one entry of ``positive`` means."""
    comparison = COMPARISON.fullmatch(rule.strip())
    if comparison:
        sign, bound = comparison[1], as_number(comparison[2])
        values = {label: as_number(label) for label in labels}
        text = [label for label, value in values.items() if math.isnan(value)]
        if text:
            raise UserError(f"positive: {rule!r} compares numbers, but {file.path} has {column}={text[0]!r}.")
        test = {">": np.greater, ">=": np.greater_equal, "<": np.less, "<=": np.less_equal}[sign]
        chosen = [label for label, value in values.items() if test(value, bound)]
    else:
        chosen = [label for label in labels if label == whole(rule.strip())]
    if not chosen or len(chosen) == len(labels):
        amount = "none" if not chosen else "every one"
        raise UserError(
            f"positive: {rule!r} matches {amount} of the labels in column {column!r} of {file.path}: "
            f"{', '.join(labels[:20])}.{did_you_mean(rule, labels) if not chosen else ''}"
        )
    return chosen


def _positive_of(found: list[str], declared: bool, file: Delimited, column: str, labels: list[str]) -> str:
    """The positive one of two labels, where it is declared or plain."""
    counts = Counter(labels)
    shown = ", ".join(f"{label!r} ({counts[label]})" for label in found[:10]) + (", ..." if len(found) > 10 else "")
    if len(found) != 2:
        raise UserError(
            f"{file.path}: the target {column!r} holds {len(found)} different labels: {shown}; a binary target has "
            f"two. Say which are positive, such as positive='>0' or positive=({found[-1]!r},), or declare "
            f"task='multiclass' or task='regression'."
        )
    positive = found[1] if declared else plainly_positive(found)
    if positive is not None:
        return positive
    raise UserError(
        f"{file.path}: which label of the target {column!r} is positive: {shown}? Declare it, such as "
        f"positive={found[1]!r}."
    )


def plainly_positive(pair: Sequence[str]) -> str | None:
    """The positive one of two labels where everybody would say so, else None."""
    folded = tuple(label.lower() for label in pair)
    if folded in KNOWN_PAIRS:
        return pair[1]
    return pair[0] if folded[::-1] in KNOWN_PAIRS else None


def in_order(labels: set[str]) -> list[str]:
    """Labels that are all numbers by value, others by letter."""
    numbers = {label: as_number(label) for label in labels}
    if any(math.isnan(value) for value in numbers.values()):
        return sorted(labels)
    return sorted(labels, key=lambda label: (numbers[label], label))
