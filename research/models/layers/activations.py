"""Activation functions, by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp

from research.errors import UserError, did_you_mean

Name = Literal["elu", "gelu", "identity", "leaky_relu", "relu", "selu", "sigmoid", "silu", "softplus", "tanh"]


def identity(x: jax.Array) -> jax.Array:
    """``x`` itself: no activation."""
    return x


_BY_NAME: dict[str, Callable[[jax.Array], jax.Array]] = {
    "elu": jax.nn.elu,
    "gelu": jax.nn.gelu,
    "identity": identity,
    "leaky_relu": jax.nn.leaky_relu,
    "relu": jax.nn.relu,
    "selu": jax.nn.selu,
    "sigmoid": jax.nn.sigmoid,
    "silu": jax.nn.silu,
    "softplus": jax.nn.softplus,
    "tanh": jnp.tanh,
}


def by_name(name: str) -> Callable[[jax.Array], jax.Array]:
    """The activation of this name; ``gelu`` is its tanh approximation (Hendrycks and Gimpel 2016).

    Raises:
        UserError: for an unknown name, with the closest and all valid ones.
    """
    if name not in _BY_NAME:
        raise UserError(
            f"activation {name!r} is not known.{did_you_mean(name, _BY_NAME)} Known: {', '.join(_BY_NAME)}."
        )
    return _BY_NAME[name]
