"""`Series`: raw measurements over time, one series a row, all of one length or of different ones."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar, Protocol

import numpy as np
from jaxtyping import Bool, Float32, Shaped, UInt64

from research.data.dataset import canonical, hash_of
from research.data.sequences import Sequences, Unlabelled
from research.errors import UserError
from research.origins import Origins
from research.task import Task


@dataclasses.dataclass(frozen=True)
class Variable:
    """Something that is measured.

    Attributes:
        name: as the source calls it, such as ``heart rate`` or ``lead II``.
        unit: unit of the measurement; empty where it is not known.
    """

    name: str
    unit: str = ""


Range = tuple[float, float]
"""Least and greatest value."""


@dataclasses.dataclass(frozen=True)
class LearntSeries:
    """What the series of a training were like, as far as new ones must be like them.

    Attributes:
        task: what is predicted.
        variables, static_variables: as of `Series`, in the order in which the model takes them.
        time_unit: unit of the times.
        interval: time between samples where they were evenly spaced; None where they were irregular.
        complete: whether every value was observed.
        ranges, static_ranges: least and greatest value in train of each variable; None where none was observed.
    """

    task: Task
    variables: tuple[Variable, ...]
    static_variables: tuple[Variable, ...]
    time_unit: str
    interval: float | None
    complete: bool
    ranges: tuple[Range | None, ...]
    static_ranges: tuple[Range | None, ...]

    @classmethod
    def of(cls, summary: dict[str, Any], task: Task) -> LearntSeries:
        """What `research.data.series_data.PreparedSeries.details` wrote.

        Raises:
            UserError: if something is lacking.
        """
        try:
            return cls(
                task=task,
                variables=tuple(Variable(**variable) for variable in summary["variables"]),
                static_variables=tuple(Variable(**variable) for variable in summary["static_variables"]),
                time_unit=summary["time_unit"],
                interval=summary["interval"],
                complete=summary["complete"],
                ranges=tuple(pair and (pair[0], pair[1]) for pair in summary["ranges"]),
                static_ranges=tuple(pair and (pair[0], pair[1]) for pair in summary["static_ranges"]),
            )
        except (KeyError, TypeError, IndexError) as error:
            raise UserError(
                f"data.json: what this run says of its series is not what this version writes ({error}), so new ones "
                f"cannot be read. Train it again with --fresh."
            ) from None

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the variables."""
        return tuple(variable.name for variable in self.variables)


class ReadsSeries(Protocol):
    """What reads series of new patients; see `research.data.Source.reads_series`."""

    def read_new(self, path: str, beside: str | None, learnt: LearntSeries) -> Unlabelled:
        """The series at ``path``; nothing is known of their targets.

        Args:
            path: file or folder, looked for as all data is.
            beside: a further table, with a row for each series, of what does not change during it; None: there is none.
            learnt: what they must be like.

        Raises:
            UserError: where something is lacking or cannot be read, naming the file, the place and what is needed.
        """
        ...

    def needed(self, learnt: LearntSeries) -> str:
        """What ``--data`` must name, such as ``series:FILE with the columns id, hour, hr``."""
        ...


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
        found = np.empty(len(self), np.uint64)
        each_step = [canonical(part) for part in (self.values, self.time) if part is not None]
        each_series = [] if self.static is None else [canonical(self.static)]
        for row, (start, length) in enumerate(zip(self.starts, self.lengths, strict=True)):
            found[row] = hash_of(*(x[start : start + length] for x in each_step), *(x[row] for x in each_series))
        return found
