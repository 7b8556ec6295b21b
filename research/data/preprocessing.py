"""`Preprocessing`: raw columns become features, by statistics of the training rows only."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float32, Float64

from research.data.table import Column, Table
from research.errors import UserError
from research.spec import Spec, field


class Preprocessing(Spec):
    """How the columns of a table become features; fitted on the training rows, applied to all.

    A numeric column is imputed, then scaled, in this order (``standard``: mean 0 and standard deviation 1 over the
    training rows; ``minmax``: 0 to 1 over them; a constant column becomes 0). With ``missing_indicators`` each numeric
    column with gaps in train gets a second feature, 1 where the value is missing.

    A categorical column becomes one feature of 0 and 1 for each category *seen in train*. Where the category is
    missing in some training row, being missing is a category of its own; elsewhere a missing category, and always a
    category unseen in train, is 0 in all of them, and is counted in the summary.
    """

    impute: Literal["median", "mean"] | None = field(
        "median", help="what stands for a missing number; none: a missing number is an error"
    )
    missing_indicators: bool = field(False, help="a further 0/1 feature for each numeric column with gaps in train")
    scale: Literal["standard", "minmax", "none"] = field("standard", help="scaling of numeric columns")

    def fit(self, table: Table, train_rows: Bool[np.ndarray, " N"]) -> FittedPreprocessing:
        """The statistics of the training rows.

        Args:
            table: raw rows.
            train_rows: True on the rows that may be looked at.

        Raises:
            UserError: for a column without any value in train, or with gaps where ``impute`` is none.
        """
        frame = table.frame.loc[train_rows]
        fitted = [
            self._numeric(column, _series(frame, column.name).to_numpy(np.float64), table, train_rows)
            if column.kind == "numeric"
            else _categorical(column, _series(frame, column.name))
            for column in table.columns
        ]
        return FittedPreprocessing(tuple(fitted))

    def _numeric(
        self, column: Column, values: Float64[np.ndarray, " T"], table: Table, train_rows: Bool[np.ndarray, " N"]
    ) -> FittedColumn:
        absent = np.isnan(values)
        if absent.all():
            raise UserError(f"column {column.name!r} has no value in any of the {len(values)} training rows. Drop it.")
        observed = values[~absent]
        fill = None
        if self.impute is not None:
            fill = float(np.median(observed) if self.impute == "median" else observed.mean())
            values = np.where(absent, fill, values)
        elif absent.any():
            row = table.row[train_rows][absent.argmax()]
            raise UserError(
                f"column {column.name!r} is missing in {int(absent.sum())} training rows, first in row {row} (from "
                f"0), and preprocessing.impute is none. Set it to 'median' or 'mean', or drop the column."
            )
        shift, scale = self._shift_and_scale(values)
        return FittedColumn(
            name=column.name,
            kind="numeric",
            fill=fill,
            indicator=bool(self.missing_indicators and absent.any()),
            shift=shift,
            scale=scale,
            low=float(observed.min()),
            high=float(observed.max()),
        )

    def _shift_and_scale(self, values: Float64[np.ndarray, " T"]) -> tuple[float, float]:
        low, high = float(values.min()), float(values.max())
        if self.scale == "none":
            return 0.0, 1.0
        if low == high:
            return low, 1.0
        if self.scale == "minmax":
            return low, high - low
        return float(values.mean()), float(values.std())


def _series(frame: pd.DataFrame, name: str) -> pd.Series:
    return pd.Series(frame[name])


def _categorical(column: Column, values: pd.Series) -> FittedColumn:
    seen = tuple(sorted(set(values.dropna())))
    return FittedColumn(column.name, "categorical", categories=seen, missing_category=bool(values.isna().any()))


@dataclasses.dataclass(frozen=True)
class FittedColumn:
    """What was learnt of one column.

    Attributes:
        name: of the column.
        kind: ``numeric`` or ``categorical``.
        fill: what stands for a missing number; None where there is nothing to stand for it.
        indicator: whether a second feature says that the number is missing.
        shift, scale: the feature is ``(value - shift) / scale``.
        low, high: range of the observed training values.
        categories: seen in train, sorted; one feature each.
        missing_category: whether being missing is one more category.
    """

    name: str
    kind: Literal["numeric", "categorical"]
    fill: float | None = None
    indicator: bool = False
    shift: float = 0.0
    scale: float = 1.0
    low: float = 0.0
    high: float = 0.0
    categories: tuple[str, ...] = ()
    missing_category: bool = False

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names of the features made of this column."""
        if self.kind == "numeric":
            return (self.name, f"{self.name} missing") if self.indicator else (self.name,)
        names = tuple(f"{self.name}={category}" for category in self.categories)
        return (*names, f"{self.name} missing") if self.missing_category else names

    def transform(self, values: pd.Series) -> list[Float64[np.ndarray, " N"]]:
        """The features of this column, in the order of `feature_names`."""
        absent = values.isna().to_numpy()
        if self.kind == "categorical":
            features = [(values == category).to_numpy(np.float64) for category in self.categories]
            return [*features, absent.astype(np.float64)] if self.missing_category else features
        if not pd.api.types.is_numeric_dtype(values.dtype):
            raise UserError(f"column {self.name!r} holds text where numbers are needed.")
        numbers = values.to_numpy(np.float64)
        if absent.any():
            if self.fill is None:
                raise UserError(
                    f"column {self.name!r} is missing in {int(absent.sum())} rows, first in row {absent.argmax()} "
                    f"(from 0), and preprocessing.impute was none in training. Complete it, or train with "
                    f"'median' or 'mean'."
                )
            numbers = np.where(absent, self.fill, numbers)
        feature = (numbers - self.shift) / self.scale
        return [feature, absent.astype(np.float64)] if self.indicator else [feature]

    def unfamiliar(self, values: pd.Series) -> str:
        """A sentence on values unlike those seen in train; empty where there are none."""
        absent = values.isna()
        if self.kind == "numeric":
            outside = int(((values < self.low) | (values > self.high)).sum())
            return (
                f"{self.name}: {outside} of {len(values)} values lie outside the range {self.low:g} to {self.high:g} "
                f"seen in train."
                if outside
                else ""
            )
        unseen = values[~absent & ~values.isin(self.categories)]
        parts = []
        if len(unseen):
            names = ", ".join(repr(name) for name in sorted(set(unseen))[:5])
            parts.append(f"{len(unseen)} of {len(values)} rows have a category unseen in train ({names})")
        if absent.any() and not self.missing_category:
            parts.append(f"{int(absent.sum())} of {len(values)} rows lack the category, which no training row did")
        return f"{self.name}: {'; '.join(parts)}: all its features are 0 there." if parts else ""


