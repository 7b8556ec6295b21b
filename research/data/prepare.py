"""`Data`: a source and a split; `prepare` makes of them what training and evaluation read."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar

import jax
import numpy as np
from jaxtyping import Array, Int32, Key, Shaped

from research.data.about import About
from research.data.batch import Batch
from research.data.dataset import SPLITS, Dataset
from research.data.leakage import Leakage
from research.data.membership import prevalence, sides
from research.data.shelf import Shelf
from research.data.source import Source
from research.data.split import Split
from research.errors import UserError
from research.origins import Origins
from research.spec import Spec, field
from research.task import Task

MOST_PREVALENCES = 10
"""Classes or labels whose prevalence a report spells out; of the others it gives the number."""

FEW = 5
"""Fewer patients of a class than this in a split are worth a warning."""

Listener = Callable[[str, int, int], None]
"""Called now and then during long work with what is done, how many of it, and of how many."""


class Data(Spec):
    """What an experiment learns from: where the rows come from and how they are divided; see the kinds of data."""

    abstract: ClassVar[bool] = True

    source: Source
    split: Split = Split()
    balanced: bool = field(
        False, help="every class equally often in training; a row that comes twice in a batch has the same draws"
    )

    def prepare(self, stored: bool = False, listener: Listener | None = None, shelf: Shelf | None = None) -> Prepared:
        """Load, split, pass the leakage gate, and fit what is fitted to the training rows.

        The same value and the same files give the same bits.

        Args:
            stored: leave large inputs on disk, to be read batch by batch; small ones are in memory all the same.
            listener: told of progress.
            shelf: what was read for other divisions of the same rows, and is to be kept for more of them.

        Raises:
            UserError: for a file that is absent or not what is declared, a patient in two splits, an empty split, or
                a class absent from train; each names the thing and the remedy.
        """
        raise NotImplementedError

    def held_bytes(self, shelf: Shelf) -> int:
        """Bytes that the inputs take in memory, where they may be read from disk instead; 0 where they may not.

        Args:
            shelf: that `prepare` is given too, so that what is read for this is read once.
        """
        return 0

    def transform(self, batch: Batch, key: Key[Array, ""] | None = None) -> Batch:
        """The part of the preparation that the compiled program does: inputs as stored become what a model sees.

        Args:
            batch: rows as a feed gives them.
            key: key of the step's random changes in training; None in evaluation.
        """
        return batch

    def traced(self) -> Data | None:
        """What `transform` needs of this value, and nothing that would make programs differ; None: nothing at all."""
        return None

    def mixes_rows(self) -> str | None:
        """The field by which `transform` mixes rows of a batch in training; None where each row stays by itself."""
        return None

    def cut_lengths(self) -> tuple[int, ...]:
        """Lengths, ascending, to the shortest fitting of which each batch of series is cut; none for other inputs."""
        return ()

    def needs(self, inputs: Any) -> Any:
        """Length of each series of stored inputs, ``[B]``; asked only where `cut_lengths` names some."""
        raise NotImplementedError

    def cut(self, batch: Batch, length: int) -> Batch:
        """Stored rows without the steps from ``length`` on; asked only where `cut_lengths` names some."""
        raise NotImplementedError

    def check_balanced(self, task: Task) -> None:
        """Raises `UserError` where ``balanced`` is asked of targets that are not one class each."""
        if self.balanced and (not task.is_classes or task.per_step):
            kind = "classes of steps" if task.per_step else task.kind
            raise UserError(f"data.balanced: only classes of examples can be balanced; the targets here are {kind}.")


@dataclasses.dataclass(frozen=True)
class Examples:
    """One split, ready to be fed.

    Attributes:
        inputs: array ``[N, ...]`` or dict of them, or an object whose ``read(positions)`` gives such, from
            disk or put together when asked for.
        targets: as the task says, ``[N]`` or ``[N, L]``.
        example: number of the row in the source, from 0.
        patient: identifiers; None where the data has none.
        patient_code: number of the patient within the dataset; a number of its own for every row where no patients
            are known.
        names: what to call each row when it is shown; None where there is nothing to say.
        origins: where the forecasts of each row begin; None where the targets are no forecasts.
        room: rows that arrays on a device are filled up to: the most that this split has in any fold.
    """

    inputs: Any
    targets: Shaped[np.ndarray, "N ..."]
    example: Int32[np.ndarray, " N"]
    patient: Shaped[np.ndarray, " N"] | None
    patient_code: Int32[np.ndarray, " N"]
    names: Shaped[np.ndarray, " N"] | None = None
    origins: Origins | None = None
    room: int = 0

    def __len__(self) -> int:
        return len(self.example)

    def read(self, positions: Shaped[np.ndarray, " B"]) -> Any:
        """Inputs of the rows at ``positions``: an array ``[B, ...]`` or a dict of arrays."""
        if hasattr(self.inputs, "read"):
            return self.inputs.read(positions)
        return jax.tree.map(lambda array: array[positions], self.inputs)

    def all_inputs(self) -> Any:
        """Inputs of all rows."""
        return self.read(np.arange(len(self))) if hasattr(self.inputs, "read") else self.inputs

    @functools.cached_property
    def like(self) -> Any:
        """Shapes and types of one row (`jax.ShapeDtypeStruct`), without the batch axis."""
        return jax.tree.map(lambda row: jax.ShapeDtypeStruct(row.shape[1:], row.dtype), self.read(np.arange(1)))


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A dataset ready to be trained on and evaluated.

    Attributes:
        data: the value it was made of, with the statistics of the training rows filled in.
        splits: ``train``, ``validation`` and ``test``, in this order.
        task: what the targets mean.
        about: licence, citation and notes of the source.
        patients_known: whether rows can be told apart by patient.
        fingerprint: 16 hexadecimal digits of a SHA-256 over raw inputs, targets, patients and splits.
        leakage: what the leakage gate counted.
        warnings: what a reader of the results should know.
        leaks: those of them by which the numbers of a split look better than they are, or more certain; by split.
    """

    data: Data
    splits: dict[str, Examples]
    task: Task
    about: About
    patients_known: bool
    fingerprint: str
    leakage: Leakage
    warnings: tuple[str, ...]
    leaks: dict[str, tuple[str, ...]]

    def summary(self) -> dict[str, Any]:
        """A JSON object that says what was trained and tested on; ``data.json`` of a run."""
        return {
            "dataset": dataclasses.asdict(self.about) | {"notes": list(self.about.notes)},
            "fingerprint": self.fingerprint,
            "task": {name: list(v) if isinstance(v, tuple) else v for name, v in dataclasses.asdict(self.task).items()},
            "basis": self.leakage.basis,
            "splits": {name: self._describe(examples) for name, examples in self.splits.items()},
            "identical_examples": self.leakage.identical,
            "repeated_examples": self.leakage.repeated,
            "warnings": list(self.warnings),
        } | self.details()

    def prevalence(self) -> tuple[str, ...]:
        """How frequent each class or label is in each split, a sentence each; none for quantities.

        Of two classes only the positive one is named; after ten the others are counted.
        """
        if self.task.kind == "regression":
            return ()
        found = []
        for number, name in list(enumerate(self.task.names))[self.task.kind == "binary" :][:MOST_PREVALENCES]:
            shares = [
                f"{split} {100 * prevalence(examples.targets, self.task, number):.1f} %"
                for split, examples in self.splits.items()
            ]
            found.append(f"prevalence of {name}: {', '.join(shares)}")
        more = len(self.task.names) - (self.task.kind == "binary") - len(found)
        return (*found, f"prevalence of {more} more: see data.json") if more else tuple(found)

    def groups(self) -> Int32[np.ndarray, " N"] | None:
        """Group of each training row where batches are to be of one group; None where any rows may meet."""
        return None

    def padding(self) -> float | None:
        """Share of the steps of an epoch that only fill up sequences; None where the inputs are no sequences."""
        return None

    def details(self) -> dict[str, Any]:
        """What `summary` says of this kind of inputs; from it a trained model knows how to read new ones."""
        return {}

    def _describe(self, examples: Examples) -> dict[str, Any]:
        patients = len(np.unique(examples.patient_code)) if self.patients_known else None
        return {"examples": len(examples), "patients": patients} | _describe_targets(examples.targets, self.task)


