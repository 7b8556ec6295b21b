"""Normalisation by the statistics of a batch on a processor, with a gradient of its own.

XLA takes the sum of a channel over rows and pixels apart into sums over windows, at a fifth of the speed of the memory;
and of the mean and the variance JAX derives gradients that take more such sums. Here each sum adds up slices, which is
fused with what makes the numbers, and the gradient, as Ioffe and Szegedy write it ("Batch normalization", ICML 2015),
takes two sums and one pass.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from research.models.layers.reductions import sum_of_rows

SLICES = (8, 7, 6, 5, 4, 3, 2)
"""Into so many slices the places are divided, the most that is possible."""


def sum_of_channels(x: Float[Array, "B S C"]) -> Float[Array, " C"]:
    """The sum over rows and places."""
    while (count := next((count for count in SLICES if x.shape[1] % count == 0), None)) is not None:
        parts = jax.lax.split(x, (x.shape[1] // count,) * count, axis=1)
        # The compiler is not to make one sum of all levels: it would compute what is below again for each.
        x = jax.lax.optimization_barrier(functools.reduce(jnp.add, parts))
    return sum_of_rows(x)


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def batch_norm(
    x: Float[Array, "B S C"],
    weight: Float[Array, "#B #S 1"],
    scale: Float[Array, " C"],
    bias: Float[Array, " C"],
    epsilon: float,
) -> tuple[Float[Array, "B S C"], Float[Array, " C"], Float[Array, " C"]]:
    """``(normal, mean, variance)``; of the last two no gradient is taken.

    Args:
        x: rows of places, pixels or steps.
        weight: 1 on the rows and places that count, 0 on the others.
        scale: of the normalised values.
        bias: added to them.
        epsilon: added to the variance.
    """
    return _forward(x, weight, scale, bias, epsilon)[0]


def _forward(
    x: Array, weight: Array, scale: Array, bias: Array, epsilon: float
) -> tuple[tuple[Array, Array, Array], tuple[Array, ...]]:
    share = weight / _count(x, weight)
    mean = sum_of_channels(x * jnp.broadcast_to(share, x.shape))
    centred = x - jnp.broadcast_to(mean, x.shape)
    variance = sum_of_channels(jnp.square(centred) * jnp.broadcast_to(share, x.shape))
    inverse = jax.lax.rsqrt(variance + epsilon)
    normal = centred * jnp.broadcast_to(inverse * scale, x.shape) + jnp.broadcast_to(bias, x.shape)
    return (normal, mean, variance), (x, share, mean, inverse, scale)


def _backward(
    epsilon: float, kept: tuple[Array, ...], gradients: tuple[Array, Array, Array]
) -> tuple[Array, Array, Array, Array]:
    x, share, mean, inverse, scale = kept

    def wide(value: Array) -> Array:
        return jnp.broadcast_to(value, x.shape)

    gradient, normal = gradients[0], (x - wide(mean)) * wide(inverse)
    total, along = sum_of_channels(gradient), sum_of_channels(gradient * normal)
    by_x = wide(inverse * scale) * (gradient - wide(share) * (wide(total) + normal * wide(along)))
    return by_x, jnp.zeros_like(share), along, total


def _count(x: Array, weight: Array) -> Array:
    """How many places count."""
    places = x.shape[0] * x.shape[1] // (weight.shape[0] * weight.shape[1])
    return (weight.sum() * places).clip(1e-12)


batch_norm.defvjp(_forward, _backward)
