"""Pictures prepared on disk: equal to the source, readable by TFDS itself, and never half-prepared."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import pickle
import resource
import time
from collections import namedtuple
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from research.data import cache, tfds
from research.data.about import About
from research.data.images import Images
from research.data.records import Records, open_records
from research.errors import RunError, UserError
from research.task import Task

SHAPE = (6, 5, 3)


def _pictures(count: int, shape: tuple[int, int, int] = SHAPE, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, *shape)).astype(np.uint8)


def _images(pictures: np.ndarray, read: Callable[[int], np.ndarray] | None = None, signature: str = "first") -> Images:
    return Images(
        targets=np.zeros(len(pictures), np.int32),
        task=Task("binary", ("no", "yes")),
        patient=None,
        split=None,
        row=np.arange(len(pictures), dtype=np.int32),
        about=About("made up/of noise", "random pictures"),
        shape=pictures.shape[1:],
        read=read or (lambda position: pictures[position]),
        signature=signature,
    )


@pytest.fixture(scope="module")
def noise() -> np.ndarray:
    return _pictures(600)


@pytest.fixture(scope="module")
def records(noise: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Records:
    return open_records(_images(noise), tmp_path_factory.mktemp("records"))


def test_records_are_the_rows_in_any_order(records: Records, noise: np.ndarray) -> None:
    assert len(records) == 600 and records.shape == SHAPE
    wanted = np.asarray([599, 0, 256, 255, 0, 17], dtype=np.int32)
    np.testing.assert_array_equal(records.read(wanted), noise[wanted])
    np.testing.assert_array_equal(records.read(range(600)), noise)
    assert records.read([]).shape == (0, *SHAPE)
    for outside in ([600], [3, -1]):
        with pytest.raises(IndexError, match="0 to 599"):
            records.read(outside)


def test_digest_and_hashes_are_of_the_bytes(records: Records, noise: np.ndarray) -> None:
    assert records.digest == hashlib.sha256(noise.tobytes()).hexdigest()
    first = int.from_bytes(hashlib.sha256(noise[3].tobytes()).digest()[:8], "little")
    assert int(records.hashes[3]) == first and records.hashes.dtype == np.uint64


def test_it_is_a_dataset_that_tfds_opens(records: Records, noise: np.ndarray) -> None:
    import tensorflow_datasets

    builder: Any = tensorflow_datasets.builder_from_directory(records.folder)
    source = builder.as_data_source(split="train")
    assert len(source) == 600
    for position in (0, 41, 599):
        np.testing.assert_array_equal(source[position]["image"], noise[position])


def test_several_files_keep_the_order(noise: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tfds, "SHARD_BYTES", 90 * int(np.prod(SHAPE)))
    records = open_records(_images(noise), tmp_path)
    assert len(list(records.folder.glob("*array_record*"))) == 7
    np.testing.assert_array_equal(records.read(range(599, -1, -1)), noise[::-1])


def test_threads_and_pickled_copies_read_the_same(records: Records, noise: np.ndarray) -> None:
    copy = pickle.loads(pickle.dumps(records))
    assert len(pickle.dumps(records)) < 600 * 8 + 1000
    draw = np.random.default_rng(1)
    wanted = [draw.integers(0, 600, 32) for _ in range(40)]
    with ThreadPoolExecutor(8) as pool:
        for positions, found in zip(wanted, pool.map(copy.read, wanted), strict=True):
            np.testing.assert_array_equal(found, noise[positions])


def test_later_calls_open_what_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESEARCH_CACHE_DIR", str(tmp_path))
    pictures, told = _pictures(300), []
    first = open_records(_images(pictures), listener=lambda done, total: told.append((done, total)))
    assert told == [(256, 300), (300, 300)]
    assert first.folder.parent == tmp_path / "datasets" and first.folder.name.startswith("made_up_of_noise-")

    def forbidden(position: int) -> np.ndarray:
        raise AssertionError("pictures were read again")

    again = open_records(_images(pictures, forbidden))
    assert again.folder == first.folder and again.digest == first.digest
    np.testing.assert_array_equal(again.hashes, first.hashes)
    other = open_records(_images(_pictures(300, seed=1), signature="second"))
    assert other.folder != first.folder and other.digest != first.digest


@pytest.mark.parametrize("error", [UserError("film 280 is torn"), KeyboardInterrupt(), OSError("gone")])
def test_an_interrupted_preparation_leaves_nothing(tmp_path: Path, error: BaseException) -> None:
    pictures = _pictures(300)

    def failing(position: int) -> np.ndarray:
        if position == 280:
            raise error
        return pictures[position]

    with pytest.raises(type(error)) as raised:
        open_records(_images(pictures, failing), tmp_path)
    assert raised.value is error and list(tmp_path.iterdir()) == []
    np.testing.assert_array_equal(open_records(_images(pictures), tmp_path).read(range(300)), pictures)


@pytest.fixture
def full_disk() -> Iterator[Callable[[int], None]]:
    """Makes every file that grows beyond so many bytes fail, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_disk_that_fills_up_is_told_and_leaves_nothing(tmp_path: Path, full_disk: Any) -> None:
    images = _images(_pictures(600, (32, 32, 3)))
    full_disk(2**19)
    with pytest.raises(RunError, match=r"too little room: 600 pictures of made up/of noise.* take up to .* filled up"):
        open_records(images, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_too_little_room_is_seen_in_advance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda folder: usage(10, 0, 10))
    with pytest.raises(UserError, match=r"Only 10 bytes are free\. Free some room, or set RESEARCH_CACHE_DIR"):
        open_records(_images(_pictures(3)), tmp_path / "new")
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(UserError, match="cannot be made"):
        open_records(_images(_pictures(3)), blocked / "below")


