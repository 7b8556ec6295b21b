"""The loop: one file that reads from top to bottom. It knows no model, no algorithm and no dataset by name."""

from __future__ import annotations

import dataclasses
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp

from research.data.feed import Feed
from research.errors import REQUEUE, RunError
from research.experiment import Execution
from research.processes import current
from research.training.carry import Carry
from research.training.checkpoint import Checkpoints
from research.training.metrics_log import MetricsLog, NoLog
from research.training.profiling import Trace
from research.training.program import Program
from research.training.steps import Split
from research.training.tripwire import Tripwire

DISPATCH_SECONDS, LONGEST_DISPATCH = 2.0, 8.0
"""Seconds of a dispatch, for an interruption waits for what is queued, and at most where the system clears the working
memory of a large program at each (see `research.allocator`)."""

SHARE_OF_CLEARING = 0.015
"""Share of the time that this is to take, as far as dispatches may be long enough."""

FIRST_DISPATCH, GROWTH = 1, 16
"""Updates of the first dispatches, when nobody knows how long one takes, and how many times as many a dispatch has at
most as the one before."""

Listener = Callable[[dict[str, Any]], None]
"""Called with every record of the log, on the host, for progress displays."""


class Interrupted(RunError):
    """The run was asked to stop; its checkpoint is saved and the same command resumes it (exit code 75)."""

    exit_code = REQUEUE


@dataclasses.dataclass(frozen=True)
class Cadence:
    """After which updates something happens; all in absolute steps, so that a resumed run keeps them.

    Attributes:
        total: updates of the whole run.
        evaluate: updates between evaluations on validation; None where there is nothing to evaluate.
        log: updates between lines of the log; None for evaluations only.
        checkpoint: updates between checkpoints; None for the clock only.
        per_epoch: updates per pass over train; None without data.
    """

    total: int
    evaluate: int | None
    log: int | None
    checkpoint: int | None
    per_epoch: int | None

    def next_event(self, step: int) -> int:
        """The first step after ``step`` at which anything happens."""
        periods = [period for period in (self.evaluate, self.log, self.checkpoint) if period]
        return min([self.total, *(step - step % period + period for period in periods)])

    def evaluates(self, step: int) -> bool:
        """Whether validation is evaluated after this step: at its cadence and at the end."""
        return self.evaluate is not None and (step % self.evaluate == 0 or step == self.total)

    def logs(self, step: int) -> bool:
        """Whether a line is written after this step."""
        return step == self.total or self.evaluates(step) or (self.log is not None and step % self.log == 0)


def train(
    program: Program,
    carry: Carry,
    feed: Feed | None,
    validation: Split | None,
    cadence: Cadence,
    execution: Execution,
    log: MetricsLog | NoLog,
    last: Checkpoints,
    best: Checkpoints,
    listener: Listener,
    trace: Trace | None = None,
) -> Carry:
    """Run updates until the end, early stopping or a failure; returns the final carry, already saved.

    The device is kept busy, but for the moment between two long dispatches (see `Pace`): the records of an event are
    read by the host only after the next chunk of updates has been dispatched. Stopping early and failing are decided on
    the device, where later updates then change nothing.

    Raises:
        RunError: for a loss that is not finite, or a checkpoint that cannot be written.
        Interrupted: after SIGTERM or SIGINT, once the state is saved.
    """
    if bool(carry.stopped):
        return carry
    step = int(carry.step)
    rows = None
    pending: list[tuple[int, dict[str, Any]]] = []
    pace = Pace(program.clearing_seconds)
    group = current()
    saved_at = time.monotonic()
    tripwire = Tripwire.armed()

    with interruptions() as interrupted:
        while step < cadence.total:
            # ---- updates: one dispatch, as long as nothing happens on the host
            stop = cadence.next_event(step)
            if tripwire is not None and tripwire.moment == "update" and step < tripwire.step:
                stop = min(stop, tripwire.step)
            if trace is not None:
                trace.at(step, carry)
                stop = trace.next_bound(step, stop)
            window = None
            if feed is not None:
                window = feed.window(step)
                stop = min(stop, step + window.left)
            count = group.decide({"updates": min(stop - step, pace.updates)})["updates"]
            if window is not None and window.rows is not rows:
                # Rows that came from disk: those of earlier programs are let go before a further one is queued.
                jax.block_until_ready(carry.step)
                rows = window.rows
            carry = program.advance(carry, window, count)
            step += count

            # ---- an event: mean scalars and validation metrics, computed on the device
            if cadence.logs(step):
                carry, record = program.record(carry, validation, cadence.evaluates(step))
                pending.append((step, record))

            # ---- the host reads what earlier events computed, while the device works on
            ended = _read(pending, 1, cadence, log, listener)
            pace.measure(carry, step, count)
            for kept in (last, best):
                kept.check()
            if tripwire is not None:
                tripwire.reached("update", step, interrupted)

            # ---- checkpoint: by the clock, by steps, at the end and on interruption
            due = cadence.checkpoint is not None and step % cadence.checkpoint == 0
            late = time.monotonic() - saved_at > 60 * execution.checkpoint_minutes
            asked = interrupted()
            decided = group.decide({"save": late, "stop": asked or group.wished()}, wish=asked)
            due, stopping = due or decided["save"], decided["stop"]
            if ended or stopping or due or step == cadence.total:
                ended = _read(pending, 0, cadence, log, listener) or ended
                _save(carry, last, best, tripwire)
                saved_at = time.monotonic()
            if ended:
                break
            if stopping and step < cadence.total:
                last.wait()
                raise Interrupted(
                    f"Interrupted after update {step} of {cadence.total}; the checkpoint is saved. "
                    f"Run the same command again to continue from there."
                )
        if trace is not None:
            trace.close(carry)
        last.wait()
        best.wait()
    return carry


