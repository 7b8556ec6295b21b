"""What each change of a series does, against what is known of its draws."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from research import keys
from research.data import SeriesAugmentation

B, T, C = 200, 40, 2
RANDOM = np.random.default_rng(0)
LENGTHS = np.r_[[1, 2, T], RANDOM.integers(3, T + 1, B - 3)].astype(np.int32)
VALID = np.arange(T)[None, :] < LENGTHS[:, None]
OBSERVED = (RANDOM.random((B, T, C)) < 0.6) & VALID[..., None]


def changed(values: np.ndarray, observed: np.ndarray = OBSERVED, **strengths: float) -> dict[str, np.ndarray]:
    """The series, of ``LENGTHS``, after one change; everything else of the inputs must stay."""
    inputs = {
        "values": np.broadcast_to(values, (B, T, C)).astype(np.float32),
        "observed": observed,
        "time": np.broadcast_to(np.arange(T, dtype=np.float32), (B, T)),
        "length": LENGTHS,
    }
    drawn = keys.example_keys(jax.random.key(3), jnp.arange(B, dtype=jnp.int32))
    apply = jax.jit(lambda given, drawn: SeriesAugmentation(**strengths).apply(given, drawn))
    found: dict[str, Any] = jax.device_get(apply(jax.tree.map(jnp.asarray, inputs), drawn))
    assert found.keys() == inputs.keys()
    for name in ("time", "length"):
        np.testing.assert_array_equal(found[name], inputs[name])
    return found


def test_jitter_is_gaussian_noise_of_its_own_on_every_reading() -> None:
    found = changed(np.full((T, C), 2.0), jitter=0.3)
    noise = found["values"] - 2
    assert not noise[~OBSERVED].any()
    drawn = noise[OBSERVED]
    assert stats.kstest(drawn, "norm", (0, 0.3)).pvalue > 0.01
    assert drawn.std() == pytest.approx(0.3, rel=0.03)  # three standard errors of some 5000 draws
    np.testing.assert_array_equal(found["observed"], OBSERVED)
    both = OBSERVED.all(2)
    after = OBSERVED[:, 1:] & OBSERVED[:, :-1]
    for one, other in ((noise[both, 0], noise[both, 1]), (noise[:, 1:][after], noise[:, :-1][after])):
        assert abs(np.corrcoef(one, other)[0, 1]) < 4 / np.sqrt(len(one))


def test_amplitude_is_one_factor_for_each_variable_of_each_series() -> None:
    values = 1 + RANDOM.random((B, T, C)).astype(np.float32)
    found = changed(values, amplitude=0.4)
    factors = found["values"] / values
    np.testing.assert_allclose(factors, np.broadcast_to(factors[:, :1], factors.shape), rtol=1e-5)
    drawn = factors[:, 0]
    assert drawn.min() >= 0.6 and drawn.max() <= 1.4
    assert stats.kstest(drawn.ravel(), "uniform", (0.6, 0.8)).pvalue > 0.01
    assert abs(np.corrcoef(drawn.T)[0, 1]) < 4 / np.sqrt(B)
    np.testing.assert_array_equal(found["observed"], OBSERVED)


@pytest.mark.parametrize("strength", [0.3, 0.95])
def test_a_warped_ramp_rises_within_the_speeds_allowed_from_end_to_end(strength: float) -> None:
    ramp = np.where(VALID[..., None], np.arange(T, dtype=np.float32)[None, :, None], 0)
    found = changed(ramp, time_warp=strength)
    moved = found["values"][..., 0]
    np.testing.assert_array_equal(moved, found["values"][..., 1])
    rows = np.arange(B)
    assert not moved[:, 0].any()
    np.testing.assert_allclose(moved[rows, LENGTHS - 1], LENGTHS - 1, atol=1e-4)
    assert not moved[~VALID].any()
    speed = np.diff(moved, axis=1)[VALID[:, 1:]]
    assert speed.min() > 1 - strength - 1e-4 and speed.max() < 1 + strength + 1e-4
    assert speed.min() < 1 - 0.9 * strength and speed.max() > 1 + 0.9 * strength
    nearest = np.round(moved).astype(int)
    clear = VALID & (np.abs(moved - np.floor(moved) - 0.5) > 1e-3)
    followed = np.take_along_axis(OBSERVED, nearest[..., None], axis=1)
    np.testing.assert_array_equal(found["observed"][clear], followed[clear])


def test_a_baseline_is_one_slow_sine_on_the_readings_of_each_variable() -> None:
    found = changed(np.zeros((T, C)), observed=np.broadcast_to(VALID[..., None], (B, T, C)), baseline=0.5)["values"]
    assert not found[~VALID].any()
    heights, frequencies = [], []
    for row, length in enumerate(LENGTHS):
        for wave in found[row, :length].T.astype(np.float64):
            if length < 20:
                continue
            # Of a sine of angular frequency w, x[t + 1] + x[t - 1] is 2 cos(w) x[t].
            beside, within = wave[2:] + wave[:-2], wave[1:-1]
            cosine = beside @ within / (2 * within @ within)
            np.testing.assert_allclose(beside, 2 * cosine * within, atol=1e-5)
            frequencies.append(np.arccos(np.clip(cosine, -1, 1)) * length / (2 * np.pi))
            heights.append(np.abs(wave).max())
    assert 0.45 < max(heights) <= 0.5
    assert stats.kstest(frequencies, "uniform", (0.5, 3.5)).pvalue > 0.01
    some = changed(np.ones((T, C)), baseline=0.5)["values"]
    assert (some[~OBSERVED] == 1).all() and (some[OBSERVED] != 1).mean() > 0.99


def test_nothing_from_within_a_time_mask_is_carried_on_behind_it() -> None:
    """Readings are numbers of their own, carried forward as `SeriesData` does; the first variable has no gaps."""
    observed = OBSERVED & (RANDOM.random((B, T, C)) < 0.5)
    observed[..., 0] = VALID
    readings = 1 + np.arange(B * T * C, dtype=np.float32).reshape(B, T, C)
    last = np.maximum.accumulate(np.where(observed, np.arange(T)[None, :, None], -1), axis=1)
    carried = np.where(last >= 0, np.take_along_axis(readings, last.clip(0), axis=1), 0)
    carried = np.where(VALID[..., None], carried, 0)
    found = changed(carried, observed=observed, time_mask=0.8)
    masked = VALID & ~found["observed"][..., 0]
    assert 0.2 < masked[VALID].mean() < 0.5
    within = set(readings[observed & masked[..., None]].tolist())
    assert within and not within & set(found["values"].ravel().tolist())
    from_within = (last >= 0) & np.take_along_axis(np.repeat(masked[..., None], C, axis=2), last.clip(0), axis=1)
    gone = masked[..., None] | from_within
    assert (from_within & ~masked[..., None]).any()
    np.testing.assert_array_equal(found["values"], np.where(gone, 0, carried))
    np.testing.assert_array_equal(found["observed"], observed & ~masked[..., None])


def test_a_variable_that_is_dropped_is_gone_from_the_whole_series() -> None:
    values = np.where(VALID[..., None], 1 + RANDOM.random((B, T, C)), 0).astype(np.float32)
    found = changed(values, variable_dropout=0.3)
    gone = ~found["values"].any(1)
    np.testing.assert_array_equal(found["values"], np.where(gone[:, None], 0, values))
    np.testing.assert_array_equal(found["observed"], OBSERVED & ~gone[:, None])
    assert gone.mean() == pytest.approx(0.3, abs=3 * np.sqrt(0.21 / gone.size))
