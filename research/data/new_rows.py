"""Rows of new patients, read and prepared as those of a finished training were."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float32, Int32, Int64, Shaped

from research.data.formats.csv import CSV
from research.data.formats.new_pictures import new_pictures
from research.data.preprocessing import FittedPreprocessing
from research.data.source import Source
from research.data.table import Column
from research.errors import UserError
from research.spec import check
from research.spec.values import default_of, field_annotations


@dataclasses.dataclass(frozen=True)
class NewRows:
    """Inputs of new rows as the model takes them, and what is unlike the training data in them.

    Attributes:
        count: number N of rows.
        read: positions, 0 to N - 1, to inputs ``[n, ...]``, or a dict of them.
        columns: what identifies each row beside its prediction: number, file name, patient.
        notes: sentences on unseen categories, values outside the range of train, files that were left out.
        steps: where there is a prediction at each step: the steps of all rows.
    """

    count: int
    read: Callable[[Int32[np.ndarray, " n"]], Any]
    columns: dict[str, Shaped[np.ndarray, " N"]]
    notes: tuple[str, ...] = ()
    steps: NewSteps | None = None


@dataclasses.dataclass(frozen=True)
class NewSteps:
    """Steps at which there are predictions, row by row, in order.

    Attributes:
        row: row of each step, ``[M]``.
        place: its place among the inputs of the row, from 0.
        columns: what identifies each step beside its row: number, time.
    """

    row: Int64[np.ndarray, " M"]
    place: Int64[np.ndarray, " M"]
    columns: dict[str, Shaped[np.ndarray, " M"]]


def path_in(data: str, beside: str | None, kind: str, needed: str, learnt: str) -> str:
    """What follows the colon in ``--data``.

    Args:
        data: as given, such as ``csv:new.csv``.
        beside: a further table, as given.
        kind: what must stand before the colon.
        needed: what must be written.
        learnt: what the run learnt from.

    Raises:
        UserError: where ``data`` is of another kind, or there is a further table that nothing needs.
    """
    given, _, path = data.partition(":")
    if given.strip() != kind or not path.strip():
        raise UserError(f"--data: {data!r} is not readable; this run learnt from {learnt}, so write {needed}.")
    if beside is not None and kind not in ("series", "records"):
        raise UserError(f"--beside: this run learnt from {learnt}, beside which it needs nothing; leave it out.")
    return path.strip()


@dataclasses.dataclass(frozen=True)
class NewTables:
    """Reads tables of new patients as those of the training were read.

    Attributes:
        fitted: the statistics of the training.
        trained_on: source of the training; None where it is not known.
    """

    fitted: FittedPreprocessing
    trained_on: Source | None

    @property
    def blank(self) -> np.ndarray:
        """Inputs of one row whose values do not matter, ``[1, F]``."""
        return np.zeros((1, len(self.fitted.feature_names)), np.float32)

    def read(self, text: str, beside: str | None = None) -> NewRows:
        """The rows that ``csv:FILE`` means; raises `UserError` as `read_new`."""
        path = path_in(text, beside, "csv", "csv:FILE", "a table")
        new = read_new(path, self.fitted, self.trained_on)
        columns: dict[str, Any] = {"row": new.row}
        if new.patient is not None:
            columns["patient"] = new.patient
        return NewRows(len(new.inputs), new.inputs.__getitem__, columns, new.notes)


@dataclasses.dataclass(frozen=True)
class NewPictures:
    """Reads pictures of new patients in the size and colour of the training pictures.

    Attributes:
        shape: height, width and channels of the training pictures.
        trained_on: source of the training; its way of reading files holds (size, colour, format, patient).
    """

    shape: tuple[int, int, int]
    trained_on: Source | None

    @property
    def blank(self) -> np.ndarray:
        """Inputs of one row whose values do not matter, ``[1, H, W, C]``."""
        return np.zeros((1, *self.shape), np.uint8)

    def read(self, text: str, beside: str | None = None) -> NewRows:
        """The pictures that ``pictures:PATH`` means, a file or a folder with all below it.

        Raises:
            UserError: for a path without pictures, or another kind of data.
        """
        path = path_in(text, beside, "pictures", "pictures:FILE or pictures:FOLDER", "pictures")
        options = {} if self.trained_on is None else self.trained_on.reads_pictures()
        found = new_pictures(path, self.shape, **options)

        def read(positions: Int32[np.ndarray, " n"]) -> np.ndarray:
            return np.stack([found.read(int(position)) for position in positions])

        columns = {"file": found.names}
        if found.patient is not None:
            columns["patient"] = found.patient
        return NewRows(len(found.names), read, columns, found.notes)


@dataclasses.dataclass(frozen=True)
class NewFeatures:
    """Features of new rows of a table, and what is unlike the training data in them.

    Attributes:
        inputs: features, ``[N, F]``.
        patient: identifiers from the patient column; None where the file has none.
        row: number of each row in the file, from 0.
        notes: sentences on unseen categories and on values outside the range of train.
    """

    inputs: Float32[np.ndarray, "N F"]
    patient: Shaped[np.ndarray, " N"] | None
    row: Int32[np.ndarray, " N"]
    notes: tuple[str, ...]


def read_new(file: CSV | str, fitted: FittedPreprocessing, trained_on: Source | None = None) -> NewFeatures:
    """Read a file of new patients; it needs the columns of the training data, a target is not looked at.

    Args:
        file: the file, with options where it is written otherwise than the training file; or its path.
        fitted: the statistics of the training.
        trained_on: source of the training; where that was a `CSV`, its options (missing values, sentinels, column
            names, patient column) hold for every option that ``file`` leaves at its default.

    Raises:
        UserError: naming the columns that the file lacks, or the line, column and value that cannot be read.
    """
    source = CSV(path=file) if isinstance(file, str) else file
    if isinstance(trained_on, CSV):
        source = _inherit(source, trained_on)
    check(source)
    table = source.read_inputs([Column(column.name, column.kind) for column in fitted.columns])
    inputs = fitted.transform(table.frame)
    return NewFeatures(inputs, table.patient, table.row, tuple(fitted.unfamiliar(table.frame)))


def _inherit(source: CSV, trained_on: CSV) -> CSV:
    """``source`` with the training file's options in place of defaults."""
    defaults = {item.name: default_of(item) for item in dataclasses.fields(source)}
    names = [name for name in field_annotations(CSV) if name != "path" and getattr(source, name) == defaults[name]]
    return source.replace(**{name: getattr(trained_on, name) for name in names})
