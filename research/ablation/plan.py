"""What an ablation would train, in how many programs, how long, and with how much memory."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import math
import time
from collections.abc import Sequence
from typing import Any

import jax
from rich.table import Table
from rich.text import Text

from research.ablation.choice import Choice, choose_way, microseconds
from research.ablation.groups import Group, Ready
from research.ablation.memory import MIB, Memory, TooLarge, check_room, refused, room_on, size_of
from research.ablation.program import Compiled, GroupProgram, Way, parts_of
from research.data.prepare import Listener

SHOWN = 12
"""Arms of a group that are named."""


@dataclasses.dataclass(frozen=True)
class Pace:
    """What was measured of the training of a wave.

    Attributes:
        update: microseconds per update of a member.
        evaluation: seconds that one evaluation on validation takes for all members of a wave; 0 where there is none,
            or it was not measured.
    """

    update: float
    evaluation: float


@dataclasses.dataclass(frozen=True)
class Planned:
    """A group with members that are still to be trained.

    Attributes:
        group: the group.
        left: its members that are still to be trained.
        choice: the way through them, and what was measured for it.
        size: members of a wave.
        memory: what a wave takes, of each device: as the compiled programs say where they were compiled, else what
            lies there all the time.
        compiled: seconds that compiling the programs of a wave took, or finding them in the cache; NaN where they were
            not compiled.
        chosen: seconds that choosing the way took beside; 0 where nothing was compiled.
        pace: what was measured of the training; None where nothing was.
    """

    group: Group
    left: tuple[Ready, ...]
    choice: Choice
    size: int
    memory: tuple[Memory, ...]
    compiled: float = math.nan
    chosen: float = 0.0
    pace: Pace | None = None

    @property
    def waves(self) -> list[tuple[Ready, ...]]:
        """The members of each wave."""
        return [its[n : n + self.size] for its in read_together(self.left) for n in range(0, len(its), self.size)]

    @property
    def bytes(self) -> int:
        """Memory that a wave takes on all its devices together."""
        return sum(part.total for part in self.memory)

    @property
    def compiling(self) -> float:
        """Seconds that all compiling is expected to take; NaN where nothing was compiled.

        It is what was measured of the first wave, and as much again for a wave that needs other programs, which are not
        compiled: one of other members in number, or of other orders of the rows or data.
        """
        return self.compiled * max(len(set(kinds)) for kinds in zip(*map(self._kinds, self.waves), strict=False))

    def _kinds(self, wave: Sequence[Ready]) -> list[tuple[int, int, int]]:
        """What the programs of a wave depend on, of each device."""
        found = []
        for part in parts_of(len(wave), self.choice.way.replicas):
            own = [wave[number] for number in part]
            together = 0 if self.choice.way.strategy == "separate" else len(own)
            found.append((together, len({ready.order for ready in own}), len({ready.rows for ready in own})))
        return found

    @property
    def training(self) -> float:
        """Seconds that updates and evaluations on validation are expected to take; NaN where nothing was measured.

        From a few of each. Checkpoints, predictions and files are left out, and so are early stopping, and waiting for
        rows from a disk that is slower than the updates.
        """
        if self.pace is None:
            return math.nan
        cadence, waves = self.group.cadence, len(self.left) / self.size
        evaluations = 0 if cadence.evaluate is None else math.ceil(cadence.total / cadence.evaluate)
        return 1e-6 * self.pace.update * len(self.left) * cadence.total + self.pace.evaluation * evaluations * waves

    @property
    def arms(self) -> list[str]:
        """Names of the arms that have members in this group."""
        return list(dict.fromkeys(ready.member.arm for ready in self.left))


@dataclasses.dataclass(frozen=True)
class Means:
    """With what members are trained, and what may be done to plan it.

    Attributes:
        devices: where to train.
        strategy: ``auto``, or a way by name.
        exact: leave out ways that do not give the bits of runs of their own.
        waves: how many to make at least of all members, where there are so many.
        compiles: whether all programs are compiled, which this process will use or leave in the cache: so it is known
            what they need. Where others train, only what lies in memory all the time is counted, unless ``auto``
            compiles in order to measure.
        measures: whether a few updates and evaluations are made under any strategy, for a plan that is shown.
    """

    devices: Sequence[Any]
    strategy: str = "auto"
    exact: bool = False
    waves: int = 1
    compiles: bool = True
    measures: bool = False


def plan(
    groups: Sequence[Group], done: set[str], means: Means, listener: Listener | None = None
) -> tuple[Planned, ...]:
    """How what is left of each group is trained, the largest group first.

    A wave that proves too large once its programs are compiled is cut, and these are compiled for fewer members: the
    only case in which planning compiles what training does not use, beside the ways that ``auto`` tries.

    Args:
        groups: all groups of the ablation.
        done: identities of members whose results are there, or that are in waves already begun.
        means: see `Means`.
        listener: told of how many groups are planned.

    Raises:
        UserError: for an unknown strategy, or a member that does not fit into memory.
    """
    total = sum(ready.member.identity not in done for its in groups for ready in its.members)
    known: dict[Any, Choice] = {}
    found = []
    for place, its in enumerate(sorted(groups, key=lambda each: -len(each.members))):
        left = tuple(ready for ready in its.members if ready.member.identity not in done)
        if listener is not None:
            listener("compiling programs of groups", place, len(groups))
        if left:
            found.append(_planned(its, left, math.ceil(means.waves * len(left) / total), means, known))
    return tuple(found)


def _planned(its: Group, left: tuple[Ready, ...], waves: int, means: Means, known: dict[Any, Choice]) -> Planned:
    """The plan of one group, in so many waves at least."""
    apart = read_together(left)
    first, waves, began = max(apart, key=len), math.ceil(waves / len(apart)), time.perf_counter()
    size = _evenly(len(first), _first_size(its, first, means.devices), waves)
    while True:
        try:
            return _tried(its, left, first[:size], means, known, began)
        except TooLarge as large:
            if size == 1:
                raise refused(first[0].member.name, large.needed, large.room, first[0].streamed) from None
            size = _evenly(len(first), large.fewer(size), waves)


def _tried(
    its: Group, left: tuple[Ready, ...], members: Sequence[Ready], means: Means, known: dict[Any, Choice], began: float
) -> Planned:
    """The plan of one group in waves of so many as ``members``; raises `TooLarge`.

    A function of its own, so that what it has put on the devices is gone from there when fewer members are tried.
    """
    choice, size = choose_way(its, members, means.devices, means.strategy, means.exact, known), len(members)
    chosen, room = time.perf_counter() - began, room_on(means.devices[: min(choice.way.replicas, size)])
    with contextlib.closing(GroupProgram(members, its.outline, choice.way, means.devices)) as program:
        if not means.compiles:
            check_room(memory := program.resident(), room)
            return Planned(its, left, choice, size, memory, pace=_known_pace(choice))
        trains, compiled = _compiled(program, room)
        pace = _measured(program, its) if means.measures else _known_pace(choice)
    # The choice has compiled what trains by the way that was chosen, if it measured.
    chosen = max(0.0, chosen - trains)
    return Planned(its, left, choice, size, compiled.memory, compiled.seconds, chosen, pace)


def read_together(members: Sequence[Ready]) -> list[tuple[Ready, ...]]:
    """Members that may be in one wave: all, or from disk those of the same rows; equal orders side by side."""
    if not members[0].streamed:
        return [tuple(members)]
    found: dict[int, dict[Any, list[Ready]]] = {}
    for ready in members:
        found.setdefault(ready.rows, {}).setdefault(ready.order, []).append(ready)
    return [tuple(itertools.chain(*orders.values())) for orders in found.values()]


def _first_size(its: Group, left: Sequence[Ready], devices: Sequence[Any]) -> int:
    """How many members may fit into memory at once, by their data and states; 1 where not even one seems to."""
    devices, room = devices[: len(left)], room_on(devices[: len(left)])
    program = GroupProgram(left[:1], its.outline, Way("map"), devices)
    (one,) = program.resident()
    each = one.state + size_of(program.carry_like())  # programs make a new state of the old one
    data: set[int] = set()
    for count, ready in enumerate(left, 1):
        data.add(ready.rows)
        if len(data) * one.data + one.order + math.ceil(count / len(devices)) * each > room:
            return max(1, count - 1)
    return len(left)


def _evenly(count: int, size: int, waves: int) -> int:
    """Members of a wave, at most ``size``, so that waves are of almost one size and there are so many at least."""
    return math.ceil(count / min(count, max(waves, math.ceil(count / size))))


def _compiled(program: GroupProgram, room: int) -> tuple[float, Compiled]:
    """Seconds that programs which train a wave took, and all of them; raises `TooLarge` where there is no room."""
    trains = program.compile(whole=False)
    check_room(trains.memory, room)
    compiled = program.compile()
    check_room(compiled.memory, room)
    return trains.seconds, compiled


def _known_pace(choice: Choice) -> Pace | None:
    cost = choice.measured.get(str(choice.way))
    return None if cost is None else Pace(cost, 0.0)


def _measured(program: GroupProgram, its: Group) -> Pace:
    """What a few updates and evaluations take."""
    cost, carry = microseconds(program, its.cadence.total)
    took = 0.0
    for _ in range(2 if its.cadence.evaluate is not None else 0):  # the first one warms up
        jax.block_until_ready(carry)
        began = time.perf_counter()
        carry, _ = program.record(carry, True)
        jax.block_until_ready(carry)
        took = time.perf_counter() - began
    return Pace(cost, took)


def plan_tables(planned: Sequence[Planned]) -> list[Any]:
    """The plan for a terminal of 80 columns: a line a group, which arms are in it, and what all of it takes."""
    table = Table(title="what would be trained; a group shares one program", title_justify="left")
    for column in ("group", "members\nwaves", "way", "updates\nµs each", "compile\ntrain", "memory\nof a wave"):
        table.add_column(column, justify="left" if column == "way" else "right")
    for number, each in enumerate(planned, 1):
        table.add_row(
            f"{number}",
            f"{len(each.left):,}\n{len(each.waves):,}",
            str(each.choice.way),
            f"{each.group.cadence.total:,}\n{'' if each.pace is None else f'{each.pace.update:,.0f}'}",
            f"{duration(each.compiling)}\n{duration(each.training)}",
            f"{each.bytes / MIB:,.0f} MiB",
        )
    arms = [
        "\n  ".join([f"group {number}:", *each.arms[:SHOWN], *_more(len(each.arms) - SHOWN)])
        for number, each in enumerate(planned, 1)
    ]
    return [table, *map(Text, arms)]


def time_text(planned: Sequence[Planned]) -> str:
    """How long all of it is expected to take, after a comma; empty where it is not known."""
    parts = []
    for what, seconds in (
        ("compiling", sum(each.compiling for each in planned)),
        ("choosing ways", sum(each.chosen for each in planned)),
        ("training", sum(each.training for each in planned)),
    ):
        if not math.isnan(seconds) and seconds >= 0.5:
            parts.append(f"{duration(seconds)} of {what}")
    return f", about {', '.join(parts)}" if parts else ""


def _more(count: int) -> list[str]:
    return [f"and {count} more"] if count > 0 else []


def duration(seconds: float) -> str:
    """A time in words, such as ``40 s``, ``12 min`` or ``3.5 h``; nothing for NaN."""
    if math.isnan(seconds):
        return ""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
