"""`TFDS`: classification datasets of the TensorFlow Datasets catalogue, read without TensorFlow."""

from __future__ import annotations

import dataclasses
import io
import os
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from research.data.about import About
from research.data.dataset import SPLITS
from research.data.formats.decoding import PictureFormat, fit
from research.data.formats.labels import plainly_positive
from research.data.formats.pictures import signature_of, text
from research.data.images import Images
from research.data.source import Source
from research.data.tfds import Catalogued, open_catalogued
from research.data.unreadable import Unreadable
from research.errors import UserError, did_you_mean
from research.spec import field
from research.task import Task

DATA_DIR = "TFDS_DATA_DIR"
"""Environment variable that names the folder of prepared datasets, as for TFDS itself."""


class TFDS(Source):
    """A dataset of the TensorFlow Datasets catalogue whose examples are pictures of one class each.

    It is read from ArrayRecord files. Where it has not been prepared as such, it is: most datasets need TensorFlow for
    that (``pip install -c constraints.txt -e '.[tfds]'``) and a connection; afterwards TensorFlow is not needed. The
    splits ``train``, ``validation`` and ``test`` of the catalogue are the official ones; where validation or test
    lacks, `research.data.Split` takes it from train. Most datasets do not say whose the pictures are; splits and
    intervals are by row then. Where one does, ``patient`` names the feature.
    """

    dataset: str = field(help="NAME, NAME/CONFIGURATION:VERSION, or the folder of a prepared dataset")
    image: str = field("image", help="name of the feature that is the picture")
    label: str = field("label", help="name of the feature that is the class")
    patient: str | None = field(
        None, help="name of the feature that identifies the patient; none: 'patient' where there is one, else by row"
    )
    positive: str | None = field(None, help="the positive one of two classes; needed where their names do not say it")
    size: tuple[int, int] | None = field(None, minimum=1, help="height and width to resize to; needed if sizes differ")
    resize: Literal["stretch", "fit", "crop"] = field("stretch", help="how: distort, add a border, or cut the middle")
    data_dir: str = field("", help="folder of prepared datasets; $TFDS_DATA_DIR or ~/tensorflow_datasets if empty")

    def validate(self) -> None:
        """A dataset must be named."""
        if not self.dataset.strip():
            raise UserError("dataset: a name in TFDS' catalogue is needed, such as cifar10; an empty text was given.")

    def about(self) -> About:
        """What is declared; the catalogue is asked when the data is loaded."""
        return About(
            name=self._name,
            summary=f"pictures of the dataset {self.dataset} of the TensorFlow Datasets catalogue, with their classes",
            licence="as the catalogue states",
            citation="as the catalogue states",
            homepage="https://www.tensorflow.org/datasets/catalog/overview",
            notes=self._notes(),
        )

    def reads_pictures(self) -> dict[str, Any]:
        """See `Source.reads_pictures`."""
        return {"resize": None if self.size is None else self.resize, "recolor": False, "declared": True}

    @property
    def _name(self) -> str:
        return Path(self.dataset.partition(":")[0]).name if Path(self.dataset).is_absolute() else self.dataset

    def _notes(self) -> tuple[str, ...]:
        resized = () if self.size is None else (f"resized to {self.size[0]} by {self.size[1]}: {self.resize}",)
        return (*resized, *(() if self.patient is None else (f"patients by the feature {self.patient}",)))

    def load(self) -> Images:
        """Labels are read at once, from all records; pictures when they are asked for.

        Raises:
            UserError: for an unknown name or feature, pictures of different sizes without ``size``, or data that would
                have to be prepared with TensorFlow where that is missing.
        """
        folder = Path(os.path.expanduser(self.data_dir or os.environ.get(DATA_DIR) or "~/tensorflow_datasets"))
        found = open_catalogued(self.dataset, self.image, self.label, self.patient, folder)
        shape, task = self._shape(found), self._task(found)
        splits = [name for name in SPLITS if name in found.splits]
        labels, patients = {}, []
        for name in splits:
            labels[name], whose = found.labels(name)
            patients += whose
        for name, numbers in labels.items():
            if len(numbers) and not 0 <= numbers.min() <= numbers.max() < len(found.classes):
                raise UserError(
                    f"{found.name}: split {name!r} has labels from {numbers.min()} to {numbers.max()}; classes are 0 "
                    f"to {len(found.classes) - 1}. Some pictures have no class; another dataset is needed."
                )
        rows = [(name, number) for name in splits for number in range(len(labels[name]))]
        names = np.empty(len(rows), dtype=object)
        names[:] = [f"{name}[{number}]" for name, number in rows]
        targets = np.concatenate([labels[name] for name in splits])
        return Images(
            targets=targets if task.names == found.classes else 1 - targets,
            task=task,
            patient=text(patients) if found.patient is not None else None,
            # With train alone there is no official division.
            split=None if splits == ["train"] else np.asarray([name for name, _ in rows], dtype="<U10"),
            row=np.arange(len(rows), dtype=np.int32),
            about=self._found(found, task),
            shape=shape,
            read=_Reader(found, rows, shape, self.resize if self.size else None),
            signature=signature_of(
                sorted(found.folder.iterdir()),
                *(found.name, self.image, shape, self.resize if self.size else None, PictureFormat().decoders()),
            ),
            names=names,
        )

    def _task(self, found: Catalogued) -> Task:
        """Of two classes the second is the positive one, whatever their numbers in the catalogue."""
        classes = found.classes
        if self.positive is not None and self.positive not in classes:
            raise UserError(
                f"positive: {self.positive!r} is none of the classes of {found.name}: {', '.join(classes)}."
                f"{did_you_mean(self.positive, classes)}"
            )
        if len(classes) != 2:
            if self.positive is not None:
                raise UserError(f"positive: only one of two classes is positive; {found.name} has {len(classes)}.")
            return Task("multiclass", classes)
        positive = self.positive or plainly_positive(classes)
        if positive is None:
            shown = ", ".join(map(repr, classes))
            raise UserError(f"{found.name}: which class is positive: {shown}? Declare it: positive={classes[1]!r}.")
        return Task("binary", classes if positive == classes[1] else classes[::-1])

    def _shape(self, found: Catalogued) -> tuple[int, int, int]:
        height, width, channels = found.shape
        assert channels is not None
        if self.size is not None:
            return (*self.size, channels)
        if height is None or width is None:
            raise UserError(
                f"size: the pictures of {found.name} differ in size, and a network takes one size. Set "
                f"size=(HEIGHT, WIDTH); resize says how they come to it."
            )
        return height, width, channels

    def _found(self, found: Catalogued, task: Task) -> About:
        about = self.about()
        positive = (f"positive class: {task.names[1]}",) if task.kind == "binary" else ()
        if found.patient is None:
            unused = f" (features that are not used: {', '.join(found.unused)})" if found.unused else ""
            whose = (f"no patient identifiers: splits and intervals are by row{unused}",)
        else:
            whose = () if self.patient is not None else (f"patients by the feature {found.patient}",)
        left_out = (f"splits that are not used: {', '.join(found.left_out)}",) if found.left_out else ()
        return dataclasses.replace(
            about,
            name=found.name,
            summary=found.summary or about.summary,
            licence=found.licence or "not stated",
            citation=found.citation or "not stated",
            homepage=found.homepage or about.homepage,
            notes=(*positive, *about.notes, *whose, *left_out),
        )


