"""From steps to one vector: means and greatest values of what counts, and where their gradients go."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from research.models.layers import max_over_steps, mean_over_steps

LENGTHS = (5, 3, 0)
X = np.random.default_rng(0).normal(-4, 1, (3, 5, 2)).astype(np.float32)
VALID = np.arange(5)[None, :] < np.array(LENGTHS)[:, None]


@pytest.mark.parametrize(("readout", "reduce"), [(mean_over_steps, np.mean), (max_over_steps, np.max)])
def test_equals_its_definition(readout, reduce):
    found, gradient = jax.jit(lambda x, valid: (readout(x, valid), jax.grad(lambda x: readout(x, valid).sum())(x)))(
        X, VALID
    )
    for row, length in enumerate(LENGTHS):
        expected = reduce(X[row, :length], axis=0) if length else np.zeros(2)
        np.testing.assert_allclose(found[row], expected, rtol=1e-6)
        np.testing.assert_allclose(gradient[row].sum(0), length > 0)
        np.testing.assert_array_equal(gradient[row, length:], 0)
    assert readout(jnp.asarray(X, jnp.bfloat16), jnp.asarray(VALID)).dtype == jnp.bfloat16


def test_the_first_of_equal_steps_has_the_gradient():
    x, valid = jnp.array([[[1.0], [3.0], [3.0]]]), jnp.ones((1, 3), bool)
    gradient = jax.grad(lambda x: max_over_steps(x, valid).sum())(x)
    np.testing.assert_array_equal(gradient[0, :, 0], [0, 1, 0])
