"""Pictures of new patients, brought to the size and colour of those that a model was trained on."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Shaped, UInt8

from research.data.formats.decoding import PictureFormat, Pillow, Resize
from research.data.formats.pictures import (
    COLORS,
    Found,
    Reader,
    beside,
    deep_without_white,
    ignored,
    list_pictures,
    survey,
    text,
)
from research.data.source import find
from research.errors import UserError


@dataclasses.dataclass(frozen=True)
class NewPictures:
    """Pictures without labels, such as those of new patients.

    Attributes:
        names: path of each below the folder, or the file's name.
        read: position to picture, uint8 ``[H, W, C]``.
        notes: sentences on what was left out or changed.
        patient: identifiers, None where one is not known; None altogether where none is known.
    """

    names: Shaped[np.ndarray, " N"]
    read: Callable[[int], UInt8[np.ndarray, "H W C"]]
    notes: tuple[str, ...]
    patient: Shaped[np.ndarray, " N"] | None


def new_pictures(
    path: str,
    shape: tuple[int, int, int],
    resize: Resize | None = "stretch",
    format: PictureFormat | None = None,
    recolor: bool = True,
    patient: Callable[[Found], str | None] | None = None,
    declared: bool = False,
) -> NewPictures:
    """A picture file, or all pictures in a folder and below, in the size and colour that a model was trained on.

    Every file is decoded once, and those that cannot be read are left out and named in the notes.

    Args:
        path: file or folder, looked for as all data is.
        shape: height, width and channels to bring them to.
        resize: how; None: a picture of another size cannot be read.
        format: how files are read; `Pillow` if None.
        recolor: whether colour is made grey, or grey rgb; if not, such a picture cannot be read.
        patient: whose a picture is, as far as it or its name says; None: nothing is known.
        declared: whether the training pictures were brought to ``shape`` in the same way; if not, the notes count
            the pictures that are changed.

    Raises:
        UserError: if there is no picture, or none that can be read.
    """
    format, place = format or Pillow(), find(path)
    if place.is_dir():
        files, others = list_pictures(place, format)
        if not files:
            raise UserError(f"{place} holds no pictures{beside(others)}. They end in {', '.join(format.suffixes)}.")
    else:
        files, others = [(place.name, place)], Counter[str]()
    everything = Reader(tuple(file for _, file in files), format, shape, resize, recolor)
    found, notes = survey(files, format, "skip", place, everything)
    changed = [] if declared else _changed(found, shape, resize)
    patients = [patient(picture) for picture in found] if patient is not None else []
    return NewPictures(
        names=text([picture.name for picture in found]),
        read=dataclasses.replace(everything, files=tuple(picture.path for picture in found)),
        notes=(*notes, *ignored(others), *changed, *deep_without_white(found, format), *_whose(patients)),
        patient=text(patients) if any(name is not None for name in patients) else None,
    )


def _whose(patients: Sequence[str | None]) -> list[str]:
    """A note on pictures that do not say whose they are, where others do."""
    unknown = sum(name is None for name in patients)
    return [f"{unknown} of {len(patients)} pictures do not say whose they are"] if 0 < unknown < len(patients) else []


def _changed(found: Sequence[Found], shape: tuple[int, int, int], resize: Resize | None) -> list[str]:
    """Notes on pictures that are not as those of the training were."""
    notes, (height, width, channels) = [], shape
    done = {"stretch": "stretched", "fit": "fitted", "crop": "cropped", None: "not brought"}[resize]
    other = sum((picture.header.height, picture.header.width) != (height, width) for picture in found)
    if other:
        notes.append(f"{other} pictures of other sizes were {done} to {height} x {width}")
    other = sum(picture.header.channels != channels for picture in found)
    if other:
        notes.append(f"{other} pictures of another colour were made {COLORS[channels]}")
    return notes
