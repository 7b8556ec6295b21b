"""Arrays of the host onto a device, or onto those of several processes."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np


def place(value: Any, where: Any) -> Any:
    """A pytree of arrays on a device or sharding; each process puts what its own devices hold.

    Args:
        value: arrays on the host, the same on every process.
        where: a device, a sharding, or None for the default device.
    """
    if not isinstance(where, jax.sharding.Sharding) or where.is_fully_addressable:
        return jax.device_put(value, where)

    def put(array: Any) -> Any:
        held = np.asarray(array)
        return jax.make_array_from_callback(held.shape, where, lambda index: held[index])

    return jax.tree.map(put, value)
