"""`ImageData`: pictures, kept as bytes; scaled and augmented inside the compiled step."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import itertools
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int32, Key, Shaped, UInt8, UInt64

from research import keys
from research.data.augmentation import Augmentation
from research.data.batch import Batch
from research.data.dataset import SPLITS
from research.data.images import Images
from research.data.leakage import Leakage, check_leakage
from research.data.pixels import Pixels
from research.data.prepare import (
    Data,
    Listener,
    Prepared,
    check_present,
    divide,
    fingerprint_of,
    leaks_of,
    other_kind,
    warnings_of,
)
from research.data.shelf import Shelf
from research.data.source import Source
from research.data.split import Split
from research.data.unreadable import Unreadable, attempt, check_readable
from research.errors import UserError
from research.spec import check, field, to_json

THREADS = 4
BLOCK = 256
STATISTICS_BLOCK = 32


class ImageData(Data):
    """What an experiment on pictures learns from: pictures, their division, scaling, and augmentation of train."""

    pixels: Pixels = Pixels()
    augmentation: Augmentation | None = field(None, help="random changes of the training pictures")

    def prepare(
        self, stored: bool = False, listener: Listener | None = None, shelf: Shelf | None = None
    ) -> PreparedImages:
        """See `Data.prepare`; inputs are uint8 ``[N, H, W, C]``, in memory, or on disk where ``stored`` asks for it."""
        check(self)
        shelf = shelf or Shelf()
        images = shelf.load(self.source)
        if not isinstance(images, Images):
            raise other_kind(self, "pictures", images)
        if images.shape[2] not in (1, 3):
            raise UserError(
                f"{images.about.name}: pictures have 1 channel (grey) or 3 (red, green, blue), not {images.shape[2]}. "
                f"Correct the source."
            )
        self.check_balanced(images.task)
        self.pixels.check_channels(images.shape[2])
        if self.augmentation is not None and self.augmentation.mixes and images.task.kind in ("regression", "survival"):
            what = "quantities" if images.task.kind == "regression" else "times"
            raise UserError(f"data.augmentation: mixup and cutmix mix classes or labels; the targets are {what}.")
        self._check_scale()
        # Whatever can be refused before the pictures are read is refused now, though copies are not known yet.
        check_present(images, self.split.assign(images), self.split.required)
        kind, unread = _Stored if stored else _InMemory, images
        pictures = shelf.keep(kind.__name__, self.source, lambda: kind.of(unread, listener))
        images = dataclasses.replace(images, alike=pictures.hashes)
        split = self.split.assign(images)
        check_present(images, split, self.split.required)
        leakage = check_leakage(split, images.patient, pictures.hashes)
        train = np.flatnonzero(split == "train")
        leaks = leaks_of(leakage, _twins(images, split, leakage), copies="pictures")
        pixels = self.pixels
        if pixels.standardize == "train":
            pixels = pixels.fitted(*_statistics(pictures, train))
        return PreparedImages(
            data=self.replace(pixels=pixels),
            splits=divide(images, split, pictures.rows, shelf.largest(self.split, self.source, images)),
            task=images.task,
            about=images.about,
            patients_known=images.patient is not None,
            fingerprint=fingerprint_of(images, split, lambda digest: digest.update(pictures.digest.encode())),
            leakage=leakage,
            warnings=(
                *warnings_of(images, split, self.source.about().notes),
                *itertools.chain(*leaks.values()),
                *_contradictions(images, pictures.hashes),
            ),
            leaks=leaks,
            shape=images.shape,
        )

    def held_bytes(self, shelf: Shelf) -> int:
        """See `Data.held_bytes`."""
        images = shelf.load(self.source)
        return len(images) * math.prod(images.shape) if isinstance(images, Images) else 0

    def transform(self, batch: Batch, key: Key[Array, ""] | None = None) -> Batch:
        """See `Data.transform`: scaled, in training augmented, then standardised; float32 ``[B, H, W, C]``."""
        pictures = self.pixels.scale(batch.inputs)
        augmentation = self.augmentation
        if key is None or augmentation is None:
            return dataclasses.replace(batch, inputs=self.pixels.normalize(pictures))
        draws = keys.example_keys(key, batch.example)
        pictures = self.pixels.normalize(augmentation.apply(pictures, draws))
        if not augmentation.mixes:
            return dataclasses.replace(batch, inputs=pictures)
        mixed = augmentation.mix(pictures, batch.mask, draws)
        other = jnp.take(batch.targets, mixed.partner, axis=0)
        return dataclasses.replace(batch, inputs=mixed.images, other_targets=other, share=mixed.share)

    def mixes_rows(self) -> str | None:
        """See `Data.mixes_rows`: mixup and cutmix."""
        names = ("mixup", "cutmix") if self.augmentation is not None else ()
        return next((f"augmentation.{name}" for name in names if getattr(self.augmentation, name) is not None), None)

    def _check_scale(self) -> None:
        """Brightness, contrast and noise are said in units of pixels from 0 to 1."""
        augmentation = self.augmentation
        if augmentation is None or abs(255 * self.pixels.rescale - 1) < 1e-3:
            return
        for name in ("brightness", "contrast", "noise"):
            if getattr(augmentation, name) is not None:
                raise UserError(
                    f"data.augmentation.{name}: it works on pixels from 0 to 1, but data.pixels.rescale is "
                    f"{self.pixels.rescale:g}. Leave rescale at 1/255; other scales are made by mean and deviation."
                )

    def traced(self) -> ImageData:
        """See `Data.traced`: scaling and augmentation."""
        return self.replace(source=Source(), split=Split(), balanced=False)


@dataclasses.dataclass(frozen=True)
class PreparedImages(Prepared):
    """Pictures ready to be trained on and evaluated.

    Attributes:
        shape: height, width and channels of every picture.
    """

    shape: tuple[int, int, int]

    def details(self) -> dict[str, Any]:
        """See `Prepared.details`."""
        assert isinstance(self.data, ImageData)
        return {"pictures": {"shape": list(self.shape), "pixels": to_json(self.data.pixels)}}


@dataclasses.dataclass(frozen=True)
class _InMemory:
    """All pictures as one array.

    Attributes:
        pictures: uint8 ``[N, H, W, C]``.
        digest: SHA-256 of their bytes.
        hashes: one for each picture; equal where the pictures are.
    """

    pictures: UInt8[np.ndarray, "N H W C"]
    digest: str
    hashes: UInt64[np.ndarray, " N"]

    @classmethod
    def of(cls, images: Images, listener: Listener | None) -> _InMemory:
        count = len(images)
        _check_room(images)
        pictures, hashes = np.empty((count, *images.shape), np.uint8), np.empty(count, np.uint64)
        whole = hashlib.sha256()
        unreadable: dict[int, Unreadable] = {}
        with ThreadPoolExecutor(THREADS) as pool:
            for first in range(0, count, BLOCK):
                block = range(first, min(first + BLOCK, count))
                found = pool.map(functools.partial(attempt, images.picture), block)
                for position, picture in zip(block, found, strict=True):
                    if isinstance(picture, Unreadable):
                        unreadable[position] = picture
                        continue
                    pictures[position] = picture
                    content = picture.tobytes()
                    whole.update(content)
                    hashes[position] = np.frombuffer(hashlib.sha256(content).digest(), "<u8", 1)[0]
                if listener is not None:
                    listener("reading pictures", block.stop, count)
        check_readable(images, unreadable)
        return cls(pictures, whole.hexdigest(), hashes)

    @property
    def shape(self) -> tuple[int, ...]:
        """``(H, W, C)``."""
        return self.pictures.shape[1:]

    def rows(self, positions: Shaped[np.ndarray, " B"]) -> SomePictures:
        return SomePictures(self, positions.astype(np.int32))

    def read(self, positions: Shaped[np.ndarray, " B"]) -> UInt8[np.ndarray, "B H W C"]:
        return self.pictures[positions]


def _check_room(images: Images) -> None:
    """Raises `UserError` where the pictures, which the device has once more, do not fit into free memory."""
    try:
        text = Path("/proc/meminfo").read_text(encoding="ascii")
        free = 1024 * int(text.partition("MemAvailable:")[2].split()[0])
    except (OSError, ValueError, IndexError):
        return
    needed = 2 * len(images) * math.prod(images.shape)
    if needed > free:
        raise UserError(
            f"{images.about.name}: {len(images):,} pictures of {images.shape} need {needed / 2**30:.1f} GiB of memory, "
            f"{free / 2**30:.1f} GiB are free. Read them from disk with execution.feed=streaming, or make them smaller."
        )


@dataclasses.dataclass(frozen=True)
class _Stored:
    """Pictures in records on disk; the same `digest` and `hashes` as in memory."""

    records: Any
    digest: str
    hashes: UInt64[np.ndarray, " N"]

    @classmethod
    def of(cls, images: Images, listener: Listener | None) -> _Stored:
        from research.data.records import open_records

        told = None if listener is None else lambda done, total: listener("preparing records", done, total)
        records = open_records(images, listener=told)
        return cls(records, records.digest, records.hashes)

    def rows(self, positions: Shaped[np.ndarray, " B"]) -> SomePictures:
        return SomePictures(self.records, positions.astype(np.int32))

    def read(self, positions: Shaped[np.ndarray, " B"]) -> UInt8[np.ndarray, "B H W C"]:
        return self.records.read(positions)


@dataclasses.dataclass(frozen=True)
class SomePictures:
    """Pictures of one split, taken from those of the whole dataset when asked for.

    Attributes:
        pictures: the whole dataset in memory, or `research.data.records.Records`, which other processes can be sent.
        positions: those of the split, in order.
    """

    pictures: Any
    positions: Int32[np.ndarray, " N"]

    @property
    def shape(self) -> tuple[int, ...]:
        """``(N, H, W, C)``."""
        return (len(self.positions), *self.pictures.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """uint8."""
        return np.dtype(np.uint8)

    def __len__(self) -> int:
        return len(self.positions)

    def read(self, positions: Shaped[np.ndarray, " B"] | Sequence[int]) -> UInt8[np.ndarray, "B H W C"]:
        """Pictures of the split by their position in it."""
        return self.pictures.read(self.positions[np.asarray(positions)])


def _statistics(pictures: _InMemory | _Stored, rows: Shaped[np.ndarray, " N"]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each channel over the pictures at ``rows``, from exact counts of the bytes."""
    counts: Any = 0
    for first in range(0, len(rows), STATISTICS_BLOCK):
        block = pictures.read(rows[first : first + STATISTICS_BLOCK])
        channels = (block[..., channel].ravel() for channel in range(block.shape[-1]))
        counts = counts + np.stack([np.bincount(values, minlength=256) for values in channels])
    levels, shares = np.arange(256.0), counts / counts.sum(1, keepdims=True)
    mean = shares @ levels
    return mean, np.sqrt((shares * np.square(levels - mean[:, None])).sum(1))


