"""Which pairs of steps attend, and attention of long sequences: a block of queries after the other.

What is quadratic in the number of steps, scores, weights, what is allowed and what is dropped, is made for a block of
queries at a time and made again for the gradient, so memory grows in proportion to the number of steps: Rabe and
Staats, "Self-attention does not need O(n^2) memory", 2021.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int32

MOST_PAIRS = 2**24
"""Pairs of steps in all rows and heads up to which they are held at once: 64 MiB as float32, some of which are kept."""

PAIRS_OF_BLOCK = 2**22


@functools.partial(jax.tree_util.register_dataclass, data_fields=["valid"], meta_fields=["causal"])
@dataclasses.dataclass(frozen=True)
class AttentionMask:
    """What each step may look at: steps that count, and where ``causal``, none after it.

    A step that does not count looks at nothing.

    Attributes:
        valid: ``[B, T]``, which steps count; the others come last.
        causal: whether a step sees those up to it alone.
    """

    valid: Bool[Array, "B T"]
    causal: bool = False

    def rows(self, steps: Int32[Array, " Q"]) -> Bool[Array, "B Q T"]:
        """For some of the steps (second axis) which they may look at (last axis); those from T on look at nothing."""
        count = self.valid.shape[1]
        looking = jnp.take(self.valid, steps, axis=1, mode="fill", fill_value=False)
        allowed = looking[:, :, None] & self.valid[:, None, :]
        if not self.causal:
            return allowed
        all_steps = jnp.arange(count, dtype=jnp.int32)
        return allowed & jnp.broadcast_to(all_steps[None, :] <= steps[:, None], allowed.shape)


def block_size(rows: int, steps: int) -> int | None:
    """Queries of a block; None where all pairs are held at once.

    Args:
        rows: of the batch, times heads.
        steps: of a sequence.
    """
    if rows * steps * steps <= MOST_PAIRS:
        return None
    most = max(1, PAIRS_OF_BLOCK // (rows * steps))
    return math.ceil(steps / math.ceil(steps / most))


def in_blocks(
    query: Float[Array, "N T d"],
    size: int,
    attend: Callable[[Float[Array, "N Q d"], Int32[Array, " Q"]], Float[Array, "N Q d"]],
) -> Float[Array, "N T d"]:
    """``attend`` for blocks of queries, one after the other.

    Args:
        query: of all steps.
        size: queries of a block.
        attend: what becomes of some queries and their numbers; those from T on are padding.
    """
    rows, steps, width = query.shape
    count = math.ceil(steps / size)
    filled = jnp.pad(query, ((0, 0), (0, count * size - steps), (0, 0)))
    blocks = filled.reshape(rows, count, size, width).swapaxes(0, 1)
    numbers = jnp.arange(count * size, dtype=jnp.int32).reshape(count, size)
    mixed = jax.lax.map(jax.checkpoint(lambda block: attend(*block)), (blocks, numbers))
    return mixed.swapaxes(0, 1).reshape(rows, count * size, width)[:, :steps]
