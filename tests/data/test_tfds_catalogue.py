"""Datasets of the TFDS catalogue: prepared ones are read without TensorFlow, the others are told in words."""

from __future__ import annotations

import importlib.util
import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from research.data import About, Images, tfds
from research.data.catalog.tfds_catalogue import TFDS
from research.errors import UserError
from research.spec import check
from research.task import Task

SIZES = {"train": 12, "valid": 4, "test": 5, "extra": 3}


def _pixels(split: str, number: int) -> np.ndarray:
    draw = np.random.default_rng((ord(split[0]), number))
    return draw.integers(0, 256, (4, 5, 1)).astype(np.uint8)


def _png(split: str, number: int) -> io.BytesIO:
    content = io.BytesIO()
    grey = np.full((6, 6 + number % 2), 10 * number, np.uint8)
    Image.fromarray(grey).save(content, "PNG")
    content.seek(0)
    return content


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of prepared datasets, written by TFDS itself: one of two classes, in ArrayRecord."""
    import tensorflow_datasets as tfds

    tfds.disable_progress_bar()

    class TwoKindsOfNoise(tfds.core.GeneratorBasedBuilder):
        """Noise."""

        VERSION = tfds.core.Version("1.2.0")

        def _info(self) -> Any:
            features = {
                "pixels": tfds.features.Tensor(shape=(4, 5, 1), dtype=np.uint8),
                "image": tfds.features.Image(shape=(None, None, 1)),
                "label": tfds.features.ClassLabel(names=["quiet", "loud"]),
                "number": np.int32,
                "odd": tfds.features.ClassLabel(num_classes=2),
            }
            return tfds.core.DatasetInfo(
                builder=self,
                description="Noise of two\n kinds.",
                features=tfds.features.FeaturesDict(features),
                citation="Nobody, 2020",
                homepage="https://example.org/noise",
            )

        def _split_generators(self, dl_manager: Any) -> Any:
            return {split: self._generate_examples(split) for split in SIZES}

        def _generate_examples(self, split: str) -> Any:
            for number in range(SIZES[split]):
                yield (
                    number,
                    {
                        "pixels": _pixels(split, number),
                        "image": _png(split, number),
                        "label": number % 2,
                        "number": number,
                        "odd": -1 if number == 1 else 0,
                    },
                )

    folder = tmp_path_factory.mktemp("tfds")
    TwoKindsOfNoise(data_dir=str(folder), file_format="array_record").download_and_prepare()
    return folder


def _numbers(catalogue: Path, split: str) -> list[int]:
    """The order in which TFDS keeps the examples of a split, read by TFDS itself."""
    import tensorflow_datasets as tfds

    builder: Any = tfds.builder_from_directory(catalogue / "two_kinds_of_noise" / "1.2.0")
    return [int(example["number"]) for example in builder.as_data_source(split=split)]


@pytest.mark.parametrize("way", ["name", "version", "folder", "environment"])
def test_a_prepared_dataset_is_read_by_name_or_folder(
    catalogue: Path, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = str(catalogue)
    source = {
        "name": TFDS(dataset="two_kinds_of_noise", image="pixels", positive="loud", data_dir=folder),
        "version": TFDS(dataset="two_kinds_of_noise:1.2.0", image="pixels", positive="loud", data_dir=folder),
        "folder": TFDS(dataset=f"{folder}/two_kinds_of_noise/1.2.0", image="pixels", positive="loud"),
        "environment": TFDS(dataset="two_kinds_of_noise", image="pixels", positive="loud"),
    }[way]
    monkeypatch.setenv("TFDS_DATA_DIR", folder if way == "environment" else "/nonexistent")
    images = source.load()
    assert images.split is not None and images.names is not None
    assert images.split.tolist() == ["train"] * 12 + ["validation"] * 4 + ["test"] * 5
    assert images.shape == (4, 5, 1) and images.task.kind == "binary" and images.task.names == ("quiet", "loud")
    position = 0
    for split in ("train", "valid", "test"):
        for number in _numbers(catalogue, split):
            np.testing.assert_array_equal(images.read(position), _pixels(split, number))
            assert images.targets[position] == number % 2
            position += 1
    assert images.names[[0, 12, 20]].tolist() == ["train[0]", "validation[0]", "test[4]"]
    about = images.about
    assert (about.name, about.summary) == ("two_kinds_of_noise/1.2.0", "Noise of two kinds.")
    assert (about.citation, about.homepage) == ("Nobody, 2020", "https://example.org/noise")
    assert "splits that are not used: extra" in about.notes
    unused = "no patient identifiers: splits and intervals are by row (features that are not used: image, number, odd)"
    assert unused in about.notes and images.patient is None


def test_the_positive_class_is_the_second_one(catalogue: Path) -> None:
    source = TFDS(dataset="two_kinds_of_noise", image="pixels", positive="loud", data_dir=str(catalogue))
    loud, quiet = source.load(), source.replace(positive="quiet").load()
    assert loud.task.names == ("quiet", "loud") and quiet.task.names == ("loud", "quiet")
    np.testing.assert_array_equal(quiet.targets, 1 - loud.targets)
    np.testing.assert_array_equal(quiet.read(1), loud.read(1))
    assert "positive class: loud" in loud.about.notes and "positive class: quiet" in quiet.about.notes


def test_patients_are_those_of_the_named_feature(catalogue: Path) -> None:
    source = TFDS(
        dataset="two_kinds_of_noise", image="pixels", positive="loud", patient="number", data_dir=str(catalogue)
    )
    images = source.load()
    expected = [str(number) for split in ("train", "valid", "test") for number in _numbers(catalogue, split)]
    assert images.patient is not None and images.patient.tolist() == expected
    assert "patients by the feature number" in images.about.notes


def test_pictures_of_different_sizes_need_a_size(catalogue: Path) -> None:
    source = TFDS(dataset="two_kinds_of_noise", positive="loud", data_dir=str(catalogue))
    with pytest.raises(UserError, match=r"size: the pictures of two_kinds_of_noise/1\.2\.0 differ in size"):
        source.load()
    images = source.replace(size=(3, 8)).load()
    assert images.shape == (3, 8, 1)
    for position, number in enumerate(_numbers(catalogue, "train")):
        # Every picture is of one shade, which resizing keeps.
        np.testing.assert_array_equal(images.read(position), np.full((3, 8, 1), 10 * number, np.uint8))
    assert "resized to 3 by 8: stretch" in images.about.notes
    assert images.signature != source.replace(size=(3, 9)).load().signature
    assert images.signature == source.replace(size=(3, 8)).load().signature


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image": "pixel"}, r"image: two_kinds_of_noise/1\.2\.0 has no feature 'pixel'\. Did you mean 'pixels'"),
        ({"image": "label"}, r"image: 'label' .* is no grey or coloured picture"),
        ({"image": "pixels", "positive": "loud", "patient": "who"}, r"patient: .* has no feature 'who'"),
        ({"image": "pixels", "positive": "loud", "patient": "image"}, r"patient: 'image' .* is no single text"),
        ({"image": "pixels", "label": "number"}, r"label: 'number' .* is no class"),
        ({"image": "pixels"}, r"which class is positive: 'quiet', 'loud'\? Declare it: positive='loud'"),
        ({"image": "pixels", "positive": "lod"}, r"positive: 'lod' is none of .*quiet, loud\. Did you mean 'loud'"),
        (
            {"image": "pixels", "label": "odd", "positive": "1"},
            r"split 'train' has labels from -1 to 0; classes are 0 to 1",
        ),
        ({"dataset": "two_kinds_of_noise:9.0.0"}, r"'two_kinds_of_noise:9\.0\.0'.*only: 1\.2\.0"),
        ({"dataset": "nothing_of_the_kind"}, r"neither prepared below .* nor a name in TFDS' catalogue.*NAME/CONFIG"),
        ({"dataset": "cifar1O"}, r"Did you mean 'cifar10'"),
    ],
)
def test_what_does_not_fit_is_told(catalogue: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        TFDS(**{"dataset": "two_kinds_of_noise", "data_dir": str(catalogue), **options}).load()


@pytest.mark.skipif(importlib.util.find_spec("tensorflow") is not None, reason="TensorFlow is installed")
def test_what_needs_tensorflow_names_the_extra(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"cifar10/.* needs TensorFlow, .*pip install -c constraints\.txt -e '\.\[tfds\]'"
    ):
        TFDS(dataset="cifar10", data_dir=str(tmp_path)).load()


def test_other_file_formats_and_several_configurations_are_told(catalogue: Path, tmp_path: Path) -> None:
    whole = catalogue / "two_kinds_of_noise" / "1.2.0"
    for configuration in ("a", "b"):
        place = tmp_path / "noise" / configuration / "1.2.0"
        place.mkdir(parents=True)
        for file in ("dataset_info.json", "features.json"):
            text = (whole / file).read_text()
            (place / file).write_text(text.replace('"array_record"', '"tfrecord"'))
    with pytest.raises(UserError, match=r"several configurations; name one: noise/a, noise/b"):
        TFDS(dataset="noise", data_dir=str(tmp_path)).load()
    with pytest.raises(UserError, match=r"is prepared as tfrecord, which cannot be read at random"):
        TFDS(dataset="noise/b", data_dir=str(tmp_path)).load()


def _kept(split: list[str] | None, targets: np.ndarray, task: Task, patient: bool) -> Images:
    draw = np.random.default_rng(0)
    pictures = draw.integers(0, 256, (len(targets), 4, 3, 3)).astype(np.uint8)
    return Images(
        targets=targets,
        task=task,
        patient=np.asarray([f"p{n // 2}" for n in range(len(targets))], dtype=object) if patient else None,
        split=None if split is None else np.asarray(split, dtype="<U10"),
        row=np.arange(len(targets), dtype=np.int32),
        about=About("Breast-MNIST 64", "made up", "CC0", "Nobody, 2020", "https://example.org/made_up"),
        shape=(4, 3, 3),
        read=pictures.__getitem__,
        signature="made up",
    )


def test_pictures_become_a_dataset_of_tfds_without_tensorflow(tmp_path: Path) -> None:
    targets = np.asarray([0, 2, 1, 1, 0, 2, 0], np.int32)
    split = ["train", "test", "train", "validation", "train", "train", "test"]
    images = _kept(split, targets, Task("multiclass", ("none", "mild", "severe"), ordinal=True), patient=True)
    made = tfds.builder(images, tmp_path)
    made.download_and_prepare()
    for name in ("train", "validation", "test"):
        rows, found = np.flatnonzero(np.asarray(split) == name), made.as_data_source(split=name)
        assert len(found) == len(rows)
        for row, example in zip(rows.tolist(), found, strict=True):
            np.testing.assert_array_equal(example["image"], images.read(row))
            assert example["label"] == targets[row] and example["patient"] == f"p{row // 2}".encode()
    assert made.info.full_name == "breast_mnist_64/1.0.0" and made.info.citation == "Nobody, 2020"
    again = TFDS(dataset="breast_mnist_64", data_dir=str(tmp_path)).load()
    assert again.task.names == ("none", "mild", "severe")
    assert again.targets.tolist() == [0, 1, 0, 2, 1, 2, 0] and again.shape == (4, 3, 3)
    assert again.patient is not None and again.patient.tolist() == ["p0", "p1", "p2", "p2", "p1", "p0", "p3"]
    assert "patients by the feature patient" in again.about.notes
    assert "tensorflow" not in sys.modules


def test_labels_that_may_be_missing_become_numbers(tmp_path: Path) -> None:
    targets = np.asarray([[0, 1], [np.nan, 1], [1, 0]], np.float32)
    images = _kept(None, targets, Task("multilabel", ("edema", "effusion")), patient=False)
    made = tfds.builder(images, tmp_path)
    made.download_and_prepare()
    found = made.as_data_source(split="train")
    np.testing.assert_array_equal([example["targets"] for example in found], targets)
    assert "targets: edema, effusion" in made.info.description and set(made.info.splits) == {"train"}


def test_an_empty_name_is_refused() -> None:
    with pytest.raises(UserError, match="dataset: a name in TFDS' catalogue is needed"):
        check(TFDS(dataset=" "))
