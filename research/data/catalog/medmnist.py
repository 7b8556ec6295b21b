"""`MedMNIST`: the twelve two-dimensional sets of MedMNIST v2, in four sizes, with their official splits."""

from __future__ import annotations

import dataclasses
import os
import zipfile
import zlib
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int32, UInt8

from research.data.about import About
from research.data.catalog.medmnist_sets import ADDRESS, HOMEPAGE, MEDMNIST, SETS, SIZES, MedMNISTSet, Name, Size
from research.data.dataset import SPLITS
from research.data.download import checksum, download
from research.data.images import Images
from research.data.source import DATA_DIR, Source
from research.errors import UserError
from research.spec import field
from research.task import Task

PARTS = ("train", "val", "test")
"""Names of the splits in the files, in the order of ``SPLITS``."""


class MedMNIST(Source):
    """One of the twelve two-dimensional sets of MedMNIST v2, from the npz file that its publishers distribute.

    The file is ``medmnist/NAME.npz`` (28 pixels) or ``medmnist/NAME_SIZE.npz`` below ``$RESEARCH_DATA_DIR``; where it
    is not there it is downloaded, and refused if its checksum is not the official one. A file of one's own with another
    checksum is taken if shapes, split sizes and class numbers are the official ones, and `about` then says so. The
    whole file is read into memory: 84 MB for pathmnist at 28 pixels a side, but 16 GB at 224.

    Class numbers are the official ones, but for breastmnist: there the official positive class is normal or benign;
    here it is malignant, the disease. AUROC and accuracy are the same either way.

    The same pictures become a dataset of TFDS, for other programs; that takes no TensorFlow::

        builder = research.data.tfds.builder(MedMNIST(name="breastmnist").load(), data_dir)
        builder.download_and_prepare()
        builder.as_data_source(split="test")[0]  # image, label

    Yang et al., "MedMNIST v2 - A large-scale lightweight benchmark for 2D and 3D biomedical image classification",
    Scientific Data 10, 41 (2023).
    """

    name: Name = field("pneumoniamnist", help="which of the twelve sets")
    size: Size = field(28, help="height and width of the pictures in pixels")

    @property
    def _set(self) -> MedMNISTSet:
        return SETS[self.name]

    @property
    def _file(self) -> str:
        return f"{self.name}.npz" if self.size == 28 else f"{self.name}_{self.size}.npz"

    def about(self) -> About:
        """Licence, citation and notes; no file is read."""
        chosen = self._set
        train, validation, test = chosen.counts
        notes = [
            f"no patient identifiers: {chosen.patients}; splits and intervals are by row",
            f"official splits: train {train}, validation {validation}, test {test}",
        ]
        if chosen.kind == "binary":
            notes.insert(0, f"positive class: {chosen.classes[chosen.positive]}")
        if chosen.kind == "binary" and chosen.positive == 0:
            notes.insert(1, f"in the file the positive class is {chosen.classes[1]}; class numbers are swapped here")
        return About(
            name=self.name if self.size == 28 else f"{self.name}_{self.size}",
            summary=f"{chosen.summary}; {self.size} pixels a side",
            licence=chosen.licence,
            citation=f"{MEDMNIST}. Pictures: {chosen.source}",
            homepage=HOMEPAGE,
            notes=tuple(notes),
        )

    def load(self) -> Images:
        """All pictures, in memory.

        Raises:
            UserError: for a file that is damaged or not the official set, naming what differs, or that can neither be
                found nor downloaded.
        """
        path, official = self._locate()
        pictures, labels = _read(path, self._set, self.size)
        counts = self._set.counts
        about = self.about()
        if not official:
            note = (
                f"checksum of {path.name} differs from the official one: the content has the official shapes, split "
                f"sizes and classes"
            )
            about = dataclasses.replace(about, notes=(*about.notes, note))
        names = np.empty(sum(counts), dtype=object)
        names[:] = [f"{part}[{number}]" for part, count in zip(PARTS, counts, strict=True) for number in range(count)]
        return Images(
            targets=_targets(labels, self._set),
            task=_task(self._set),
            patient=None,
            split=np.repeat(np.asarray(SPLITS, dtype="<U10"), counts),
            row=np.arange(sum(counts), dtype=np.int32),
            about=about,
            shape=(self.size, self.size, self._set.channels),
            read=_Reader(pictures, np.cumsum((0, *counts))),
            signature=f"{self.name} {self.size} SHA-256 {checksum(path, 'sha256')}",
            names=names,
        )

    def _locate(self) -> tuple[Path, bool]:
        """The file, and whether it is the official one to the bit."""
        md5 = self._set.md5[SIZES.index(self.size)]
        name = f"medmnist/{self._file}"
        folder = os.environ.get(DATA_DIR)
        if folder and (Path(folder) / name).is_file():
            path = Path(folder) / name
            return path, checksum(path, "md5") == md5
        return download(ADDRESS.format(file=self._file), md5, name), True


