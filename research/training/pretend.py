"""The preflight of a run on more devices than there are: compiled for virtual ones, with shapes in place of arrays."""

from __future__ import annotations

import dataclasses
import math

import jax
import numpy as np

from research.data.feed import Window
from research.data.streaming import StreamingFeed
from research.errors import UserError
from research.experiment import Execution, Experiment
from research.training.carry import Carry
from research.training.collectives import collectives
from research.training.preflight import Preflight, arithmetic, quantity
from research.training.setup import Setup, set_up

MOST = 4096
SHOWN = 12
"""Parameters that are named of those that lie apart, the largest first."""

GB = 1e9


def pretend_devices(count: int) -> None:
    """Let this process have so many virtual devices, and no others; to be called before JAX is used.

    Raises:
        UserError: for a number that is none, or where JAX has found its devices already.
    """
    if not 1 <= count <= MOST:
        raise UserError(f"--devices: a whole number from 1 to {MOST} is needed, {count} was given.")
    try:
        jax.config.update("jax_platforms", "cpu")
        jax.config.update("jax_num_cpu_devices", count)
    except RuntimeError:
        raise UserError("--devices: JAX has found its devices in this process already; use a new one.") from None


@dataclasses.dataclass(frozen=True)
class Spread:
    """Where an array of the state lies.

    Attributes:
        name: its path.
        shape: of the whole.
        parts: axis of the mesh along each of its axes, or an empty text.
        bytes: on each device.
    """

    name: str
    shape: tuple[int, ...]
    parts: tuple[str, ...]
    bytes: int

    def __str__(self) -> str:
        axes = [f"{size} by {part}" if part else f"{size}" for size, part in zip(self.shape, self.parts, strict=True)]
        return f"{self.name} [{', '.join(axes)}]"


def pretended_preflight(
    experiment: Experiment, *, seed: int, execution: Execution, devices: int, memory: float | None = None
) -> Preflight:
    """What each of so many devices would hold, compute and send; nothing is trained, no array is made.

    Programs are compiled for virtual devices of the processor. Parts and messages are those of accelerators; compilers
    of these may join messages, and working memory differs.

    Args:
        experiment: a checked experiment.
        seed: of the run.
        execution: how to run; ``parallel.data=-1`` takes as many devices as divide the batch.
        devices: how many, as `pretend_devices` made them.
        memory: of each device, in GB; None does not judge whether it is enough.

    Raises:
        UserError: for what cannot be shared out among them, or does not fit into their memory.
    """
    setup = set_up(experiment, seed, execution.replace(device="cpu"), pretended=True)
    program, layout = setup.program, setup.program.outline.layout
    carry, window = program.carry_like(), None if setup.feed is None else setup.feed.window_like()
    cost = program.compile(carry, window, setup.splits.get("validation"), setup.cadence.evaluate is not None)
    beginning = program.initialise_memory()["temporary"]
    arrays = spread_of(carry)
    held = {
        "parameters": _bytes(arrays, ".params."),
        "optimizer": _bytes(arrays, ".optimizer."),
        "state": sum(each.bytes for each in arrays),
        "data": 0 if window is None else _size(setup, window),
        "working": cost["temporary_bytes"],
    }
    total = held["state"] + held["data"] + max(held["working"], beginning)
    sent = collectives(program.text_of_advance(carry, window), devices)
    names = {"state": "state in all"}
    facts = _facts(setup, carry, cost, devices) | {
        "on each device": ", ".join(f"{quantity(size, 'B')} {names.get(name, name)}" for name, size in held.items()),
        "memory": f"{quantity(total, 'B')} on each device",
        "initialising": f"{quantity(beginning, 'B')} working",
    }
    for kind, each in sent.items():
        facts[kind] = f"{each.count:g} in an update, {quantity(each.bytes, 'B')} sent by each device"
    if not sent:
        facts["messages"] = "none in an update"
    notes = ["dry run: nothing is trained, no run is written; compiled for virtual devices of the processor"]
    notes += [] if layout is None else [*layout.unused(carry.state), *_listed(arrays)]
    if memory is not None and total > memory * GB:
        raise UserError(_too_large(total, memory, held, facts))
    summary = setup.prepared.summary() if setup.prepared is not None else None
    told = tuple(dataclasses.asdict(each) for each in arrays)
    return Preflight(summary, facts, (*(summary or {}).get("warnings", ()), *notes), told)