def test_damaged_records_are_prepared_anew(tmp_path: Path) -> None:
    pictures = _pictures(20)
    folder = open_records(_images(pictures), tmp_path).folder
    shard = next(folder.glob("*array_record*"))
    for damage in (
        lambda: shard.write_bytes(shard.read_bytes()[:-1]),
        shard.unlink,
        (folder / "hashes.npy").unlink,
        lambda: np.save(folder / "hashes.npy", np.zeros(20, np.uint64)),
        lambda: (folder / "pictures.json").write_text("{"),
    ):
        damage()
        np.testing.assert_array_equal(open_records(_images(pictures), tmp_path).read(range(20)), pictures)
    assert list(tmp_path.iterdir()) == [folder]


def test_changed_bytes_are_noticed_when_read(tmp_path: Path) -> None:
    records = open_records(_images(_pictures(400, (32, 32, 1))), tmp_path)
    shard = next(records.folder.glob("*array_record*"))
    content = bytearray(shard.read_bytes())
    content[len(content) // 3] ^= 0xFF
    shard.write_bytes(content)
    with pytest.raises(RunError, match=r"cannot be read .*Remove the folder"):
        records.read(range(400))


def test_two_at_once_end_with_one_dataset(tmp_path: Path) -> None:
    pictures, faster = _pictures(40), []

    def slow(position: int) -> np.ndarray:
        if position == 39:
            faster.append(open_records(_images(pictures), tmp_path))
        return pictures[position]

    records = open_records(_images(pictures, slow), tmp_path)
    assert len(faster) == 1 and list(tmp_path.iterdir()) == [records.folder]
    for each in (records, faster[0]):
        np.testing.assert_array_equal(each.read(range(40)), pictures)


def test_what_killed_processes_left_is_removed_after_a_day(tmp_path: Path) -> None:
    for name, age in (("x.part-1", 2 * cache.ABANDONED), ("y.part-2", 60)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "shard").write_text("half")
        for path in (tmp_path / name / "shard", tmp_path / name):
            os.utime(path, (time.time() - age, time.time() - age))
    folder = open_records(_images(_pictures(3)), tmp_path).folder
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([folder.name, "y.part-2"])


def test_a_picture_of_another_size_is_named(tmp_path: Path) -> None:
    pictures = _pictures(4)
    other = np.zeros((6, 4, 3), np.uint8)
    images = _images(pictures, lambda position: other if position == 2 else pictures[position])
    with pytest.raises(UserError, match=r"picture number 2 is uint8 of shape \(6, 4, 3\); uint8 of shape \(6, 5, 3\)"):
        open_records(images, tmp_path)
    named = dataclasses.replace(images, names=np.asarray(["a.png", "b.png", "c.png", "d.png"], dtype=object))
    with pytest.raises(UserError, match=r"picture c\.png"):
        open_records(named, tmp_path)
