"""`MedMNIST`: the twelve two-dimensional sets of MedMNIST v2, in four sizes, with their official splits."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Int32, UInt8

from research.data.about import About
from research.data.cache import REMEDY, cache_dir, is_full, make_room, no_room, unfinished
from research.data.catalog.medmnist_sets import ADDRESS, HOMEPAGE, MEDMNIST, SETS, SIZES, MedMNISTSet, Name, Size
from research.data.dataset import SPLITS
from research.data.download import checksum, download
from research.data.images import Images
from research.data.source import DATA_DIR, Source
from research.errors import RunError, UserError
from research.spec import field
from research.task import Task

PARTS = ("train", "val", "test")
"""Names of the splits in the files, in the order of ``SPLITS``."""


class MedMNIST(Source):
    """One of the twelve two-dimensional sets of MedMNIST v2, from the npz file that its publishers distribute.

    The file is ``medmnist/NAME.npz`` (28 pixels) or ``medmnist/NAME_SIZE.npz`` below ``$RESEARCH_DATA_DIR``; where it
    is not there it is downloaded, and refused if its checksum is not the official one. A file of one's own with another
    checksum is taken if shapes, split sizes and, where known, the numbers of pictures of each class are the official
    ones, and `about` then says so. A file of 28 pixels is read into memory (at most 252 MB); larger ones are unpacked
    once, in `cache_dir`, and read from there picture by picture (pathmnist at 224 pixels: 16 GB).

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
        """Labels at once, pictures when they are asked for.

        Raises:
            UserError: for a file that is damaged or not the official set, naming what differs, or that can neither be
                found nor downloaded.
            RunError: if the disk fills up while a large file is unpacked.
        """
        path, md5 = self._locate()
        pictures, labels = _read(path, md5, self._set, self.size)
        counts = self._set.counts
        about = self.about()
        if md5 != self._md5:
            note = f"checksum of {path.name} differs from the official one: {_compared(self._set)}"
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
            signature=f"{self.name} {self.size} MD5 {md5}",
            names=names,
        )

    @property
    def _md5(self) -> str:
        return self._set.md5[SIZES.index(self.size)]

    def _locate(self) -> tuple[Path, str]:
        """The file, and its checksum."""
        name = f"medmnist/{self._file}"
        folder = os.environ.get(DATA_DIR)
        if folder and (Path(folder) / name).is_file():
            path = Path(folder) / name
            return path, checksum(path, "md5")
        return download(ADDRESS.format(file=self._file), self._md5, name), self._md5


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
        # A copy, for large files are mapped into memory.
        return np.array(self.pictures[part][position - self.starts[part]])


def _task(chosen: MedMNISTSet) -> Task:
    classes = chosen.classes[::-1] if chosen.kind == "binary" and chosen.positive == 0 else chosen.classes
    return Task(chosen.kind, classes, ordinal=chosen.ordinal)


def _targets(labels: np.ndarray, chosen: MedMNISTSet) -> Int32[np.ndarray, " N"] | Float32[np.ndarray, "N L"]:
    if chosen.kind == "multilabel":
        return labels.astype(np.float32)
    numbers = labels[:, 0].astype(np.int32)
    return 1 - numbers if chosen.kind == "binary" and chosen.positive == 0 else numbers


def _compared(chosen: MedMNISTSet) -> str:
    """What of a file with another checksum was compared with the official one."""
    known = [split for split, cases in zip(SPLITS, chosen.cases, strict=True) if cases is not None]
    if not known:
        return "the content has the official shapes and split sizes; how many pictures of each class is not known here"
    where = "" if len(known) == len(SPLITS) else f" in {' and '.join(known)} (not known for the rest)"
    return f"the content has the official shapes, split sizes and numbers of pictures of each class{where}"


