"""The MedMNIST sets: the real files where they are there, and made-up ones that are damaged in many ways."""

from __future__ import annotations

import dataclasses
import hashlib
import resource
from collections import namedtuple
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from research.data.catalog import medmnist
from research.data.catalog.medmnist import MedMNIST
from research.data.catalog.medmnist_sets import SETS, Name
from research.errors import RunError, UserError
from research.spec import check

COUNTS = (9, 4, 5)
NONE = (None, None, None)
FIVE = ("grade 0", "grade 1", "grade 2", "grade 3", "grade 4")


def _arrays(classes: int, channels: int = 1, labels: int = 1, size: int = 28) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(0)
    shape = (size, size) if channels == 1 else (size, size, channels)
    found = {}
    for part, count in zip(("train", "val", "test"), COUNTS, strict=True):
        found[f"{part}_images"] = draw.integers(0, 256, (count, *shape)).astype(np.uint8)
        found[f"{part}_labels"] = (np.arange(count * labels).reshape(count, labels) % classes).astype(np.uint8)
    return found


@pytest.fixture
def put(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Puts a small file where a set is looked for, and shrinks the table's entry to its counts."""
    monkeypatch.setenv("RESEARCH_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("RESEARCH_CACHE_DIR", str(tmp_path / "cache"))

    def put(
        name: str, arrays: dict[str, np.ndarray] | bytes, file: str = "", official: bool = True, cases: Any = NONE
    ) -> Path:
        path = tmp_path / "medmnist" / (file or f"{name}.npz")
        path.parent.mkdir(exist_ok=True)
        if isinstance(arrays, bytes):
            path.write_bytes(arrays)
        else:
            np.savez_compressed(path, **arrays)  # pyright: ignore[reportArgumentType]
        md5 = hashlib.md5(path.read_bytes()).hexdigest() if official else "0" * 32
        entry = dataclasses.replace(SETS[name], counts=COUNTS, md5=(md5,) * 4, cases=cases)
        monkeypatch.setitem(medmnist.SETS, name, entry)
        return path

    return put


def test_the_table_has_the_twelve_sets() -> None:
    assert set(SETS) == set(get_args(Name)) and len(SETS) == 12
    checksums = [md5 for entry in SETS.values() for md5 in entry.md5]
    assert len(set(checksums)) == 48 and all(len(md5) == 32 and int(md5, 16) for md5 in checksums)
    for name in get_args(Name):
        entry = SETS[name]
        # The published total of each set stands in its summary, typed independently of the split sizes.
        assert entry.summary.startswith(f"{sum(entry.counts):,} ")
        about = MedMNIST(name=name).about()
        assert about.name == name and about.licence.startswith("CC BY") and "Scientific Data" in about.citation
        assert any("no patient identifiers" in note for note in about.notes)
        for cases, count in zip(entry.cases, entry.counts, strict=True):
            assert cases is None or len(cases) == len(entry.classes)
            assert cases is None or entry.kind == "multilabel" or sum(cases) == count


def test_real_pneumonia_films(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = MedMNIST(name="pneumoniamnist").load()
    assert len(images) == 5856 and images.shape == (28, 28, 1) and images.patient is None
    assert images.split is not None and images.names is not None
    assert {str(name): int((images.split == name).sum()) for name in np.unique(images.split)} == {
        "train": 4708,
        "validation": 524,
        "test": 624,
    }
    # Pneumonia in the test split of Kermany et al.: 390 of 624.
    assert np.bincount(images.targets[images.split == "test"]).tolist() == [234, 390]
    assert images.task.names == ("normal", "pneumonia")
    # The file of the shared data has its training rows in another order than the official one.
    assert any("checksum" in note and "differs" in note for note in images.about.notes)
    raw = np.load(data_dir / "medmnist" / "pneumoniamnist.npz")
    for position, expected in (
        (0, raw["train_images"][0]),
        (4708, raw["val_images"][0]),
        (5855, raw["test_images"][-1]),
    ):
        np.testing.assert_array_equal(images.read(position)[:, :, 0], expected)
    assert images.names[[0, 4708, 5855]].tolist() == ["train[0]", "val[0]", "test[623]"]


def test_real_breast_ultrasound_has_the_disease_as_positive_class(data_dir: Path) -> None:
    images = MedMNIST(name="breastmnist").load()
    # Al-Dhabyani et al.: 210 malignant, 437 benign and 133 normal pictures.
    assert np.bincount(images.targets).tolist() == [570, 210]
    assert images.task.names == ("normal or benign", "malignant")
    assert not any("checksum" in note for note in images.about.notes)
    assert "positive class: malignant" in images.about.notes and any("swapped" in note for note in images.about.notes)


def test_ordinal_colour_and_multilabel_sets(put: Any) -> None:
    put("retinamnist", _arrays(5, channels=3))
    retina = MedMNIST(name="retinamnist").load()
    assert retina.shape == (28, 28, 3) and retina.task.ordinal and retina.task.kind == "multiclass"
    assert retina.task.names == FIVE and retina.targets.tolist()[:6] == [0, 1, 2, 3, 4, 0]
    arrays = _arrays(2, labels=14)
    put("chestmnist", arrays)
    chest = MedMNIST(name="chestmnist").load()
    assert chest.task.kind == "multilabel" and len(chest.task.names) == 14 and chest.targets.dtype == np.float32
    np.testing.assert_array_equal(chest.targets[9:13], arrays["val_labels"])


def test_larger_sizes_have_files_of_their_own_and_are_read_picture_by_picture(put: Any, tmp_path: Path) -> None:
    arrays = _arrays(8, channels=3, size=64)
    path = put("bloodmnist", arrays, file="bloodmnist_64.npz")
    images = MedMNIST(name="bloodmnist", size=64).load()
    everything = np.concatenate([arrays[f"{part}_images"] for part in ("train", "val", "test")])
    for position in (0, 8, 9, 17):
        np.testing.assert_array_equal(images.picture(position), everything[position])
    assert all(isinstance(part, np.memmap) for part in images.read.pictures)
    assert len(list((tmp_path / "cache/datasets").iterdir())) == 3
    # Another content is unpacked anew, whatever the file is called.
    arrays["test_images"] = 255 - arrays["test_images"]
    put("bloodmnist", arrays, file=path.name)
    again = MedMNIST(name="bloodmnist", size=64).load()
    np.testing.assert_array_equal(again.picture(17), 255 - everything[17])
    assert images.shape == (64, 64, 3) and images.about.name == "bloodmnist_64"
    assert images.split is not None and images.split.tolist() == ["train"] * 9 + ["validation"] * 4 + ["test"] * 5


def test_too_little_room_for_a_large_file_is_told_and_leaves_nothing(
    put: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put("bloodmnist", _arrays(8, channels=3, size=64), file="bloodmnist_64.npz")
    usage = namedtuple("usage", "total used free")
    with monkeypatch.context() as patch:
        patch.setattr("research.data.cache.shutil.disk_usage", lambda folder: usage(10, 0, 10))
        with pytest.raises(UserError, match=r"too little room: train_images of bloodmnist_64\.npz, .*Only 10") as told:
            MedMNIST(name="bloodmnist", size=64).load()
    assert "truncated" not in str(told.value)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**15, before[1]))
    try:
        with pytest.raises(RunError, match=r"too little room: train_images .* It filled up"):
            MedMNIST(name="bloodmnist", size=64).load()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list((tmp_path / "cache/datasets").iterdir()) == []
    assert len(MedMNIST(name="bloodmnist", size=64).load()) == sum(COUNTS)


def test_the_signature_is_that_of_the_content(put: Any) -> None:
    arrays = _arrays(2)
    put("pneumoniamnist", arrays)
    first = MedMNIST().load()
    arrays["test_images"] = arrays["test_images"].copy()
    arrays["test_images"][0, 0, 0] ^= 1
    put("pneumoniamnist", arrays, official=False)
    second = MedMNIST().load()
    assert first.signature != second.signature
    assert len(second.about.notes) == len(first.about.notes) + 1


def test_numbers_of_pictures_of_each_class_are_compared(put: Any) -> None:
    right = ((5, 4), None, (3, 2))
    put("pneumoniamnist", _arrays(2), official=False, cases=right)
    told = "numbers of pictures of each class in train and test (not known for the rest)"
    assert any(told in note for note in MedMNIST().load().about.notes)
    # The official file is known by its checksum.
    put("pneumoniamnist", _arrays(2), cases=((9, 0), None, None))
    assert len(MedMNIST().load()) == sum(COUNTS)
    put("pneumoniamnist", _changed(train_labels=lambda a: 1 - a), official=False, cases=right)
    with pytest.raises(UserError, match=r"train_labels has 4 pictures of 'normal'; the official file has 5"):
        MedMNIST().load()


def _changed(**changes: Any) -> dict[str, np.ndarray]:
    arrays = _arrays(2)
    for key, change in changes.items():
        arrays[key] = change(arrays[key])
    return arrays


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"images": np.zeros(3)}, r"lacks train_images, train_labels, .*Its keys: images; needed: train_images"),
        (_changed(val_images=lambda a: a[:3]), r"val_images is uint8 of shape \(3, 28, 28\).*of shape \(4, 28, 28\)"),
        (_changed(test_images=lambda a: a / 255), r"test_images is float64 of shape .* has uint8"),
        (_changed(train_labels=lambda a: a[:, 0]), r"train_labels is uint8 of shape \(9,\).* of shape \(9, 1\)"),
        (_changed(test_labels=lambda a: a + 1), r"test_labels holds \[1, 2\]; only 0 to 1 are labels"),
        (_changed(train_labels=lambda a: a * 0), r"train_labels has no picture of class \[1\]"),
        (_arrays(2, size=64), r"train_images is uint8 of shape \(9, 64, 64\).*of shape \(9, 28, 28\)"),
        (_arrays(2, channels=3), r"train_images is uint8 of shape \(9, 28, 28, 3\)"),
        (b"", r"cannot be read .*truncated, damaged or no npz file"),
        (b"<html>not found</html>", r"cannot be read .*truncated, damaged or no npz file"),
    ],
)
def test_files_that_are_not_the_set(put: Any, arrays: Any, message: str) -> None:
    put("pneumoniamnist", arrays, official=False)
    with pytest.raises(UserError, match=rf"pneumoniamnist\.npz.*{message}"):
        MedMNIST().load()


