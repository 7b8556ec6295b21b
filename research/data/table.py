"""`Table`: raw rows with named columns."""

from __future__ import annotations

import dataclasses
from typing import Literal

import pandas as pd

from research.data.dataset import Dataset


@dataclasses.dataclass(frozen=True)
class Column:
    """One input column.

    Attributes:
        name: as in the file, without padding.
        kind: ``numeric`` (float64, NaN where missing) or ``categorical`` (text, None where missing).
        categories: every category that occurs in the data, sorted; empty for a numeric column.
        unit: unit of a measurement; empty where it is not known.
    """

    name: str
    kind: Literal["numeric", "categorical"]
    categories: tuple[str, ...] = ()
    unit: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Table(Dataset):
    """Raw rows of a table, before splits and preprocessing.

    Attributes:
        frame: the input columns, in the order of ``columns``; raw values.
        columns: name and kind of every input column.
    """

    frame: pd.DataFrame
    columns: tuple[Column, ...]
