"""`ImagesCSV`: pictures named in a table, with their labels, patients and splits."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np

from research.data.about import About
from research.data.formats.csv import CSV, Labelled
from research.data.formats.delimited import Delimited, as_number
from research.data.formats.picture_source import (
    PictureSource,
    check_pattern,
    patient_by_pattern,
    patients_by_pattern,
)
from research.data.formats.pictures import Found, survey
from research.data.images import Images
from research.data.source import find_folder
from research.data.unreadable import SHOWN
from research.errors import UserError, did_you_mean
from research.spec import field

UNCERTAIN = -1
"""How CheXpert writes a label that the report leaves open."""


class ImagesCSV(PictureSource):
    """Pictures whose paths stand in a table, one row each.

    Targets are declared as for `CSV`. Multi-label tables may have blank cells and uncertain labels (-1), as CheXpert
    has (Irvin et al., AAAI 2019). There a blank means that the report does not mention the finding: ``blanks``
    decides whether such a label is missing and left out of loss and metrics, or negative, as most papers take it;
    ``uncertain`` decides for -1 (missing, positive and negative are the U-Ignore, U-Ones and U-Zeros of the paper)::

        ImagesCSV(path="train.csv", image="Path", root="..", patient_pattern=r"/(patient\\d+)/", task="multilabel",
                  target=("Edema", "Consolidation"), uncertain="positive", blanks="negative", size=(224, 224))
    """

    path: str = field(help="the table; relative paths are tried as given, then below $RESEARCH_DATA_DIR")
    image: str = field("path", help="column with the path of each picture")
    root: str | None = field(
        None,
        help="folder that relative paths start from, looked for beside the table first; none: the table's folder",
    )
    target: str | tuple[str, ...] | None = field(
        None, help="name of the target column; several for multilabel, regression"
    )
    task: Literal["binary", "multiclass", "multilabel", "regression"] = field("binary", help="kind of target")
    positive: str | tuple[str, ...] | None = field(None, help="labels of the positive class, or a comparison like '>0'")
    classes: tuple[str, ...] = field((), help="every label that may occur in the target; any other is an error")
    class_names: tuple[str, ...] = field((), help="names to show for the classes, in order; negative, positive")
    ordinal: bool = field(False, help="whether the order of multiclass classes means something, such as grades")
    uncertain: Literal["error", "missing", "positive", "negative"] = field(
        "missing", help="what -1 means in a multilabel column"
    )
    blanks: Literal["missing", "negative"] = field("missing", help="what an empty cell means in a multilabel column")
    patient: str | None = field(None, help="column that identifies the patient")
    patient_pattern: str | None = field(
        None,
        help="regular expression whose group is the patient, in the file name; with / in it, in / and the written path",
    )
    split: str | None = field(None, help="column with official splits: train, validation, test")
    missing: tuple[str, ...] = field(("?", "NA", "N/A"), help="texts that mean missing, besides the empty cell")
    unlabelled: Literal["error", "drop"] = field("error", help="what to do with rows without a target")
    delimiter: str = field(",", help="the character between values")
    encoding: str = field("utf-8", help="text encoding of the table")
    unit: str = field("", help="unit of a regression target")

    def validate(self) -> None:
        """Checks that need no file."""
        self._table().validate()
        check_pattern(self.patient_pattern, "patient_pattern")
        if self.patient is not None and self.patient_pattern is not None:
            raise UserError("patient_pattern: patient names a column already. Set one of the two.")
        if self.task != "multilabel" and (self.blanks != "missing" or self.uncertain != "missing"):
            name = "blanks" if self.blanks != "missing" else "uncertain"
            raise UserError(f"{name}: only multilabel targets have such labels; task is {self.task!r}.")

    def _table(self) -> CSV:
        return CSV(
            path=self.path,
            target=self.target,
            task=self.task,
            positive=self.positive,
            classes=self.classes,
            class_names=self.class_names,
            ordinal=self.ordinal,
            patient=self.patient,
            split=self.split,
            # Labels that are blank and labels that are said to be missing may mean different things.
            missing=() if self.task == "multilabel" else self.missing,
            unlabelled=self.unlabelled,
            delimiter=self.delimiter,
            encoding=self.encoding,
            unit=self.unit,
        )

    def about(self) -> About:
        """What is declared of the table; it is not read."""
        table = Path(self.path)
        shown = ", ".join(self.target) if isinstance(self.target, tuple) else str(self.target)
        return self.describe(
            table.stem, f"pictures named in the table {table.name}, {self.task} target {shown}", tuple(self._notes())
        )

    def _notes(self) -> Iterator[str]:
        if self.positive is not None:
            yield f"positive class: {self.positive if isinstance(self.positive, str) else ' or '.join(self.positive)}"
        if self.task == "multilabel":
            yield f"uncertain labels (-1) are {'an error' if self.uncertain == 'error' else self.uncertain}"
            yield f"blank labels are {self.blanks}"
        if self.patient is not None:
            yield f"patients by column {self.patient}"
        elif self.patient_pattern is not None:
            yield f"patients by the regular expression {self.patient_pattern}"
        else:
            yield "no patient identifiers: splits and intervals are by row"

    def load(self) -> Images:
        """Read the table and the headers of the pictures; with ``unreadable="skip"`` decode each once.

        Raises:
            UserError: if table, root or pictures are absent or cannot be read, or are not what is declared, naming
                line, column and value, or the files.
        """
        counts: dict[str, int] = {"uncertain": 0, "blank": 0, "missing": 0}
        rows = self._table().labelled(lambda file, targets: self._revised(file, targets, counts))
        root = rows.file.path.parent if self.root is None else find_folder(self.root, rows.file.path.parent)
        files = self._files(rows, root)
        if self.unreadable == "error":
            self._check_present(files, rows, root)
        found, notes = survey(files, self.format(), self.unreadable, rows.file.path)
        opened = self.opened(found, rows.file.path)
        kept = np.asarray([picture.row for picture in found], dtype=np.int64)
        patient = None if rows.patient is None else rows.patient[kept]
        if self.patient_pattern is not None:
            patient, note = patients_by_pattern(self.patient_pattern, "patient_pattern", [_rooted(p) for p in found])
            notes.append(note)
        about = self.about()
        revised = [f"{count} {what} labels" for what, count in counts.items() if count]
        return Images(
            shape=opened.shape,
            read=opened.read,
            signature=opened.signature,
            names=opened.names,
            targets=rows.targets[kept],
            task=rows.task,
            patient=patient,
            split=None if rows.split is None else rows.split[kept],
            row=rows.row[kept],
            about=dataclasses.replace(about, notes=(*about.notes, *rows.notes, *revised, *opened.notes, *notes)),
        )

    def _revised(self, file: Delimited, targets: tuple[str, ...], counts: dict[str, int]) -> Delimited:
        """The table with uncertain and blank labels as declared; they are counted in ``counts``."""
        file.require((self.image,), "image")
        if self.image in (*targets, self.patient, self.split):
            raise UserError(f"image: column {self.image!r} has another role already; a column has one role.")
        if self.task in ("binary", "multiclass"):
            self._check_certain(file, targets[0])
        if self.task != "multilabel":
            return file
        meaning = {"missing": None, "positive": "1", "negative": "0", "error": ""}[self.uncertain]
        cells = {
            name: column if name in targets else [None if cell in self.missing else cell for cell in column]
            for name, column in file.cells.items()
        }
        for name in targets:
            column: list[str | None] = []
            for row, cell in enumerate(file.cells[name]):
                if cell is None:
                    counts["blank"] += 1
                    column.append("0" if self.blanks == "negative" else None)
                elif cell in self.missing:
                    counts["missing"] += 1
                    column.append(None)
                elif as_number(cell) == UNCERTAIN:
                    if meaning == "":
                        raise UserError(
                            f"{file.where(row, name)}: {cell} is an uncertain label. Correct it, or say what it "
                            f"means: uncertain='missing', 'positive' or 'negative'."
                        )
                    counts["uncertain"] += 1
                    column.append(meaning)
                else:
                    column.append(cell)
            cells[name] = column
        return dataclasses.replace(file, cells=cells)

    def _check_certain(self, file: Delimited, target: str) -> None:
        """A target of classes has no uncertain labels: they would become a class, or negative, unasked."""
        if any(as_number(name) == UNCERTAIN for name in self.classes):
            return
        for row, cell in enumerate(file.cells[target]):
            if cell is not None and as_number(cell) == UNCERTAIN:
                raise UserError(
                    f"{file.where(row, target)}: {cell} in a {self.task} target. If -1 means uncertain, use "
                    f"task='multilabel' with target=({target!r},); if it is a class, declare the classes, such as "
                    f"classes=('-1', '1')."
                )

    def patient_of(self, picture: Found) -> str | None:
        """See `PictureSource.patient_of`: by the pattern."""
        return None if self.patient_pattern is None else patient_by_pattern(self.patient_pattern, _rooted(picture))

    def _files(self, rows: Labelled, root: Path) -> list[tuple[str, Path]]:
        """The path of each picture as the table writes it, and where it is; each file once, however it is written."""
        first: dict[str, int] = {}
        files = []
        for row, cell in enumerate(rows.file.cells[self.image]):
            where = rows.file.where(row, self.image)
            if cell is None:
                raise UserError(f"{where}: the path of the picture is missing. Complete it, or remove the row.")
            real = os.path.realpath(root / cell)
            if real in first:
                raise UserError(
                    f"{where}: {cell!r} is a picture that stands on line {rows.file.lines[first[real]]} already. Give "
                    f"each picture one row, or it would count twice and might be in two splits."
                )
            first[real] = row
            files.append((cell, root / cell))
        return files

    def _check_present(self, files: list[tuple[str, Path]], rows: Labelled, root: Path) -> None:
        absent = [row for row, (_, file) in enumerate(files) if not file.is_file()]
        if not absent:
            return
        shown = ", ".join(f"{files[row][0]} (line {rows.file.lines[row]})" for row in absent[:SHOWN])
        near = files[absent[0]][1]
        hint = did_you_mean(near.name, [entry.name for entry in near.parent.iterdir()]) if near.parent.is_dir() else ""
        raise UserError(
            f"{len(absent)} of the {len(files)} pictures in column {self.image!r} of {rows.file.path} do not exist: "
            f"{shown}{', ...' if len(absent) > SHOWN else ''}.{hint} Relative paths start from {root}; set root=... if "
            f"that is wrong, or leave such rows out with unreadable='skip'."
        )


def _rooted(picture: Found) -> str:
    """The path as the table writes it, with a ``/`` before it, so that a pattern can tell where a folder begins."""
    return "/" + picture.name.lstrip("/")
