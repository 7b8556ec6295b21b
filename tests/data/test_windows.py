"""Windows of the past: against a plain loop over readings, and at the edges of what counts."""

from __future__ import annotations

import numpy as np
import pytest

from research.data import Forecast
from research.data.windows import Windows
from research.errors import UserError
from research.spec import check


def cut(spec: Forecast, values: list[list[float]], times: list[list[float]]) -> Windows:
    """Windows of series of one variable."""
    return spec.cut(
        np.concatenate([np.float32(v)[:, None] for v in values]),
        np.concatenate([np.asarray(t, float) for t in times]),
        np.asarray([len(v) for v in values]),
        0,
    )


def test_even_series() -> None:
    spec = Forecast(history=3, horizons=(5.0, 10.0), interval=5.0)
    times = [5.0 * n for n in range(8)]
    found = cut(spec, [list(range(8)), list(range(10, 14))], [times, times[:4]])
    np.testing.assert_array_equal(found.values[:, :, 0], [[0, 1, 2], [1, 2, 3], [2, 3, 4], [3, 4, 5]])
    np.testing.assert_array_equal(found.targets, [[3, 4], [4, 5], [5, 6], [6, 7]])
    assert found.series.tolist() == [0, 0, 0, 0] and found.candidate.tolist() == [2, 3, 4, 5]
    np.testing.assert_array_equal(found.time, [10, 15, 20, 25])
    origins = found.origins(0)
    np.testing.assert_array_equal(origins.value, [2, 3, 4, 5])
    assert len(origins) == 4 and origins.of(np.asarray([2])).time.tolist() == [20]
    # Of 12 readings the first two of each series have too little behind them, the last two too little ahead.
    assert (found.gappy, found.unanswered) == (4, 4)
    assert found.notes()[0] == "4 of 12 windows are left out: too many readings are absent from their history"
    assert len(cut(spec.replace(stride=3), [list(range(8))], [[5.0 * n for n in range(8)]])) == 1


def test_the_latest_window_needs_nothing_after_it() -> None:
    spec = Forecast(history=2, horizons=(5.0,), interval=5.0, stride=2)
    values = np.float32([0, 1, 2, np.nan, 7, 9])[:, None]
    found = spec.cut(values, np.asarray([0, 5, 10, 15, 0, 20.0]), np.asarray([4, 2]), 0, latest=True)
    # The first series ends with a reading of nothing; the second has a gap before its last one.
    np.testing.assert_array_equal(found.values[:, :, 0], [[1, 2]])
    assert found.series.tolist() == [0] and found.time.tolist() == [10]
    assert (found.gappy, found.unanswered) == (1, 0)


def test_gaps_and_tolerance() -> None:
    spec = Forecast(history=3, horizons=(10.0,), interval=5.0, gaps=1)
    times = [0.0, 5.0, 15.0, 22.5, 32.5, 35.1]
    found = cut(spec, [[0, 1, 2, 3, 4, 5]], [times])
    # The window that ends at 15 lacks the step at 10, and its target is 22.5, two and a half minutes away. At 22.5 the
    # steps at 12.5 and 17.5 are both nearest to 15. Nothing follows the last two readings.
    np.testing.assert_array_equal(found.values[:, :, 0], np.float32([[np.nan, 0, 1], [1, np.nan, 2], [2, 2, 3]]))
    np.testing.assert_array_equal(found.targets, [[2], [3], [4]])
    assert (found.gappy, found.unanswered) == (1, 2)
    assert len(cut(spec.replace(gaps=0), [[0, 1, 2, 3, 4, 5]], [times])) == 1


def test_nothing_later_than_the_end_enters() -> None:
    """The second variable is read just after each reading of the first: it counts at the next step only."""
    rows = [(t, 0, v) for t, v in ((0.0, 1.0), (5.0, 2.0), (10.0, 3.0), (15.0, 4.0))]
    rows += [(t, 1, v) for t, v in ((1.0, 10.0), (6.0, 20.0), (11.0, 30.0), (16.0, 40.0))]
    rows.sort()
    values = np.full((8, 2), np.nan, np.float32)
    for number, (_, variable, value) in enumerate(rows):
        values[number, variable] = value
    time = np.asarray([t for t, _, _ in rows])
    spec = Forecast(history=2, horizons=(5.0,), interval=5.0)
    found = spec.cut(values, time, np.asarray([8]), 0)
    np.testing.assert_array_equal(found.targets[:, 0], [3, 4])
    np.testing.assert_array_equal(found.values[:, :, 0], [[1, 2], [2, 3]])
    np.testing.assert_array_equal(found.values[:, :, 1], np.float32([[10, np.nan], [20, np.nan]]))
    # Whatever comes after the end of a window changes nothing in it but the target.
    changed = values.copy()
    changed[time > 5] += 100
    again = spec.cut(changed, time, np.asarray([8]), 0)
    np.testing.assert_array_equal(again.values[0], found.values[0])


def test_as_a_plain_loop() -> None:
    rng = np.random.default_rng(0)
    steps, shares = [4.98, 5.0, 5.02, 10.0, 30.0, 75.0], [0.3, 0.3, 0.3, 0.04, 0.03, 0.03]
    times = [np.cumsum(rng.choice(steps, 120, p=shares)) for _ in range(3)]
    values = [rng.normal(size=120) for _ in range(3)]
    spec = Forecast(history=6, horizons=(15.0, 30.0), interval=5.0, gaps=2)
    found = cut(spec, [v.tolist() for v in values], [t.tolist() for t in times])

    def nearest(time: np.ndarray, value: np.ndarray, wanted: float) -> float:
        place = int(np.argmin(np.abs(time - wanted)))
        return float(value[place]) if abs(time[place] - wanted) <= 2.5 else np.nan

    expected = []
    for number, (time, value) in enumerate(zip(times, values, strict=True)):
        for end in time:
            past = [nearest(time, value, end - 5 * back) for back in range(5, -1, -1)]
            ahead = [nearest(time, value, end + horizon) for horizon in (15, 30)]
            if np.isnan(past).sum() <= 2 and not np.isnan(ahead).any():
                expected.append([number, *past, *ahead])
    assert 50 < len(expected) < 300
    rows = np.concatenate([found.series[:, None], found.values[:, :, 0], found.targets], axis=1)
    np.testing.assert_allclose(rows, np.asarray(expected), rtol=1e-6)
    assert np.isnan(found.values).any()


def test_settings() -> None:
    for options, message in (
        ({"horizons": ()}, "one or more ascending times"),
        ({"horizons": (60.0, 30.0)}, "one or more ascending times"),
        ({"horizons": (2.0,)}, "is nearer than forecast.interval"),
        ({"history": 3, "gaps": 3}, "which leaves none"),
    ):
        with pytest.raises(UserError, match=message):
            check(Forecast(**options))  # pyright: ignore[reportArgumentType]
