"""Positions: known values of sines, rotations that keep relative distance, times of any size."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from research.errors import UserError
from research.models.layers import LearnedPositions, TimeEncoding, positions

PLACE = np.array([[0.0, 1.0, 2.0, 10.5]], np.float32)


def test_sinusoidal_equals_its_definition():
    found = np.asarray(positions.sinusoidal(jnp.asarray(PLACE), 6))
    expected = np.zeros((1, 4, 6))
    for step, place in enumerate(PLACE[0]):
        for i in range(3):
            expected[0, step, 2 * i] = np.sin(place / 10000 ** (2 * i / 6))
            expected[0, step, 2 * i + 1] = np.cos(place / 10000 ** (2 * i / 6))
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_allclose(found[0, 1, :2], [0.841471, 0.540302], atol=1e-6)
    np.testing.assert_array_equal(found[0, 0], [0, 1, 0, 1, 0, 1])
    np.testing.assert_allclose(positions.sinusoidal(jnp.asarray(PLACE), 5)[0, :, 0], expected[0, :, 0], atol=1e-5)


def test_time_encoding_starts_as_sines_and_is_learnt():
    module = TimeEncoding(7)
    found = module(jnp.asarray(PLACE))
    np.testing.assert_array_equal(found[..., 0], 0)
    np.testing.assert_allclose(found[..., 1:], positions.sinusoidal(jnp.asarray(PLACE), 6), atol=1e-5)
    module.frequency[...] = jnp.arange(7.0)
    module.phase[...] = jnp.arange(7.0) / 10
    turned = PLACE[..., None] * np.arange(7) + np.arange(7) / 10
    expected = np.concatenate([turned[..., :1], np.sin(turned[..., 1:])], axis=-1)
    np.testing.assert_allclose(module(jnp.asarray(PLACE)), expected, atol=1e-5)
    graph, params = nnx.split(module)
    gradient = jax.grad(lambda params: nnx.merge(graph, params)(jnp.asarray(PLACE)).sum())(params)
    assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(gradient))


@jax.jit
def scores(query, key, place):
    """Products of all turned queries with all turned keys."""
    rotation = positions.rotation(place, query.shape[-1])
    turned = [positions.rotated(x, rotation) for x in (query, key)]
    return jnp.einsum("bqhd,bkhd->bhqk", *turned)


def test_rotary_scores_depend_on_relative_distance():
    rng = np.random.default_rng(0)
    query, key = (np.broadcast_to(rng.normal(size=(1, 1, 2, 6)), (1, 6, 2, 6)).astype(np.float32) for _ in range(2))
    place = np.array([[0.0, 1.0, 2.0, 3.5, 4.5, 7.0]], np.float32)
    found = np.asarray(scores(query, key, place))
    # Queries and keys are the same at all steps, so what differs is the distance alone: 1 - 0, 2 - 1, 4.5 - 3.5.
    for head in range(2):
        pairs = [(1, 0), (2, 1), (4, 3)]
        np.testing.assert_allclose([found[0, head, q, k] for q, k in pairs], found[0, head, 1, 0], rtol=1e-4, atol=1e-5)
        assert abs(found[0, head, 0, 1] - found[0, head, 1, 0]) > 1e-2
    np.testing.assert_allclose(scores(query, key, place + 100), found, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(np.diagonal(found[0, 0]), (query * key)[0, :, 0].sum(-1), rtol=1e-5)


def test_rotation_equals_complex_multiplication():
    """Su et al., equation 13: a pair of features is a complex number, turned by position times frequency."""
    x = np.random.default_rng(1).normal(size=(1, 4, 1, 6)).astype(np.float32)
    found = np.asarray(positions.rotated(jnp.asarray(x), positions.rotation(jnp.asarray(PLACE), 6)))
    turned = (x[..., :3] + 1j * x[..., 3:]) * np.exp(
        1j * PLACE[:, :, None, None] * 10000.0 ** (-np.arange(0, 6, 2) / 6)
    )
    np.testing.assert_allclose(found, np.concatenate([turned.real, turned.imag], axis=-1), atol=1e-5)


def test_learned_positions_end():
    module = LearnedPositions(5, 3, rngs=nnx.Rngs(0))
    np.testing.assert_array_equal(module(4), module(5)[:4])
    with pytest.raises(UserError, match=r"longest: the sequences have 6 steps.*end at 5.*longest=6"):
        module(6)
