"""The training of some members together: the loop of one run, with an axis of members in all that it reads."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Bool

from research.ablation.program import GroupProgram, gathered
from research.experiment import Execution
from research.training.carry import Carry
from research.training.checkpoint import Checkpoints
from research.training.loop import Cadence, Interrupted, Pace, interruptions
from research.training.metrics_log import MetricsLog
from research.training.tripwire import Tripwire

Listener = Callable[[int, dict[str, Any]], None]
"""Told of each event: the step, and the record of the log."""


def train_members(
    program: GroupProgram,
    carry: tuple[Carry, ...],
    cadence: Cadence,
    execution: Execution,
    log: MetricsLog,
    last: Checkpoints,
    listener: Listener,
) -> tuple[Carry, ...]:
    """Run updates until the end, or until each member has stopped early or failed; the carry is saved then.

    A member whose loss is not finite changes no more, and disturbs no other. What the bits depend on is decided on the
    device, so that saving and resuming at any moment changes nothing.

    Raises:
        RunError: for a checkpoint that cannot be written.
        Interrupted: after SIGTERM or SIGINT, once the state is saved.
    """
    step = max(int(part.step.max()) for part in carry)
    pending: list[tuple[int, tuple[Any, ...]]] = []
    pace, saved_at, tripwire = Pace(), time.monotonic(), Tripwire.armed()
    living = bool(_live(carry).any())
    with interruptions() as interrupted:
        while step < cadence.total and living:
            windows, left = program.window(step)
            count = min(_next(cadence, step, tripwire) - step, pace.updates, left)
            carry = program.advance(carry, windows, count)
            step += count
            if cadence.logs(step):
                carry, record = program.record(carry, cadence.evaluates(step))
                pending.append((step, record))
            living = _read(pending, 1, cadence, log, listener)
            pace.measure(carry[-1], step, count)
            if tripwire is not None:
                tripwire.reached("update", step, interrupted)
            due = cadence.checkpoint is not None and step % cadence.checkpoint == 0
            due = due or time.monotonic() - saved_at > 60 * execution.checkpoint_minutes
            stopping = interrupted()
            if due or stopping or not living or step == cadence.total:
                living = _read(pending, 0, cadence, log, listener) and living
                last.save(step, carry)
                saved_at = time.monotonic()
                if tripwire is not None:
                    tripwire.reached("save", step)
            if stopping and step < cadence.total and living:
                last.wait()
                raise Interrupted(
                    f"Interrupted after update {step} of {cadence.total}; the checkpoint is saved. Run the same "
                    f"command again to continue from there."
                )
        last.wait()
    return carry


def _next(cadence: Cadence, step: int, tripwire: Tripwire | None) -> int:
    stop = cadence.next_event(step)
    if tripwire is not None and tripwire.moment == "update" and step < tripwire.step:
        return min(stop, tripwire.step)
    return stop


def _live(carry: tuple[Carry, ...]) -> Bool[np.ndarray, " M"]:
    """Which members still learn."""
    stopped, failed = gathered(tuple((part.stopped, part.failed_step) for part in carry))
    return ~stopped & (failed < 0)


def _read(
    pending: list[tuple[int, tuple[Any, ...]]],
    keep: int,
    cadence: Cadence,
    log: MetricsLog,
    listener: Listener,
) -> bool:
    """Write pending records, oldest first, all but ``keep`` of them; False once no member learns any more."""
    while len(pending) > keep:
        step, parts = pending.pop(0)
        values = gathered(parts)
        stopped, failed = values.pop("stopped"), values.pop("failed_step")
        updates = values.pop("updates")
        values.pop("step")
        members = np.flatnonzero(updates > 0)
        if len(members):
            record: dict[str, Any] = {"step": step}
            if cadence.per_epoch:
                record["epoch"] = step / cadence.per_epoch
            record["member"] = members.tolist()
            record |= {name: value[members].astype(float).tolist() for name, value in values.items()}
            log.write(record)
            listener(step, record)
        if not (~stopped & (failed < 0)).any():
            pending.clear()
            return False
    return True
