"""How a group is trained: which way through its members is fastest here, and how many fit into memory at once."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import jax

from research.ablation.groups import Group, Ready
from research.ablation.program import GroupProgram, Strategy, Way
from research.errors import UserError

ADVANTAGE = 1.5
"""How many times faster than exact ways ``vmap`` must be to be taken."""

MEASURED_SECONDS = 0.3
WORTH_MEASURING = 10
"""Other ways are tried where the training is expected to take so many times the compiling of one."""

MEMORY_SHARE = 0.25
COPIES = 3
"""Copies of a member's carry that are in memory at once: two while one is made of the other, and one being saved."""


@dataclasses.dataclass(frozen=True)
class Choice:
    """A way, and microseconds per update of a member under each way that was tried."""

    way: Way
    measured: dict[str, float]


def choose_way(
    group: Group,
    members: Sequence[Ready],
    devices: Sequence[Any],
    strategy: str,
    exact: bool,
    known: dict[Any, Choice],
) -> Choice:
    """The way that was asked for, or the fastest exact one, or ``vmap`` where it is far faster.

    Args:
        group: the group.
        members: those of a wave, on which ways are measured; their programs are compiled by it.
        devices: those there are.
        strategy: ``auto``, or a way by name.
        exact: leave out ways that do not give the bits of runs of their own.
        known: choices of earlier groups; a group takes that of one alike: in the kind
            and size of its model, and the shapes of its batches. Added to.

    Raises:
        UserError: for an unknown strategy, or one that is not exact where that is asked.
    """
    if strategy not in ("auto", *get_args(Strategy)):
        raise UserError(f"strategy: {strategy!r} is not known. Allowed: auto, {', '.join(get_args(Strategy))}.")
    if strategy == "vmap" and exact:
        raise UserError("strategy: vmap does not give the bits of runs of their own, and exact was asked for.")
    replicas = min(len(devices), len(members))
    if strategy != "auto":
        return Choice(Way(strategy, 1 if strategy == "separate" else replicas), {})  # type: ignore[arg-type]
    one = group.members[0]
    inputs = () if one.prepared is None else jax.tree.leaves(one.prepared.splits["train"].like)
    shapes = tuple((leaf.shape, str(leaf.dtype)) for leaf in inputs)
    state = state_bytes(group, devices)
    key = type(one.fitted.algorithm), type(one.fitted.model), group.outline.batch_size, replicas, shapes, state
    if key not in known:
        known[key] = _fastest(group, members, devices, replicas, exact)
    return known[key]


def _fastest(group: Group, members: Sequence[Ready], devices: Sequence[Any], replicas: int, exact: bool) -> Choice:
    first = Way("map", replicas)
    if len(members) == 1:
        return Choice(first, {})
    began = time.perf_counter()
    measured = {first: _microseconds(group, members, first, devices)}
    compiling = time.perf_counter() - began
    training = 1e-6 * measured[first] * len(members) * group.cadence.total
    if training > WORTH_MEASURING * compiling:
        others = [Way("map"), Way("separate")] if replicas > 1 else [Way("separate")]
        others += [] if exact else [Way("vmap", replicas)]
        for way in others:
            measured[way] = _microseconds(group, members, way, devices)
    best = min((way for way in measured if way.strategy != "vmap"), key=lambda way: measured[way])
    for way, cost in measured.items():
        if way.strategy == "vmap" and cost * ADVANTAGE < measured[best]:
            best = way
    return Choice(best, {str(way): round(cost, 2) for way, cost in measured.items()})


def _microseconds(group: Group, members: Sequence[Ready], way: Way, devices: Sequence[Any]) -> float:
    """Microseconds per update of a member, once compiled."""
    program = GroupProgram(members, group.outline, way, devices)
    length = min(group.cadence.total, 64)
    carry, count = program.initialise(), 1
    while True:
        window, offset, left = program.window(0, length)
        count = min(count, left)
        jax.block_until_ready(carry)
        began = time.perf_counter()
        carry = program.advance(carry, window, offset, count)
        jax.block_until_ready(carry)
        took = time.perf_counter() - began
        # The first pass compiles.
        if count > 1 and (took > MEASURED_SECONDS or count == left):
            return 1e6 * took / count / len(members)
        if left == 1:
            return 1e6 * took / len(members)
        count = min(left, max(2, 2 * count))


def state_bytes(group: Group, devices: Sequence[Any]) -> int:
    """Bytes that the state of a member takes, with the copies that are made of it."""
    like = GroupProgram(group.members[:1], group.outline, Way("map"), devices).carry_like()
    return COPIES * sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(like))


def wave_size(members: Sequence[Ready], needed: int, devices: Sequence[Any]) -> int:
    """How many members are trained together so that their states fit into a part of the memory.

    Args:
        members: of one group.
        needed: bytes of each, from `state_bytes`.
        devices: where they are trained.

    Raises:
        UserError: if not even one fits.
    """
    room = int(MEMORY_SHARE * memory(devices))
    if needed > room:
        raise UserError(
            f"{members[0].member.name}: one member needs about {needed / 2**20:.0f} MiB for its state, and "
            f"{room / 2**20:.0f} MiB are set apart for that ({MEMORY_SHARE:.0%} of the free memory). Train it alone "
            f"with research run, or make the model smaller."
        )
    return max(1, min(len(members), room // max(1, needed)))


def memory(devices: Sequence[Any]) -> int:
    """Free memory in bytes: of all devices together, or of the machine where they are its processors."""
    if devices[0].platform != "cpu":
        statistics = [device.memory_stats() or {} for device in devices]
        return sum(each.get("bytes_limit", 8 * 2**30) - each.get("bytes_in_use", 0) for each in statistics)
    try:
        for line in Path("/proc/meminfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("MemAvailable:"):
                return 1024 * int(line.split()[1])
    except OSError:
        pass
    return 4 * 2**30
