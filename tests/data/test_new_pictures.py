"""Pictures of new patients: made as the training pictures were, and what is unlike them is said or refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pictures import Dots
from PIL import Image

from research.data import ImageFolder, ImagesCSV, Source
from research.data.catalog import CIFAR10, TFDS
from research.data.formats.new_pictures import new_pictures
from research.data.new_rows import NewPictures, NewRows
from research.errors import UserError


@pytest.fixture
def new(tmp_path: Path) -> Path:
    """A grey picture of 6 x 8 and one of 10 x 10, and a coloured one of 6 x 8."""
    draw = np.random.default_rng(0)
    folder = tmp_path / "new"
    (folder / "tom/first").mkdir(parents=True)
    for name, shape in {"p1_a": (6, 8), "tom/first/b": (10, 10), "p3_c": (6, 8, 3)}.items():
        Image.fromarray(draw.integers(0, 256, shape, np.uint8)).save(folder / f"{name}.png")
    return folder


def _rows(new: Path, source: Source | None, shape: tuple[int, int, int] = (6, 8, 1)) -> NewRows:
    return NewPictures(shape, source).read(f"pictures:{new}")


def test_what_is_no_picture_is_left_out_and_named(new: Path) -> None:
    (new / "a_empty.png").write_bytes(b"")
    (new / "b_text.jpg").write_text("no picture at all")
    (new / "read.me").write_text("")
    found = new_pictures(str(new), (5, 4, 3), declared=True)
    assert found.names.tolist() == ["p1_a.png", "p3_c.png", "tom/first/b.png"] and found.patient is None
    assert [note.split(":")[0] for note in found.notes] == [
        "2 of 5 pictures cannot be read and are left out",
        "files of other kinds ignored",
    ]
    with pytest.raises(UserError, match=r"1 of 1 pictures .*a_empty\.png is empty"):
        new_pictures(f"{new}/a_empty.png", (5, 4, 3))


def test_a_pattern_may_begin_at_any_folder(new: Path) -> None:
    """In training it is compared with the path below the class's folder, which new pictures need not have."""
    for pattern, patients in (
        (r"^(\w+)/", [None, None, "tom"]),
        (r"^(p\d)_", ["p1", "p3", None]),
        (r"^(first)/b", [None, None, "first"]),
    ):
        rows = _rows(new, ImageFolder(path="films", patient=pattern, size=(6, 8), color="grey"))
        assert rows.columns["patient"].tolist() == patients
        assert f"{patients.count(None)} of 3 pictures do not say whose they are" in rows.notes


def test_a_single_file_and_a_folder_without_pictures(new: Path, tmp_path: Path) -> None:
    single = new_pictures(f"{new}/p1_a.png", (6, 8, 1))
    assert single.names.tolist() == ["p1_a.png"] and not single.notes
    np.testing.assert_array_equal(single.read(0)[:, :, 0], np.asarray(Image.open(new / "p1_a.png")))
    with pytest.raises(UserError, match=r"p1_a\.png has a height and width of 6 x 8; 5 x 4 is needed"):
        new_pictures(f"{new}/p1_a.png", (5, 4, 3), None)
    (tmp_path / "bare").mkdir()
    with pytest.raises(UserError, match=r"bare holds no pictures\. They end in \.png"):
        new_pictures(f"{tmp_path}/bare", (5, 4, 3))


@pytest.mark.parametrize("source", [None, Dots(), CIFAR10()])
def test_changes_are_counted_where_the_training_had_no_choice(new: Path, source: Source | None) -> None:
    rows = _rows(new, source)
    assert rows.columns["file"].tolist() == ["p1_a.png", "p3_c.png", "tom/first/b.png"]
    assert rows.notes == (
        "1 pictures of other sizes were stretched to 6 x 8",
        "1 pictures of another colour were made grey",
    )
    assert rows.read(np.arange(3, dtype=np.int32)).shape == (3, 6, 8, 1)


@pytest.mark.parametrize(
    "source",
    [ImageFolder(path="x", size=(6, 8), resize="fit", color="grey"), TFDS(dataset="x", size=(6, 8), resize="fit")],
)
def test_the_training_s_way_of_resizing_holds(new: Path, source: Source) -> None:
    rows = _rows(new, source)
    fitted = rows.read(np.asarray([rows.count - 1], np.int32))[0, :, :, 0]
    inner = Image.open(new / "tom/first/b.png").resize((6, 6), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(fitted[:, 1:7], np.asarray(inner))
    assert not fitted[:, [0, 7]].any()
    assert not any("sizes" in note for note in rows.notes)


@pytest.mark.parametrize("source", [ImageFolder(path="x"), TFDS(dataset="x"), ImagesCSV(path="x", target="y")])
def test_other_sizes_and_colours_are_refused_where_training_changed_none(new: Path, source: Source) -> None:
    rows = _rows(new, source)
    assert rows.columns["file"].tolist() == ["p1_a.png"]
    assert rows.notes == (
        "2 of 3 pictures cannot be read and are left out: p3_c.png is rgb; grey is needed; tom/first/b.png has a "
        "height and width of 10 x 10; 6 x 8 is needed",
    )
    with pytest.raises(UserError, match=r"p1_a\.png is grey; rgb is needed"):
        NewPictures((6, 8, 3), source).read(f"pictures:{new}/p1_a.png")


def test_deep_pictures_are_read_as_in_training(tmp_path: Path) -> None:
    Image.fromarray(np.full((6, 8), 4095, np.uint16)).save(tmp_path / "deep.png")
    white = _rows(tmp_path, ImageFolder(path="x", white=4095))
    assert (white.read(np.zeros(1, np.int32)) == 255).all() and not white.notes
    dark = _rows(tmp_path, ImageFolder(path="x"))
    assert (dark.read(np.zeros(1, np.int32)) == 16).all()
    assert dark.notes[0].startswith("1 pictures have 16 bits, with 65535 taken as white")


@pytest.mark.parametrize(
    ("source", "patients"),
    [
        (ImageFolder(path="x", patient=r"^(p\d)_"), ["p1", "p3", None]),
        (ImageFolder(path="x", patient=r"^(\w+)/first"), [None, None, "tom"]),
        (ImagesCSV(path="x", target="y", patient_pattern=r"/(\w+)/first"), [None, None, "tom"]),
    ],
)
def test_patients_are_known_where_the_name_says_them(new: Path, source: Source, patients: list[str | None]) -> None:
    source = source.replace(size=(6, 8), color="grey")
    assert _rows(new, source).columns["patient"].tolist() == patients


@pytest.mark.parametrize("source", [ImageFolder(path="x"), ImageFolder(path="x", patient=r"(nobody)_"), Dots()])
def test_without_patients_there_is_no_such_column(new: Path, source: Source) -> None:
    assert set(_rows(new, source).columns) == {"file"}
