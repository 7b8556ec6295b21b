"""The compiled programs of a group: those of one run, for each of its members.

Three ways to go through the members, in one program or many:

- ``map``: one after the other, inside one program; equal to the bit to runs of their own.
- ``vmap``: some at once, so many that what they need stays near the processor; each sum may be taken in another order,
  so members are equal to runs of their own for some hundred updates only, and in distribution.
- ``separate``: one after the other, each by the program of a run of its own; equal to the bit.

The members may be shared out over several devices: each then has a program of its own, for its part of them. (One
program over all devices is compiled in another way than that of a run, and other bits come of it.)

Where their rows come from, device memory or disk, is no matter of these ways: see `research.ablation.sources`.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from research import keys
from research.ablation.executables import Executable, executable
from research.ablation.groups import Ready
from research.ablation.memory import Memory, size_of
from research.ablation.sources import source_of
from research.ablation.stacking import member_of, stacked
from research.data.feed import Window
from research.data.pool import one_of
from research.data.streaming import StreamedSplit, StreamingFeed
from research.training import steps
from research.training.carry import Carry
from research.training.loop import Cadence
from research.training.start_from import Sources, begin
from research.training.steps import Outline, Run

Strategy = Literal["map", "vmap", "separate"]
EXACT = ("map", "separate")
"""Ways that give the bits of runs of their own."""

CHUNK = 16
"""Most members that ``vmap`` takes at once."""

DISPATCHED = 4096
"""Updates that are made at once at most, where there is no data."""

REPORTED = ("validation", "test")
"""Splits that are predicted at the end, where there are any."""

SAVING = 3
"""States in the memory of a processor while one is saved: itself, the copy that is saved, and what is written of it."""

_CARRIES: dict[Any, Any] = {}
"""Shapes of a member's carry, by what decides them."""


class Compiled(NamedTuple):
    """What compiling the programs of some members told.

    Attributes:
        seconds: how long compiling them took, now or earlier in this process; devices compile at the same time.
        memory: what the members take, of each device.
    """

    seconds: float
    memory: tuple[Memory, ...]


@dataclasses.dataclass(frozen=True)
class Way:
    """How the members are gone through.

    Attributes:
        strategy: see the module.
        replicas: devices over which the members are shared out.
    """

    strategy: Strategy
    replicas: int = 1

    def __str__(self) -> str:
        return self.strategy if self.replicas == 1 else f"{self.strategy} on {self.replicas} devices"


