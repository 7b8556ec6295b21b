"""What the members of a wave take of the memory while they are trained, what is free, and what is said if less is."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from research.errors import UserError

SHARE = 0.7
"""Part of the free memory that a wave may take; the rest is for what is not counted, such as files being written."""

MIB = 2**20

ROOT = Path("/")
"""Where ``proc`` and ``sys`` lie."""


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
    """Free memory in bytes: as much on each device, or what the machine and limits on this process leave processors."""
    if devices[0].platform != "cpu":
        statistics = [device.memory_stats() or {} for device in devices]
        return len(devices) * min(s.get("bytes_limit", 8 * 2**30) - s.get("bytes_in_use", 0) for s in statistics)
    there = [_available(), *(limit - used for limit, used in _limits())]
    return max(0, min((size for size in there if size is not None), default=4 * 2**30))


def _available() -> int | None:
    """Bytes that the machine has left; None where it does not tell."""
    kibibytes = _table(ROOT / "proc/meminfo").get("MemAvailable:")
    return None if kibibytes is None else 1024 * kibibytes


def _limits() -> Iterator[tuple[int, int]]:
    """Bytes that the control groups of this process may take, and those they do, such as Slurm or a container sets.

    A limit holds for all groups below: each is looked at up to the root. In a container the path that the kernel tells
    may be one outside of it; what is not there is passed over. Pages of files that were not used lately are given up
    where memory is needed, and do not count.
    """
    for line in _lines(ROOT / "proc/self/cgroup"):
        _, kinds, path = line.split(":", 2)
        if kinds and "memory" not in kinds.split(","):
            continue
        base = ROOT / "sys/fs/cgroup" / ("memory" if kinds else "")
        names = ("memory.limit_in_bytes", "memory.usage_in_bytes") if kinds else ("memory.max", "memory.current")
        files = "total_inactive_file" if kinds else "inactive_file"
        group = base / path.lstrip("/")
        for folder in [group, *group.parents][: len(group.relative_to(base).parts) + 1]:
            limit, used = ("".join(_lines(folder / name)) for name in names)
            if limit.isdigit() and used.isdigit():  # "max": there is none
                yield int(limit), int(used) - _table(folder / "memory.stat").get(files, 0)


def _table(path: Path) -> dict[str, int]:
    """Names and whole numbers of a file of the kernel."""
    found = (line.split() for line in _lines(path))
    return {words[0]: int(words[1]) for words in found if len(words) > 1 and words[1].isdigit()}


def _lines(path: Path) -> list[str]:
    """Lines of a file of the kernel; none where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []


def size_of(values: Any) -> int:
    """Bytes of the arrays of a pytree, each counted once, or of what will be arrays of such shapes and types."""
    leaves = {id(leaf) if isinstance(leaf, jax.Array) else (n,): leaf for n, leaf in enumerate(jax.tree.leaves(values))}
    return sum(int(np.prod(leaf.shape)) * leaf.dtype.itemsize for leaf in leaves.values())


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
