"""`SeriesAnswers`: what each series of a table has once, in its own rows or in a table of labels beside them."""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Float32, Int64

from research.data.formats import labels
from research.data.formats.delimited import Delimited, whole
from research.data.formats.series_rows import SeriesRows
from research.data.series import Variable
from research.errors import UserError


@dataclasses.dataclass(frozen=True, eq=False)
class SeriesAnswers:
    """Where target, split and static columns are looked up.

    Attributes:
        rows: the series.
        beside: a table with a row for each series; None where there is none.
        key: its column that tells which.
    """

    rows: SeriesRows
    beside: Delimited | None
    key: str

    def once(self, names: tuple[str, ...], role: str) -> Delimited:
        """The columns, a row for each series; raises `UserError` where the table of labels lacks a series."""
        series, found = self.known(names, role)
        absent = np.setdiff1d(np.arange(len(self.rows.names)), series)
        if len(absent):
            assert self.beside is not None
            raise UserError(
                f"{self.beside.path} has no row for {len(absent)} of {len(self.rows.names)} series, such as "
                f"{self.rows.names[absent[0]]!r}, so their {role} is not known. Add the rows"
                f"{', or leave such series out with unlabelled=drop' if role == 'target' else ''}."
            )
        return found

    def known(self, names: tuple[str, ...], role: str) -> tuple[Int64[np.ndarray, " n"], Delimited]:
        """Numbers of the series that have a row, and the columns, a row for each of them.

        Raises:
            UserError: where a series has two rows among the labels, or two values in its own rows.
        """
        if self.beside is None or not set(names) <= set(self.beside.names):
            return np.arange(len(self.rows.names)), self.rows.once(names, role)
        place: dict[str | None, int] = {}
        for row, cell in enumerate(self.beside.cells[self.key]):
            name = whole(cell)
            if name in place:
                raise UserError(
                    f"{self.beside.where(row, self.key)}: {cell!r} stands on line {self.beside.lines[place[name]]} "
                    f"already. Give each series one row."
                )
            place[name] = row
        number = np.asarray([place.get(name, -1) for name in self.rows.names], np.int64)
        series = np.flatnonzero(number >= 0)
        if not len(series):
            raise UserError(
                f"{self.beside.path}: no {self.key} of {self.rows.table.path} occurs in column {self.key!r}, which "
                f"holds {self.beside.cells[self.key][0]!r} and others. Write them alike."
            )
        cells = {name: [self.beside.cells[name][row] for row in number[series]] for name in names}
        return series, Delimited(self.beside.path, names, cells, [self.beside.lines[row] for row in number[series]])

    def unused(self) -> list[str]:
        """A note on the rows of the table of labels that belong to no series, where there are any."""
        if self.beside is None:
            return []
        known, cells = set(self.rows.names), self.beside.cells[self.key]
        count = sum(whole(cell) not in known for cell in cells)
        table = self.rows.table.path.name
        return [f"{count} of {len(cells)} rows of {self.beside.path.name} are of no series of {table}"] if count else []

    def static(
        self,
        names: tuple[str, ...],
        categorical: tuple[str, ...],
        units: dict[str, str],
        learnt: tuple[Variable, ...] | None = None,
    ) -> tuple[Float32[np.ndarray, "N D"] | None, tuple[Variable, ...], list[str]]:
        """Static columns as numbers, of those that are categorical a column of 0 and 1 for each category.

        Args:
            names: the columns.
            categorical: which of them hold names or codes.
            units: of the others.
            learnt: what the columns of a training became, whose categories hold; None: those that occur.

        Returns:
            The numbers, what they are, and notes on categories that the training did not have.
        """
        columns: list[np.ndarray] = []
        variables: list[Variable] = []
        notes: list[str] = []
        for name in names:
            content = self.once((name,), "static value")
            if name not in categorical:
                columns.append(content.numbers(name))
                variables.append(Variable(name, units.get(name, "")))
                continue
            cells = content.categories(name)
            absent = np.asarray([cell is None for cell in cells])
            found = labels.in_order({cell for cell in cells if cell is not None})
            if learnt is not None:
                start = f"{name}="
                known = [each.name.removeprefix(start) for each in learnt if each.name.startswith(start)]
                unseen = [category for category in found if category not in known]
                if unseen:
                    count = sum(cell in unseen for cell in cells)
                    notes.append(
                        f"{name}: {count} of {len(cells)} series have a category that the training had not "
                        f"({', '.join(map(repr, unseen[:5]))}): it counts as none of {', '.join(known)}"
                    )
                found = known
            for category in found:
                columns.append(np.where(absent, np.nan, [cell == category for cell in cells]))
                variables.append(Variable(f"{name}={category}"))
        return (np.stack(columns, axis=1).astype(np.float32) if columns else None), tuple(variables), notes
