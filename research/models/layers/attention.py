"""Multi-head self-attention over padded sequences."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Float32, Int32

from research.models.layers import cudnn
from research.models.layers.attended import attended
from research.models.layers.attention_blocks import AttentionMask, Rows, blocks, in_blocks
from research.models.layers.dense import Dense
from research.models.layers.dropout import Dropout
from research.models.layers.positions import Rotation, rotated
from research.models.layers.readout import masked_softmax
from research.models.model import Forward


class SelfAttention(nnx.Module):
    """Each step becomes a mean of all steps, weighted by how well their keys fit its query, in several heads.

    ``softmax(q k / sqrt(d)) v`` in each head of width d, and an affine map of all heads side by side: Vaswani et al.,
    "Attention is all you need", NeurIPS 2017. The softmax is taken in float32 whatever the input. The weights of a
    step sum to one over what it may look at and are 0 elsewhere; a step that may look at nothing has weights of 0. They
    are noted for `Forward.attention`, before dropout.
    """

    def __init__(self, width: int, heads: int, *, dropout: float | Array | None = None, rngs: nnx.Rngs) -> None:
        """Make the maps.

        Args:
            width: length of the last axis of the input; a multiple of ``heads``.
            heads: number of heads.
            dropout: share of the weights dropped in training.
            rngs: keys of the initialisers.
        """
        self.heads = heads
        # Queries, keys and values lie side by side in one kernel: one matrix product instead of three.
        self.projection = Dense(width, 3 * width, rngs=rngs)
        self.dropout = Dropout(dropout)
        self.output = Dense(width, width, shared="inputs", rngs=rngs)

    def __call__(
        self,
        x: Float[Array, "B T D"],
        mask: AttentionMask | None,
        forward: Forward,
        rotation: Rotation | None = None,
    ) -> Float[Array, "B T D"]:
        """The attended steps.

        Args:
            x: sequences.
            mask: what each step may look at; None: every step looks at all.
            forward: what the pass knows besides.
            rotation: by which queries and keys are turned, from `positions.rotation`; None: they are not.
        """
        batch, steps, width = x.shape
        parts = self.projection(x, forward).reshape(batch, steps, 3, self.heads, width // self.heads)
        query, key, value = (part[:, :, 0] for part in jax.lax.split(parts, (1, 1, 1), axis=2))
        if rotation is not None:
            query, key = rotated(query, rotation), rotated(key, rotation)
        dropped = self.dropout.on_pairs(self.heads, steps, forward)
        unseen = dropped is None and forward.attention is None
        if unseen and cudnn.takes_attention(query, forward.context):
            return self.output(cudnn.attention(query, key, value, mask).reshape(x.shape), forward)
        query, key, value = (_folded(part) for part in (query * (width // self.heads) ** -0.5, key, value))

        def attend(rows: Rows, query: Float[Array, "NH Q d"], numbers: Int32[Array, " Q"]) -> Float[Array, "NH Q d"]:
            allowed = factor = None
            if mask is not None and rows.valid is not None:
                allowed = AttentionMask(rows.valid, mask.causal).rows(numbers)
            if dropped is not None and rows.drawn_by is not None:
                factor = dropped(rows.drawn_by, numbers)
            return self._mixed(query, rows.key, rows.value, allowed, factor, forward)

        rows = Rows(key, value, None if mask is None else mask.valid, None if dropped is None else forward.keys)
        size = blocks(batch, self.heads, steps, forward.context) if forward.attention is None else None
        if size is None:
            mixed = attend(rows, query, jnp.arange(steps, dtype=jnp.int32))
        else:
            mixed = in_blocks(attend, rows, query, batch, size)
        mixed = mixed.reshape(batch, self.heads, steps, -1).swapaxes(1, 2).reshape(x.shape)
        return self.output(mixed, forward)

    def _mixed(
        self,
        query: Float[Array, "BH Q d"],
        key: Float[Array, "BH T d"],
        value: Float[Array, "BH T d"],
        allowed: Bool[Array, "B Q T"] | None,
        factor: Float32[Array, "B H Q T"] | None,
        forward: Forward,
    ) -> Float[Array, "BH Q d"]:
        """The mean of the values for each query."""
        flat = None if factor is None else factor.reshape(-1, *factor.shape[2:])
        if forward.context.platform == "cpu":
            if forward.attention is not None:
                forward.note_attention(self._weights(query, key, allowed))
            by_head = None if allowed is None else jnp.repeat(allowed, self.heads, axis=0)
            return attended(query, key, value, by_head, flat)
        weights = self._weights(query, key, allowed)
        forward.note_attention(weights)
        weights = weights.reshape(-1, *weights.shape[2:])
        weights = (weights if flat is None else weights * flat).astype(query.dtype)
        return jax.lax.dot_general(weights, value, (((2,), (1,)), ((0,), (0,))))

    def _weights(
        self, query: Float[Array, "BH Q d"], key: Float[Array, "BH T d"], allowed: Bool[Array, "B Q T"] | None
    ) -> Float32[Array, "B H Q T"]:
        """Of each query (third axis) for all steps, in float32."""
        scores = jax.lax.dot_general(query, key, (((2,), (2,)), ((0,), (0,))), preferred_element_type=jnp.float32)
        scores = scores.reshape(-1, self.heads, *scores.shape[1:])
        if allowed is None:
            return jax.nn.softmax(scores)
        return masked_softmax(scores, jnp.broadcast_to(allowed[:, None], scores.shape))


def _folded(x: Float[Array, "B T H d"]) -> Float[Array, "BH T d"]:
    """Heads as further rows of the batch: plain batched matrix products, twice as fast on a CPU."""
    return x.swapaxes(1, 2).reshape(-1, x.shape[1], x.shape[3])
