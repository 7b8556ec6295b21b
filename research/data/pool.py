"""Rows that several divisions of the same data share on a device: each of their splits names which are its own."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int32

from research.data.batch import Batch
from research.data.prepare import Examples


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Pooled:
    """Inputs of a split that are rows of a pool, in which other splits have theirs.

    Attributes:
        pool: array, or dict of arrays, ``[P, ...]``.
        rows: int32 ``[N]``: which of them the rows of the split are.
    """

    pool: Any
    rows: Any

    def take(self, index: Int32[Array, " B"]) -> Any:
        """Inputs of the rows ``index`` of the split."""
        return _taken(self.pool, jnp.take(self.rows, index, mode="clip"))

    def whole(self) -> Any:
        """Inputs of all rows of the split."""
        return _taken(self.pool, self.rows)


def pool_of(splits: Sequence[Examples]) -> tuple[Int32[np.ndarray, " P"], Any] | None:
    """The numbers of all rows, ascending, and the inputs of each; None where a row has several, in or across splits."""
    if any(len(np.unique(split.example)) < len(split) for split in splits):
        return None
    numbers = np.unique(np.concatenate([split.example for split in splits]))
    filled, pool, structure = np.zeros(len(numbers), bool), None, None
    for split in splits:
        leaves, own = jax.tree.flatten(split.all_inputs())
        if pool is None:
            pool, structure = [np.empty((len(numbers), *leaf.shape[1:]), leaf.dtype) for leaf in leaves], own
        if own != structure or [(w.shape[1:], w.dtype) for w in pool] != [(w.shape[1:], w.dtype) for w in leaves]:
            return None
        place = np.searchsorted(numbers, split.example)
        known = filled[place]
        for whole, leaf in zip(pool, leaves, strict=True):
            if not same_bits(whole[place[known]], leaf[known]):
                return None
            whole[place] = leaf
        filled[place] = True
    return numbers, jax.tree.unflatten(structure, pool or [])


def same_bits(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two arrays of numbers are equal by their bytes: missing ones are NaN, which equals nothing."""
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    first, second = (np.ascontiguousarray(each).reshape(-1).view(np.uint8) for each in (one, other))
    return np.array_equal(first, second)


def inputs_at(split: Batch, index: Int32[Array, " B"]) -> Any:
    """Inputs of the rows ``index`` of a resident split."""
    inputs = split.inputs
    return inputs.take(index) if isinstance(inputs, Pooled) else _taken(inputs, index)


def one_of(splits: Any, number: Any) -> Any:
    """Number ``number`` of stacked splits, or of what belongs to them; what is in a pool stays there."""

    def own(value: Any) -> Any:
        return Pooled(value.pool, value.rows[number]) if isinstance(value, Pooled) else value[number]

    return jax.tree.map(own, splits, is_leaf=lambda value: isinstance(value, Pooled))


def _taken(arrays: Any, index: Int32[Array, " B"]) -> Any:
    return jax.tree.map(lambda array: jnp.take(array, index, axis=0, mode="clip"), arrays)
