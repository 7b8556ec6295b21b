"""Small DICOM files with given pixels and tags, for the tests of their format and of the source."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage

RAMP = np.arange(12, dtype=np.uint16).reshape(3, 4) * 300
PLAIN = {"RescaleSlope": 1, "RescaleIntercept": 0}


def write(path: Path, pixels: np.ndarray = RAMP, syntax: str = ExplicitVRLittleEndian, **tags: Any) -> Path:
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
