"""Arrays of the host onto a device, or onto those of several processes."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import numpy as np


@dataclasses.dataclass(frozen=True)
class Shapes:
    """In place of a sharding: nothing is put anywhere, and shapes and types stand for the arrays.

    Attributes:
        sharding: where they would be.
    """

    sharding: Any


def place(value: Any, where: Any) -> Any:
    """A pytree of arrays on a device or sharding; each process puts what its own devices hold.

    Args:
        value: arrays on the host, the same on every process.
        where: a device, a sharding, `Shapes`, or None for the default device.
    """
    if isinstance(where, Shapes):
        return jax.tree.map(
            lambda array: jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=where.sharding), value
        )
    if not isinstance(where, jax.sharding.Sharding) or where.is_fully_addressable:
        return jax.device_put(value, where)

    def put(array: Any) -> Any:
        held = np.asarray(array)
        return jax.make_array_from_callback(held.shape, where, lambda index: held[index])

    return jax.tree.map(put, value)
