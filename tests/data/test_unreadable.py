"""Pictures that cannot be read: one message for all of them, whether they are read into memory or to disk."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from pictures import Dots, write_folder

from research.data import ImageData, ImageFolder
from research.data.unreadable import Unreadable, cannot_be_read
from research.errors import UserError


@pytest.mark.parametrize("stored", [False, True])
@pytest.mark.parametrize("damaged", [3, 7])
def test_truncated_pictures_are_told_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stored: bool, damaged: int
) -> None:
    monkeypatch.setenv("RESEARCH_CACHE_DIR", str(tmp_path / "cache"))
    folder = write_folder(tmp_path / "films", count=24)
    paths = sorted(folder.rglob("*.png"))[::3][:damaged]
    for path in paths:
        path.write_bytes(path.read_bytes()[:-40])
    data = ImageData(source=ImageFolder(path=str(folder), positive="dotted"))
    with pytest.raises(UserError) as raised:
        data.prepare(stored=stored)
    message = str(raised.value)
    assert message.startswith(f"{damaged} of 24 pictures of films cannot be read: ")
    assert message.endswith("Replace or remove them, or leave such files out with data.source.unreadable=skip.")
    named = [path.relative_to(folder).as_posix() for path in paths]
    assert [name in message for name in named] == [number < 5 for number in range(damaged)]
    assert ("; ..." in message) == (damaged > 5)
    assert not list((tmp_path / "cache").rglob("*array_record*"))
    kept = data.replace(source=data.source.replace(unreadable="skip")).prepare(stored=stored)
    assert sum(len(examples) for examples in kept.splits.values()) == 24 - damaged


def test_other_processes_can_be_told() -> None:
    error = pickle.loads(pickle.dumps(Unreadable(Path("a/b.png"), "is torn", "Mend it.")))
    assert (error.name, error.reason, error.remedy, str(error)) == ("b.png", "is torn", "Mend it.", "a/b.png is torn.")
    assert cannot_be_read(["a is torn", "b is empty"], 9) == "2 of 9 pictures cannot be read: a is torn; b is empty"


def test_a_source_that_gives_no_bytes_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def third_is_float(source: Dots, position: int) -> np.ndarray:
        picture = np.zeros((12, 12, 1), np.uint8)
        return picture / 2 if position == 3 else picture

    monkeypatch.setattr(Dots, "read", third_is_float)
    with pytest.raises(UserError, match=r"dot3\.png is float64 of shape \(12, 12, 1\); uint8 .* is declared"):
        ImageData(source=Dots(count=16)).prepare()