def _read(path: Path, md5: str, chosen: MedMNISTSet, size: int) -> tuple[tuple[np.ndarray, ...], np.ndarray]:
    """Pictures ``[n, H, W, C]`` of each split, and labels ``[N, 1]`` or ``[N, L]`` of all, all checked."""
    labels = [_array(path, f"{part}_labels") for part in PARTS]
    images = [
        _array(path, f"{part}_images") if size == 28 else _unpacked(path, md5, f"{part}_images") for part in PARTS
    ]
    pixels = (size, size) if chosen.channels == 1 else (size, size, chosen.channels)
    width = len(chosen.classes) if chosen.kind == "multilabel" else 1
    for number, (part, count) in enumerate(zip(PARTS, chosen.counts, strict=True)):
        _check(path, f"{part}_images", images[number], (count, *pixels))
        _check(path, f"{part}_labels", labels[number], (count, width))
        _check_classes(path, f"{part}_labels", labels[number], chosen)
        if md5 not in chosen.md5:
            _check_cases(path, f"{part}_labels", labels[number], chosen, chosen.cases[number])
    pictures = tuple(array.reshape(len(array), size, size, chosen.channels) for array in images)
    return pictures, np.concatenate(labels)


DAMAGE = (zipfile.BadZipFile, zlib.error, ValueError, EOFError, OSError, NotImplementedError, TypeError)
"""What NumPy raises for files that are no npz, or are damaged."""


@contextlib.contextmanager
def _archive(path: Path, key: str) -> Iterator[Any]:
    """The opened npz file, in which there is an array ``key``; raises `UserError` where it cannot be read."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            found = list(archive.files)
            if key in found:
                yield archive
                return
    except UserError:
        raise  # About something else: it is a ValueError too.
    except DAMAGE as error:
        raise UserError(
            f"{path} cannot be read ({error}). It is truncated, damaged or no npz file: fetch it again."
        ) from error
    needed = [f"{part}_{what}" for part in PARTS for what in ("images", "labels")]
    lacking = [key for key in needed if key not in found]
    raise UserError(
        f"{path} lacks {', '.join(lacking)}. Its keys: {', '.join(found) or 'none'}; needed: {', '.join(needed)}."
    )


def _array(path: Path, key: str) -> np.ndarray:
    with _archive(path, key) as archive:
        return archive[key]


def _unpacked(path: Path, md5: str, key: str) -> np.ndarray:
    """An array of the file, unpacked on disk and mapped into memory; the first call unpacks it."""
    place = cache_dir() / "datasets" / f"medmnist-{md5}-{key}.npy"
    if not place.is_file():
        with _archive(path, key) as archive:
            member = archive.zip.getinfo(f"{key}.npy")
            what = f"{key} of {path.name}, unpacked,"
            make_room(place.parent, member.file_size, what)
            part = unfinished(place)
            try:
                with archive.zip.open(member) as packed, part.open("wb") as file:
                    shutil.copyfileobj(packed, file, 2**20)
                part.rename(place)
            except OSError as error:
                if is_full(error):
                    raise RunError(f"{no_room(place.parent, member.file_size, what)} It filled up. {REMEDY}") from error
                raise
            finally:
                part.unlink(missing_ok=True)
    return np.load(place, mmap_mode="r", allow_pickle=False)


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


def _check_cases(
    path: Path, key: str, labels: np.ndarray, chosen: MedMNISTSet, official: tuple[int, ...] | None
) -> None:
    """As many pictures of each class as the official file has, where that is known."""
    if official is None:
        return
    multilabel = chosen.kind == "multilabel"
    found = labels.sum(0, dtype=int) if multilabel else np.bincount(labels[:, 0], minlength=len(chosen.classes))
    for name, here, there in zip(chosen.classes, found.tolist(), official, strict=True):
        if here != there:
            raise UserError(
                f"{path}: {key} has {here} pictures of {name!r}; the official file has {there}, and this one's "
                f"checksum is not the official one. Give the file its own name, or fetch the official one."
            )