def parts_of(count: int, replicas: int) -> list[range]:
    """Which of ``count`` members each device has; neighbours stay together."""
    ends = [count * number // replicas for number in range(replicas + 1)]
    return [range(first, end) for first, end in itertools.pairwise(ends) if end > first]


def chunk_of(count: int) -> int:
    """Members that ``vmap`` takes at once: 8 to 16 where such a size divides ``count``, the largest of these.

    Else 16, and a smaller chunk is left, which is compiled as well.
    """
    even = [size for size in range(CHUNK // 2, CHUNK + 1) if count % size == 0]
    return max(even, default=CHUNK)


class GroupProgram:
    """The programs of some members of one group, as `research.training.program.Program` has them for one run.

    What belongs to the members is a tuple with a pytree for each device, whose arrays have a first axis of members.

    Args:
        members: members of one group, with their data prepared.
        outline: that of the group.
        way: how they are gone through.
        devices: where to run; the first ``way.replicas`` are used.
    """

    def __init__(self, members: Sequence[Ready], outline: Outline, way: Way, devices: Sequence[Any]) -> None:
        self.count = len(members)
        parts = parts_of(len(members), way.replicas)
        self.parts = tuple(
            _Part([members[number] for number in part], outline, way.strategy, device, len(parts))
            for part, device in zip(parts, devices, strict=False)
        )
        splits = tuple(self.parts[0].splits)
        self.reported = tuple(split for split in REPORTED if split in splits) or ("rows",)
        self.cadence = members[0].cadence

    def compile(self, whole: bool = True) -> Compiled:
        """Compile the programs of a wave of these members, and run none; calls find them compiled.

        Args:
            whole: also those that evaluate, log and predict; False for those that begin and train.
        """
        found = self._each(lambda part: part.compile(self, whole))
        return Compiled(max(seconds for seconds, _ in found), tuple(memory for _, memory in found))

    def resident(self) -> tuple[Memory, ...]:
        """What lies on each device all the time; compiles nothing."""
        return tuple(part.resident() for part in self.parts)

    def training_programs(self) -> tuple[str, ...]:
        """Names of the compiled programs that train these members, whatever the device; none before they are used."""
        return tuple(sorted({part.training for part in self.parts if part.training}))

    def initialise(self) -> tuple[Carry, ...]:
        """The carries before the first update: fresh weights, or those that a member starts from."""
        return self._each(lambda part: part.initialise())

    def carry_like(self) -> tuple[Carry, ...]:
        """Shapes, types and places of the carries, as what a checkpoint is restored into; compiles nothing."""
        return tuple(part.carry_like() for part in self.parts)

    def window(self, step: int) -> tuple[tuple[Window | None, ...], int]:
        """Windows that hold the rows of the updates from ``step`` on, and for how many they all last.

        Args:
            step: updates made so far.

        Raises:
            RunError: if a process that reads has ended.
        """
        windows = tuple(None if part.feed is None else part.feed.window(step) for part in self.parts)
        return windows, min((window.left for window in windows if window is not None), default=DISPATCHED)

    def advance(self, carry: tuple[Carry, ...], windows: tuple[Window | None, ...], count: int) -> tuple[Carry, ...]:
        """The carries after up to ``count`` more updates, as many as the windows last for; donates ``carry``."""
        return self._each(lambda part, *own: part.advance(*own, count), carry, windows)

    def record(self, carry: tuple[Carry, ...], assess: bool) -> tuple[tuple[Carry, ...], tuple[Any, ...]]:
        """An event, as `research.training.program.Program.record`; the records have an axis of members."""
        found = self._each(lambda part, own: part.record(own, assess), carry)
        return tuple(each[0] for each in found), tuple(each[1] for each in found)

    def deploy(self, carry: tuple[Carry, ...]) -> tuple[Any, ...]:
        """The states that are evaluated."""
        return self._each(lambda part, own: part.deploy(own), carry)

    def predict(self, state: tuple[Any, ...], split: str) -> tuple[dict[str, Any], ...]:
        """Rows of deployed states over a whole split, ``[members, N, ...]``."""
        return self._each(lambda part, own: part.predict(own, split), state)

    def close(self) -> None:
        """Stop reading ahead, where rows come from disk."""
        for part in self.parts:
            if part.feed is not None:
                part.feed.close()

    def _each(self, call: Callable[..., Any], *values: tuple[Any, ...]) -> tuple[Any, ...]:
        """What ``call`` gives for each part; they compile at the same time, and so do the devices run."""
        if len(self.parts) == 1:
            return (call(self.parts[0], *(value[0] for value in values)),)
        with ThreadPoolExecutor(len(self.parts)) as threads:
            return tuple(threads.map(call, self.parts, *values))


def gathered(parts: tuple[Any, ...]) -> Any:
    """What belongs to the members, on the host and in one pytree, with one first axis."""
    return jax.tree.map(lambda *arrays: np.concatenate(arrays), *jax.device_get(parts))


class _Part:
    """The programs of the members on one device."""

    def __init__(self, members: Sequence[Ready], outline: Outline, strategy: Strategy, device: Any, share: int) -> None:
        self.outline = dataclasses.replace(outline, stacked=strategy == "vmap")
        self.strategy, self.device = strategy, device
        self.source = source_of(members, device, share)
        self.splits, self.feed, self.example = self.source.splits, self.source.feed, self.source.example
        self._experiments = [ready.fitted for ready in members]
        specs = [steps.traced_part(experiment) for experiment in self._experiments]
        self.spec = self._put(jax.tree.map(lambda *leaves: _numbers(leaves), *specs))
        seeds = np.asarray([ready.member.seed for ready in members], np.uint32)
        self.run = self._put(Run(seeds, np.asarray([ready.total_updates for ready in members], np.int32)))
        self.data, self.order = self._put(self.source.data), self._put(self.source.order)
        self.training = ""
        self._noted: dict[str, tuple[float, int]] | None = None
        self._known: set[int] = set()
        self._sources: Sources = {}

    def compile(self, group: GroupProgram, whole: bool) -> tuple[float, Memory]:
        """Seconds that compiling the programs took, and the memory of the one that needs most; see `GroupProgram`."""
        carry, cadence = self.carry_like(), group.cadence
        window = None if self.feed is None else self.feed.window_like()
        there = (self.spec, self.run, self.data, self.order, self.splits, self.example, window, carry)
        self._known, self._noted = {id(leaf) for leaf in jax.tree.leaves(there)}, {}
        try:
            self.initialise()
            self.advance(carry, window, 1)
            if whole:
                if cadence.evaluate is not None:
                    self.record(carry, True)
                if _only_logs(cadence):
                    self.record(carry, False)
                state = self.deploy(carry)
                for split in group.reported:
                    self.predict(state, split)
            noted = self._noted
        finally:
            self._noted = None
        memory = self.resident()
        working = {name: added for name, (_, added) in noted.items()}
        working["initialise"] -= memory.state  # which is only made there
        by = max(working, key=lambda name: working[name])
        seconds = sum(each for each, _ in noted.values())
        return seconds, dataclasses.replace(memory, working=max(0, working[by]), by=by)

    def resident(self) -> Memory:
        """What lies on the device all the time."""
        copies = SAVING if self.device.platform == "cpu" else 1
        state = size_of((self.spec, self.run, self.data, self.order)) + copies * size_of(self.carry_like())
        return Memory(*self.source.resident(), state)

    def initialise(self) -> Carry:
        carry = self._call("initialise", self._initialise, (self.spec, self.run, self.data), (self.example,))
        if self._noted is not None or all(experiment.start_from is None for experiment in self._experiments):
            return carry
        each = enumerate(self._experiments)
        return stacked(
            [begin(experiment, member_of(carry, number), self.device, self._sources) for number, experiment in each]
        )

    def carry_like(self) -> Carry:
        one = (*member_of((self.spec, self.run, self.data), 0), self.example)
        leaves, structure = jax.tree.flatten(one)
        key = self.outline, self.source.several, structure, tuple(map(jax.typeof, leaves))
        if key not in _CARRIES:
            _CARRIES[key] = jax.eval_shape(self._initialise, *one)
        return jax.tree.map(lambda leaf: self._like(leaf, (len(self.data), *leaf.shape)), _CARRIES[key])

    def _initialise(self, spec: Any, run: Any, data: Any, example: Any) -> Carry:
        return steps.initialise(self.outline, spec, run, self._own(example, data))

    def advance(self, carry: Carry, window: Window | None, count: int) -> Carry:
        def one(spec: Any, carry: Any, run: Any, data: Any, order: Any, train: Any, orders: Any, *numbers: Any) -> Any:
            rows = None if orders is None else (orders[0][order], orders[1][order])
            return steps.advance(self.outline, spec, carry, run, self._own(train, data), rows, *numbers)

        members = (self.spec, carry, self.run, self.data, self.order)
        if isinstance(self.feed, StreamingFeed) and self._noted is None:
            jax.block_until_ready(carry.step)  # or chunks would pile up on the device
        train, orders, offset = (None, None, 0) if window is None else (window.rows, window[1:3], window.offset)
        return self._call("advance", one, members, (train, orders, np.int32(offset), np.int32(count)), donate=1)

    def record(self, carry: Carry, assess: bool) -> tuple[Carry, dict[str, Any]]:
        if not assess:

            def log(spec: Any, carry: Any, run: Any) -> Any:
                return steps.log(self.outline, spec, carry, run, None)

            return self._call("log", log, (self.spec, carry, self.run), (), donate=1)
        rows = self._rows(self.deploy(carry), "validation", "evaluate", carry.step)

        def conclude(spec: Any, carry: Any, run: Any, data: Any, rows: Any, validation: Any) -> Any:
            own = steps.without_inputs(self._own(validation, data))
            return steps.conclude(self.outline, spec, carry, run, own, rows)

        validation = steps.without_inputs(self.splits.get("validation"))
        return self._call("conclude", conclude, (self.spec, carry, self.run, self.data, rows), (validation,), donate=1)

    def deploy(self, carry: Carry) -> Any:
        def one(spec: Any, carry: Any) -> Any:
            return steps.deploy(self.outline, spec, carry)

        return self._call("deploy", one, (self.spec, carry), ())

    def predict(self, state: Any, split: str) -> dict[str, Any]:
        return self._rows(state, split, "predict", jnp.zeros_like(self.data))

    def _rows(self, state: Any, split: str, purpose: str, step: Any) -> dict[str, Any]:
        def one(spec: Any, state: Any, run: Any, data: Any, step: Any, rows: Any, purpose: Any) -> Any:
            return steps.evaluate(self.outline, spec, state, run, self._own(rows, data), purpose, step)

        def of(rows: Any) -> dict[str, Any]:
            return self._call(f"rows of {split}", one, members, (rows, np.uint32(keys.number(purpose))))

        members, rows = (self.spec, state, self.run, self.data, step), self.splits.get(split)
        if not isinstance(rows, StreamedSplit):
            return of(rows)
        if self._noted is not None:
            return jax.eval_shape(lambda block: rows.joined([block], 1), of(rows.block_like()))
        found = []
        for block in rows.blocks():
            found.append(of(block))
            jax.block_until_ready(found[-1])
        return rows.joined(found, 1)

    def _own(self, rows: Any, data: Any) -> Any:
        """A member's own rows of what is stacked where the members' data differ."""
        return one_of(rows, data) if self.source.several else rows

    def _put(self, value: Any) -> Any:
        return jax.device_put(value, self.device)

    def _call(
        self, name: str, one: Callable[..., Any], members: tuple[Any, ...], shared: tuple[Any, ...], donate: int = -1
    ) -> Any:
        """``one(*member, *shared)`` of each member; the member argument ``donate`` is given away.

        While programs are only to be compiled, it gives the shapes of that.
        """
        if self.strategy == "separate":
            each = [member_of(members, number) for number in range(1 if self._noted is not None else len(self.data))]
            program = self._executable(name, one, each[0], shared, donate)
            if self._noted is not None:
                self._note(name, program, each[0], shared, len(self.data))
                return jax.tree.map(lambda leaf: self._like(leaf, (len(self.data), *leaf.shape)), program.like)
            return stacked([program.compiled(*member, *shared) for member in each])

        def all_of(*arguments: Any) -> Any:
            own, rest = arguments[: len(members)], arguments[len(members) :]
            chunk = chunk_of(len(self.data)) if self.strategy == "vmap" else None
            return lax.map(lambda member: one(*member, *rest), own, batch_size=chunk)

        program = self._executable(name, all_of, members, shared, donate)
        if self._noted is not None:
            self._note(name, program, members, shared, 1)
            return jax.tree.map(lambda leaf: self._like(leaf, leaf.shape), program.like)
        return program.compiled(*members, *shared)

    def _executable(
        self, name: str, function: Callable[..., Any], members: tuple[Any, ...], shared: tuple[Any, ...], donate: int
    ) -> Executable:
        about = self.outline, self.strategy, self.source.several
        found = executable(name.split()[0], about, function, (*members, *shared), donate, self.device)
        if name == "advance":
            self.training = found.name
        return found

    def _note(self, name: str, program: Executable, own: Any, shared: Any, times: int) -> None:
        """Note what a program, which is called so many times for its members, needs beside what is there anyway."""

        def new(arguments: Any) -> int:
            return size_of([leaf for leaf in jax.tree.leaves(arguments) if id(leaf) not in self._known])

        assert self._noted is not None
        # Some kinds of devices do not tell.
        told = program.compiled.memory_analysis()
        results = getattr(told, "output_size_in_bytes", size_of(program.like))
        temporary, reused = getattr(told, "temp_size_in_bytes", 0), getattr(told, "alias_size_in_bytes", 0)
        added = results - reused + new(own)
        if self.strategy == "separate":
            # What is given and the results of all members are there at once, and two copies while these are joined.
            added = times * (added + 2 * results)
        self._noted[name] = program.seconds, added + new(shared) + temporary

    def _like(self, leaf: Any, shape: tuple[int, ...]) -> Any:
        """The shape and type of an array on the device."""
        place = jax.sharding.SingleDeviceSharding(self.device)
        return jax.ShapeDtypeStruct(shape, leaf.dtype, sharding=place, weak_type=leaf.weak_type)


def _only_logs(cadence: Cadence) -> bool:
    """Whether there are events without evaluation."""
    return cadence.evaluate is None or (cadence.log is not None and cadence.log % cadence.evaluate > 0)


def _numbers(values: Sequence[Any]) -> Any:
    """One number of all members with a first axis, weakly typed where those of a run are; few are distinct."""
    if not isinstance(values[0], bool | int | float):
        return np.stack(values)
    distinct = {value: place for place, value in enumerate(dict.fromkeys(values))}
    return jnp.stack([jnp.asarray(value) for value in distinct])[np.asarray([distinct[value] for value in values])]