@dataclasses.dataclass(frozen=True)
class _Reader:
    """Position to picture.

    Attributes:
        found: the dataset.
        rows: split and number of each picture.
        shape: what every picture is given out as.
        resize: how it comes to that size; None where it has it already.
    """

    found: Catalogued
    rows: list[tuple[str, int]]
    shape: tuple[int, int, int]
    resize: Literal["stretch", "fit", "crop"] | None

    def __call__(self, position: int) -> UInt8[np.ndarray, "H W C"]:
        stored = self.found.picture(*self.rows[position])
        picture = self._decode(stored, position) if isinstance(stored, bytes) else stored
        return picture if self.resize is None else fit(picture, self.shape, self.resize)

    def _decode(self, content: bytes, position: int) -> UInt8[np.ndarray, "H W C"]:
        try:
            with Image.open(io.BytesIO(content)) as image:
                pixels = np.array(image.convert("L" if self.shape[2] == 1 else "RGB"))
        except (OSError, ValueError, SyntaxError) as error:
            split, number = self.rows[position]
            remedy = f"The dataset is damaged: remove {self.found.folder}, and prepare it again."
            raise Unreadable(f"{self.found.name}/{split}[{number}]", f"cannot be decoded ({error})", remedy) from error
        return pixels[:, :, None] if pixels.ndim == 2 else pixels
