"""DICOM files: windows, photometric interpretations, labels by tag, and files that cannot be used."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from research.data.formats import DICOM
from research.data.formats.dicom import DICOMImages
from research.data.formats.dicom_format import DicomFormat, linear
from research.data.formats.new_pictures import new_pictures
from research.data.new_rows import NewPictures
from research.errors import UserError
from research.spec import check, from_json, to_json

pydicom = pytest.importorskip("pydicom")
from pydicom.dataset import Dataset, FileMetaDataset  # noqa: E402
from pydicom.pixels.processing import apply_modality_lut, apply_windowing, convert_color_space  # noqa: E402
from pydicom.uid import (  # noqa: E402
    MPEG4HP41,
    ExplicitVRLittleEndian,
    JPEGLosslessSV1,
    RLELossless,
    SecondaryCaptureImageStorage,
)

RAMP = np.arange(12, dtype=np.uint16).reshape(3, 4) * 300
PLAIN = {"RescaleSlope": 1, "RescaleIntercept": 0}


def _write(path: Path, pixels: np.ndarray = RAMP, syntax: str = ExplicitVRLittleEndian, **tags: Any) -> Path:
    """A DICOM file with the given pixels; a tag that is None is left out."""
    number = path.stem.encode().hex()[:12]
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = syntax
    data.SOPClassUID = SecondaryCaptureImageStorage
    bits = pixels.dtype.itemsize * 8
    defaults = {
        "SOPInstanceUID": f"1.2.3.{int(number, 16)}",
        "StudyInstanceUID": "1.2.7",
        "PatientID": f"P-{path.stem}",
        "Rows": pixels.shape[0],
        "Columns": pixels.shape[1],
        "SamplesPerPixel": 3 if pixels.ndim == 3 else 1,
        "PhotometricInterpretation": "RGB" if pixels.ndim == 3 else "MONOCHROME2",
        "BitsAllocated": bits,
        "BitsStored": bits,
        "HighBit": bits - 1,
        "PixelRepresentation": int(pixels.dtype.kind == "i"),
        "PixelData": pixels.astype(pixels.dtype.newbyteorder("<")).tobytes(),
    }
    if pixels.ndim == 3:
        defaults["PlanarConfiguration"] = 0
    for name, value in (defaults | tags).items():
        if value is not None:
            setattr(data, name, value)
    if "PixelData" in data:
        data["PixelData"].VR = "OB" if bits == 8 else "OW"
    path.parent.mkdir(parents=True, exist_ok=True)
    data.save_as(path, enforce_file_format=True)
    return path


@pytest.fixture
def films(tmp_path: Path) -> Path:
    """Three films and their table."""
    for name in ("a.dcm", "b", "deep/c.ima"):
        _write(tmp_path / "films" / name, StudyInstanceUID=f"1.2.{len(name)}")
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


def test_window_of_the_standard() -> None:
    """The two examples of PS3.3 C.11.2.1.2.1, and the ends of their ramps."""
    values = np.asarray([-100.0, 0.0, 1.0, 2047.5, 4094.0, 4095.0, 4096.0])
    expected = np.clip(values / 4095, 0, 1) * 255
    np.testing.assert_allclose(linear(values, 2048, 4096), expected, atol=1e-9)
    np.testing.assert_array_equal(linear(np.asarray([2047.0, 2048.0]), 2048, 1), [0, 255])
    narrow = linear(np.asarray([-0.5, 0.0, 50.0, 99.0, 99.5]), 50, 100)
    np.testing.assert_allclose(narrow, [0, 0, 255 * (0.5 / 99 + 0.5), 255, 255], atol=1e-9)


def _decoded(path: Path, **options: Any) -> np.ndarray:
    form = DicomFormat(**options)
    pixels, header = form.decode(path), form.header(path)
    assert pixels.dtype == np.uint8 and pixels.shape == (header.height, header.width, header.channels)
    return pixels[:, :, 0] if header.channels == 1 else pixels


@pytest.mark.parametrize("function", [None, "LINEAR", "LINEAR_EXACT", "SIGMOID"])
def test_windows_of_the_file_are_those_of_pydicom(tmp_path: Path, function: str | None) -> None:
    pixels = (RAMP.astype(np.int16) - 500) // 2
    tags = {"RescaleSlope": 2, "RescaleIntercept": -100, "WindowCenter": [400, 0], "WindowWidth": [1500, 10]}
    path = _write(tmp_path / "ct.dcm", pixels, VOILUTFunction=function, **tags)
    data = pydicom.dcmread(path)
    rescaled = apply_modality_lut(data.pixel_array, data)
    np.testing.assert_array_equal(rescaled, pixels * 2.0 - 100)
    windowed = apply_windowing(rescaled, data)  # pydicom's range is that of the rescaled bits
    low, high = -(2**15) * 2 - 100, (2**15 - 1) * 2 - 100
    np.testing.assert_allclose(_decoded(path), (windowed - low) / (high - low) * 255, atol=0.501)
    assert _decoded(path).min() < 60 and _decoded(path).max() > 190
    own = _decoded(path, window=(0.0, 1000.0))
    np.testing.assert_allclose(own, np.clip((rescaled + 0.5) / 999 + 0.5, 0, 1) * 255, atol=0.501)


def test_enhanced_files_keep_rescaling_and_window_in_their_groups(tmp_path: Path) -> None:
    tags = {"RescaleSlope": 2, "RescaleIntercept": -1000, "RescaleType": "HU"}
    window = {"WindowCenter": 40, "WindowWidth": 1400}
    classic = _decoded(_write(tmp_path / "classic.dcm", RAMP, **tags, **window))
    groups = []
    for values, part in ((tags, "PixelValueTransformationSequence"), (window, "FrameVOILUTSequence")):
        inner, group = Dataset(), Dataset()
        for name, value in values.items():
            setattr(inner, name, value)
        setattr(group, part, [inner])
        groups.append(group)
    wrong = Dataset()
    wrong.FrameVOILUTSequence = [Dataset()]
    wrong.FrameVOILUTSequence[0].WindowCenter, wrong.FrameVOILUTSequence[0].WindowWidth = 9000, 2
    shared, frame = Dataset(), groups[1]
    shared.update(groups[0])
    shared.update(wrong)
    enhanced = _write(
        tmp_path / "enhanced.dcm",
        RAMP,
        NumberOfFrames=1,
        SharedFunctionalGroupsSequence=[shared],
        PerFrameFunctionalGroupsSequence=[frame],
    )
    assert 0 < classic.mean() < 255
    np.testing.assert_array_equal(_decoded(enhanced), classic)
    np.testing.assert_array_equal(
        _decoded(enhanced, window=(40.0, 400.0)), _decoded(tmp_path / "classic.dcm", window=(40.0, 400.0))
    )


def test_a_name_without_its_folder_means_one_file(films: Path) -> None:
    for place in "ABC":
        _write(films / f"films/{place}/0001.dcm", PatientID=f"P-{place}")
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
        _write(films / "uids" / name)
    (films / "films.csv").write_text("file,y\n1.2,1\n9.9,0\n")
    _fails(r"1 of 3 files .*1\.2\.3", films, path=str(films / "uids"))


def test_one_picture_has_one_file_and_a_study_may_have_several(films: Path) -> None:
    table = films / "films.csv"
    _write(films / "films/copy.dcm", SOPInstanceUID="7.7", StudyInstanceUID="1.2.1")
    _write(films / "films/d.dcm", SOPInstanceUID="7.7", StudyInstanceUID="1.2.1")
    table.write_text("SOPInstanceUID,y\n7.7,1\n8.8,0\n")
    _fails(r"2 files have the SOPInstanceUID '7\.7', which names one picture: copy.dcm, d.dcm", films,
           key="SOPInstanceUID", unlabelled="drop")  # fmt: skip
    table.write_text("StudyInstanceUID,y\n1.2.1,1\n1.2.5,0\n1.2.10,1\n")
    images = _load(films, key="StudyInstanceUID")
    assert "3 files share 1 rows of the table by StudyInstanceUID" in images.about.notes


def test_pictures_without_a_window(tmp_path: Path) -> None:
    np.testing.assert_array_equal(_decoded(_write(tmp_path / "deep.dcm", RAMP + 7)), np.rint(RAMP / 3300 * 255))
    inverted = _decoded(_write(tmp_path / "m1.dcm", RAMP + 7, PhotometricInterpretation="MONOCHROME1"))
    np.testing.assert_array_equal(inverted, 255 - np.rint(RAMP / 3300 * 255))
    bytes8 = (RAMP // 100).astype(np.uint8)
    np.testing.assert_array_equal(_decoded(_write(tmp_path / "eight.dcm", bytes8)), bytes8)
    np.testing.assert_array_equal(_decoded(_write(tmp_path / "slope.dcm", bytes8, **PLAIN)), bytes8)
    stretched = _decoded(_write(tmp_path / "steep.dcm", bytes8, **(PLAIN | {"RescaleSlope": 2})))
    assert (stretched.min(), stretched.max()) == (0, 255)
    assert not _decoded(_write(tmp_path / "flat.dcm", np.full((2, 2), 9, np.uint16))).any()
    table = Dataset()
    table.LUTDescriptor = [4, 0, 12]
    table["LUTDescriptor"].VR = "US"
    table.LUTData = [4095, 2000, 1000, 0]
    table["LUTData"].VR = "US"
    path = _write(tmp_path / "lut.dcm", np.asarray([[0, 1], [2, 9]], np.uint16), VOILUTSequence=[table])
    assert _decoded(path).tolist() == [[255, 125], [62, 0]]


@pytest.mark.parametrize("limit", [None, 60000])
def test_padding_counts_for_nothing_and_is_black(tmp_path: Path, limit: int | None) -> None:
    padded = RAMP + np.uint16(500)
    padded[0, :2] = 65000, 65000 if limit is None else 62000
    tags = {"PixelPaddingValue": 65000, "PixelPaddingRangeLimit": limit}
    film = np.rint((RAMP - 600.0) / 2700 * 255)
    film[0, :2] = 0
    np.testing.assert_array_equal(_decoded(_write(tmp_path / "m2.dcm", padded, **tags)), film)
    inverted = 255 - film
    inverted[0, :2] = 0
    tags["PhotometricInterpretation"] = "MONOCHROME1"
    np.testing.assert_array_equal(_decoded(_write(tmp_path / "m1.dcm", padded, **tags)), inverted)
    nothing = np.full((2, 2), 65000, np.uint16)
    assert not _decoded(_write(tmp_path / "none.dcm", nothing, **tags)).any()


def test_grades_have_an_order(films: Path) -> None:
    (films / "films.csv").write_text("file,y\na.dcm,10\nb,9\nc,2\n")
    task = _load(films, task="multiclass", ordinal=True).task
    assert task.ordinal and task.names == ("2", "9", "10")


def test_colour(tmp_path: Path) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (5, 6, 3), np.uint8)
    np.testing.assert_array_equal(_decoded(_write(tmp_path / "rgb.dcm", rgb)), rgb)
    ybr = convert_color_space(rgb, "RGB", "YBR_FULL")
    path = _write(tmp_path / "ybr.dcm", ybr, PhotometricInterpretation="YBR_FULL")
    np.testing.assert_allclose(_decoded(path).astype(int), rgb.astype(int), atol=2)
    wide = _decoded(_write(tmp_path / "wide.dcm", rgb.astype(np.uint16) * 257))
    np.testing.assert_array_equal(wide, rgb)


def test_compressed_files(tmp_path: Path) -> None:
    data = pydicom.dcmread(_write(tmp_path / "film.dcm", RAMP, WindowCenter=1500, WindowWidth=3000))
    plain = _decoded(tmp_path / "film.dcm")
    data.compress(RLELossless)
    data.save_as(tmp_path / "film.dcm")
    np.testing.assert_array_equal(_decoded(tmp_path / "film.dcm"), plain)


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
    _write(films / "films/a.dcm", **tags)
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
    _write(films / "films/b", PatientID="")
    _fails(r"patient: 1 of 3 files .* have no PatientID, such as b\. .*patient=None", films)
    (films / "none").mkdir()
    (films / "none/x.png").write_text("")
    _fails(r"none holds no DICOM files \(other files: 1\)", films, path=str(films / "none"))
    _write(films / "films/b", RAMP[:2])
    _fails(r"2 different sizes, height x width: 3 x 4 \(2\), 2 x 4 \(1\)", films)


def test_a_window_that_is_none(films: Path) -> None:
    _write(films / "films/a.dcm", WindowCenter=10, WindowWidth=0)
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
    _write(films / "films/b", PatientID="")
    source = DICOM(path="x", labels="y", size=(3, 4))
    rows = NewPictures((3, 4, 1), source).read(f"pictures:{films}/films")
    assert rows.columns["patient"].tolist() == ["P-a", None, "P-c"]
    assert "patient" not in NewPictures((3, 4, 1), source.replace(patient=None)).read(f"pictures:{films}/films").columns
