"""From a vector at each step of a padded series to one vector: the last, the mean, the greatest, or by attention."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from research.models.layers.dense import Dense
from research.models.model import Forward


def last_valid(x: Float[Array, "B T D"], valid: Bool[Array, "B T"]) -> Float[Array, "B D"]:
    """The vector of the last step that counts; the first one where none does."""
    steps = jnp.arange(x.shape[1], dtype=jnp.int32)
    place = jnp.where(valid, jnp.broadcast_to(steps, valid.shape), 0).max(1)
    return jnp.take_along_axis(x, place[:, None, None], axis=1)[:, 0]


def mean_over_steps(x: Float[Array, "B T D"], valid: Bool[Array, "B T"]) -> Float[Array, "B D"]:
    """The mean over the steps that count; 0 where none does."""
    counts = valid[..., None]
    total = jnp.where(counts, x.astype(jnp.float32), 0).sum(1)
    return (total / counts.sum(1).clip(1).astype(jnp.float32)).astype(x.dtype)


def max_over_steps(x: Float[Array, "B T D"], valid: Bool[Array, "B T"]) -> Float[Array, "B D"]:
    """The greatest value of each feature over the steps that count; 0 where none does.

    Where several steps share it, the first of them has its gradient. It is found by its place, for the gradient of
    JAX's maximum asks which values equal it and may find none; see `research.models.layers.max_pool`.
    """
    counts = valid[..., None]
    place = jax.lax.stop_gradient(jnp.where(counts, x, -jnp.inf)).argmax(1)
    greatest = jnp.take_along_axis(x, place[:, None], axis=1)[:, 0]
    return jnp.where(counts.any(1), greatest, 0)


class AttentionPooling(nnx.Module):
    """A mean weighted by a learnt score of each step: ``softmax(v . tanh(W x + b))``.

    Additive attention with one learnt query (Bahdanau, Cho and Bengio, ICLR 2015; Yang et al., "Hierarchical attention
    networks", NAACL 2016). The weights sum to one over the steps that count; they are noted as an attention layer with
    one head and one query.
    """

    def __init__(self, features: int, *, rngs: nnx.Rngs) -> None:
        """Make the two maps.

        Args:
            features: length of the last axis of the input.
            rngs: keys of the initialisers.
        """
        self.hidden = Dense(features, features, rngs=rngs)
        self.score = Dense(features, 1, bias=False, rngs=rngs)

    def __call__(self, x: Float[Array, "B T D"], valid: Bool[Array, "B T"], forward: Forward) -> Float[Array, "B D"]:
        """The weighted mean; 0 where no step counts."""
        scores = self.score(jnp.tanh(self.hidden(x, forward)), forward)[..., 0].astype(jnp.float32)
        weights = masked_softmax(scores, valid)
        forward.note_attention(weights[:, None, None, :], "readout")
        return (weights[:, :, None] * x.astype(jnp.float32)).sum(1).astype(x.dtype)


def masked_softmax(scores: Float[Array, "*shape"], valid: Bool[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Softmax over the last axis among what counts, 0 elsewhere; all 0 where nothing counts."""
    highest = jnp.where(valid, scores, -jnp.inf).max(-1, keepdims=True)
    highest = jax.lax.stop_gradient(jnp.where(jnp.isfinite(highest), highest, 0))
    # What does not count is replaced before the exponential: its gradient must not be infinite times zero.
    raised = jnp.where(valid, jnp.exp(jnp.where(valid, scores - highest, 0)), 0)
    return raised / raised.sum(-1, keepdims=True).clip(1e-30)
