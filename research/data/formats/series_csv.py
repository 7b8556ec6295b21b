"""`SeriesCSV`: a researcher's own series in a table, a row for each time or for each value."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Bool, Shaped

from research.data.about import About
from research.data.formats import labels
from research.data.formats.csv import CSV
from research.data.formats.delimited import Delimited, read_delimited
from research.data.formats.long_table import LongTable, read_long
from research.data.formats.series_answers import SeriesAnswers
from research.data.formats.series_layout import SeriesLayout, TableSeries
from research.data.sequences import Unlabelled
from research.data.series import LearntSeries, Series, Variable
from research.data.source import Source, find, find_file
from research.data.windows import Forecast, Windows
from research.errors import UserError, did_you_mean
from research.spec import Static, field
from research.task import NO_LABEL, Task


class SeriesCSV(Source):
    """Series in a delimited text file or, by its ending, in a Parquet file.

    Each row has the patient, the time, and a column for each variable; or, with ``variable`` and ``value``, one value
    of one variable. Rows of a series need not stand together, but must be in the order of time. Numbers as times count
    as they stand, dates from the first one of each series. What a series has once (target, split, ``static``) may
    stand in any of its rows, or in another table, ``labels``, with a row for each series::

        SeriesCSV(path="vitals.csv", patient="id", time="hour", target="died", labels="outcomes.csv")

    With ``per_step`` the target is a class at each row. With ``forecast`` it is one of the variables, and windows of
    the series are what is learnt from; the windows of a patient stay together.
    """

    path: str = field(help="the file; relative paths are tried as given, then below $RESEARCH_DATA_DIR")
    target: str | tuple[str, ...] | None = field(
        None,
        help="name of the target column; several for multilabel, regression; time and event for "
        "survival; of a forecast the variable",
    )
    task: Literal["binary", "multiclass", "multilabel", "regression", "survival"] = field(
        "binary", help="kind of target"
    )
    per_step: bool = field(False, help="whether there is a class at each row instead of one of the series")
    positive: str | tuple[str, ...] | None = field(
        None, help="labels of the positive class, or of the event of survival, or a comparison like '>0'"
    )
    classes: tuple[str, ...] = field((), help="every label that may occur in the target; any other is an error")
    class_names: tuple[str, ...] = field((), help="names to show for the classes, in order; negative, positive")
    ordinal: bool = field(False, help="whether the order of multiclass classes means something, such as grades")
    patient: str | None = field(None, help="column that identifies the patient")
    series: str | None = field(None, help="column that tells series apart, such as stays; none: a series a patient")
    time: str | None = field(None, help="column of the times, numbers or dates; none: rows are interval apart")
    time_unit: str = field("hours", help="unit of the times; dates are brought to seconds, minutes, hours or days")
    time_format: str | None = field(None, help="how dates are written, such as '%d.%m.%Y %H:%M'; none: ISO 8601")
    interval: Static[float] = field(1.0, above=0, help="time between rows where there is no column of times")
    sort: bool = field(
        False, help="put rows in the order of time, and take the mean of what stands at one time; else that is an error"
    )
    variables: tuple[str, ...] = field((), help="columns, or names, of the variables; none: all that is left")
    variable: str | None = field(None, help="column that names the variable, where a row has one value")
    value: str | None = field(None, help="column that holds the value, where a row has one value")
    units: tuple[str, ...] = field((), help="units of variables and static columns, each as NAME=UNIT")
    static: tuple[str, ...] = field((), help="columns of what does not change during a series, such as age")
    categorical: tuple[str, ...] = field((), help="those of the static columns that hold names or codes")
    labels: str | None = field(None, help="another table with a row for each series: target, split, static columns")
    forecast: Forecast | None = field(None, help="forecast the target variable from windows of the past")
    split: str | None = field(None, help="column with official splits: train, validation, test")
    drop: tuple[str, ...] = field((), help="columns that are no variables")
    missing: tuple[str, ...] = field(("?", "NA", "N/A"), help="texts that mean missing, besides the empty cell")
    unlabelled: Literal["error", "drop"] = field("error", help="what to do with series without a target")
    delimiter: str = field(",", help="the character between values")
    encoding: str = field("utf-8", help="text encoding of the files")
    unit: str = field("", help="unit of a regression target, or of the times of survival")
    name: str = field("", help="name to show; the file's name if empty")
    licence: str = field("not stated", help="what may be done with the data")
    citation: str = field("not stated", help="the publication to cite")
    homepage: str = field("", help="address of the publisher's page")

    def validate(self) -> None:
        """Checks that need no file."""
        self._table().validate()
        if self.patient is None and self.series is None:
            raise UserError("patient: name the column of the patient, or with series=... another that tells series.")
        if (self.variable is None) != (self.value is None):
            raise UserError("variable: name both columns, variable and value, where a row has one value; or neither.")
        astray = [name for name in self.categorical if name not in self.static]
        if astray:
            raise UserError(f"categorical: {astray[0]!r} is not among the static columns. Add it to static.")
        if self.per_step and (self.task not in ("binary", "multiclass") or self.variable is not None):
            raise UserError(
                "per_step: there may be a class, binary or multiclass, at each row of a table with a column for each "
                "variable. Change task, or set per_step=False."
            )
        if self.per_step and (self.labels is not None or self.forecast is not None):
            raise UserError("per_step: the target stands in the rows themselves; remove labels and forecast.")
        if self.forecast is not None and (self.task != "regression" or not isinstance(self.target, str)):
            raise UserError(
                "forecast: what is forecast is one variable; set task='regression' and target=... to its name."
            )

    def _table(self) -> CSV:
        return CSV(
            path=self.path,
            target=self.target,
            task=self.task,
            positive=self.positive,
            classes=self.classes,
            class_names=self.class_names,
            ordinal=self.ordinal,
            missing=self.missing,
            unlabelled="drop" if self.per_step else self.unlabelled,
            delimiter=self.delimiter,
            encoding=self.encoding,
            unit=self.unit,
        )

    @property
    def _key(self) -> str:
        """The column that tells series apart."""
        return self.series or self.patient or ""

    @property
    def _targets(self) -> tuple[str, ...]:
        return (self.target,) if isinstance(self.target, str) else self.target or ()

    def about(self) -> About:
        """What is declared of the file; it is not read."""
        what = "forecast of" if self.forecast is not None else f"{self.task} target"
        return About(
            name=self.name or Path(self.path).stem,
            summary=f"series in the file {Path(self.path).name}, {what} {', '.join(self._targets)}",
            licence=self.licence,
            citation=self.citation,
            homepage=self.homepage,
            notes=tuple(self._notes()),
        )

    def _notes(self) -> Iterator[str]:
        if self.positive is not None:
            rules = (self.positive,) if isinstance(self.positive, str) else self.positive
            what = (
                f"event: {', '.join(self._targets[1:])}"
                if self.task == "survival"
                else f"positive class: {', '.join(self._targets)}"
            )
            yield f"{what} {' or '.join(rules)}"
        if self.patient is not None:
            yield f"patients by column {self.patient}"
        elif self.forecast is not None:
            yield f"no patient identifiers: the windows of a {self.series} stay together"
        else:
            yield "no patient identifiers: splits and intervals are by row"

    def load(self) -> Series:
        """Read the files.

        Raises:
            UserError: if a file is absent, empty, damaged or not what is declared, naming row, column and value.
        """
        table = self._read(self.path)
        beside = self._beside(table)
        self._check_roles(table, beside)
        taken = {self.patient, self.series, self.time, self.split, *self.static, *self.drop}
        taken |= set() if self.forecast is not None else set(self._targets)
        made, observed, notes = self._made(table, beside, taken)
        if self.forecast is not None:
            windows = self._windows(made, self.forecast)
            if not len(windows):
                why = "; ".join(windows.notes()) or "nothing was observed"
                raise UserError(f"{table.path}: no window is complete: {why}.")
            horizons = tuple(f"{horizon:g} {self.time_unit}" for horizon in self.forecast.horizons)
            unit = self.unit or self._units().get(self._targets[0], "")
            task = Task("regression", horizons, unit, horizons=self.forecast.horizons, time_unit=self.time_unit)
            about = self._about([*notes, *windows.notes()])
            found = made.cut(windows, windows.targets, task, self.forecast.interval, self.time_unit, about)
            target = [variable.name for variable in made.variables].index(self._targets[0])
            return dataclasses.replace(found, origins=windows.origins(target))
        targets, task, known, more = self._labelled(SeriesAnswers(made.rows, beside, self._key))
        if not (observed & known).any():
            raise UserError(f"{table.path}: no series has both values and a target.")
        return self._whole(made, targets, task, observed & known, [*more, *notes])

    def reads_series(self) -> SeriesCSV:
        """See `Source.reads_series`: the same columns, of which targets and splits are not looked at."""
        return self

    def needed(self, learnt: LearntSeries) -> str:
        """See `research.data.series.ReadsSeries`."""
        return f"series:FILE, a table with the columns {', '.join(self._columns(learnt))}"

    def read_new(self, path: str, beside: str | None, learnt: LearntSeries) -> Unlabelled:
        """See `research.data.series.ReadsSeries`; of a forecast the window that ends at the last reading."""
        return self.new_in(self._read(path), beside, learnt)

    def new_in(self, table: LongTable, beside: str | None, learnt: LearntSeries) -> Unlabelled:
        """As `read_new`, of a table that has been read."""
        known = self.patient is not None and (self.series is None or self.patient in table.names)
        # A variable may be known by another name than its column has: what is declared here counts.
        source = self.replace(
            path=str(table.path),
            labels=beside,
            split=None,
            patient=self.patient if known else None,
            variables=self.variables or learnt.names,
        )
        once = source._beside(table, "--beside")
        source._check_columns(table, once, learnt)
        made, observed, notes = source._made(table, once, set(), learnt.static_variables)
        return source._unlabelled(made, observed, notes, learnt)

    def _unlabelled(
        self, made: TableSeries, observed: Bool[np.ndarray, " N"], notes: list[str], learnt: LearntSeries
    ) -> Unlabelled:
        count, columns = len(made.rows.names), {}
        if self.forecast is None:
            if not observed.any():
                raise UserError(f"{made.rows.table.path}: no series has a value.")
            steps = int(made.samples.lengths.max())
            series = self._whole(made, learnt.task.unknown(count, steps), learnt.task, observed, [])
            number = np.flatnonzero(observed)
        else:
            windows, target = self._windows(made, self.forecast, latest=True), self._targets[0]
            number = windows.series
            left = np.setdiff1d(np.arange(count), number)
            why = (
                f"there is no reading of {target}, or more than {self.forecast.gaps} readings are absent from the "
                f"{self.forecast.history} steps before the last one"
            )
            if not len(windows):
                raise UserError(f"{made.rows.table.path}: nothing can be forecast for any series: {why}.")
            if len(left):
                names = ", ".join(map(str, made.rows.names[left[:5]]))
                notes = [*notes, f"{len(left)} of {count} series are left out, such as {names}: {why}"]
            targets, interval = learnt.task.unknown(len(windows)), self.forecast.interval
            series = made.cut(windows, targets, learnt.task, interval, self.time_unit, self._about([]))
            columns["time"] = windows.time
        if self.series is not None or made.patient is None:
            columns = {"series": made.rows.names[number]} | columns
        if made.patient is not None:
            columns = {"patient": made.patient[number]} | columns
        return Unlabelled(series, columns, tuple(notes))

    def _columns(self, learnt: LearntSeries) -> list[str]:
        """What a table of new series must have."""
        values = (self.variable, self.value) if self.variable is not None else self.variables or learnt.names
        columns = (self.patient if self.series is None else None, self.series, self.time, *values, *self.static)
        return [name for name in columns if name is not None]

    def _check_columns(self, table: LongTable, beside: Delimited | None, learnt: LearntSeries) -> None:
        """Raise `UserError` for what a table of new series lacks."""
        columns, there = self._columns(learnt), {*table.names, *(beside.names if beside is not None else ())}
        lacking = [name for name in columns if name not in (there if name in self.static else table.names)]
        if lacking:
            hints = "".join(dict.fromkeys(did_you_mean(name, table.names) for name in lacking[:3]))
            static = [name for name in lacking if name in self.static]
            remedy = (
                f" {static[0]} may also stand in a table with a row for each series: --beside FILE." if static else ""
            )
            raise UserError(
                f"{table.path} lacks {len(lacking)} of the {len(columns)} columns that the run needs: "
                f"{', '.join(lacking)}.{hints} Its columns: {', '.join(table.names)}.{remedy}"
            )

    def _made(
        self,
        table: LongTable,
        beside: Delimited | None,
        taken: set[str | None],
        learnt: tuple[Variable, ...] | None = None,
    ) -> tuple[TableSeries, Bool[np.ndarray, " N"], list[str]]:
        """All series, which of them have any value, and notes; ``learnt`` are the static variables of a training."""
        layout = SeriesLayout(
            key=self._key,
            time=None if self.time is None else (self.time, self.time_unit, self.time_format),
            interval=self.interval,
            sort=self.sort,
            merge=self.sort and not self.per_step,
            variables=self.variables,
            variable=self.variable,
            value=self.value,
        )
        names, rows, samples, notes = layout.samples(table, taken, learnt is not None)
        starts = np.cumsum(samples.lengths) - samples.lengths
        observed = np.logical_or.reduceat((~np.isnan(samples.values)).any(axis=1), starts)
        if not observed.all():
            notes.append(f"{int((~observed).sum())} of {len(observed)} series have no value at all and are left out")
        if samples.merged:
            notes.append(f"{samples.merged} times several rows stand at one time: their mean is taken")
        answers = SeriesAnswers(rows, beside, self._key)
        static, descriptors, unseen = answers.static(self.static, self.categorical, self._units(), learnt)
        patient = None
        if self.patient is not None:
            patient = labels.patients(rows.once((self.patient,), "patient"), self.patient)
        made = TableSeries(
            rows=rows,
            samples=samples,
            variables=tuple(Variable(name, self._units().get(name, "")) for name in names),
            static=static,
            static_variables=descriptors,
            patient=patient,
            split=None if self.split is None else labels.splits(answers.once((self.split,), "split"), self.split),
        )
        return made, observed, [*notes, *answers.unused(), *unseen]

    def _read(self, path: str) -> LongTable:
        return read_long(find_file(path), self.missing, self.delimiter, self.encoding)

    def _beside(self, table: LongTable, option: str = "labels") -> Delimited | None:
        """The table of labels."""
        if self.labels is None:
            return None
        path = find(self.labels, Path.is_file, table.path.parent)
        found = read_delimited(path, True, (), self.missing, self.delimiter, self.encoding)
        found.require((self._key,), option)
        return found

    def _check_roles(self, table: LongTable, beside: Delimited | None) -> None:
        """Every named column exists, and none has two roles."""
        roles: dict[str, str] = {}
        for option, names, elsewhere in (
            ("patient", (self.patient,), False),
            ("series", (self.series,), False),
            ("time", (self.time,), False),
            ("variable", (self.variable,), False),
            ("value", (self.value,), False),
            ("split", (self.split,), True),
            ("static", self.static, True),
            ("drop", self.drop, False),
            ("target", () if self.forecast is not None else self._targets, True),
            ("variables", self.variables if self.variable is None else (), False),
        ):
            for name in (name for name in names if name is not None):
                if beside is None or not elsewhere or name not in beside.names:
                    table.require((name,), option)
                if name in roles:
                    raise UserError(f"{option}: column {name!r} is {roles[name]} already; a column has one role.")
                roles[name] = option
        if not self._targets:
            raise UserError(
                f"target: {table.path} needs a target column. Set target=..., one of "
                f"{', '.join(beside.names if beside is not None else table.names)}."
            )

    def _units(self) -> dict[str, str]:
        """The declared units; raises `UserError` where a declaration is not readable."""
        pairs = [text.partition("=") for text in self.units]
        for name, equals, unit in pairs:
            if not equals:
                raise UserError(f"units: {name + unit!r} is not readable; write NAME=UNIT, such as 'glucose=mg/dL'.")
        return {name.strip(): unit.strip() for name, _, unit in pairs}

    def _labelled(
        self, answers: SeriesAnswers
    ) -> tuple[Shaped[np.ndarray, "N ..."], Task, Bool[np.ndarray, " N"], list[str]]:
        """Targets of all series, what they mean, of which series they are known, and notes."""
        rows, count = answers.rows, len(answers.rows.names)
        if self.per_step:
            found = self._table().labelled(file=rows.table.part(rows.order.tolist(), self._targets))
            step = np.arange(len(rows.series)) - np.flatnonzero(rows.begins())[rows.series]
            targets = np.full((count, int(step.max()) + 1), NO_LABEL, np.int32)
            targets[rows.series[found.row], step[found.row]] = found.targets
            known = (targets != NO_LABEL).any(axis=1)
            lost = int((~known).sum())
            notes = [f"{lost} of {count} series have no label at any step and are left out"] if lost else []
            return targets, dataclasses.replace(found.task, per_step=True), known, notes
        if self.unlabelled == "drop":
            series, file = answers.known(self._targets, "target")
        else:
            series, file = np.arange(count), answers.once(self._targets, "target")
        found = self._table().labelled(file=file)
        targets = np.zeros((count, *found.targets.shape[1:]), found.targets.dtype)
        targets[series[found.row]] = found.targets
        known = np.isin(np.arange(count), series[found.row])
        lost = int((~known).sum())
        notes = [f"{lost} of {count} series have no target and are left out"] if lost else []
        return targets, found.task, known, notes

    def _windows(self, made: TableSeries, forecast: Forecast, latest: bool = False) -> Windows:
        """Windows of all series."""
        names, target = [variable.name for variable in made.variables], self._targets[0]
        if target not in names:
            raise UserError(
                f"target: {target!r} is none of the variables of {made.rows.table.path}, one of which is forecast: "
                f"{', '.join(names)}."
            )
        samples = made.samples
        return forecast.cut(samples.values, samples.time, samples.lengths, names.index(target), latest)

    def _whole(
        self,
        made: TableSeries,
        targets: Shaped[np.ndarray, "N ..."],
        task: Task,
        keep: Bool[np.ndarray, " N"],
        notes: list[str],
    ) -> Series:
        interval = None if self.time is not None else self.interval
        return made.whole(targets, task, keep, interval, self.time_unit, self._about(notes))

    def _about(self, notes: list[str]) -> About:
        about = self.about()
        return dataclasses.replace(about, notes=(*about.notes, *notes))
