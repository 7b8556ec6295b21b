"""Signals before training: filters, and another sampling rate."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from jaxtyping import Float32, Int32

from research.errors import UserError
from research.spec import Spec, Static, field

Samples = Float32[np.ndarray, "T C"]
MOST_SAMPLES = 1000
"""Samples that one sample may stand for after resampling, and the greatest number in the ratio of two rates."""


class Filter(Spec):
    """Butterworth filter applied forwards and backwards, so that nothing is shifted in time (SciPy's ``sosfiltfilt``).

    With both limits it is a band pass, with one a high or low pass; ``notch`` takes the hum of the mains out of what
    is left. Frequencies are in cycles per unit of time of the data: hertz where it is in seconds.
    """

    low: Static[float | None] = field(None, above=0, help="slower than this is taken out")
    high: Static[float | None] = field(None, above=0, help="faster than this is taken out")
    notch: Static[float | None] = field(None, above=0, help="this is taken out, such as 50 Hz")
    order: int = field(3, minimum=1, maximum=10, help="steepness; doubled by going both ways")

    def validate(self) -> None:
        """Something is filtered, and the limits are in order."""
        if self.low is None and self.high is None and self.notch is None:
            raise UserError("filter: nothing is filtered; give low, high or notch, or filter=none.")
        if self.low is not None and self.high is not None and self.low >= self.high:
            raise UserError(f"filter: low ({self.low:g}) must be below high ({self.high:g}).")

    def apply(self, values: Samples, interval: float) -> Samples:
        """A filtered series, all of it observed and evenly sampled.

        Raises:
            UserError: for a frequency at or above half the sampling rate, or a series too short to be filtered.
        """
        from scipy import signal  # slow to import

        rate = 1 / interval
        for name in ("low", "high", "notch"):
            frequency = getattr(self, name)
            if frequency is not None and frequency >= rate / 2:
                raise UserError(
                    f"data.filter.{name}: {frequency:g} must be below half the sampling rate, which is {rate:g}."
                )
        limits = [limit for limit in (self.low, self.high) if limit is not None]
        try:
            if limits:
                kind = "bandpass" if len(limits) == 2 else ("lowpass" if self.low is None else "highpass")
                sections = signal.butter(
                    self.order, limits if len(limits) == 2 else limits[0], kind, fs=rate, output="sos"
                )
                values = signal.sosfiltfilt(sections, values, axis=0)
            if self.notch is not None:
                values = signal.filtfilt(*signal.iirnotch(self.notch, 30, fs=rate), values, axis=0)
        except ValueError as error:
            raise UserError(f"data.filter: a series of {len(values)} samples cannot be filtered ({error}).") from None
        return np.ascontiguousarray(values, np.float32)


def resample_even(values: Samples, interval: float, wanted: float) -> Float32[np.ndarray, "R C"]:
    """An evenly sampled series, all of it observed, with another time between samples (SciPy's ``resample_poly``).

    Raises:
        UserError: where one new sample stands for more than 1000 old ones, as times in another unit would have it.
    """
    if wanted > MOST_SAMPLES * interval:
        raise UserError(
            f"data.resample: {wanted:g} is more than {MOST_SAMPLES} times the time between samples, {interval:g}. Give "
            f"it in the unit of the times of the data: at most {MOST_SAMPLES * interval:g}."
        )
    from scipy import signal

    ratio = Fraction(interval / wanted).limit_denominator(MOST_SAMPLES)
    found = signal.resample_poly(values, ratio.numerator, ratio.denominator, axis=0, padtype="line")
    return np.ascontiguousarray(found, np.float32)


def bin_means(
    values: Samples, time: Float32[np.ndarray, " T"], width: float
) -> tuple[Float32[np.ndarray, "bins C"], Float32[np.ndarray, " bins"]]:
    """Means of what was observed in bins ``width`` wide from time 0 on, NaN where nothing was; and the bins' ends.

    A bin holds what was observed from its beginning up to, but not at, its end, so the value of a bin is known at its
    end. All bins up to the last sample are there.
    """
    number = np.floor(time / np.float32(width) + 1e-5).astype(np.int32)
    first, count = int(number.min()), int(number.max() - number.min()) + 1
    found = np.empty((count, values.shape[1]), np.float32)
    for variable, column in enumerate(values.T):
        there = ~np.isnan(column)
        total = np.bincount(number[there] - first, column[there].astype(np.float64), count)
        times = np.bincount(number[there] - first, minlength=count)
        found[:, variable] = np.where(times > 0, total / np.maximum(times, 1), np.nan)
    return found, ((first + np.arange(count) + 1) * width).astype(np.float32)


def carried_forward(values: Samples, lengths: Int32[np.ndarray, " N"]) -> Samples:
    """Series laid end to end with each gap filled by the last value observed before it in the same series.

    What comes before the first observation of a variable stays NaN.
    """
    start = np.repeat(np.cumsum(lengths) - lengths, lengths)
    place = np.arange(len(values))
    found = np.empty_like(values)
    for variable, column in enumerate(values.T):
        last = np.maximum.accumulate(np.where(np.isnan(column), -1, place))
        found[:, variable] = np.where(last >= start, column[last], np.nan)
    return found
