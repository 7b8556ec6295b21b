"""`Images`: raw pictures of one size, read when they are asked for, with their targets and patients in memory."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
from jaxtyping import Shaped, UInt8

from research.data.dataset import Dataset
from research.errors import UserError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Images(Dataset):
    """Pictures of one dataset, before splits and preprocessing; only what is said *about* them is in memory.

    Attributes:
        shape: height, width and channels (1 grey, 3 red, green, blue) of every picture, after any resizing.
        read: position, 0 to N - 1, to the picture, uint8 ``[H, W, C]``; the same bits each time; safe to call from
            several threads. It raises `UserError` naming the file for a picture that cannot be read.
        signature: a text that differs whenever the pixels may differ: a checksum of the file, or places, sizes and
            times of the files; made without reading any pixels where that would take long.
        names: what to call each picture when it is shown, such as its file name; None where there is nothing to say.
    """

    shape: tuple[int, int, int]
    read: Callable[[int], UInt8[np.ndarray, "H W C"]]
    signature: str
    names: Shaped[np.ndarray, " N"] | None = None

    def picture(self, position: int) -> UInt8[np.ndarray, "H W C"]:
        """What `read` gives, after a look at its type and shape.

        Raises:
            UserError: for anything but bytes of the declared shape; NumPy would bring other arrays into that form
                silently.
        """
        found = self.read(position)
        if getattr(found, "dtype", None) != np.uint8 or found.shape != self.shape:
            name = f"number {position}" if self.names is None else self.names[position]
            what = f"{found.dtype} of shape {found.shape}" if isinstance(found, np.ndarray) else type(found).__name__
            raise UserError(
                f"{self.about.name}: picture {name} is {what}; uint8 of shape {self.shape} is declared. Correct "
                f"the source that reads it."
            )
        return found
