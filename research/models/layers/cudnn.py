"""NVIDIA's own kernels for LSTMs and attention, where JAX offers them: under ``execution.lowerings=vendor``.

One kernel goes through all steps of an LSTM, in place of a loop of one product and a few small kernels for each step
(Appleyard, Kocisky and Blunsom, "Optimizing performance of recurrent neural networks on GPUs", 2016). That of attention
never writes down what is quadratic in the number of steps (Dao, "FlashAttention-2", ICLR 2024). What they do not offer
is computed as without them: a GRU; an LSTM in half precision; attention in float32, with dropout of its weights, with
heads of other than 8, 16, ... 128 numbers, where its weights are asked for, or on a GPU from before Ampere; and both of
several models at once, or in a program that goes over several devices.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Float32, Int32

from research.context import CUDNN, Context
from research.models.layers.attention_blocks import AttentionMask

WIDEST_HEAD = 128
"""From Hopper on they may be twice as wide."""

AMPERE = 8
"""Compute capability, before the point, of the first GPUs that have the kernel of attention."""

EXACT = ("highest", "float32", "F32_F32_F32")
"""Values of ``JAX_DEFAULT_MATMUL_PRECISION`` under which factors are not rounded to TF32."""


def takes_lstm(x: Array, context: Context) -> bool:
    """Whether cuDNN is to compute an LSTM layer of such an input."""
    return _here(context) and x.dtype == jnp.float32


def lstm(
    x: Float32[Array, "B T C"],
    kernels: tuple[Float32[Array, "C G"], Float32[Array, "H G"], Float32[Array, " G"]],
    valid: Bool[Array, "B T"],
    backwards: bool,
) -> tuple[Float32[Array, "B T H"], tuple[Float32[Array, "B H"], Float32[Array, "B H"]]]:
    """Hidden states after each step, and both states at the end; they start at 0.

    Args:
        x: series.
        kernels: of the input, recurrent, and the bias; gates in the order i, f, g, o.
        valid: which steps count; the others come last, and what is given for them has no meaning.
        backwards: from the last step that counts to the first.
    """
    from jax.experimental import rnn  # asks for the libraries of a GPU

    by_input, by_hidden, bias = (each.astype(x.dtype) for each in kernels)
    rows, width = x.shape[0], by_hidden.shape[0]
    count = valid.sum(1, dtype=jnp.int32)
    # There are two biases, and a series has a step at least.
    weights = jnp.concatenate([by_input.T.ravel(), by_hidden.T.ravel(), bias, jnp.zeros_like(bias)])
    zeros = jnp.zeros((1, rows, width), x.dtype)
    exact = jax.config.jax_default_matmul_precision in EXACT  # pyright: ignore[reportAttributeAccessIssue]
    precision = jax.lax.Precision.HIGHEST if exact else jax.lax.Precision.HIGH
    kernel: Any = rnn.lstm
    hidden, h, c = kernel(
        _turned(x, count) if backwards else x,
        zeros,
        zeros,
        weights,
        count.clip(1),
        x.shape[2],
        width,
        1,  # layer
        0.0,  # dropout between layers
        False,  # one direction
        precision,
    )
    begun = count[:, None] > 0
    last = jnp.where(begun, h[0], 0), jnp.where(begun, c[0], 0)
    return _turned(hidden, count) if backwards else hidden, last


@jax.custom_vjp
def _turned(x: Float32[Array, "B T C"], count: Int32[Array, " B"]) -> Float32[Array, "B T C"]:
    """Each series from its last step that counts to its first; the others stay. Turned twice it is as before.

    So the gradient is turned too; JAX's own would be a scatter, which is slow where it has to be deterministic.
    """
    steps = jnp.arange(x.shape[1], dtype=jnp.int32)[None, :]
    places = jnp.where(steps < count[:, None], count[:, None] - 1 - steps, steps)
    return jnp.take_along_axis(x, places[..., None], axis=1)


def _turned_forward(x: Array, count: Array) -> tuple[Array, Array]:
    return _turned(x, count), count


def _turned_backward(count: Array, gradient: Array) -> tuple[Array, None]:
    return _turned(gradient, count), None


_turned.defvjp(_turned_forward, _turned_backward)


def takes_attention(query: Float[Array, "B T N d"], context: Context) -> bool:
    """Whether cuDNN is to compute attention whose weights are neither dropped nor noted."""
    halved, width = query.dtype in (jnp.bfloat16, jnp.float16), query.shape[3]
    return _here(context) and halved and width % 8 == 0 and width <= WIDEST_HEAD and _generation() >= AMPERE


def attention(
    query: Float[Array, "B T N d"],
    key: Float[Array, "B T N d"],
    value: Float[Array, "B T N d"],
    mask: AttentionMask | None,
) -> Float[Array, "B T N d"]:
    """``softmax(query key / sqrt(d)) value`` in each of N heads, 0 for steps that do not count.

    Args:
        query, key, value: of the steps.
        mask: what each may look at; None: all. The kernel takes the number of steps that count, which come first: a
            mask of pairs would be written down, and its gradient too.
    """
    if mask is None:
        return jax.nn.dot_product_attention(query, key, value, implementation="cudnn")
    count = mask.valid.sum(1, dtype=jnp.int32).clip(1)
    mixed = jax.nn.dot_product_attention(
        query,
        key,
        value,
        is_causal=mask.causal,
        query_seq_lengths=count,
        key_value_seq_lengths=count,
        implementation="cudnn",
    )
    return jnp.where(mask.valid[:, :, None, None], mixed, 0)


def _here(context: Context) -> bool:
    """Whether a program is for one GPU, and trains one model."""
    return context.platform == CUDNN and not context.stacked and not context.spread


def _generation() -> int:
    """Compute capability of the GPU, before the point."""
    return int(str(jax.local_devices(backend="gpu")[0].compute_capability).split(".")[0])
