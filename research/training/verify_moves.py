"""Proof by trial: a run that goes on on other numbers of devices gives the losses of one that stays."""

from __future__ import annotations

import dataclasses
import math
import os
import re
import signal
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from research.errors import RunError, UserError
from research.evaluation.predictions import read_predictions
from research.evaluation.report import Report
from research.experiment import Experiment, Parallel
from research.training.layout import mesh_shape
from research.training.metrics_log import read_metrics
from research.training.processor import FLAG
from research.training.run_directory import RunDirectory
from research.training.verify_resume import (
    NOT_REACHED,
    Interruption,
    columns_of,
    resume_point,
    run_and_kill,
    run_through,
)

TOLERANCE = 1e-3
"""Of a loss, relative; for the first event after each move, for training amplifies every rounding afterwards."""


@dataclasses.dataclass(frozen=True)
class Move:
    """A part of the run that goes from one topology to the next.

    Attributes:
        devices: how many it was trained on.
        begun: from which update it went on, in words.
        step: the first update after that at which losses were logged; 0 where there is none.
        difference: of the losses there, relative, the largest one.
    """

    devices: int
    begun: str
    step: int
    difference: float


@dataclasses.dataclass(frozen=True)
class Moves:
    """What `verify_moves` saw.

    Attributes:
        updates: length of the run.
        moves: the parts, in order.
        metrics: the largest difference of a metric of the report, and which; by numbers, not relative.
        predictions: the largest difference of a prediction of the report.
        rows: whether both predicted the same rows in the same order.
    """

    updates: int
    moves: tuple[Move, ...]
    metrics: tuple[float, str]
    predictions: float
    rows: bool

    @property
    def reached(self) -> bool:
        """Whether the run was moved as often as asked for."""
        return all(move.begun != NOT_REACHED for move in self.moves)

    @property
    def within(self) -> bool:
        """Whether the losses after each move were within the tolerance, and the rows the same."""
        return self.rows and all(move.difference <= TOLERANCE for move in self.moves if move.step)


def parse_devices(text: str) -> tuple[int, ...]:
    """Numbers of devices such as ``8,4,1``; raises `UserError` for what is none."""
    parts = [part.strip() for part in text.split(",")]
    if len(parts) < 2 or not all(re.fullmatch(r"[1-9]\d*", part) for part in parts):
        raise UserError(f"--devices: two numbers of devices or more are needed, such as 8,4,1; {text!r} was given.")
    return tuple(map(int, parts))


def shares(devices: Sequence[int], parallel: Parallel, experiment: Experiment) -> tuple[int, ...]:
    """``execution.parallel.data`` for each number of devices.

    Args:
        devices: in all.
        parallel: what else they are shared out by.
        experiment: whose batches they share, where it says how large these are.

    Raises:
        UserError: for numbers that fsdp and tensor, or the batches, cannot be shared out among.
    """
    each = parallel.fsdp * parallel.tensor
    if uneven := [n for n in devices if n % each]:
        raise UserError(
            f"--devices: {', '.join(map(str, uneven))} cannot be divided by {each} (execution.parallel.fsdp "
            f"{parallel.fsdp} times tensor {parallel.tensor}). Give multiples of {each}."
        )
    if experiment.batch_size is not None:
        for n in devices:
            mesh_shape(parallel.replace(data=n // each), n, "pretended", experiment.batch_size)
    return tuple(n // each for n in devices)


def verify_moves(
    command: list[str],
    workspace: Path,
    devices: Sequence[int],
    data: Sequence[int],
    listener: Callable[[str], None] = print,
) -> Moves:
    """Run an experiment on the first number of devices, and once more, ended by SIGTERM and gone on with on the others.

    On a processor virtual devices are made.

    Args:
        command: arguments of ``research run``: the file, overrides, ``--seed``.
        workspace: an empty directory for both runs.
        devices: numbers of devices, in turn.
        data: what `shares` gives for them.
        listener: called with a line about each stage.

    Raises:
        RunError: if a run fails by itself, with its own message.
    """
    flags = [flag for flag in os.environ.get("XLA_FLAGS", "").split() if not flag.startswith(FLAG)]
    variables = {"XLA_FLAGS": " ".join([*flags, f"{FLAG}={max(devices)}"])}

    def on(number: int) -> list[str]:
        return [*command, f"execution.parallel.data={data[number]}"]

    listener(f"a run on {devices[0]} devices, without interruptions")
    reference = run_through(on(0), workspace / "uninterrupted", variables)
    updates = int(reference.read("results")["updates"])
    begun, runs = ["the beginning"], workspace / "moved"
    for number, count in enumerate(devices[:-1]):
        step = max(1, math.ceil(updates * (number + 1) / len(devices)))
        listener(f"on {count} devices, to update {step}")
        moment, file = Interruption("update", step / updates, signal.SIGTERM), workspace / f"moment{number}"
        reached = run_and_kill(on(number), runs, moment, step, file, variables)
        begun.append(resume_point(runs) if reached else NOT_REACHED)
    listener(f"on {devices[-1]} devices, to the end")
    moved = run_through(on(-1), runs, variables)
    losses = list(zip(*(_losses(run) for run in (reference, moved)), strict=False))
    parts = []
    for count, place in zip(devices, begun, strict=True):
        start = int(place.removeprefix("update ")) if place.startswith("update ") else 0
        step, difference = next(((a[0], _apart(a, b)) for a, b in losses if a[0] > start), (0, math.nan))
        parts.append(Move(count, place, step, difference))
    return Moves(updates, tuple(parts), _metrics(reference, moved), *_predictions(reference, moved))


def _losses(run: RunDirectory) -> list[tuple[int, dict[str, float]]]:
    return [(record["step"], {k: v for k, v in record.items() if "loss" in k}) for record in read_metrics(run.metrics)]


def _apart(one: tuple[int, dict[str, float]], other: tuple[int, dict[str, float]]) -> float:
    if one[0] != other[0] or set(one[1]) != set(other[1]):
        return math.inf
    return max((abs(one[1][name] - other[1][name]) / (abs(one[1][name]) or 1.0) for name in one[1]), default=0.0)


def _metrics(left: RunDirectory, right: RunDirectory) -> tuple[float, str]:
    first, second = (Report.from_json(run.read("results")["report"]) for run in (left, right))
    gaps = {each.name: abs(each.value - second[each.name].value) for each in first.estimates}
    known = {name: gap for name, gap in gaps.items() if not math.isnan(gap)}
    worst = max(known, key=lambda name: known[name], default="")
    return known.get(worst, 0.0), worst


def _predictions(left: RunDirectory, right: RunDirectory) -> tuple[float, bool]:
    largest, same = 0.0, True
    for file in sorted(left.predictions.glob("*.parquet")):
        first, second = (columns_of(read_predictions(run.predictions / file.name)) for run in (left, right))
        for name, values in first.items():
            if values.dtype.kind == "f" and values.shape == second[name].shape and name != "target":
                largest = max(largest, float(np.nanmax(np.abs(values - second[name]), initial=0.0)))
            else:
                same = same and np.array_equal(values, second[name])
    return largest, same


def check_moved(moves: Moves, what: str) -> None:
    """Raise `RunError` unless the run was moved and stayed within the tolerance."""
    if not moves.reached:
        raise RunError(f"{what}: the run of {moves.updates} updates ended before it was moved. Make it longer.")
    if not moves.within:
        raise RunError(f"{what}: on other devices the run has other losses or rows; see the table.")
