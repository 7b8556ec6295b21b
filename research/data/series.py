"""`Series`: raw measurements over time, one series a row, all of one length or of different ones."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import numpy as np
from jaxtyping import Bool, Float32, Shaped, UInt64

from research.data.dataset import hash_of
from research.data.sequences import Sequences
from research.errors import UserError
from research.origins import Origins


@dataclasses.dataclass(frozen=True)
class Variable:
    """Something that is measured.

    Attributes:
        name: as the source calls it, such as ``heart rate`` or ``lead II``.
        unit: unit of the measurement; empty where it is not known.
    """

    name: str
    unit: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Series(Sequences):
    """Series of one dataset, before splits and preprocessing, laid end to end.

    Series number i are the next ``lengths[i]`` of the S samples. A sample is one moment, at which some or all of the C
    variables were observed.

    Attributes:
        values: ``[S, C]``; float32, NaN where a variable was not observed; or int16 counts where all were, of which
            each stands for ``scale`` units.
        lengths: int32 ``[N]``, samples of each series, at least 1.
        variables: name and unit of each of the C variables.
        time: float32 ``[S]``, from the start of each series on, never going back; None where samples are
            ``interval`` apart.
        interval: time between samples where ``time`` is None.
        time_unit: of ``time`` and ``interval``, in the plural, such as ``hours`` or ``seconds``.
        scale: units of a count, for int16.
        static: float32 ``[N, D]``, what does not change during a series, such as age; NaN where unknown; None where
            there is nothing of the kind.
        static_variables: name and unit of each of the D columns.
        names: what to call each series when it is shown; None where there is nothing to say.
        origins: where the series are histories and the targets forecasts from them: the end of each; else None.
    """

    noun: ClassVar = "series"

    values: Shaped[np.ndarray, "S C"]
    variables: tuple[Variable, ...]
    time: Float32[np.ndarray, " S"] | None = None
    interval: float = 1.0
    time_unit: str = "samples"
    scale: float = 1.0
    static: Float32[np.ndarray, "N D"] | None = None
    static_variables: tuple[Variable, ...] = ()
    origins: Origins | None = None

    def __post_init__(self) -> None:
        """Raises `UserError` where the parts disagree, a series is empty, or time goes back in one."""
        name, samples = self.about.name, len(self.values)
        if self.values.dtype not in (np.float32, np.int16):
            raise UserError(f"{name}: values are float32, or int16 where all are observed, not {self.values.dtype}.")
        if self.values.shape[1] != len(self.variables):
            raise UserError(f"{name}: {self.values.shape[1]} columns of values, {len(self.variables)} variables named.")
        if len(self.lengths) != len(self) or int(self.lengths.sum()) != samples:
            raise UserError(
                f"{name}: {len(self)} series of {int(self.lengths.sum())} samples in all are declared, but there are "
                f"{len(self.lengths)} lengths and {samples} samples."
            )
        if (self.lengths < 1).any():
            row = int(np.flatnonzero(self.lengths < 1)[0])
            raise UserError(f"{name}: {self.called(row)} has no sample. Leave series without samples out.")
        if self.task.per_step and (self.targets.ndim != 2 or self.targets.shape[1] < int(self.lengths.max())):
            raise UserError(
                f"{name}: targets of shape {(len(self), int(self.lengths.max()))} are needed, a row for each series "
                f"and a column for each step of the longest; {self.targets.shape} was given."
            )
        if self.time is not None:
            back = np.diff(self.time) < 0
            back[self.starts[1:] - 1] = False
            if back.any():
                sample = int(np.flatnonzero(back)[0])
                row = int(np.searchsorted(self.starts, sample, side="right")) - 1
                raise UserError(
                    f"{name}: time goes back in {self.called(row)}, from {self.time[sample]:g} to "
                    f"{self.time[sample + 1]:g} {self.time_unit}. Sort its samples by time."
                )
        columns = 0 if self.static is None else self.static.shape[1]
        if columns != len(self.static_variables):
            raise UserError(f"{name}: {columns} static columns, {len(self.static_variables)} static variables named.")

    def observed(self) -> Bool[np.ndarray, "S C"]:
        """Where a variable was observed."""
        return ~np.isnan(self.values) if self.values.dtype == np.float32 else np.ones(self.values.shape, bool)

    def hashes(self) -> UInt64[np.ndarray, " N"]:
        """A number of each series, equal where values, times and static descriptors are."""
        starts, found = self.starts, np.empty(len(self), np.uint64)
        for row, (start, length) in enumerate(zip(starts, self.lengths, strict=True)):
            parts = [self.values[start : start + length]]
            parts += [] if self.time is None else [self.time[start : start + length]]
            parts += [] if self.static is None else [self.static[row]]
            found[row] = hash_of(*parts)
        return found
