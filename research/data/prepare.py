"""`Data`: a source, a split and a preprocessing; `prepare` makes of them what training and evaluation read."""

from __future__ import annotations

import dataclasses
import hashlib
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float32, Int32, Shaped

from research.data.about import About
from research.data.dataset import SPLITS
from research.data.leakage import Leakage, check_leakage
from research.data.preprocessing import FittedPreprocessing, Preprocessing
from research.data.source import Source
from research.data.split import Split
from research.data.table import Column, Table
from research.errors import UserError
from research.spec import Spec, check
from research.task import Task

FEW = 5
"""Fewer patients of a class than this in a split are worth a warning."""


class Data(Spec):
    """What an experiment learns from: where the rows come from, how they are divided and made into features."""

    source: Source
    split: Split = Split()
    preprocessing: Preprocessing = Preprocessing()

    def prepare(self) -> Prepared:
        """Load, split, pass the leakage gate, and preprocess by the statistics of the training rows.

        The same value and the same file give the same bits.

        Raises:
            UserError: for a file that is absent or not what is declared, a patient in two splits, an empty split, or
                a class absent from train; each names the thing and the remedy.
        """
        check(self)
        table = self.source.load()
        split = self.split.assign(table)
        leakage = check_leakage(split, table.patient, table.frame)
        _check_present(table, split)
        fitted = self.preprocessing.fit(table, split == "train")
        inputs = fitted.transform(table.frame)
        unit = table.unit
        splits = {}
        for name in SPLITS:
            rows = split == name
            splits[name] = Examples(
                inputs=inputs[rows],
                targets=table.targets[rows],
                example=table.row[rows],
                patient=None if table.patient is None else table.patient[rows],
                patient_code=unit[rows],
            )
        held_out = {name: table.frame.loc[split == name] for name in SPLITS[1:]}
        return Prepared(
            splits=splits,
            task=table.task,
            about=table.about,
            columns=table.columns,
            preprocessing=fitted,
            patients_known=table.patient is not None,
            fingerprint=_fingerprint(table, split),
            leakage=leakage,
            missing=_missing(table.frame, split),
            warnings=tuple(_warnings(table, split, leakage, fitted, held_out)),
        )


@dataclasses.dataclass(frozen=True)
class Examples:
    """One split, ready for the device.

    Attributes:
        inputs: features, ``[N, F]``.
        targets: as the task says, ``[N]`` or ``[N, L]``.
        example: number of the row in the source, from 0.
        patient: identifiers; None where the data has none.
        patient_code: number of the patient within the dataset; a number of its own for every row where no patients
            are known.
    """

    inputs: Float32[np.ndarray, "N F"]
    targets: Shaped[np.ndarray, "N ..."]
    example: Int32[np.ndarray, " N"]
    patient: Shaped[np.ndarray, " N"] | None
    patient_code: Int32[np.ndarray, " N"]

    def __len__(self) -> int:
        return len(self.inputs)


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A dataset ready to be trained on and evaluated.

    Attributes:
        splits: ``train``, ``validation`` and ``test``, in this order.
        task: what the targets mean.
        about: licence, citation and notes of the source.
        columns: the raw input columns.
        preprocessing: the statistics by which features are made, also of new patients.
        patients_known: whether rows can be told apart by patient.
        fingerprint: 16 hexadecimal digits of a SHA-256 over raw inputs, targets, patients and splits.
        leakage: what the leakage gate counted.
        missing: missing values per split and column, columns without any left out.
        warnings: what a reader of the results should know.
    """

    splits: dict[str, Examples]
    task: Task
    about: About
    columns: tuple[Column, ...]
    preprocessing: FittedPreprocessing
    patients_known: bool
    fingerprint: str
    leakage: Leakage
    missing: dict[str, dict[str, int]]
    warnings: tuple[str, ...]

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names of the columns of ``inputs``."""
        return self.preprocessing.feature_names

    def summary(self) -> dict[str, Any]:
        """A JSON object that says what was trained and tested on; ``data.json`` of a run."""
        return {
            "dataset": dataclasses.asdict(self.about) | {"notes": list(self.about.notes)},
            "fingerprint": self.fingerprint,
            "task": {"kind": self.task.kind, "names": list(self.task.names), "unit": self.task.unit},
            "basis": self.leakage.basis,
            "splits": {name: self._describe(examples) for name, examples in self.splits.items()},
            "identical_examples": self.leakage.identical,
            "missing": self.missing,
            "features": list(self.feature_names),
            "preprocessing": self.preprocessing.to_json(),
            "warnings": list(self.warnings),
        }

    def _describe(self, examples: Examples) -> dict[str, Any]:
        patients = len(np.unique(examples.patient_code)) if self.patients_known else None
        return {"examples": len(examples), "patients": patients} | _describe_targets(examples.targets, self.task)


