"""A GRU over whole series, with a derivative of its own, built as that of `recurrent_lstm`."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array, Bool, Float

from research.models.layers.recurrent_lstm import at_step, by_kernels, by_series, position, put_step


def gru_over_time(
    x: Float[Array, "T B C"],
    kernels: tuple[Float[Array, "C G"], Float[Array, "H G"], Float[Array, " G"], Float[Array, " H"]],
    initial: Float[Array, "B H"],
    valid: Bool[Array, "T B"],
    backwards: bool,
) -> tuple[Float[Array, "T B H"], Float[Array, "B H"]]:
    """Hidden states after each step, also where the state stays, and that at the end.

    Args:
        x: series by time; products are taken in its precision, gates and states are float32 at least.
        kernels: of the input, recurrent, the bias, and the candidate's second one; gates in the order r, z, n.
        initial: hidden state before the first step.
        valid: which steps count; on the others the state stays.
        backwards: from the last step to the first.
    """
    steps = x.shape[0]
    first, then = (steps, 0) if backwards else (0, 1)  # where the initial state lies, and that after step 0

    def found(hidden: Array) -> tuple[Array, Array]:
        return hidden[then : then + steps], hidden[steps - first]

    @jax.custom_vjp
    def run(x: Any, kernels: Any, initial: Any, valid: Any) -> Any:
        return found(_forwards(x, kernels, initial, valid, backwards)[2])

    def forwards(x: Any, kernels: Any, initial: Any, valid: Any) -> tuple[Any, Any]:
        x, initial, valid = x.value, initial.value, valid.value
        kernels = tuple(each.value for each in kernels)
        saved = _forwards(x, kernels, initial, valid, backwards)
        return found(saved[2]), (x, kernels, valid, saved)

    def backward(kept: Any, gradient: Any) -> Any:
        x, kernels, valid, saved = kept
        by_hidden, by_last = gradient
        by_last = jnp.zeros_like(saved[2][0]) if isinstance(by_last, SymbolicZero) else by_last
        by_gates, by_candidate, by_initial = _backwards(
            kernels[1].astype(x.dtype), valid, saved, by_hidden, by_last, backwards
        )
        before = saved[2][1 - then : 1 - then + steps]
        by_input, by_kernel, by_bias = by_kernels((x, before), by_gates, x.dtype)
        # The candidate's part of the recurrent kernel, and its bias, act before the reset gate.
        by_last_part, by_inner = by_kernels((before,), by_candidate, x.dtype)
        by_kernel = jnp.concatenate([by_kernel[:, : -by_last_part.shape[1]], by_last_part], axis=1)
        parts = by_input, by_kernel, by_bias, by_inner
        by_own = tuple(part.astype(like.dtype) for part, like in zip(parts, kernels, strict=True))
        return by_series(by_gates, kernels[0], x.dtype), by_own, by_initial, None

    run.defvjp(forwards, backward, symbolic_zeros=True)
    return run(x, kernels, initial, valid)


def _forwards(
    x: Array, kernels: tuple[Array, ...], initial: Array, valid: Array, backwards: bool
) -> tuple[Array, Array, Array]:
    """Gates ``[T, B, G]``, what the state adds to candidates ``[T, B, H]``, and states as `recurrent_lstm` has them."""
    dtype = initial.dtype
    (steps, rows, _), width = x.shape, initial.shape[1]
    half = jnp.repeat(jnp.asarray([0.5, 0.5, 1.0], dtype), width)
    by_input, by_hidden = ((each * half[None, :].astype(each.dtype)).astype(x.dtype) for each in kernels[:2])
    bias = jnp.broadcast_to(kernels[2].astype(dtype) * half, (rows, 3 * width))
    inner = jnp.broadcast_to(kernels[3].astype(dtype), (rows, width))
    projected = jax.lax.dot_general(x, by_input, (((2,), (0,)), ((), ())), preferred_element_type=dtype)

    def one(count: Array, carry: tuple[Array, ...]) -> tuple[Array, ...]:
        step, after = position(count, steps, backwards)
        h, gates, candidates, hidden = carry
        own = at_step(gates, step) + bias
        through = jnp.matmul(h.astype(x.dtype), by_hidden, preferred_element_type=dtype)
        r, z = jnp.split(0.5 + 0.5 * jnp.tanh((own + through)[:, : 2 * width]), 2, axis=1)
        candidate = through[:, 2 * width :] + inner
        n = jnp.tanh(own[:, 2 * width :] + r * candidate)
        h = jnp.where(at_step(valid, step)[:, None], (1 - z) * n + z * h, h)
        gates = put_step(gates, jnp.concatenate([r, z, n], axis=1), step)
        return h, gates, put_step(candidates, candidate, step), put_step(hidden, h, after)

    hidden = put_step(jnp.zeros((steps + 1, rows, width), dtype), initial, steps if backwards else 0)
    carry = initial, projected, jnp.zeros((steps, rows, width), dtype), hidden
    return jax.lax.fori_loop(0, steps, one, carry)[1:]


def _backwards(
    kernel: Array, valid: Array, saved: tuple[Array, Array, Array], by_hidden: Any, by_last: Array, backwards: bool
) -> tuple[Array, Array, Array]:
    """Gradients of what goes into the gates, of what the state adds to candidates, and of the initial state."""
    gates, candidates, hidden = saved
    steps, dtype = len(gates), gates.dtype
    turned = jax.lax.optimization_barrier(kernel.T)

    def one(count: Array, carry: tuple[Array, ...]) -> tuple[Array, ...]:
        step, after = position(steps - 1 - count, steps, backwards)
        by_h, by_gates, by_candidates = carry
        if not isinstance(by_hidden, SymbolicZero):
            by_h = by_h + at_step(by_hidden, step)
        before = at_step(hidden, after + 1 if backwards else after - 1)
        r, z, n = jnp.split(at_step(gates, step), 3, axis=1)
        counts = at_step(valid, step)[:, None]
        by_new = jnp.where(counts, by_h, 0)
        by_n = by_new * (1 - z) * (1 - n * n)
        by_r = by_n * at_step(candidates, step) * r * (1 - r)
        by_z = by_new * (before - n) * z * (1 - z)
        by_candidate = by_n * r
        inwards = jnp.concatenate([by_r, by_z, by_candidate], axis=1).astype(kernel.dtype)
        through = jnp.matmul(inwards, turned, preferred_element_type=dtype)
        by_gates = put_step(by_gates, jnp.concatenate([by_r, by_z, by_n], axis=1), step)
        return through + by_h * jnp.where(counts, z, 1), by_gates, put_step(by_candidates, by_candidate, step)

    carry = by_last, jnp.zeros_like(gates), jnp.zeros_like(candidates)
    by_initial, by_gates, by_candidates = jax.lax.fori_loop(0, steps, one, carry)
    return by_gates, by_candidates, by_initial
