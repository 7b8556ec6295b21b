"""`Source`: where raw rows come from."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from research.data.about import About
from research.data.dataset import Dataset
from research.errors import UserError, did_you_mean
from research.spec import Spec

DATA_DIR = "RESEARCH_DATA_DIR"
"""Environment variable that names the folder below which relative data paths are looked up."""


class Source(Spec):
    """Base of all sources: a value that says which rows, never the rows themselves."""

    abstract: ClassVar[bool] = True

    def load(self) -> Dataset:
        """The raw rows, before any split or preprocessing.

        Raises:
            UserError: if the data is absent or not what the source declares, naming the place and the remedy.
        """
        raise NotImplementedError

    def about(self) -> About:
        """Licence, citation and notes; nothing is loaded for it."""
        raise NotImplementedError

    def reads_pictures(self) -> dict[str, Any]:
        """How files become pictures, so that those of new patients are read in the same way.

        Returns:
            Options of `research.data.formats.new_pictures.new_pictures`; none where the source has no such choices.
        """
        return {}

    def reads_series(self) -> Any:
        """What reads series of new patients as those of this source were read.

        Returns:
            A `research.data.series.ReadsSeries`; None where it is the layout that `research.data.new_sequences` gives
            sources without a layout for one's own files.
        """
        return None

    def reads_records(self) -> Any:
        """What reads records of new patients as those of this source were read.

        Returns:
            A `research.data.MEDS`; None where its defaults do.
        """
        return None


def find_file(path: str) -> Path:
    """The file that ``path`` means: as given, or below ``$RESEARCH_DATA_DIR``.

    ``~`` and environment variables in the path are expanded first.

    Raises:
        UserError: naming every place that was looked at, and a file there with a similar name.
    """
    place = find(path, Path.is_file)
    if place.is_dir():
        raise UserError(f"{place} is a folder; give the path of a file in it.")
    return place


def find_folder(path: str, beside: Path | None = None) -> Path:
    """The folder that ``path`` means, looked for as `find_file` does, but first in ``beside``; raises `UserError`."""
    place = find(path, Path.is_dir, beside)
    if not place.is_dir():
        raise UserError(f"{place} is a file; give the path of a folder.")
    return place


def find_published(path: str, address: str) -> Path:
    """The folder of a published dataset, as `find_folder` finds it; raises `UserError` that says where to get it."""
    try:
        return find_folder(path)
    except UserError as error:
        raise UserError(f"{error} The data is published at {address}; unpack it into that folder.") from None


def find(path: str, wanted: Callable[[Path], bool] = Path.exists, beside: Path | None = None) -> Path:
    """The file or folder that ``path`` means, the first one that is ``wanted``; raises `UserError` if there is none.

    Where ``beside`` is a folder, a relative path is looked for in it first.
    """
    expanded = os.path.expandvars(os.path.expanduser(path))
    unset = re.search(r"\$\{?(\w+)", expanded)
    if unset:
        raise UserError(f"{path}: the environment variable {unset[1]} is not set. Set it to the folder of the data.")
    places = [Path(expanded)]
    if beside is not None and not Path(expanded).is_absolute():
        places.insert(0, beside / expanded)
    folder = os.environ.get(DATA_DIR)
    if folder and not Path(expanded).is_absolute():
        places.append(Path(folder) / expanded)
    for test in (wanted, Path.exists):
        for place in places:
            if test(place):
                return place
    looked = " and ".join(str(place) for place in places)
    hint = (
        "" if folder or Path(expanded).is_absolute() else f" {DATA_DIR} is not set; set it to the folder of the data."
    )
    raise UserError(f"{path!r} was not found: looked for {looked}.{hint}{_similar(places)}")


def _similar(places: list[Path]) -> str:
    """A sentence naming something beside one of the places that the user may have meant."""
    for place in places:
        if place.parent.is_dir():
            hint = did_you_mean(place.name, [entry.name for entry in place.parent.iterdir()])
            if hint:
                return hint
    return ""
