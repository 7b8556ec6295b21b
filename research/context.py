"""How a program sees the other programs it runs beside: the identity on one, collectives under pmap."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from jaxtyping import Array

FAST, REFERENCE, VENDOR = "fast", "reference", "vendor"
"""How layers compute; see `research.experiment.Execution.lowerings`."""

CUDNN = "cudnn"
"""The `Context.platform` of an NVIDIA GPU where layers are to take the kernels of its library."""


def _identity(value: Any) -> Any:
    return value


@dataclasses.dataclass(frozen=True)
class Context:
    """Collectives over the programs that share an update; the identity where there is one program.

    Attributes:
        mean: mean of a pytree of arrays over all programs.
        gather: concatenation of a pytree of arrays over all programs along the first axis.
        total_updates: length of the training that the experiment describes, int32; schedules are fractions of it.
        platform: kind of device that the program is compiled for (cpu, gpu, tpu); layers choose their lowering by it.
            ``reference``: the lowering of accelerators, whatever the device. ``cudnn``: a GPU, by NVIDIA's own kernels
            where there are any; see `research.models.layers.cudnn`.
        stacked: whether kernels of several models lie side by side, as where `jax.vmap` trains them together; some
            lowerings are slow then.
        spread: whether the rows of this one program lie on several devices, among which the compiler divides the work.
        counted: whether the program is made to count its arithmetic, which has nothing that is computed again.
        remat: whether blocks keep nothing for the backward pass; see `research.models.layers.blocks.through_block`.
    """

    mean: Callable[[Any], Any] = _identity
    gather: Callable[[Any], Any] = _identity
    total_updates: Any = 1
    platform: str = "cpu"
    remat: bool = False
    stacked: bool = False
    spread: bool = False
    counted: bool = False

    @property
    def alone(self) -> bool:
        """Whether this program has all rows of the batch: no other one shares its updates."""
        return self.gather is _identity and self.mean is _identity

    def ratio(self, total: Array, weight: Array) -> Array:
        """``sum(total) / sum(weight)`` over all programs and rows; 0 where all weights are 0.

        This is how every mean over examples is taken, so that padding and sharding change nothing.
        """
        total, weight = self.mean((total.sum(), weight.sum()))
        return total / weight.clip(1e-12)
