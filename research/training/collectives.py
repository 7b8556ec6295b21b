"""What a compiled program sends between devices, read from its text."""

from __future__ import annotations

import dataclasses
import math
import re

KINDS = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")
SHARES = {
    "all-reduce": lambda n: 2 * (n - 1) / n,
    "all-gather": lambda n: (n - 1) / n,
    "reduce-scatter": lambda n: n - 1,
    "all-to-all": lambda n: (n - 1) / n,
    "collective-permute": lambda n: 1.0,
}
"""What each device sends when they stand in a ring, as a multiple of the result it gets, by devices that take part."""

_HEAD = re.compile(r"^(ENTRY\s+)?%?([\w.\-]+)\s.*\{\s*$")
_COLLECTIVE = re.compile(rf"=\s*(.+?)\s({'|'.join(KINDS)})(-start)?\(")
_SHAPE = re.compile(r"\b([a-z]+\d+|pred)\[([\d,]*)\]")
_LISTED = re.compile(r"replica_groups=\{\{([\d,]+)\}")
_COUNTED = re.compile(r"replica_groups=\[(\d+),(\d+)\]<=")
_CALLED = re.compile(r"\b(body|to_apply|calls|true_computation|false_computation)=%?([\w.\-]+)")
_BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}")
_ROUNDS = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')


@dataclasses.dataclass(frozen=True)
class Sent:
    """Messages of one kind.

    Attributes:
        count: how many in one update.
        bytes: that each device sends in these, if the devices stand in a ring.
    """

    count: float = 0.0
    bytes: float = 0.0

    def plus(self, other: Sent, times: float = 1.0) -> Sent:
        """Both, the other one so many times."""
        return Sent(self.count + times * other.count, self.bytes + times * other.bytes)


def collectives(text: str, devices: int) -> dict[str, Sent]:
    """Messages between devices in a compiled program, by kind; loops count as often as they go round.

    A loop whose rounds are not known when it is compiled, as that over updates, counts once; of several branches the
    one that sends most counts.

    Args:
        text: of the program, as XLA prints it.
        devices: that it runs on; those that take part in a message whose text does not say.
    """
    parts, entry = _computations(text)
    known: dict[str, dict[str, Sent]] = {}

    def of(name: str) -> dict[str, Sent]:
        if name not in known:
            known[name] = {}
            for line in parts.get(name, ()):
                known[name] = _together(known[name], _of_line(line), 1.0)
                rounds = _ROUNDS.search(line)
                times = float(rounds[1]) if rounds and " while(" in line else 1.0
                for kind, called in _CALLED.findall(line):
                    if kind not in ("true_computation", "false_computation"):
                        known[name] = _together(known[name], of(called), times)
                branches = [called for kind, called in _CALLED.findall(line) if kind.endswith("computation")]
                if listed := _BRANCHES.search(line):
                    branches += [each.strip().lstrip("%") for each in listed[1].split(",")]
                if branches:
                    most = max(
                        (of(each) for each in branches), key=lambda sent: sum(one.bytes for one in sent.values())
                    )
                    known[name] = _together(known[name], most, 1.0)
        return known[name]

    def _of_line(line: str) -> dict[str, Sent]:
        found = _COLLECTIVE.search(line)
        if found is None:
            return {}
        count = _taking_part(line, devices)
        result = _bytes(found[1]) / (2 if found[3] and found[2] == "all-gather" else 1)
        return {found[2]: Sent(1.0, result * SHARES[found[2]](count))} if count > 1 else {}

    return of(entry)


def _computations(text: str) -> tuple[dict[str, list[str]], str]:
    """Lines of each computation by its name, and the name of the one that is called first."""
    parts: dict[str, list[str]] = {}
    entry = current = ""
    for line in text.splitlines():
        if not line.startswith((" ", "}")) and (head := _HEAD.match(line)):
            current = head[2]
            parts[current] = []
            entry = current if head[1] else entry
        elif current:
            parts[current].append(line)
    return parts, entry


def _taking_part(line: str, devices: int) -> int:
    if counted := _COUNTED.search(line):
        return int(counted[2])
    if listed := _LISTED.search(line):
        return len(listed[1].split(","))
    return devices


def _bytes(shapes: str) -> float:
    total = 0.0
    for kind, axes in _SHAPE.findall(shapes):
        bits = 8 if kind == "pred" else int(re.sub(r"\D", "", kind))
        total += bits / 8 * math.prod(int(axis) for axis in axes.split(",") if axis)
    return total


def _together(one: dict[str, Sent], other: dict[str, Sent], times: float) -> dict[str, Sent]:
    return one | {kind: one.get(kind, Sent()).plus(sent, times) for kind, sent in other.items()}
