"""`DicomFormat`: a DICOM file becomes bytes: rescaled, windowed, bright where dense."""

from __future__ import annotations

import dataclasses
import importlib.metadata
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Shaped, UInt8

from research.data.formats.decoding import Header, PictureFormat
from research.data.unreadable import Unreadable
from research.errors import UserError

IDENTIFIERS = ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "AccessionNumber", "PatientID")
"""Tags by which a file can be found in a table."""

GREY = ("MONOCHROME1", "MONOCHROME2")
COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")

HEADER = (
    *IDENTIFIERS,
    "Rows",
    "Columns",
    "NumberOfFrames",
    "PhotometricInterpretation",
    "PixelData",
    "FloatPixelData",
    "DoubleFloatPixelData",
)

PREAMBLE = 128
UNDEFINED = 0xFFFFFFFF
INSTALL = "pip install -c constraints.txt -e '.[medical]'"
LARGE = 4096
"""Elements of more bytes than this are left in the file while only the header is read."""


def linear(values: Float64[np.ndarray, ...], center: float, width: float) -> Float64[np.ndarray, ...]:
    """The window function LINEAR of DICOM PS3.3 C.11.2.1.2.1, from 0 to 255.

    With center c and width w: 0 where ``x <= c - 0.5 - (w - 1) / 2``; 255 where ``x > c - 0.5 + (w - 1) / 2``; and
    ``((x - (c - 0.5)) / (w - 1) + 0.5) * 255`` between.

    Args:
        values: after rescaling, in the unit of center and width, such as Hounsfield units.
        center: of the window.
        width: of the window, at least 1; at 1 it is a threshold.
    """
    middle, half = center - 0.5, (width - 1) / 2
    between = ((values - middle) / (width - 1) + 0.5) * 255 if width > 1 else np.zeros_like(values)
    return np.where(values <= middle - half, 0.0, np.where(values > middle + half, 255.0, between))


