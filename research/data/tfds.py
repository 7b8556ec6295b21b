"""The one module that touches TensorFlow Datasets (TFDS), which is used without TensorFlow wherever it can be.

TFDS is imported when it is first needed, for that takes a second. Data is read and written in ArrayRecord, the format
of TFDS whose records can be read at random.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int32, UInt8

from research.data.dataset import SPLITS
from research.data.images import Images
from research.errors import UserError, did_you_mean

SHARD_BYTES = 2**29
BLOCK = 1024
_VERSION = re.compile(r"\d+\.\d+\.\d+").fullmatch
INSTALL = "pip install -c constraints.txt -e '.[tfds]'"
PATIENT = "patient"
"""The feature that is taken for the patient unless another one is named."""
SPLIT_NAMES = {"train": "train", "validation": "validation", "valid": "validation", "val": "validation", "test": "test"}
"""Names of splits in the catalogue that are official splits here."""


class PictureWriter:
    """A TFDS dataset in ArrayRecord, written in the order of the rows; nothing is gathered in memory or elsewhere."""

    def __init__(self, folder: Path, shape: tuple[int, int, int], description: str) -> None:
        """Begin the files.

        Args:
            folder: an empty folder for them.
            shape: height, width and channels of every picture.
            description: one line, for the dataset's own description.
        """
        tfds = _tfds()
        from tensorflow_datasets.core.dataset_info import DatasetIdentity

        version = tfds.core.Version("1.0.0")
        identity = DatasetIdentity(name="pictures", version=version, data_dir=str(folder), module_name=__name__)
        # As bytes; by default TFDS stores each pixel as an integer of its own, which is several times slower.
        image = tfds.features.Tensor(shape=shape, dtype=np.uint8, encoding="bytes")
        info = tfds.core.DatasetInfo(
            builder=identity,
            description=description,
            features=tfds.features.FeaturesDict({"image": image}),
            disable_shuffling=True,
        )
        per_shard = max(1, SHARD_BYTES // int(np.prod(shape)))
        self._writer = tfds.core.SequentialWriter(info, max_examples_per_shard=per_shard, file_format="array_record")
        self._writer.initialize_splits(["train"])

    def write(self, pictures: Sequence[UInt8[np.ndarray, "H W C"]]) -> None:
        """Append pictures."""
        self._writer.add_examples({"train": [{"image": picture} for picture in pictures]})

    def close(self) -> None:
        """Complete the files; a full disk may show only here, as a RuntimeError."""
        self._writer.close_all()


def raw_records(folder: str) -> tuple[Any, UInt8[np.ndarray, "H W C"]]:
    """What `PictureWriter` wrote: its serialized examples, and the first picture as TFDS itself parses it."""
    tfds = _tfds()
    builder = tfds.builder_from_directory(folder)
    raw = tfds.decode.DeserializeMethod.RAW_BYTES
    first = builder.as_data_source(split="train")[0]["image"]
    return builder.as_data_source(split="train", deserialize_method=raw), first


def builder(images: Images, data_dir: Path | str) -> Any:
    """A TFDS builder of pictures, such as those of `MedMNIST`; it prepares and reads them without TensorFlow.

    Each example has ``image``, uint8 ``[H, W, C]``; ``label``, a class, or for other targets ``targets``, float32
    ``[L]`` (NaN where missing; the description names them); and where patients are known ``patient``, a text. The
    splits are the official ones, or all is ``train``; the order is kept. After ``download_and_prepare()`` the examples
    are read by ``as_data_source(split=...)``, or elsewhere by TFDS' ``builder_from_directory``.

    Args:
        images: the pictures.
        data_dir: folder of prepared datasets; the dataset is called as ``images.about.name``, in letters that TFDS
            takes.

    Returns:
        A ``tfds.core.GeneratorBasedBuilder`` that writes ArrayRecord.
    """
    tfds = _tfds()
    task, split, patient = images.task, images.split, images.patient
    features: dict[str, Any] = {"image": tfds.features.Tensor(shape=images.shape, dtype=np.uint8, encoding="bytes")}
    label = "label" if task.is_classes else "targets"
    if task.is_classes:
        features[label] = tfds.features.ClassLabel(names=list(task.names))
    else:
        features[label] = tfds.features.Tensor(shape=(len(task.names),), dtype=np.float32)
    if patient is not None:
        features[PATIENT] = tfds.features.Text()

    def example(row: int) -> dict[str, Any]:
        target = int(images.targets[row]) if task.is_classes else images.targets[row]
        whose = {} if patient is None else {PATIENT: str(patient[row])}
        return {"image": images.read(row), label: target} | whose

    class Pictures(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # pyright: ignore
        """Made-up name; see `builder`."""

        name = re.sub(r"[^a-z0-9]+", "_", images.about.name.lower()).strip("_")
        VERSION = tfds.core.Version("1.0.0")

        def _info(self) -> Any:
            about = images.about
            return tfds.core.DatasetInfo(
                builder=self,
                description="\n".join([about.summary, f"{label}: {', '.join(task.names)}", *about.notes]),
                features=tfds.features.FeaturesDict(features),
                citation=about.citation,
                homepage=about.homepage,
                license=about.licence,
                disable_shuffling=True,
            )

        def _split_generators(self, dl_manager: Any) -> Any:
            names = np.full(len(images), "train") if split is None else split
            rows = {name: np.flatnonzero(names == name).tolist() for name in SPLITS}
            return {name: self._generate_examples(found) for name, found in rows.items() if found}

        def _generate_examples(self, rows: list[int]) -> Any:
            return ((row, example(row)) for row in rows)

    return Pictures(data_dir=str(data_dir), file_format="array_record")


def fetch(url: str, folder: Path) -> Path:
    """A file from the net, by TFDS's download manager; somewhere below ``folder``."""
    return Path(_tfds().download.DownloadManager(download_dir=folder).download(url))


