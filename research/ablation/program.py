"""The compiled programs of a group: those of one run, for each of its members.

Three ways to go through the members, in one program or many:

- ``map``: one after the other, inside one program; equal to the bit to runs of their own.
- ``vmap``: all at once; each sum may be taken in another order, so members are equal to runs of their own for some
  hundred updates only, and in distribution.
- ``separate``: one after the other, each by the program of a run of its own; equal to the bit.

Under ``map`` and ``vmap`` the members may be shared out over several devices (``replicas``).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from research import keys
from research.ablation.groups import Ready
from research.data.batch import Batch
from research.data.resident import fold_room, put
from research.training import steps
from research.training.carry import Carry
from research.training.setup import first_row
from research.training.steps import Outline, Run

Strategy = Literal["map", "vmap", "separate"]
EXACT = ("map", "separate")
"""Ways that give the bits of runs of their own."""

AXIS = "replica"

_EXECUTABLES: dict[Any, Any] = {}


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


class GroupProgram:
    """The programs of some members of one group, as `research.training.program.Program` has them for one run.

    What belongs to the members has a first axis of members; it is filled up with copies of the last one, which have
    stopped, where the devices would have different numbers of them.

    Args:
        members: members of one group, with their data prepared.
        outline: that of the group.
        way: how they are gone through.
        devices: where to run; the first ``way.replicas`` are used.
    """

    def __init__(self, members: Sequence[Ready], outline: Outline, way: Way, devices: Sequence[Any]) -> None:
        self.members, self.outline, self.way = tuple(members), outline, way
        self.count = len(members)
        self.mesh = Mesh(np.asarray(devices[: way.replicas]), (AXIS,)) if way.replicas > 1 else None
        self.device = devices[0]
        filling = [members[-1]] * (-self.count % way.replicas)
        everyone = [*members, *filling]
        data = {id(ready.prepared): ready.prepared for ready in members if ready.prepared is not None}
        orders = {ready.order: number for number, ready in enumerate({r.order: r for r in members}.values())}
        places = {key: number for number, key in enumerate(data)}
        self.orders = [next(r.reading for r in members if r.order == order) for order in orders]
        specs = [jax.tree.map(jnp.asarray, steps.traced_part(ready.fitted)) for ready in everyone]
        runs = [Run(jnp.uint32(ready.member.seed), jnp.int32(ready.total_updates)) for ready in everyone]
        self.spec, self.run = self._of_members(_stacked(specs)), self._of_members(_stacked(runs))
        self.data = self._of_members(jnp.asarray([places.get(id(r.prepared), 0) for r in everyone], jnp.int32))
        self.order = self._of_members(jnp.asarray([orders[ready.order] for ready in everyone], jnp.int32))
        self.splits = {
            name: self._of_all(_one_or_stacked([_rows(p, name) for p in data.values()]))
            for name in (next(iter(data.values())).splits if data else ())
        }
        examples = [put(first_row(p.splits["train"]), p.task) for p in data.values()]
        self.example = self._of_all(_one_or_stacked(examples)) if data else None
        self._several = len(data) > 1
        self._window: tuple[int, Any] = (-1, None)

    # The programs ---------------------------------------------------------------------------------------------------

    def initialise(self) -> Carry:
        """The carries before the first update; of what only fills up, stopped ones."""

        def one(spec: Any, run: Any, data: Any, example: Any) -> Carry:
            return steps.initialise(self.outline, spec, run, self._own(example, data))

        carry = self._call("initialise", one, (self.spec, self.run, self.data), (self.example,))
        filling = jnp.arange(len(carry.stopped)) >= self.count
        return dataclasses.replace(carry, stopped=self._of_members(carry.stopped | filling))

    def carry_like(self) -> Carry:
        """Shapes and types of the carries, as what a checkpoint is restored into; compiles nothing."""

        def one(spec: Any, run: Any, data: Any, example: Any) -> Carry:
            return steps.initialise(self.outline, spec, run, self._own(example, data))

        everyone = jax.vmap(one, in_axes=(0, 0, 0, None))
        return jax.eval_shape(everyone, self.spec, self.run, self.data, self.example)

    @property
    def placement(self) -> Any:
        """Where what belongs to the members lies: a device, or a sharding."""
        return self.device if self.mesh is None else NamedSharding(self.mesh, PartitionSpec(AXIS))

    def advance(self, carry: Carry, window: Any, offset: int, count: int) -> Carry:
        """The carries after up to ``count`` more updates, from ``offset`` in the window on; donates ``carry``."""

        def one(spec: Any, carry: Any, run: Any, data: Any, order: Any, train: Any, window: Any, *numbers: Any) -> Any:
            rows = None if window is None else (window[0][order], window[1][order])
            return steps.advance(self.outline, spec, carry, run, self._own(train, data), rows, *numbers)

        members = (self.spec, carry, self.run, self.data, self.order)
        shared = (self.splits.get("train"), window, np.int32(offset), np.int32(count))
        return self._call("advance", one, members, shared, donate=1)

    def record(self, carry: Carry, assess: bool) -> tuple[Carry, dict[str, Any]]:
        """An event, as `research.training.program.Program.record`; the records have an axis of members."""
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
        """The states that are evaluated."""

        def one(spec: Any, carry: Any) -> Any:
            return steps.deploy(self.outline, spec, carry)

        return self._call("deploy", one, (self.spec, carry), ())

    def predict(self, state: Any, split: str) -> dict[str, Any]:
        """Rows of deployed states over a whole split, ``[members, N, ...]``."""
        return self._rows(state, split, "predict", jnp.zeros_like(self.data))

    def _rows(self, state: Any, split: str, purpose: str, step: Any) -> dict[str, Any]:
        def one(spec: Any, state: Any, run: Any, data: Any, step: Any, rows: Any, purpose: Any) -> Any:
            return steps.evaluate(self.outline, spec, state, run, self._own(rows, data), purpose, step)

        members = (self.spec, state, self.run, self.data, step)
        rows = self.splits.get(split)
        return self._call(f"rows of {split}", one, members, (rows, np.uint32(keys.number(purpose))))

    # The data -------------------------------------------------------------------------------------------------------

    def window(self, step: int, length: int) -> tuple[Any, int, int]:
        """Rows of the updates from ``step`` on, by order; where in them that is, and how many are left.

        Args:
            step: updates made so far.
            length: updates that a window holds.
        """
        if not self.orders or self.orders[0] is None:
            return None, 0, length
        start = step - step % length
        if self._window[0] != start:
            found = [reading.rows(start, length) for reading in self.orders]
            self._window = start, self._of_all(tuple(np.stack(parts) for parts in zip(*found, strict=True)))
        return self._window[1], step - start, length - (step - start)

    def _own(self, rows: Batch | None, data: Any) -> Batch | None:
        """A member's own rows of what is stacked where the members' data differ."""
        return jax.tree.map(lambda array: array[data], rows) if self._several else rows

    # Going through the members --------------------------------------------------------------------------------------

    def _of_members(self, value: Any) -> Any:
        return jax.device_put(value, self.placement)

    def _of_all(self, value: Any) -> Any:
        return jax.device_put(value, self.device if self.mesh is None else NamedSharding(self.mesh, PartitionSpec()))

    def _call(
        self, name: str, one: Callable[..., Any], members: tuple[Any, ...], shared: tuple[Any, ...], donate: int = -1
    ) -> Any:
        """``one(*member, *shared)`` of each member; the member argument ``donate`` is given away."""
        if self.way.strategy == "separate":
            each = [_member(members, number) for number in range(len(self.data))]
            compiled = self._executable(name, one, each[0], shared, donate)
            return _stacked([compiled(*member, *shared) for member in each])

        def all_of(*arguments: Any) -> Any:
            own, rest = arguments[: len(members)], arguments[len(members) :]
            if self.way.strategy == "vmap":
                return jax.vmap(lambda *member: one(*member, *rest))(*own)
            return lax.map(lambda member: one(*member, *rest), own)

        return self._executable(name, all_of, members, shared, donate)(*members, *shared)

    def _executable(
        self, name: str, function: Callable[..., Any], members: tuple[Any, ...], shared: tuple[Any, ...], donate: int
    ) -> Any:
        leaves, structure = jax.tree.flatten((members, shared))
        devices = self.device if self.mesh is None else self.mesh
        key = (name, self.outline, self.way, self._several, structure, tuple(map(jax.typeof, leaves)), devices)
        if key not in _EXECUTABLES:
            if self.mesh is not None and self.way.strategy != "separate":
                places = (PartitionSpec(AXIS),) * len(members) + (PartitionSpec(),) * len(shared)
                function = jax.shard_map(
                    function, mesh=self.mesh, in_specs=places, out_specs=PartitionSpec(AXIS), check_vma=False
                )
            given = () if donate < 0 else (donate,)
            _EXECUTABLES[key] = jax.jit(function, donate_argnums=given).lower(*members, *shared).compile()
        return _EXECUTABLES[key]


def compiled_programs() -> int:
    """How many programs of groups this process has compiled."""
    return len(_EXECUTABLES)


def _rows(prepared: Any, split: str) -> Batch:
    examples = prepared.splits[split]
    room = fold_room(len(examples)) if prepared.data.split.folds is not None else 0
    return put(examples, prepared.task, None, room)


def _member(values: Any, number: int) -> Any:
    return jax.tree.map(lambda array: array[number], values)


def _stacked(values: Sequence[Any]) -> Any:
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *values)


def _one_or_stacked(values: Sequence[Any]) -> Any:
    """The only value, or all with a first axis."""
    return values[0] if len(values) == 1 else _stacked(values)
