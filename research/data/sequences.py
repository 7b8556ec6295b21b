"""What series and records have in common: laid end to end as raw rows, cut to few lengths as batches."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Array, Int32, Int64, Shaped

from research.data.batch import Batch
from research.data.dataset import Dataset
from research.data.prepare import Data, Prepared
from research.spec import field


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sequences(Dataset):
    """Rows of different lengths, their steps laid end to end: row number i are the next ``lengths[i]`` steps.

    Attributes:
        lengths: int32 ``[N]``, steps of each row, at least 1.
        names: what to call each row when it is shown; None where there is nothing to say.
    """

    noun: ClassVar[str] = "sequence"
    """What a row is called in messages."""

    lengths: Int32[np.ndarray, " N"]
    names: Shaped[np.ndarray, " N"] | None = None

    @functools.cached_property
    def starts(self) -> Int64[np.ndarray, " N"]:
        """Where each row begins among the steps."""
        return np.cumsum(self.lengths, dtype=np.int64) - self.lengths

    def called(self, row: int) -> str:
        """What to call a row in a message."""
        return f"{self.noun} {self.row[row] if self.names is None else self.names[row]}"

    def span(self, row: int) -> slice:
        """The steps of a row."""
        start = int(self.starts[row])
        return slice(start, start + int(self.lengths[row]))


def places(lengths: Int32[np.ndarray, " N"]) -> tuple[Int64[np.ndarray, " S"], Int64[np.ndarray, " S"]]:
    """Of steps laid end to end the number of the row that each belongs to, and its place in that row, from 0."""
    row = np.repeat(np.arange(len(lengths)), lengths)
    return row, np.arange(len(row)) - np.repeat(np.cumsum(lengths, dtype=np.int64) - lengths, lengths)


@dataclasses.dataclass(frozen=True)
class Unlabelled:
    """Sequences of new patients, read without a look at any target.

    Attributes:
        rows: the sequences; their targets are those of `research.task.Task.unknown`.
        columns: what identifies each row beside its prediction, ``[N]`` each, such as patient and time.
        notes: sentences on what was left out, or is unlike the training.
    """

    rows: Sequences
    columns: dict[str, Shaped[np.ndarray, " N"]]
    notes: tuple[str, ...]


class SequenceData(Data):
    """Base of data whose inputs are sequences, a dict of arrays ``[B, T, ...]`` among which is ``length [B]``."""

    abstract: ClassVar[bool] = True
    along_steps: ClassVar[tuple[str, ...]] = ()
    """Inputs whose second axis is that of the steps."""

    lengths: tuple[int, ...] = field((), minimum=1, help="lengths to which batches are cut; none: the longest alone")

    def cut_lengths(self) -> tuple[int, ...]:
        """See `Data.cut_lengths`."""
        return self.lengths

    def needs(self, inputs: Any) -> Int32[Array, " B"]:
        """See `Data.needs`."""
        return inputs["length"]

    def cut(self, batch: Batch, length: int) -> Batch:
        """See `Data.cut`."""
        inputs = {name: x[:, :length] if name in self.along_steps else x for name, x in batch.inputs.items()}
        targets = batch.targets[:, :length] if batch.task.per_step else batch.targets
        return dataclasses.replace(batch, inputs=inputs, targets=targets)


@dataclasses.dataclass(frozen=True)
class PreparedSequences(Prepared):
    """Sequences ready to be trained on and evaluated; the inputs of a split know their ``lengths [n]``."""

    def groups(self) -> Int32[np.ndarray, " N"] | None:
        """See `Prepared.groups`: rows that need the same of `Data.cut_lengths`."""
        return self._group_numbers() if len(self.data.cut_lengths()) > 1 else None

    def padding(self) -> float:
        """Share of the steps of an epoch that only fill up rows; the rows that fill up a last batch do not count."""
        cuts = np.asarray(self.data.cut_lengths())
        return float(1 - self.splits["train"].inputs.lengths.sum() / cuts[self._group_numbers()].sum())

    def _group_numbers(self) -> Int32[np.ndarray, " N"]:
        lengths = self.splits["train"].inputs.lengths
        return np.searchsorted(np.asarray(self.data.cut_lengths()), lengths).astype(np.int32)

    def spread(self) -> dict[str, float]:
        """Least, median and greatest length over all splits."""
        lengths = np.concatenate([examples.inputs.lengths for examples in self.splits.values()])
        return {"least": int(lengths.min()), "median": float(np.median(lengths)), "most": int(lengths.max())}
