"""Files become bytes: upright whatever EXIF says, and 16 bits are never narrowed unasked."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from research.data.formats.decoding import Pillow
from research.errors import UserError


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "tif"])
def test_pictures_are_upright(tmp_path: Path, suffix: str, orientation: int) -> None:
    upright = np.zeros((8, 16), np.uint8)
    upright[:4, :8] = 255  # bright in the upper left
    rows, columns = (upright, upright.T)[orientation > 4].shape
    turn = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.T,
        6: lambda a: np.rot90(a),
        7: lambda a: a[::-1, ::-1].T,
        8: lambda a: np.rot90(a, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(np.ascontiguousarray(turn(upright))).save(path, exif=exif)
    header = Pillow().header(path)
    assert (header.height, header.width, header.channels) == (8, 16, 1) and (rows, columns) == turn(upright).shape
    np.testing.assert_allclose(Pillow().decode(path)[:, :, 0], upright, atol=3)


def test_white_may_be_zero_in_16_bits_too(tmp_path: Path) -> None:
    ramp = np.asarray([[0, 1000, 4095, 5000]], np.uint16)
    pixels = {}
    for number, name in enumerate(("inverted", "plain")):
        path = tmp_path / f"{name}.tif"
        Image.fromarray(ramp).save(path, tiffinfo={262: number})
        pixels[name] = Pillow(4095).decode(path)
    np.testing.assert_array_equal(pixels["inverted"], 255 - pixels["plain"])
    assert pixels["plain"].ravel().tolist() == [0, 62, 255, 255]


@pytest.mark.parametrize(("color", "channels"), [(4, 2), (2, 3), (6, 4)])
def test_what_would_lose_its_16_bits_is_refused(tmp_path: Path, color: int, channels: int) -> None:
    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    path = tmp_path / "deep.png"
    head = struct.pack(">IIBBBBB", 3, 2, 16, color, 0, 0, 0)
    lines = zlib.compress((b"\0" + bytes(3 * channels * 2)) * 2)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", lines) + chunk(b"IEND", b""))
    for read in (Pillow(4095).header, Pillow(4095).decode):
        with pytest.raises(UserError, match="of 16 bits"):
            read(path)
    if color != 4:
        assert Pillow().header(path).channels == 3 and Pillow().decode(path).shape == (2, 3, 3)
