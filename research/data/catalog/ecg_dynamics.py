"""The dynamical model of the electrocardiogram behind `SyntheticECG`: beats, and the voltage that they leave."""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Float64, Int64

WAVES = ("P", "Q", "R", "S", "T")
ANGLES = (-np.pi / 3, -np.pi / 12, 0.0, np.pi / 12, np.pi / 2)
WIDTHS = (0.25, 0.1, 0.1, 0.1, 0.4)
HEIGHTS = (0.25, -1 / 6, 1.0, -0.25, 0.4)
"""Table I of the paper at 60 beats a minute: where each wave is and how wide, in radians, R being at 0; and how high,
as a share of R, which is what the paper's a b^2 comes to."""

WARM_UP = 4.0
"""Seconds before a record begins, in which the model forgets where it began."""

TACHOGRAM_RATE = 4
TACHOGRAM_SECONDS = 256
"""Samples a second of the tachogram, and the time after which it repeats itself."""

LOW, HIGH = (0.1, 0.01), (0.25, 0.01)
LOW_TO_HIGH = 0.5
"""Centre and deviation (Hz) of the two bands of heart rate variability, Mayer waves and respiration, and the ratio of
their powers."""

FASTEST = 400
"""Steps a second of the integration, at least."""

FREQUENCIES = TACHOGRAM_RATE * TACHOGRAM_SECONDS // 2
"""Phases that a tachogram is made of."""


@dataclasses.dataclass(frozen=True)
class Waves:
    """The waves P, Q, R, S and T of each beat; K is 1 where all beats of a record are alike.

    Attributes:
        angle: ``[N, K, 5]``, where each wave is in the beat, in radians, R being at 0.
        width: ``[N, K, 5]``, deviation of each, in radians.
        height: ``[N, K, 5]``, height of each in mV.
    """

    angle: Float64[np.ndarray, "N K 5"]
    width: Float64[np.ndarray, "N K 5"]
    height: Float64[np.ndarray, "N K 5"]


def tachogram(
    phases: Float64[np.ndarray, "N F"], mean: Float64[np.ndarray, " N"], deviation: Float64[np.ndarray, " N"]
) -> Float64[np.ndarray, "N M"]:
    """Time between beats (seconds) over time, of a spectrum with two Gaussian bands.

    Args:
        phases: of each of the `FREQUENCIES`, in radians.
        mean: time between beats, seconds.
        deviation: of the time between beats, over the whole tachogram.
    """
    frequency = np.arange(1, FREQUENCIES + 1) / TACHOGRAM_SECONDS
    power = sum(
        share * np.exp(-((frequency - centre) ** 2) / (2 * width**2)) / width
        for share, (centre, width) in ((LOW_TO_HIGH, LOW), (1.0, HIGH))
    )
    spectrum = np.sqrt(2 * power / np.sum(power)) * np.exp(1j * phases)
    spectrum = np.concatenate([np.zeros((len(phases), 1)), spectrum], axis=1)
    count = TACHOGRAM_RATE * TACHOGRAM_SECONDS
    return mean[:, None] + deviation[:, None] * np.fft.irfft(spectrum, count, axis=1) * count / 2


def beat_times(
    between: Float64[np.ndarray, "N M"], begin: Float64[np.ndarray, " N"], factor: Float64[np.ndarray, "N K"]
) -> Float64[np.ndarray, "N beats"]:
    """Times of the R waves, ``[N, K + 1]``, in seconds from the beginning of the tachogram.

    Args:
        between: tachogram.
        begin: how much of the first beat is over when the tachogram begins, 0 to 1.
        factor: what the time to the next beat is multiplied by, for each beat.
    """
    rows, times = np.arange(len(between)), [-begin * between[:, 0] * factor[:, 0]]
    for beat in range(factor.shape[1]):
        place = (np.maximum(times[-1], 0) * TACHOGRAM_RATE).astype(np.int64) % between.shape[1]
        times.append(times[-1] + between[rows, place] * factor[:, beat])
    return np.stack(times, axis=1)


