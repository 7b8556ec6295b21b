"""Series laid end to end: where each is, and what is refused."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from series import MadeUp

from research.data import Series
from research.errors import UserError


@pytest.fixture
def series() -> Series:
    return MadeUp(rows=6, static=True).load()


def test_samples_of_a_series_are_where_lengths_say(series: Series) -> None:
    parts = [series.values[series.span(row)] for row in range(len(series))]
    assert [len(part) for part in parts] == series.lengths.tolist()
    np.testing.assert_array_equal(np.concatenate(parts), series.values)
    np.testing.assert_array_equal(series.observed(), ~np.isnan(series.values))


def test_hashes_tell_values_times_and_descriptors_apart_and_nothing_else(series: Series) -> None:
    before = series.hashes()
    assert len(np.unique(before)) == 6
    place = series.span(2).start
    for name in ("values", "time"):
        changed = getattr(series, name).copy()
        changed[place] = -1
        assert (dataclasses.replace(series, **{name: changed}).hashes() != before).tolist() == [False] * 2 + [True] + [
            False
        ] * 3
    assert series.static is not None
    assert (dataclasses.replace(series, static=series.static + 1).hashes() != before).all()
    # Two bit patterns of NaN are one missing value.
    other = series.values.copy()
    other[np.isnan(other)] = -np.float32("nan")
    assert (dataclasses.replace(series, values=other).hashes() == before).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"values": lambda s: s.values.astype(np.float64)}, "float32, or int16 .* not float64"),
        ({"values": lambda s: s.values[:, :1]}, "1 columns of values, 2 variables"),
        ({"lengths": lambda s: s.lengths + 1}, "6 series of [0-9]+ samples in all are declared, .* 6 lengths and"),
        ({"lengths": lambda s: np.r_[0, s.lengths[1:-1], s.lengths[0] + s.lengths[-1]]}, "series 0 has no sample"),
        ({"time": lambda s: -s.time}, "time goes back in series 0, from .* hours. Sort its samples"),
        ({"static": lambda s: None}, "0 static columns, 1 static variables"),
    ],
)
def test_parts_that_disagree_are_refused(series: Series, changes: dict[str, Any], message: str) -> None:
    found = {name: make(series) for name, make in changes.items()}
    if "lengths" in found:
        found["lengths"] = found["lengths"].astype(np.int32)
    with pytest.raises(UserError, match=message):
        dataclasses.replace(series, **found)


def test_time_may_begin_anew_with_each_series(series: Series) -> None:
    assert series.time is not None and (np.diff(series.time) < 0).any()
