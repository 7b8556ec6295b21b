"""The perceptron for series: its count, its definition, and series of another length."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from signal_models import QUICK, count, ragged, shapes

from research.errors import UserError
from research.models import Forward, SeriesMLP, functional


def test_number_of_parameters_and_rates_are_the_published_ones():
    """Wang et al., IJCNN 2017, figure 1: three layers of 500, dropout of 0.1, 0.2, 0.2 and 0.3."""
    assert count(SeriesMLP(), 1, 2, steps=96) == 96 * 500 + 500 + 2 * (500 * 500 + 500) + 500 * 2 + 2
    assert SeriesMLP().dropout == (0.1, 0.2, 0.2, 0.3)


def test_equals_its_definition():
    inputs = ragged((6, 4), 6)
    spec, one = SeriesMLP(widths=(5, 4), dropout=None), shapes(6, 2, 2)
    module: Any = jax.jit(lambda: spec.build(one, 3, nnx.Rngs(0)))()
    h = np.where(np.arange(6)[None, :, None] < inputs["length"][:, None, None], inputs["values"], 0).reshape(2, -1)
    for layer in module.hidden:
        h = np.maximum(h @ np.asarray(layer.kernel[...]) + np.asarray(layer.bias[...]), 0)
    expected = np.concatenate([h, inputs["static"]], 1) @ np.asarray(module.output.kernel[...])
    found = module(jax.tree.map(jnp.asarray, inputs), Forward(context=QUICK))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_series_longer_than_those_it_was_made_for_are_refused():
    spec = SeriesMLP(widths=(3,), dropout=None)
    initial = jax.eval_shape(lambda: functional.initialise(spec, shapes(5, 2, 2), 2, jax.random.key(0)))
    params, state = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), initial)
    inputs = jax.tree.map(jnp.asarray, ragged((7, 2), 7))
    with pytest.raises(UserError, match=r"made for series of 5 steps, but these have 7. Set data.longest to 5"):
        functional.apply(spec, params, state, inputs, 2, Forward(), jax.random.key(0))
