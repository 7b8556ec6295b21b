"""`CIFAR10`: 60,000 small pictures of ten everyday classes, from the published archive."""

from __future__ import annotations

import dataclasses
import os
import tarfile
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from research.data.about import About
from research.data.cache import cache_dir
from research.data.download import checksum, download
from research.data.images import Images
from research.data.source import DATA_DIR, Source
from research.datasets import SUMMARIES
from research.errors import UserError
from research.task import Task

ARCHIVE = "cifar-10-binary.tar.gz"
ADDRESS = f"https://www.cs.toronto.edu/~kriz/{ARCHIVE}"
MD5 = "c32a1d4ab5d03f1284b67883e8d87530"
"""As stated on the publisher's page."""

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
FILES = (*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin")
ROWS, SIDE, CHANNELS = 10000, 32, 3
"""Of each file; a row is a byte with the class, then the red, the green and the blue pixels."""


class CIFAR10(Source):
    """The CIFAR-10 pictures: 50,000 of train, 10,000 of test, 32 by 32 pixels, in colour.

    Read from the binary version of the archive, ``cifar-10-binary.tar.gz``, below ``$RESEARCH_DATA_DIR`` or, where it
    is not there, downloaded with its checksum. There is no official validation split.

    Krizhevsky, "Learning multiple layers of features from tiny images", University of Toronto, 2009.
    """

    def about(self) -> About:
        """Licence, citation and notes."""
        return About(
            name="cifar10",
            summary=SUMMARIES["cifar10"],
            licence="not stated by the publisher; in common use for research",
            citation=(
                "A. Krizhevsky: Learning multiple layers of features from tiny images. Technical report, University "
                "of Toronto (2009)"
            ),
            homepage="https://www.cs.toronto.edu/~kriz/cifar.html",
            notes=("official splits: train 50000, test 10000",),
        )

    def found(self) -> bool:
        """Whether the archive is on this machine."""
        return self._local() is not None or (cache_dir() / "downloads" / ARCHIVE).is_file()

    def _local(self) -> Path | None:
        folder = os.environ.get(DATA_DIR)
        path = Path(folder) / ARCHIVE if folder else None
        return path if path is not None and path.is_file() else None

    def load(self) -> Images:
        """All pictures, in memory.

        Raises:
            UserError: for an archive that is damaged or another one, or that can neither be found nor downloaded.
        """
        path = self._local()
        if path is None:
            path = download(ADDRESS, MD5, ARCHIVE)
        elif (other := checksum(path, "md5")) != MD5:
            raise UserError(
                f"{path}: this is not the archive of CIFAR-10: its MD5 checksum is {other}, the publisher states "
                f"{MD5}. Fetch {ADDRESS} again."
            )
        rows = _rows(path)
        names = np.empty(len(rows), dtype=object)
        names[:] = [f"{file}[{number}]" for file in FILES for number in range(ROWS)]
        return Images(
            targets=rows[:, 0].astype(np.int32),
            task=Task("multiclass", CLASSES),
            patient=None,
            split=np.repeat(np.asarray(["train", "test"], dtype="<U10"), [ROWS * (len(FILES) - 1), ROWS]),
            row=np.arange(len(rows), dtype=np.int32),
            about=self.about(),
            shape=(SIDE, SIDE, CHANNELS),
            read=_Reader(rows),
            signature=f"{ARCHIVE} {MD5}",
            names=names,
        )


@dataclasses.dataclass(frozen=True, eq=False)
class _Reader:
    rows: UInt8[np.ndarray, "N K"]

    def __call__(self, position: int) -> UInt8[np.ndarray, "H W C"]:
        planes = self.rows[position, 1:].reshape(CHANNELS, SIDE, SIDE)
        return np.ascontiguousarray(planes.transpose(1, 2, 0))


def _rows(path: Path) -> UInt8[np.ndarray, "N K"]:
    """The rows of all files, one after the other."""
    length = 1 + SIDE * SIDE * CHANNELS
    parts = []
    try:
        with tarfile.open(path, "r:gz") as archive:
            for file in FILES:
                member = archive.extractfile(f"cifar-10-batches-bin/{file}")
                if member is None:
                    raise ValueError(f"{file} is no file in it")
                parts.append(np.frombuffer(member.read(), np.uint8).reshape(ROWS, length))
    except (tarfile.TarError, KeyError, ValueError, EOFError, OSError) as error:
        raise UserError(f"{path}: this archive of CIFAR-10 cannot be read ({error}). Fetch {ADDRESS} again.") from None
    return np.concatenate(parts)
