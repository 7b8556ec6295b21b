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
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int32, UInt32

from research.context import Context

PAIRS_IN_CACHE = 2**21
"""Pairs of steps in all rows and heads that a processor holds at once: 8 MiB as float32, which stay in its cache."""

MOST_PAIRS, PAIRS_OF_BLOCK = 2**24, 2**22
"""Up to which they are held at once elsewhere, 64 MiB as float32, some of which are kept; and of a block of more."""


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


class Rows(NamedTuple):
    """What attention knows of some examples beside their queries; heads are further rows.

    Attributes:
        key, value: of all steps.
        valid: which steps count; None: all.
        drawn_by: keys of what is dropped; None: nothing.
    """

    key: Float[Array, "NH T d"]
    value: Float[Array, "NH T d"]
    valid: Bool[Array, "N T"] | None
    drawn_by: UInt32[Array, "N 2"] | None


Attend = Callable[[Rows, Float[Array, "NH Q d"], Int32[Array, " Q"]], Float[Array, "NH Q d"]]


def blocks(batch: int, heads: int, steps: int, context: Context) -> Blocks | None:
    """What is attended to at once; None: everything.

    On a processor these are whole sequences of some examples, or where already one has too many pairs, some queries of
    one: what is held is then small and the matrices are large. On accelerators they are some queries of all examples,
    which keeps their many cores at work; and so they are where rows lie on several devices, which would otherwise have
    to be told to take examples of their own.

    Args:
        batch: examples.
        heads: of attention.
        steps: of a sequence.
        context: for what the program is made.
    """
    of_example = heads * steps * steps
    cached = context.platform == "cpu" and not context.spread
    if context.counted or batch * of_example <= (PAIRS_IN_CACHE if cached else MOST_PAIRS):
        return None
    if not cached:
        return Blocks(batch, _evenly(steps, PAIRS_OF_BLOCK // (batch * heads * steps)))
    if of_example <= PAIRS_IN_CACHE:
        return Blocks(_evenly(batch, PAIRS_IN_CACHE // of_example), steps)
    return Blocks(1, _evenly(steps, PAIRS_IN_CACHE // (heads * steps)))


def _evenly(count: int, most: int) -> int:
    """The size of equal parts of no more than ``most``."""
    return math.ceil(count / math.ceil(count / max(1, most)))


def in_blocks(
    attend: Attend, rows: Rows, query: Float[Array, "BH T d"], batch: int, size: Blocks
) -> Float[Array, "BH T d"]:
    """``attend`` for blocks of examples and of queries, one after the other.

    Args:
        attend: what becomes of some queries of some examples, given their numbers; those from T on are padding, and so
            are examples after the last.
        rows: of all examples.
        query: of all steps.
        batch: examples.
        size: of a block.
    """
    count = math.ceil(batch / size.examples)
    numbers = jnp.arange(math.ceil(query.shape[1] / size.queries) * size.queries, dtype=jnp.int32)

    def of_examples(rows: Rows, query: Float[Array, "NH T d"], numbers: Int32[Array, " P"]) -> Float[Array, "NH T d"]:
        return _by_queries(functools.partial(attend, rows), query, numbers, size.queries)

    if count == 1:
        return of_examples(rows, query, numbers)

    def by_examples(x: Array) -> Array:
        each = len(x) // batch
        filled = jnp.pad(x, [(0, (count * size.examples - batch) * each)] + [(0, 0)] * (x.ndim - 1))
        return filled.reshape(count, size.examples * each, *x.shape[1:])

    # Each block has numbers of its own: what follows from the same ones for all, such as where to draw for pairs of
    # steps, JAX would compute before the loop, for all pairs.
    own = jnp.broadcast_to(numbers, (count, len(numbers)))
    mixed = jax.lax.map(lambda block: of_examples(*block), (*jax.tree.map(by_examples, (rows, query)), own))
    return mixed.reshape(-1, *mixed.shape[2:])[: len(query)]


def _by_queries(
    attend: Callable[[Float[Array, "NH Q d"], Int32[Array, " Q"]], Float[Array, "NH Q d"]],
    query: Float[Array, "NH T d"],
    numbers: Int32[Array, " P"],
    size: int,
) -> Float[Array, "NH T d"]:
    """``attend`` for blocks of queries, whose numbers are a multiple of their size, made again for the gradient."""
    rows, steps, width = query.shape
    count = len(numbers) // size
    filled = jnp.pad(query, ((0, 0), (0, count * size - steps), (0, 0)))
    parts = filled.reshape(rows, count, size, width).swapaxes(0, 1)
    mixed = jax.lax.map(jax.checkpoint(lambda block: attend(*block)), (parts, numbers.reshape(count, size)))
    return mixed.swapaxes(0, 1).reshape(rows, count * size, width)[:, :steps]
