"""`DICOM`: films as hospitals store them, with labels from a table."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Shaped

from research.data.about import About
from research.data.formats.csv import CSV, Labelled
from research.data.formats.delimited import Delimited
from research.data.formats.dicom_format import DicomFormat, DicomHeader, check_pydicom
from research.data.formats.picture_source import PictureSource
from research.data.formats.pictures import Found, check_links, ignored, list_pictures, survey, text
from research.data.images import Images
from research.data.source import find
from research.data.unreadable import SHOWN
from research.errors import UserError
from research.spec import Static, field

ENDING = re.compile(r"\.(dcm|dicom|ima)$", re.IGNORECASE)


@dataclasses.dataclass(frozen=True, kw_only=True)
class DICOMImages(Images):
    """Pictures from DICOM files.

    Attributes:
        study: StudyInstanceUID of each, empty where the file has none.
    """

    study: Shaped[np.ndarray, " N"]


class DICOM(PictureSource):
    """A DICOM file, or all DICOM files in a folder and below, whatever their names, with a table of labels.

    What happens to the pixels is said at `DicomFormat`: rescaled, windowed, MONOCHROME1 inverted, to 8 bits. Each file
    finds its row of the table by ``key``; rows without a file are counted in the notes::

        DICOM(path="films", labels="films.csv", target="effusion", key="StudyInstanceUID", size=(224, 224))
    """

    path: str = field(help="file or folder; relative paths are tried as given, then below $RESEARCH_DATA_DIR")
    labels: str = field("", help="CSV file with the labels; looked for in the same way")
    key: Literal["SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "AccessionNumber", "PatientID", "file"] = (
        field(
            "SOPInstanceUID",
            help="what identifies a file in the table: a tag, or its path below the folder, or its name (file)",
        )
    )
    key_column: str = field("", help="column of the table that holds it; the name of the key if empty")
    target: str | tuple[str, ...] | None = field(
        None, help="name of the target column; several for multilabel, regression"
    )
    task: Literal["binary", "multiclass", "multilabel", "regression"] = field("binary", help="kind of target")
    positive: str | tuple[str, ...] | None = field(None, help="labels of the positive class, or a comparison like '>0'")
    classes: tuple[str, ...] = field((), help="every label that may occur in the target; any other is an error")
    class_names: tuple[str, ...] = field((), help="names to show for the classes, in order; negative, positive")
    ordinal: bool = field(False, help="whether the order of multiclass classes means something, such as grades")
    patient: Literal["PatientID"] | None = field("PatientID", help="the tag that identifies the patient, or none")
    split: str | None = field(None, help="column with official splits: train, validation, test")
    window: Static[tuple[float, float] | None] = field(
        None, help="center and width of the window in the rescaled unit, such as HU; none: that of each file"
    )
    missing: tuple[str, ...] = field(("?", "NA", "N/A"), help="texts that mean missing, besides the empty cell")
    unlabelled: Literal["error", "drop"] = field("error", help="what to do with files and rows without a target")
    delimiter: str = field(",", help="the character between values of the table")
    encoding: str = field("utf-8", help="text encoding of the table")
    unit: str = field("", help="unit of a regression target")

    def validate(self) -> None:
        """Checks that need no file."""
        if not self.path.strip():
            raise UserError("path: the path of a file or folder is needed, an empty text was given.")
        if not self.labels.strip():
            raise UserError("labels: the path of a CSV file with the labels is needed, such as labels='films.csv'.")
        self._table().validate()
        if self.window is not None and self.window[1] < 1:
            raise UserError(f"window: a width of at least 1 is needed, {self.window[1]:g} was given.")
        if self.white is not None:
            raise UserError("white: DICOM files have windows; set window=(center, width) instead.")

    def format(self) -> DicomFormat:
        """How the files are read; raises `UserError` without pydicom."""
        check_pydicom()
        return DicomFormat(self.window)

    @property
    def _key_column(self) -> str:
        return self.key_column or self.key

    def _table(self) -> CSV:
        return CSV(
            path=self.labels,
            target=self.target,
            task=self.task,
            positive=self.positive,
            classes=self.classes,
            class_names=self.class_names,
            ordinal=self.ordinal,
            split=self.split,
            missing=self.missing,
            unlabelled=self.unlabelled,
            delimiter=self.delimiter,
            encoding=self.encoding,
            unit=self.unit,
        )

    def about(self) -> About:
        """What is declared of the files; they are not read."""
        shown = ", ".join(self.target) if isinstance(self.target, tuple) else str(self.target)
        place = Path(self.path).name
        summary = f"DICOM files of {place}, {self.task} target {shown} by {self.key} in {Path(self.labels).name}"
        return self.describe(place, summary, tuple(self._notes()))

    def _notes(self) -> Iterator[str]:
        if self.positive is not None:
            yield f"positive class: {self.positive if isinstance(self.positive, str) else ' or '.join(self.positive)}"
        if self.window is None:
            yield "window: the first of each file; where it has none, from the smallest to the largest value"
        else:
            yield f"window: center {self.window[0]:g}, width {self.window[1]:g}"
        if self.patient is None:
            yield "no patient identifiers: splits and intervals are by row"
        else:
            yield f"patients by the tag {self.patient}"

    def load(self) -> DICOMImages:
        """Read the table and the headers of the files; with ``unreadable="skip"`` decode each once.

        Raises:
            UserError: if files or table are absent or cannot be read, if a file has no pixel data, several frames or
                a transfer syntax that cannot be decoded here, lacks its patient or its row in the table; each names
                the files and the remedy.
        """
        place, rows = find(self.path), self._table().labelled(self._with_key)
        found, notes = self._files(place)
        found, numbers, more = self._matched(found, rows, place)
        opened = self.opened(found, place)
        study = [_identifiers(picture).get("StudyInstanceUID", "") for picture in found]
        about = self.about()
        notes = (*about.notes, *rows.notes, *notes, *more, f"studies: {len(set(study))}")
        return DICOMImages(
            shape=opened.shape,
            read=opened.read,
            signature=opened.signature,
            names=opened.names,
            targets=rows.targets[numbers],
            task=rows.task,
            patient=self._patients(found, place),
            split=None if rows.split is None else rows.split[numbers],
            row=np.asarray([picture.row for picture in found], dtype=np.int32),
            about=dataclasses.replace(about, notes=notes),
            study=text(study),
        )

    def patient_of(self, picture: Found) -> str | None:
        """See `PictureSource.patient_of`: by the tag."""
        return None if self.patient is None else _identifiers(picture).get(self.patient)

    def _files(self, place: Path) -> tuple[list[Found], list[str]]:
        form = self.format()
        if place.is_file():
            return survey([(place.name, place)], form, self.unreadable, place)
        files, others = list_pictures(place, form)
        check_links(place, files)
        if not files:
            raise UserError(f"{place} holds no DICOM files (other files: {others.total()}).")
        found, notes = survey(files, form, self.unreadable, place)
        return found, [*notes, *ignored(others)]

    def _with_key(self, file: Delimited, targets: tuple[str, ...]) -> Delimited:
        """The table unchanged, once its key column is seen to be usable."""
        column = self._key_column
        file.require((column,), "key_column" if self.key_column else "key")
        if column in targets:
            raise UserError(f"key_column: column {column!r} is target already; a column has one role.")
        first: dict[str, int] = {}
        for row, cell in enumerate(file.cells[column]):
            if cell is None:
                raise UserError(
                    f"{file.where(row, column)}: the {self.key} is missing. Complete it, or remove the row."
                )
            if cell in first:
                raise UserError(
                    f"{file.where(row, column)}: {cell!r} stands on line {file.lines[first[cell]]} already. Give each "
                    f"{self.key} one row."
                )
            first[cell] = row
        return file

    def _matched(
        self, found: list[Found], rows: Labelled, place: Path
    ) -> tuple[list[Found], Shaped[np.ndarray, " N"], list[str]]:
        """The files that have a row, the number of that row, and notes."""
        number = {str(cell): row for row, cell in enumerate(rows.file.cells[self._key_column])}
        keys = self._keys(found)
        matches = [next((number[key] for key in some if key in number), None) for some in keys]
        without = [position for position, row in enumerate(matches) if row is None]
        if without and (self.unlabelled == "error" or len(without) == len(found)):
            shown = ", ".join(f"{found[p].name} ({' or '.join(keys[p]) or 'no ' + self.key})" for p in without[:SHOWN])
            drop = "" if len(without) == len(found) else ", or leave such files out with unlabelled='drop'"
            paths = " Names that several files have are found by their paths only." if self.key == "file" else ""
            raise UserError(
                f"{len(without)} of {len(found)} files of {place} have no row in {rows.file.path} by {self.key} in "
                f"column {self._key_column!r}, which holds such as {next(iter(number))!r}: {shown}.{paths} Check key "
                f"and key_column{drop}."
            )
        kept = [picture for picture, row in zip(found, matches, strict=True) if row is not None]
        used = np.asarray([row for row in matches if row is not None], dtype=np.int64)
        notes = [f"{len(without)} files have no row in the table and are left out"] if without else []
        notes += self._shared(kept, used, rows)
        spare = len(number) - len(np.unique(used))
        if spare:
            notes.append(f"{spare} of {len(number)} rows of the table have no file")
        return kept, used, notes

    def _shared(self, kept: list[Found], used: Shaped[np.ndarray, " N"], rows: Labelled) -> list[str]:
        """A note on rows that several files have; an error where a row is about one file."""
        count = np.bincount(used)[used]
        if self.key == "SOPInstanceUID" and (count > 1).any():
            row = used[count > 1][0]
            same = [picture.name for picture, one in zip(kept, used, strict=True) if one == row]
            shown = ", ".join(same[:SHOWN]) + (", ..." if len(same) > SHOWN else "")
            raise UserError(
                f"{len(same)} files have the SOPInstanceUID {rows.file.cells[self._key_column][row]!r}, which names "
                f"one picture: {shown}. Remove the copies."
            )
        shared = len(np.unique(used[count > 1]))
        return [f"{int((count > 1).sum())} files share {shared} rows of the table by {self.key}"] if shared else []

    def _keys(self, found: list[Found]) -> list[tuple[str, ...]]:
        """What may stand in the table for each file; a name without its folders only where no other file has it."""
        if self.key != "file":
            values = [_identifiers(picture).get(self.key) for picture in found]
            return [() if value is None else (value,) for value in values]
        names = [
            tuple(dict.fromkeys((picture.name, picture.path.name, ENDING.sub("", picture.path.name))))
            for picture in found
        ]
        count = Counter(name for some in names for name in some)
        return [(some[0], *(name for name in some[1:] if count[name] == 1)) for some in names]

    def _patients(self, found: list[Found], place: Path) -> Shaped[np.ndarray, " N"] | None:
        if self.patient is None:
            return None
        names = [_identifiers(picture).get(self.patient) for picture in found]
        without = [picture.name for picture, name in zip(found, names, strict=True) if name is None]
        if without:
            raise UserError(
                f"patient: {len(without)} of {len(found)} files of {place} have no {self.patient}, such as "
                f"{without[0]}. Complete the tag, or set patient=None so that splits are by row."
            )
        return text([str(name) for name in names])


def _identifiers(picture: Found) -> dict[str, str]:
    assert isinstance(picture.header, DicomHeader)
    return picture.header.identifiers
