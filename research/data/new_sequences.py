"""Series and records of new patients, read and prepared as those of a finished training were."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
from jaxtyping import Int64

from research.data.event_data import EventData, EventInputs
from research.data.events import Events
from research.data.formats.long_table import read_long
from research.data.formats.meds import MEDS
from research.data.formats.series_csv import SeriesCSV
from research.data.new_rows import NewRows, NewSteps, path_in
from research.data.prepare import Data
from research.data.sequences import Unlabelled, places
from research.data.series import LearntSeries, ReadsSeries, Series
from research.data.series_data import SeriesData
from research.data.source import find_file
from research.data.vocabulary import UNKNOWN, Vocabulary
from research.errors import UserError
from research.spec import from_json
from research.task import Task

MOST_CODES = 5
"""Unknown codes that a note names."""


@dataclasses.dataclass(frozen=True)
class PlainTable:
    """The layout of new series where the source of the training has none for files of one's own.

    A table, delimited text or Parquet, with a row for each time: the columns ``patient``, ``time`` (in the unit of
    the training; where samples were evenly spaced it may be absent, rows being in their order), the variables and the
    static variables by their names, and perhaps ``series``, which tells several series of a patient apart. A static
    variable that is called as another variable is has ``static `` before its name. Static columns may stand in a
    table of their own. Values are taken as they stand: in the units of the training, and already cleaned.
    """

    def needed(self, learnt: LearntSeries) -> str:
        """See `ReadsSeries`."""
        time = ("time",) if learnt.interval is None else ()
        columns = ", ".join(("patient", *time, *learnt.names, *_static_columns(learnt)))
        return f"series:FILE, a table with the columns {columns}"

    def read_new(self, path: str, beside: str | None, learnt: LearntSeries) -> Unlabelled:
        """See `ReadsSeries`."""
        options = SeriesCSV(path=path)
        table = read_long(find_file(path), options.missing, options.delimiter, options.encoding)
        layout = options.replace(
            patient="patient",
            series="series" if "series" in table.names else None,
            time="time" if learnt.interval is None or "time" in table.names else None,
            time_unit=learnt.time_unit,
            interval=learnt.interval or 1.0,
            static=_static_columns(learnt),
        )
        return layout.new_in(table, beside, learnt)


def _static_columns(learnt: LearntSeries) -> tuple[str, ...]:
    names = (variable.name for variable in learnt.static_variables)
    return tuple(f"static {name}" if name in learnt.names else name for name in names)


@dataclasses.dataclass(frozen=True)
class NewSeries:
    """Reads series of new patients as those of the training were read.

    Attributes:
        data: what the run learnt from, with what was fitted to train.
        learnt: what the series of the training were like.
    """

    data: SeriesData
    learnt: LearntSeries

    @property
    def blank(self) -> dict[str, np.ndarray]:
        """Inputs of one series whose values do not matter, as `read` gives them."""
        shape, like = (1, self.data.lengths[-1]), self.learnt
        found = {
            "values": np.zeros((*shape, len(like.variables)), np.float32),
            "length": np.ones(1, np.int32),
        }
        if self.data.impute == "forward":
            found["observed"] = np.zeros((*shape, len(like.variables)), bool)
        if like.interval is None or (self.data.resample is not None and not like.complete):
            found["time"] = np.zeros(shape, np.float32)
        if like.static_variables:
            found["static"] = np.zeros((1, len(like.static_variables)), np.float32)
        return found

    def read(self, text: str, beside: str | None = None) -> NewRows:
        """The series that ``series:FILE`` or ``series:FOLDER`` means.

        Args:
            text: where they are.
            beside: table with a row for each series, where static columns do not stand in the file.

        Raises:
            UserError: for another kind of data, and where the series are not what the run needs.
        """
        reader: ReadsSeries = self.data.source.reads_series() or PlainTable()
        path = path_in(text, beside, "series", reader.needed(self.learnt), "series")
        new = reader.read_new(path, beside, self.learnt)
        assert isinstance(new.rows, Series)
        series = self._as_learnt(new.rows)
        inputs, cut = self.data.inputs_of(series, self.learnt.complete)
        notes = [*cut, *_outside(series, self.learnt)]
        steps = None
        if self.learnt.task.per_step:
            row, place = places(series.lengths)
            time = place * np.float64(series.interval) if series.time is None else series.time
            steps = NewSteps(row, place, {"step": place, "time": time})
        return NewRows(len(series), inputs.read, new.columns, (*new.notes, *notes), steps)

    def _as_learnt(self, series: Series) -> Series:
        """The series with times, or evenly spaced, as those of the training; raises `UserError` if they cannot be."""
        interval = self.learnt.interval
        if interval is None:
            return series
        if series.time is not None:
            apart = np.diff(series.time)
            apart[series.starts[1:] - 1] = interval
            wrong = np.flatnonzero(np.abs(apart - interval) > 1e-3 * interval)
            if len(wrong):
                row = int(np.searchsorted(series.starts, wrong[0], side="right")) - 1
                raise UserError(
                    f"{series.about.name}: two samples of {series.called(row)} are {apart[wrong[0]]:g} "
                    f"{series.time_unit} apart, and the run learnt from series of one every {interval:g}. Resample "
                    f"them."
                )
            series = dataclasses.replace(series, time=None, interval=interval)
        if self.data.resample is None and abs(series.interval - interval) > 1e-6 * interval:
            raise UserError(
                f"{series.about.name}: samples are {series.interval:g} {series.time_unit} apart, and the run learnt "
                f"from series of one every {interval:g}. Resample them."
            )
        return series


def new_series(summary: dict[str, Any], data: Data, task: Task) -> NewSeries:
    """What reads new series, of what `PreparedSeries.details` wrote.

    Raises:
        UserError: if it was written by other code.
    """
    assert isinstance(data, SeriesData)
    learnt = LearntSeries.of(summary, task)
    # New values come in their units, whatever numbers stood for them in the training.
    statistics = from_json(summary["statistics"]).replace(unit=1.0)
    return NewSeries(data.replace(statistics=statistics, lengths=tuple(summary["lengths"])), learnt)


def _outside(series: Series, learnt: LearntSeries) -> Iterator[str]:
    """Sentences on values outside the range of train."""
    columns = [*series.values.T, *(() if series.static is None else series.static.T)]
    variables, ranges = learnt.variables + learnt.static_variables, learnt.ranges + learnt.static_ranges
    for variable, bounds, values in zip(variables, ranges, columns, strict=True):
        known = values[~np.isnan(values)]
        if bounds is None:
            if len(known):
                yield f"{variable.name}: {len(known)} values, and train had none: what they mean was not learnt."
            continue
        low, high = np.float32(bounds[0]), np.float32(bounds[1])
        count = int(((known < low) | (known > high)).sum())
        if count:
            yield (
                f"{variable.name}: {count} of {len(known)} values lie outside the range {low:g} to {high:g} seen in "
                f"train."
            )


@dataclasses.dataclass(frozen=True)
class NewRecords:
    """Reads records of new patients, numbered by the vocabulary of the training.

    Attributes:
        data: what the run learnt from.
        vocabulary: of the training patients.
        task: what is predicted.
    """

    data: EventData
    vocabulary: Vocabulary
    task: Task

    @property
    def blank(self) -> dict[str, np.ndarray]:
        """Inputs of one record whose values do not matter, as `read` gives them."""
        shape = (1, self.data.longest)
        found: dict[str, np.ndarray] = {name: np.zeros(shape, np.int32) for name in ("codes", "visit")}
        found |= {name: np.zeros(shape, np.float32) for name in ("age", "time")}
        found["length"] = np.ones(1, np.int32)
        if self.data.values == "scaled":
            found["number"] = np.zeros(shape, np.float32)
        return found

    def read(self, text: str, beside: str | None = None) -> NewRows:
        """The records that ``records:FILE`` or ``records:FOLDER`` means, Parquet in MEDS.

        Args:
            text: where they are.
            beside: Parquet table of the times up to which each patient is known; None: up to the last event.

        Raises:
            UserError: for another kind of data, and for files that are no MEDS.
        """
        needed = "records:FILE or records:FOLDER, Parquet in MEDS (subject_id, time, code, numeric_value)"
        path = path_in(text, beside, "records", needed, "records of events")
        reader: MEDS = self.data.source.reads_records() or MEDS()
        new = reader.read_new(path, beside, self.task)
        events = new.rows
        assert isinstance(events, Events)
        inputs = self.data.inputs_of(events, self.vocabulary)
        row, place = places(inputs.lengths)
        event, steps = inputs.begins[row] + place, None
        if self.task.per_step:
            codes = np.asarray(events.vocabulary, dtype=object)[events.codes[event]]
            number = event - events.starts[row]
            steps = NewSteps(row, place, {"step": number, "time": events.time[event], "code": codes})
        notes = (*new.notes, *self._unlike_train(events, inputs, event))
        return NewRows(len(events), inputs.read, new.columns, notes, steps)

    def _unlike_train(self, events: Events, inputs: EventInputs, kept: Int64[np.ndarray, " K"]) -> Iterator[str]:
        """Sentences on kept events whose codes the vocabulary does not have, and on records that are cut."""
        unknown = inputs.codes[kept] == UNKNOWN
        if unknown.any():
            count = np.bincount(events.codes[kept[unknown]], minlength=len(events.vocabulary))
            frequent = np.argsort(-count, kind="stable")[: min(MOST_CODES, int((count > 0).sum()))]
            names = ", ".join(events.vocabulary[code] for code in frequent)
            yield (
                f"{int(unknown.sum()):,} of {len(unknown):,} events have a code that is not in the vocabulary of train "
                f"({names}{', ...' if (count > 0).sum() > MOST_CODES else ''}): they count as unknown."
            )
        cut = int((inputs.lengths < events.lengths).sum())
        if cut:
            which = "last" if self.data.keep == "last" else "first"
            yield f"{cut} of {len(events)} records were cut to their {which} {inputs.longest} events."


def new_records(summary: dict[str, Any], data: Data, task: Task) -> NewRecords:
    """What reads new records, of what `PreparedEvents.details` wrote."""
    assert isinstance(data, EventData)
    vocabulary = Vocabulary.from_json(summary["vocabulary"])
    return NewRecords(data.replace(lengths=tuple(summary["lengths"])), vocabulary, task)
