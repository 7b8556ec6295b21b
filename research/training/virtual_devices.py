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
import time
from pathlib import Path
from typing import TYPE_CHECKING

import jax

from research.errors import RunError
from research.experiment import Parallel
from research.training.code import code_hash
from research.training.processor import cores, posed
from research.training.run_directory import write_json

if TYPE_CHECKING:
    from research.training.setup import Setup

LEAST_UPDATE, LEAST_TRAINING = 2e8, 1e12
"""FLOPs of an update and of a training below which nothing is measured: some 2 ms and 10 s on a core."""

ADVANTAGE = 1.1
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
    """

    devices: int
    milliseconds: dict[int, float] = dataclasses.field(default_factory=dict)
    day: str = ""

    def __str__(self) -> str:
        if not self.milliseconds:
            return f"rows over {self.devices} of its cores, as this run began" if self.devices > 1 else ""
        parts = [f"{took:.3g} ms over {count}" for count, took in self.milliseconds.items()]
        where = f"over {self.devices} of its cores" if self.devices > 1 else "in one program"
        return f"rows {where}; an update took {', '.join(parts)} ({self.day})"


def over_fastest(setup: Setup, known: int | None = None) -> Setup:
    """The setup over as many virtual devices as train fastest here, where the user has left that open.

    Args:
        setup: as it was made; its feed is closed where another one takes its place.
        known: over how many a run began that is to go on; None for a new one.
    """
    if not _is_open(setup):
        return setup
    most = jax.device_count("cpu")
    if known is not None and known <= most:
        return _spread(setup, Choice(known))
    name = _name(setup)
    kept = None if name is None else _read(name)
    if kept is not None and kept.devices <= most:
        return _spread(setup, kept)
    if name is None or not _is_worth_measuring(setup):
        return dataclasses.replace(setup, choice=Choice(1))
    assert setup.reading is not None
    took: dict[int, float] = {}
    best = 1
    for count in counts(setup.reading.batch_size, most):
        further = setup.over(Choice(count))
        took |= _compared({best: setup, count: further})
        if took[count] * ADVANTAGE > took[best]:
            _close(further)
            break
        _close(setup)
        setup, best = further, count
    choice = Choice(best, took, datetime.date.today().isoformat())
    _write(name, choice)
    return dataclasses.replace(setup, choice=choice)


def _is_open(setup: Setup) -> bool:
    alone = posed(setup.device.platform) and jax.process_count() == 1
    return alone and setup.reading is not None and setup.execution.parallel == Parallel()


def _spread(setup: Setup, choice: Choice) -> Setup:
    if choice.devices == 1:
        return dataclasses.replace(setup, choice=choice)
    _close(setup)
    return setup.over(choice)


def _close(setup: Setup) -> None:
    """The feed of a setup whose place another one takes."""
    assert setup.feed is not None
    setup.feed.close()


def counts(batch_size: int, most: int) -> list[int]:
    """Numbers of devices that are tried, each at least twice the one before: divisors of the batch."""
    found = [1]
    for count in range(2, most + 1):
        if batch_size % count == 0 and count >= 2 * found[-1]:
            found.append(count)
    return found[1:]


def _name(setup: Setup) -> str | None:
    """Of a program: hash of what its speed on this machine depends on; None where there is no folder to keep it in."""
    if _folder() is None:
        return None
    program, execution = setup.program, setup.execution
    shapes = [str(jax.typeof(leaf)) for leaf in jax.tree.leaves(program.example)]
    outline = program.outline, execution.feed
    structure = jax.tree.structure(program.spec)
    parts = structure, shapes, outline, cores(), jax.__version__, code_hash(setup.experiment)[0]
    return hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()[:24]


def _is_worth_measuring(setup: Setup) -> bool:
    """By its arithmetic, not by the clock: whether anything is measured must not change from one run to the next."""
    assert setup.feed is not None
    carry = setup.program.initialise()
    flops = setup.program.compile(carry, setup.feed.window(0), None, False)["flops_per_update"]
    return flops >= LEAST_UPDATE and flops * setup.cadence.total >= LEAST_TRAINING


def _compared(setups: dict[int, Setup]) -> dict[int, float]:
    """Milliseconds of an update over so many devices each, in turns."""
    trials = {count: _Trial(setup) for count, setup in setups.items()}
    rounds = [{count: trial.milliseconds() for count, trial in trials.items()} for _ in range(ROUNDS)]
    return {count: round(min(each[count] for each in rounds), 3) for count in trials}


class _Trial:
    """Some updates of a setup, again and again."""

    def __init__(self, setup: Setup) -> None:
        assert setup.feed is not None
        self.program, self.window = setup.program, setup.feed.window(0)
        self.carry, self.updates = self.program.initialise(), 1
        self._advance()  # compiles
        took = self._advance()
        self.updates = max(1, min(int(MEASURED_SECONDS / took), self.window.left))

    def milliseconds(self) -> float:
        """Of one update."""
        return 1e3 * self._advance() / self.updates

    def _advance(self) -> float:
        jax.block_until_ready(self.carry)
        began = time.perf_counter()
        self.carry = jax.block_until_ready(self.program.advance(self.carry, self.window, self.updates))
        return time.perf_counter() - began


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
        return Choice(int(found["devices"]), took, str(found["day"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None  # Absent, or damaged: it is measured anew.


def _write(name: str, choice: Choice) -> None:
    folder = _folder()
    assert folder is not None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / f"{name}.json", dataclasses.asdict(choice))
    except (OSError, RunError):
        return
