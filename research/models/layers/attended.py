"""The core of attention on a processor: scores, softmax and mean in one function with a gradient of its own.

Rows of scores are not divided by their sums, the results are: ``d`` values in place of ``T``. For the backward pass the
exponentials are kept, in place of scores and weights; so it makes a pass less over what is quadratic in the number of
steps.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from research.models.layers.reductions import greatest_feature, sum_of_features, summed_in


@jax.custom_vjp
def attended(
    query: Float[Array, "N Q d"],
    key: Float[Array, "N T d"],
    value: Float[Array, "N T d"],
    allowed: Bool[Array, "N Q T"] | None,
    factor: Float[Array, "N Q T"] | None,
) -> Float[Array, "N Q d"]:
    """``(softmax(query key) * factor) value``.

    Args:
        query: already divided by the root of ``d``.
        key, value: of the steps.
        allowed: which steps each query may look at; None: all. Where there are none the result is 0.
        factor: by which weights are multiplied after the softmax, 0 where they are dropped; None: 1.
    """
    return _forward(query, key, value, allowed, factor)[0]


def _forward(query: Array, key: Array, value: Array, allowed: Any, factor: Any) -> tuple[Array, Any]:
    scores = _batched(query, key, 2, 2)
    if allowed is not None:
        scores = jnp.where(allowed, scores, -jnp.inf)
    highest = greatest_feature(scores)
    if allowed is not None:
        highest = jnp.where(jnp.isfinite(highest), highest, 0)
    raised = jnp.exp(scores - highest)
    inverse = 1 / sum_of_features(raised).clip(1e-30)
    mixed = _batched(_times(raised, factor).astype(value.dtype), value, 2, 1) * inverse
    return mixed.astype(query.dtype), (query, key, value, factor, raised, inverse, mixed)


def _backward(kept: Any, gradient: Array) -> tuple[Any, ...]:
    query, key, value, factor, raised, inverse, mixed = kept
    dtype, gradient = query.dtype, gradient.astype(summed_in(gradient))
    scaled = (gradient * inverse).astype(dtype)
    by_value = _over_queries(_times(raised, factor).astype(dtype), scaled)
    by_product = _batched(scaled, value, 2, 2)
    by_weight = _times(by_product, factor)
    by_score = (raised * (by_weight - inverse * (gradient * mixed).sum(-1, keepdims=True))).astype(dtype)
    by_factor = None if factor is None else (raised * by_product).astype(factor.dtype)
    by_query, by_key = _batched(by_score, key, 2, 1), _over_queries(by_score, query)
    return by_query.astype(dtype), by_key.astype(dtype), by_value.astype(dtype), None, by_factor


attended.defvjp(_forward, _backward)


def _times(values: Array, factor: Array | None) -> Array:
    return values if factor is None else values * factor


def _over_queries(weights: Array, values: Array) -> Float[Array, "N T d"]:
    """Sums over queries of values ``[N, Q, d]``, weighted by ``[N, Q, T]``.

    XLA's libraries take twice the time where the wide operand is the one to be turned round, and XLA would exchange the
    operands if it saw that their product is turned round after it.
    """
    return jnp.swapaxes(jax.lax.optimization_barrier(_batched(values, weights, 1, 1)), 1, 2)


def _batched(a: Array, b: Array, of_a: int, of_b: int) -> Float[Array, "N ..."]:
    """Products for each of N, summed over one axis of each in float32."""
    return jax.lax.dot_general(a, b, (((of_a,), (of_b,)), ((0,), (0,))), preferred_element_type=summed_in(a))