def voltage(
    beats: Float64[np.ndarray, "N beats"],
    waves: Waves,
    wander: Float64[np.ndarray, "N 3"],
    seconds: float,
    rate: int,
) -> Float64[np.ndarray, "N T"]:
    """The electrocardiogram in mV, from `WARM_UP` on.

    The model moves on a circle of radius 1 at the angular velocity ``w = 2 pi / RR``, RR being the time between the
    two beats around the moment, while the voltage z obeys ``z' = - sum_i a_i d_i exp(-d_i^2 / 2 b_i^2) - (z - z0)``,
    with ``d_i`` the angle from wave i (McSharry et al. 2003). On the circle the angle is known beforehand, and what
    remains is linear in z: it is integrated with the trapezoidal rule for the sum and exactly for the rest.

    ``a_i = height_i w / b_i^2``, so that a wave is ``height_i`` high. At an even rate that is a constant, as in the
    paper; else it follows the rate (Sameni et al. 2007), for with a constant every uneven beat would leave a step.

    McSharry, Clifford, Tarassenko, Smith, "A dynamical model for generating synthetic electrocardiogram signals", IEEE
    Transactions on Biomedical Engineering 50(3), 289-294 (2003). Sameni, Shamsollahi, Jutten, Clifford, "A nonlinear
    Bayesian filtering framework for ECG denoising", the same 54(12), 2172-2185 (2007).

    Args:
        beats: times of the R waves; the first at or before 0, the last after the end.
        waves: of each record, of all beats or of each one.
        wander: amplitude (mV), frequency (Hz) and phase (radians) of the baseline ``z0``.
        seconds: how long the record is.
        rate: samples a second.
    """
    from scipy.signal import lfilter

    inner = rate * -(-FASTEST // rate)
    time = np.arange(round((WARM_UP + seconds) * inner)) / inner
    beat, fraction = _place(beats, time)
    nearest = np.minimum(beat + (fraction >= 0.5), waves.height.shape[1] - 1)
    angle = 2 * np.pi * (fraction - (fraction >= 0.5))
    sum_of_waves = np.zeros_like(angle)
    for wave in range(len(WAVES)):
        width, centre = (_of_beat(part[:, :, wave], nearest) for part in (waves.width, waves.angle))
        steepness = _of_beat(waves.height[:, :, wave] / waves.width[:, :, wave], nearest)
        distance = angle - centre
        distance -= 2 * np.pi * np.rint(distance / (2 * np.pi))
        distance /= width
        sum_of_waves += steepness * distance * np.exp(-0.5 * distance**2)
    velocity = 2 * np.pi / np.take_along_axis(np.diff(beats, axis=1), beat, axis=1)
    baseline = wander[:, :1] * np.sin(2 * np.pi * wander[:, 1:2] * time[None, :] + wander[:, 2:])
    decay = np.exp(-1 / inner)
    driven = baseline - velocity * sum_of_waves
    response = np.asarray(lfilter([0.5 / inner, 0.5 * decay / inner], [1.0, -decay], driven, axis=1))
    return response[:, round(WARM_UP * inner) :: inner // rate]


def _place(
    beats: Float64[np.ndarray, "N beats"], time: Float64[np.ndarray, " S"]
) -> tuple[Int64[np.ndarray, "N S"], Float64[np.ndarray, "N S"]]:
    """Number of the last beat at each time, and how much of the way to the next one has passed, 0 to 1."""
    assert (beats[:, 0] <= 0).all() and (beats[:, -1] > time[-1]).all()
    # One interpolation over all records, each moved behind the one before.
    moved = np.arange(len(beats))[:, None] * (float(np.ptp(beats)) + 1)
    numbers = np.broadcast_to(np.arange(beats.shape[1], dtype=np.float64), beats.shape)
    passed = np.interp((time[None, :] + moved).reshape(-1), (beats + moved).reshape(-1), numbers.reshape(-1))
    passed = passed.reshape(len(beats), len(time))
    number = np.floor(passed).astype(np.int64)
    return number, passed - number


def _of_beat(part: Float64[np.ndarray, "N K"], nearest: Int64[np.ndarray, "N S"]) -> Float64[np.ndarray, "N S_or_1"]:
    """What belongs to the nearest beat, ``[N, S]``; ``[N, 1]`` where all beats are alike."""
    return part if part.shape[1] == 1 else np.take_along_axis(part, nearest, axis=1)
