"""`LongTable`: a large table, delimited text or Parquet, by columns, with errors that point at the row."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet
from jaxtyping import Float64, Shaped

from research.data.formats.delimited import Delimited, as_number, check_names, read_delimited, require_columns
from research.errors import UserError

PARQUET = (".parquet", ".pq")
SECONDS = {"seconds": 1.0, "minutes": 60.0, "hours": 3600.0, "days": 86400.0}
"""Units of time that dates can be brought to."""


@dataclasses.dataclass(frozen=True, eq=False)
class LongTable:
    """The content of one file; cells that mean missing are null.

    Attributes:
        path: the file.
        names: column names without padding.
        columns: content of each column: text from delimited files, any type from Parquet.
        lines: number of the line on which each row stands, from 1; of a Parquet file the number of the row.
        word: what ``lines`` count, ``line`` or ``row``.
    """

    path: Path
    names: tuple[str, ...]
    columns: dict[str, pa.ChunkedArray]
    lines: Sequence[int]
    word: str

    def __len__(self) -> int:
        return len(self.lines)

    def where(self, row: int, column: str) -> str:
        """A place in the file, for the beginning of a message."""
        return f"{self.path}, {self.word} {self.lines[row]}, column {column!r}"

    def require(self, names: Iterable[str], option: str) -> None:
        """Raise `UserError` for the first name that is no column of this file; ``option`` is what named it."""
        require_columns(self.path, self.names, names, option)

    def numbers(self, name: str) -> Float64[np.ndarray, " R"]:
        """A column as numbers, NaN where a value is missing.

        Raises:
            UserError: at the first text, NaN or infinity, naming row, column, value and remedy.
        """
        column = self.columns[name]
        if not _is_text(column.type):
            if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type) or _is_other(column.type)):
                raise UserError(
                    f"{self.path}: column {name!r} holds {column.type}; numbers are needed. If it is no variable, "
                    f"declare drop=({name!r},)."
                )
            values = pc.cast(column, pa.float64()).to_numpy()
            wrong = np.isinf(values)
        else:
            try:
                values = pc.cast(column, pa.float64()).to_numpy()
            except pa.ArrowInvalid:
                values = np.asarray([np.nan if c is None else as_number(c) for c in column.to_pylist()], np.float64)
            wrong = ~np.isfinite(values) & column.is_valid().to_numpy()
        if wrong.any():
            row = int(np.flatnonzero(wrong)[0])
            cell = column[row].as_py()
            raise UserError(
                f"{self.where(row, name)}: {cell!r} is not a finite number. If {str(cell)!r} means that the value is "
                f"missing, declare missing=({str(cell)!r},); if the column is no variable, drop=({name!r},)."
            )
        return values

    def texts(self, name: str) -> Shaped[np.ndarray, " R"]:
        """A column as text, None where a value is missing; whole numbers without a decimal point.

        Raises:
            UserError: for a column of lists or the like.
        """
        column = self.columns[name]
        try:
            column = column if _is_text(column.type) else pc.cast(column, pa.string())
        except (pa.ArrowNotImplementedError, pa.ArrowInvalid):
            raise UserError(f"{self.path}: column {name!r} holds {column.type}; text or numbers are needed.") from None
        return np.asarray(column.to_pylist(), dtype=object)

    def times(self, name: str, unit: str, form: str | None) -> tuple[Float64[np.ndarray, " R"], bool]:
        """A column as times in ``unit``, and whether they are dates, which count from 1970.

        Args:
            name: the column.
            unit: one of `SECONDS` where the times are dates.
            form: how dates are written, as for `datetime.strptime`; None for ISO 8601 and for numbers.

        Raises:
            UserError: at the first time that is missing or cannot be read.
        """
        column = self.columns[name]
        if column.null_count:
            row = int(np.flatnonzero(~column.is_valid().to_numpy())[0])
            raise UserError(f"{self.where(row, name)}: the time is missing. Complete it, or remove the row.")
        dated = pa.types.is_temporal(column.type)
        if not dated and form is None:
            first = column[0].as_py()
            if not isinstance(first, str) or not np.isnan(as_number(first)):
                return self.numbers(name), False
        content = pd.Series(column.to_pylist())
        dates = pd.to_datetime(content, format=form or "ISO8601", errors="coerce", utc=True)
        if dates.isna().any():
            row = int(np.flatnonzero(dates.isna())[0])
            raise UserError(
                f"{self.where(row, name)}: {content[row]!r} is neither a number nor a date"
                f"{f' of the form {form!r}' if form else ' as 2014-02-28 09:30:00'}. Correct it, or say how dates are "
                f"written with time_format='%d.%m.%Y %H:%M' or the like."
            )
        if unit not in SECONDS:
            raise UserError(f"time_unit: dates can be brought to {', '.join(SECONDS)}; {unit!r} was given.")
        since = dates - pd.Timestamp(0, tz="UTC")
        return since.dt.total_seconds().to_numpy(np.float64) / SECONDS[unit], True

    def part(self, rows: Sequence[int], names: Iterable[str]) -> Delimited:
        """Some rows and columns as text."""
        chosen = pa.array(rows, pa.int64())
        cells = {name: dataclasses.replace(self, columns={name: self.columns[name].take(chosen)}) for name in names}
        return Delimited(
            self.path,
            tuple(cells),
            {name: part.texts(name).tolist() for name, part in cells.items()},
            [self.lines[row] for row in rows],
        )


def read_long(path: Path, missing: tuple[str, ...], delimiter: str, encoding: str) -> LongTable:
    """Read a whole file, Parquet by its ending, else delimited text with a header.

    Args:
        path: the file.
        missing: texts that mean missing, besides the empty text.
        delimiter: one character between values.
        encoding: text encoding; a byte-order mark is skipped.

    Raises:
        UserError: for an empty, truncated or undecodable file, and duplicate names.
    """
    if path.suffix.lower() in PARQUET:
        return _read_parquet(path, missing)
    try:
        names, table = _read_quickly(path, delimiter, encoding)
    except (pa.ArrowInvalid, UnicodeDecodeError, LookupError, StopIteration, csv.Error, OSError):
        # The reader that is slow and exact says what is wrong, or copes with it.
        slow = read_delimited(path, True, (), missing, delimiter, encoding)
        columns = {name: pa.chunked_array([pa.array(slow.cells[name], pa.string())]) for name in slow.names}
        return LongTable(path, slow.names, columns, slow.lines, "line")
    check_names(path, names, 1)
    columns = {name: _without(table.column(number), missing) for number, name in enumerate(names)}
    blank = np.ones(len(table), bool)
    for column in columns.values():
        blank &= ~column.is_valid().to_numpy()
    lines: Sequence[int] = range(2, len(table) + 2)
    if blank.any():
        lines = (np.flatnonzero(~blank) + 2).tolist()
        columns = {name: column.filter(pa.array(~blank)) for name, column in columns.items()}
    if not len(lines):
        raise UserError(f"{path} has a header and no rows. Check that it was downloaded or copied completely.")
    return LongTable(path, names, columns, lines, "line")


def _read_quickly(path: Path, delimiter: str, encoding: str) -> tuple[tuple[str, ...], pa.Table]:
    utf8 = encoding.lower() in ("utf-8", "utf8")
    with path.open(encoding="utf-8-sig" if utf8 else encoding, newline="") as file:
        names = tuple(name.strip() for name in next(csv.reader(file, delimiter=delimiter, skipinitialspace=True)))
    numbered = [str(number) for number in range(len(names))]
    table = pyarrow.csv.read_csv(
        path,
        read_options=pyarrow.csv.ReadOptions(column_names=numbered, skip_rows=1, encoding=encoding),
        parse_options=pyarrow.csv.ParseOptions(delimiter=delimiter, ignore_empty_lines=False),
        convert_options=pyarrow.csv.ConvertOptions(
            column_types=dict.fromkeys(numbered, pa.string()), strings_can_be_null=False
        ),
    )
    return names, table


def _read_parquet(path: Path, missing: tuple[str, ...]) -> LongTable:
    try:
        table = pyarrow.parquet.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path} cannot be read as Parquet ({str(error).strip()}). Write it again.") from None
    names = tuple(table.column_names)
    check_names(path, names, 1)
    if not len(table):
        raise UserError(f"{path} has no rows. Check that it was written completely.")
    columns = {}
    for name in names:
        column = table.column(name)
        if pa.types.is_dictionary(column.type):
            column = pc.cast(column, column.type.value_type)
        columns[name] = _without(column, missing) if _is_text(column.type) else column
    return LongTable(path, names, columns, range(1, len(table) + 1), "row")


def _without(column: Any, missing: tuple[str, ...]) -> pa.ChunkedArray:
    """Text without padding, null where it means missing."""
    column = pc.call_function("utf8_trim_whitespace", [column])
    meant = pc.SetLookupOptions(pa.array(["", *missing], column.type))
    absent = pc.call_function("is_in", [column], meant)
    return pc.call_function("if_else", [absent, pa.scalar(None, column.type), column])


def _is_text(kind: Any) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def _is_other(kind: Any) -> bool:
    """Whether this type, neither text nor a plain number, stands for numbers."""
    return pa.types.is_boolean(kind) or pa.types.is_decimal(kind)
