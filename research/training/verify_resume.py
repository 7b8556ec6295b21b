"""Proof by trial: a run that is killed again and again gives the bits of a run that is never interrupted."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from research.errors import RunError
from research.evaluation.predictions import Predictions, Rows, read_predictions
from research.models.functional import paths
from research.training.checkpoint import Checkpoints
from research.training.metrics_log import read_metrics
from research.training.run_directory import RunDirectory
from research.training.tripwire import VARIABLE

CHECKPOINTS = 6
POLL_SECONDS = 0.002
PATIENCE_SECONDS = 600.0
NOT_REACHED = "not reached"
ONLY_LEFT = "only the uninterrupted run has it"
ONLY_RIGHT = "only the interrupted run has it"


@dataclasses.dataclass(frozen=True)
class Interruption:
    """One kill: at which moment, with which signal, how long after the moment.

    Attributes:
        moment: as in `research.training.tripwire.Tripwire`.
        fraction: where in the run, as a fraction of its updates.
        signal: SIGKILL or SIGTERM.
        delay: seconds between the moment and the signal.
    """

    moment: str
    fraction: float
    signal: signal.Signals
    delay: float = 0.0

    def __str__(self) -> str:
        places = {"update": "between updates", "save": "while a checkpoint is written", "report": "before the report"}
        after = f", {1000 * self.delay:g} ms into it" if self.moment == "save" else ""
        return f"{self.signal.name} {places[self.moment]}{after}"


INTERRUPTIONS = (
    Interruption("update", 0.1, signal.SIGKILL),
    Interruption("save", 0.2, signal.SIGKILL, 0.0),
    Interruption("save", 0.4, signal.SIGKILL, 0.015),
    Interruption("update", 0.55, signal.SIGTERM),
    Interruption("update", 0.8, signal.SIGKILL),
    Interruption("report", 0.0, signal.SIGKILL),
)


@dataclasses.dataclass(frozen=True)
class Comparison:
    """One thing that was compared between the two runs.

    Attributes:
        what: name of the thing.
        size: how much of it there is, in words.
        difference: the first difference, in words; empty where every bit is equal.
    """

    what: str
    size: str
    difference: str


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What `verify_resume` saw.

    Attributes:
        updates: length of the run.
        kills: each interruption, and the step from which the next process resumed; `NOT_REACHED` where the run ended
            before the moment came.
        comparisons: what was compared.
    """

    updates: int
    kills: tuple[tuple[str, str], ...]
    comparisons: tuple[Comparison, ...]

    @property
    def reached(self) -> int:
        """How many of the interruptions took place."""
        return sum(point != NOT_REACHED for _, point in self.kills)

    @property
    def differs(self) -> bool:
        """Whether anything that was compared differs."""
        return any(comparison.difference for comparison in self.comparisons)

    @property
    def equal(self) -> bool:
        """Whether the run was interrupted and everything that was compared is equal to the bit."""
        return self.reached > 0 and not self.differs


def verify_resume(
    command: list[str],
    workspace: Path,
    listener: Callable[[str], None] = print,
    interruptions: tuple[Interruption, ...] = INTERRUPTIONS,
) -> Verdict:
    """Run an experiment once without and once with interruptions, and compare all that they leave behind.

    Args:
        command: arguments of ``research run``: the file, overrides, ``--seed``.
        workspace: an empty directory for both runs.
        listener: called with a line about each stage.
        interruptions: the kills, one after the other in the same run.

    Raises:
        RunError: if a run fails by itself, with its own message.
    """
    listener("a run without interruptions")
    reference = run_through(command, workspace / "uninterrupted")
    updates = int(reference.read("results")["updates"])
    # Checkpoints are set so that some interruptions come between two of them and work is lost.
    every = f"execution.checkpoint_every={max(1, updates // CHECKPOINTS)}"
    kills: list[tuple[str, str]] = []
    runs = workspace / "interrupted"
    for number, interruption in enumerate(interruptions):
        step = max(1, int(interruption.fraction * updates)) if interruption.moment != "report" else 0
        place = f"{interruption}, {'at or after' if interruption.moment == 'save' else 'at'} update {step or updates}"
        listener(place)
        file = workspace / f"moment{number}"
        reached = run_and_kill([*command, every], runs, interruption, step, file)
        kills.append((place, resume_point(runs) if reached else NOT_REACHED))
    listener("the last process runs to the end")
    survivor = run_through([*command, every], runs)
    return Verdict(updates, tuple(kills), tuple(compare_directories(reference, survivor)))


