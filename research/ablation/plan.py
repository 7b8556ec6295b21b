"""What an ablation would train, in how many programs, how long, and with how much memory."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from research.ablation.choice import Choice, choose_way, state_bytes, wave_size
from research.ablation.groups import Group, Ready

SHOWN = 12
"""Arms of a group that are named."""


@dataclasses.dataclass(frozen=True)
class Planned:
    """A group with members that are still to be trained.

    Attributes:
        group: the group.
        left: its members that are still to be trained.
        choice: the way through them, and what was measured for it.
        size: members of a wave.
        state_bytes: memory that the state of a member takes, with the copies that are made of it.
    """

    group: Group
    left: tuple[Ready, ...]
    choice: Choice
    size: int
    state_bytes: int

    @property
    def waves(self) -> list[tuple[Ready, ...]]:
        """The members of each wave."""
        return [self.left[first : first + self.size] for first in range(0, len(self.left), self.size)]

    @property
    def seconds(self) -> float:
        """How long the training is expected to take, without compiling; NaN where nothing was measured."""
        cost = self.choice.measured.get(str(self.choice.way), math.nan)
        return 1e-6 * cost * len(self.left) * self.group.cadence.total

    @property
    def arms(self) -> list[str]:
        """Names of the arms that have members in this group."""
        return list(dict.fromkeys(ready.member.arm for ready in self.left))


def plan(
    groups: Sequence[Group], done: set[str], devices: Sequence[Any], strategy: str, exact: bool, waves: int = 1
) -> tuple[Planned, ...]:
    """How what is left of each group is trained, the largest group first.

    Args:
        groups: all groups of the ablation.
        done: identities of members whose results are there, or that are in waves already begun.
        devices: where to train.
        strategy: ``auto``, or a way by name.
        exact: leave out ways that do not give the bits of runs of their own.
        waves: how many to make at least of all that is left, where there are so many members.

    Raises:
        UserError: for an unknown strategy, or a member that does not fit into memory.
    """
    found, known = [], {}
    total = sum(ready.member.identity not in done for its in groups for ready in its.members)
    for its in sorted(groups, key=lambda each: -len(each.members)):
        left = tuple(ready for ready in its.members if ready.member.identity not in done)
        if not left:
            continue
        needed = state_bytes(its, devices)
        count = max(math.ceil(len(left) / wave_size(left, needed, devices)), math.ceil(waves * len(left) / total))
        size = math.ceil(len(left) / min(count, len(left)))
        choice = choose_way(its, left[:size], devices, strategy, exact, known)
        found.append(Planned(its, left, choice, size, needed))
    return tuple(found)


def plan_tables(planned: Sequence[Planned]) -> list[Any]:
    """The plan for a terminal of 80 columns: a line a group, and which arms are in it."""
    table = Table(title="what would be trained; a group shares one program", title_justify="left")
    for column in ("group", "members", "waves", "way", "updates", "µs each", "time", "state"):
        table.add_column(column, justify="left" if column == "way" else "right")
    for number, each in enumerate(planned, 1):
        cost = each.choice.measured.get(str(each.choice.way))
        table.add_row(
            f"{number}",
            f"{len(each.left)}",
            f"{len(each.waves)}",
            str(each.choice.way),
            f"{each.group.cadence.total:,}",
            "" if cost is None else f"{cost:,.0f}",
            "" if math.isnan(each.seconds) else duration(each.seconds),
            f"{each.state_bytes * each.size / 2**20:,.0f} MiB",
        )
    arms = [
        "\n  ".join([f"group {number}:", *each.arms[:SHOWN], *_more(len(each.arms) - SHOWN)])
        for number, each in enumerate(planned, 1)
    ]
    return [table, *map(Text, arms)]


def _more(count: int) -> list[str]:
    return [f"and {count} more"] if count > 0 else []


def duration(seconds: float) -> str:
    """A time in words, such as ``40 s``, ``12 min`` or ``3.5 h``."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
