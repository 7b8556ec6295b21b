"""Filters and resampling of signals: what is known of each frequency, no shift in time, and what is refused."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
from scipy import interpolate
from series import MadeUp

from research.data import Filter, Series, SeriesData
from research.data.signals import resample_even
from research.errors import UserError
from research.spec import check

RATE = 250.0
TIME = np.arange(5000) / RATE
SINES = (1.0, 8.0, 50.0)


def waves(time: np.ndarray, frequencies: tuple[float, ...]) -> np.ndarray:
    return np.sin(2 * np.pi * np.asarray(frequencies)[None, :] * time[:, None])


def warped(frequency: float) -> float:
    """The frequency of the analogue filter that the bilinear transform takes to this one."""
    return math.tan(math.pi * frequency / RATE)


def gain(spec: Filter, frequency: float) -> float:
    """Of a Butterworth filter, both ways: its squared gain, by the formula of the textbook."""
    w, low, high = (None if f is None else warped(f) for f in (frequency, spec.low, spec.high))
    assert w is not None
    if low is not None and high is not None:
        distance = (w * w - low * high) / (w * (high - low))
    else:
        distance = low / w if low is not None else (w / high if high is not None else 0.0)
    return 1 / (1 + distance ** (2 * spec.order))


@pytest.mark.parametrize(
    ("spec", "kept"),
    [
        (Filter(low=4.0), (False, True, True)),
        (Filter(high=20.0), (True, True, False)),
        (Filter(low=4.0, high=20.0), (False, True, False)),
        (Filter(low=2.0, high=30.0, order=5), (False, True, False)),
        (Filter(notch=50.0), (True, True, False)),
        (Filter(low=4.0, notch=50.0), (False, True, False)),
    ],
)
def test_what_is_left_of_each_frequency(spec: Filter, kept: tuple[bool, ...]) -> None:
    mixed = waves(TIME, SINES).sum(1)
    found = spec.apply(np.stack([mixed, 3 * mixed], axis=1).astype(np.float32), 1 / RATE)
    assert found.dtype == np.float32 and found.shape == (len(TIME), 2)
    inside = slice(1000, -1000)  # four seconds from either end
    cosines = np.cos(2 * np.pi * np.asarray(SINES)[None, :] * TIME[:, None])
    parts = np.concatenate([waves(TIME, SINES), cosines], axis=1)
    amplitudes, *_ = np.linalg.lstsq(parts[inside], found[inside], rcond=None)
    expected = np.asarray([gain(spec, f) if spec.notch is None or f != spec.notch else 0 for f in SINES])
    np.testing.assert_allclose(amplitudes[:3, 0], expected, atol=2e-3)
    np.testing.assert_allclose(amplitudes[:3, 1], 3 * expected, atol=6e-3)
    np.testing.assert_allclose(amplitudes[3:], 0, atol=6e-3)  # nothing is shifted in time
    for frequency, share, stays in zip(SINES, amplitudes[:3, 0], kept, strict=True):
        assert share == pytest.approx(1, abs=0.05) if stays else abs(share) < 0.05, frequency


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (Filter(), "filter: nothing is filtered; give low, high or notch"),
        (Filter(low=8.0, high=8.0), r"filter: low \(8\) must be below high \(8\)"),
        (Filter(low=-1.0), "low"),
        (Filter(high=1.0, order=11), "order"),
    ],
)
def test_limits_that_make_no_filter_are_refused(spec: Filter, message: str) -> None:
    with pytest.raises(UserError, match=message):
        check(spec)


@pytest.mark.parametrize("name", ["low", "high", "notch"])
def test_frequencies_from_half_the_sampling_rate_on_are_refused(name: str) -> None:
    values, limit = np.zeros((500, 1), np.float32), RATE / 2
    message = rf"^data\.filter\.{name}: 125 must be below half the sampling rate, which is 250\.$"
    with pytest.raises(UserError, match=message):
        Filter(**{name: limit}).apply(values, 1 / RATE)
    Filter(**{name: 0.99 * limit}).apply(values, 1 / RATE)


@pytest.mark.parametrize("spec", [Filter(low=1.0, high=20.0), Filter(notch=50.0)])
def test_series_too_short_for_a_filter_are_refused(spec: Filter) -> None:
    with pytest.raises(UserError, match=r"^data\.filter: a series of 5 samples cannot be filtered \(.*\)\.$"):
        spec.apply(np.zeros((5, 1), np.float32), 1 / RATE)


# Resampling --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [500.0, 360.0, 250.0, 100.0, 75.0])
def test_waves_are_the_same_at_another_rate(rate: float) -> None:
    """Against the waves themselves, and a cubic spline through the samples; MIT-BIH's 360 Hz among the ratios."""
    frequencies, inside = (1.0, 8.0), slice(round(rate), round(-rate))
    before = waves(TIME, frequencies).astype(np.float32)
    found = resample_even(before, 1 / RATE, 1 / rate)
    assert found.dtype == np.float32 and len(found) == math.ceil(len(TIME) * rate / RATE)
    time = np.arange(len(found)) / rate
    np.testing.assert_allclose(found[inside], waves(time, frequencies)[inside], atol=3e-3)
    spline = interpolate.CubicSpline(TIME, before)(time)
    np.testing.assert_allclose(found[inside], spline[inside], atol=3e-3)


def test_what_a_lower_rate_cannot_hold_is_gone_and_does_not_come_back_as_another_frequency() -> None:
    found = resample_even(waves(TIME, (80.0,)).astype(np.float32), 1 / RATE, 1 / 100)
    assert np.abs(found[100:-100]).max() < 0.01


def test_a_straight_line_stays_one_to_its_ends() -> None:
    line = (3 + 2 * TIME)[:, None].astype(np.float32)
    for rate in (100.0, 500.0):
        found = resample_even(line, 1 / RATE, 1 / rate)[:, 0]
        time = np.arange(len(found)) / rate
        there = time <= TIME[-1]
        np.testing.assert_allclose(found[there], (3 + 2 * time)[there], rtol=5e-3)


def test_times_between_samples_in_another_unit_are_refused() -> None:
    values = np.zeros((5000, 1), np.float32)
    assert len(resample_even(values, 0.001, 1.0)) == 5
    with pytest.raises(UserError, match=r"^data\.resample: 4 .* 0\.001.* at most 1\."):
        resample_even(values, 0.001, 4.0)


def test_data_is_filtered_and_then_resampled_in_the_unit_of_its_times() -> None:
    class Waves(MadeUp):
        def load(self) -> Series:
            series = MadeUp(even=True).load()
            lengths = np.full(self.rows, 400, np.int32)
            slow, fast = waves(0.5 * np.arange(400), (0.02, 0.3)).T
            values: Any = np.tile((slow + fast)[:, None], (self.rows, 2)).astype(np.float32)
            values += np.repeat(np.arange(self.rows), 400)[:, None].astype(np.float32)
            return dataclasses.replace(series, values=values, lengths=lengths)

    prepared = SeriesData(source=Waves(), filter=Filter(high=0.1), resample=2.0).prepare()
    examples = prepared.splits["test"]
    stored = examples.inputs.read(np.arange(3))
    assert stored["values"].shape == (3, 100, 2) and prepared.data.statistics.interval == 2.0
    slow = waves(2.0 * np.arange(100), (0.02,))
    expected = slow + examples.example[:3, None, None]
    np.testing.assert_allclose(stored["values"][:, 20:-20], np.repeat(expected, 2, axis=2)[:, 20:-20], atol=0.02)
