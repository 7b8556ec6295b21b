"""The .ts format of the UEA archive: series of one or several dimensions, of any length, each with a class."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from research.data.formats.delimited import as_number
from research.errors import UserError

MISSING = frozenset(("?", "nan"))
LARGEST = float(np.finfo(np.float32).max)


@dataclasses.dataclass(frozen=True, eq=False)
class LabelledSeries:
    """The series of one file.

    Attributes:
        series: float32 ``[T, C]`` each; NaN where a value is missing.
        labels: class of each, as written.
        lines: line of each in the file, from 1.
        path: the file.
    """

    series: list[Float32[np.ndarray, "_ _"]]
    labels: list[str]
    lines: list[int]
    path: Path


def read_ts(path: Path) -> LabelledSeries:
    """Read a file in the .ts format.

    Dimensions are divided by colons, values by commas, the class comes last; ``?`` and ``NaN`` are missing. Where the
    dimensions of a series differ in length, the shorter ones are missing at the end.

    Raises:
        UserError: for series without classes or with time stamps, a class that the header does not list, dimensions or
            lengths that differ from what the header declares, and values that are no numbers, naming the line.
    """
    header: dict[str, list[str]] = {}
    found = LabelledSeries([], [], [], path)
    began = False
    for number, line in enumerate(read_lines(path), 1):
        if not line or line.startswith("#"):
            continue
        if not began:
            if not line.startswith("@"):
                raise UserError(f"{path}, line {number}: {line[:40]!r} stands before @data; the header is damaged.")
            name, *values = line[1:].split()
            header[name.lower()] = values
            if name.lower() == "data":
                began = True
                _check_header(path, header)
            continue
        *dimensions, label = line.split(":")
        _check_row(path, number, header, len(dimensions), label.strip())
        found.series.append(_series(path, number, header, [text.split(",") for text in dimensions]))
        found.labels.append(label.strip())
        found.lines.append(number)
    if not found.series:
        raise UserError(f"{path} has no series after @data. Check that it was copied completely.")
    return found


def read_lines(path: Path) -> list[str]:
    """The lines of a file without space around them; raises `UserError` where it is no text."""
    try:
        return [line.strip() for line in path.read_text("utf-8-sig").splitlines()]
    except (UnicodeDecodeError, OSError) as error:
        raise UserError(f"{path} cannot be read as text ({error}). Fetch it again.") from None


def read_values(path: Path, line: int, cells: list[str]) -> Float32[np.ndarray, " T"]:
    """The numbers of a line, NaN where one is missing; raises `UserError` for any other text and for infinity."""
    try:
        found = np.asarray([float(cell) for cell in cells], np.float64)
    except ValueError:
        found = np.asarray([as_number(cell) for cell in cells], np.float64)
    found[np.asarray(["_" in cell for cell in cells])] = np.nan  # Python would read 1_05 as 105.
    for place in np.flatnonzero(~(np.abs(found) <= LARGEST)):
        cell = cells[place].strip()
        if cell.lower() not in MISSING:
            raise UserError(f"{path}, line {line}: {cell!r} is no finite number; a missing value is written ? or NaN.")
    return found.astype(np.float32)


def _check_header(path: Path, header: dict[str, list[str]]) -> None:
    if header.get("timestamps", ["false"])[0].lower() == "true":
        raise UserError(f"{path}: series with time stamps (@timeStamps true) are not supported.")
    if header.get("classlabel", ["false"])[0].lower() != "true":
        raise UserError(
            f"{path}: @classLabel true and the classes are needed; series without classes are not supported."
        )


def _check_row(path: Path, line: int, header: dict[str, list[str]], dimensions: int, label: str) -> None:
    declared = header.get("dimensions")
    if header.get("univariate", [""])[0].lower() == "true":
        declared = ["1"]
    if not dimensions or (declared and [str(dimensions)] != declared):
        asked = declared[0] if declared else "1 or more"
        raise UserError(f"{path}, line {line}: {dimensions} dimensions, {asked} are declared. The line may be cut off.")
    classes = header["classlabel"][1:]
    if label not in classes:
        raise UserError(f"{path}, line {line}: class {label!r} is not declared; @classLabel has {', '.join(classes)}.")


def _series(path: Path, line: int, header: dict[str, list[str]], rows: list[list[str]]) -> Float32[np.ndarray, "_ _"]:
    lengths = [len(row) for row in rows]
    declared = header.get("serieslength")
    if header.get("equallength", [""])[0].lower() == "true" and declared and {*map(str, lengths)} != {*declared}:
        raise UserError(
            f"{path}, line {line}: {lengths[0]} values, {declared[0]} are declared. The line may be cut off."
        )
    found = np.full((max(lengths), len(rows)), np.nan, np.float32)
    for column, row in enumerate(rows):
        found[: len(row), column] = read_values(path, line, row)
    return found