def test_truncated_and_changed_files(put: Any) -> None:
    path = put("pneumoniamnist", _arrays(2))
    whole = path.read_bytes()
    put("pneumoniamnist", whole[: len(whole) // 2], official=False)
    with pytest.raises(UserError, match=r"pneumoniamnist\.npz cannot be read .*truncated"):
        MedMNIST().load()
    broken = bytearray(whole)
    broken[len(whole) // 3] ^= 0xFF
    put("pneumoniamnist", bytes(broken), official=False)
    with pytest.raises(UserError, match=r"pneumoniamnist\.npz cannot be read .*damaged"):
        MedMNIST().load()


def test_an_array_alone_is_no_npz(put: Any, tmp_path: Path) -> None:
    np.save(tmp_path / "one.npy", np.zeros(3))
    put("pneumoniamnist", (tmp_path / "one.npy").read_bytes(), official=False)
    with pytest.raises(UserError, match=r"no npz file"):
        MedMNIST().load()


def test_absent_files_are_downloaded_from_the_publisher(put: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    path = put("octmnist", _arrays(4, size=128), file="elsewhere.npz")
    monkeypatch.setitem(medmnist.SETS, "octmnist", dataclasses.replace(SETS["octmnist"], md5=("1", "2", "3", "4")))
    asked = []

    def download(url: str, md5: str, name: str) -> Path:
        asked.append((url, md5, name))
        return path

    monkeypatch.setattr(medmnist, "download", download)
    assert len(MedMNIST(name="octmnist", size=128).load()) == sum(COUNTS)
    address = "https://zenodo.org/records/10519652/files/octmnist_128.npz?download=1"
    assert asked == [(address, "3", "medmnist/octmnist_128.npz")]


def test_unknown_names_and_sizes_are_told() -> None:
    with pytest.raises(UserError, match=r"Did you mean 'pathmnist'"):
        check(MedMNIST(name="pathmist"))  # pyright: ignore[reportArgumentType]
    with pytest.raises(UserError, match=r"size: one of 28, 64, 128, 224 is needed, 30"):
        check(MedMNIST(size=30))  # pyright: ignore[reportArgumentType]