def _read(
    pending: list[tuple[int, dict[str, Any]]], keep: int, cadence: Cadence, log: MetricsLog | NoLog, listener: Listener
) -> bool:
    """Write pending records, oldest first, all but ``keep`` of them; True once training has stopped early."""
    while len(pending) > keep:
        _, arrays = pending.pop(0)
        values = jax.device_get(arrays)
        stopped, failed = bool(values.pop("stopped")), int(values.pop("failed_step"))
        _check_loss(failed)
        step, updates = int(values.pop("step")), int(values.pop("updates"))
        if updates:
            record: dict[str, Any] = {"step": step}
            if cadence.per_epoch:
                record["epoch"] = step / cadence.per_epoch
            record |= {name: float(value) for name, value in values.items()}
            log.write(record)
            listener(record)
        if stopped:
            pending.clear()
            return True
    return False


def _check_loss(failed: int) -> None:
    if failed >= 0:
        raise RunError(
            f"The loss of update {failed} is not finite. The run has stopped there; the last good checkpoint is kept. "
            f"Try a smaller learning rate, optimizer.clip_norm=1, or look for extreme values in the data."
        )


def _save(carry: Carry, last: Checkpoints, best: Checkpoints, tripwire: Tripwire | None) -> None:
    _check_loss(int(carry.failed_step))
    step = int(carry.step)
    if step == last.latest():
        return
    if not bool(_finite(carry.state.params)):
        raise RunError(
            f"After update {step} some parameters are not finite, so this state is not saved; the last good "
            f"checkpoint is kept. Try a smaller learning rate or optimizer.clip_norm=1."
        )
    if carry.best is not None and math.isfinite(float(carry.best.metric)):
        best.save(int(carry.best.step), carry.best.state)
    last.save(step, carry)
    if tripwire is not None:
        tripwire.reached("save", step)


@jax.jit
def _finite(params: Any) -> Any:
    checks = [jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(params) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    return jnp.stack(checks).all() if checks else jnp.bool_(True)


class Pace:
    """How many updates fit into one dispatch, so that signals and the display are never kept waiting for long.

    It waits for the device in order to measure, a few times at the start and then whenever the next updates, if they
    are as many as the last, would make those that are queued more than two dispatches have; or one, where dispatches
    are longer, of programs beside which the moment in which the device then waits for the host is nothing.

    Attributes:
        updates: of a dispatch at most.
        seconds: that they are to take.
    """

    def __init__(self, clearing: float = 0.0) -> None:
        """``clearing``: seconds of each dispatch in which the system clears memory."""
        self.updates = FIRST_DISPATCH
        self.seconds = min(LONGEST_DISPATCH, max(DISPATCH_SECONDS, clearing / SHARE_OF_CLEARING))
        self._queued = 2 if self.seconds == DISPATCH_SECONDS else 1
        self._measured, self._time, self._step = 0, 0.0, 0

    def measure(self, carry: Carry, step: int, count: int) -> None:
        """Wait for the device where it is time to.

        Args:
            carry: the state after all updates that were queued.
            step: the number of the last of them.
            count: how many were queued last.
        """
        if self._measured > 3 and step - self._step + count <= self._queued * self.updates:
            return
        jax.block_until_ready(carry.step)
        now = time.monotonic()
        if self._measured and step > self._step:
            fitting = self.seconds * (step - self._step) / max(now - self._time, 1e-6)
            self.updates = max(1, min(int(fitting), GROWTH * self.updates))
        self._measured, self._time, self._step = self._measured + 1, now, step


@contextmanager
def interruptions() -> Iterator[Callable[[], bool]]:
    """SIGTERM and SIGINT are remembered and answered at the next safe moment; a second SIGINT is immediate."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set
        return

    def remember(number: int, frame: Any) -> None:
        if asked.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        asked.set()

    previous = {number: signal.signal(number, remember) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield asked.is_set
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
