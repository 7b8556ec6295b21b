"""An LSTM over whole series, with a derivative of its own.

Two things make it fast where each step is a small product and a few elementwise passes, as on a CPU. One tanh serves
all gates, ``sigmoid(x) = (1 + tanh(x / 2)) / 2``, the halves being multiplied into the kernels (which is exact). And
the backward loop has one product per step, by the recurrent kernel; one product after the loop makes the gradients of
all kernels and of the bias, so that devices which share out the rows send one message. The gates of the forward loop
are written over their projected inputs.
"""

from __future__ import annotations

import itertools
from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array, Bool, Float

HALVED = (0.5, 0.5, 1.0, 0.5)
"""What the gates i, f, g, o are multiplied by before the tanh, and after it."""
RAISED = (0.5, 0.5, 0.0, 0.5)
"""What is added to them then."""


def lstm_over_time(
    x: Float[Array, "T B C"],
    kernels: tuple[Float[Array, "C G"], Float[Array, "H G"], Float[Array, " G"]],
    initial: tuple[Float[Array, "B H"], ...],
    valid: Bool[Array, "T B"],
    backwards: bool,
) -> tuple[Float[Array, "T B H"], tuple[Float[Array, "B H"], Float[Array, "B H"]]]:
    """Hidden states after each step, also where the state stays, and both states at the end.

    Args:
        x: series by time; products are taken in its precision, gates and states are float32 at least.
        kernels: of the input, recurrent, and the bias; gates in the order i, f, g, o.
        initial: hidden state and the cell's before the first step.
        valid: which steps count; on the others the state stays.
        backwards: from the last step to the first.
    """
    steps = x.shape[0]
    first, then = (steps, 0) if backwards else (0, 1)  # where the initial state lies, and that after step 0

    @jax.custom_vjp
    def run(x: Any, kernels: Any, initial: Any, valid: Any) -> Any:
        _, hidden, cell, _ = _forwards(x, kernels, initial, valid, backwards)
        return hidden[then : then + steps], (hidden[steps - first], cell[steps - first])

    def forwards(x: Any, kernels: Any, initial: Any, valid: Any) -> tuple[Any, Any]:
        x, valid = x.value, valid.value
        kernels, initial = (tuple(each.value for each in group) for group in (kernels, initial))
        saved = _forwards(x, kernels, initial, valid, backwards)
        _, hidden, cell, _ = saved
        found = hidden[then : then + steps], (hidden[steps - first], cell[steps - first])
        return found, (x, kernels, initial, valid, saved)

    def backward(kept: Any, gradient: Any) -> Any:
        x, kernels, initial, valid, saved = kept
        by_hidden, by_last = gradient
        by_last = tuple(
            jnp.zeros_like(like) if isinstance(each, SymbolicZero) else each
            for each, like in zip(by_last, initial, strict=True)
        )
        by_gates, by_initial = _backwards(kernels[1].astype(x.dtype), valid, saved, by_hidden, by_last, backwards)
        before = saved[1][1 - then : 1 - then + steps]
        parts = by_kernels((x, before), by_gates, x.dtype)
        by_own = tuple(part.astype(like.dtype) for part, like in zip(parts, kernels, strict=True))
        return by_series(by_gates, kernels[0], x.dtype), by_own, by_initial, None

    run.defvjp(forwards, backward, symbolic_zeros=True)
    return run(x, kernels, initial, valid)


def _forwards(
    x: Array, kernels: tuple[Array, ...], initial: tuple[Array, ...], valid: Array, backwards: bool
) -> tuple[Array, Array, Array, Array]:
    """Gates ``[T, B, G]``, states ``[T + 1, B, H]`` the initial ones first (backwards: last), and tanh of cells."""
    dtype = initial[0].dtype
    (steps, rows, _), width = x.shape, initial[0].shape[1]
    factor = jnp.repeat(jnp.asarray(HALVED, dtype), width)
    raised = jnp.repeat(jnp.asarray(RAISED, dtype), width)
    by_input, by_hidden = ((each * factor[None, :].astype(each.dtype)).astype(x.dtype) for each in kernels[:2])
    bias = kernels[2].astype(dtype) * factor
    projected = jax.lax.dot_general(x, by_input, (((2,), (0,)), ((), ())), preferred_element_type=dtype)

    def one(count: Array, carry: tuple[Array, ...]) -> tuple[Array, ...]:
        step, after = position(count, steps, backwards)
        h, c, gates, hidden, cell, squashed = carry
        z = at_step(gates, step) + jnp.matmul(h.astype(x.dtype), by_hidden, preferred_element_type=dtype)
        now = jnp.tanh(z + jnp.broadcast_to(bias, z.shape)) * jnp.broadcast_to(factor, z.shape)
        now = now + jnp.broadcast_to(raised, z.shape)
        i, f, g, o = jnp.split(now, 4, axis=1)
        counts = at_step(valid, step)[:, None]
        moved = f * c + i * g
        flat = jnp.tanh(moved)
        h, c = jnp.where(counts, o * flat, h), jnp.where(counts, moved, c)
        gates, squashed = put_step(gates, now, step), put_step(squashed, flat, step)
        return h, c, gates, put_step(hidden, h, after), put_step(cell, c, after), squashed

    kept = [put_step(jnp.zeros((steps + 1, rows, width), dtype), each, steps if backwards else 0) for each in initial]
    carry = (*initial, projected, *kept, jnp.zeros((steps, rows, width), dtype))
    _, _, gates, hidden, cell, squashed = jax.lax.fori_loop(0, steps, one, carry)
    return gates, hidden, cell, squashed


