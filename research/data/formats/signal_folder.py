"""`SignalFolder`: a folder of WFDB records, whose labels stand in a table."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float32

from research.data.about import About
from research.data.formats.csv import CSV, Labelled
from research.data.formats.wfdb_format import import_wfdb
from research.data.series import Series, Variable
from research.data.source import Source, find, find_folder
from research.errors import UserError, did_you_mean
from research.spec import field

BITS = {"8": 8, "16": 16, "24": 24, "32": 32, "61": 16, "80": 8, "160": 16, "212": 12, "310": 10.67, "311": 10.67}
"""Bits that a sample takes in a file, by the name of its format."""


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
        None, help="name of the target column; several for multilabel, regression"
    )
    task: Literal["binary", "multiclass", "multilabel", "regression"] = field("binary", help="kind of target")
    positive: str | tuple[str, ...] | None = field(None, help="labels of the positive class, or a comparison like '>0'")
    classes: tuple[str, ...] = field((), help="every label that may occur in the target; any other is an error")
    class_names: tuple[str, ...] = field((), help="names to show for the classes, in order; negative, positive")
    ordinal: bool = field(False, help="whether the order of multiclass classes means something, such as grades")
    patient: str | None = field(None, help="column that identifies the patient")
    split: str | None = field(None, help="column with official splits: train, validation, test")
    missing: tuple[str, ...] = field(("?", "NA", "N/A"), help="texts that mean missing, besides the empty cell")
    unlabelled: Literal["error", "drop"] = field("error", help="what to do with rows without a target")
    delimiter: str = field(",", help="the character between values of the table")
    encoding: str = field("utf-8", help="text encoding of the table")
    unit: str = field("", help="unit of a regression target")
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
            yield f"positive class: {self.positive if isinstance(self.positive, str) else ' or '.join(self.positive)}"
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
        read = import_wfdb()
        signals = [_read(read, folder, name, self.signals) for name in names]
        kinds = Counter((signal.rate, signal.variables) for signal in signals)
        if len(kinds) > 1:
            shown = "; ".join(
                f"{count} with {', '.join(f'{v.name} in {v.unit}' for v in variables)} at {rate:g} Hz"
                for (rate, variables), count in kinds.most_common(3)
            )
            odd = kinds.most_common()[-1][0]
            which = next(n for n, s in zip(names, signals, strict=True) if (s.rate, s.variables) == odd)
            raise UserError(
                f"{folder}: the records are not alike: {shown} (such as {which}). Choose what they have in common with "
                f"signals=..., or resample those that differ."
            )
        about, first = self.about(), signals[0]
        values = np.concatenate([signal.values for signal in signals])
        absent = int(np.isnan(values).sum())
        notes = (f"{absent:,} of {values.size:,} samples are marked as invalid",) if absent else ()
        return Series(
            values=values,
            lengths=np.asarray([len(signal.values) for signal in signals], np.int32),
            variables=first.variables,
            interval=1 / first.rate,
            time_unit="seconds",
            names=np.asarray(names, dtype=object),
            targets=rows.targets,
            task=rows.task,
            patient=rows.patient,
            split=rows.split,
            row=rows.row,
            about=dataclasses.replace(about, notes=(*about.notes, *rows.notes, *notes)),
        )

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


@dataclasses.dataclass(frozen=True, eq=False)
class _Signal:
    values: Float32[np.ndarray, "T C"]
    variables: tuple[Variable, ...]
    rate: float


def _read(wfdb: Any, folder: Path, name: str, wanted: tuple[str, ...]) -> _Signal:
    """The signals of one record, in their units; NaN where a sample is marked as invalid."""
    place = folder / name
    try:
        header = wfdb.rdheader(str(place))
        if hasattr(header, "file_name"):
            _check_sizes(place, header)
        found = wfdb.rdrecord(str(place), physical=False)
        values = found.dac().astype(np.float32)
    except UserError:
        raise
    except FileNotFoundError as error:
        raise UserError(f"{place}.hea names the file {error.filename}, which does not exist. Put it there.") from None
    except Exception as error:  # wfdb raises whatever the damage leads to
        raise UserError(f"{place}: this record cannot be read ({error}). Fetch it again, or remove its row.") from None
    if not len(values):
        raise UserError(f"{place}: the record has no samples. Remove its row.")
    for number, declared in enumerate(getattr(header, "checksum", None) or ()):
        if declared is not None and int(found.d_signal[:, number].sum(dtype=np.int64)) % 2**16 != declared % 2**16:
            raise UserError(
                f"{place}: the samples of {found.sig_name[number]} do not have the checksum of the header. A file is "
                f"damaged or belongs to another record; fetch the record again."
            )
    names = list(found.sig_name)
    lacking = [signal for signal in wanted if signal not in names]
    if lacking:
        raise UserError(
            f"signals: record {place} has no {lacking[0]!r}.{did_you_mean(lacking[0], names)} It has: "
            f"{', '.join(names)}."
        )
    columns = [names.index(signal) for signal in wanted or names]
    variables = tuple(Variable(names[column], found.units[column]) for column in columns)
    return _Signal(np.ascontiguousarray(values[:, columns]), variables, float(found.fs))


def _check_sizes(place: Path, header: Any) -> None:
    """Raise `UserError` where a file of signals is not as long as the header says."""
    if header.sig_len is None:
        return
    frames = header.samps_per_frame or [1] * header.n_sig
    for file in dict.fromkeys(header.file_name):
        members = [number for number, name in enumerate(header.file_name) if name == file]
        kind = header.fmt[members[0]]
        if kind not in BITS or not (place.parent / file).is_file():
            continue
        samples = header.sig_len * sum(frames[number] for number in members)
        needed = samples * BITS[kind] / 8 + (header.byte_offset[members[0]] or 0)
        size = (place.parent / file).stat().st_size
        # Formats that pack samples fill the last bytes up.
        if abs(size - needed) > 4:
            raise UserError(
                f"{place.parent / file} has {size} bytes, and the {samples} samples that {place.name}.hea declares "
                f"take {needed:.0f}. The file was cut off or belongs to another record; fetch both again."
            )
