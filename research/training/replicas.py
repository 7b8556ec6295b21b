"""Whether devices that run a program each still have the same state, as what they give out is taken to be."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Bool

ROUNDING = 16
"""Steps of their type by which the largest numbers of an array may part: sums may be taken in another order."""


def parted(values: Any, mesh: Mesh, axes: tuple[str, ...]) -> list[str]:
    """Paths of the arrays of which the devices of a mesh hold different numbers, where all should hold the same.

    Args:
        values: a pytree of arrays that are marked as whole on each device.
        mesh: the devices, of all processes.
        axes: of the mesh, all that have more than one device.
    """
    found = jax.tree_util.tree_leaves_with_path(jax.device_get(_comparison(mesh, axes)(values)))
    return [jax.tree_util.keystr(path, simple=True, separator=".") for path, differs in found if differs]


@functools.cache
def _comparison(mesh: Mesh, axes: tuple[str, ...]) -> Callable[[Any], Any]:
    def differs(value: Array) -> Bool[Array, ""]:
        if not jnp.issubdtype(value.dtype, jnp.number):
            return jnp.bool_(False)
        largest, smallest = lax.pmax(value, axes), lax.pmin(value, axes)
        if jnp.issubdtype(value.dtype, jnp.integer):
            return (largest != smallest).any()
        allowed = ROUNDING * float(jnp.finfo(value.dtype).eps) * jnp.abs(largest).max(initial=0)
        return (largest - smallest > allowed).any()

    whole = PartitionSpec()
    each = functools.partial(jax.tree.map, differs)
    return jax.jit(jax.shard_map(each, mesh=mesh, in_specs=whole, out_specs=whole, check_vma=False))
