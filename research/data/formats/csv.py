"""`CSV`: a table in a delimited text file, as people have them: with or without header, padded, with gaps."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from jaxtyping import Bool, Int32, Shaped

from research.data.about import About
from research.data.formats import labels
from research.data.formats.delimited import Delimited, as_number, read_delimited
from research.data.source import Source, find_file
from research.data.table import Column, Table
from research.errors import UserError, did_you_mean
from research.spec import field
from research.task import Task


@dataclasses.dataclass(frozen=True)
class NewTable:
    """Input columns of a file of new patients; see `CSV.read_inputs`.

    Attributes:
        frame: the columns asked for, raw values.
        patient: identifiers from the patient column; None where the file has none.
        row: number of each row, from 0.
    """

    frame: pd.DataFrame
    patient: Shaped[np.ndarray, " N"] | None
    row: Int32[np.ndarray, " N"]


@dataclasses.dataclass(frozen=True)
class Labelled:
    """Rows of a table that have their targets; see `CSV.labelled`.

    Attributes:
        file: the rows that are kept.
        columns: names of the target columns.
        targets: as the task says.
        task: what the targets mean.
        patient: identifiers from the patient column; None where none is declared.
        split: official splits; None where no column is declared.
        row: number of each row in the file, from 0.
        notes: on rows that were left out, where there are any.
    """

    file: Delimited
    columns: tuple[str, ...]
    targets: Shaped[np.ndarray, "N ..."]
    task: Task
    patient: Shaped[np.ndarray, " N"] | None
    split: Shaped[np.ndarray, " N"] | None
    row: Int32[np.ndarray, " N"]
    notes: tuple[str, ...]


class CSV(Source):
    """A table in a delimited text file.

    Every column is an input, but those named in ``target``, ``patient``, ``split`` and ``drop``. Inputs are numbers,
    but those named in ``categorical``; text or NaN in a numeric column is an error, for it is more often a mistake
    than meant. Names and values lose their padding; empty cells are missing. Nothing is guessed: what the file does
    not say itself is declared here::

        CSV(path="heart.csv", target="num", positive=">0", categorical=("cp", "thal"))
    """

    path: str = field(help="the file; relative paths are tried as given, then below $RESEARCH_DATA_DIR")
    target: str | int | tuple[str, ...] | None = field(
        None,
        help="name of the target column, or its number from 0 (-1 is the last); several for multilabel, regression; "
        "time and event for survival",
    )
    task: Literal["binary", "multiclass", "multilabel", "regression", "survival"] = field(
        "binary", help="kind of target"
    )
    positive: str | tuple[str, ...] | None = field(
        None, help="labels of the positive class, or of the event of survival, or a comparison like '>0'"
    )
    classes: tuple[str, ...] = field((), help="every label that may occur in the target; any other is an error")
    class_names: tuple[str, ...] = field((), help="names to show for the classes, in order; negative, positive")
    ordinal: bool = field(False, help="whether the order of multiclass classes means something, such as grades")
    header: bool = field(True, help="whether the first line names the columns")
    columns: tuple[str, ...] = field((), help="column names where there is no header")
    patient: str | None = field(None, help="column that identifies the patient")
    split: str | None = field(None, help="column with official splits: train, validation, test")
    categorical: tuple[str, ...] = field((), help="input columns that hold names or codes, not quantities")
    drop: tuple[str, ...] = field((), help="columns that are no inputs, such as what is known only after the outcome")
    missing: tuple[str, ...] = field(("?", "NA", "N/A"), help="texts that mean missing, besides the empty cell")
    sentinels: tuple[str, ...] = field(
        (), help="columns in which 0 means missing; NAME=NUMBER where another number does"
    )
    unlabelled: Literal["error", "drop"] = field("error", help="what to do with rows without a target")
    delimiter: str = field(",", help="the character between values")
    encoding: str = field("utf-8", help="text encoding of the file")
    unit: str = field("", help="unit of a regression target, or of the times of survival")
    name: str = field("", help="name to show; the file's name if empty")
    licence: str = field("not stated", help="what may be done with the data")
    citation: str = field("not stated", help="the publication to cite")
    homepage: str = field("", help="address of the publisher's page")

    def validate(self) -> None:
        """Checks that need no file."""
        if not self.path.strip():
            raise UserError("path: the path of a file is needed, an empty text was given.")
        if len(self.delimiter) != 1:
            raise UserError(f"delimiter: one character is needed, {self.delimiter!r} was given.")
        if self.header and self.columns:
            raise UserError("columns: names are given where the file has no header; set header=False, or remove them.")
        if self.task not in ("binary", "survival") and self.positive is not None:
            raise UserError(f"positive: only a binary target has a positive class; task is {self.task!r}.")
        if self.task == "survival":
            labels.check_survival(self.target)
        if not self._is_classes and (self.classes or self.class_names):
            raise UserError(f"classes: a {self.task} target has none; remove classes and class_names.")
        if self.ordinal and self.task != "multiclass":
            raise UserError(f"ordinal: only the classes of a multiclass target have an order; task is {self.task!r}.")

    @property
    def _is_classes(self) -> bool:
        return self.task in ("binary", "multiclass")

    def about(self) -> About:
        """What is declared of the file; it is not read."""
        return About(
            name=self.name or Path(self.path).stem,
            summary=f"table in the file {Path(self.path).name}, {self.task} target {self._shown_target()}",
            licence=self.licence,
            citation=self.citation,
            homepage=self.homepage,
            notes=tuple(self._notes()),
        )

    def _notes(self) -> Iterator[str]:
        if self.positive is not None:
            rules = (self.positive,) if isinstance(self.positive, str) else self.positive
            target, what = self.target, f"positive class: {self._shown_target()}"
            if self.task == "survival" and isinstance(target, tuple):
                what = f"event: {target[1]}"
            yield f"{what} {' or '.join(rules)}"
        if self.drop:
            yield f"columns left out: {', '.join(self.drop)}"
        if self.sentinels:
            yield f"0 (or the number given) means missing in: {', '.join(self.sentinels)}"
        yield (
            "no patient identifiers: splits and intervals are by row"
            if self.patient is None
            else (f"patients by column {self.patient}")
        )

    def _shown_target(self) -> str:
        return ", ".join(self.target) if isinstance(self.target, tuple) else str(self.target)

    def load(self) -> Table:
        """Read the file.

        Raises:
            UserError: if the file is absent, empty, truncated or not what is declared, naming line, column and value.
        """
        rows = self.labelled()
        file, targets = rows.file, rows.columns
        taken = {*targets, *self.drop, self.patient, self.split}
        inputs = [name for name in file.names if name not in taken]
        if not inputs:
            raise UserError(f"{file.path}: no column is left as input besides target, patient, split and drop.")
        file.require(self._sentinels(file), "sentinels")
        for name in self._sentinels(file):
            if name in taken:
                raise UserError(f"sentinels: column {name!r} is no input (target, patient, split or drop). Remove it.")
        frame = self._frame(file, [(name, name in self.categorical) for name in inputs])
        about = self.about()
        about = dataclasses.replace(about, notes=(*about.notes, *rows.notes))
        return Table(
            frame=frame,
            columns=tuple(_column(pd.Series(frame[name]), name, name in self.categorical) for name in inputs),
            targets=rows.targets,
            task=rows.task,
            patient=rows.patient,
            split=rows.split,
            row=rows.row,
            about=about,
        )

    def labelled(
        self, revise: Callable[[Delimited, tuple[str, ...]], Delimited] | None = None, file: Delimited | None = None
    ) -> Labelled:
        """The rows with their targets, patients and splits, whatever the other columns hold.

        Args:
            revise: changes the content of the file, given the names of the target columns, before it is looked at.
            file: the content, where it has been read already.

        Raises:
            UserError: as `load`.
        """
        file = self._read(self.columns) if file is None else file
        targets = self._target_columns(file)
        if revise is not None:
            file = revise(file, targets)
        self._check_roles(file, targets)
        keep, whole = self._labelled(file, targets), file
        if not keep.all():
            file = _select(file, keep)
        if not len(file):
            raise UserError(f"{file.path}: no row has a target in {', '.join(targets)}.")
        values, task = self._targets(file, targets)
        return Labelled(
            file=file,
            columns=targets,
            targets=values,
            task=task,
            patient=None if self.patient is None else labels.patients(file, self.patient),
            split=None if self.split is None else labels.splits(file, self.split),
            row=np.flatnonzero(keep).astype(np.int32),
            notes=self._left_out(whole, file),
        )

    def _left_out(self, whole: Delimited, kept: Delimited) -> tuple[str, ...]:
        """A note on the rows, and the patients, that have no target."""
        if len(kept) == len(whole):
            return ()
        patients = ""
        if self.patient is not None:
            count = len({*whole.cells[self.patient]} - {*kept.cells[self.patient]})
            patients = f", and with them {count} patients altogether" if count else ""
        return (f"{len(whole) - len(kept)} of {len(whole)} rows have no target and are left out{patients}",)

    def read_inputs(self, columns: Sequence[Column]) -> NewTable:
        """Only the given input columns, and the patients where the file has that column; no target is needed.

        Raises:
            UserError: naming the columns that the file lacks, and as `load`.
        """
        names = self.columns
        if not self.header and names and self.target is not None:
            # A file of new patients mostly lacks the outcome; without a header its absence shows in the count only.
            width = _width(find_file(self.path), self.delimiter, self.encoding)
            target = names[self.target] if isinstance(self.target, int) else self.target
            given = target if isinstance(target, tuple) else (target,)
            without = tuple(name for name in names if name not in given)
            names = without if width == len(without) else names
        file = self._read(names)
        lacking = [column.name for column in columns if column.name not in file.names]
        if lacking:
            hints = "".join(dict.fromkeys(did_you_mean(name, file.names) for name in lacking[:3]))
            raise UserError(
                f"{file.path} lacks {len(lacking)} of the {len(columns)} columns that the model was trained on: "
                f"{', '.join(lacking)}.{hints} Its columns: {', '.join(file.names)}."
            )
        frame = self._frame(file, [(column.name, column.kind == "categorical") for column in columns])
        known = self.patient is not None and self.patient in file.names
        patient = labels.patients(file, self.patient) if known and self.patient is not None else None
        return NewTable(frame, patient, np.arange(len(file), dtype=np.int32))

    def _read(self, columns: tuple[str, ...]) -> Delimited:
        path = find_file(self.path)
        return read_delimited(path, self.header, columns, self.missing, self.delimiter, self.encoding)

    def _target_columns(self, file: Delimited) -> tuple[str, ...]:
        if self.target is None or self.target == ():
            raise UserError(
                f"target: {file.path} needs a target column. Set target=..., one of {', '.join(file.names)}."
            )
        if isinstance(self.target, int):
            if not -len(file.names) <= self.target < len(file.names):
                raise UserError(
                    f"target: column number {self.target} was given; {file.path} has {len(file.names)} columns, "
                    f"numbered from 0; -1 is the last."
                )
            return (file.names[self.target],)
        targets = (self.target,) if isinstance(self.target, str) else self.target
        file.require(targets, "target")
        if self._is_classes and len(targets) != 1:
            raise UserError(f"target: a {self.task} target is one column, {len(targets)} were given: {targets}.")
        return targets

    def _check_roles(self, file: Delimited, targets: tuple[str, ...]) -> None:
        """Every named column exists, and none has two roles."""
        roles: dict[str, str] = dict.fromkeys(targets, "target")
        named: list[tuple[str, tuple[str, ...]]] = [
            ("patient", (self.patient,) if self.patient is not None else ()),
            ("split", (self.split,) if self.split is not None else ()),
            ("drop", self.drop),
            ("categorical", self.categorical),
        ]
        for option, names in named:
            file.require(names, option)
            for name in names:
                if name in roles:
                    raise UserError(f"{option}: column {name!r} is {roles[name]} already; a column has one role.")
                roles[name] = option

    def _labelled(self, file: Delimited, targets: tuple[str, ...]) -> Bool[np.ndarray, " N"]:
        """Whether each row has its target; labels of a multi-label target may be missing, but not all."""
        absent = np.asarray([[cell is None for cell in file.cells[name]] for name in targets])
        lacking = absent.all(axis=0) if self.task == "multilabel" else absent.any(axis=0)
        if lacking.any() and self.unlabelled == "error":
            row = int(np.flatnonzero(lacking)[0])
            name = next(n for n in targets if file.cells[n][row] is None)
            what = "no label is known" if self.task == "multilabel" else "the target is missing"
            raise UserError(
                f"{file.where(row, name)}: {what}, in {int(lacking.sum())} rows in all. Complete them, or leave such "
                f"rows out with unlabelled='drop'."
            )
        return np.logical_not(lacking)

    def _targets(self, file: Delimited, columns: tuple[str, ...]) -> tuple[Shaped[np.ndarray, "N ..."], Task]:
        positive = (self.positive,) if isinstance(self.positive, str) else self.positive or ()
        if self.task == "survival":
            return labels.survival(file, columns, positive, self.unit)
        if self.task == "binary":
            return labels.binary(file, columns[0], self.classes, positive, self.class_names)
        if self.task == "multiclass":
            return labels.multiclass(file, columns[0], self.classes, self.class_names, self.ordinal)
        if self.task == "multilabel":
            return labels.multilabel(file, columns)
        return labels.regression(file, columns, self.unit)

    def _frame(self, file: Delimited, columns: list[tuple[str, bool]]) -> pd.DataFrame:
        sentinels = self._sentinels(file)
        data: dict[str, Any] = {}
        for name, categorical in columns:
            if categorical:
                data[name] = np.asarray(file.categories(name), dtype=object)
                sentinel = sentinels.get(name)
                if sentinel is not None:
                    data[name][[cell is not None and as_number(cell) == sentinel for cell in data[name]]] = None
            else:
                data[name] = file.numbers(name)
                if name in sentinels:
                    data[name][data[name] == sentinels[name]] = np.nan
        return pd.DataFrame(data)

    def _sentinels(self, file: Delimited) -> dict[str, float]:
        """Column name to the number that means missing in it."""
        found = {}
        for text in self.sentinels:
            name, equals, number = text.rpartition("=") if text not in file.names else (text, "", "")
            value = as_number(number) if equals else 0.0
            if not math.isfinite(value):
                raise UserError(f"sentinels: {text!r} is not readable; write NAME, or NAME=NUMBER.")
            found[name if equals else text] = value
        return found


def _column(values: pd.Series, name: str, categorical: bool) -> Column:
    if not categorical:
        return Column(name, "numeric")
    return Column(name, "categorical", tuple(sorted(set(values.dropna()))))


def _select(file: Delimited, keep: Bool[np.ndarray, " N"]) -> Delimited:
    """The rows of the file that are kept."""
    rows = [int(row) for row in np.flatnonzero(keep)]
    cells = {name: [column[row] for row in rows] for name, column in file.cells.items()}
    return dataclasses.replace(file, cells=cells, lines=[file.lines[row] for row in rows])


def _width(path: Path, delimiter: str, encoding: str) -> int:
    """Number of values in the first row of a file without a header."""
    return len(read_delimited(path, False, (), (), delimiter, encoding).names)