@dataclasses.dataclass(frozen=True)
class Catalogued:
    """A classification dataset of the catalogue, prepared.

    Attributes:
        name: name, configuration and version.
        folder: where it lies.
        summary, licence, citation, homepage: as the catalogue states them; empty where it does not.
        shape: height, width and channels; None where it differs between pictures.
        classes: names of the classes.
        splits: name of each split, ``train``, ``validation`` or ``test``, to its records.
        left_out: names of further splits, which are not used.
        image, label: names of the features.
        patient: name of the feature that identifies the patient; None where there is none.
        unused: names of the other features.
    """

    name: str
    folder: Path
    summary: str
    licence: str
    citation: str
    homepage: str
    shape: tuple[int | None, ...]
    classes: tuple[str, ...]
    splits: dict[str, Any]
    left_out: tuple[str, ...]
    image: str
    label: str
    patient: str | None
    unused: tuple[str, ...]

    def labels(self, split: str) -> tuple[Int32[np.ndarray, " N"], list[str]]:
        """Class numbers and patients of a split (none where they are not known).

        Reads all its records once, without decoding the pictures.
        """
        records = self.splits[split]
        found, patients = np.empty(len(records), np.int32), []
        for first in range(0, len(records), BLOCK):
            block = range(first, min(first + BLOCK, len(records)))
            examples = records.__getitems__(list(block))
            found[first : block.stop] = [example[self.label] for example in examples]
            if self.patient is not None:
                patients += [_text(example[self.patient]) for example in examples]
        return found, patients

    def picture(self, split: str, position: int) -> bytes | np.ndarray:
        """A picture of a split: the bytes of a PNG or JPEG file, or pixels where the dataset stores these."""
        return self.splits[split][position][self.image]


def _text(value: Any) -> str:
    """A text or a number of TFDS as text."""
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)


def open_catalogued(dataset: str, image: str, label: str, patient: str | None, data_dir: Path) -> Catalogued:
    """A dataset of the catalogue, prepared first where that is needed.

    Args:
        dataset: ``NAME``, ``NAME/CONFIGURATION:VERSION``, or the folder of a prepared dataset.
        image: name of the feature that is the picture.
        label: name of the feature that is the class.
        patient: name of the feature that identifies the patient; None: ``patient``, where there is one.
        data_dir: folder of prepared datasets.

    Raises:
        UserError: for an unknown dataset or feature, one that needs TensorFlow where it is missing, or one that is
            not about classes of pictures.
    """
    builder = _prepared(dataset, data_dir) or _prepare(dataset, data_dir)
    info, folder = builder.info, Path(builder.data_path)
    form = str(getattr(info.file_format, "value", info.file_format))
    if form != "array_record":
        raise UserError(
            f"{folder} is prepared as {form}, which cannot be read at random. With TensorFlow ({INSTALL}) it is "
            f"prepared anew as ArrayRecord: move the folder away, or set data_dir to another one."
        )
    wanted = {SPLIT_NAMES[name]: name for name in info.splits if name in SPLIT_NAMES}
    if "train" not in wanted:
        raise UserError(f"{info.full_name} has no split 'train'; it has {', '.join(info.splits) or 'none at all'}.")
    if patient is None and PATIENT in info.features:
        patient = PATIENT
    decoders = _decoders(info, image, label, patient)
    return Catalogued(
        name=info.full_name,
        folder=folder,
        summary=" ".join((info.description or "").split())[:200],
        licence=(info.redistribution_info.license if info.redistribution_info else "") or "",
        citation=" ".join((info.citation or "").split()),
        homepage=info.homepage or "",
        shape=tuple(info.features[image].shape),
        classes=tuple(info.features[label].names),
        splits={ours: builder.as_data_source(split=theirs, decoders=decoders) for ours, theirs in wanted.items()},
        left_out=tuple(name for name in info.splits if name not in SPLIT_NAMES),
        image=image,
        label=label,
        patient=patient,
        unused=tuple(sorted(set(info.features) - {image, label, patient})),
    )


