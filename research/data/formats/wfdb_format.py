"""WFDB records, as PhysioNet publishes them: headers, signals and annotations, each checked against the others."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Int16, Int64, Shaped

from research.data.formats.dicom_format import INSTALL
from research.errors import UserError

BITS = {"8": 8, "80": 8, "212": 12, "16": 16, "61": 16, "160": 16, "24": 24, "32": 32}
"""Of a sample in the file, by the number of its format; of other formats the size is not checked."""

INVALID = {
    **dict.fromkeys(("80", "508"), -(2**7)),
    **dict.fromkeys(("310", "311"), -(2**9)),
    "212": -(2**11),
    **dict.fromkeys(("16", "61", "160", "516"), -(2**15)),
    **dict.fromkeys(("24", "524"), -(2**23)),
    "32": -(2**31),
}
"""What stands in the file for a sample that is not known, by the number of its format."""

RECORD = re.compile(r"\S+ (\d+) (\d+) (\d+)\s*")
SIGNAL = re.compile(r"(\S+) 16 ([\d.]+)\((-?\d+)\)/(\S+) 16 -?\d+ -?\d+ (-?\d+) 0 (\S+)\s*")
"""Lines of the simplest headers, of one file in format 16."""


@dataclasses.dataclass(frozen=True, eq=False)
class Record:
    """The signals of one record.

    Attributes:
        counts: int16 ``[S, C]``; 0 counts are 0 units.
        leads: what each signal is called.
        gains: counts of a unit, of each signal.
        units: of each signal, such as ``mV``.
        rate: samples per second.
    """

    counts: Int16[np.ndarray, "S C"]
    leads: tuple[str, ...]
    gains: tuple[float, ...]
    units: tuple[str, ...]
    rate: float


@dataclasses.dataclass(frozen=True, eq=False)
class Signals:
    """The signals of one record in their units.

    Attributes:
        values: ``[S, C]``; NaN where the file marks a sample as unknown.
        leads: what each signal is called.
        units: of each signal, such as ``mV``.
        rate: samples per second.
    """

    values: Float32[np.ndarray, "S C"]
    leads: tuple[str, ...]
    units: tuple[str, ...]
    rate: float


@dataclasses.dataclass(frozen=True)
class _Header:
    """What a header declares: of the record, then of each signal."""

    samples: int | None
    rate: float
    files: tuple[str, ...]
    formats: tuple[str, ...]
    offsets: tuple[int, ...]
    gains: tuple[float, ...]
    baselines: tuple[int, ...]
    units: tuple[str, ...]
    checksums: tuple[int | None, ...]
    leads: tuple[str, ...]


def read_signals(path: Path) -> Signals:
    """The signals of the record ``path``, which is written without an ending, in their units.

    Raises:
        UserError: where a file is absent or damaged, its size or its checksum is not what the header declares, or wfdb
            is not installed and is needed.
    """
    header, stored, unknown = _read_checked(path)
    values = (stored - np.asarray(header.baselines, np.float64)) / np.asarray(header.gains, np.float64)
    values[unknown] = np.nan
    return Signals(values.astype(np.float32), header.leads, header.units, header.rate)


def read_record(path: Path) -> Record:
    """The signals of the record ``path``, which is written without an ending, as whole numbers.

    Raises:
        UserError: as `read_signals`, and where samples are marked as unknown.
    """
    header, stored, unknown = _read_checked(path)
    file = beside(path, "hea")
    if unknown.any():
        raise UserError(
            f"{file}: {int(unknown.sum()):,} samples are marked as unknown in the signals. Leave the record out."
        )
    counts = stored.astype(np.int32) - np.asarray(header.baselines, np.int32)
    largest = max(int(counts.max(initial=0)), -int(counts.min(initial=0)))
    if largest >= 2**15:
        raise UserError(f"{file}: signals of more than 16 bits, here {largest:,} counts, are not supported.")
    return Record(counts.astype(np.int16), header.leads, header.gains, header.units, header.rate)


def _read_checked(path: Path) -> tuple[_Header, Shaped[np.ndarray, "S C"], Bool[np.ndarray, "S C"]]:
    """Header, stored numbers, and which of them stand for what is not known; the files agree with each other."""
    file = beside(path, "hea")
    if not file.is_file():
        raise UserError(f"{file} is missing. A WFDB record is a header (.hea) and the files of signals that it names.")
    header = _read_header(path, file)
    _check_sizes(file, header)
    stored = _read_stored(path, header)
    for number, (lead, declared) in enumerate(zip(header.leads, header.checksums, strict=True)):
        found = int(stored[:, number].sum(dtype=np.int64)) % 2**16
        if declared is not None and found != declared % 2**16:
            raise UserError(
                f"{file}: signal {lead} has the checksum {declared % 2**16}, and what {header.files[number]} holds has "
                f"{found}. One of the files is damaged or belongs to another record; fetch both again."
            )
    unknown = [stored[:, n] == INVALID.get(form, np.inf) for n, form in enumerate(header.formats)]
    return header, stored, np.stack(unknown, axis=1)


def read_annotations(path: Path, extension: str, samples: int) -> tuple[Int64[np.ndarray, " A"], tuple[str, ...]]:
    """Where annotations of the record ``path`` stand, and the symbol of each.

    Args:
        path: of the record, without an ending.
        extension: of the file of annotations, such as ``atr``.
        samples: of the record; annotations stand within them.

    Raises:
        UserError: where the file is absent, damaged or of another record, or wfdb is not installed.
    """
    file = beside(path, extension)
    if not file.is_file():
        raise UserError(f"{file} is missing: the annotations of record {path.name}. Fetch it again.")
    wfdb, content = import_wfdb(), file.read_bytes()
    # wfdb takes what is left of a file that was cut off; two zero bytes are its end.
    if len(content) % 2 or content[-2:] != b"\0\0":
        raise UserError(f"{file}: the end of the annotations is missing. The file was cut off; fetch it again.")
    try:
        found = wfdb.rdann(str(path), extension, return_label_elements=["symbol"])
    except (ValueError, IndexError, KeyError, TypeError, OSError) as error:
        raise UserError(f"{file}: these annotations cannot be read ({error}). Fetch the file again.") from None
    where, symbols = np.asarray(found.sample, np.int64), tuple(str(symbol) for symbol in found.symbol)
    outside = where[(where < 0) | (where >= samples)]
    if len(outside):
        raise UserError(
            f"{file}: an annotation stands at sample {outside[0]}, and the record has {samples}. The annotations "
            f"belong to another record, or the header is wrong."
        )
    return where, symbols


def beside(path: Path, extension: str) -> Path:
    """A file of the record ``path``."""
    return path.parent / f"{path.name}.{extension}"


def import_wfdb() -> Any:
    """The package wfdb; raises `UserError` where it is not installed."""
    try:
        import wfdb
    except ImportError:
        raise UserError(f"WFDB records are read by wfdb, which is absent: {INSTALL}.") from None
    return wfdb


def _read_header(path: Path, file: Path) -> _Header:
    # wfdb takes some 20 ms for a header of 12 signals: minutes for the thousands of records of PTB-XL.
    header = _simple_header(file)
    if header is not None:
        return header
    try:
        found = import_wfdb().rdheader(str(path))
        if not hasattr(found, "file_name"):
            raise UserError(f"{file}: a record of several segments is not supported. Give the segments one by one.")
        if not found.n_sig or set(found.samps_per_frame) != {1}:
            raise UserError(f"{file}: a record of signals of one sampling rate is needed.")
        return _Header(
            samples=found.sig_len,
            rate=float(found.fs),
            files=tuple(found.file_name),
            formats=tuple(found.fmt),
            offsets=tuple(offset or 0 for offset in found.byte_offset),
            gains=tuple(float(gain) for gain in found.adc_gain),
            baselines=tuple(int(baseline) for baseline in found.baseline),
            units=tuple(unit or "" for unit in found.units),
            checksums=tuple(found.checksum),
            leads=tuple(name or f"signal {number}" for number, name in enumerate(found.sig_name)),
        )
    except UserError:
        raise
    except (ValueError, IndexError, KeyError, TypeError, AttributeError, OSError) as error:
        raise UserError(f"{file}: this header cannot be read ({error}). Fetch it again.") from None


def _simple_header(file: Path) -> _Header | None:
    """A header of signals in format 16 and one file; None for any other."""
    lines = [line for line in file.read_text("utf-8", "replace").splitlines() if line and not line.startswith("#")]
    first = RECORD.fullmatch(lines[0]) if lines else None
    signals = [signal.groups() for line in lines[1:] if (signal := SIGNAL.fullmatch(line))]
    if first is None or not signals or not len(signals) == len(lines) - 1 == int(first[1]):
        return None
    files, gains, baselines, units, checksums, leads = zip(*signals, strict=True)
    if len(set(files)) > 1 or not all(map(float, gains)):
        return None
    return _Header(
        samples=int(first[3]),
        rate=float(first[2]),
        files=files,
        formats=("16",) * len(files),
        offsets=(0,) * len(files),
        gains=tuple(map(float, gains)),
        baselines=tuple(map(int, baselines)),
        units=units,
        checksums=tuple(map(int, checksums)),
        leads=leads,
    )


def _check_sizes(file: Path, header: _Header) -> None:
    """Every file of signals is there and has the declared number of samples."""
    for name in dict.fromkeys(header.files):
        place, number = file.parent / name, header.files.index(name)
        if not place.is_file():
            raise UserError(f"{place} is missing, and {file.name} names it as a file of signals. Fetch it again.")
        bits, signals = BITS.get(header.formats[number]), header.files.count(name)
        if bits is None or header.samples is None:
            continue
        size = place.stat().st_size - header.offsets[number]
        if size != -(-header.samples * signals * bits // 8):
            raise UserError(
                f"{place}: {size * 8 // (bits * signals):,} samples of each of {signals} signals in format "
                f"{header.formats[number]} ({size:,} bytes) are there, and {file.name} declares {header.samples:,}. "
                f"The file was cut off or belongs to another record; fetch both again."
            )


def _read_stored(path: Path, header: _Header) -> Shaped[np.ndarray, "S C"]:
    """The numbers as they stand in the files."""
    if set(header.formats) == {"16"} and len(set(header.files)) == 1 and header.offsets[0] == 0:
        content = (path.parent / header.files[0]).read_bytes()
        return np.frombuffer(content, "<i2").reshape(-1, len(header.files))
    try:
        return import_wfdb().rdrecord(str(path), physical=False, return_res=32).d_signal
    except (ValueError, IndexError, KeyError, TypeError, AttributeError, OSError) as error:
        raise UserError(f"{beside(path, 'hea')}: its signals cannot be read ({error}). Fetch them again.") from None
