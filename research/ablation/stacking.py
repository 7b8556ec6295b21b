"""What belongs to the members, stacked along a first axis, and taken apart again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp


def stacked(values: Sequence[Any]) -> Any:
    """Pytrees of one structure as one, whose arrays have a first axis."""
    return jax.tree.map(lambda *leaves: _stack(leaves), *values)


def one_or_stacked(values: Sequence[Any]) -> Any:
    """The only value, or all with a first axis."""
    return values[0] if len(values) == 1 else stacked(values)


def member_of(values: Any, number: int) -> Any:
    """One member's part of what has a first axis of members: of arrays, or of the shapes of such."""

    def own(array: Any) -> Any:
        is_shape = isinstance(array, jax.ShapeDtypeStruct)
        return array.update(shape=array.shape[1:]) if is_shape else _row(array, number)

    return jax.tree.map(own, values)


# Compiled for each shape: uncompiled, indexing and stacking take longer than the updates of a small network.
@jax.jit
def _row(array: Any, number: Any) -> Any:
    return array[number]


@jax.jit
def _stack(arrays: Sequence[Any]) -> Any:
    return jnp.stack(arrays)