def _decoders(info: Any, image: str, label: str, patient: str | None) -> dict[str, Any]:
    """What not to decode: all but label and patient, and pictures that TFDS does not decode; checks the features."""
    tfds, features = _tfds(), info.features
    for option, name in (("image", image), ("label", label), ("patient", patient)):
        if name is not None and name not in features:
            hint = did_you_mean(name, features)
            raise UserError(
                f"{option}: {info.full_name} has no feature {name!r}.{hint} Its features: {', '.join(features)}."
            )
    if not isinstance(features[label], tfds.features.ClassLabel):
        raise UserError(f"label: {label!r} of {info.full_name} is no class, but {features[label]!r}.")
    if patient is not None and (features[patient].shape != () or patient in (image, label)):
        raise UserError(f"patient: {patient!r} of {info.full_name} is no single text or number, or has another role.")
    picture = features[image]
    encoded = isinstance(picture, tfds.features.Image)
    bytewise = encoded or isinstance(picture, tfds.features.Tensor)
    if not bytewise or len(picture.shape) != 3 or picture.np_dtype != np.uint8 or picture.shape[2] not in (1, 3):
        raise UserError(
            f"image: {image!r} of {info.full_name} is no grey or coloured picture of bytes, but {picture!r}."
        )
    # Pillow decodes pictures, so that they are the same with and without OpenCV, which TFDS prefers.
    skip = [name for name in features if name not in (label, patient) and (name != image or encoded)]
    return {name: tfds.decode.SkipDecoding() for name in skip}


def _prepared(dataset: str, data_dir: Path) -> Any:
    """The dataset as it lies on disk; None where it does not."""
    given = Path(os.path.expanduser(dataset))
    if (given / "dataset_info.json").is_file():
        return _tfds().builder_from_directory(given)
    name, _, version = dataset.partition(":")
    found = {path.parent.relative_to(data_dir / name): path.parent for path in _descriptions(data_dir / name)}
    found = {key: place for key, place in found.items() if key.name == version or (not version and _VERSION(key.name))}
    configurations = {str(key.parent) for key in found}
    if len(configurations) > 1:
        shown = ", ".join(sorted(f"{name}/{configuration}" for configuration in configurations))
        raise UserError(f"dataset: {dataset!r} is prepared in several configurations; name one: {shown}.")
    if not found:
        return None
    newest = max(found, key=lambda key: [int(part) for part in re.findall(r"\d+", key.name)])
    return _tfds().builder_from_directory(found[newest])


def _descriptions(folder: Path) -> list[Path]:
    return [*folder.glob("*/dataset_info.json"), *folder.glob("*/*/dataset_info.json")]


def _prepare(dataset: str, data_dir: Path) -> Any:
    """Prepare the dataset as ArrayRecord; it may be downloaded for that."""
    tfds = _tfds()
    try:
        builder = tfds.builder(dataset, data_dir=str(data_dir), file_format="array_record")
    except tfds.core.DatasetNotFoundError:
        name = re.split("[/:]", dataset)[0]
        hint = did_you_mean(name, tfds.list_builders(with_community_datasets=False))
        raise UserError(
            f"dataset: {dataset!r} is neither prepared below {data_dir} nor a name in TFDS' catalogue.{hint} Give "
            f"NAME, NAME/CONFIGURATION:VERSION, or the folder of a prepared dataset."
        ) from None
    except (AssertionError, ValueError, ImportError) as error:
        raise UserError(f"dataset: {dataset!r} cannot be opened: {error}") from error
    needs = (
        f"{builder.info.full_name} is not prepared as ArrayRecord below {data_dir}, and preparing it needs TensorFlow, "
        f"which is not installed: {INSTALL}. Prepared once, it is read without TensorFlow, here or on another machine."
    )
    # The catalogue's own builders read their archives with TensorFlow; a user's own may well do without.
    if type(builder).__module__.startswith("tensorflow_datasets.") and not importlib.util.find_spec("tensorflow"):
        raise UserError(needs)
    try:
        builder.download_and_prepare()
    except ModuleNotFoundError as error:
        if "tensorflow" in str(error):
            raise UserError(needs) from error
        raise
    except Exception as error:
        raise UserError(f"{builder.info.full_name} could not be prepared below {data_dir}: {error}") from error
    return builder


def _tfds() -> Any:
    """TFDS, with its progress bars off."""
    import tensorflow_datasets as tfds

    tfds.disable_progress_bar()
    return tfds