def _twins(images: Images, split: Shaped[np.ndarray, " N"], leakage: Leakage) -> dict[str, str]:
    """The first two equal pictures of each two splits that share any, by name."""
    found: dict[str, str] = {}
    hashes = images.alike
    for first, second in itertools.combinations(SPLITS, 2):
        if images.names is None or hashes is None or not leakage.identical.get(f"{first}/{second}"):
            continue
        here, there = np.flatnonzero(split == first), np.flatnonzero(split == second)
        twin = there[np.isin(hashes[there], hashes[here])][0]
        original = here[hashes[here] == hashes[twin]][0]
        found[f"{first}/{second}"] = f"{images.names[twin]}, which is {images.names[original]}"
    return found


def _contradictions(images: Images, hashes: UInt64[np.ndarray, " N"]) -> list[str]:
    """Equal pictures with different targets, with the first two of them."""
    first = np.unique(hashes, return_index=True, return_inverse=True)
    original = first[1][first[2]]
    same = images.targets == images.targets[original]
    if images.targets.ndim > 1:
        same = (same | (np.isnan(images.targets) & np.isnan(images.targets[original]))).all(1)
    wrong = np.flatnonzero(~same)
    if not len(wrong):
        return []
    names = images.names if images.names is not None else np.asarray([f"picture {row}" for row in images.row])
    shown = f"{names[original[wrong[0]]]} and {names[wrong[0]]}"
    return [f"{len(wrong)} copies of pictures have other targets than the first, such as {shown}."]