@dataclasses.dataclass(frozen=True)
class _Reader:
    """Position to picture.

    Attributes:
        pictures: those of each split.
        starts: position of the first one of each split, and of the end.
    """

    pictures: tuple[np.ndarray, ...]
    starts: np.ndarray

    def __call__(self, position: int) -> UInt8[np.ndarray, "H W C"]:
        part = int(np.searchsorted(self.starts, position, side="right")) - 1
        return self.pictures[part][position - self.starts[part]]


def _task(chosen: MedMNISTSet) -> Task:
    classes = chosen.classes[::-1] if chosen.kind == "binary" and chosen.positive == 0 else chosen.classes
    return Task(chosen.kind, classes, ordinal=chosen.ordinal)


def _targets(labels: np.ndarray, chosen: MedMNISTSet) -> Int32[np.ndarray, " N"] | Float32[np.ndarray, "N L"]:
    if chosen.kind == "multilabel":
        return labels.astype(np.float32)
    numbers = labels[:, 0].astype(np.int32)
    return 1 - numbers if chosen.kind == "binary" and chosen.positive == 0 else numbers


def _read(path: Path, chosen: MedMNISTSet, size: int) -> tuple[tuple[np.ndarray, ...], np.ndarray]:
    """Pictures ``[n, H, W, C]`` of each split, and labels ``[N, 1]`` or ``[N, L]`` of all, all checked."""
    arrays = _arrays(path)
    pixels = (size, size) if chosen.channels == 1 else (size, size, chosen.channels)
    width = len(chosen.classes) if chosen.kind == "multilabel" else 1
    for part, count in zip(PARTS, chosen.counts, strict=True):
        _check(path, f"{part}_images", arrays[f"{part}_images"], (count, *pixels))
        _check(path, f"{part}_labels", arrays[f"{part}_labels"], (count, width))
        _check_classes(path, f"{part}_labels", arrays[f"{part}_labels"], chosen)
    pictures = tuple(
        arrays[f"{part}_images"].reshape(count, size, size, chosen.channels)
        for part, count in zip(PARTS, chosen.counts, strict=True)
    )
    return pictures, np.concatenate([arrays[f"{part}_labels"] for part in PARTS])


DAMAGE = (zipfile.BadZipFile, zlib.error, ValueError, EOFError, OSError, NotImplementedError, TypeError)
"""What NumPy raises for files that are no npz, or are damaged."""


def _arrays(path: Path) -> dict[str, np.ndarray]:
    """The six arrays of a file."""
    needed = [f"{part}_{what}" for part in PARTS for what in ("images", "labels")]
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            found = list(archive.files)
            if set(needed) <= set(found):
                return {key: archive[key] for key in needed}
    except DAMAGE as error:
        raise UserError(
            f"{path} cannot be read ({error}). It is truncated, damaged or no npz file: fetch it again."
        ) from error
    lacking = [key for key in needed if key not in found]
    raise UserError(
        f"{path} lacks {', '.join(lacking)}. Its keys: {', '.join(found) or 'none'}; needed: {', '.join(needed)}."
    )


def _check(path: Path, key: str, array: np.ndarray, shape: tuple[int, ...]) -> None:
    whole = array.dtype == np.uint8 if key.endswith("images") else array.dtype.kind in "iub"
    if array.shape != shape or not whole:
        kind = "uint8" if key.endswith("images") else "whole numbers"
        raise UserError(
            f"{path}: {key} is {array.dtype} of shape {array.shape}; the official file of this set and size (release "
            f"3.0.2) has {kind} of shape {shape}. Give the file its own name, or fetch the official one."
        )


def _check_classes(path: Path, key: str, labels: np.ndarray, chosen: MedMNISTSet) -> None:
    """Only known classes; in train each of them."""
    numbers = np.unique(labels)
    allowed = range(2) if chosen.kind == "multilabel" else range(len(chosen.classes))
    if not set(numbers.tolist()) <= set(allowed):
        raise UserError(f"{path}: {key} holds {numbers[:20].tolist()}; only {allowed[0]} to {allowed[-1]} are labels.")
    if key.startswith("train") and len(numbers) < len(allowed):
        lacking = sorted(set(allowed) - set(numbers.tolist()))
        raise UserError(f"{path}: {key} has no picture of class {lacking}; the official file has some of each.")
