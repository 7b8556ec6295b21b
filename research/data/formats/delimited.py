"""Delimited text as named columns of text, with the line of every row, so that errors can point at the file."""

from __future__ import annotations

import csv
import dataclasses
import math
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from research.errors import UserError, did_you_mean


@dataclasses.dataclass(frozen=True)
class Delimited:
    """The content of one file.

    Attributes:
        path: the file.
        names: column names without padding.
        cells: text of each column, without padding; None where the value is missing.
        lines: number of the line in the file on which each row ends, from 1.
    """

    path: Path
    names: tuple[str, ...]
    cells: dict[str, list[str | None]]
    lines: list[int]

    def __len__(self) -> int:
        return len(self.lines)

    def where(self, row: int, column: str) -> str:
        """A place in the file, for the beginning of a message."""
        return f"{self.path}, line {self.lines[row]}, column {column!r}"

    def require(self, names: Iterable[str], option: str) -> None:
        """Raise `UserError` for the first name that is no column of this file; ``option`` is what named it."""
        require_columns(self.path, self.names, names, option)

    def numbers(self, name: str, target: bool = False) -> Float64[np.ndarray, " N"]:
        """A column as numbers, NaN where a value is missing; ``target`` says that it is no input.

        Raises:
            UserError: at the first text, NaN or infinity, naming line, column, value and remedy.
        """
        cells = self.cells[name]
        values = np.asarray([math.nan if cell is None else as_number(cell) for cell in cells], dtype=np.float64)
        present = np.asarray([cell is not None for cell in cells], dtype=bool)
        wrong = np.flatnonzero(present & ~np.isfinite(values))
        if len(wrong):
            row = int(wrong[0])
            cell = cells[row]
            names = "" if target else f" If the column holds names, declare categorical=({name!r},)."
            raise UserError(
                f"{self.where(row, name)}: {cell!r} is not a finite number.{names} If {cell!r} means that the value is "
                f"missing, declare missing=({cell!r},)."
            )
        return values

    def categories(self, name: str) -> list[str | None]:
        """A column as text, None where a value is missing.

        A whole number written with one zero after the point is the same category as the whole number: programs
        write ``1.0`` for ``1`` in columns that have gaps. Nothing else is changed.

        Raises:
            UserError: where the text is ``nan``, which is no category unless declared missing.
        """
        for row, cell in enumerate(self.cells[name]):
            if cell is not None and cell.lower() == "nan":
                raise UserError(
                    f"{self.where(row, name)}: {cell!r} is not declared. If it means that the value is missing, "
                    f"declare missing=({cell!r},)."
                )
        return [whole(cell) for cell in self.cells[name]]


def require_columns(path: Path, known: Sequence[str], names: Iterable[str], option: str) -> None:
    """Raise `UserError` for the first of ``names`` that is no column of a file; ``option`` is what named it."""
    for name in names:
        if name not in known:
            raise UserError(
                f"{option}: {path} has no column {name!r}.{did_you_mean(name, known)} Its columns: {', '.join(known)}."
            )


def whole(cell: str | None) -> str | None:
    """``1`` for ``1.0``; every other text unchanged."""
    if cell is not None and cell.endswith(".0") and cell[:-2].lstrip("+-").isdigit():
        return cell[:-2]
    return cell


def as_number(cell: str) -> float:
    """The number that a cell holds; NaN where it holds text, such as ``1_05``, which Python would read as 105."""
    try:
        return math.nan if "_" in cell else float(cell)
    except ValueError:
        return math.nan


def read_delimited(
    path: Path, header: bool, columns: tuple[str, ...], missing: tuple[str, ...], delimiter: str, encoding: str
) -> Delimited:
    """Read a whole file; every row must have as many values as there are columns.

    Args:
        path: the file.
        header: whether the first line names the columns.
        columns: names where there is no header; empty: the columns are called ``0``, ``1``, ...
        missing: texts that mean missing, besides the empty text.
        delimiter: one character between values.
        encoding: text encoding; a byte-order mark is skipped.

    Raises:
        UserError: for an empty, truncated or undecodable file, and duplicate names, naming the line.
    """
    rows, lines = _rows(path, delimiter, "utf-8-sig" if encoding.lower() in ("utf-8", "utf8") else encoding)
    if not rows:
        raise UserError(f"{path} is empty. Check that it was downloaded or copied completely.")
    if header:
        names = tuple(name.strip() for name in rows.pop(0))
        first = lines.pop(0)
        check_names(path, names, first)
    else:
        names = columns or tuple(str(number) for number in range(len(rows[0])))
        check_names(path, names, lines[0])
    if not rows:
        raise UserError(f"{path} has a header and no rows. Check that it was downloaded or copied completely.")
    for row, line in zip(rows, lines, strict=True):
        if len(row) != len(names):
            raise UserError(_ragged(path, line, len(row), names, header, delimiter))
    absent = {"", *missing}
    cells = {
        name: [None if (cell := text.strip()) in absent else cell for text in column]
        for name, column in zip(names, zip(*rows, strict=True), strict=True)
    }
    return Delimited(path, names, cells, lines)


def _rows(path: Path, delimiter: str, encoding: str) -> tuple[list[list[str]], list[int]]:
    rows: list[list[str]] = []
    lines: list[int] = []
    try:
        with path.open(encoding=encoding, newline="") as file:
            reader = csv.reader(file, delimiter=delimiter, skipinitialspace=True, strict=True)
            try:
                for row in reader:
                    if row and (len(row) > 1 or row[0].strip()):
                        rows.append(row)
                        lines.append(reader.line_num)
            except csv.Error as error:
                raise UserError(
                    f"{path}, line {reader.line_num}: {error}. A quotation mark may be open, or the file truncated."
                ) from None
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path} is not {encoding} text (byte {error.start} of a block). Save it as UTF-8, or declare its "
            f"encoding, such as encoding='latin-1'."
        ) from None
    except LookupError:
        raise UserError(f"encoding: {encoding!r} is not known. Use one such as 'utf-8' or 'latin-1'.") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from None
    return rows, lines


def check_names(path: Path, names: tuple[str, ...], line: int) -> None:
    """Raise `UserError` for column names that occur twice or are empty."""
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UserError(f"{path}, line {line}: the column name {twice[0]!r} occurs more than once. Rename one of them.")
    if "" in names:
        raise UserError(
            f"{path}, line {line}: column {names.index('') + 1} has no name. Name it, or if the file has no header, "
            f"declare header=False."
        )


def _ragged(path: Path, line: int, found: int, names: tuple[str, ...], header: bool, delimiter: str) -> str:
    asked = "the header names" if header else "the declared columns are"
    hint = f" The values may not be separated by {delimiter!r}: declare delimiter=..." if found == 1 else ""
    return (
        f"{path}, line {line}: {found} {'value' if found == 1 else 'values'} where {asked} {len(names)}. The file may "
        f"be truncated or damaged there.{hint}"
    )
