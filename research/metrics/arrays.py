"""Arrays of either library, NumPy's or JAX's, with weights: what all metrics are made of."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int, Num, Shaped


def prepare(weights: Any, *values: Any) -> tuple[Any, ...]:
    """The namespace, the weights and the values as floats; rows without any weight may hold no NaN."""
    xp = jnp if any(isinstance(v, jax.Array) for v in (weights, *values)) else np
    dtype = np.float32 if xp is jnp else np.float64
    if weights is None:
        weights = xp.ones(len(values[0]), dtype)
    weights = xp.asarray(weights, dtype)
    values = tuple(xp.asarray(value, dtype) for value in values)
    if xp is np and all(np.isfinite(value).all() for value in values):
        return xp, weights, *values
    used = (weights != 0).reshape(-1, weights.shape[-1]).any(0)
    cleaned = []
    for value in values:
        keep = xp.broadcast_to(used.reshape(-1, *[1] * (value.ndim - 1)), value.shape)
        cleaned.append(xp.where(keep, value, dtype(0)))
    return xp, weights, *cleaned


def total(xp: Any, weights: Any, values: Any) -> Any:
    """Weighted sums over the examples: ``[..., N]`` with ``[N]`` or ``[N, K]``."""
    if xp is jnp:
        # Accelerators would round the products to fewer bits; NumPy knows no such argument.
        return jnp.matmul(weights, values, precision="highest")
    # Waking the threads of BLAS for one column costs more than the sum, where cores are few.
    if values.ndim == 1 or values.shape[1] == 1:
        sums = np.einsum("...n,n->...", weights, values.reshape(-1))
        return sums if values.ndim == 1 else sums[..., None]
    return weights @ values


def ratio(xp: Any, numerator: Any, denominator: Any) -> Any:
    """``numerator / denominator``, NaN where the denominator is 0."""
    defined = denominator > 0
    return xp.where(defined, numerator / xp.where(defined, denominator, 1), xp.nan)


def weighted_mean(xp: Any, weights: Any, values: Any) -> Any:
    return ratio(xp, total(xp, weights, values), weights.sum(-1))


def running(xp: Any, weights: Any) -> Any:
    """Sums of the first 0, 1, ..., N weights, ``[..., N + 1]``."""
    return xp.concatenate([xp.zeros_like(weights[..., :1]), xp.cumsum(weights, axis=-1)], axis=-1)


def mean(values: Float[Any, " N"], weights: Shaped[Any, "*batch N"] | None = None) -> Float[Any, "*batch"]:
    """Weighted mean of a number per example, such as its loss; NaN where nothing has weight."""
    return weighted_mean(*prepare(weights, values))


def macro(values: Float[Any, "*batch C"], over: Bool[np.ndarray, " C"] | None = None) -> Float[Any, "*batch"]:
    """Unweighted mean over classes.

    Args:
        values: one value per class.
        over: the classes to take, all of which must be defined or the mean is NaN; None takes those that are defined
            and is NaN only where none is.
    """
    xp = jnp if isinstance(values, jax.Array) else np
    if over is not None:
        chosen = np.flatnonzero(over)
        return values[..., chosen].mean(-1) if len(chosen) else xp.full(values.shape[:-1], xp.nan)
    defined = ~xp.isnan(values)
    total = xp.where(defined, values, 0).sum(-1)
    return ratio(xp, total, defined.sum(-1).astype(values.dtype))


def one_hot(classes: Int[Any, " N"], count: int) -> Float[Any, "N C"]:
    """Rows of 0 with a 1 in the column of the class."""
    xp = jnp if isinstance(classes, jax.Array) else np
    return (classes[:, None] == xp.arange(count, dtype=classes.dtype)[None, :]).astype(
        np.float32 if xp is jnp else np.float64
    )


def per_column(
    metric: Any,
    predicted: Num[Any, "N C"],
    targets: Num[Any, "N C"],
    weights: Shaped[Any, "*batch N"] | None = None,
) -> Float[Any, "*batch C"]:
    """``metric(predicted, targets, weights)`` of each column; rows whose target there is NaN do not count."""
    xp = jnp if any(isinstance(v, jax.Array) for v in (weights, predicted, targets)) else np
    dtype = np.float32 if xp is jnp else np.float64
    counts: Any = xp.ones(len(predicted), dtype) if weights is None else xp.asarray(weights, dtype)

    def one(column: Any, target: Any) -> Any:
        observed = ~xp.isnan(target)
        if xp is np and observed.all():
            return metric(column, target, counts)
        counted = counts * xp.broadcast_to(observed, counts.shape).astype(dtype)
        return metric(column, xp.where(observed, target, 0), counted)

    if xp is jnp:
        return jax.vmap(one, in_axes=1, out_axes=-1)(jnp.asarray(predicted), jnp.asarray(targets))
    return np.stack([one(predicted[:, c], targets[:, c]) for c in range(predicted.shape[1])], axis=-1)
