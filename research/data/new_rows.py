"""Rows of new patients, made into features by the statistics of a finished training."""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Float32, Int32, Shaped

from research.data.formats.csv import CSV
from research.data.preprocessing import FittedPreprocessing
from research.data.source import Source
from research.data.table import Column
from research.spec import check
from research.spec.values import default_of, field_annotations


@dataclasses.dataclass(frozen=True)
class NewRows:
    """Features of new rows, and what is unlike the training data in them.

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


def read_new(file: CSV | str, fitted: FittedPreprocessing, trained_on: Source | None = None) -> NewRows:
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
    return NewRows(inputs, table.patient, table.row, tuple(fitted.unfamiliar(table.frame)))


def _inherit(source: CSV, trained_on: CSV) -> CSV:
    """``source`` with the training file's options in place of defaults."""
    defaults = {item.name: default_of(item) for item in dataclasses.fields(source)}
    names = [name for name in field_annotations(CSV) if name != "path" and getattr(source, name) == defaults[name]]
    return source.replace(**{name: getattr(trained_on, name) for name in names})
