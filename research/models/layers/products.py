"""Products with kernels, and the seam in which the lowering of their gradients is chosen by the device."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from research.models.layers.reductions import MANY_ROWS, plus_bias


def product(x: Float[Array, "*B C"], kernel: Float[Array, "C D"], platform: str) -> Float[Array, "*B D"]:
    """``x @ kernel`` over the last axis.

    The gradient of the kernel is a product that sums over rows, along which both operands are laid out the wrong way
    for a processor: there one of them is turned round first, which makes the product up to twice as fast.

    Args:
        x: vectors along the last axis.
        kernel: of the precision of ``x``.
        platform: kind of device (cpu, gpu, tpu).
    """
    if platform == "cpu" and math.prod(x.shape[:-1]) >= MANY_ROWS:
        return _turned(x, kernel)
    return _product(x, kernel)


def with_bias(y: Float[Array, "*B D"], bias: Float[Array, " D"], platform: str) -> Float[Array, "*B D"]:
    """``y + bias`` in the precision of ``y``."""
    bias = bias.astype(y.dtype)
    return plus_bias(y, bias) if platform == "cpu" else y + jnp.broadcast_to(bias, y.shape)


def kernel_gradient(x: Float[Array, "N C"], gradient: Float[Array, "N D"]) -> Float[Array, "C D"]:
    """``x.T @ gradient`` on a processor, by way of the narrower of the two turned round."""
    if x.shape[1] <= gradient.shape[1]:
        return _product(_laid_out(x.T), gradient)
    return _product(_laid_out(gradient.T), x).T


def _laid_out(x: Float[Array, "C N"]) -> Float[Array, "C N"]:
    """An array that the compiler does not take for a view of another."""
    return jax.lax.optimization_barrier(x)


def _product(x: Float[Array, "*B C"], kernel: Float[Array, "C D"]) -> Float[Array, "*B D"]:
    return jax.lax.dot_general(x, kernel, (((x.ndim - 1,), (0,)), ((), ())))


@jax.custom_vjp
def _turned(x: Array, kernel: Array) -> Array:
    return _product(x, kernel)


def _forward(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return _product(x, kernel), (x, kernel)


def _backward(kept: tuple[Array, Array], gradient: Array) -> tuple[Array, Array]:
    x, kernel = kept
    by_x = jax.lax.dot_general(gradient, kernel, (((gradient.ndim - 1,), (1,)), ((), ())))
    return by_x, kernel_gradient(*(jnp.reshape(each, (-1, each.shape[-1])) for each in (x, gradient)))


_turned.defvjp(_forward, _backward)
