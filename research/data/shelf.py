"""`Shelf`: what was read of sources, kept while several divisions of the same rows are prepared."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from research.data.dataset import Dataset
from research.data.source import Source
from research.spec import fingerprint

if TYPE_CHECKING:
    from research.data.split import Split

T = TypeVar("T")


class Shelf:
    """What was read of sources, so that the folds of a cross-validation read it once.

    Pictures are in memory once for all of them; of other rows what is made of them is kept for each division.

    Files are taken not to change as long as a shelf is used; nothing that is on it may be changed.
    """

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str], object] = {}

    def load(self, source: Source) -> Dataset:
        """The raw rows of a source."""
        return self.keep("rows", source, source.load)

    def largest(self, split: Split, source: Source, dataset: Dataset) -> dict[str, int]:
        """`research.data.Split.largest` of the rows of a source."""
        any_fold = fingerprint(split.replace(fold=0, inner_fold=0))
        return self.keep(f"largest {any_fold}", source, lambda: split.largest(dataset))

    def keep(self, what: str, source: Source, make: Callable[[], T]) -> T:
        """What ``make`` gives, the first time that it is asked for of this source."""
        key = what, fingerprint(source)
        if key not in self._kept:
            self._kept[key] = make()
        return self._kept[key]  # pyright: ignore[reportReturnType]
