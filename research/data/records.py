"""`Records`: pictures prepared once, to be read at random from disk ever after."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import math
import re
import shutil
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped, UInt8, UInt64

from research.data.cache import REMEDY, cache_dir, is_full, make_room, no_room, unfinished
from research.data.images import Images
from research.data.unreadable import Unreadable, attempt, check_readable
from research.errors import RunError

Listener = Callable[[int, int], None]
"""Told how many pictures are done, and how many there are."""

THREADS = 4
BLOCK, BLOCK_BYTES = 256, 2**24
"""Pictures are read ahead and written in blocks of so many pictures, or bytes where that is less."""
DESCRIPTION, HASHES = "pictures.json", "hashes.npy"


@dataclasses.dataclass(frozen=True, eq=False)
class Records:
    """Pictures on disk, of which any can be read at random; small, and may be sent to other processes.

    Attributes:
        folder: where they are; a TFDS dataset in ArrayRecord with one split, ``train``, of one feature, ``image``.
        shape: height, width and channels.
        digest: SHA-256 over the bytes of all pictures in the order of the rows, hexadecimal.
        hashes: first 8 bytes of the SHA-256 of each picture; equal where the pictures are.
    """

    folder: Path
    shape: tuple[int, int, int]
    digest: str
    hashes: UInt64[np.ndarray, " N"]

    def __len__(self) -> int:
        return len(self.hashes)

    def read(self, positions: Sequence[int] | Shaped[np.ndarray, " B"]) -> UInt8[np.ndarray, "B H W C"]:
        """Pictures by their position, 0 to N - 1; may be called by several threads.

        Raises:
            IndexError: for a position that does not exist.
            RunError: if the records are damaged.
        """
        wanted = [int(position) for position in positions]
        if wanted and not 0 <= min(wanted) <= max(wanted) < len(self):
            raise IndexError(f"positions from 0 to {len(self) - 1} exist, {min(wanted)} to {max(wanted)} were given")
        pictures = np.empty((len(wanted), *self.shape), np.uint8)
        try:
            records = _source(str(self.folder)).__getitems__(wanted)
        except (OSError, RuntimeError) as error:
            raise RunError(
                f"{self.folder}: prepared pictures cannot be read ({error}). Remove the folder, and run again."
            ) from error
        for picture, record in zip(pictures, records, strict=True):
            picture[...] = _picture(record, self.shape)
        return pictures


def open_records(images: Images, folder: Path | None = None, listener: Listener | None = None) -> Records:
    """All pictures as records on disk; the first call writes them, which takes constant memory, later calls open them.

    Nothing half-written is ever used: the records are complete before their folder gets its name. Several processes
    may ask for the same pictures at once.

    Args:
        images: the pictures; record number i is row i.
        folder: below which the records are kept, in a folder named by ``images.signature``; by default ``datasets``
            in `cache_dir`.
        listener: told of progress.

    Raises:
        UserError: if the disk has too little room, or pictures cannot be read, which are then told together.
        RunError: if the disk fills up while writing.
    """
    place = (cache_dir() / "datasets" if folder is None else Path(folder)) / _name(images)
    records = _intact(place)
    if records is None:
        if place.exists():
            _discard(place)
        make_room(place.parent, *_needs(images))
        _prepare(images, place, listener)
        records = _intact(place)
    if records is None:
        raise RunError(f"{place}: prepared pictures vanished or changed while they were opened. Run again.")
    return records


def _name(images: Images) -> str:
    """Name of the folder: readable, and another one for other pictures."""
    identity = json.dumps([images.signature, list(images.shape), len(images)])
    readable = re.sub(r"[^A-Za-z0-9_.-]+", "_", images.about.name).strip("._")[:40] or "pictures"
    return f"{readable}-{hashlib.sha256(identity.encode()).hexdigest()[:16]}"


def _needs(images: Images) -> tuple[int, str]:
    """Bytes that the records take at most, and what they are; small ones have some bytes of their own."""
    needed = len(images) * (math.prod(images.shape) + 64) + 2**16
    return needed, f"{len(images)} pictures of {images.about.name}, prepared for streaming,"


def _intact(place: Path) -> Records | None:
    """The records in a folder; None where there are none, or a file is missing or damaged.

    The pictures themselves carry checksums, which ArrayRecord looks at when it reads them.
    """
    try:
        said = json.loads((place / DESCRIPTION).read_text())
        if any((place / name).stat().st_size != size for name, size in said["files"].items()):
            return None
        if hashlib.sha256((place / HASHES).read_bytes()).hexdigest() != said["hashes"]:
            return None
        height, width, channels = said["shape"]
        return Records(place, (height, width, channels), said["digest"], np.load(place / HASHES))
    except (OSError, ValueError, KeyError):
        return None


def _discard(place: Path) -> None:
    """Remove damaged records, under another name first, so that no other process opens them meanwhile."""
    aside = unfinished(place)
    try:
        place.rename(aside)
    except FileNotFoundError:
        return
    shutil.rmtree(aside, ignore_errors=True)


def _prepare(images: Images, place: Path, listener: Listener | None) -> None:
    """Write the records beside their place, then give them their name, unless another process was faster."""
    part = unfinished(place)
    try:
        part.mkdir()
        _write(images, part, listener)
        try:
            part.rename(place)
        except OSError:
            if _intact(place) is None:
                raise
    except (OSError, RuntimeError) as error:
        if is_full(error):
            raise RunError(f"{no_room(place.parent, *_needs(images))} It filled up. {REMEDY}") from error
        raise
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _write(images: Images, part: Path, listener: Listener | None) -> None:
    """Records, hashes and description of all pictures, in one pass."""
    from research.data.tfds import PictureWriter

    whole, hashes = hashlib.sha256(), np.empty(len(images), np.uint64)
    done = 0
    unreadable: dict[int, Unreadable] = {}
    writer = PictureWriter(part, images.shape, f"{images.about.name}: {images.about.summary}")
    for block in _blocks(images):
        for position, picture in enumerate(block, done):
            if isinstance(picture, Unreadable):
                unreadable[position] = picture
                continue
            content = picture.tobytes()
            whole.update(content)
            hashes[position] = np.frombuffer(hashlib.sha256(content).digest(), "<u8", 1)[0]
        done += len(block)
        writer.write([picture for picture in block if not isinstance(picture, Unreadable)])
        if listener is not None:
            listener(done, len(images))
    check_readable(images, unreadable)
    writer.close()
    np.save(part / HASHES, hashes)
    files = {path.name: path.stat().st_size for path in sorted(part.iterdir())}
    said = {
        "signature": images.signature,
        "shape": list(images.shape),
        "digest": whole.hexdigest(),
        "hashes": hashlib.sha256((part / HASHES).read_bytes()).hexdigest(),
        "files": files,
    }
    (part / DESCRIPTION).write_text(json.dumps(said, indent=1))


def _blocks(images: Images) -> Iterator[list[UInt8[np.ndarray, "H W C"] | Unreadable]]:
    """All pictures in order, read ahead by a few threads."""
    size = max(1, min(BLOCK, BLOCK_BYTES // math.prod(images.shape)))
    piece = -(-size // THREADS)
    ahead: deque[list[Future[Any]]] = deque()
    pool = ThreadPoolExecutor(THREADS)
    try:
        for first in range(0, len(images), size):
            stop = min(first + size, len(images))
            pieces = [range(start, min(start + piece, stop)) for start in range(first, stop, piece)]
            ahead.append([pool.submit(_read, images, positions) for positions in pieces])
            if len(ahead) > 1:
                yield [picture for future in ahead.popleft() for picture in future.result()]
        while ahead:
            yield [picture for future in ahead.popleft() for picture in future.result()]
    finally:
        pool.shutdown(cancel_futures=True)


def _read(images: Images, positions: range) -> list[UInt8[np.ndarray, "H W C"] | Unreadable]:
    return [attempt(images.picture, position) for position in positions]


@functools.lru_cache(maxsize=16)
def _source(folder: str) -> Any:
    """Serialized records of a folder, opened once in each process."""
    from research.data.tfds import raw_records

    source, first = raw_records(folder)
    if len(source):
        assert np.array_equal(_picture(source[0], first.shape), first), "TFDS serializes pictures in another way now"
    return source


def _picture(record: bytes, shape: tuple[int, ...]) -> UInt8[np.ndarray, "H W C"]:
    """The picture in a serialized example. It is all there is, so its bytes are the last.

    That is twice as fast as parsing the example; it is compared with TFDS's own parsing when a folder is opened.
    """
    size = math.prod(shape)
    return np.frombuffer(record, np.uint8, size, len(record) - size).reshape(shape)
