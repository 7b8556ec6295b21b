"""CIFAR-10 from its archive: a made-up archive of the same form, and what is said of others."""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path

import numpy as np
import pytest

from research.data.catalog import cifar10
from research.data.catalog.cifar10 import CIFAR10, FILES
from research.errors import UserError

ROWS = 20


def archive(path: Path, files: tuple[str, ...] = FILES, rows: int = ROWS) -> np.ndarray:
    """Write an archive with few rows; returns them."""
    made = np.random.default_rng(0).integers(0, 256, (len(files) * rows, 3073), np.uint8)
    made[:, 0] = np.arange(len(made)) % 10
    with tarfile.open(path, "w:gz") as whole:
        for number, file in enumerate(files):
            content = made[number * rows : (number + 1) * rows].tobytes()
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{file}")
            member.size = len(content)
            whole.addfile(member, io.BytesIO(content))
    return made


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RESEARCH_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("RESEARCH_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(cifar10, "ROWS", ROWS)
    return tmp_path / cifar10.ARCHIVE


def accept(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    monkeypatch.setattr(cifar10, "MD5", hashlib.md5(path.read_bytes()).hexdigest())


def test_pictures_classes_and_splits(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not CIFAR10().found()
    rows = archive(place)
    accept(monkeypatch, place)
    assert CIFAR10().found()
    images = CIFAR10().load()
    assert images.targets.tolist() == rows[:, 0].tolist() and images.shape == (32, 32, 3)
    assert images.split is not None and images.split.tolist() == ["train"] * 100 + ["test"] * 20
    picture = images.read(7)
    # The file has all red pixels, row by row, then all green ones.
    assert picture[0, 0].tolist() == [rows[7, 1], rows[7, 1 + 1024], rows[7, 1 + 2048]]
    assert picture[2, 5, 1] == rows[7, 1 + 1024 + 2 * 32 + 5]


def test_other_archives_are_refused(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive(place)
    with pytest.raises(UserError, match=r"not the archive of CIFAR-10: its MD5 checksum is .* states c32a1d4a"):
        CIFAR10().load()
    for write in (lambda: archive(place, FILES[:3]), lambda: archive(place, rows=3), lambda: place.write_bytes(b"no")):
        write()
        accept(monkeypatch, place)
        with pytest.raises(UserError, match=r"cannot be read .* Fetch https"):
            CIFAR10().load()
    with tarfile.open(place, "w:gz") as whole:
        folder = tarfile.TarInfo(f"cifar-10-batches-bin/{FILES[0]}")
        folder.type = tarfile.DIRTYPE
        whole.addfile(folder)
    accept(monkeypatch, place)
    with pytest.raises(UserError, match=r"cannot be read \(data_batch_1\.bin is no file in it\)"):
        CIFAR10().load()
