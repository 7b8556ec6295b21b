"""Arrays of the host onto a device, or onto those of several processes; and which part of them a process needs."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import numpy as np
from jaxtyping import Int


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


def own_part(sharding: jax.sharding.Sharding, size: int, axis: int) -> Int[np.ndarray, " own"]:
    """Positions along an axis of ``size`` that the devices of this process hold, ascending.

    Args:
        sharding: divides that axis alone.
        size: of the axis.
        axis: which one.
    """
    shape = [1] * axis + [size]
    slices = [index[axis] for index in sharding.addressable_devices_indices_map(tuple(shape)).values() if index]
    return np.unique(np.concatenate([np.arange(size)[part] for part in slices]))


def place_part(value: Any, sharding: jax.sharding.Sharding, part: Int[np.ndarray, " own"], size: int, axis: int) -> Any:
    """A pytree of arrays that no process has as a whole, each with its `own_part`, on their devices.

    Args:
        value: arrays on the host that have the positions ``part`` along ``axis``.
        sharding: divides that axis alone.
        part: as `own_part` gives it.
        size: of the axis in the whole arrays.
        axis: which one.
    """

    def put(array: np.ndarray) -> jax.Array:
        def of_device(index: Any) -> np.ndarray:
            first, last, _ = index[axis].indices(size)
            start = int(np.searchsorted(part, first))
            return array[(*index[:axis], slice(start, start + last - first))]

        shape = (*array.shape[:axis], size, *array.shape[axis + 1 :])
        return jax.make_array_from_callback(shape, sharding, of_device)

    return jax.tree.map(put, value)
