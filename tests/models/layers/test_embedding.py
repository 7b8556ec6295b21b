"""Vectors of codes and numbers."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from research.models import Forward
from research.models.layers import Embedding, NumberEmbedding

CODES = np.array([[3, 0, 1], [0, 0, 4]], np.int32)


def test_codes_are_looked_up_and_padding_is_zero():
    module = Embedding(5, 4, rngs=nnx.Rngs(0))
    assert module.table.shape == (4, 4)
    table = np.concatenate([np.zeros((1, 4)), 2 * np.asarray(module.table[...])])  # the root of the width is 2
    found = module(jnp.asarray(CODES), Forward())
    np.testing.assert_allclose(found, table[CODES], rtol=1e-6)
    assert (np.asarray(found)[CODES == 0] == 0).all()


def test_vectors_start_with_variance_one():
    module = Embedding(500, 64, rngs=nnx.Rngs(0))
    found = module(jnp.arange(1, 500, dtype=jnp.int32)[None], Forward())
    assert abs(float(found.std()) - 1) < 0.02


def test_a_code_beyond_the_table_is_no_number():
    """Another code's vector would pass unnoticed; NaN stops the run."""
    module = Embedding(5, 2, rngs=nnx.Rngs(0))
    found = np.asarray(module(jnp.asarray([[5, 4, -1]], jnp.int32), Forward()))[0]
    assert np.isnan(found[0]).all() and np.isfinite(found[1]).all() and np.isnan(found[2]).all()


def test_only_codes_that_are_there_learn():
    graph, params = nnx.split(Embedding(6, 3, rngs=nnx.Rngs(0)))
    gradient = jax.grad(lambda params: nnx.merge(graph, params)(jnp.asarray(CODES), Forward()).sum())(params)
    moved = np.abs(np.asarray(jax.tree.leaves(gradient)[0])).sum(1) > 0
    np.testing.assert_array_equal(moved, [True, False, True, True, False])


def test_numbers_equal_their_definition():
    module = NumberEmbedding(10, rngs=nnx.Rngs(0))
    numbers = np.array([[0.5, -2.0]], np.float32)
    kernel, bias = np.asarray(module.hidden.kernel[...]), np.asarray(module.hidden.bias[...])
    assert kernel.shape == (1, 3)
    expected = np.tanh(numbers[..., None] @ kernel + bias) @ np.asarray(module.output.kernel[...])
    np.testing.assert_allclose(module(jnp.asarray(numbers), Forward()), expected, rtol=1e-5, atol=1e-6)