def _describe_targets(targets: Shaped[np.ndarray, "N ..."], task: Task) -> dict[str, Any]:
    if task.is_classes:
        return {"classes": {name: int((targets == number).sum()) for number, name in enumerate(task.names)}}
    if task.kind == "multilabel":
        counts = {}
        for name, column in zip(task.names, targets.T, strict=True):
            positive, negative = int((column == 1).sum()), int((column == 0).sum())
            counts[name] = {"positive": positive, "negative": negative, "missing": int(np.isnan(column).sum())}
        return {"labels": counts}
    mean, deviation = targets.mean(axis=0, dtype=np.float64), targets.std(axis=0, dtype=np.float64)
    return {
        "targets": {
            name: {"mean": float(m), "standard_deviation": float(s)}
            for name, m, s in zip(task.names, mean, deviation, strict=True)
        }
    }


def _check_present(table: Table, split: Shaped[np.ndarray, " N"]) -> None:
    """Every split has rows, and train has every class (every label both ways)."""
    sizes = {name: int((split == name).sum()) for name in SPLITS}
    shown = ", ".join(f"{name} {count}" for name, count in sizes.items())
    for name, count in sizes.items():
        if not count:
            raise UserError(
                f"the {name} split of {table.about.name} is empty (rows: {shown}). Change the fractions of data.split, "
                f"or the split column of the file."
            )
    if table.task.kind == "regression":
        return
    present = (
        table.targets[:, None] == np.arange(len(table.task.names)) if table.task.is_classes else table.targets == 1
    )
    kinds = [("class", present)]
    if not table.task.is_classes:
        kinds.append(("a negative example of label", table.targets == 0))
    for what, member in kinds:
        for number, name in enumerate(table.task.names):
            counts = {s: int(member[split == s, number].sum()) for s in SPLITS}
            if not counts["train"]:
                shown = ", ".join(f"{s} {count}" for s, count in counts.items())
                raise UserError(
                    f"{what} {name!r} is absent from the train split of {table.about.name} (rows: {shown}), so it "
                    f"cannot be learnt. Remove it from the classes, or change data.split."
                )


def _warnings(
    table: Table,
    split: Shaped[np.ndarray, " N"],
    leakage: Leakage,
    fitted: FittedPreprocessing,
    held_out: dict[str, pd.DataFrame],
) -> list[str]:
    found = []
    for pair, count in leakage.identical.items():
        if count:
            first, second = pair.split("/")
            examples = "1 example has" if count == 1 else f"{count} examples have"
            found.append(f"{examples} the same inputs in {second} as some example in {first}.")
    if table.task.is_classes:
        what = "rows" if table.patient is None else "patients"
        for name in SPLITS[1:]:
            for number, label in enumerate(table.task.names):
                count = len(np.unique(table.unit[(split == name) & (table.targets == number)]))
                if count < FEW:
                    found.append(f"{name} has {count} {what} of class {label!r}: its numbers will be very uncertain.")
    for column in fitted.columns:
        if column.kind == "numeric" and column.low == column.high:
            found.append(f"{column.name} is constant in train and carries no information.")
    for name, frame in held_out.items():
        found.extend(f"{name}: {note}" for note in fitted.unfamiliar(frame, numbers=False))
    return found


def _missing(frame: pd.DataFrame, split: Shaped[np.ndarray, " N"]) -> dict[str, dict[str, int]]:
    absent = frame.isna()
    counts = {name: absent[split == name].sum() for name in SPLITS}
    return {name: {str(c): int(n) for c, n in count.items() if n} for name, count in counts.items()}


def _fingerprint(table: Table, split: Shaped[np.ndarray, " N"]) -> str:
    """SHA-256 over names, raw inputs, targets, patients and splits; equal on every machine."""
    digest = hashlib.sha256()
    for column in table.columns:
        _add_text(digest, [column.name, column.kind])
        values = table.frame[column.name]
        if column.kind == "numeric":
            # One bit pattern for every NaN, and one byte order.
            numbers = np.where(values.isna(), np.nan, values.to_numpy(np.float64))
            digest.update(np.ascontiguousarray(numbers, dtype="<f8").tobytes())
        else:
            _add_text(digest, [None if absent else str(v) for v, absent in zip(values, values.isna(), strict=True)])
    _add_text(digest, [table.task.kind, *table.task.names, table.task.unit, str(table.targets.shape)])
    digest.update(np.ascontiguousarray(table.targets, dtype="<i4" if table.task.is_classes else "<f4").tobytes())
    _add_text(digest, [None] if table.patient is None else [str(name) for name in table.patient])
    _add_text(digest, [str(name) for name in split])
    return digest.hexdigest()[:16]


def _add_text(digest: Any, texts: list[str | None]) -> None:
    """Add texts with their lengths, so that different lists never look alike."""
    parts = [b"-" if text is None else b"%d:" % len(text.encode()) + text.encode() for text in texts]
    digest.update(b"%d[" % len(parts) + b"".join(parts))
