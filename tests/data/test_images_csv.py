"""Pictures named in a table: labels with blanks and uncertain values, patients, splits, and tables that do not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from research.data import Images
from research.data.formats import ImagesCSV
from research.errors import UserError
from research.spec import check, from_json, to_json

CHEXPERT = """Path,Sex,Edema,Effusion
train/patient1/study1/view1.png,F,1.0,
train/patient1/study2/view1.png,F,-1.0,0.0
valid/patient2/study1/view1.png,M,0.0,1.0
"""


@pytest.fixture
def write(tmp_path: Path) -> Any:
    """Writes a table, and a grey picture for every path that its first column names."""

    def write(content: str) -> str:
        for number, line in enumerate(content.splitlines()[1:]):
            picture = tmp_path / "pictures" / line.partition(",")[0]
            picture.parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", (4, 3), number).save(picture)
        table = tmp_path / "pictures" / "table.csv"
        table.write_text(content)
        return str(table)

    return write


def _load(**options: Any) -> Images:
    source = ImagesCSV(**options)
    check(source)
    assert from_json(to_json(source)) == source
    images = source.load()
    assert images.about.notes[: len(source.about().notes)] == source.about().notes
    return images


def _fails(message: str, **options: Any) -> None:
    with pytest.raises(UserError, match=message):
        _load(**options)


def _multilabel(path: str, **options: Any) -> Images:
    return _load(path=path, image="Path", task="multilabel", target=("Edema", "Effusion"), **options)


nan = np.nan


@pytest.mark.parametrize(
    ("options", "targets"),
    [
        ({}, [[1, nan], [nan, 0], [0, 1]]),
        ({"blanks": "negative"}, [[1, 0], [nan, 0], [0, 1]]),
        ({"uncertain": "positive"}, [[1, nan], [1, 0], [0, 1]]),
        ({"uncertain": "negative", "blanks": "negative"}, [[1, 0], [0, 0], [0, 1]]),
    ],
)
def test_uncertain_and_blank_labels(write: Any, options: Any, targets: list[Any]) -> None:
    images = _multilabel(write(CHEXPERT), patient_pattern=r"/(patient\d+)/", **options)
    np.testing.assert_array_equal(images.targets, np.asarray(targets, np.float32))
    assert images.task.kind == "multilabel" and images.task.names == ("Edema", "Effusion")
    assert images.patient is not None and images.patient.tolist() == ["patient1", "patient1", "patient2"]
    assert images.about.notes[-3:] == (
        "1 uncertain labels",
        "1 blank labels",
        "2 patients by the pattern of patient_pattern, such as 'patient1' in '/train/patient1/study1/view1.png'",
    )
    assert f"blank labels are {options.get('blanks', 'missing')}" in images.about.notes
    assert images.shape == (3, 4, 1)
    assert [int(images.read(n).mean()) for n in range(3)] == [0, 1, 2]


def test_uncertain_labels_may_be_an_error(write: Any) -> None:
    path = write(CHEXPERT)
    with pytest.raises(UserError, match=r"line 3, column 'Edema': -1\.0 is an uncertain label.*uncertain='missing'"):
        _multilabel(path, uncertain="error")
    with pytest.raises(UserError, match=r"line 2, column 'Edema': 2 is no label"):
        _multilabel(write(CHEXPERT.replace("F,1.0", "F,2")))
    empty = write(CHEXPERT.replace("F,1.0", "F,"))
    with pytest.raises(UserError, match=r"line 2.*no label is known.*unlabelled='drop'"):
        _multilabel(empty)
    assert _multilabel(empty, unlabelled="drop").row.tolist() == [1, 2]
    assert _multilabel(empty, blanks="negative").targets.tolist()[0] == [0, 0]


def test_what_is_said_to_be_missing_is_no_blank(write: Any) -> None:
    path = write("Path,Edema,Effusion\na.png,1,NA\nb.png,,?\nc.png,0,1\n")
    images = _multilabel(path, blanks="negative")
    np.testing.assert_array_equal(images.targets, np.asarray([[1, nan], [0, nan], [0, 1]], np.float32))
    assert images.about.notes[-2:] == ("1 blank labels", "2 missing labels")
    _fails(r"line 2, column 'y': -1 in a multiclass target", path=write("path,y\na.png,-1\nb.png,0\n"), target="y",
           task="multiclass")  # fmt: skip
    declared = _load(path=write("path,y\na.png,-1\nb.png,0\n"), target="y", task="multiclass", classes=("-1", "0", "1"))
    assert declared.targets.tolist() == [0, 1]


def test_rows_and_patients_that_are_left_out_are_told(write: Any) -> None:
    path = write("path,y,who\na.png,1,p\nb.png,,q\nc.png,0,r\nd.png,,r\n")
    images = _load(path=path, target="y", patient="who", unlabelled="drop")
    told = "2 of 4 rows have no target and are left out, and with them 1 patients altogether"
    assert len(images) == 2 and told in images.about.notes


def test_classes_patients_splits_and_root(write: Any, tmp_path: Path) -> None:
    path = write("path,grade,who,part\na.png,mild,7,train\nb/c.png,severe,7,train\nd.png,none,9.0,dev\n")
    moved = tmp_path / "elsewhere.csv"
    Path(path).rename(moved)
    options = {"path": str(moved), "target": "grade", "patient": "who", "split": "part"}
    absent = r"3 of the 3 pictures in column 'path' of .* do not exist: a\.png \(line 2\).* set root="
    _fails(absent, task="multiclass", **options)
    options["root"] = str(tmp_path / "pictures")
    images = _load(task="multiclass", classes=("none", "mild", "severe"), **options)
    assert images.targets.tolist() == [1, 2, 0]
    assert images.patient is not None and images.patient.tolist() == ["7", "7", "9"]
    assert images.split is not None and images.split.tolist() == ["train", "train", "validation"]
    assert images.names is not None and images.names.tolist() == ["a.png", "b/c.png", "d.png"]
    binary = _load(positive=("mild", "severe"), **options)
    assert binary.task.kind == "binary" and binary.targets.tolist() == [1, 1, 0]
    _fails(r"'severe' is not one of the declared classes none, mild", classes=("none", "mild"), **options)
    absolute = write(f"path,score\n{tmp_path}/pictures/a.png,1.5\n")
    number = _load(path=absolute, target="score", task="regression", size=(6, 8), color="rgb", unit="mm")
    assert number.targets.tolist() == [[1.5]] and number.read(0).shape == (6, 8, 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image": "Pth"}, r"image: .* has no column 'Pth'\. Did you mean 'Path'"),
        ({"image": "Edema"}, r"image: column 'Edema' has another role"),
        ({"target": None}, r"target: .* needs a target column"),
        ({"target": ("Edema", "Efusion")}, r"Did you mean 'Effusion'"),
        ({"patient": "Sex", "patient_pattern": "(x)"}, r"patient_pattern: patient names a column already"),
        ({"patient_pattern": "view"}, r"patient_pattern: 'view' has 0 groups"),
        ({"patient_pattern": r"(study2)/"}, r"finds a patient in only 1 of 3 paths; in '.*study1/view1\.png'"),
        ({"root": "no_such_folder"}, r"'no_such_folder' was not found"),
        ({"task": "binary", "target": "Edema", "blanks": "negative"}, r"blanks: only multilabel"),
        ({"task": "binary", "target": "Edema", "uncertain": "positive"}, r"uncertain: only multilabel"),
        ({"task": "binary", "target": "Edema", "uncertain": "error"}, r"uncertain: only multilabel"),
        (
            {"task": "binary", "target": "Edema", "positive": ">0"},
            r"line 3, column 'Edema': -1\.0 in a binary target\. If -1 means uncertain, use task='multilabel' with "
            r"target=\('Edema',\)",
        ),
        ({"task": "binary", "target": "Edema", "ordinal": True}, r"ordinal: only the classes of a multiclass target"),
        ({"task": "regression", "classes": ("a",)}, r"classes: a regression target has none"),
        ({"path": "absent.csv"}, r"'absent.csv' was not found"),
    ],
)
def test_declarations_that_do_not_fit(write: Any, options: Any, message: str) -> None:
    declared = {"path": write(CHEXPERT), "image": "Path", "task": "multilabel", "target": ("Edema", "Effusion")}
    _fails(message, **(declared | options))


def test_minus_one_may_be_declared_a_class(write: Any) -> None:
    images = _load(path=write("path,y\na.png,-1\nb.png,1\n"), target="y", classes=("-1", "1"))
    assert images.targets.tolist() == [0, 1] and images.task.names == ("-1", "1")


def test_the_pattern_sees_the_path_as_it_is_written(write: Any, tmp_path: Path) -> None:
    # The folder of the table is called "pictures": it says nothing of patients.
    path = write("path,y\ntom/a.png,0\ntim/b.png,1\n")
    images = _load(path=path, target="y", patient_pattern=r"^/(\w+)/")
    assert images.patient is not None and images.patient.tolist() == ["tom", "tim"]
    _fails(r"finds a patient in none of 2 paths", path=path, target="y", patient_pattern=r"/(pictures)/")


def test_root_is_looked_for_beside_the_table(write: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write("path,y\na.png,0\nb.png,1\n")
    table = tmp_path / "tables/table.csv"
    table.parent.mkdir()
    Path(path).rename(table)
    (tmp_path / "elsewhere/pictures").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "elsewhere")
    images = _load(path=str(table), target="y", root="../pictures")
    assert [int(images.read(n).mean()) for n in range(2)] == [0, 1]
    (tmp_path / "tables/pictures").mkdir()
    _fails(rf"Relative paths start from {tmp_path}/tables/pictures", path=str(table), target="y", root="pictures")
    # Where there is none beside the table, the usual places follow.
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tables/pictures").rmdir()
    assert len(_load(path=str(table), target="y", root="pictures")) == 2


def test_grades_have_an_order(write: Any) -> None:
    path = write("path,y\na.png,severe\nb.png,none\nc.png,mild\n")
    _fails(r"ordinal: the order of 'mild', 'none', 'severe' is not known.*classes=", path=path, target="y",
           task="multiclass", ordinal=True)  # fmt: skip
    images = _load(path=path, target="y", task="multiclass", ordinal=True, classes=("none", "mild", "severe"))
    assert images.task.ordinal and images.targets.tolist() == [2, 0, 1]
    assert not _load(path=path, target="y", task="multiclass").task.ordinal


def test_tables_that_do_not_fit(write: Any) -> None:
    for again in ("a.png", "./a.png", "../pictures/a.png"):
        table = write(f"path,y\na.png,1\n{again},0\n")
        _fails(rf"line 3, column 'path': '{again}' is a picture that stands on line 2", path=table, target="y")
    (Path(table := write("path,y\na.png,1\nb.png,0\n"))).write_text("path,y\na.png,1\n,0\n")
    _fails(r"line 3, column 'path': the path of the picture is missing", path=table, target="y")


def test_missing_and_damaged_files(write: Any) -> None:
    path = write("path,y\na.png,1\nb.png,0\nc.png,1\n")
    (Path(path).parent / "b.png").rename(Path(path).parent / "B.png")
    _fails(r"1 of the 3 .* do not exist: b\.png \(line 3\)\. Did you mean 'B\.png'\?", path=path, target="y")
    (Path(path).parent / "c.png").write_bytes(b"not a picture")
    kept = _load(path=path, target="y", unreadable="skip")
    assert kept.row.tolist() == [0] and kept.targets.tolist() == [1]
    assert "2 of 3 pictures cannot be read and are left out: b.png does not exist; c.png is no" in kept.about.notes[-1]
    (Path(path).parent / "B.png").rename(Path(path).parent / "b.png")
    _fails(r"1 of 3 pictures of .*table\.csv cannot be read: c\.png is no PNG", path=path, target="y")
