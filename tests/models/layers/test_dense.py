"""Dense: the affine map, in any number of axes and precision."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from research.errors import UserError
from research.models import Forward
from research.models.layers import Dense

X = np.random.default_rng(0).normal(size=(5, 2, 3)).astype(np.float32)


def test_equals_matrix_multiplication():
    layer = Dense(3, 4, rngs=nnx.Rngs(0))
    layer.bias[...] = jnp.arange(4.0)
    expected = X @ np.asarray(layer.kernel[...]) + np.arange(4)
    np.testing.assert_allclose(layer(jnp.asarray(X), Forward()), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(layer(jnp.asarray(X[:, 0]), Forward()), expected[:, 0], rtol=1e-5, atol=1e-6)


def test_without_bias_there_is_one_parameter():
    layer = Dense(3, 4, bias=False, rngs=nnx.Rngs(0))
    assert layer.bias is None
    assert len(jax.tree.leaves(nnx.state(layer, nnx.Param))) == 1


def test_computes_in_the_precision_of_its_input():
    layer = Dense(3, 4, rngs=nnx.Rngs(0))
    assert layer(jnp.asarray(X, jnp.bfloat16), Forward()).dtype == jnp.bfloat16


def test_unknown_initialiser():
    with pytest.raises(UserError, match="Did you mean 'he_normal'"):
        Dense(3, 4, kernel_init="he_norml", rngs=nnx.Rngs(0))
