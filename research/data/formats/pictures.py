"""Picture files together: found in a folder, surveyed, and read one by one when they are asked for."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import os
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Shaped, UInt8
from PIL import Image

from research.data.formats.decoding import Header, PictureFormat, Pillow, Resize, fit
from research.data.unreadable import Unreadable, attempt, cannot_be_read
from research.errors import UserError

THREADS = 4
COLORS = {1: "grey", 3: "rgb"}
"""Channels to what such pictures are called."""

CHUNK = 16
"""Files that a thread takes at a time."""

MOST_DECODED = 1000
"""Files that are decoded to tell all damage at once."""


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
        recolor: whether colour is made grey, or grey rgb, as ``shape`` says; if not, that is an error.
    """

    files: tuple[Path, ...]
    format: PictureFormat
    shape: tuple[int, int, int]
    resize: Resize | None
    recolor: bool = True

    def __call__(self, position: int) -> UInt8[np.ndarray, "H W C"]:
        path = self.files[position]
        picture = self.format.decode(path)
        height, width = picture.shape[:2]
        if self.resize is None and (height, width) != self.shape[:2]:
            wanted = f"{self.shape[0]} x {self.shape[1]}"
            raise Unreadable(path, f"has a height and width of {height} x {width}; {wanted} is needed")
        if not self.recolor and picture.shape[2] != self.shape[2]:
            raise Unreadable(path, f"is {COLORS[picture.shape[2]]}; {COLORS[self.shape[2]]} is needed")
        return fit(picture, self.shape, self.resize or "stretch")


def list_pictures(folder: Path, format: PictureFormat) -> tuple[list[tuple[str, Path]], Counter[str]]:
    """Pictures in a folder and all folders below, and how many other files there are.

    Hidden files and folders (whose names begin with a dot, and ``__MACOSX``) count for nothing; links are followed.

    Returns:
        name and path of each, sorted: the name is what lies below ``folder``, with ``/`` between folders; and the
        count of other files by their ending.
    """
    pictures: list[tuple[str, Path]] = []
    others: Counter[str] = Counter()
    for here, folders, files in os.walk(folder, followlinks=True, onerror=_refused):
        folders[:] = [name for name in folders if visible(name) and not _goes_back(here, name)]
        for name in filter(visible, files):
            path = Path(here) / name
            if format.accepts(path):
                pictures.append((_printable(path.relative_to(folder).as_posix()), path))
            else:
                others[_printable(path.suffix.lower()) or "no ending"] += 1
    return sorted(pictures), others


def _printable(name: str) -> str:
    """The name, with what is no UTF-8 in it written as ``\\xff``, so that it can be shown and stored anywhere."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def check_links(folder: Path, pictures: Sequence[tuple[str, Path]]) -> None:
    """Raise `UserError` where links lead to a picture twice: it might be in two classes, or in two splits."""
    names: dict[str, str] = {}
    for name, path in pictures:
        first = names.setdefault(os.path.realpath(path), name)
        if first != name:
            raise UserError(f"{folder}: {first} and {name} are one picture, by a link. Remove one of them.")


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


def beside(others: Counter[str]) -> str:
    """Part of a sentence on files that are no pictures, where there is nothing else."""
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
    if unreadable == "error" or not found:
        if unreadable == "error":
            bad += _damaged(found[:MOST_DECODED], format)
        least = "at least " if len(found) > MOST_DECODED else ""
        remedy = ", or leave such files out with unreadable='skip'" if found else ""
        raise UserError(f"{least}{cannot_be_read(bad, len(files), f'of {place} ')}. Replace or remove them{remedy}.")
    return found, [cannot_be_read(bad, len(files), verdict="cannot be read and are left out")]


def _damaged(found: Sequence[Found], format: PictureFormat) -> list[str]:
    """What is wrong behind the headers; else it would come up only after the headers had been mended."""

    def read(row: int) -> UInt8[np.ndarray, "H W C"]:
        return format.decode(found[row].path)

    with ThreadPoolExecutor(THREADS) as pool:
        pictures = pool.map(functools.partial(attempt, read), range(len(found)))
        return [f"{one.name} {p.reason}" for one, p in zip(found, pictures, strict=True) if isinstance(p, Unreadable)]


def deep_without_white(found: Sequence[Found], format: PictureFormat) -> list[str]:
    """A note on pictures of 16 bits of which is not said how bright white is, where there are any."""
    deep = sum(picture.header.deep for picture in found)
    if not deep or not isinstance(format, Pillow) or format.white is not None:
        return []
    return [f"{deep} pictures have 16 bits, with 65535 taken as white; if they are too dark, set white=4095 (12 bits)"]


def signature_of(files: Iterable[Path], *options: object) -> str:
    """SHA-256 over the files' places, sizes and times, and over whatever else decides what their pixels become.

    The time of the last change of the inode is among them, which no program can set: a file that is written again
    with its size and its modification time kept has another signature. So has a copy in another place.
    """
    digest = hashlib.sha256(repr(options).encode())
    for path in files:
        status = path.stat()
        times = status.st_size, status.st_mtime_ns, status.st_ctime_ns
        digest.update(b"\n%s\0%d\0%d\0%d" % (os.fsencode(os.path.realpath(path)), *times))
    return digest.hexdigest()


def text(names: Sequence[str | None]) -> Shaped[np.ndarray, " N"]:
    """Texts as an array of objects, each of its own length."""
    array = np.empty(len(names), dtype=object)
    array[:] = names
    return array
