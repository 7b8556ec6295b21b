"""Initialisers: every name has the variance it promises."""

from __future__ import annotations

from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from research.errors import UserError
from research.models.layers import activations, initializers

INPUTS, OUTPUTS = 300, 100

VARIANCE = {
    "glorot_normal": 2 / (INPUTS + OUTPUTS),
    "glorot_uniform": 2 / (INPUTS + OUTPUTS),
    "he_normal": 2 / INPUTS,
    "he_uniform": 2 / INPUTS,
    "lecun_normal": 1 / INPUTS,
    "lecun_uniform": 1 / INPUTS,
    "normal": 0.02**2,
    "ones": 0.0,
    "orthogonal": 1 / INPUTS,
    # A standard normal cut at two standard deviations has a variance of 0.774.
    "truncated_normal": 0.774 * 0.02**2,
    "zeros": 0.0,
}


@pytest.mark.parametrize("name", get_args(initializers.Name))
def test_variance(name):
    kernel = np.asarray(initializers.by_name(name)(jax.random.key(0), (INPUTS, OUTPUTS), jnp.float32))
    assert kernel.shape == (INPUTS, OUTPUTS) and kernel.dtype == np.float32
    assert kernel.var() == pytest.approx(VARIANCE[name], rel=0.03)
    assert kernel.mean() == pytest.approx(1.0 if name == "ones" else 0.0, abs=4 * np.sqrt(VARIANCE[name] / kernel.size))
    if name == "orthogonal":
        np.testing.assert_allclose(kernel.T @ kernel, np.eye(OUTPUTS), atol=1e-5)


def test_unknown_initialiser_says_which_are_known():
    with pytest.raises(UserError, match=r"'glorot_unifrom' is not known. Did you mean 'glorot_uniform'\?.*orthogonal"):
        initializers.by_name("glorot_unifrom")


REFERENCE = {
    "elu": lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
    "gelu": lambda x: x / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))),
    "identity": lambda x: x,
    "leaky_relu": lambda x: np.where(x > 0, x, 0.01 * x),
    "relu": lambda x: np.maximum(x, 0),
    "selu": lambda x: 1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * np.expm1(np.minimum(x, 0))),
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "silu": lambda x: x / (1 + np.exp(-x)),
    "softplus": lambda x: np.log1p(np.exp(x)),
    "tanh": np.tanh,
}


@pytest.mark.parametrize("name", get_args(activations.Name))
def test_activation(name):
    x = np.linspace(-5, 5, 41)
    values = activations.by_name(name)(jnp.asarray(x, jnp.float32))
    np.testing.assert_allclose(values, REFERENCE[name](x), rtol=1e-5, atol=1e-6)


def test_unknown_activation_says_which_are_known():
    with pytest.raises(UserError, match=r"'rleu' is not known. Did you mean 'relu'\?"):
        activations.by_name("rleu")
