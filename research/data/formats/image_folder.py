"""`ImageFolder`: pictures sorted into folders, one for each class."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path

import numpy as np

from research.data.about import About
from research.data.dataset import SPLITS
from research.data.formats import labels
from research.data.formats.labels import SPLIT_NAMES
from research.data.formats.picture_source import (
    PictureSource,
    check_pattern,
    patient_by_pattern,
    patients_by_pattern,
)
from research.data.formats.pictures import Found, check_links, ignored, list_pictures, survey, visible
from research.data.images import Images
from research.data.source import find_folder
from research.data.unreadable import SHOWN
from research.errors import UserError, did_you_mean
from research.spec import field
from research.task import Task


@dataclasses.dataclass(frozen=True)
class _Listing:
    """Files of a folder: name and path of each, class and split of each, and the other files."""

    files: list[tuple[str, Path]]
    below: list[str]
    classes: list[str]
    splits: list[str] | None
    others: Counter[str]


class ImageFolder(PictureSource):
    """Pictures in folders named by class: ``class/*``, or ``split/class/*`` with official splits.

    The folders are splits where all of them are named as such (train, val, validation, test ...). Below the folder of
    a class pictures may lie at any depth. PNG, JPEG, BMP and TIFF are read; see `Pillow` for what becomes of 16-bit,
    palette and transparent pictures. Two classes are a binary target, more a multi-class one::

        ImageFolder(path="films", size=(224, 224), color="grey", patient=r"^(p\\d+)_", positive="effusion")
    """

    path: str = field(help="the folder; relative paths are tried as given, then below $RESEARCH_DATA_DIR")
    patient: str | None = field(
        None, help="regular expression whose group is the patient, in the file name; with / in it, in the path"
    )
    classes: tuple[str, ...] = field(
        (), help="folders of the classes, in order (else sorted, numbers by value); of two the second is positive"
    )
    ordinal: bool = field(False, help="whether the order of three or more classes means something, such as grades")
    positive: str | None = field(None, help="folder of the positive class, where there are two")

    def validate(self) -> None:
        """Checks that need no file."""
        if not self.path.strip():
            raise UserError("path: the path of a folder is needed, an empty text was given.")
        check_pattern(self.patient, "patient")
        if len(set(self.classes)) < len(self.classes):
            twice = next(name for name in self.classes if self.classes.count(name) > 1)
            raise UserError(f"classes: {twice!r} is declared twice. Name each class once.")
        if len(self.classes) == 1:
            raise UserError(f"classes: at least two are needed, only {self.classes[0]!r} was given.")
        if self.positive is not None and self.classes:
            if len(self.classes) > 2:
                raise UserError(f"positive: only one of two classes is positive; {len(self.classes)} are declared.")
            if self.positive not in self.classes:
                raise UserError(f"positive: {self.positive!r} is none of the classes {', '.join(self.classes)}.")

    def about(self) -> About:
        """What is declared of the folder; it is not read."""
        folder = Path(self.path).name
        patients = "no patient identifiers: splits and intervals are by row"
        if self.patient is not None:
            patients = f"patients by the regular expression {self.patient}"
        positive = [f"positive class: {self.positive}"] if self.positive is not None else []
        return self.describe(folder, f"pictures in the folder {folder}, sorted by class", (*positive, patients))

    def load(self) -> Images:
        """List the files and read their headers; with ``unreadable="skip"`` decode each once.

        Raises:
            UserError: if the folder is absent, has no class folders, an empty one, or files that cannot be read; if
                classes, patients, size or color are not as declared. Each names the folder or file and the remedy.
        """
        root = find_folder(self.path)
        listing = _list(root, self)
        task = self._task(root, listing.classes)
        found, notes = survey(listing.files, self.format(), self.unreadable, root)
        opened = self.opened(found, root)
        rows = np.asarray([picture.row for picture in found], dtype=np.int32)
        number = {name: index for index, name in enumerate(task.names)}
        about = self.about()
        below, patient = [listing.below[row] for row in rows], None
        if self.patient is not None:
            patient, note = patients_by_pattern(self.patient, "patient", below)
            notes.append(note)
        return Images(
            shape=opened.shape,
            read=opened.read,
            signature=opened.signature,
            names=opened.names,
            targets=np.asarray([number[listing.classes[row]] for row in rows], dtype=np.int32),
            task=task,
            patient=patient,
            split=None if listing.splits is None else np.asarray([listing.splits[row] for row in rows]),
            row=rows,
            about=dataclasses.replace(about, notes=(*about.notes, *opened.notes, *notes, *ignored(listing.others))),
        )

    def patient_of(self, picture: Found) -> str | None:
        """See `PictureSource.patient_of`: by the pattern, which may mean the path below any of the folders."""
        parts = picture.name.split("/")
        paths = ["/".join(parts[first:]) for first in range(len(parts))]
        found = (patient_by_pattern(self.patient, path) for path in paths if self.patient is not None)
        return next((patient for patient in found if patient is not None), None)

    def _task(self, root: Path, folders: list[str]) -> Task:
        counts = Counter(folders)
        found = self._order(root, counts)
        if len(found) != 2:
            if self.positive is not None:
                raise UserError(f"positive: only one of two classes is positive; {root} has {len(found)}.")
            if self.ordinal:
                labels.check_order(found, bool(self.classes))
            return Task("multiclass", found, ordinal=self.ordinal)
        if self.ordinal:
            raise UserError(f"ordinal: three or more classes have an order; {root} has two. Remove ordinal.")
        first, second = found
        positive = self.positive or (second if self.classes else labels.plainly_positive(found))
        shown = ", ".join(f"{name!r} ({counts[name]})" for name in found)
        if positive is None:
            raise UserError(f"{root}: which class is positive: {shown}? Declare positive={first!r} or {second!r}.")
        if positive not in found:
            raise UserError(f"positive: {positive!r} is none of the classes of {root}: {shown}.")
        return Task("binary", (first, second) if positive == second else (second, first))

    def _order(self, root: Path, counts: Counter[str]) -> tuple[str, ...]:
        """Class names in order; those of the folders are those declared."""
        if len(counts) == 1:
            raise UserError(f"{root} has pictures of one class only, {next(iter(counts))!r}; at least two are needed.")
        if not self.classes:
            alike = Counter(name.strip().casefold() for name in counts)
            twice = [name for name in sorted(counts) if alike[name.strip().casefold()] > 1]
            if twice:
                raise UserError(f"{root}: are the folders {', '.join(map(repr, twice))} one class? Name them alike.")
            return tuple(labels.in_order(set(counts)))
        for name in self.classes:
            if name not in counts:
                raise UserError(
                    f"classes: {root} has no folder {name!r}.{did_you_mean(name, counts)} Its classes: "
                    f"{', '.join(sorted(counts))}."
                )
        for name in sorted(counts):
            if name not in self.classes:
                raise UserError(
                    f"classes: {root} has a folder {name!r} with {counts[name]} pictures, which is not declared. Add "
                    f"it to classes, or move it elsewhere."
                )
        return self.classes


def _list(root: Path, source: ImageFolder) -> _Listing:
    """Every picture below ``root`` with its class, and its split where the folders are splits."""
    files, others = list_pictures(root, source.format())
    check_links(root, files)
    folders = sorted(entry.name for entry in root.iterdir() if visible(entry.name) and entry.is_dir())
    named = {name: SPLIT_NAMES[name.lower()] for name in folders if name.lower() in SPLIT_NAMES}
    if named and len(named) < len(folders):
        rest = ", ".join(repr(name) for name in folders if name not in named)
        raise UserError(
            f"{root} has folders of splits ({', '.join(named)}) and others: {rest}. Either all are splits, with the "
            f"classes below them, or all are classes: move or rename some."
        )
    for split in SPLITS:
        same = [name for name, meaning in named.items() if meaning == split]
        if len(same) > 1:
            raise UserError(f"{root}: the folders {', '.join(same)} all mean the {split} split. Put them into one.")
    depth = 2 if named else 1
    parts = [name.split("/", depth) for name, _ in files]
    astray = [name for (name, _), part in zip(files, parts, strict=True) if len(part) <= depth]
    layout = "split/class/" if named else "class/"
    if astray and folders:
        shown = ", ".join(astray[:SHOWN]) + (", ..." if len(astray) > SHOWN else "")
        raise UserError(
            f"{len(astray)} pictures lie in no class folder of {root}: {shown}. Put them where they belong: {layout}."
        )
    if not folders:
        raise UserError(
            f"{root} has no folders, only {len(files)} pictures. Sort these into a folder for each class, or name "
            f"their classes in a table and use ImagesCSV."
        )
    if not named:
        _check_splits_above(root, folders, parts)
    _check_none_empty(root, folders, bool(named), {"/".join(part[:depth]) for part in parts}, others)
    return _Listing(
        files=files,
        below=[part[-1] for part in parts],
        classes=[part[depth - 1] for part in parts],
        splits=[named[part[0]] for part in parts] if named else None,
        others=others,
    )


def _check_splits_above(root: Path, folders: list[str], parts: list[list[str]]) -> None:
    """Splits lie above the classes: below them, they would be mixed."""
    below = {part[1].split("/")[0].lower() for part in parts if "/" in part[1]}
    if below and below <= set(SPLIT_NAMES) and all("/" in part[1] for part in parts):
        raise UserError(
            f"{root}: {', '.join(sorted(below))} look like splits, but lie below the classes {', '.join(folders)}. Put "
            f"them above: {sorted(below)[-1]}/{folders[0]}. If they are no splits, rename them."
        )


def _check_none_empty(root: Path, folders: list[str], splits: bool, filled: set[str], others: Counter[str]) -> None:
    classes = folders
    if splits:
        classes = [
            f"{split}/{entry.name}"
            for split in folders
            for entry in sorted((root / split).iterdir())
            if visible(entry.name) and entry.is_dir()
        ]
    empty = [name for name in classes if name not in filled]
    if empty or not classes:
        kinds = f" Files of other kinds there: {', '.join(sorted(others))}." if others else ""
        raise UserError(
            f"{root}: {'the class folders hold' if len(empty) != 1 else 'this class folder holds'} no pictures: "
            f"{', '.join(empty) or ', '.join(folders)}. Copy the pictures there, or remove the folder.{kinds}"
        )
