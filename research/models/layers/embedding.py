"""Vectors of codes and of numbers."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int32

from research.models.layers.dense import Dense
from research.models.model import Forward


class Embedding(nnx.Module):
    """A trained vector for each code from 1 on; zeros for code 0, padding.

    As in Vaswani et al., NeurIPS 2017, section 3.4, the table is multiplied by the root of the width, so that vectors
    start with features of variance 1, the scale of encodings of position, and learn quickly.
    """

    def __init__(self, codes: int, width: int, *, rngs: nnx.Rngs) -> None:
        """Draw the table, normal of variance ``1 / width``.

        Args:
            codes: number of codes, 0 among them; the table has a row less.
            width: length of the vectors.
            rngs: keys of the initialisers.
        """
        drawn = jax.random.normal(rngs.params(), (codes - 1, width), jnp.float32)
        self.table = nnx.Param(drawn / math.sqrt(width), tensor_axis=1)

    def __call__(self, codes: Int32[Array, "B T"], forward: Forward) -> Float[Array, "B T D"]:
        """The vectors of all codes; NaN, which stops a run, for a code beyond the table."""
        rows, width = self.table.shape
        place = jnp.where(codes < 0, rows, (codes - 1).clip(0))
        found = jnp.take(self.table[...], place, axis=0, mode="fill", fill_value=jnp.nan)
        return jnp.where((codes != 0)[..., None], found * math.sqrt(width), 0)


class NumberEmbedding(nnx.Module):
    """A vector for a number, by a network with one hidden layer of tanh, as wide as the root of the width.

    Tipirneni and Reddy, "Self-supervised transformer for sparse and irregularly sampled multivariate clinical
    time-series", ACM TKDD 2022 (their continuous value embedding).
    """

    def __init__(self, width: int, *, rngs: nnx.Rngs) -> None:
        """Make both layers, of which the second has no bias.

        Args:
            width: length of the vectors.
            rngs: keys of the initialisers.
        """
        hidden = max(1, math.isqrt(width))
        self.hidden = Dense(1, hidden, rngs=rngs)
        self.output = Dense(hidden, width, bias=False, rngs=rngs)

    def __call__(self, numbers: Float[Array, "B T"], forward: Forward) -> Float[Array, "B T D"]:
        """The vectors of all numbers."""
        return self.output(jnp.tanh(self.hidden(numbers[..., None], forward)), forward)