def _start(command: list[str], runs: Path, tripwire: str, variables: Mapping[str, str] = {}) -> subprocess.Popen[str]:
    # TensorBoard events carry the time of day, so they are not compared.
    arguments = [sys.executable, "-m", "research", "run", *command, "execution.tensorboard=false"]
    arguments += ["--runs", str(runs), "--json"]
    environment = {**os.environ, **variables, VARIABLE: tripwire}
    return subprocess.Popen(arguments, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def run_through(command: list[str], runs: Path, variables: Mapping[str, str] = {}) -> RunDirectory:
    """Run to the end, with further variables of the environment; raises `RunError` if the run fails."""
    process = _start(command, runs, "", variables)
    output, errors = process.communicate()
    if process.returncode != 0:
        raise RunError(f"the run ended with exit code {process.returncode}:\n{errors.strip()[-2000:]}")
    return RunDirectory(Path(json.loads(output)["directory"]))


def run_and_kill(
    command: list[str],
    runs: Path,
    interruption: Interruption,
    step: int,
    file: Path,
    variables: Mapping[str, str] = {},
) -> bool:
    """Start the run, kill it at its moment; False if it ended before the moment came."""
    process = _start(command, runs, f"{interruption.moment}:{step}:{file}", variables)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not file.exists() and process.poll() is None:
        if time.monotonic() > deadline:
            process.kill()
            raise RunError(f"the moment to interrupt did not come within {PATIENCE_SECONDS:.0f} s: {interruption}.")
        time.sleep(POLL_SECONDS)
    if not file.exists():
        _, errors = process.communicate()
        if process.returncode != 0:
            raise RunError(f"the run ended with exit code {process.returncode}:\n{errors.strip()[-2000:]}")
        return False
    time.sleep(interruption.delay)
    process.send_signal(interruption.signal)
    process.communicate()
    return True


def resume_point(runs: Path) -> str:
    """From where the next process goes on, in words."""
    folders = [p for p in runs.glob("*/*/checkpoints/last/*") if p.name.isdigit()]
    return f"update {max(int(p.name) for p in folders)}" if folders else "the beginning"


def compare_directories(left: RunDirectory, right: RunDirectory) -> Iterator[Comparison]:
    """Compare all that two runs leave behind, but for the time they took; what only one of them has differs.

    Args:
        left: the run without interruptions.
        right: the run with interruptions.
    """
    yield _compare_metrics(left, right)
    for kind in ("last", "best"):
        yield from _compare_checkpoints(kind, left, right)
    for name in sorted({file.name for run in (left, right) for file in run.predictions.glob("*.parquet")}):
        yield _compare_predictions(left.predictions / name, right.predictions / name)
    first, second = (
        {k: v for k, v in run.read("results").items() if k not in ("seconds", "feed", "input_wait_share", "throughput")}
        for run in (left, right)
    )
    different = sorted(name for name in {*first, *second} if _differs(first, second, name))
    yield Comparison("results.json", f"{len(first)} entries", ", ".join(different))


def _compare_metrics(left: RunDirectory, right: RunDirectory) -> Comparison:
    first, second = read_metrics(left.metrics), read_metrics(right.metrics)
    difference = "" if len(first) == len(second) else f"{len(first)} lines and {len(second)} lines"
    for one, other in zip(first, second, strict=False):
        names = [name for name in {**one, **other} if _differs(one, other, name)]
        if names:
            name = names[0]
            difference = f"at update {one['step']}: {name} is {one.get(name)!r} and {other.get(name)!r}"
            break
    return Comparison("metrics.jsonl", f"{len(first)} lines", difference)


def _differs(one: dict[str, Any], other: dict[str, Any], name: str) -> bool:
    # As JSON, in which NaN equals NaN.
    return (name in one) != (name in other) or json.dumps(one[name]) != json.dumps(other[name])


def _compare_checkpoints(kind: str, left: RunDirectory, right: RunDirectory) -> Iterator[Comparison]:
    """Compare the newest checkpoints of one kind; nothing where neither run has one."""
    what = f"{kind} checkpoint"
    folders = [getattr(run, kind) for run in (left, right)]
    managers = [Checkpoints(folder, writable=False) if folder.is_dir() else None for folder in folders]
    steps = [manager.latest() if manager is not None else None for manager in managers]
    if steps[0] == steps[1] is None:
        return
    if steps[0] is None or steps[1] is None:
        yield Comparison(what, "", ONLY_RIGHT if steps[0] is None else ONLY_LEFT)
        return
    if steps[0] != steps[1]:
        yield Comparison(what, "", f"of update {steps[0]} and of update {steps[1]}")
        return
    step = steps[0]
    trees = [_arrays(manager.restore_free(step)) for manager in managers if manager is not None]
    size = sum(array.nbytes for array in trees[0].values())
    yield Comparison(what, f"{len(trees[0])} arrays, {size:,} bytes", _first_difference(trees[0], trees[1]))


def _compare_predictions(left: Path, right: Path) -> Comparison:
    if not (left.exists() and right.exists()):
        return Comparison(f"predictions/{left.name}", "", ONLY_LEFT if left.exists() else ONLY_RIGHT)
    first, second = (columns_of(read_predictions(path)) for path in (left, right))
    rows = len(next(iter(first.values())))
    return Comparison(
        f"predictions/{left.name}", f"{rows} rows, {len(first)} columns", _first_difference(first, second)
    )


def columns_of(rows: Predictions | Rows) -> dict[str, Any]:
    """The arrays of stored predictions by name."""
    if isinstance(rows, Rows):
        return dict(rows.columns)
    fields = {f.name: getattr(rows, f.name) for f in dataclasses.fields(rows)}
    return {name: value for name, value in fields.items() if isinstance(value, np.ndarray)}


def _arrays(tree: Any) -> dict[str, Any]:
    """Leaves of a restored checkpoint by path; lists, which optimizers use, count as dicts of their positions."""

    def opened(value: Any) -> Any:
        if isinstance(value, list | tuple):
            value = dict(enumerate(value))
        return {str(k): opened(v) for k, v in value.items()} if isinstance(value, dict) else value

    return {path: np.asarray(leaf) for path, leaf in paths(opened(tree)).items()}


def _first_difference(left: dict[str, Any], right: dict[str, Any]) -> str:
    if set(left) != set(right):
        return f"only one of them has {sorted(set(left) ^ set(right))[0]}"
    different = []
    for path, array in left.items():
        other = right[path]
        if array.dtype != other.dtype or array.shape != other.shape or _bits(array) != _bits(other):
            different.append(path)
    if not different:
        return ""
    path = different[0]
    apart = ""
    if np.issubdtype(left[path].dtype, np.floating) and left[path].shape == right[path].shape:
        apart = f", largest difference {np.nanmax(np.abs(left[path] - right[path])):.3g}"
    return f"{len(different)} of {len(left)} arrays differ, first {path}{apart}"


def _bits(array: np.ndarray) -> bytes:
    return repr(array.tolist()).encode() if array.dtype == object else array.tobytes()
