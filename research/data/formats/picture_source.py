"""`PictureSource`: what all sources of picture files share: one size, one number of channels, unreadable files."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from jaxtyping import Shaped, UInt8

from research.data.about import About
from research.data.formats.decoding import PictureFormat, Pillow, Resize
from research.data.formats.pictures import COLORS, Found, Reader, deep_without_white, signature_of, text
from research.data.source import Source
from research.data.unreadable import SHOWN
from research.errors import UserError
from research.spec import field

CHANNELS = {color: channels for channels, color in COLORS.items()}


@dataclasses.dataclass(frozen=True)
class Opened:
    """What `research.data.images.Images` needs to know of files of one size and number of channels."""

    shape: tuple[int, int, int]
    read: Callable[[int], UInt8[np.ndarray, "H W C"]]
    signature: str
    names: Shaped[np.ndarray, " N"]
    notes: tuple[str, ...]


class PictureSource(Source):
    """Base of the sources that read picture files; the files are opened by `load`, their pixels read when asked for.

    Nothing is resized or recoloured unless ``size`` or ``color`` says so: pictures of mixed sizes, or of both grey
    and colour, are an error that counts them.
    """

    abstract: ClassVar[bool] = True

    size: tuple[int, int] | None = field(
        None, minimum=1, help="height and width to bring every picture to; none: as they are, all of one size"
    )
    resize: Resize = field(
        "stretch", help="stretch changes the aspect ratio, fit keeps it and adds black, crop keeps it and cuts off"
    )
    color: Literal["grey", "rgb"] | None = field(None, help="make all pictures grey or rgb; none: as the files are")
    white: int | None = field(
        None,
        minimum=1,
        maximum=65535,
        help="stored value that becomes 255 in 16-bit grey files; none: the largest of the file's type, 255 or 65535",
    )
    unreadable: Literal["error", "skip"] = field(
        "error", help="files that cannot be read: stop, or decode every file once and leave those out"
    )
    name: str = field("", help="name to show; that of the file or folder if empty")
    licence: str = field("not stated", help="what may be done with the data")
    citation: str = field("not stated", help="the publication to cite")
    homepage: str = field("", help="address of the publisher's page")

    def format(self) -> PictureFormat:
        """How the files are read."""
        return Pillow(self.white)

    def reads_pictures(self) -> dict[str, Any]:
        """See `Source.reads_pictures`."""
        return {
            "resize": None if self.size is None else self.resize,
            "format": self.format(),
            "recolor": self.color is not None,
            "patient": self.patient_of,
            "declared": True,
        }

    def patient_of(self, picture: Found) -> str | None:
        """Whose a new picture is, as far as the picture or its name says; None where that is not known."""
        return None

    def opened(self, found: Sequence[Found], place: Path) -> Opened:
        """Shape, reader, signature and names of the files, and notes on them.

        Args:
            found: the files, at least one.
            place: where they come from, for messages.

        Raises:
            UserError: for pictures of several sizes, or grey and colour, where no size or color is set.
        """
        channels = self._channels(found, place)
        height, width = self._size(found, place)
        resize: Resize | None = None if self.size is None else self.resize
        files, shape = tuple(picture.path for picture in found), (height, width, channels)
        reader = Reader(files, self.format(), shape, resize, self.color is not None)
        return Opened(
            shape=reader.shape,
            read=reader,
            signature=signature_of(files, reader.format.decoders(), reader.format, reader.shape, resize),
            names=text([picture.name for picture in found]),
            notes=tuple(deep_without_white(found, reader.format)),
        )

    def _channels(self, found: Sequence[Found], place: Path) -> int:
        if self.color is not None:
            return CHANNELS[self.color]
        counts = Counter(picture.header.channels for picture in found)
        if len(counts) > 1:
            shown = ", ".join(
                f"{count} {COLORS[channels]} (such as {_first(found, channels).name})"
                for channels, count in sorted(counts.items())
            )
            raise UserError(f"color: the pictures of {place} are not all alike: {shown}. Set color='grey' or 'rgb'.")
        return next(iter(counts))

    def _size(self, found: Sequence[Found], place: Path) -> tuple[int, int]:
        if self.size is not None:
            return self.size
        counts = Counter((picture.header.height, picture.header.width) for picture in found)
        if len(counts) > 1:
            common = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
            shown = ", ".join(f"{height} x {width} ({count})" for (height, width), count in common[:SHOWN])
            more = ", ..." if len(common) > SHOWN else ""
            raise UserError(
                f"size: the pictures of {place} have {len(counts)} different sizes, height x width: {shown}{more}. Say "
                f"to which size all are brought, such as size=(224, 224), and how: resize='stretch', 'fit' or 'crop'."
            )
        return next(iter(counts))

    def describe(self, default: str, summary: str, notes: Sequence[str]) -> About:
        """What is declared, with the notes on how pictures are changed."""
        changes = []
        if self.size is not None:
            changes.append(f"every picture is brought to {self.size[0]} x {self.size[1]} ({self.resize})")
        if self.color is not None:
            changes.append(f"every picture is made {self.color}")
        if self.white is not None:
            changes.append(f"the grey value {self.white} of 16-bit files becomes white")
        return About(
            name=self.name or default,
            summary=summary,
            licence=self.licence,
            citation=self.citation,
            homepage=self.homepage,
            notes=(*notes, *changes),
        )


def _first(found: Sequence[Found], channels: int) -> Found:
    return next(picture for picture in found if picture.header.channels == channels)


def check_pattern(pattern: str | None, option: str) -> None:
    """Raise `UserError` unless ``pattern`` is None or a regular expression that takes out one thing."""
    if pattern is None:
        return
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise UserError(f"{option}: {pattern!r} is no regular expression: {error}.") from None
    if "patient" not in compiled.groupindex and compiled.groups != 1:
        raise UserError(
            f"{option}: {pattern!r} has {compiled.groups} groups; put what identifies the patient in the only pair of "
            f"parentheses, such as r'(p\\d+)_', or in one named (?P<patient>...)."
        )


def patient_by_pattern(pattern: str, path: str) -> str | None:
    """The patient that the name of a file says, or its path where the pattern has a ``/`` in it; None if none."""
    compiled = re.compile(pattern)
    match = compiled.search(path if "/" in pattern else path.rpartition("/")[2])
    return (match["patient" if "patient" in compiled.groupindex else 1] or None) if match else None


def patients_by_pattern(pattern: str, option: str, paths: Sequence[str]) -> tuple[Shaped[np.ndarray, " N"], str]:
    """The patient of each file, as `patient_by_pattern`, and a note on how many there are.

    Raises:
        UserError: where some do not match, with how many and the first of them.
    """
    what, texts = ("paths", list(paths)) if "/" in pattern else ("file names", [p.rpartition("/")[2] for p in paths])
    patients = [patient_by_pattern(pattern, path) for path in texts]
    without = [path for path, patient in zip(texts, patients, strict=True) if patient is None]
    if without:
        amount = "none" if len(without) == len(texts) else f"only {len(texts) - len(without)}"
        hint = "" if "/" in pattern else " A pattern with a / in it is compared with the path, folders included."
        raise UserError(
            f"{option}: {pattern!r} finds a patient in {amount} of {len(texts)} {what}; in {without[0]!r} it finds "
            f"none. Correct the pattern so that it matches every picture.{hint}"
        )
    found = text([str(patient) for patient in patients])
    return found, f"{len(set(found))} patients by the pattern of {option}, such as {found[0]!r} in {texts[0]!r}"