@dataclasses.dataclass(frozen=True)
class FittedPreprocessing:
    """The statistics of one training split, and their application to any rows with the same columns."""

    columns: tuple[FittedColumn, ...]

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names of the features, in the order of the columns of `transform`."""
        return tuple(name for column in self.columns for name in column.feature_names)

    def transform(self, frame: pd.DataFrame) -> Float32[np.ndarray, "N F"]:
        """Features of raw rows; computed in float64 and rounded once.

        Raises:
            UserError: naming columns that are lacking, hold text where numbers are needed, or are missing without
                imputation.
        """
        lacking = [column.name for column in self.columns if column.name not in frame]
        if lacking:
            raise UserError(
                f"the rows lack {len(lacking)} columns that the model was trained on: {', '.join(lacking)}."
            )
        features = [feature for column in self.columns for feature in column.transform(_series(frame, column.name))]
        if not features:
            return np.zeros((len(frame), 0), dtype=np.float32)
        return np.stack(features, axis=1).astype(np.float32)

    def unfamiliar(self, frame: pd.DataFrame, numbers: bool = True) -> list[str]:
        """Sentences on categories unseen in train and, with ``numbers``, on numbers outside the range of train."""
        notes = [c.unfamiliar(_series(frame, c.name)) for c in self.columns if numbers or c.kind == "categorical"]
        return [note for note in notes if note]

    def to_json(self) -> dict[str, Any]:
        """A JSON object from which `from_json` restores an equal value; no digit is lost."""
        return {"columns": [vars(c) | {"categories": list(c.categories)} for c in self.columns]}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> FittedPreprocessing:
        """The value that `to_json` wrote.

        Raises:
            UserError: if the object is not what `to_json` writes.
        """
        try:
            columns = [FittedColumn(**{**c, "categories": tuple(c["categories"])}) for c in data["columns"]]
        except (KeyError, TypeError) as error:
            raise UserError(
                f"this is no record of a fitted preprocessing ({error}): it was written by other code."
            ) from None
        return cls(tuple(columns))
