"""A processor as several devices, one per core, over which the rows of a batch are spread where that is faster.

XLA computes a loop over time, and what is small, on one core. With the rows spread over devices that share the
processor each core has a part of them. Whether that is faster is measured, for the updates of one program, and kept
beside the compiled programs: a later run of the program on this machine does the same, and gives the same bits.
"""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax

from research.allocator import allocator
from research.errors import RunError
from research.experiment import Parallel
from research.training.code import code_hash
from research.training.processor import posed
from research.training.run_directory import write_json

if TYPE_CHECKING:
    from research.training.setup import Setup

LEAST_UPDATE, LEAST_TRAINING = 2e8, 1e12
"""FLOPs of an update and of a training below which nothing is measured: some 2 ms and 10 s on a core."""

ADVANTAGE = 1.05
"""How many times faster more devices must be to be taken."""

MEASURED_SECONDS = 0.25
ROUNDS = 3


@dataclasses.dataclass(frozen=True)
class Choice:
    """Over how many devices the rows are spread, and what that rests on.

    Attributes:
        devices: how many; 1 spreads nothing.
        milliseconds: of an update over each number of devices that was tried; empty where none was.
        day: when; empty where nothing was measured.
        flops: of an update; 0 where nothing was measured.
        open: what a run would first try, where this is not to be measured yet.
    """

    devices: int
    milliseconds: dict[int, float] = dataclasses.field(default_factory=dict)
    day: str = ""
    flops: float = 0.0
    open: tuple[int, ...] = ()

    def __str__(self) -> str:
        if self.open:
            return f"rows over 1 or {' or '.join(map(str, self.open))} of its cores: measured when the run begins"
        if not self.milliseconds:
            return f"rows over {self.devices} of its cores, as this run began" if self.devices > 1 else ""
        parts = [f"{took:.3g} ms over {count}" for count, took in self.milliseconds.items()]
        where = f"over {self.devices} of its cores" if self.devices > 1 else "in one program"
        return f"rows {where}; an update took {', '.join(parts)} ({self.day})"


def over_fastest(setup: Setup, known: int | None = None, measured: bool = True) -> Setup:
    """The setup over as many virtual devices as train fastest here, where the user has left that open.

    Args:
        setup: as it was made; closed where another one takes its place, and where measuring fails.
        known: over how many a run began that is to go on; None for a new one.
        measured: whether anything may be measured, by updates that are thrown away; if not, the choice says what is
            open.
    """
    if not _is_open(setup):
        return setup
    most = _most(setup)
    if known is not None and known <= most:
        return _spread(setup, Choice(known))
    name, tried = _name(setup, most), counts(setup.program.outline.batch_size, most)
    if name is None or not tried:
        return dataclasses.replace(setup, choice=Choice(1))
    kept = _read(name)
    flops = _flops(setup) if kept is None else kept.flops
    # By its arithmetic, not by the clock, and whatever is kept: a short training must not change its bits because a
    # long one came before it.
    if flops < LEAST_UPDATE or flops * setup.cadence.total < LEAST_TRAINING:
        return dataclasses.replace(setup, choice=Choice(1))
    if kept is None and not measured:
        return dataclasses.replace(setup, choice=Choice(1, open=tuple(tried)))
    return _measured(setup, tried, name, flops) if kept is None else _spread(setup, kept)


def _is_open(setup: Setup) -> bool:
    alone = posed(setup.device.platform) and jax.process_count() == 1
    return alone and setup.reading is not None and setup.execution.parallel == Parallel()


def _most(setup: Setup) -> int:
    """Devices that may be tried: each holds resident rows anew, and all of them in one memory."""
    held = {id(leaf): leaf.nbytes for split in setup.splits.values() for leaf in _arrays(split)}
    fitting = setup.execution.resident_mib * 2**20 // max(sum(held.values()), 1)
    return min(jax.device_count("cpu"), max(fitting, 1))


def _arrays(split: Any) -> list[jax.Array]:
    """Of a resident split; none of a streamed one."""
    return [leaf for leaf in jax.tree.leaves(split) if isinstance(leaf, jax.Array)]


def _measured(setup: Setup, tried: list[int], name: str, flops: float) -> Setup:
    """The setup over the number of devices that a measurement finds to be fastest, which is kept."""
    took: dict[int, float] = {}
    best = 1
    for count in tried:
        further = setup.over(Choice(count))
        try:
            found = _compared({best: setup, count: further})
        except BaseException:
            further.close()
            setup.close()
            raise
        took |= found
        if not found or took[count] * ADVANTAGE > took[best]:
            further.close()
            break
        setup.close()
        setup, best = further, count
    if not took:
        return _spread(setup, Choice(1))
    choice = _keep(name, Choice(best, took, datetime.date.today().isoformat(), flops))
    return dataclasses.replace(setup, choice=choice) if choice.devices == best else _spread(setup, choice)