FITTING = {
    "Table": ("a table", "TableData"),
    "Images": ("pictures", "ImageData"),
    "Series": ("series", "SeriesData"),
    "Events": ("records of events", "EventData"),
}
"""What each kind of raw rows is called, and the kind of data that takes it."""


def other_kind(data: Data, takes: str, raw: Dataset) -> UserError:
    """The error for a source whose rows another kind of data takes."""
    gives, fitting = FITTING[type(raw).__name__]
    return UserError(f"data: {type(data).__name__} takes {takes}, but {raw.about.name} gives {gives}. Use {fitting}.")


def task_of(summary: dict[str, Any]) -> Task:
    """The task that `Prepared.summary` wrote."""
    return Task.from_json(summary["task"])


def _describe_targets(targets: Shaped[np.ndarray, "N ..."], task: Task) -> dict[str, Any]:
    if task.is_classes:
        return {"classes": {name: int((targets == number).sum()) for number, name in enumerate(task.names)}}
    if task.kind == "multilabel":
        counts = {}
        for name, column in zip(task.names, targets.T, strict=True):
            positive, negative = int((column == 1).sum()), int((column == 0).sum())
            counts[name] = {"positive": positive, "negative": negative, "missing": int(np.isnan(column).sum())}
        return {"labels": counts}
    if task.kind == "survival":
        followed, came = targets.T
        return {
            "events": {"came": int(came.sum()), "censored": int((came == 0).sum()), "longest": float(followed.max())}
        }
    mean, deviation = targets.mean(axis=0, dtype=np.float64), targets.std(axis=0, dtype=np.float64)
    return {
        "targets": {
            name: {"mean": float(m), "standard_deviation": float(s)}
            for name, m, s in zip(task.names, mean, deviation, strict=True)
        }
    }


