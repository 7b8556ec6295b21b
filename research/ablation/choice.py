"""Which way through the members of a group is fastest here, measured for a few updates, among those that fit."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Sequence
from typing import Any, get_args

import jax

from research.ablation.groups import Group, Ready
from research.ablation.memory import TooLarge, check_room, room_on, size_of
from research.ablation.program import GroupProgram, Strategy, Way
from research.errors import UserError, did_you_mean

ADVANTAGE = 1.5
"""How many times faster than exact ways ``vmap`` must be to be taken."""

MEASURED_SECONDS = 0.3
WORTH_MEASURING = 10
"""Other ways are tried where the training is expected to take so many times the compiling of them all."""


@dataclasses.dataclass(frozen=True)
class Choice:
    """A way, and microseconds per update of a member under each way that was tried."""

    way: Way
    measured: dict[str, float]


def check_strategy(strategy: str, exact: bool) -> None:
    """Raise `UserError` for an unknown strategy, or one that is not exact where that is asked."""
    if strategy not in ("auto", *get_args(Strategy)):
        allowed = ("auto", *get_args(Strategy))
        meant = did_you_mean(str(strategy), allowed)
        raise UserError(f"strategy: {strategy!r} is not known. Allowed: {', '.join(allowed)}.{meant}")
    if strategy == "vmap" and exact:
        raise UserError("strategy: vmap does not give the bits of runs of their own, and exact was asked for.")


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
        members: those of a wave, on which ways are measured; the programs that train them are compiled by it.
        devices: those there are.
        strategy: ``auto``, or a way by name.
        exact: leave out ways that do not give the bits of runs of their own.
        known: choices of earlier groups; a group takes that of one alike: in the kind
            and size of its model, and the shapes of its batches. Added to.

    Raises:
        TooLarge: where ways are to be measured, and these members do not fit into memory.
    """
    replicas = min(len(devices), len(members))
    if strategy != "auto":
        return Choice(Way(strategy, 1 if strategy == "separate" else replicas), {})  # type: ignore[arg-type]
    one = group.members[0]
    inputs = () if one.prepared is None else jax.tree.leaves(one.prepared.splits["train"].like)
    shapes = tuple((leaf.shape, str(leaf.dtype)) for leaf in inputs)
    state = size_of(GroupProgram(group.members[:1], group.outline, Way("map"), devices).carry_like())
    key = type(one.fitted.algorithm), type(one.fitted.model), group.outline.batch_size, replicas, shapes, state
    if key not in known:
        known[key] = _fastest(group, members, devices, replicas, exact)
    return known[key]


def _fastest(group: Group, members: Sequence[Ready], devices: Sequence[Any], replicas: int, exact: bool) -> Choice:
    first = Way("map", replicas)
    if len(members) == 1:
        return Choice(first, {})
    began = time.perf_counter()
    measured = {first: _cost(group, members, first, devices)}
    compiling = time.perf_counter() - began
    training = 1e-6 * measured[first] * len(members) * group.cadence.total
    others = [Way("map"), Way("separate")] if replicas > 1 else [Way("separate")]
    others += [] if exact else [Way("vmap", replicas)]
    if training > WORTH_MEASURING * len(others) * compiling:
        for way in others:
            try:
                measured[way] = _cost(group, members, way, devices)
            except TooLarge:
                continue
    best = min((way for way in measured if way.strategy != "vmap"), key=lambda way: measured[way])
    for way, cost in measured.items():
        if way.strategy == "vmap" and cost * ADVANTAGE < measured[best]:
            best = way
    return Choice(best, {str(way): round(cost, 2) for way, cost in measured.items()})


def _cost(group: Group, members: Sequence[Ready], way: Way, devices: Sequence[Any]) -> float:
    """Microseconds per update of a member by a way; raises `TooLarge` if it does not fit, before anything runs."""
    room = room_on(devices[: way.replicas])
    with contextlib.closing(GroupProgram(members, group.outline, way, devices)) as program:
        check_room(program.compile(whole=False).memory, room)
        return microseconds(program, group.cadence.total)[0]


def microseconds(program: GroupProgram, total: int) -> tuple[float, Any]:
    """Microseconds per update of a member, from as many updates as take a moment, and the carry after them.

    Args:
        program: of the members, its programs compiled.
        total: updates of the training, of which no more are made.
    """
    windows, left = program.window(0)
    most, count = min(left, total), 1
    carry = program.initialise()
    while True:
        jax.block_until_ready(carry)
        began = time.perf_counter()
        carry = program.advance(carry, windows, count)
        jax.block_until_ready(carry)
        took = time.perf_counter() - began
        # The first pass warms up.
        if (count > 1 or most == 1) and (took > MEASURED_SECONDS or count == most):
            return 1e6 * took / count / program.count, carry
        count = min(most, max(2, 2 * count))
