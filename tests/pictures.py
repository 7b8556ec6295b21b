"""A few made-up pictures whose class shows, for the tests of data, training and reports."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from research.data import About, Images, Source
from research.spec import field
from research.task import Task


class Dots(Source):
    """Grey pictures of noise; those of the positive class have a bright square."""

    count: int = field(96, minimum=4, help="pictures")
    size: int = field(12, minimum=4, help="height and width")
    channels: int = field(1, minimum=1, help="channels")
    per_patient: int = field(2, minimum=1, help="pictures of each patient")
    twins: bool = field(False, help="the last picture is a copy of the first")
    official: bool = field(False, help="official splits: a half, a quarter, a quarter")

    def about(self) -> About:
        """What the rows are."""
        return About(name="dots", summary="made-up pictures with and without a dot")

    def load(self) -> Images:
        """Pictures that are functions of their number."""
        number = np.arange(self.count)
        split = np.where(
            number < self.count // 2, "train", np.where(number < 3 * self.count // 4, "validation", "test")
        )
        return Images(
            targets=(number // self.per_patient % 2).astype(np.int32),
            task=Task("binary", ("plain", "dotted")),
            patient=np.asarray([f"p{n // self.per_patient}" for n in number], dtype=object),
            split=split if self.official else None,
            row=number.astype(np.int32),
            about=self.about(),
            shape=(self.size, self.size, self.channels),
            read=self.read,
            signature=f"dots {self!r}",
            names=np.asarray([f"dot{n}.png" for n in number], dtype=object),
        )

    def read(self, position: int) -> np.ndarray:
        """Picture number ``position``."""
        if self.twins and position == self.count - 1:
            position = 0
        draw = np.random.default_rng(position)
        picture = draw.integers(0, 120, (self.size, self.size, self.channels))
        if position // self.per_patient % 2:
            row, column = draw.integers(1, self.size - 3, 2)
            picture[row : row + 3, column : column + 3] = 250
        return picture.astype(np.uint8)


def write_folder(root: Path, count: int = 24, size: int = 12) -> Path:
    """A folder of PNG files, one folder per class, patient in the file name."""
    source = Dots(count=count, size=size)
    for number in range(count):
        folder = root / ("dotted" if number // 2 % 2 else "plain")
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(source.read(number)[..., 0]).save(folder / f"p{number // 2}_{number}.png")
    return root
