"""NVIDIA's own kernels for LSTMs and attention, where JAX offers them: under ``execution.lowerings=vendor``.

One kernel goes through all steps of an LSTM, in place of a loop of one product and a few small kernels for each step
(Appleyard, Kocisky and Blunsom, "Optimizing performance of recurrent neural networks on GPUs", 2016). That of attention
never writes down what is quadratic in the number of steps (Dao, "FlashAttention-2", ICLR 2024). What they do not offer
is computed as without them: a GRU; an LSTM in half precision, of several models at once, or with its rows on several
devices of one program; attention in float32, with dropout of its weights, with wide or odd heads, or where its weights
are asked for.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Float32, Int32

from research.context import CUDNN, Context
from research.models.layers.attention_blocks import AttentionMask, block_size

WIDEST_HEAD = 128
"""On any GPU; from Hopper on they may be twice as wide."""

BY = "cudnn"
"""The implementation of `jax.nn.dot_product_attention`."""

EXACT = ("highest", "float32")
"""Values of ``JAX_DEFAULT_MATMUL_PRECISION`` under which factors are not rounded to TF32."""


def takes_lstm(x: Array, context: Context) -> bool:
    """Whether cuDNN is to compute an LSTM layer of such an input."""
    alone = not context.stacked and not context.spread
    return context.platform == CUDNN and alone and x.dtype == jnp.float32


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

    by_input, by_hidden, bias = kernels
    rows, width = x.shape[0], by_hidden.shape[0]
    count = valid.sum(1, dtype=jnp.int32)
    # There are two biases, and a series has a step at least.
    weights = jnp.concatenate([by_input.T.ravel(), by_hidden.T.ravel(), bias, jnp.zeros_like(bias)])
    zeros = jnp.zeros((1, rows, width), x.dtype)
    exact = getattr(jax.config, "jax_default_matmul_precision", None) in EXACT
    precision = jax.lax.Precision.HIGHEST if exact else jax.lax.Precision.HIGH
    found: Any = rnn.lstm(
        _turned(x, count) if backwards else x,
        zeros,
        zeros,
        weights,
        count.clip(1),
        x.shape[2],
        width,
        1,
        0.0,
        False,
        precision,
    )
    (hidden, h, c), begun = found, count[:, None] > 0
    last = jnp.where(begun, h[0], 0), jnp.where(begun, c[0], 0)
    return _turned(hidden, count) if backwards else hidden, last


def _turned(x: Float32[Array, "B T C"], count: Int32[Array, " B"]) -> Float32[Array, "B T C"]:
    """Each series from its last step that counts to its first; the others stay."""
    steps = jnp.arange(x.shape[1], dtype=jnp.int32)[None, :]
    places = jnp.where(steps < count[:, None], count[:, None] - 1 - steps, steps)
    return jnp.take_along_axis(x, places[..., None], axis=1)


def takes_attention(query: Float[Array, "B T N d"], mask: AttentionMask | None, context: Context) -> bool:
    """Whether cuDNN is to compute attention whose weights are neither dropped nor noted."""
    batch, steps, _, width = query.shape
    halved = query.dtype in (jnp.bfloat16, jnp.float16)
    fits = width % 8 == 0 and width <= WIDEST_HEAD and (mask is None or block_size(batch, steps) is None)
    return context.platform == CUDNN and not context.stacked and halved and fits


def attention(
    query: Float[Array, "B T N d"],
    key: Float[Array, "B T N d"],
    value: Float[Array, "B T N d"],
    mask: AttentionMask | None,
) -> Float[Array, "B T N d"]:
    """``softmax(query key / sqrt(d)) value`` in each of N heads, 0 for steps that do not count."""
    if mask is None:
        return jax.nn.dot_product_attention(query, key, value, implementation=BY)
    steps = query.shape[1]
    odd = steps % 2  # its gradient takes pairs of steps where there is a mask
    allowed = jnp.pad(mask.rows(jnp.arange(steps, dtype=jnp.int32)), ((0, 0), (0, odd), (0, odd)))
    query, key, value = (jnp.pad(each, ((0, 0), (0, odd), (0, 0), (0, 0))) for each in (query, key, value))
    mixed = jax.nn.dot_product_attention(query, key, value, mask=allowed[:, None], implementation=BY)
    return jnp.where(mask.valid[:, :, None, None], mixed[:, :steps], 0)
