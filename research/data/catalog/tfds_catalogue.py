"""`TFDS`: classification datasets of the TensorFlow Datasets catalogue, read without TensorFlow."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import os
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from research.data.about import About
from research.data.dataset import SPLITS
from research.data.formats.decoding import fit
from research.data.images import Images
from research.data.source import Source
from research.data.tfds import Catalogued, open_catalogued
from research.errors import UserError
from research.spec import field
from research.task import Task

DATA_DIR = "TFDS_DATA_DIR"
"""Environment variable that names the folder of prepared datasets, as for TFDS itself."""


class TFDS(Source):
    """A dataset of the TensorFlow Datasets catalogue whose examples are pictures of one class each.

    It is read from ArrayRecord files. Where it has not been prepared as such, it is: most datasets need TensorFlow for
    that (``pip install -e '.[tfds]'``) and a connection; afterwards TensorFlow is not needed. The splits ``train``,
    ``validation`` and ``test`` of the catalogue are the official ones; where a split lacks, `research.data.Split`
    makes one. The catalogue does not say whose the pictures are, so splits and intervals are by row.
    """

    dataset: str = field(help="NAME, NAME/CONFIGURATION:VERSION, or the folder of a prepared dataset")
    image: str = field("image", help="name of the feature that is the picture")
    label: str = field("label", help="name of the feature that is the class")
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

    @property
    def _name(self) -> str:
        return Path(self.dataset.partition(":")[0]).name if Path(self.dataset).is_absolute() else self.dataset

    def _notes(self) -> tuple[str, ...]:
        resized = () if self.size is None else (f"resized to {self.size[0]} by {self.size[1]}: {self.resize}",)
        return (*resized, "no patient identifiers: splits and intervals are by row")

    def load(self) -> Images:
        """Labels are read at once, from all records; pictures when they are asked for.

        Raises:
            UserError: for an unknown name or feature, pictures of different sizes without ``size``, or data that would
                have to be prepared with TensorFlow where that is missing.
        """
        folder = Path(os.path.expanduser(self.data_dir or os.environ.get(DATA_DIR) or "~/tensorflow_datasets"))
        found = open_catalogued(self.dataset, self.image, self.label, folder)
        shape = self._shape(found)
        splits = [name for name in SPLITS if name in found.splits]
        labels = {name: found.labels(name) for name in splits}
        for name, numbers in labels.items():
            if len(numbers) and not 0 <= numbers.min() <= numbers.max() < len(found.classes):
                raise UserError(
                    f"{found.name}: split {name!r} has labels from {numbers.min()} to {numbers.max()}; classes are 0 "
                    f"to {len(found.classes) - 1}. Some pictures have no class; another dataset is needed."
                )
        rows = [(name, number) for name in splits for number in range(len(labels[name]))]
        names = np.empty(len(rows), dtype=object)
        names[:] = [f"{name}[{number}]" for name, number in rows]
        return Images(
            targets=np.concatenate([labels[name] for name in splits]),
            task=Task("binary" if len(found.classes) == 2 else "multiclass", found.classes),
            patient=None,
            # With train alone there is no official division.
            split=None if splits == ["train"] else np.asarray([name for name, _ in rows], dtype="<U10"),
            row=np.arange(len(rows), dtype=np.int32),
            about=self._found(found),
            shape=shape,
            read=_Reader(found, rows, shape, self.resize if self.size else None),
            signature=_signature(found, self.image, shape, self.resize if self.size else None),
            names=names,
        )

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

    def _found(self, found: Catalogued) -> About:
        about = self.about()
        left_out = (f"splits that are not used: {', '.join(found.left_out)}",) if found.left_out else ()
        return dataclasses.replace(
            about,
            name=found.name,
            summary=found.summary or about.summary,
            licence=found.licence or "not stated",
            citation=found.citation or "not stated",
            homepage=found.homepage or about.homepage,
            notes=(*about.notes, *left_out),
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
            raise UserError(f"{self.found.name}: picture {number} of {split} cannot be decoded ({error}).") from error
        return pixels[:, :, None] if pixels.ndim == 2 else pixels


def _signature(found: Catalogued, *options: object) -> str:
    """Name and version, names, sizes and times of the files, and what else decides what their pixels become."""
    digest = hashlib.sha256(repr((found.name, options)).encode())
    for path in sorted(found.folder.iterdir()):
        status = path.stat()
        digest.update(b"\n%s\0%d\0%d" % (os.fsencode(path.name), status.st_size, status.st_mtime_ns))
    return f"tfds {digest.hexdigest()}"
