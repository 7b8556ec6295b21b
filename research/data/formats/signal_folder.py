"""`SignalFolder`: a folder of WFDB records, whose labels stand in a table."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np

from research.data.about import About
from research.data.formats.csv import CSV, Labelled
from research.data.formats.wfdb_format import Signals, read_signals
from research.data.sequences import Unlabelled
from research.data.series import LearntSeries, Series, Variable
from research.data.source import Source, find, find_folder
from research.errors import UserError, did_you_mean
from research.spec import field


class SignalFolder(Source):
    """WFDB records (a header ``.hea`` and the files of signals it names), one row of a table for each.

    The column ``record`` of the table has the path of each record below the folder, with or without ``.hea``. All
    records have the same signals in the same units and the same sampling rate; lengths may differ. Time is in seconds,
    values are in the units of the header, and samples that the file marks as invalid are missing::

        SignalFolder(path="ecg", labels="ecg.csv", target="rhythm", task="multiclass", patient="patient_id")

    Moody, Pollard & Moody, "WFDB software package", PhysioNet, doi:10.13026/gjvw-1m31.
    """

    path: str = field(help="the folder; relative paths are tried as given, then below $RESEARCH_DATA_DIR")
    labels: str = field("", help="CSV file with the labels; looked for in the folder first")
    record: str = field("record", help="column with the path of each record below the folder")
    signals: tuple[str, ...] = field((), help="names of the signals that are read, in order; none: all")
    target: str | tuple[str, ...] | None = field(
        None, help="name of the target column; several for multilabel, regression; time and event for survival"
    )
    task: Literal["binary", "multiclass", "multilabel", "regression", "survival"] = field(
        "binary", help="kind of target"
    )
    positive: str | tuple[str, ...] | None = field(
        None, help="labels of the positive class, or of the event of survival, or a comparison like '>0'"
    )
    classes: tuple[str, ...] = field((), help="every label that may occur in the target; any other is an error")
    class_names: tuple[str, ...] = field((), help="names to show for the classes, in order; negative, positive")
    ordinal: bool = field(False, help="whether the order of multiclass classes means something, such as grades")
    patient: str | None = field(None, help="column that identifies the patient")
    split: str | None = field(None, help="column with official splits: train, validation, test")
    missing: tuple[str, ...] = field(("?", "NA", "N/A"), help="texts that mean missing, besides the empty cell")
    unlabelled: Literal["error", "drop"] = field("error", help="what to do with rows without a target")
    delimiter: str = field(",", help="the character between values of the table")
    encoding: str = field("utf-8", help="text encoding of the table")
    unit: str = field("", help="unit of a regression target, or of the times of survival")
    name: str = field("", help="name to show; that of the folder if empty")
    licence: str = field("not stated", help="what may be done with the data")
    citation: str = field("not stated", help="the publication to cite")
    homepage: str = field("", help="address of the publisher's page")

    def validate(self) -> None:
        """Checks that need no file."""
        if not self.path.strip():
            raise UserError("path: the path of a folder is needed, an empty text was given.")
        if not self.labels.strip():
            raise UserError("labels: the path of a CSV file with the labels is needed, such as labels='ecg.csv'.")
        self._table(self.labels).validate()

    def _table(self, path: str) -> CSV:
        return CSV(
            path=path,
            target=self.target,
            task=self.task,
            positive=self.positive,
            classes=self.classes,
            class_names=self.class_names,
            ordinal=self.ordinal,
            patient=self.patient,
            split=self.split,
            missing=self.missing,
            unlabelled=self.unlabelled,
            delimiter=self.delimiter,
            encoding=self.encoding,
            unit=self.unit,
        )

    def about(self) -> About:
        """What is declared of the folder; it is not read."""
        shown = ", ".join(self.target) if isinstance(self.target, tuple) else str(self.target)
        folder = Path(self.path).name
        return About(
            name=self.name or folder,
            summary=f"signals of the folder {folder}, {self.task} target {shown} in {Path(self.labels).name}",
            licence=self.licence,
            citation=self.citation,
            homepage=self.homepage,
            notes=tuple(self._notes()),
        )

    def _notes(self) -> Iterator[str]:
        if self.positive is not None:
            what = "event" if self.task == "survival" else "positive class"
            yield f"{what}: {self.positive if isinstance(self.positive, str) else ' or '.join(self.positive)}"
        yield (
            "no patient identifiers: splits and intervals are by row"
            if self.patient is None
            else f"patients by column {self.patient}"
        )

    def load(self) -> Series:
        """Read the table and every record that it names.

        Raises:
            UserError: if the table, a record or wfdb is absent, a record is damaged, or the records are not alike;
                each names the line or the record.
        """
        folder = find_folder(self.path)
        rows = self._table(str(find(self.labels, Path.is_file, folder))).labelled()
        names = self._records(rows, folder)
        signals = self._read(folder, names, self.signals)
        about, notes = self.about(), _unknown(signals)
        return Series(
            **_described(signals, names),
            targets=rows.targets,
            task=rows.task,
            patient=rows.patient,
            split=rows.split,
            row=rows.row,
            about=dataclasses.replace(about, notes=(*about.notes, *rows.notes, *notes)),
        )

    def reads_series(self) -> SignalFolder:
        """See `Source.reads_series`: every record of a folder, without a table."""
        return self

    def needed(self, learnt: LearntSeries) -> str:
        """See `research.data.series.ReadsSeries`."""
        return f"series:FOLDER, of WFDB records with the signals {', '.join(learnt.names)}"

    def read_new(self, path: str, beside: str | None, learnt: LearntSeries) -> Unlabelled:
        """See `research.data.series.ReadsSeries`; a folder and all below it, or the header of one record."""
        if beside is not None:
            raise UserError("--beside: nothing is known of WFDB records beside their signals; leave it out.")
        place = find(path)
        folder = place if place.is_dir() else place.parent
        headers = sorted(place.rglob("*.hea")) if place.is_dir() else [place.with_suffix(".hea")]
        if not headers:
            raise UserError(f"{place} holds no WFDB record; the header of a record ends in .hea.")
        names = [header.relative_to(folder).as_posix().removesuffix(".hea") for header in headers]
        signals = self._read(folder, names, learnt.names)
        for variable, unit in zip(learnt.variables, signals[0].units, strict=True):
            if unit != variable.unit:
                raise UserError(
                    f"{place}: signal {variable.name} is in {unit}, and the run learnt from {variable.unit}. Bring the "
                    f"records to its units."
                )
        series = Series(
            **_described(signals, names),
            targets=learnt.task.unknown(len(names), max(len(signal.values) for signal in signals)),
            task=learnt.task,
            patient=None,
            split=None,
            row=np.arange(len(names), dtype=np.int32),
            about=About(name=place.name, summary="signals of new patients"),
        )
        return Unlabelled(series, {"record": np.asarray(names, dtype=object)}, _unknown(signals))

    def _read(self, folder: Path, names: list[str], wanted: tuple[str, ...]) -> list[Signals]:
        """The signals of each record, the ``wanted`` ones alone; raises `UserError` where records are not alike."""
        signals = [_only(read_signals(folder / name), wanted, folder / name) for name in names]
        kinds = Counter((signal.rate, signal.leads, signal.units) for signal in signals)
        if len(kinds) > 1:
            shown = "; ".join(
                f"{count} with {', '.join(map(' in '.join, zip(leads, units, strict=True)))} at {rate:g} Hz"
                for (rate, leads, units), count in kinds.most_common(3)
            )
            odd = kinds.most_common()[-1][0]
            which = next(n for n, s in zip(names, signals, strict=True) if (s.rate, s.leads, s.units) == odd)
            raise UserError(
                f"{folder}: the records are not alike: {shown} (such as {which}). Choose what they have in common with "
                f"signals=..., or resample those that differ."
            )
        return signals

    def _records(self, rows: Labelled, folder: Path) -> list[str]:
        """Path of each record without its ending; each record once, and all of them there."""
        rows.file.require((self.record,), "record")
        if self.record in (*rows.columns, self.patient, self.split):
            raise UserError(f"record: column {self.record!r} has another role already; a column has one role.")
        first: dict[str, int] = {}
        for row, cell in enumerate(rows.file.cells[self.record]):
            where = rows.file.where(row, self.record)
            if cell is None:
                raise UserError(f"{where}: the record is missing. Complete it, or remove the row.")
            name = cell.removesuffix(".hea")
            if name in first:
                raise UserError(
                    f"{where}: the record {name!r} stands on line {rows.file.lines[first[name]]} already. Give each "
                    f"record one row, or it would count twice and might be in two splits."
                )
            header = folder / f"{name}.hea"
            if not header.is_file():
                there = [entry.stem for entry in header.parent.glob("*.hea")] if header.parent.is_dir() else []
                raise UserError(
                    f"{where}: {header} does not exist.{did_you_mean(Path(name).name, there)} Paths start "
                    f"from {folder}."
                )
            first[name] = row
        return list(first)


def _only(signals: Signals, wanted: tuple[str, ...], place: Path) -> Signals:
    """The wanted signals of a record, in this order; all of them where none are named."""
    if not len(signals.values):
        raise UserError(f"{place}: the record has no samples. Leave it out.")
    lacking = [name for name in wanted if name not in signals.leads]
    if lacking:
        raise UserError(
            f"signals: record {place} has no {lacking[0]!r}.{did_you_mean(lacking[0], signals.leads)} It has: "
            f"{', '.join(signals.leads)}."
        )
    columns = [signals.leads.index(name) for name in wanted or signals.leads]
    leads, units = (tuple(names[column] for column in columns) for names in (signals.leads, signals.units))
    return Signals(np.ascontiguousarray(signals.values[:, columns]), leads, units, signals.rate)


def _described(signals: list[Signals], names: list[str]) -> dict[str, Any]:
    """What `Series` is told of the records."""
    first = signals[0]
    return {
        "values": np.concatenate([signal.values for signal in signals]),
        "lengths": np.asarray([len(signal.values) for signal in signals], np.int32),
        "variables": tuple(map(Variable, first.leads, first.units)),
        "interval": 1 / first.rate,
        "time_unit": "seconds",
        "names": np.asarray(names, dtype=object),
    }


def _unknown(signals: list[Signals]) -> tuple[str, ...]:
    """A note on the samples that are not known."""
    absent = sum(int(np.isnan(signal.values).sum()) for signal in signals)
    total = sum(signal.values.size for signal in signals)
    return (f"{absent:,} of {total:,} samples are marked as invalid",) if absent else ()