def spread_of(carry: Carry) -> list[Spread]:
    """Every array of a carry whose leaves say where they lie."""
    found = []
    for path, leaf in jax.tree_util.tree_leaves_with_path(carry):
        spec = getattr(leaf.sharding, "spec", ())
        parts = tuple("" if part is None else str(part) for part in (*spec, *[None] * (len(leaf.shape) - len(spec))))
        own = math.prod(leaf.sharding.shard_shape(leaf.shape)) * np.dtype(leaf.dtype).itemsize
        found.append(Spread(jax.tree_util.keystr(path, simple=True, separator="."), leaf.shape, parts, own))
    return found


def _facts(setup: Setup, carry: Carry, cost: dict[str, float], devices: int) -> dict[str, str]:
    layout, facts = setup.program.outline.layout, {}
    if setup.prepared is not None:
        facts["dataset"] = f"{setup.prepared.about.name}, fingerprint {setup.prepared.fingerprint}"
    facts["parameters"] = f"{sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(carry.state.params)):,}"
    facts["one update"] = f"{quantity(cost['flops_per_update'], 'FLOP')} in matrix products"
    facts["batches"] = arithmetic(setup)
    facts["devices"] = f"{1 if layout is None else len(layout.devices)} of {devices} pretended ones used"
    if layout is not None:
        facts["parallel"] = layout.described(setup.program.outline.batch_size, setup.execution.parallel.mode)
    return facts


def _listed(arrays: list[Spread]) -> list[str]:
    """Which parameters lie apart, the largest first."""
    parameters = sorted(
        (each for each in arrays if each.name.startswith("state.params.")), key=lambda each: -each.bytes
    )
    apart = [each for each in parameters if any(each.parts)]
    if not apart:
        return ["each device has all parameters"]
    shown = "; ".join(str(each).removeprefix("state.params.") for each in apart[:SHOWN])
    more = f"; and {len(apart) - SHOWN} more, all with --json" if len(apart) > SHOWN else ""
    whole = len(parameters) - len(apart)
    return [f"spread: {shown}{more}", *([f"whole on each device: {whole} smaller parameters"] if whole else [])]


def _too_large(total: float, memory: float, held: dict[str, float], facts: dict[str, str]) -> str:
    largest = max(("state", "data", "working"), key=lambda name: held[name])
    remedy = {
        "state": "Spread parameters and optimizer further (execution.parallel.fsdp), or take a smaller model.",
        "data": "Read the rows from disk (execution.feed=streaming).",
        "working": "Take a smaller batch_size, or more devices along execution.parallel.data.",
    }[largest]
    return (
        f"--device-memory: {memory:g} GB are too little; each device needs {quantity(total, 'B')}: "
        f"{facts['on each device']}. {remedy}"
    )


def _bytes(arrays: list[Spread], part: str) -> int:
    return sum(each.bytes for each in arrays if f".{each.name}".startswith(f".state{part}"))


def _size(setup: Setup, window: Window) -> int:
    """Bytes of rows on each device: of all splits, or of the two chunks of those from disk that are there at once."""
    if isinstance(setup.feed, StreamingFeed):
        return 2 * sum(
            math.prod(leaf.sharding.shard_shape(leaf.shape) if leaf.sharding is not None else leaf.shape)
            * np.dtype(leaf.dtype).itemsize
            for leaf in jax.tree.leaves(window.rows)
        )
    return sum(math.prod(leaf.shape) * np.dtype(leaf.dtype).itemsize for leaf in jax.tree.leaves(setup.splits))