def _spread(setup: Setup, choice: Choice) -> Setup:
    if choice.devices == setup.programs:
        return dataclasses.replace(setup, choice=choice)
    setup.close()
    return setup.over(choice)


def counts(batch_size: int, most: int) -> list[int]:
    """Numbers of devices that are tried, each at least twice the one before: divisors of the batch."""
    found = [1]
    for count in range(2, most + 1):
        if batch_size % count == 0 and count >= 2 * found[-1]:
            found.append(count)
    return found[1:]


def _name(setup: Setup, most: int) -> str | None:
    """Of a program: hash of what its speed on this machine depends on; None where there is no folder to keep it in."""
    if _folder() is None:
        return None
    program, execution = setup.program, setup.execution
    shapes = [str(jax.typeof(leaf)) for leaf in jax.tree.leaves(program.example)]
    # Of the outline all but the layout, which is what is chosen.
    outline = dataclasses.replace(program.outline, layout=None), setup.streamed
    structure = jax.tree.structure(program.spec)
    told = jax.__version__, os.environ.get("XLA_FLAGS", ""), allocator(), code_hash(setup.experiment)[0]
    parts = structure, shapes, outline, most, execution.resident_mib, *told
    return hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()[:24]


def _flops(setup: Setup) -> float:
    """Of an update."""
    assert setup.feed is not None
    carry = setup.program.initialise()
    return setup.program.compile(carry, setup.feed.window(0), None, False)["flops_per_update"]


def _compared(setups: dict[int, Setup]) -> dict[int, float]:
    """Milliseconds of an update over so many devices each, in turns; empty where that cannot be said."""
    try:
        trials = {count: _Trial(setup) for count, setup in setups.items()}
        rounds = [{count: trial.milliseconds() for count, trial in trials.items()} for _ in range(ROUNDS)]
    except jax.errors.JaxRuntimeError:  # such as too little memory for both
        return {}
    if not all(trial.whole for trial in trials.values()):
        return {}
    return {count: round(min(each[count] for each in rounds), 3) for count in trials}


class _Trial:
    """The first updates of a setup, again and again.

    Attributes:
        whole: whether all of them were made: training stops where a loss is not finite, and then takes no time.
    """

    def __init__(self, setup: Setup) -> None:
        assert setup.feed is not None
        self.program, self.window = setup.program, setup.feed.window(0)
        self.updates, self.whole = 1, True
        self.milliseconds()  # compiles
        took = self.milliseconds() / 1e3
        self.updates = max(1, min(int(MEASURED_SECONDS / took), self.window.left))

    def milliseconds(self) -> float:
        """Of one update."""
        carry = jax.block_until_ready(self.program.initialise())
        began = time.perf_counter()
        carry = jax.block_until_ready(self.program.advance(carry, self.window, self.updates))
        took = time.perf_counter() - began
        self.whole &= int(carry.step) == self.updates
        return 1e3 * took / self.updates


def _folder() -> Path | None:
    """Where choices are kept: beside the compiled programs, where those are."""
    cache = jax.config.values["jax_compilation_cache_dir"]
    return None if cache is None else Path(cache) / "virtual_devices"


def _read(name: str) -> Choice | None:
    folder = _folder()
    if folder is None:
        return None
    try:
        found = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        took = {int(count): float(value) for count, value in found["milliseconds"].items()}
        return Choice(int(found["devices"]), took, str(found["day"]), float(found["flops"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None  # Absent, or damaged: it is measured anew.


def _keep(name: str, choice: Choice) -> Choice:
    """Keep a choice, and return it, or the one that another process has kept in the meantime."""
    folder = _folder()
    assert folder is not None
    file, own = folder / f"{name}.json", folder / f"{name}-{os.getpid()}"
    known = {key: value for key, value in dataclasses.asdict(choice).items() if key != "open"}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(own, known)
        try:
            os.link(own, file)  # which fails where there is one, so that all take the first
        except OSError:
            if (first := _read(name)) is not None:
                return first
            os.replace(own, file)
        finally:
            own.unlink(missing_ok=True)
    except (OSError, RunError):
        return choice
    return choice
