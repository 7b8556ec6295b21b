"""What the compiled loop carries from update to update, and what a checkpoint holds."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from research.algorithms.algorithm import State


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Best:
    """The best deployed state so far, by the selection metric on validation; scalars are arrays of no axes.

    Attributes:
        state: deployed `State` (no optimizer).
        metric: its value of the metric; NaN before the first evaluation.
        step: the step at which it was reached.
        waited: evaluations since then without improvement.
    """

    state: Any
    metric: Any
    step: Any
    waited: Any


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Carry:
    """Everything that one update reads and the next one needs; saving it is enough to resume to the bit.

    JAX and Orbax rebuild it with placeholders in place of arrays, so the fields are not typed more narrowly.

    Attributes:
        step: updates made so far.
        state: the algorithm's `State`.
        best: a `Best`, or None where the experiment selects no best weights.
        stopped: early stopping has been reached; further updates change nothing.
        failed_step: the first update whose loss was not finite; -1 while there is none.
        sums: sum of each scalar since the last line of the log.
        count: updates in those sums.
    """

    step: Any
    state: Any
    best: Any
    stopped: Any
    failed_step: Any
    sums: Any
    count: Any


def fresh(state: State, deployed: State | None, scalars: dict[str, Any]) -> Carry:
    """The carry before the first update.

    Args:
        state: the algorithm's initial state.
        deployed: its deployed part where best weights are kept, else None.
        scalars: names of the scalars that `Algorithm.update` returns.
    """
    best = None
    if deployed is not None:
        copied = jax.tree.map(jnp.copy, deployed)
        best = Best(copied, jnp.float32(jnp.nan), jnp.int32(0), jnp.int32(0))
    return Carry(
        step=jnp.int32(0),
        state=state,
        best=best,
        stopped=jnp.bool_(False),
        failed_step=jnp.int32(-1),
        sums={name: jnp.float32(0) for name in scalars},
        count=jnp.int32(0),
    )
