"""DICOM files become bytes: windows, photometric interpretations, padding, colour and compression."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from research.data.formats.dicom_format import DicomFormat, linear

pydicom = pytest.importorskip("pydicom")
from dicom_files import PLAIN, RAMP, write  # noqa: E402
from pydicom.dataset import Dataset  # noqa: E402
from pydicom.pixels.processing import apply_modality_lut, apply_windowing, convert_color_space  # noqa: E402
from pydicom.uid import RLELossless  # noqa: E402


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
    path = write(tmp_path / "ct.dcm", pixels, VOILUTFunction=function, **tags)
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
    classic = _decoded(write(tmp_path / "classic.dcm", RAMP, **tags, **window))
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
    enhanced = write(
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


def test_pictures_without_a_window(tmp_path: Path) -> None:
    np.testing.assert_array_equal(_decoded(write(tmp_path / "deep.dcm", RAMP + 7)), np.rint(RAMP / 3300 * 255))
    inverted = _decoded(write(tmp_path / "m1.dcm", RAMP + 7, PhotometricInterpretation="MONOCHROME1"))
    np.testing.assert_array_equal(inverted, 255 - np.rint(RAMP / 3300 * 255))
    bytes8 = (RAMP // 100).astype(np.uint8)
    np.testing.assert_array_equal(_decoded(write(tmp_path / "eight.dcm", bytes8)), bytes8)
    np.testing.assert_array_equal(_decoded(write(tmp_path / "slope.dcm", bytes8, **PLAIN)), bytes8)
    stretched = _decoded(write(tmp_path / "steep.dcm", bytes8, **(PLAIN | {"RescaleSlope": 2})))
    assert (stretched.min(), stretched.max()) == (0, 255)
    assert not _decoded(write(tmp_path / "flat.dcm", np.full((2, 2), 9, np.uint16))).any()
    table = Dataset()
    table.LUTDescriptor = [4, 0, 12]
    table["LUTDescriptor"].VR = "US"
    table.LUTData = [4095, 2000, 1000, 0]
    table["LUTData"].VR = "US"
    path = write(tmp_path / "lut.dcm", np.asarray([[0, 1], [2, 9]], np.uint16), VOILUTSequence=[table])
    assert _decoded(path).tolist() == [[255, 125], [62, 0]]


@pytest.mark.parametrize("limit", [None, 60000])
def test_padding_counts_for_nothing_and_is_black(tmp_path: Path, limit: int | None) -> None:
    padded = RAMP + np.uint16(500)
    padded[0, :2] = 65000, 65000 if limit is None else 62000
    tags = {"PixelPaddingValue": 65000, "PixelPaddingRangeLimit": limit}
    film = np.rint((RAMP - 600.0) / 2700 * 255)
    film[0, :2] = 0
    np.testing.assert_array_equal(_decoded(write(tmp_path / "m2.dcm", padded, **tags)), film)
    inverted = 255 - film
    inverted[0, :2] = 0
    tags["PhotometricInterpretation"] = "MONOCHROME1"
    np.testing.assert_array_equal(_decoded(write(tmp_path / "m1.dcm", padded, **tags)), inverted)
    nothing = np.full((2, 2), 65000, np.uint16)
    assert not _decoded(write(tmp_path / "none.dcm", nothing, **tags)).any()


def test_colour(tmp_path: Path) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (5, 6, 3), np.uint8)
    np.testing.assert_array_equal(_decoded(write(tmp_path / "rgb.dcm", rgb)), rgb)
    ybr = convert_color_space(rgb, "RGB", "YBR_FULL")
    path = write(tmp_path / "ybr.dcm", ybr, PhotometricInterpretation="YBR_FULL")
    np.testing.assert_allclose(_decoded(path).astype(int), rgb.astype(int), atol=2)
    wide = _decoded(write(tmp_path / "wide.dcm", rgb.astype(np.uint16) * 257))
    np.testing.assert_array_equal(wide, rgb)


def test_compressed_files(tmp_path: Path) -> None:
    data = pydicom.dcmread(write(tmp_path / "film.dcm", RAMP, WindowCenter=1500, WindowWidth=3000))
    plain = _decoded(tmp_path / "film.dcm")
    data.compress(RLELossless)
    data.save_as(tmp_path / "film.dcm")
    np.testing.assert_array_equal(_decoded(tmp_path / "film.dcm"), plain)
