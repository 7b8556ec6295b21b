"""Folders of DICOM files: labels by tag or name, patients, and files that cannot be used."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from research.data.formats import DICOM
from research.data.formats.dicom import DICOMImages
from research.data.formats.new_pictures import new_pictures
from research.data.new_rows import NewPictures
from research.errors import UserError
from research.spec import check, from_json, to_json

pydicom = pytest.importorskip("pydicom")
from dicom_files import RAMP, write  # noqa: E402
from pydicom.uid import MPEG4HP41, JPEGLosslessSV1  # noqa: E402


@pytest.fixture
def films(tmp_path: Path) -> Path:
    """Three films and their table."""
    for name in ("a.dcm", "b", "deep/c.ima"):
        write(tmp_path / "films" / name, StudyInstanceUID=f"1.2.{len(name)}")
    (tmp_path / "films/DICOMDIR").write_bytes(bytes(128) + b"DICM")
    (tmp_path / "films/readme.txt").write_text("films")
    (tmp_path / "films.csv").write_text("file,y,part\na.dcm,1,train\nb,0,train\nc,1,test\nz,0,test\n")
    return tmp_path


def _load(films: Path, **options: Any) -> DICOMImages:
    given = {"path": str(films / "films"), "labels": str(films / "films.csv"), "target": "y", "key": "file"} | options
    source = DICOM(**given)
    check(source)
    assert from_json(to_json(source)) == source
    images = source.load()
    assert images.about.notes[: len(source.about().notes)] == source.about().notes
    return images


def _fails(message: str, films: Path, **options: Any) -> None:
    with pytest.raises(UserError, match=message):
        _load(films, **options)


def test_folder_with_labels_patients_and_studies(films: Path) -> None:
    images = _load(films, split="part")
    assert images.shape == (3, 4, 1) and images.task.kind == "binary"
    assert images.names is not None and images.names.tolist() == ["a.dcm", "b", "deep/c.ima"]
    assert images.targets.tolist() == [1, 0, 1]
    assert images.split is not None and images.split.tolist() == ["train", "train", "test"]
    assert images.patient is not None and images.patient.tolist() == ["P-a", "P-b", "P-c"]
    assert images.study.tolist() == ["1.2.5", "1.2.1", "1.2.10"]
    assert images.about.notes[-3:] == (
        "files of other kinds ignored: 1 (.txt), 1 (no ending)",
        "1 of 4 rows of the table have no file",
        "studies: 3",
    )
    assert _load(films, patient=None).patient is None
    assert _load(films, path=str(films / "films/b")).targets.tolist() == [0]
    resized = _load(films, size=(6, 8), color="rgb").read(0)
    assert resized.shape == (6, 8, 3) and (resized[..., 0] == resized[..., 2]).all()


def test_labels_by_tag(films: Path) -> None:
    table = films / "films.csv"
    table.write_text("study,y\n1.2.1,1\n1.2.5,0\n1.2.10,1\n")
    images = _load(films, key="StudyInstanceUID", key_column="study")
    assert images.targets.tolist() == [0, 1, 1]
    table.write_text("PatientID,y\nP-a,1\nP-c,0\n")
    _fails(
        r"1 of 3 files of .* no row in .*by PatientID in column 'PatientID'.*'P-a': b \(P-b\)", films, key="PatientID"
    )
    dropped = _load(films, key="PatientID", unlabelled="drop")
    assert dropped.row.tolist() == [0, 2] and dropped.targets.tolist() == [1, 0]
    assert "1 files have no row in the table and are left out" in dropped.about.notes
    _fails(r"3 of 3 files .*Check key and key_column\.$", films, key="AccessionNumber", key_column="PatientID")


def test_a_name_without_its_folder_means_one_file(films: Path) -> None:
    for place in "ABC":
        write(films / f"films/{place}/0001.dcm", PatientID=f"P-{place}")
    table = films / "films.csv"
    table.write_text("file,y\na.dcm,1\nb,0\nc,1\n0001,1\n")
    _fails(r"3 of 6 files .*A/0001.dcm \(A/0001.dcm\).*Names that several files have are found by their paths", films)
    table.write_text("file,y\na.dcm,1\nb,0\nc,1\nA/0001.dcm,1\nB/0001.dcm,0\nC/0001.dcm,0\n")
    images = _load(films)
    assert images.names is not None
    assert dict(zip(images.names, images.targets, strict=True)) == {
        "A/0001.dcm": 1,
        "B/0001.dcm": 0,
        "C/0001.dcm": 0,
        "a.dcm": 1,
        "b": 0,
        "deep/c.ima": 1,
    }


def test_names_that_are_identifiers_are_not_cut(films: Path) -> None:
    for name in ("1.2", "1.2.3", "9.9"):
        write(films / "uids" / name)
    (films / "films.csv").write_text("file,y\n1.2,1\n9.9,0\n")
    _fails(r"1 of 3 files .*1\.2\.3", films, path=str(films / "uids"))


def test_one_picture_has_one_file_and_a_study_may_have_several(films: Path) -> None:
    table = films / "films.csv"
    write(films / "films/copy.dcm", SOPInstanceUID="7.7", StudyInstanceUID="1.2.1")
    write(films / "films/d.dcm", SOPInstanceUID="7.7", StudyInstanceUID="1.2.1")
    table.write_text("SOPInstanceUID,y\n7.7,1\n8.8,0\n")
    _fails(r"2 files have the SOPInstanceUID '7\.7', which names one picture: copy.dcm, d.dcm", films,
           key="SOPInstanceUID", unlabelled="drop")  # fmt: skip
    table.write_text("StudyInstanceUID,y\n1.2.1,1\n1.2.5,0\n1.2.10,1\n")
    images = _load(films, key="StudyInstanceUID")
    assert "3 files share 1 rows of the table by StudyInstanceUID" in images.about.notes


def test_grades_have_an_order(films: Path) -> None:
    (films / "films.csv").write_text("file,y\na.dcm,10\nb,9\nc,2\n")
    task = _load(films, task="multiclass", ordinal=True).task
    assert task.ordinal and task.names == ("2", "9", "10")


def _unusable(films: Path, message: str) -> None:
    _fails(rf"1 of 3 pictures .*: a\.dcm {message}.*Replace or remove them, or .*unreadable='skip'", films)
    kept = _load(films, unreadable="skip")
    assert kept.row.tolist() == [1, 2] and "a.dcm" in " ".join(kept.about.notes)


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ({"PixelData": None}, r"has no pixel data"),
        ({"NumberOfFrames": 3, "PixelData": RAMP.tobytes() * 3}, r"has 3 frames; only single pictures are read"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, r"has the photometric interpretation PALETTE COLOR; known:"),
        ({"Rows": None}, r"is truncated or damaged \(.*Rows"),
    ],
)
def test_files_that_cannot_be_used(films: Path, tags: Any, message: str) -> None:
    write(films / "films/a.dcm", **tags)
    _unusable(films, message)


@pytest.mark.parametrize(
    ("syntax", "message"),
    [
        (
            JPEGLosslessSV1,
            r"is compressed as JPEG Lossless.*to decode it install one of: gdcm.*or decompress",
        ),
        (MPEG4HP41, r"has the transfer syntax MPEG-4 .*4\.102\), which pydicom cannot decode"),
    ],
)
def test_transfer_syntaxes_without_decoder(
    films: Path, monkeypatch: pytest.MonkeyPatch, syntax: str, message: str
) -> None:
    from pydicom.pixels.decoders.base import get_decoder

    data = pydicom.dcmread(films / "films/a.dcm")
    data.file_meta.TransferSyntaxUID = syntax
    data.PixelData = pydicom.encaps.encapsulate([b"\xff\xd8\xff\xd9"])
    data["PixelData"].VR, data["PixelData"].is_undefined_length = "OB", True
    data.save_as(films / "films/a.dcm")
    monkeypatch.setattr(get_decoder(JPEGLosslessSV1), "_available", {})
    _unusable(films, message)


def test_damaged_files(films: Path) -> None:
    path = films / "films/a.dcm"
    whole = path.read_bytes()
    path.write_bytes(whole[:-8])
    _unusable(films, "is truncated")
    path.write_bytes(whole[:140])
    _unusable(films, "has no pixel data, or is truncated before it")
    path.write_bytes(b"nothing like it")
    _unusable(films, "is no DICOM file: the mark DICM")
    path.write_bytes(b"")
    _unusable(films, "is empty")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"labels": ""}, r"labels: the path of a CSV file"),
        ({"labels": "absent.csv"}, r"'absent.csv' was not found"),
        ({"path": "absent"}, r"'absent' was not found"),
        ({"key_column": "fil"}, r"key_column: .*no column 'fil'\. Did you mean 'file'"),
        ({"key": "PatientID"}, r"key: .*no column 'PatientID'"),
        ({"key": "Patient"}, r"key: .*one of"),
        ({"key_column": "y"}, r"key_column: column 'y' is target already"),
        ({"window": (40, 0.5)}, r"window: a width of at least 1"),
        ({"window": (40,)}, r"window: "),
        ({"white": 4095}, r"white: DICOM files have windows; set window="),
        ({"target": "z"}, r"target: .* no column 'z'"),
    ],
)
def test_declarations_that_do_not_fit(films: Path, options: Any, message: str) -> None:
    _fails(message, films, **options)


def test_tables_and_tags_that_do_not_fit(films: Path) -> None:
    table = films / "films.csv"
    table.write_text("file,y\na.dcm,1\nb,0\na.dcm,1\n")
    _fails(r"line 4, column 'file': 'a\.dcm' stands on line 2 already", films)
    table.write_text("file,y\na.dcm,1\n,0\nc,1\n")
    _fails(r"line 3, column 'file': the file is missing", films)
    table.write_text("file,y\na.dcm,1\nb,0\nc,1\n")
    write(films / "films/b", PatientID="")
    _fails(r"patient: 1 of 3 files .* have no PatientID, such as b\. .*patient=None", films)
    (films / "none").mkdir()
    (films / "none/x.png").write_text("")
    _fails(r"none holds no DICOM files \(other files: 1\)", films, path=str(films / "none"))
    write(films / "films/b", RAMP[:2])
    _fails(r"2 different sizes, height x width: 3 x 4 \(2\), 2 x 4 \(1\)", films)


def test_a_window_that_is_none(films: Path) -> None:
    write(films / "films/a.dcm", WindowCenter=10, WindowWidth=0)
    images = _load(films)
    with pytest.raises(UserError, match=r"a\.dcm has a LINEAR window of width 0"):
        images.read(0)
    assert _load(films, window=(1500, 3000)).signature != images.signature


def test_pydicom_absent(films: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pydicom", None)
    needed = r"pip install -c constraints\.txt -e '\.\[medical\]'"
    _fails(needed, films)
    trained_on = DICOM(path=str(films / "films"), labels="films.csv", target="y")
    with pytest.raises(UserError, match=needed):
        NewPictures((3, 4, 1), trained_on).read(f"pictures:{films}")


def test_new_films(films: Path) -> None:
    source = DICOM(path="x", labels="y", window=(1500, 3000))
    new = new_pictures(str(films / "films"), (3, 4, 1), "stretch", source.format())
    assert new.names.tolist() == ["a.dcm", "b", "deep/c.ima"]
    np.testing.assert_array_equal(new.read(2), _load(films, window=(1500, 3000)).read(2))
    assert new.patient is None


def test_new_films_say_their_patient(films: Path) -> None:
    write(films / "films/b", PatientID="")
    source = DICOM(path="x", labels="y", size=(3, 4))
    rows = NewPictures((3, 4, 1), source).read(f"pictures:{films}/films")
    assert rows.columns["patient"].tolist() == ["P-a", None, "P-c"]
    assert "patient" not in NewPictures((3, 4, 1), source.replace(patient=None)).read(f"pictures:{films}/films").columns
