"""Where the arrays of a run lie: on one device, or spread over a mesh of devices."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from research.errors import UserError
from research.experiment import Parallel
from research.models.functional import Axes
from research.training.processor import FLAG

SMALL = 2**12
"""Arrays of fewer numbers are kept whole on each device: sharing them out would cost more than they take."""

ROWS = ("data", "fsdp")
"""Axes of the mesh over which the rows of a batch are spread."""


@dataclasses.dataclass(frozen=True)
class Layout:
    """How one program spreads batches, parameters and what belongs to them over a mesh.

    Attributes:
        mesh: devices by the axes ``data``, ``fsdp`` and ``tensor``.
        axes: of parameters, by path, the axis that is spread over ``tensor``; see `research.models.functional.axes`.
        mode: see `research.experiment.Parallel`.
    """

    mesh: Mesh
    axes: Axes = ()
    mode: str = "jit"

    @property
    def programs(self) -> int:
        """Over how many devices the rows of a batch are spread."""
        return math.prod(self.mesh.shape[name] for name in ROWS)

    @property
    def whole(self) -> bool:
        """Whether each device holds all of the state."""
        return self.mesh.shape["fsdp"] == self.mesh.shape["tensor"] == 1

    def jitted(self) -> Layout:
        """The same devices for programs that are not divided by pmap."""
        return dataclasses.replace(self, mode="jit")

    @property
    def devices(self) -> list[Any]:
        """All of them."""
        return list(self.mesh.devices.flat)

    @property
    def everywhere(self) -> NamedSharding:
        """Whole on each device."""
        return NamedSharding(self.mesh, PartitionSpec())

    def rows(self, axis: int = 0) -> NamedSharding:
        """Spread over the devices along the axis of the rows."""
        return NamedSharding(self.mesh, PartitionSpec(*[None] * axis, ROWS))

    def spread(self, batch: Any, axis: int = 0) -> Any:
        """In a traced function: a batch whose rows are computed on where they are spread to."""
        return jax.lax.with_sharding_constraint(batch, self.rows(axis)) if self.mode == "jit" else batch

    def state(self, like: Any) -> Any:
        """Places of the leaves of a state, or of what holds states: a pytree of shardings.

        Over ``tensor`` goes the axis that the layer has named, over ``fsdp`` the largest other one that divides. The
        optimizer's moments, averages and best weights of a parameter lie where it lies, for they have its path at the
        end of theirs, and its shape.
        """
        return jax.tree_util.tree_map_with_path(lambda path, leaf: self._place(_names(path), leaf.shape), like)

    def unused(self, like: Any) -> tuple[str, ...]:
        """A note on each axis along which nothing of a state lies apart: the devices along it repeat each other."""
        parts = {name for place in jax.tree.leaves(self.state(like)) for name in jax.tree.leaves(tuple(place.spec))}
        why = {
            "tensor": "no layer of this model names an axis that it divides",
            "fsdp": f"no array of {SMALL:,} numbers or more has an axis that it divides",
        }
        return tuple(
            f"execution.parallel.{name}: {self.mesh.shape[name]} spreads nothing, for {reason}"
            for name, reason in why.items()
            if self.mesh.shape[name] > 1 and name not in parts
        )

    def described(self, batch_size: int, mode: str) -> str:
        """In words, for the card before a run."""
        shape = ", ".join(f"{name} {size}" for name, size in self.mesh.shape.items() if size > 1)
        return f"{shape} by {mode}; {batch_size // self.programs} rows of a batch on each device"

    def _place(self, path: tuple[str, ...], shape: tuple[int, ...]) -> NamedSharding:
        parts: list[str | None] = [None] * len(shape)
        tensor, fsdp = self.mesh.shape["tensor"], self.mesh.shape["fsdp"]
        if tensor > 1:
            axis = next((axis for own, axis in self.axes if path[-len(own) :] == own), None)
            if axis is not None and shape and shape[axis] % tensor == 0:
                parts[axis] = "tensor"
        if fsdp > 1 and math.prod(shape) >= SMALL:
            free = [axis for axis, name in enumerate(parts) if name is None and shape[axis] % fsdp == 0]
            if free:
                parts[max(free, key=lambda axis: shape[axis])] = "fsdp"
        return NamedSharding(self.mesh, PartitionSpec(*parts))


def _names(path: Sequence[Any]) -> tuple[str, ...]:
    return tuple(jax.tree_util.keystr((entry,), simple=True) for entry in path)


def layout_of(
    parallel: Parallel, devices: Sequence[Any], batch_size: int, axes: Axes = (), pretended: bool = False
) -> Layout | None:
    """The layout that is asked for; None for a single device.

    Args:
        parallel: as in `Execution`.
        devices: those there are of the kind asked for.
        batch_size: rows of a batch; 0 without data.
        axes: see `Layout`.
        pretended: they stand for accelerators, all of which are used unless told otherwise.

    Raises:
        UserError: for more devices than there are, or a batch that cannot be shared out among them.
    """
    platform = "pretended" if pretended else devices[0].platform
    shape = mesh_shape(parallel, len(devices), platform, batch_size)
    if math.prod(shape) == 1:
        return None
    chosen = np.asarray(devices[: math.prod(shape)], object).reshape(shape)
    mesh = Mesh(chosen, (*ROWS, "tensor"), axis_types=(AxisType.Auto,) * 3)
    return Layout(mesh, axes, parallel.mode)


def fitting(parallel: Parallel, count: int) -> Parallel:
    """What a run was spread by, where there are so many devices; else over all that divide its batches."""
    return parallel if max(parallel.data, 1) * parallel.fsdp * parallel.tensor <= count else Parallel()


def mesh_shape(parallel: Parallel, count: int, platform: str, batch_size: int) -> tuple[int, int, int]:
    """Devices along ``data``, ``fsdp`` and ``tensor``; see `layout_of`."""
    fsdp, tensor = parallel.fsdp, parallel.tensor
    if fsdp * tensor > count:
        raise UserError(
            f"execution.parallel: fsdp {fsdp} times tensor {tensor} takes {fsdp * tensor} devices, and {count} "
            f"{platform} {_are(count)} here.{_hint(platform)}"
        )
    most = count // (fsdp * tensor)
    data = parallel.data
    if data == -1:
        fitting = [n for n in range(most, 0, -1) if batch_size % (n * fsdp) == 0]
        # Virtual devices of a processor share it; but each process has to have a part.
        spread = platform != "cpu" or jax.process_count() > 1
        data = fitting[0] if spread and fitting else 1
    if data > most:
        raise UserError(
            f"execution.parallel: data {data}, fsdp {fsdp} and tensor {tensor} take {data * fsdp * tensor} devices, "
            f"and {count} {platform} {_are(count)} here. Set execution.parallel.data={most}, or less.{_hint(platform)}"
        )
    if batch_size % (data * fsdp):
        fitting = [n for n in range(1, most * fsdp + 1) if batch_size % n == 0]
        step = data * fsdp
        near = sorted({max(step, batch_size // step * step), -(-batch_size // step) * step})
        raise UserError(
            f"batch_size: {batch_size} rows cannot be shared out evenly among {step} devices (parallel.data {data} "
            f"times fsdp {fsdp}). Set batch_size={' or '.join(map(str, near))}, or as many devices as "
            f"{', '.join(map(str, fitting))}."
        )
    return data, fsdp, tensor


def _are(count: int) -> str:
    return "is" if count == 1 else "are"


def _hint(platform: str) -> str:
    if platform != "cpu":
        return ""
    return f" A processor can pose as several devices: XLA_FLAGS={FLAG}=8."