def divide(
    dataset: Dataset, split: Shaped[np.ndarray, " N"], inputs: Callable[[np.ndarray], Any], largest: dict[str, int]
) -> dict[str, Any]:
    """The rows of each split as `Examples`.

    Args:
        dataset: all rows.
        split: name of the split of each row.
        inputs: positions of rows to their inputs.
        largest: as `research.data.Split.largest` says.
    """
    unit, names, origins = dataset.unit, getattr(dataset, "names", None), getattr(dataset, "origins", None)
    found = {}
    for name in SPLITS:
        rows = np.flatnonzero(split == name)
        if not len(rows):
            continue
        found[name] = Examples(
            inputs=inputs(rows),
            targets=dataset.targets[rows],
            example=dataset.row[rows],
            patient=None if dataset.patient is None else dataset.patient[rows],
            patient_code=unit[rows],
            names=None if names is None else names[rows],
            origins=None if origins is None else origins.of(rows),
            room=largest.get(name, 0),
        )
    return found


def check_present(dataset: Dataset, split: Shaped[np.ndarray, " N"], required: tuple[str, ...] = SPLITS) -> None:
    """Every required split has rows, and train every class (every label both ways); raises `UserError`."""
    sizes = {name: int((split == name).sum()) for name in SPLITS}
    shown = ", ".join(f"{name} {count}" for name, count in sizes.items())
    for name, count in sizes.items():
        if not count and name in required:
            raise UserError(
                f"the {name} split of {dataset.about.name} is empty (rows: {shown}). Change the fractions of "
                f"data.split, or the official splits of the data."
            )
    if dataset.task.kind == "regression":
        return
    for number, name in enumerate(dataset.task.names):
        for side, member in sides(dataset.targets, dataset.task, number):
            counts = {s: int(member[split == s].sum()) for s in SPLITS}
            if counts["train"]:
                continue
            shown = ", ".join(f"{s} {count}" for s, count in counts.items())
            what = f"class {name!r}" if dataset.task.is_classes else f"an example {side}"
            whence = "the classes" if dataset.task.is_classes else "the targets"
            raise UserError(
                f"{what} is absent from the train split of {dataset.about.name} (rows: {shown}), so it cannot be "
                f"learnt. Remove it from {whence}, or divide the data in another way."
            )


