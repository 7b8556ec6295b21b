"""`TableData`: columns of a table as features."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Shaped

from research.data.dataset import SPLITS
from research.data.leakage import check_leakage
from research.data.prepare import (
    Data,
    Listener,
    Prepared,
    add_text,
    check_present,
    divide,
    fingerprint_of,
    leaks_of,
    other_kind,
    warnings_of,
)
from research.data.preprocessing import FittedPreprocessing, Preprocessing
from research.data.shelf import Shelf
from research.data.table import Column, Table
from research.spec import check


class TableData(Data):
    """What an experiment on a table learns from: rows, their division, and how columns become features."""

    preprocessing: Preprocessing = Preprocessing()

    def prepare(
        self, stored: bool = False, listener: Listener | None = None, shelf: Shelf | None = None
    ) -> PreparedTable:
        """See `Data.prepare`; features are float32 ``[N, F]``, in memory in any case."""
        check(self)
        shelf = shelf or Shelf()
        table = shelf.load(self.source)
        if not isinstance(table, Table):
            raise other_kind(self, "tables", table)
        self.check_balanced(table.task)
        split = self.split.assign(table)
        # 64-bit hashes with pandas' fixed key: the same in every process; two different rows of a million
        # share one with a probability of 3e-8.
        hashes = pd.util.hash_pandas_object(table.frame, index=False).to_numpy()  # pyright: ignore
        leakage = check_leakage(split, table.patient, hashes)
        check_present(table, split, self.split.required)
        fitted = self.preprocessing.fit(table, split == "train")
        features = fitted.transform(table.frame)
        leaks = leaks_of(leakage, {})
        warnings = [
            *warnings_of(table, split, self.source.about().notes),
            *itertools.chain(*leaks.values()),
            *_unlike_train(table, split, fitted),
        ]
        return PreparedTable(
            data=self,
            splits=divide(table, split, lambda rows: features[rows], shelf.largest(self.split, self.source, table)),
            task=table.task,
            about=table.about,
            patients_known=table.patient is not None,
            fingerprint=fingerprint_of(table, split, lambda digest: _add_columns(digest, table)),
            leakage=leakage,
            warnings=tuple(warnings),
            leaks=leaks,
            columns=table.columns,
            preprocessing=fitted,
            missing=_missing(table.frame, split),
        )


@dataclasses.dataclass(frozen=True)
class PreparedTable(Prepared):
    """A table ready to be trained on and evaluated.

    Attributes:
        columns: the raw input columns.
        preprocessing: the statistics by which features are made, also of new patients.
        missing: missing values per split and column, columns without any left out.
    """

    columns: tuple[Column, ...]
    preprocessing: FittedPreprocessing
    missing: dict[str, dict[str, int]]

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names of the columns of ``inputs``."""
        return self.preprocessing.feature_names

    def details(self) -> dict[str, Any]:
        """See `Prepared.details`."""
        return {
            "missing": self.missing,
            "features": list(self.feature_names),
            "preprocessing": self.preprocessing.to_json(),
        }


def _unlike_train(table: Table, split: Shaped[np.ndarray, " N"], fitted: FittedPreprocessing) -> list[str]:
    found = [
        f"{column.name} is constant in train and carries no information."
        for column in fitted.columns
        if column.kind == "numeric" and column.low == column.high
    ]
    for name in (name for name in SPLITS[1:] if (split == name).any()):
        found.extend(f"{name}: {note}" for note in fitted.unfamiliar(table.frame.loc[split == name], numbers=False))
    return found


def _missing(frame: pd.DataFrame, split: Shaped[np.ndarray, " N"]) -> dict[str, dict[str, int]]:
    absent = frame.isna()
    counts = {name: absent[split == name].sum() for name in SPLITS}
    return {name: {str(c): int(n) for c, n in count.items() if n} for name, count in counts.items()}


def _add_columns(digest: Any, table: Table) -> None:
    for column in table.columns:
        add_text(digest, [column.name, column.kind])
        values = table.frame[column.name]
        if column.kind == "numeric":
            # One bit pattern for every NaN, and one byte order.
            numbers = np.where(values.isna(), np.nan, values.to_numpy(np.float64))
            digest.update(np.ascontiguousarray(numbers, dtype="<f8").tobytes())
        else:
            add_text(digest, [None if absent else str(v) for v, absent in zip(values, values.isna(), strict=True)])
