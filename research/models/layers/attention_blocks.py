"""Which pairs of steps attend, and attention of long sequences: a block of examples or queries after the other.

What is quadratic in the number of steps, scores, weights, what is allowed and what is dropped, is made for a block at a
time and made again for the gradient, so memory grows in proportion to the number of steps: Rabe and Staats,
"Self-attention does not need O(n^2) memory", 2021.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int32

PAIRS_ON_CPU = 2**21
"""Pairs of steps in all rows and heads up to which they are held at once: 8 MiB as float32, which stay in the cache."""

PAIRS_ELSEWHERE = 2**24

PAIRS_OF_BLOCK_ELSEWHERE = 2**22


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


class Blocks(NamedTuple):
    """How many examples and how many of their queries are attended to at once."""

    examples: int
    queries: int


def blocks(batch: int, heads: int, steps: int, platform: str) -> Blocks | None:
    """What is attended to at once; None: everything.

    On a processor these are whole sequences of some examples, or where already one has too many pairs, some queries of
    one: what is held is then small and the matrices are large. Elsewhere they are some queries of all examples, which
    keeps the accelerator's many cores at work.

    Args:
        batch: examples.
        heads: of attention.
        steps: of a sequence.
        platform: what the program is made for, such as "cpu".
    """
    of_example = heads * steps * steps
    if batch * of_example <= (PAIRS_ON_CPU if platform == "cpu" else PAIRS_ELSEWHERE):
        return None
    if platform != "cpu":
        return Blocks(batch, _evenly(steps, PAIRS_OF_BLOCK_ELSEWHERE // (batch * heads * steps)))
    if of_example <= PAIRS_ON_CPU:
        return Blocks(_evenly(batch, PAIRS_ON_CPU // of_example), steps)
    return Blocks(1, _evenly(steps, PAIRS_ON_CPU // (heads * steps)))


def _evenly(count: int, most: int) -> int:
    """The size of equal parts of no more than ``most``."""
    return math.ceil(count / math.ceil(count / max(1, most)))


def in_blocks(
    attend: Callable[[Any, Float[Array, "N H Q d"], Int32[Array, " Q"]], Float[Array, "N H Q d"]],
    rows: Any,
    query: Float[Array, "B H T d"],
    size: Blocks,
) -> Float[Array, "B H T d"]:
    """``attend`` for blocks of examples and of queries, one after the other.

    Args:
        attend: what becomes of some examples' ``rows`` and queries, and of the queries' numbers; those from T on are
            padding, and so are examples after the last.
        rows: arrays with the examples on the first axis, in any pytree.
        query: of all steps.
        size: of a block.
    """

    batch, steps = query.shape[0], query.shape[2]
    count = math.ceil(batch / size.examples)
    numbers = jnp.arange(math.ceil(steps / size.queries) * size.queries, dtype=jnp.int32)

    def some(rows: Any, query: Float[Array, "N H T d"], numbers: Int32[Array, " P"]) -> Float[Array, "N H T d"]:
        return _by_queries(functools.partial(attend, rows), query, numbers, size.queries)

    def parted(x: Array) -> Array:
        filled = jnp.pad(x, [(0, count * size.examples - batch)] + [(0, 0)] * (x.ndim - 1))
        return filled.reshape(count, size.examples, *x.shape[1:])

    if count == 1:
        return some(rows, query, numbers)
    # Each block has numbers of its own: what follows from the same ones for all, such as where to draw for pairs of
    # steps, JAX would compute before the loop, for all pairs.
    own = jnp.broadcast_to(numbers, (count, len(numbers)))
    mixed = jax.lax.map(lambda block: some(*block), (*jax.tree.map(parted, (rows, query)), own))
    return mixed.reshape(-1, *mixed.shape[2:])[:batch]


def _by_queries(
    attend: Callable[[Float[Array, "N H Q d"], Int32[Array, " Q"]], Float[Array, "N H Q d"]],
    query: Float[Array, "N H T d"],
    numbers: Int32[Array, " P"],
    size: int,
) -> Float[Array, "N H T d"]:
    """``attend`` for blocks of queries, whose numbers are a multiple of their size, made again for the gradient."""
    examples, heads, steps, width = query.shape
    count = len(numbers) // size
    filled = jnp.pad(query, ((0, 0), (0, 0), (0, count * size - steps), (0, 0)))
    parts = jnp.moveaxis(filled.reshape(examples, heads, count, size, width), 2, 0)
    mixed = jax.lax.map(jax.checkpoint(lambda block: attend(*block)), (parts, numbers.reshape(count, size)))
    return jnp.moveaxis(mixed, 0, 2).reshape(examples, heads, count * size, width)[:, :, :steps]