def _backwards(
    kernel: Array,
    valid: Array,
    saved: tuple[Array, Array, Array, Array],
    by_hidden: Any,
    by_last: tuple[Array, ...],
    backwards: bool,
) -> tuple[Array, tuple[Array, Array]]:
    """Gradients of what goes into the gates, ``[T, B, G]``, and of the initial states."""
    gates, _, cell, squashed = saved
    steps, dtype = len(gates), gates.dtype
    # Transposed once, here: the compiler would do it in each step.
    turned = jax.lax.optimization_barrier(kernel.T)

    def one(count: Array, carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        step, after = position(steps - 1 - count, steps, backwards)
        by_h, by_c, by_gates = carry
        if not isinstance(by_hidden, SymbolicZero):
            by_h = by_h + at_step(by_hidden, step)
        before = after + 1 if backwards else after - 1
        i, f, g, o = jnp.split(at_step(gates, step), 4, axis=1)
        flat, counts = at_step(squashed, step), at_step(valid, step)[:, None]
        by_moved = by_h * o * (1 - flat * flat) + by_c
        parts = (
            by_moved * g * i * (1 - i),
            by_moved * f * at_step(cell, before) * (1 - f),
            by_moved * i * (1 - g * g),
            by_h * flat * o * (1 - o),
        )
        now = jnp.concatenate([jnp.where(counts, part, 0) for part in parts], axis=1)
        through = jnp.matmul(now.astype(kernel.dtype), turned, preferred_element_type=dtype)
        by_h, by_c = through + jnp.where(counts, 0, by_h), jnp.where(counts, by_moved * f, by_c)
        return by_h, by_c, put_step(by_gates, now, step)

    by_h, by_c, by_gates = jax.lax.fori_loop(0, steps, one, (*by_last, jnp.zeros_like(gates)))
    return by_gates, (by_h, by_c)


def by_series(by_gates: Float[Array, "T B G"], kernel: Float[Array, "C G"], dtype: Any) -> Float[Array, "T B C"]:
    """Gradient of a series from that of its projection."""
    return jax.lax.dot_general(by_gates.astype(dtype), kernel.astype(dtype), (((2,), (1,)), ((), ())))


def by_kernels(
    went_in: tuple[Float[Array, "T B _"], ...], by_gates: Float[Array, "T B G"], dtype: Any
) -> tuple[Array, ...]:
    """Gradients of the kernels that took each of ``went_in`` to gates, and of the bias, in one product.

    It goes over all steps and rows. Its left side, the narrower one, is transposed beforehand: contracting the first
    axes is slow on a CPU.

    Args:
        went_in: what went into the kernels.
        by_gates: gradients of what came out.
        dtype: precision of the product; it adds up in that of ``by_gates``.
    """
    went_in = *went_in, jnp.ones((*by_gates.shape[:2], 1), dtype)
    # Steps and rows stay apart: merged, rows that lie on several devices would be gathered.
    left = jnp.concatenate([jnp.transpose(each.astype(dtype), (2, 0, 1)) for each in went_in])
    product = jax.lax.dot_general(
        jax.lax.optimization_barrier(left),
        by_gates.astype(dtype),
        (((1, 2), (0, 1)), ((), ())),
        preferred_element_type=by_gates.dtype,
    )
    *kernels, bias = jnp.split(product, list(itertools.accumulate(each.shape[2] for each in went_in[:-1])))
    return *kernels, bias[0]


def position(count: Array, steps: int, backwards: bool) -> tuple[Array, Array]:
    """The step that is taken after ``count`` others, and where the states after it lie."""
    return (steps - 1 - count, steps - 1 - count) if backwards else (count, count + 1)


def at_step(array: Float[Array, "T ..."] | Bool[Array, "T ..."], step: Array) -> Array:
    """What an array holds for a step."""
    return jax.lax.dynamic_index_in_dim(array, step, keepdims=False)


def put_step(array: Float[Array, "T ..."], value: Float[Array, ...], step: Array | int) -> Float[Array, "T ..."]:
    """The array with a value for a step."""
    return jax.lax.dynamic_update_index_in_dim(array, value, step, 0)
