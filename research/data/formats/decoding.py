"""One picture file becomes bytes `[H, W, C]`: `PictureFormat`, and `Pillow` for the common formats."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import PIL
from jaxtyping import UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

from research.data.unreadable import Unreadable

Resize = Literal["stretch", "fit", "crop"]

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
"""Endings of the file names, in lower case, by which Pillow's pictures are found in a folder."""

FORMATS = ("PNG", "JPEG", "BMP", "TIFF")
GREY = ("1", "L", "LA", "La")
GREY_16 = ("I;16", "I;16B", "I;16L", "I;16N", "I")
LARGEST_16 = 65535
COLOUR = ("P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr")

TRANSPOSED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation to what brings the picture upright."""

ORIENTATION = 0x0112
PHOTOMETRIC, WHITE_IS_ZERO = 262, 0
TURNED = (5, 6, 7, 8)


@dataclasses.dataclass(frozen=True)
class Header:
    """What the beginning of a file says of its picture.

    Attributes:
        height, width: in pixels, upright.
        channels: 1 grey, 3 colour.
        deep: whether grey values have more than 8 bits and `Pillow.white` says which of them is white.
    """

    height: int
    width: int
    channels: int
    deep: bool = False


class PictureFormat:
    """How files of one kind are read; a small value without state, so that threads and processes can share it."""

    suffixes: tuple[str, ...] = SUFFIXES

    def accepts(self, path: Path) -> bool:
        """Whether a file found in a folder is taken for a picture, by its name or its first bytes."""
        return path.suffix.lower() in self.suffixes

    def decoders(self) -> str:
        """Versions of what turns files into pixels; what was prepared by others is prepared anew."""
        return f"decoding {DECODING_VERSION}, Pillow {PIL.__version__}"

    def header(self, path: Path) -> Header:
        """Size and channels, without reading the pixels; raises `Unreadable`."""
        raise NotImplementedError

    def decode(self, path: Path) -> UInt8[np.ndarray, "H W C"]:
        """The whole picture, upright; raises `Unreadable`, also for a truncated file."""
        raise NotImplementedError


DECODING_VERSION = 2
"""To be raised whenever the same files become other pixels, so that what was prepared from them is prepared anew."""


@dataclasses.dataclass(frozen=True)
class Pillow(PictureFormat):
    """PNG, JPEG, BMP and TIFF, told apart by their content.

    EXIF orientation is applied. 16-bit grey values are scaled so that ``white`` becomes 255, and what lies above it too
    (colour of 16 bits keeps its upper 8, and is refused where ``white`` is given); black and white become 0 and 255. A
    palette counts as colour, CMYK becomes RGB, and what is transparent is laid over black. Files of several pages or
    frames are refused, for one of them would have to be chosen.

    Attributes:
        white: the 16-bit grey value that becomes 255; None: 65535, the largest that such a file can hold.
    """

    white: int | None = None

    def header(self, path: Path) -> Header:
        """See `PictureFormat.header`."""
        with _opened(path) as image:
            _check_depth(image, path, self.white)
            width, height = image.size
            if _orientation(image) in TURNED:
                width, height = height, width
            return Header(height, width, 3 if image.mode in COLOUR else 1, image.mode in GREY_16)

    def decode(self, path: Path) -> UInt8[np.ndarray, "H W C"]:
        """See `PictureFormat.decode`."""
        with _opened(path) as image:
            _check_depth(image, path, self.white)
            # Asked before loading, as in `header`: some files say it only after the pixels, where `header` cannot see.
            orientation = _orientation(image)
            image.load()
            picture = _bytes(image, path, self.white)
            if orientation in TRANSPOSED:
                picture = picture.transpose(TRANSPOSED[orientation])
            pixels = np.array(picture)
            return pixels[:, :, None] if pixels.ndim == 2 else pixels


def fit(picture: UInt8[np.ndarray, "h w c"], shape: tuple[int, int, int], resize: Resize) -> UInt8[np.ndarray, "H W C"]:
    """A picture in another size and number of channels.

    Colour becomes grey by ITU-R BT.601 luma. Sizes change by Pillow's bilinear filter, which averages over all the
    pixels that fall into one.

    Args:
        picture: bytes, grey or colour.
        shape: height, width and channels to bring it to.
        resize: ``stretch`` changes the aspect ratio; ``fit`` keeps it and fills up with black on both sides; ``crop``
            keeps it and cuts off what sticks out on both sides.
    """
    height, width, channels = shape
    image = Image.fromarray(picture[:, :, 0] if picture.shape[2] == 1 else picture)
    if picture.shape[2] != channels:
        image = image.convert("L" if channels == 1 else "RGB")
    if image.size != (width, height):
        image = _resized(image, width, height, resize)
    return np.array(image).reshape(shape)


def _resized(image: Image.Image, width: int, height: int, resize: Resize) -> Image.Image:
    method = Image.Resampling.BILINEAR
    if resize == "stretch":
        return image.resize((width, height), method)
    if resize == "crop":
        return ImageOps.fit(image, (width, height), method)
    scale = min(width / image.width, height / image.height)
    inner = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    whole = Image.new(image.mode, (width, height))
    whole.paste(image.resize(inner, method), ((width - inner[0]) // 2, (height - inner[1]) // 2))
    return whole


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """The file, checked as far as its header goes; whatever goes wrong is an `Unreadable`."""
    try:
        if not path.stat().st_size:
            raise Unreadable(path, "is empty")
        # Given a path, Pillow maps the file into memory, and then does not turn TIFF upright.
        with path.open("rb") as file, Image.open(file, formats=FORMATS) as image:
            _check(image, path)
            yield image
    except Unreadable:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise _too_large(path) from None
    except FileNotFoundError:
        raise Unreadable(path, "does not exist") from None
    except UnidentifiedImageError:
        raise Unreadable(path, "is no PNG, JPEG, BMP or TIFF picture, or its beginning is damaged") from None
    except Exception as error:  # Pillow raises whatever its parsing stumbles over.
        raise Unreadable(path, f"is truncated or damaged ({str(error) or type(error).__name__})") from None


def _check(image: Image.Image, path: Path) -> None:
    largest = Image.MAX_IMAGE_PIXELS
    if largest is not None and image.width * image.height > largest:
        raise _too_large(path)
    if image.mode not in (*GREY, *GREY_16, *COLOUR):
        raise Unreadable(path, f"holds pixels of kind {image.mode!r}; save it with 8 or 16 bits, grey or colour")
    # A photograph of a telephone (MPO) has a preview as second picture; the first is meant.
    if image.format in ("TIFF", "PNG") and getattr(image, "n_frames", 1) > 1:
        raise Unreadable(path, f"holds {getattr(image, 'n_frames', 1)} pictures; save each in a file of its own")


def _check_depth(image: Image.Image, path: Path, white: int | None) -> None:
    """Refuse what Pillow would narrow to 8 bits without asking which value is white."""
    tiles = getattr(image, "tile", ()) if image.format == "PNG" else ()
    kind = str(tiles[0].args) if tiles else ""
    if kind.startswith("LA;16"):
        raise Unreadable(path, "is grey of 16 bits with transparency; save it without transparency, or with 8 bits")
    if white is not None and kind.startswith("RGB") and ";16" in kind:
        raise Unreadable(
            path, f"is colour of 16 bits, and white={white} is about grey; save it as grey, or with 8 bits"
        )


def _too_large(path: Path) -> Unreadable:
    return Unreadable(
        path,
        f"claims more than {Image.MAX_IMAGE_PIXELS} pixels, so it is damaged, an attack, or a slide to be cut into "
        f"tiles first",
    )


def _orientation(image: Image.Image) -> int:
    """EXIF orientation that is still to be applied; Pillow does it itself for TIFF."""
    if image.format == "TIFF" or (image.format == "PNG" and "exif" not in image.info):
        return 1
    return int(image.getexif().get(ORIENTATION, 1))


def _bytes(image: Image.Image, path: Path, white: int | None) -> Image.Image:
    """The picture as mode L or RGB; ``white`` as in `Pillow`."""
    if image.mode in GREY_16:
        values = np.asarray(image).astype(np.int64)
        if values.min() < 0 or values.max() > LARGEST_16:
            raise Unreadable(path, f"holds grey values from {values.min()} to {values.max()}; save it with 16 bits")
        largest = LARGEST_16 if white is None else white
        values = np.minimum(values, largest)
        if image.format == "TIFF" and getattr(image, "tag_v2", {}).get(PHOTOMETRIC) == WHITE_IS_ZERO:
            values = largest - values  # As Pillow itself does for 8 bits.
        return Image.fromarray(((values * 255 + largest // 2) // largest).astype(np.uint8))
    mode = "RGB" if image.mode in COLOUR else "L"
    if image.has_transparency_data:
        black = Image.new("RGBA", image.size, (0, 0, 0, 255))
        return Image.alpha_composite(black, image.convert("RGBA")).convert(mode)
    return image.convert(mode)
