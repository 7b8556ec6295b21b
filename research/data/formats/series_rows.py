"""`SeriesRows`: the rows of a table put together into series, in the order of time."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
from jaxtyping import Float32, Float64, Int64, Shaped

from research.data.formats.delimited import Delimited, whole
from research.data.formats.long_table import LongTable
from research.errors import UserError


@dataclasses.dataclass(frozen=True, eq=False)
class SeriesRows:
    """Which row of a table belongs to which series, series after series.

    Attributes:
        table: where the rows stand.
        order: numbers of the rows in the table, in this order.
        series: number of the series of each row, ascending; series are numbered as they first occur.
        time: of each row, ascending within each series.
        names: what each series is called in the table.
        dated: whether times are dates.
    """

    table: LongTable
    order: Int64[np.ndarray, " R"]
    series: Int64[np.ndarray, " R"]
    time: Float64[np.ndarray, " R"]
    names: Shaped[np.ndarray, " N"]
    dated: bool

    def begins(self) -> Shaped[np.ndarray, " R"]:
        """Whether each row is the first of its series."""
        return np.concatenate([[True], np.diff(self.series) > 0])

    def once(self, names: tuple[str, ...], role: str) -> Delimited:
        """What stands in columns of which each series has one value, in whichever of its rows; a row for each series.

        Raises:
            UserError: where a series has two values, naming both.
        """
        picked = np.empty((len(names), len(self.names)), np.int64)
        cells: dict[str, list[str | None]] = {}
        for number, name in enumerate(names):
            text = np.asarray([whole(cell) for cell in self.table.texts(name)[self.order]], dtype=object)
            codes = pd.factorize(text)[0]
            there = np.flatnonzero(codes >= 0)
            known, first = np.unique(self.series[there], return_index=True)
            # A series without a value is shown at its first row.
            place = np.flatnonzero(self.begins())
            place[known] = there[first]
            differs = there[codes[there] != codes[place[self.series[there]]]]
            if len(differs):
                row, other = int(differs[0]), int(place[self.series[differs[0]]])
                raise UserError(
                    f"{self.table.where(int(self.order[row]), name)}: {text[row]!r}, but series "
                    f"{self.names[self.series[row]]} has {text[other]!r} on {self.table.word} "
                    f"{self.table.lines[self.order[other]]}. A series has one {role}; correct the rows, or name with "
                    f"series=... what tells such series apart."
                )
            picked[number] = place
            cells[name] = text[place].tolist()
        return Delimited(self.table.path, names, cells, [self.table.lines[row] for row in self.order[picked[0]]])

    def samples(self, values: Float64[np.ndarray, "R C"], merge: bool) -> Samples:
        """A row a sample; with ``merge`` rows of one time are one sample, with the means of what they have."""
        number = self._numbered()
        merged = len(number) - int(number[-1]) - 1
        if not merge or not merged:
            return self._sampled(np.arange(len(number)), values.astype(np.float32), 0)
        there = ~np.isnan(values)
        count, total = np.zeros((2, int(number[-1]) + 1, values.shape[1]))
        np.add.at(count, number, there)
        np.add.at(total, number, np.where(there, values, 0))
        return self._sampled(number, _means(total, count), merged)

    def pivoted(
        self, values: Float64[np.ndarray, " R"], variable: Int64[np.ndarray, " R"], variables: int, merge: bool
    ) -> Samples:
        """A value of one variable a row; rows of one time are one sample.

        Raises:
            UserError: where a variable has two values at one time, unless ``merge`` says that their mean counts.
        """
        number = self._numbered()
        size = (int(number[-1]) + 1) * variables
        cell = number * variables + variable
        there = ~np.isnan(values)
        count = np.bincount(cell[there], minlength=size).reshape(-1, variables)
        total = np.bincount(cell[there], values[there], size).reshape(-1, variables)
        if count.max() > 1 and not merge:
            twice = np.flatnonzero(there)[pd.Series(cell[there]).duplicated().to_numpy()]
            raise UserError(
                f"{self._at(int(twice[0]))}: a variable has a second value at one time. Remove one of them, or let the "
                f"mean count with sort=True."
            )
        return self._sampled(number, _means(total, count), int((count > 1).sum()))

    def _numbered(self) -> Int64[np.ndarray, " R"]:
        """Number of the sample of each row: rows of one series and one time share one."""
        changes = self.begins()
        changes[1:] |= np.diff(self.time) != 0
        return np.cumsum(changes) - 1

    def _sampled(self, number: Int64[np.ndarray, " R"], values: Float32[np.ndarray, "S C"], merged: int) -> Samples:
        first = np.unique(number, return_index=True)[1]
        lengths = np.bincount(self.series[first], minlength=len(self.names))
        time = self.time[first]
        if self.dated:
            time = time - np.repeat(time[np.cumsum(lengths) - lengths], lengths)
        return Samples(values, time, lengths, merged)

    def _at(self, row: int) -> str:
        place = int(self.order[row])
        return f"{self.table.path}, {self.table.word} {self.table.lines[place]}"


@dataclasses.dataclass(frozen=True, eq=False)
class Samples:
    """Series laid end to end: ``values [S, C]``, NaN where there is none; ``time [S]``; ``lengths [N]``.

    Dates count from the first of each series; numbers stand as they are. ``merged`` counts what shared a time.
    """

    values: Float32[np.ndarray, "S C"]
    time: Float64[np.ndarray, " S"]
    lengths: Int64[np.ndarray, " N"]
    merged: int


def series_rows(
    table: LongTable,
    key: str,
    time: tuple[str, str, str | None] | None,
    interval: float,
    sort: bool,
    may_repeat: bool,
    chosen: Int64[np.ndarray, " R"],
) -> SeriesRows:
    """The rows of a table by series.

    Args:
        table: the table.
        key: column that tells series apart.
        time: column of the times, unit and form of dates, as for `LongTable.times`; None where rows stand in their
            order, ``interval`` apart.
        interval: time between samples where there is no such column.
        sort: put the rows of each series in the order of time, where they are not.
        may_repeat: whether several rows of a series may have one time.
        chosen: numbers of the rows that count.

    Raises:
        UserError: where it is not known which series a row belongs to, and where time goes back or stands still.
    """
    keys = np.asarray([whole(cell) for cell in table.texts(key)[chosen]], dtype=object)
    series, found = pd.factorize(keys)
    names = np.asarray(found, dtype=object)
    if (series < 0).any():
        row = int(chosen[np.flatnonzero(series < 0)[0]])
        raise UserError(
            f"{table.where(row, key)}: it is missing, so it is not known whose the row is. Complete it, or remove the "
            f"row."
        )
    if time is None:
        order = np.argsort(series, kind="stable")
        series = series[order]
        start = np.maximum.accumulate(np.where(np.r_[True, np.diff(series) > 0], np.arange(len(series)), 0))
        return SeriesRows(table, chosen[order], series, (np.arange(len(series)) - start) * interval, names, False)
    column, unit, form = time
    when, dated = table.times(column, unit, form)
    when = when[chosen]
    if np.isnan(when).any():
        row = int(chosen[np.flatnonzero(np.isnan(when))[0]])
        raise UserError(f"{table.where(row, column)}: the time is missing. Complete it, or remove the row.")
    order = np.lexsort((when, series)) if sort else np.argsort(series, kind="stable")
    rows = SeriesRows(table, chosen[order], series[order], when[order], names, dated)
    step = np.diff(rows.time)
    wrong = ~rows.begins()[1:] & ((step < 0) if may_repeat else (step <= 0))
    if wrong.any():
        place = int(np.flatnonzero(wrong)[0]) + 1
        row, before = int(rows.order[place]), int(rows.order[place - 1])
        text = table.texts(column)
        what = "goes back" if step[place - 1] < 0 else "stands still"
        remedy = (
            "Put the rows in the order of time, or have that done with sort=True."
            if step[place - 1] < 0
            else "Remove one of the rows, or take the mean of rows of one time with sort=True."
        )
        raise UserError(
            f"{table.where(row, column)}: time {what} in series {names[series[order][place]]}, from {text[before]} "
            f"({table.word} {table.lines[before]}) to {text[row]}. {remedy}"
        )
    return rows


def _means(total: Shaped[np.ndarray, "S C"], count: Shaped[np.ndarray, "S C"]) -> Float32[np.ndarray, "S C"]:
    return np.where(count > 0, total / np.maximum(count, 1), np.nan).astype(np.float32)
