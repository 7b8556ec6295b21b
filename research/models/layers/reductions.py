"""Sums, greatest values and what is built of them, in forms that are fast on a processor.

XLA takes a long reduction there apart into two by windows, each of which runs by itself, the greatest value without
vector instructions: up to four times as slow as what is here, which is fused with what comes before and after. Sums
over rows are products with ones. Where JAX would derive such a reduction for a gradient, the gradient is written out.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

MANY_ROWS = 512
"""Rows from which on their sum is taken as a product."""

VECTOR = 8
"""Length up to which what is left is reduced as it is."""


def summed_in(x: Array) -> Any:
    """The type in which products and sums are added up: float32, where that is not less than the type of ``x``."""
    return jnp.float32 if x.dtype.itemsize < 4 else x.dtype


def greatest_feature(x: Float[Array, "*B C"]) -> Float[Array, "*B 1"]:
    """The greatest value along the last axis; not made to be differentiated."""
    return _halved(x, jnp.maximum).max(-1, keepdims=True)


def sum_of_features(x: Float[Array, "*B C"]) -> Float[Array, "*B 1"]:
    """The sum along the last axis; not made to be differentiated."""
    return _halved(x, jnp.add).sum(-1, keepdims=True)


def _halved(x: Array, both: Callable[[Array, Array], Array]) -> Array:
    """Both halves put together, as long as the length is even and more than a vector."""
    axis = x.ndim - 1
    while x.shape[-1] > VECTOR and x.shape[-1] % 2 == 0:
        x = both(*jax.lax.split(x, (x.shape[-1] // 2,) * 2, axis=axis))
    return x


def sum_of_rows(x: Float[Array, "*B C"]) -> Float[Array, " C"]:
    """The sum over all axes but the last, where rows are many as a product with ones."""
    rows = math.prod(x.shape[:-1])
    if rows < MANY_ROWS:
        return x.sum(range(x.ndim - 1))
    flat, one = x.reshape(rows, x.shape[-1]), jax.lax.full_like(x, 1, shape=(rows,))
    total = jax.lax.dot_general(one, flat, (((0,), (0,)), ((), ())), preferred_element_type=summed_in(x))
    return total.astype(x.dtype)


@jax.custom_vjp
def plus_bias(y: Float[Array, "*B C"], bias: Float[Array, " C"]) -> Float[Array, "*B C"]:
    """``y + bias``."""
    return y + jnp.broadcast_to(bias, y.shape)


def _bias_forward(y: Array, bias: Array) -> tuple[Array, None]:
    return plus_bias(y, bias), None


def _bias_backward(_: None, gradient: Array) -> tuple[Array, Array]:
    return gradient, sum_of_rows(gradient)


plus_bias.defvjp(_bias_forward, _bias_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def layer_norm(
    x: Float[Array, "*B C"], scale: Float[Array, " C"], bias: Float[Array, " C"], epsilon: float
) -> Float[Array, "*B C"]:
    """As `research.models.layers.normalization.LayerNorm`."""
    return _norm_forward(x, scale, bias, epsilon)[0]


def _norm_forward(x: Array, scale: Array, bias: Array, epsilon: float) -> tuple[Array, tuple[Array, Array, Array]]:
    features = x.shape[-1]
    centred = x - sum_of_features(x) / features
    inverse = jax.lax.rsqrt(sum_of_features(jnp.square(centred)) / features + epsilon)
    normal = centred * inverse
    return normal * jnp.broadcast_to(scale, x.shape) + jnp.broadcast_to(bias, x.shape), (normal, inverse, scale)


def _norm_backward(epsilon: float, kept: tuple[Array, Array, Array], gradient: Array) -> tuple[Array, Array, Array]:
    normal, inverse, scale = kept
    features = normal.shape[-1]
    inner = gradient * jnp.broadcast_to(scale, gradient.shape)
    along = sum_of_features(inner * normal) / features
    by_x = inverse * (inner - sum_of_features(inner) / features - normal * along)
    return by_x, sum_of_rows(gradient * normal), sum_of_rows(gradient)


layer_norm.defvjp(_norm_forward, _norm_backward)
