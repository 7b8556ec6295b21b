"""Training a wave: its members together, from the beginning or from its checkpoint, to predictions and results."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from research.ablation.directory import Wave
from research.ablation.executables import compiled_programs
from research.ablation.groups import Ready
from research.ablation.program import GroupProgram, gathered
from research.ablation.training import Listener, train_members
from research.evaluation.measures import Measured
from research.evaluation.predictions import Predictions, Rows, write_members
from research.evaluation.thresholds import choose_own_thresholds, choose_thresholds
from research.experiment import Execution
from research.trained_model import as_predictions
from research.training.carry import Carry
from research.training.checkpoint import Checkpoints
from research.training.metrics_log import MetricsLog
from research.training.run_directory import write_json
from research.training.steps import Outline
from research.training.tripwire import Tripwire


def run_wave(
    wave: Wave,
    members: Sequence[Ready],
    outline: Outline,
    execution: Execution,
    devices: Sequence[Any],
    listener: Listener,
) -> dict[str, Any]:
    """Train and evaluate the members of a wave, or finish what was begun; returns what ``results.json`` holds.

    Raises:
        UserError: if it was begun on more devices than there are.
        RunError: for a checkpoint or a file that cannot be written.
        Interrupted: after SIGTERM or SIGINT, once the state is saved.
    """
    wave.check_devices(len(devices))
    began = time.perf_counter()
    with contextlib.ExitStack() as stack:
        program = stack.enter_context(contextlib.closing(GroupProgram(members, outline, wave.way, devices)))
        last = stack.enter_context(contextlib.closing(Checkpoints(wave.last)))
        carry, step = _restored(program, last)
        log = stack.enter_context(contextlib.closing(MetricsLog(wave.curves, step, None)))
        carry = train_members(program, carry, members[0].cadence, execution, log, last, listener)
    if tripwire := Tripwire.armed():
        tripwire.reached("report", members[0].cadence.total)
    found, failed = _predictions(program, members, carry)
    for split, rows in found.items():
        if rows:
            write_members(wave.predictions / f"{split}.parquet", rows)
    results = _results(members, carry, found, failed) | {
        "seconds": round(time.perf_counter() - began, 3),
        # Those that train the wave by name, and how many this process has compiled until now, tried ones too.
        "programs": {"training": program.training_programs(), "compiled": compiled_programs("advance")},
    }
    write_json(wave.results, results)
    return results


def _restored(program: GroupProgram, last: Checkpoints) -> tuple[tuple[Carry, ...], int]:
    """The carries of the newest checkpoint, or those before the first update, and at which update they are."""
    step = last.latest()
    if step is None:
        return program.initialise(), 0
    return last.restore(step, program.carry_like()), step


def _predictions(
    program: GroupProgram, members: Sequence[Ready], carry: tuple[Carry, ...]
) -> tuple[dict[str, dict[int, Predictions | Rows]], np.ndarray]:
    """What the reported weights of each member say of validation and test, and at which update each failed, or -1.

    Those that fail have no predictions. A last update may spoil the weights without any loss that shows it: a member
    that predicts what is no number has failed too.
    """
    state = reported_states(program, carry)
    failed, steps = (np.array(values) for values in gathered(tuple((part.failed_step, part.step) for part in carry)))
    said = {split: gathered(program.predict(state, split)) for split in program.reported}
    for rows in said.values():
        if "prediction" in rows:
            sound = np.isfinite(rows["prediction"].reshape(len(members), -1)).all(1)
            failed = np.where((failed < 0) & ~sound, steps, failed)
    found: dict[str, dict[int, Predictions | Rows]] = {}
    for split, rows in said.items():
        found[split] = {
            number: as_predictions(
                ready.fitted, ready.prepared, split, {name: column[number] for name, column in rows.items()}
            )
            for number, ready in enumerate(members)
            if failed[number] < 0
        }
    return found, failed


def reported_states(program: GroupProgram, carry: tuple[Carry, ...]) -> tuple[Any, ...]:
    """The weights that each member reports: the best on validation where there are any, else the last."""
    return tuple(_reported(part, deployed) for part, deployed in zip(carry, program.deploy(carry), strict=True))


@jax.jit
def _reported(carry: Carry, deployed: Any) -> Any:
    if carry.best is None:
        return deployed
    chosen = jnp.isfinite(carry.best.metric)

    def choose(best: Any, last: Any) -> Any:
        return jnp.where(chosen.reshape(-1, *(1,) * (best.ndim - 1)), best, last)

    return jax.tree.map(choose, carry.best.state, deployed)


def _results(
    members: Sequence[Ready],
    carry: tuple[Carry, ...],
    found: dict[str, dict[int, Predictions | Rows]],
    failed: np.ndarray,
) -> dict[str, Any]:
    """What each member came to, in the order of the wave."""
    steps, stopped = gathered(tuple((part.step, part.stopped) for part in carry))
    best = gathered(tuple(None if part.best is None else (part.best.metric, part.best.step) for part in carry))
    reported = list(found)[-1]
    each = []
    for number, ready in enumerate(members):
        chosen = best is not None and bool(np.isfinite(best[0][number]))
        outcome: dict[str, Any] = {
            "name": ready.member.name,
            "updates": int(steps[number]),
            "stopped_early": bool(stopped[number]),
            "failed_step": int(failed[number]) if failed[number] >= 0 else None,
            "reported_step": int(best[1][number]) if chosen and best is not None else int(steps[number]),
            "metrics": {},
        }
        rows = found[reported].get(number)
        if rows is not None:
            validation = found.get("validation", {}).get(number)
            outcome["metrics"] = metric_values(rows, validation if isinstance(validation, Predictions) else None)
        each.append(outcome)
    return {"split": reported, "members": each}


def metric_values(rows: Predictions | Rows, validation: Predictions | None) -> dict[str, float]:
    """Every metric over everything, at thresholds chosen on validation, without intervals."""
    if isinstance(rows, Rows):
        return {name: float(np.nanmean(column)) for name, column in rows.columns.items()}
    thresholds, _ = choose_thresholds(rows, validation)
    measured = Measured(rows, thresholds, choose_own_thresholds(rows, validation))
    values = measured(np.ones(len(rows)))
    return {name: float(value) for (part, name), value in values.items() if not part}
