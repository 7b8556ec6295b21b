"""Picture files together: found in a folder, surveyed, and read one by one when they are asked for."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import warnings
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Shaped, UInt8
from PIL import Image

from research.data.formats.decoding import Header, PictureFormat, Pillow, Resize, fit
from research.data.unreadable import Unreadable, cannot_be_read
from research.errors import UserError

THREADS = 4
COLORS = {1: "grey", 3: "rgb"}
"""Channels to what such pictures are called."""

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
        remedy = ", or leave such files out with unreadable='skip'" if found else ""
        raise UserError(f"{cannot_be_read(bad, len(files), f'of {place} ')}. Replace or remove them{remedy}.")
    return found, [cannot_be_read(bad, len(files), verdict="cannot be read and are left out")]


def deep_without_white(found: Sequence[Found], format: PictureFormat) -> list[str]:
    """A note on pictures of 16 bits of which is not said how bright white is, where there are any."""
    deep = sum(picture.header.deep for picture in found)
    if not deep or not isinstance(format, Pillow) or format.white is not None:
        return []
    return [f"{deep} pictures have 16 bits, with 65535 taken as white; if they are too dark, set white=4095 (12 bits)"]


def signature_of(found: Sequence[Found], *options: object) -> str:
    """SHA-256 over names, sizes and times of the files, and over whatever else decides what their pixels become."""
    digest = hashlib.sha256(repr(options).encode())
    for picture in found:
        status = picture.path.stat()
        digest.update(b"\n%s\0%d\0%d" % (os.fsencode(picture.name), status.st_size, status.st_mtime_ns))
    return digest.hexdigest()


def text(names: Sequence[str | None]) -> Shaped[np.ndarray, " N"]:
    """Texts as an array of objects, each of its own length."""
    array = np.empty(len(names), dtype=object)
    array[:] = names
    return array
