"""What the members of a wave take of the memory while they are trained, what is free, and what is said if less is."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from research.errors import UserError

SHARE = 0.7
"""Part of the free memory that a wave may take; the rest is for what is not counted, such as files being written."""

MIB = 2**20


@dataclasses.dataclass(frozen=True)
class Memory:
    """Bytes that the members on one device take there, at the moment that takes most.

    Attributes:
        data: of the splits, or of as many of their rows as are read ahead from disk.
        order: of what says which rows the updates read.
        state: of the members' states, with what saving them takes where that lies in the same memory.
        working: of what a program needs beside these while it runs: its results where they do not take the place of
            its arguments, its temporaries, and what it is given that lies there for it alone. That of the program that
            needs most.
        by: the program that needs most: ``advance`` trains, ``rows of`` a split evaluates; empty where none has been
            compiled.
    """

    data: int
    order: int
    state: int
    working: int = 0
    by: str = ""

    @property
    def total(self) -> int:
        """All of it."""
        return self.data + self.order + self.state + self.working


class TooLarge(Exception):
    """A wave that needs more than there is; those who plan cut it.

    Args:
        needed: by its largest part, on one device.
        room: bytes that there are on a device.
    """

    def __init__(self, needed: Memory, room: int) -> None:
        super().__init__(f"{needed.total} bytes of {room}")
        self.needed, self.room = needed, room

    def fewer(self, size: int) -> int:
        """How many members to try instead of ``size``, 2 or more: at most half as many, for each try is a compile."""
        shared = self.needed.data + self.needed.order
        return max(1, min(size // 2, size * max(0, self.room - shared) // max(1, self.needed.total - shared)))


def check_room(parts: Sequence[Memory], room: int) -> None:
    """Raise `TooLarge` where one of the devices has no room for its part of a wave."""
    largest = max(parts, key=lambda part: part.total)
    if largest.total > room:
        raise TooLarge(largest, room)


def room_on(devices: Sequence[Any]) -> int:
    """Bytes that a wave may take on each of some devices, all of which it uses."""
    return int(SHARE * free(devices)) // len(devices)


def free(devices: Sequence[Any]) -> int:
    """Free memory in bytes: as much on each device, or that of the machine where they are its processors."""
    if devices[0].platform != "cpu":
        statistics = [device.memory_stats() or {} for device in devices]
        return len(devices) * min(s.get("bytes_limit", 8 * 2**30) - s.get("bytes_in_use", 0) for s in statistics)
    try:
        for line in Path("/proc/meminfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("MemAvailable:"):
                return 1024 * int(line.split()[1])
    except OSError:
        pass
    return 4 * 2**30


def size_of(values: Any) -> int:
    """Bytes of the arrays of a pytree, or of what will be arrays of such shapes and types."""
    return sum(int(np.prod(leaf.shape)) * leaf.dtype.itemsize for leaf in jax.tree.leaves(values))


def refused(name: str, needed: Memory, room: int, streamed: bool = False) -> UserError:
    """The error for a member, by its name, that does not fit even alone into the bytes that there are for it.

    Args:
        name: of the member.
        needed: by it.
        room: bytes that there are.
        streamed: whether its data are some updates' rows from disk, and not all of it.
    """
    names = {"its state": needed.state, "the data": needed.data, "the order of the rows": needed.order}
    parts = [f"{size / MIB:,.1f} for {name}" for name, size in names.items()]
    if needed.working:
        what = "trains it" if needed.by == "advance" else f"computes {needed.by}"
        parts.append(f"{needed.working / MIB:,.1f} while the program runs that {what}")
    if needed.data >= max(needed.state, needed.working):
        from_disk = "Read the data from disk (execution.feed=streaming), or take less of it."
        advice = "Make batch_size smaller." if streamed else from_disk
    elif needed.state >= needed.working or needed.by not in ("advance", "rows of validation", "rows of test"):
        advice = "Make the model smaller."
    else:
        advice = f"Make {'batch_size' if needed.by == 'advance' else 'evaluation.batch_size'} or the model smaller."
    return UserError(
        f"{name}: one member needs {needed.total / MIB:,.1f} MiB ({', '.join(parts)}), and {room / MIB:,.1f} MiB are "
        f"there for it ({SHARE:.0%} of the free memory). {advice}"
    )
