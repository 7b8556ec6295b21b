"""`Dataset`: raw rows with their targets, and who they came from; its kinds say what the inputs are."""

from __future__ import annotations

import dataclasses
import hashlib

import numpy as np
import pandas as pd
from jaxtyping import Int32, Shaped, UInt64

from research.data.about import About
from research.task import Task

SPLITS = ("train", "validation", "test")
"""Names of the splits, in the order in which they are always listed."""

BY_ROW = "by row, no patient identifiers"
"""What every report says where the data does not tell whose row is whose."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dataset:
    """Raw rows of one dataset, before splits and preprocessing.

    Attributes:
        targets: as `research.task.Task` says, ``[N]`` or ``[N, L]``.
        task: what the targets mean.
        patient: identifier of the patient of each row; None where the data has none.
        split: official split of each row, one of ``SPLITS``; None where the data has no official splits.
        row: number of the row in the source, from 0; numbers of rows that were left out do not occur.
        about: licence, citation and notes.
        alike: numbers that are equal where rows are copies of each other, ``[N]``; None where that means nothing.
    """

    targets: Shaped[np.ndarray, "N ..."]
    task: Task
    patient: Shaped[np.ndarray, " N"] | None
    split: Shaped[np.ndarray, " N"] | None
    row: Int32[np.ndarray, " N"]
    about: About
    alike: UInt64[np.ndarray, " N"] | None = None

    def __len__(self) -> int:
        return len(self.row)

    @property
    def unit(self) -> Shaped[np.ndarray, " N"]:
        """What is never divided between splits, ``[N]``: the patient's number, or the row's where none is known.

        Patients are numbered from 0 in the order in which they first occur. Without patients, copies of a row have one
        number, so that none is learnt from and tested on.
        """
        owner = self.alike if self.patient is None else self.patient
        if owner is None:
            return np.arange(len(self), dtype=np.int32)
        return pd.factorize(owner)[0].astype(np.int32)


def hash_of(*arrays: Shaped[np.ndarray, ...]) -> np.uint64:
    """First 8 bytes of a SHA-256 over the bytes of `canonical` arrays."""
    return np.frombuffer(hashlib.sha256(b"".join(array.tobytes() for array in arrays)).digest(), "<u8", 1)[0]


def canonical(array: Shaped[np.ndarray, ...]) -> Shaped[np.ndarray, ...]:
    """The same values with one bit pattern for NaN, so that equal arrays have equal bytes."""
    missing = np.isnan(array) if array.dtype.kind == "f" else None
    return np.where(missing, np.nan, array) if missing is not None and missing.any() else array
