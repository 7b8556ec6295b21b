"""Pictures become splits: pixels scaled as asked for, the same from memory and disk, twins across splits named."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from pictures import Dots

from research.data import Augmentation, ImageData, Images, Pixels, SyntheticTable, TableData
from research.data.resident import put
from research.errors import UserError
from research.task import Task


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESEARCH_CACHE_DIR", str(tmp_path / "cache"))


def test_splits_hold_the_pictures_as_bytes_and_whole_patients() -> None:
    prepared = ImageData(source=Dots()).prepare()
    source = Dots()
    for examples in prepared.splits.values():
        assert examples.inputs.dtype == np.uint8
        for position in (0, len(examples) - 1):
            np.testing.assert_array_equal(
                examples.read(np.asarray([position]))[0], source.read(int(examples.example[position]))
            )
            assert examples.names[position] == f"dot{examples.example[position]}.png"
    patients = [set(examples.patient) for examples in prepared.splits.values()]
    assert not (patients[0] & patients[1] or patients[0] & patients[2] or patients[1] & patients[2])
    assert prepared.summary()["pictures"]["shape"] == [12, 12, 1]


def test_from_disk_as_from_memory() -> None:
    data = ImageData(source=Dots(channels=3), pixels=Pixels(standardize="train"))
    memory, disk = data.prepare(), data.prepare(stored=True)
    assert memory.fingerprint == disk.fingerprint
    assert memory.data == disk.data
    assert memory.leakage == disk.leakage
    for name, examples in memory.splits.items():
        stored = disk.splits[name]
        assert stored.inputs.shape == examples.inputs.shape
        positions = np.asarray([3, 0, len(examples) - 1])
        np.testing.assert_array_equal(stored.read(positions), examples.read(positions))


def test_the_fingerprint_depends_on_pixels_and_split() -> None:
    data = ImageData(source=Dots())
    found = {
        data.prepare().fingerprint,
        data.replace(source=Dots(twins=True)).prepare().fingerprint,
        data.replace(source=Dots(count=98)).prepare().fingerprint,
        data.replace(split=data.split.replace(seed=1)).prepare().fingerprint,
    }
    assert len(found) == 4
    # What is done with the pixels on the device is no property of the data.
    assert data.replace(pixels=Pixels(rescale=1.0)).prepare().fingerprint in found


def test_the_same_picture_in_two_splits_is_counted_and_named() -> None:
    prepared = ImageData(source=Dots(count=16, official=True, twins=True)).prepare()
    assert prepared.leakage.identical["train/test"] == 1
    told = "1 example has the same inputs in test as some example in train, such as dot15.png, which is dot0.png."
    assert told in prepared.warnings and prepared.leaks["test"] == (told,) and not prepared.leaks["validation"]
    assert not any("such as" in text for text in ImageData(source=Dots(count=16, official=True)).prepare().warnings)


class Copies(Dots):
    """Pictures without patients, each of which comes three times, the last time with another class."""

    def load(self) -> Images:
        """See `Dots`."""
        images = super().load()
        targets = np.where(np.arange(self.count) < 2 * self.count // 3, images.targets, 1 - images.targets)
        return dataclasses.replace(images, patient=None, targets=targets.astype(np.int32))

    def read(self, position: int) -> np.ndarray:
        """See `Dots`."""
        return super().read(position % (self.count // 3))


def test_copies_without_patients_stay_together_and_are_told() -> None:
    prepared = ImageData(source=Copies(count=120)).prepare()
    assert sum(prepared.leakage.identical.values()) == 0
    assert all(count == 2 * len(prepared.splits[name]) // 3 for name, count in prepared.leakage.repeated.items())
    test = len(prepared.splits["test"])
    told = "test has {} copies of pictures that it has already: each such counts more than once, and intervals"
    assert any(text.startswith(told.format(2 * test // 3)) for text in prepared.warnings)
    (wrong,) = (text for text in prepared.warnings if "other targets" in text)
    assert wrong == "40 copies of pictures have other targets than the first, such as dot0.png and dot80.png."
    assert prepared.summary()["repeated_examples"]["test"] == 2 * test // 3


def test_scarce_labels_are_told() -> None:
    class Labels(Dots):
        def load(self) -> Images:
            images = super().load()
            targets = np.zeros((self.count, 2), np.float32)
            targets[::2, 0] = targets[5, 1] = 1
            return dataclasses.replace(images, targets=targets, task=Task("multilabel", ("common", "rare")))

    warnings = ImageData(source=Labels(per_patient=1)).prepare().warnings
    assert "test has no patients with 'rare': AUROC and others are not defined there." in warnings
    assert not any("'common'" in text or "without" in text for text in warnings)


def test_pixels_are_scaled_and_standardised() -> None:
    def seen(pixels: Pixels, channels: int = 3) -> np.ndarray:
        prepared = ImageData(source=Dots(channels=channels), pixels=pixels).prepare()
        batch = put(prepared.splits["train"], prepared.task)
        return np.asarray(prepared.data.transform(batch).inputs)

    stored = ImageData(source=Dots(channels=3)).prepare().splits["train"].all_inputs() / 255.0
    np.testing.assert_allclose(seen(Pixels()), stored, rtol=1e-6)
    np.testing.assert_allclose(
        seen(Pixels(mean=(0.5, 0.2, 0), deviation=(0.5, 2, 1))), (stored - [0.5, 0.2, 0]) / [0.5, 2, 1], atol=1e-6
    )
    train = seen(Pixels(standardize="train"))
    np.testing.assert_allclose(train.mean((0, 1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(train.std((0, 1, 2)), 1, atol=1e-5)
    each = seen(Pixels(standardize="picture"))
    np.testing.assert_allclose(each.mean((1, 2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(each.std((1, 2, 3)), 1, atol=1e-4)


def test_only_training_pictures_are_augmented_each_by_its_own_draw() -> None:
    data = ImageData(source=Dots(), augmentation=Augmentation(brightness=0.5))
    prepared = data.prepare()
    batch = put(prepared.splits["train"], prepared.task)
    still, changed = data.transform(batch).inputs, data.transform(batch, jax.random.key(0)).inputs
    np.testing.assert_array_equal(still, batch.inputs.astype(jnp.float32) / 255)
    factors = np.asarray((changed / still.clip(1e-6))[:, 5, 5, 0])
    assert len(np.unique(factors.round(3))) > len(factors) // 2


def test_mixed_rows_carry_both_targets() -> None:
    data = ImageData(source=Dots(), augmentation=Augmentation(mixup=1.0))
    prepared = data.prepare()
    batch = put(prepared.splits["train"], prepared.task)
    mixed = data.transform(batch, jax.random.key(0))
    assert sorted(np.asarray(mixed.other_targets)) == sorted(np.asarray(batch.targets))
    assert (mixed.other_targets != batch.targets).any()
    assert (np.asarray(mixed.share) > 0).all() and (np.asarray(mixed.share) < 1).all()


def test_pictures_that_do_not_fit_into_memory_are_refused_before_they_are_read() -> None:
    with pytest.raises(UserError, match=r"dots: 10,000 pictures .* GiB are free\. .* execution\.feed=streaming"):
        ImageData(source=Dots(count=10**4, size=20000)).prepare()


def test_a_source_that_gives_no_bytes_of_its_shape_is_refused() -> None:
    class Wrong(Dots):
        def read(self, position: int) -> np.ndarray:
            return super().read(position) / np.float32(255)

    for stored in (False, True):
        with pytest.raises(
            UserError, match=r"picture dot0\.png is float32 .* uint8 of shape \(12, 12, 1\) is declared"
        ):
            ImageData(source=Wrong()).prepare(stored)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (ImageData(source=SyntheticTable(patients=50)), "ImageData takes pictures, but synthetic_table gives a table"),
        (TableData(source=Dots()), "TableData takes tables, but dots gives pictures. Use ImageData"),
        (ImageData(source=Dots(), pixels=Pixels(mean=(0.5,))), r"pixels\.deviation: needed"),
        (
            ImageData(source=Dots(channels=4)),
            r"dots: pictures have 1 channel \(grey\) or 3 .*, not 4",
        ),
        (
            ImageData(source=Dots(channels=3), pixels=Pixels(mean=(0.5, 0.5), deviation=(0.5, 0.5))),
            r"pixels\.mean: 2 numbers were given; the pictures have 3 channels",
        ),
        (
            ImageData(source=Dots(), pixels=Pixels(mean=(0.5,), deviation=(0.5,), standardize="train")),
            r"pixels\.standardize: mean and deviation are given",
        ),
        (ImageData(source=Dots(), augmentation=Augmentation(zoom=1.5)), "zoom"),
        (
            ImageData(source=Dots(), pixels=Pixels(rescale=1.0), augmentation=Augmentation(noise=0.1)),
            r"augmentation\.noise: it works on pixels from 0 to 1, but data\.pixels\.rescale is 1",
        ),
    ],
)
def test_mistakes_are_named(data: ImageData, message: str) -> None:
    with pytest.raises(UserError, match=message):
        data.prepare()