def warnings_of(dataset: Dataset, split: Shaped[np.ndarray, " N"], declared: tuple[str, ...]) -> list[str]:
    """What a reader of the results should know, whatever the kind of inputs.

    Args:
        dataset: all rows.
        split: name of the split of each row.
        declared: notes that the source gives without being loaded; others tell of what was met in loading.
    """
    return [*(note for note in dataset.about.notes if note not in declared), *_scarce(dataset, split)]


def leaks_of(leakage: Leakage, such_as: Mapping[str, str], copies: str = "") -> dict[str, tuple[str, ...]]:
    """A sentence about each way in which examples of a split have been seen before; by split.

    Args:
        leakage: what the gate counted.
        such_as: one such example of each pair of splits, by name, where there are names.
        copies: what examples with equal inputs are copies of, such as ``pictures``; empty where they are just alike.
    """
    found: dict[str, list[str]] = {name: [] for name in SPLITS}
    for pair, count in leakage.identical.items():
        if count:
            first, second = pair.split("/")
            examples = "1 example has" if count == 1 else f"{count} examples have"
            shown = f", such as {such_as[pair]}" if pair in such_as else ""
            found[second].append(f"{examples} the same inputs in {second} as some example in {first}{shown}.")
    for name, count in leakage.repeated.items():
        if count and copies:
            weight = "counts more than once" if name == "train" else "counts more than once, and intervals do not know"
            found[name].append(f"{name} has {count} copies of {copies} that it has already: each such {weight}.")
    return {name: tuple(sentences) for name, sentences in found.items()}


def _scarce(dataset: Dataset, split: Shaped[np.ndarray, " N"]) -> Iterator[str]:
    """Classes, and sides of labels, of which validation or test has very few."""
    what = "rows" if dataset.patient is None else "patients"
    if dataset.task.kind == "regression":
        return
    for name in (name for name in SPLITS[1:] if (split == name).any()):
        for number in range(len(dataset.task.names)):
            for side, member in sides(dataset.targets, dataset.task, number):
                count = len(np.unique(dataset.unit[(split == name) & member]))
                result = "AUROC and others are not defined there" if not count else "its numbers are very uncertain"
                if count < FEW:
                    yield f"{name} has {count or 'no'} {what} {side}: {result}."


def fingerprint_of(dataset: Dataset, split: Shaped[np.ndarray, " N"], inputs: Callable[[Any], None]) -> str:
    """SHA-256 over raw inputs, targets, patients and splits; equal on every machine.

    Args:
        dataset: all rows.
        split: name of the split of each row.
        inputs: adds the inputs to the digest that it is given.
    """
    digest = hashlib.sha256()
    inputs(digest)
    task = dataset.task
    add_text(digest, [task.kind, *task.names, task.unit, str(dataset.targets.shape)])
    digest.update(np.ascontiguousarray(dataset.targets, dtype="<i4" if task.is_classes else "<f4").tobytes())
    add_text(digest, [None] if dataset.patient is None else [str(name) for name in dataset.patient])
    add_text(digest, [str(name) for name in split])
    return digest.hexdigest()[:16]


def add_text(digest: Any, texts: list[str | None]) -> None:
    """Add texts with their lengths, so that different lists never look alike."""
    encoded = [None if text is None else text.encode("utf-8", "surrogateescape") for text in texts]
    parts = [b"-" if text is None else b"%d:" % len(text) + text for text in encoded]
    digest.update(b"%d[" % len(parts) + b"".join(parts))
