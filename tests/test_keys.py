"""Example-keyed draws: uniform, uncorrelated in every direction, and a function of the example alone."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from research import keys

EXAMPLES, POSITIONS = 400, 500


def draw(step=0, number=1, example=None, seed=3, name="dropout", shape=(POSITIONS,)):
    example = np.arange(EXAMPLES) if example is None else example
    return np.asarray(_draw(seed, step, jnp.asarray(example, jnp.int32), name, number, shape))


def _drawn(seed, step, example, name, number, shape):
    return keys.uniform(keys.example_keys(keys.stream(seed, name, step), example), number, shape)


_draw = jax.jit(_drawn, static_argnums=(3, 4, 5))


def correlation(left, right):
    """Pearson correlation in units of its standard error under independence."""
    return np.corrcoef(left.ravel(), right.ravel())[0, 1] * np.sqrt(left.size)


def test_draws_are_uniform():
    u = draw().astype(np.float64)
    assert u.shape == (EXAMPLES, POSITIONS) and (u >= 0).all() and (u < 1).all()
    # Standard errors: sqrt(1/12/n) of the mean, sqrt(1/180/n) of the variance.
    assert abs(u.mean() - 1 / 2) < 4 * np.sqrt(1 / 12 / u.size)
    assert abs(u.var() - 1 / 12) < 4 * np.sqrt(1 / 180 / u.size)
    assert stats.kstest(u.ravel(), "uniform").pvalue > 1e-3
    # Within each example and at each position too: the p-values of many tests are themselves uniform.
    for rows in (u, u.T):
        p = [stats.kstest(row, "uniform").pvalue for row in rows]
        assert stats.kstest(p, "uniform").pvalue > 1e-3


@pytest.mark.parametrize("lag", [1, 2, 3, 7, 64])
def test_neighbouring_examples_and_positions_are_uncorrelated(lag):
    u = draw()
    assert abs(correlation(u[lag:], u[:-lag])) < 4
    assert abs(correlation(u[:, lag:], u[:, :-lag])) < 4
    assert abs(correlation(u[lag:, lag:], u[:-lag, :-lag])) < 4


def test_streams_steps_names_and_seeds_are_uncorrelated():
    u = draw()
    others = [draw(number=2), draw(number=3), draw(step=1), draw(step=2), draw(name="crop"), draw(seed=4)]
    for other in others:
        assert abs(correlation(u, other)) < 4
        assert abs(correlation(u[:, 1:], other[:, :-1])) < 4
    for a, b in itertools.pairwise(others):
        assert abs(correlation(a, b)) < 4


def test_pairs_fill_the_square():
    """Two neighbouring draws jointly: 16 x 16 cells, in each direction, by the chi-squared test."""
    u = draw()
    pairs = {"positions": (u[:, :-1:2], u[:, 1::2]), "examples": (u[:-1:2], u[1::2]), "streams": (u, draw(number=2))}
    for name, (a, b) in pairs.items():
        counts, _, _ = np.histogram2d(a.ravel(), b.ravel(), bins=16, range=[[0, 1], [0, 1]])
        assert stats.chisquare(counts.ravel()).pvalue > 1e-3, name


def test_kept_units_per_example_vary_as_coins_do():
    """The number of units that a dropout rate of 0.3 drops is binomial, not merely right on average."""
    dropped = (draw() < 0.3).sum(1)
    expected_variance = POSITIONS * 0.3 * 0.7
    statistic = ((dropped - POSITIONS * 0.3) ** 2).sum() / expected_variance
    assert 1e-3 < stats.chi2.cdf(statistic, EXAMPLES) < 1 - 1e-3


def test_no_draw_repeats_within_an_example():
    """24 bits give 2^24 values: among 500 the expected number of equal pairs is 0.0074 per example."""
    u = draw()
    repeats = sum(POSITIONS - len(np.unique(row)) for row in u)
    assert repeats <= stats.poisson.ppf(1 - 1e-4, EXAMPLES * POSITIONS**2 / 2 / 2**24)


def test_a_draw_belongs_to_its_example():
    """Order of the batch, the other rows, and padding change nothing, to the bit."""
    u = draw()
    order = np.random.default_rng(0).permutation(EXAMPLES)
    np.testing.assert_array_equal(draw(example=order), u[order])
    padded = np.where(np.arange(EXAMPLES) < 50, order, 0)
    np.testing.assert_array_equal(draw(example=padded), u[padded])
    np.testing.assert_array_equal(draw(example=order[:3]), u[order[:3]])


def test_shape_is_only_a_view():
    np.testing.assert_array_equal(draw(shape=(20, 25)).reshape(EXAMPLES, POSITIONS), draw())


def test_draws_are_the_same_under_vmap():
    example = jnp.arange(EXAMPLES, dtype=jnp.int32)
    mapped = jax.jit(jax.vmap(lambda seed: _drawn(seed, 0, example, "dropout", 1, (POSITIONS,))))
    np.testing.assert_array_equal(mapped(np.array([2, 3]))[1], draw())


def test_stream_names_give_different_keys():
    found = {
        tuple(np.asarray(jax.random.key_data(keys.stream(seed, name, step))).tolist())
        for seed in (0, 1)
        for name in ("dropout", "order")
        for step in (0, 1)
    }
    assert len(found) == 8


def test_chosen_positions_have_the_numbers_of_their_places():
    chosen = np.array([7, 0, 14, 7], np.uint32)

    @jax.jit
    def both(places):
        drawn = keys.example_keys(jax.random.key(5), jnp.arange(4, dtype=jnp.int32))
        return keys.uniform(drawn, 2, (3, 5)), keys.uniform_at(drawn, 2, places)

    whole, found = jax.device_get(both(chosen))
    np.testing.assert_array_equal(found, whole.reshape(4, 15)[:, chosen])


def test_keys_of_steps_draw_what_nothing_else_draws():
    @jax.jit
    def drawn_by(numbers):
        example = keys.example_keys(keys.stream(3, "dropout", 0), numbers)
        steps = keys.step_keys(example, 3)
        drawn = [keys.uniform(step, 1, (POSITIONS,)) for step in steps]
        return steps, keys.step_keys(example, 2), keys.step_keys(example[5:7], 3), drawn

    steps, fewer, some, others = jax.device_get(drawn_by(np.arange(EXAMPLES, dtype=np.int32)))
    assert steps.shape == (3, EXAMPLES, 2)
    np.testing.assert_array_equal(fewer, steps[:2])
    np.testing.assert_array_equal(some, steps[:, 5:7])
    drawn = [draw(), *others]
    for one, other in itertools.combinations(drawn, 2):
        assert abs(correlation(one, other)) < 4


@pytest.mark.parametrize("seed", [0, 7, 2**32 - 1])
def test_folding_in_gives_the_bits_of_jax(seed):
    key = jax.random.key(seed, impl=keys.GENERATOR)
    data = np.asarray([0, 1, 2, 12345, 2**31, 2**32 - 1], np.uint32)
    expected = [jax.random.key_data(jax.random.fold_in(key, number)) for number in data]
    found = keys.fold_in(jax.random.key_data(key), jnp.asarray(data))
    np.testing.assert_array_equal(found, expected)
    crossed = keys.fold_in(found[:, None], jnp.asarray(data)[None])
    assert crossed.shape == (6, 6, 2)
    np.testing.assert_array_equal(
        crossed[3, 1], jax.random.key_data(jax.random.fold_in(jax.random.fold_in(key, data[3]), 1))
    )
    stream = jax.random.fold_in(jax.random.fold_in(key, keys.number("dropout")), 5)
    np.testing.assert_array_equal(jax.random.key_data(keys.stream(seed, "dropout", 5)), jax.random.key_data(stream))


def test_keys_are_computed_once_however_often_they_are_drawn_with():
    def layers(seed, step, example, x):
        key = keys.example_keys(keys.stream(seed, "dropout", step), example)
        for number in range(6):
            x = jnp.where(keys.uniform(key, number, x.shape[1:]) > 0.3, x, 0) @ jnp.eye(x.shape[1])
        return x

    lowered = jax.jit(layers).lower(jnp.int32(0), jnp.int32(1), jnp.arange(8), jnp.ones((8, 16)))
    assert lowered.compile().as_text().count("shift-left") <= lowered.as_text().count("shift_left")
