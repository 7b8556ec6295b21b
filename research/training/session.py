"""One stretch of training: from the newest checkpoint, or the beginning, to the end or an interruption."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable
from typing import Any

from rich.console import Console

from research.processes import current
from research.trained_model import restore
from research.training.carry import Carry
from research.training.checkpoint import Checkpoints
from research.training.loop import train
from research.training.metrics_log import MetricsLog, NoLog
from research.training.pace_log import PaceLog
from research.training.preflight import preflight
from research.training.profiling import Throughput, Trace, memory_in_use
from research.training.progress import ProgressDisplay, waiting
from research.training.run_directory import RunDirectory
from research.training.setup import Setup
from research.training.together import telling


def train_on(
    setup: Setup,
    directory: RunDirectory,
    now: dict[str, Any],
    notes: tuple[str, ...],
    name: str,
    console: Console | None,
) -> tuple[Carry, Throughput]:
    """The carry after training, and how fast that was; shows the card before and the progress meanwhile.

    Args:
        setup: of the run.
        directory: open on process 0.
        now: as `research.training.provenance.environment` says.
        notes: for the card.
        name: of the run.
        console: None shows nothing.

    Raises:
        UserError, RunError: as `research.training.loop.train`, and for checkpoints that cannot be read.
    """
    carry = restore(setup, directory)
    if setup.execution.profile is not None and int(carry.step) >= setup.execution.profile[1]:
        notes = (*notes, "no trace is written: the updates that execution.profile names are made already")
    with waiting(console, "compiling the training ..."):
        facts = preflight(setup, carry, directory.path, notes)
    if console is not None:
        console.print(facts.card(name))
    step, leads = int(carry.step), current().leads
    if leads:
        directory.record_environment(now, step)
    with contextlib.ExitStack() as stack:
        last = stack.enter_context(contextlib.closing(Checkpoints(directory.last)))
        best = stack.enter_context(contextlib.closing(Checkpoints(directory.best)))
        tensorboard = directory.tensorboard if setup.execution.tensorboard else None
        log = MetricsLog(directory.metrics, step, tensorboard) if leads else NoLog()
        stack.enter_context(contextlib.closing(log))
        display = None
        if console is not None:
            display = ProgressDisplay(console, setup.cadence.total, step, setup.examples_per_update)
            stack.enter_context(contextlib.closing(display))
        # Processes of one machine would write traces over each other.
        trace = Trace(setup.execution.profile if leads else None, directory.profile)
        stack.enter_context(telling(current()))
        waited, began = _waited(setup), time.perf_counter()
        carry = train(
            setup.program,
            carry,
            setup.feed,
            setup.splits.get("validation"),
            setup.cadence,
            setup.execution,
            log,
            last,
            best,
            _listener(setup, directory, step, leads, display),
            stack.enter_context(contextlib.closing(trace)),
        )
        seconds = time.perf_counter() - began
        return carry, _throughput(setup, int(carry.step) - step, seconds, (_waited(setup) - waited) / seconds)


def _listener(
    setup: Setup, directory: RunDirectory, step: int, leads: bool, display: ProgressDisplay | None
) -> Callable[[dict[str, Any]], None]:
    """What is told of each record of the log: the pace and, where there is one, the display."""
    told: list[Callable[[dict[str, Any]], None]] = [display] if display is not None else []
    if leads:
        told.append(PaceLog(directory.pace, step, functools.partial(_throughput, setup), lambda: _waited(setup)))

    def tell(record: dict[str, Any]) -> None:
        for each in told:
            each(record)

    return tell


def _throughput(setup: Setup, updates: int, seconds: float, waited: float) -> Throughput:
    layout = setup.program.outline.layout
    devices = [setup.device] if layout is None else layout.devices
    return Throughput(
        updates,
        seconds,
        setup.examples_per_update,
        setup.program.flops_per_update,
        waited,
        len(devices),
        setup.device.device_kind,
        setup.experiment.precision.compute,
        memory_in_use([device for device in devices if device.process_index == setup.device.process_index]),
    )


def _waited(setup: Setup) -> float:
    return setup.feed.waited if setup.feed is not None else 0.0
