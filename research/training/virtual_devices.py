"""A processor as several devices, one per core, over which the rows of a batch are spread where that is faster.

XLA computes a loop over time, and what is small, on one core. With the rows spread over devices that share the
processor each core has a part of them. Whether that is faster is measured, for the updates of one program, and kept
beside the compiled programs: a later run of the program on this machine does the same, and gives the same bits.
"""

from __future__ import annotations

import dataclasses
import datetime
from typing import TYPE_CHECKING, Any

import jax

from research.experiment import Parallel
from research.training import trials
from research.training.processor import posed

if TYPE_CHECKING:
    from research.training.setup import Setup

LEAST_UPDATE, LEAST_TRAINING = 2e8, 1e12
"""FLOPs of an update and of a training below which nothing is measured: some 2 ms and 10 s on a core."""

FOLDER = "virtual_devices"
"""Where choices are kept, beside the compiled programs."""


@dataclasses.dataclass(frozen=True)
class Choice:
    """Over how many devices the rows are spread, and what that rests on.

    Attributes:
        devices: how many; 1 spreads nothing.
        milliseconds: of an update over each number of devices that was tried; empty where none was.
        day: when; empty where nothing was measured.
        flops: of an update; 0 where they were not asked for.
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
        setup: as it was made; closed where another one takes its place.
        known: over how many a run began that is to go on; None for a new one.
        measured: whether anything may be measured, by updates that are thrown away; if not, the choice says what is
            open.
    """
    if not _is_open(setup):
        return setup
    if known is not None:
        return _spread(setup, Choice(known if known <= jax.device_count("cpu") else 1))
    most = _most(setup)
    tried = counts(setup.program.outline.batch_size, most)
    if trials.folder_of(FOLDER) is None or not tried:
        return dataclasses.replace(setup, choice=Choice(1))
    name = trials.name_of(setup, most)
    kept = _read(name)
    flops = trials.flops_of(setup) if kept is None else kept.flops
    # By its arithmetic, not by the clock, and whatever is kept: a short training must not change its bits because a
    # long one came before it.
    total = setup.cadence.total
    if flops < LEAST_UPDATE or total < trials.LEAST_UPDATES or flops * total < LEAST_TRAINING:
        return dataclasses.replace(setup, choice=Choice(1, flops=flops))
    if kept is None and not measured:
        return dataclasses.replace(setup, choice=Choice(1, flops=flops, open=tuple(tried)))
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
            found = trials.compared({best: setup, count: further})
        except BaseException:
            further.close()
            setup.close()
            raise
        took |= found
        if not found or took[count] * trials.ADVANTAGE > took[best]:
            further.close()
            break
        setup.close()
        setup, best = further, count
    if not took:
        return _spread(setup, Choice(1, flops=flops))
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


def _read(name: str) -> Choice | None:
    return _choice_of(trials.read_kept(FOLDER, name))


def _keep(name: str, choice: Choice) -> Choice:
    """Keep a choice, and return it, or the one that another process has kept in the meantime."""
    known = {key: value for key, value in dataclasses.asdict(choice).items() if key != "open"}
    kept = _choice_of(trials.keep(FOLDER, name, known, lambda there: _choice_of(there) is not None))
    assert kept is not None
    return kept


def _choice_of(found: Any) -> Choice | None:
    """As kept; None for what is absent or damaged, which is measured anew."""
    try:
        took = {int(count): float(value) for count, value in found["milliseconds"].items()}
        return Choice(int(found["devices"]), took, str(found["day"]), float(found["flops"]))
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