@dataclasses.dataclass(frozen=True)
class DicomHeader(Header):
    """`Header`, and what identifies the picture.

    Attributes:
        identifiers: the tags of `IDENTIFIERS`, as text; those that the file lacks, or leaves empty, are absent.
    """

    identifiers: dict[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class DicomFormat(PictureFormat):
    """DICOM files of one frame, grey or colour, compressed or not, as far as pydicom can decode them.

    Grey: the rescale slope and intercept (or lookup table) are applied, then the window, and MONOCHROME1 is inverted.
    Without a window in the file its VOI lookup table holds; without that, unsigned pictures of 8 bits stay as they
    are and others are stretched from their smallest to their largest value. Padding, where the file says how it is
    marked, counts for nothing in that and becomes black. Colour becomes RGB of 8 bits.

    Attributes:
        window: center and width of the window (LINEAR), in the rescaled unit; None: the first one of each file.
    """

    suffixes = (".dcm", ".dicom", ".ima")
    window: tuple[float, float] | None = None

    def accepts(self, path: Path) -> bool:
        """A file with a DICOM ending, or whatever its name with the mark of DICOM in it; no directory of others."""
        if path.name.upper() == "DICOMDIR":
            return False
        return path.suffix.lower() in self.suffixes or _marked(path)

    def decoders(self) -> str:
        """See `PictureFormat.decoders`; pydicom and what it decodes compressed pixels with belong to it."""
        return f"{super().decoders()}, pydicom {importlib.metadata.version('pydicom')}"

    def header(self, path: Path) -> DicomHeader:
        """See `PictureFormat.header`; identifiers as well."""
        data = _read(path, specific_tags=list(HEADER), defer_size=LARGE)
        try:
            return self._header(path, data)
        except Unreadable:
            raise
        except Exception as error:  # pydicom parses values only when they are asked for.
            raise _damaged(path, error) from None

    def _header(self, path: Path, data: Any) -> DicomHeader:
        if "PixelData" not in data:
            floating = "FloatPixelData" in data or "DoubleFloatPixelData" in data
            lacking = "holds floating-point pixels" if floating else "has no pixel data, or is truncated before it"
            raise Unreadable(path, lacking)
        frames = int(data.get("NumberOfFrames") or 1)
        if frames > 1:
            raise Unreadable(
                path, f"has {frames} frames; only single pictures are read, so save the frames you need one by one"
            )
        kind = str(data.get("PhotometricInterpretation", "none"))
        if kind not in (*GREY, *COLOUR):
            raise Unreadable(path, f"has the photometric interpretation {kind}; known: {', '.join((*GREY, *COLOUR))}")
        _check_decodable(path, data)
        stored = data.get_item("PixelData")
        length, start = getattr(stored, "length", UNDEFINED), getattr(stored, "value_tell", 0)
        if length != UNDEFINED and start + length > path.stat().st_size:
            raise Unreadable(path, "is truncated")
        known = {name: str(data.get(name) or "").strip() for name in IDENTIFIERS}
        return DicomHeader(
            height=int(data.Rows),
            width=int(data.Columns),
            channels=1 if kind in GREY else 3,
            identifiers={name: value for name, value in known.items() if value},
        )

    def decode(self, path: Path) -> UInt8[np.ndarray, "H W C"]:
        """See `PictureFormat.decode`."""
        from pydicom.pixels.processing import apply_modality_lut
        from pydicom.pixels.utils import pixel_array

        data = _read(path)
        try:
            _take_from_groups(data)
            stored = pixel_array(data)
            if stored.ndim == 3:
                return stored if stored.dtype == np.uint8 else _narrowed(stored, int(data.BitsStored))
            padding = _padding(stored, data)
            rescaled = np.asarray(apply_modality_lut(stored, data))
            grey = np.rint(self._windowed(path, rescaled, padding, data)).astype(np.uint8)
        except Unreadable:
            raise
        except Exception as error:  # Decoders raise whatever their parsing stumbles over.
            raise _damaged(path, error) from None
        if data.PhotometricInterpretation == "MONOCHROME1":
            grey = 255 - grey
        grey = np.where(padding, np.uint8(0), grey)
        return grey[:, :, None]

    def _windowed(
        self, path: Path, rescaled: Shaped[np.ndarray, "H W"], padding: Bool[np.ndarray, "H W"], data: Any
    ) -> Float64[np.ndarray, "H W"]:
        """Grey values from 0 to 255."""
        from pydicom.pixels.processing import apply_voi

        values = rescaled.astype(np.float64)
        if self.window is not None:
            return linear(values, *self.window)
        center, width = _first(data.get("WindowCenter")), _first(data.get("WindowWidth"))
        if center is not None and width is not None:
            return _file_window(path, values, center, width, str(data.get("VOILUTFunction") or "LINEAR"))
        table = data.get("VOILUTSequence")
        if table:
            bits = int(table[0].LUTDescriptor[2])
            return apply_voi(rescaled.astype(np.int64), data).astype(np.float64) * (255 / (2**bits - 1))
        if not data.PixelRepresentation and data.BitsStored == 8 and _unscaled(data):
            return values
        shown = values[~padding]
        low, high = (shown.min(), shown.max()) if shown.size else (0.0, 0.0)
        return np.clip((values - low) * (255 / (high - low)), 0, 255) if high > low else np.zeros_like(values)


def _take_from_groups(data: Any) -> None:
    """Bring the rescaling and the window of an enhanced file to where classic ones have them.

    Enhanced files (CT, MR) keep them in functional groups, those of the frame before those that all frames share
    (DICOM PS3.3 C.7.6.16).
    """
    for groups in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        for group in (data.get(groups) or [])[:1]:
            for part in ("PixelValueTransformationSequence", "FrameVOILUTSequence"):
                for values in (group.get(part) or [])[:1]:
                    data.update({element.tag: element for element in values})


def _unscaled(data: Any) -> bool:
    """Whether a file's rescaling changes nothing, or there is none."""
    slope, intercept = data.get("RescaleSlope"), data.get("RescaleIntercept")
    identity = (slope is None or float(slope) == 1) and (intercept is None or float(intercept) == 0)
    return identity and not data.get("ModalityLUTSequence")


def _padding(stored: Shaped[np.ndarray, "H W"], data: Any) -> Bool[np.ndarray, "H W"]:
    """Pixels that are no part of the picture (PixelPaddingValue, and its range limit; DICOM PS3.3 C.7.5.1.1.2)."""
    value = data.get("PixelPaddingValue")
    if value is None:
        return np.zeros(stored.shape, bool)
    limit = data.get("PixelPaddingRangeLimit")
    low, high = sorted((int(value), int(value if limit is None else limit)))
    return (stored >= low) & (stored <= high)


def _file_window(
    path: Path, values: Float64[np.ndarray, "H W"], center: float, width: float, function: str
) -> Float64[np.ndarray, "H W"]:
    """The window that a file states, by the functions of DICOM PS3.3 C.11.2.1.2 and C.11.2.1.3."""
    if function == "LINEAR" and width >= 1:
        return linear(values, center, width)
    if function == "LINEAR_EXACT" and width > 0:
        return np.clip((values - center) / width + 0.5, 0, 1) * 255
    if function == "SIGMOID" and width > 0:
        return 255 / (1 + np.exp(np.clip(-4 * (values - center) / width, -700, 700)))
    raise Unreadable(
        path, f"has a {function} window of width {width:g}, which means nothing; set window=(center, width)"
    )


def _first(value: Any) -> float | None:
    """The first of the windows that a file offers."""
    if value is None or (not isinstance(value, int | float) and not len(value)):
        return None
    return float(value) if isinstance(value, int | float) else float(value[0])


def _narrowed(picture: Shaped[np.ndarray, "H W 3"], bits: int) -> UInt8[np.ndarray, "H W 3"]:
    return np.rint(picture.astype(np.float64) * (255 / (2**bits - 1))).astype(np.uint8)


def _marked(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(PREAMBLE + 4)[PREAMBLE:] == b"DICM"
    except OSError:
        return False


def _read(path: Path, **options: Any) -> Any:
    """The file as a pydicom dataset; whatever goes wrong is an `Unreadable`."""
    from pydicom import dcmread
    from pydicom.errors import InvalidDicomError

    try:
        if not path.stat().st_size:
            raise Unreadable(path, "is empty")
        return dcmread(path, **options)
    except Unreadable:
        raise
    except InvalidDicomError:
        raise Unreadable(path, "is no DICOM file: the mark DICM is not where it should be") from None
    except FileNotFoundError:
        raise Unreadable(path, "does not exist") from None
    except Exception as error:  # pydicom raises whatever its parsing stumbles over.
        raise _damaged(path, error) from None


def _damaged(path: Path, error: Exception) -> Unreadable:
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return Unreadable(path, f"is truncated or damaged ({reason})")


def _check_decodable(path: Path, data: Any) -> None:
    """Whether something installed can decode the transfer syntax."""
    from pydicom.pixels.decoders.base import get_decoder

    syntax = data.file_meta.get("TransferSyntaxUID")
    if syntax is None:
        raise Unreadable(path, "does not state its transfer syntax, so its pixels cannot be decoded")
    named = f"{syntax.name} ({syntax})"
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError:
        raise Unreadable(path, f"has the transfer syntax {named}, which pydicom cannot decode") from None
    if not decoder.is_available:
        raise Unreadable(
            path,
            f"is compressed as {named}; to decode it install one of: {'; '.join(decoder.missing_dependencies)}; or "
            f"decompress the files first",
        )


def check_pydicom() -> None:
    """Raise `UserError` unless pydicom is installed."""
    try:
        import pydicom  # noqa: F401
    except ImportError:
        raise UserError(f"DICOM files are read by pydicom, which is absent: {INSTALL}.") from None
