"""`SeriesLayout`: how samples stand in a table, a row for each time or for each value; and what is made of them."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Int64, Shaped

from research.data.about import About
from research.data.formats import labels
from research.data.formats.delimited import whole
from research.data.formats.long_table import LongTable
from research.data.formats.series_rows import Samples, SeriesRows, series_rows
from research.data.series import Series, Variable
from research.data.windows import Windows
from research.errors import UserError, did_you_mean
from research.task import Task

MOVED = 1e-3
"""Share of the usual time between samples by which rounding may move one of them."""


@dataclasses.dataclass(frozen=True)
class SeriesLayout:
    """Where in a table series, times and values stand.

    Attributes:
        key: column that tells series apart.
        time: column of the times, their unit, and the form of dates; None: rows are ``interval`` apart.
        interval: time between rows where there is no column of times.
        sort: put the rows in the order of time.
        merge: take the mean of rows of one time when they are sorted, where each has all variables.
        variables: the variables; none: all columns that are left, or all that occur.
        variable: column that names the variable, where a row has one value.
        value: column that holds the value, where a row has one value.
    """

    key: str
    time: tuple[str, str, str | None] | None
    interval: float
    sort: bool
    merge: bool
    variables: tuple[str, ...]
    variable: str | None
    value: str | None

    def samples(
        self, table: LongTable, taken: set[str | None], learnt: bool = False
    ) -> tuple[tuple[str, ...], SeriesRows, Samples, list[str]]:
        """Names of the variables, the rows by series, what was observed, and notes.

        Args:
            table: what was read.
            taken: columns that are no variables where none are named.
            learnt: ``variables`` are those of a training: where a row has one value some need not occur.
        """
        if self.variable is not None and self.value is not None:
            return self._by_value(table, self.variable, self.value, learnt)
        variables = self.variables or tuple(name for name in table.names if name not in taken)
        if not variables:
            raise UserError(f"{table.path}: no column is left as a variable besides those that have another role.")
        values = np.stack([table.numbers(name) for name in variables], axis=1)
        rows = self._rows(table, self.merge, np.arange(len(table)))
        return variables, rows, rows.samples(values[rows.order], self.merge), []

    def _by_value(
        self, table: LongTable, variable: str, value: str, learnt: bool
    ) -> tuple[tuple[str, ...], SeriesRows, Samples, list[str]]:
        named = table.texts(variable)
        if None in named:
            row = int(np.flatnonzero(named == None)[0])  # noqa: E711
            raise UserError(f"{table.where(row, variable)}: the name of the variable is missing. Complete it.")
        found = labels.in_order(set(named.tolist()))
        notes = self._check_occur(table, found, learnt)
        variables = self.variables or tuple(found)
        number = {name: place for place, name in enumerate(variables)}
        rows = self._rows(table, True, np.flatnonzero([name in number for name in named]))
        which = np.asarray([number[name] for name in named[rows.order]], np.int64)
        values = table.numbers(value)[rows.order]
        lost = len({whole(cell) for cell in table.texts(self.key)} - {None}) - len(rows.names)
        what = "that the run learnt from" if learnt else "that is chosen"
        notes += [f"{lost} series have no row of a variable {what} and are left out"] if lost else []
        return variables, rows, rows.pivoted(values, which, len(variables), self.sort), notes

    def _check_occur(self, table: LongTable, found: list[str], learnt: bool) -> list[str]:
        """Notes on names that do not occur or are not known; raises `UserError` where that is a mistake."""
        absent = [name for name in self.variables if name not in found]
        if absent and not learnt:
            raise UserError(
                f"variables: {absent[0]!r} does not occur in column {self.variable!r} of {table.path}; there are: "
                f"{', '.join(found)}."
            )
        if not learnt:
            return []
        # What nobody was measured for has no row here; what is only written otherwise must not pass for that.
        others = [name for name in found if name not in self.variables]
        hints = {name: did_you_mean(name, others) for name in absent}
        wrong = next((name for name in absent if hints[name] or len(absent) == len(self.variables)), None)
        if wrong is not None:
            aside = " If that is another variable, leave its rows out." if hints[wrong] else ""
            raise UserError(
                f"{table.path} lacks the variable {wrong!r}, which the run learnt from.{hints[wrong]}{aside} Column "
                f"{self.variable!r} has: {', '.join(found)}."
            )
        notes = [f"no row is of {', '.join(absent)}: not measured"] if absent else []
        return [*notes, *([f"not known to the run, and not looked at: {', '.join(others)}"] if others else [])]

    def _rows(self, table: LongTable, may_repeat: bool, chosen: Int64[np.ndarray, " R"]) -> SeriesRows:
        return series_rows(table, self.key, self.time, self.interval, self.sort, may_repeat, chosen)


@dataclasses.dataclass(frozen=True, eq=False)
class TableSeries:
    """What is known of all series of a table, before some are left out or windows are cut."""

    rows: SeriesRows
    samples: Samples
    variables: tuple[Variable, ...]
    static: Float32[np.ndarray, "N D"] | None
    static_variables: tuple[Variable, ...]
    patient: Shaped[np.ndarray, " N"] | None
    split: Shaped[np.ndarray, " N"] | None

    def whole(
        self,
        targets: Shaped[np.ndarray, "N ..."],
        task: Task,
        keep: Bool[np.ndarray, " N"],
        interval: float | None,
        time_unit: str,
        about: About,
    ) -> Series:
        """Whole series, of which some are kept; ``interval`` is None where samples have times of their own."""
        kept, lengths = np.flatnonzero(keep), self.samples.lengths
        chosen = np.repeat(keep, lengths)
        if task.per_step:
            targets = targets[:, : int(lengths[kept].max())]
        return Series(
            values=self.samples.values[chosen],
            lengths=lengths[kept].astype(np.int32),
            time=self._single()[chosen] if interval is None else None,
            interval=1.0 if interval is None else interval,
            time_unit=time_unit,
            names=self.rows.names[kept],
            targets=targets[kept],
            task=task,
            row=kept.astype(np.int32),
            about=about,
            **self._of(kept),
        )

    def cut(
        self,
        windows: Windows,
        targets: Float32[np.ndarray, "W L"],
        task: Task,
        interval: float,
        time_unit: str,
        about: About,
    ) -> Series:
        """Windows of the series, each a series of its own; those of one series count as of one patient."""
        owner, names = self._of(windows.series), np.empty(len(windows), dtype=object)
        if owner["patient"] is None:
            owner["patient"] = self.rows.names[windows.series]
        ends = zip(self.rows.names[windows.series], windows.time, strict=True)
        names[:] = [f"{name} at {time:g} {time_unit}" for name, time in ends]
        return Series(
            values=windows.values.reshape(-1, len(self.variables)),
            lengths=np.full(len(windows), windows.values.shape[1], np.int32),
            interval=interval,
            time_unit=time_unit,
            names=names,
            targets=targets,
            task=task,
            row=windows.candidate,
            about=about,
            **owner,
        )

    def _of(self, series: Shaped[np.ndarray, " n"]) -> dict[str, Any]:
        """What `research.data.series.Series` is told of the variables, and of the patients of some series."""
        return {
            "variables": self.variables,
            "static": None if self.static is None else self.static[series],
            "static_variables": self.static_variables,
            "patient": None if self.patient is None else self.patient[series],
            "split": None if self.split is None else self.split[series],
        }

    def _single(self) -> Float32[np.ndarray, " S"]:
        """Times in single precision; raises `UserError` where that moves them, or makes different ones alike."""
        time, lengths = self.samples.time, self.samples.lengths
        found = time.astype(np.float32)
        inside = np.ones(max(len(time) - 1, 0), bool)
        inside[np.cumsum(lengths)[:-1] - 1] = False
        apart = np.diff(time)
        remedy = (
            "Give dates, or subtract the first time of each series; where rows are evenly spaced, interval=... may "
            "stand for the column of times."
        )
        alike = inside & (np.diff(found) == 0) & (apart != 0)
        if alike.any():
            place = int(np.flatnonzero(alike)[0])
            raise UserError(
                f"{self.rows.table.path}: the times {time[place]:.12g} and {time[place + 1]:.12g} cannot be told apart "
                f"in single precision. {remedy}"
            )
        usual = float(np.median(apart[inside])) if inside.any() else np.inf
        moved = np.abs(found - time)
        if moved.max() > MOVED * usual:
            place = int(moved.argmax())
            raise UserError(
                f"{self.rows.table.path}: in single precision the time {time[place]:.12g} becomes {found[place]:.12g}, "
                f"which is too far off where samples are {usual:g} apart (median). {remedy}"
            )
        return found
