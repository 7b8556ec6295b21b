"""Picture files together: found in a folder, surveyed, and read one by one when they are asked for."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Shaped, UInt8
from PIL import Image

from research.data.formats.decoding import Header, PictureFormat, Pillow, Resize, Unreadable, fit
from research.data.source import find
from research.errors import UserError

THREADS = 4
SHOWN = 5
"""How many files a message names."""

CHUNK = 16
"""Files that a thread takes at a time."""


@dataclasses.dataclass(frozen=True)
class Found:
    """A picture file whose header could be read.

    Attributes:
        path: the file.
        name: what to call it: its path below the folder of the data.
        header: what its beginning says.
        row: number of the file in the listing, from 0; numbers of files that were left out do not occur.
    """

    path: Path
    name: str
    header: Header
    row: int


@dataclasses.dataclass(frozen=True)
class Reader:
    """Position to picture, as `research.data.images.Images.read`; safe for threads, small enough for other processes.

    Attributes:
        files: path of each picture.
        format: how they are read.
        shape: height, width and channels of what is given out.
        resize: how other sizes are brought to ``shape``; None: they are an error.
    """

    files: tuple[Path, ...]
    format: PictureFormat
    shape: tuple[int, int, int]
    resize: Resize | None

    def __call__(self, position: int) -> UInt8[np.ndarray, "H W C"]:
        path = self.files[position]
        picture = self.format.decode(path)
        height, width = picture.shape[:2]
        if self.resize is None and (height, width) != self.shape[:2]:
            wanted = f"{self.shape[0]} x {self.shape[1]}"
            raise Unreadable(path, f"has a height and width of {height} x {width}; {wanted} is needed")
        return fit(picture, self.shape, self.resize or "stretch")


@dataclasses.dataclass(frozen=True)
class NewPictures:
    """Pictures without labels, such as those of new patients.

    Attributes:
        names: path of each below the folder, or the file's name.
        read: position to picture, uint8 ``[H, W, C]``.
        notes: sentences on what was left out.
        patient: always None; a picture alone does not say whose it is.
    """

    names: Shaped[np.ndarray, " N"]
    read: Callable[[int], UInt8[np.ndarray, "H W C"]]
    notes: tuple[str, ...]
    patient: None = None


def new_pictures(
    path: str, shape: tuple[int, int, int], resize: Resize | None = "stretch", format: PictureFormat | None = None
) -> NewPictures:
    """A picture file, or all pictures in a folder and below, in the size and colour that a model was trained on.

    Every file is decoded once, and those that cannot be read are left out and named in the notes.

    Args:
        path: file or folder, looked for as all data is.
        shape: height, width and channels to bring them to.
        resize: how; None: a picture of another size cannot be read.
        format: how files are read; `Pillow` if None.

    Raises:
        UserError: if there is no picture, or none that can be read.
    """
    format, place = format or Pillow(), find(path)
    if place.is_dir():
        names, others = list_pictures(place, format)
        if not names:
            raise UserError(f"{place} holds no pictures{_beside(others)}. They end in {', '.join(format.suffixes)}.")
        files = [(name, place / name) for name in names]
    else:
        files, others = [(place.name, place)], Counter[str]()
    everything = Reader(tuple(file for _, file in files), format, shape, resize)
    found, notes = survey(files, format, "skip", place, everything)
    return NewPictures(
        names=text([picture.name for picture in found]),
        read=dataclasses.replace(everything, files=tuple(picture.path for picture in found)),
        notes=(*notes, *ignored(others)),
    )


def list_pictures(folder: Path, format: PictureFormat) -> tuple[list[str], Counter[str]]:
    """Pictures in a folder and all folders below, and how many other files there are.

    Hidden files and folders (whose names begin with a dot, and ``__MACOSX``) count for nothing; links are followed.

    Returns:
        paths below ``folder`` with ``/`` between folders, sorted; and the count of other files by their ending.
    """
    pictures: list[str] = []
    others: Counter[str] = Counter()
    for here, folders, files in os.walk(folder, followlinks=True, onerror=_refused):
        folders[:] = [name for name in folders if visible(name) and not _goes_back(here, name)]
        for name in filter(visible, files):
            path = Path(here) / name
            if format.accepts(path):
                pictures.append(path.relative_to(folder).as_posix())
            else:
                others[path.suffix.lower() or "no ending"] += 1
    return sorted(pictures), others


def visible(name: str) -> bool:
    """Whether a file or folder of this name is the user's, and not the operating system's."""
    return not name.startswith(".") and name != "__MACOSX"


def _goes_back(here: str, name: str) -> bool:
    """Whether a folder is a link to one that it lies in, which would go round in circles."""
    path = os.path.join(here, name)
    return os.path.islink(path) and Path(os.path.realpath(here)).is_relative_to(os.path.realpath(path))


def _refused(error: OSError) -> None:
    raise UserError(f"{error.filename} cannot be read: {error.strerror}.")


def ignored(others: Counter[str]) -> list[str]:
    """A note on files that are no pictures, where there are any."""
    return [f"files of other kinds ignored: {_kinds(others)}"] if others else []


def _beside(others: Counter[str]) -> str:
    return f", only other files: {_kinds(others)}" if others else ""


def _kinds(others: Counter[str]) -> str:
    return ", ".join(f"{count} ({kind})" for kind, count in sorted(others.items()))


def survey(
    files: Sequence[tuple[str, Path]],
    format: PictureFormat,
    unreadable: Literal["error", "skip"],
    place: Path,
    reader: Reader | None = None,
) -> tuple[list[Found], list[str]]:
    """The headers of all files; with ``skip`` every file is decoded too, for some damage shows only then.

    Args:
        files: name and path of each.
        format: how they are read.
        unreadable: ``error`` stops at files that cannot be read, ``skip`` leaves them out.
        place: the folder or table that they come from, for messages.
        reader: what decodes the file at a position; `PictureFormat.decode` if None.

    Returns:
        the files that are kept, and notes on those that were left out.

    Raises:
        UserError: naming the first few files that cannot be read, with how many there are in all.
    """

    def examine(position: int) -> Header | Unreadable:
        path = files[position][1]
        try:
            header = format.header(path)
            if unreadable == "skip":
                _ = format.decode(path) if reader is None else reader(position)
        except Unreadable as error:
            return error
        return header

    with warnings.catch_warnings(), ThreadPoolExecutor(THREADS) as pool:
        # Said in our own words, of the file concerned.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        warnings.filterwarnings("ignore", module="pydicom")
        headers = list(pool.map(examine, range(len(files)), chunksize=CHUNK))
    found = [
        Found(path, name, header, row)
        for row, ((name, path), header) in enumerate(zip(files, headers, strict=True))
        if isinstance(header, Header)
    ]
    bad = [
        f"{name} {header.reason}"
        for (name, _), header in zip(files, headers, strict=True)
        if isinstance(header, Unreadable)
    ]
    if not bad:
        return found, []
    shown = "; ".join(bad[:SHOWN]) + ("; ..." if len(bad) > SHOWN else "")
    if unreadable == "error" or not found:
        remedy = ", or leave such files out with unreadable='skip'" if found else ""
        raise UserError(
            f"{len(bad)} of {len(files)} pictures of {place} cannot be read: {shown}. Replace or remove them{remedy}."
        )
    return found, [f"{len(bad)} of {len(files)} pictures cannot be read and are left out: {shown}"]


def signature_of(found: Sequence[Found], *options: object) -> str:
    """SHA-256 over names, sizes and times of the files, and over whatever else decides what their pixels become."""
    digest = hashlib.sha256(repr(options).encode())
    for picture in found:
        status = picture.path.stat()
        digest.update(b"\n%s\0%d\0%d" % (os.fsencode(picture.name), status.st_size, status.st_mtime_ns))
    return digest.hexdigest()


def text(names: Sequence[str]) -> Shaped[np.ndarray, " N"]:
    """Texts as an array of objects, each of its own length."""
    array = np.empty(len(names), dtype=object)
    array[:] = names
    return array
