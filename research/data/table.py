"""`Table`: raw rows with named columns, the targets, and who they came from."""

from __future__ import annotations

import dataclasses
from typing import Literal

import numpy as np
import pandas as pd
from jaxtyping import Int32, Shaped

from research.data.about import About
from research.task import Task

SPLITS = ("train", "validation", "test")
"""Names of the splits, in the order in which they are always listed."""

BY_ROW = "by row, no patient identifiers"
"""What every report says where the data does not tell whose row is whose."""


@dataclasses.dataclass(frozen=True)
class Column:
    """One input column.

    Attributes:
        name: as in the file, without padding.
        kind: ``numeric`` (float64, NaN where missing) or ``categorical`` (text, None where missing).
        categories: every category that occurs in the data, sorted; empty for a numeric column.
        unit: unit of a measurement; empty where it is not known.
    """

    name: str
    kind: Literal["numeric", "categorical"]
    categories: tuple[str, ...] = ()
    unit: str = ""


@dataclasses.dataclass(frozen=True)
class Table:
    """Raw rows of one dataset, before splits and preprocessing.

    Attributes:
        frame: the input columns, in the order of ``columns``; raw values.
        columns: name and kind of every input column.
        targets: as `research.task.Task` says, ``[N]`` or ``[N, L]``.
        task: what the targets mean.
        patient: identifier of the patient of each row; None where the data has none.
        split: official split of each row, one of ``SPLITS``; None where the data has no official splits.
        row: number of the row in the source, from 0; numbers of rows that were left out do not occur.
        about: licence, citation and notes.
    """

    frame: pd.DataFrame
    columns: tuple[Column, ...]
    targets: Shaped[np.ndarray, "N ..."]
    task: Task
    patient: Shaped[np.ndarray, " N"] | None
    split: Shaped[np.ndarray, " N"] | None
    row: Int32[np.ndarray, " N"]
    about: About

    def __len__(self) -> int:
        return len(self.frame)

    @property
    def unit(self) -> Shaped[np.ndarray, " N"]:
        """What is never divided between splits, ``[N]``: the patient's number, or the row's where none is known.

        Patients are numbered from 0 in the order in which they first occur.
        """
        if self.patient is None:
            return np.arange(len(self), dtype=np.int32)
        return pd.factorize(self.patient)[0].astype(np.int32)
