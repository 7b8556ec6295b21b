"""Dropout: the rate it promises, draws that belong to the example, and rates that are traced."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from research import keys
from research.errors import UserError
from research.models import Forward
from research.models.layers import Dropout
from research.models.layers.dropout import numbers_of_pairs

KEY = jax.random.key(0)


def forward(example, step=0):
    key = jax.random.fold_in(KEY, step)
    return Forward(train=True, keys=keys.example_keys(key, jnp.asarray(example, jnp.int32)))


@jax.jit
def dropped(rate, example, x):
    return Dropout(rate)(x, forward(example))


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_rate_and_scale(rate):
    y = np.asarray(dropped(rate, np.arange(200), np.ones((200, 500), np.float32)))
    assert set(np.unique(y)) == {0.0, np.float32(1) / (np.float32(1) - np.float32(rate))}
    standard_error = np.sqrt(rate * (1 - rate) / y.size)
    assert abs((y == 0).mean() - rate) < 4 * standard_error
    assert abs(y.mean() - 1) < 4 * standard_error / (1 - rate)


def test_one_program_serves_every_rate():
    before = dropped._cache_size()
    x = np.ones((3, 7), np.float32)
    for rate in (0.0, 0.2, 0.7):
        dropped(rate, np.arange(3), x)
    assert dropped._cache_size() == before + 1
    np.testing.assert_array_equal(dropped(0.0, np.arange(3), x), x)


def test_a_stack_of_rates():
    x = np.ones((4, 300), np.float32)
    stack = jax.jit(jax.vmap(dropped, in_axes=(0, None, None)))(jnp.array([0.1, 0.6]), np.arange(4), x)
    for rate, y in zip((0.1, 0.6), stack, strict=True):
        np.testing.assert_allclose(y, dropped(rate, np.arange(4), x), rtol=1e-6)


def test_what_is_dropped_belongs_to_the_example():
    x = np.random.default_rng(0).normal(size=(6, 40)).astype(np.float32)
    y = np.asarray(dropped(0.5, np.arange(6), x))
    order = np.array([4, 1, 5, 0, 0, 0])
    np.testing.assert_array_equal(dropped(0.5, order, x[order]), y[order])


def test_layers_and_steps_draw_anew():
    x = jnp.ones((4, 200))
    layer, shared = Dropout(0.5), forward(np.arange(4))
    first, second = layer(x, shared), layer(x, shared)
    other_step = layer(x, forward(np.arange(4), step=1))
    for other in (second, other_step):
        assert 0.4 < float((first == other).mean()) < 0.6
    np.testing.assert_array_equal(layer(x, forward(np.arange(4))), first)


def test_off_is_the_identity():
    x = jnp.ones((4, 20))
    assert Dropout(None)(x, Forward(train=True)) is x
    assert Dropout(0.5)(x, Forward(train=False)) is x


def test_gradient_passes_where_kept():
    x = jnp.ones((4, 50))
    gradient = jax.grad(lambda x: dropped(0.5, np.arange(4), x).sum())(x)
    np.testing.assert_array_equal(gradient, dropped(0.5, np.arange(4), x))


def test_half_precision_stays():
    assert dropped(0.5, np.arange(4), jnp.ones((4, 50), jnp.bfloat16)).dtype == jnp.bfloat16


def test_training_without_keys_says_what_to_do():
    with pytest.raises(UserError, match=r"no keys.*example_keys"):
        Dropout(0.5)(jnp.ones((4, 20)), Forward(train=True))


@jax.jit
def dropped_pairs(rate, example, weights):
    heads, steps = weights.shape[1:3]
    passed = forward(example)
    factor = Dropout(rate).on_pairs(heads, steps, passed)
    return weights * factor(passed.keys, jnp.arange(steps, dtype=jnp.int32))


def test_pairs_are_dropped_as_often_as_the_rate_says():
    y = np.asarray(dropped_pairs(0.25, np.arange(200), np.ones((200, 3, 7, 7), np.float32)))
    assert set(np.unique(y)) == {0.0, np.float32(1 / 0.75)}
    assert abs((y == 0).mean() - 0.25) < 4 * np.sqrt(0.25 * 0.75 / y.size)
    # No two of an example are dropped together more often than by chance.
    places = (y == 0).reshape(200, -1).astype(float)
    correlations = np.corrcoef(places.T)[np.triu_indices(places.shape[1], 1)]
    assert np.abs(correlations).max() < 6 / np.sqrt(200)


def test_what_is_dropped_of_a_pair_is_blind_to_padding():
    y = np.asarray(dropped_pairs(0.5, np.arange(4), np.ones((4, 2, 5, 5), np.float32)))
    longer = np.asarray(dropped_pairs(0.5, np.arange(4), np.ones((4, 2, 9, 9), np.float32)))
    np.testing.assert_array_equal(longer[:, :, :5, :5], y)


def test_each_pair_has_a_number_of_its_own():
    found = np.asarray(numbers_of_pairs(jnp.arange(6, dtype=jnp.uint32), 6))
    np.testing.assert_array_equal(np.sort(found.ravel()), np.arange(36))
    np.testing.assert_array_equal(found[:4, :4], numbers_of_pairs(jnp.arange(4, dtype=jnp.uint32), 4))
