"""Run an experiment, or resume it, or say what it would do."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from pathlib import Path
from typing import Any

from rich.console import Console

from research.context import REFERENCE, VENDOR
from research.errors import UserError
from research.experiment import Execution, Experiment, check_execution, check_experiment
from research.processes import ProcessGroup, current
from research.results import Result, load, reported_splits, write_results
from research.spec import to_json
from research.trained_model import begin, predict_split, reported, restore
from research.training import start_from
from research.training.compilation_cache import use_compilation_cache
from research.training.fastest import fastest
from research.training.lowerings import AUTO, check_lowerings, lowerings_of
from research.training.preflight import Preflight, preflight
from research.training.pretend import pretended_preflight
from research.training.processor import posed
from research.training.profiling import check_profile
from research.training.progress import PreparingDisplay, say, waiting
from research.training.provenance import environment
from research.training.run_directory import RunDirectory
from research.training.session import train_on
from research.training.setup import Setup, choose_device, set_up, with_fitted
from research.training.together import check_together


def run(
    experiment: Experiment,
    *,
    seed: int = 0,
    execution: Execution | None = None,
    name: str = "experiment",
    runs: str | Path = "runs",
    extend: int = 0,
    fresh: bool = False,
    accept_changes: bool = False,
    source: Path | None = None,
    console: Console | None = None,
) -> Result:
    """Train an experiment, or resume it, or show what it gave; the same call again never trains twice.

    Args:
        experiment: what to train.
        seed: seed of initial weights, order and every draw.
        execution: device, cadence of logs and checkpoints.
        name: folder of its runs below ``runs``.
        runs: where all runs lie.
        extend: further updates, beyond those that the experiment says; the schedules stay at their end.
        fresh: set an earlier run aside, under another name, and begin anew.
        accept_changes: resume or show a run although the code has changed since.
        source: file that defines classes which the experiment uses; a copy goes into the run directory.
        console: where to show the card, the progress and the metrics; None shows nothing.

    Raises:
        UserError: for a mistake in the experiment or its data, or a run directory that belongs to something else.
        RunError: for a failure while training; what was saved stays.
    """
    check_experiment(experiment, name)
    directory = RunDirectory.of(Path(runs), name, experiment, seed)
    return run_in(
        directory,
        experiment,
        seed=seed,
        execution=Execution() if execution is None else execution,
        name=name,
        extend=extend,
        fresh=fresh,
        accept_changes=accept_changes,
        source=source,
        console=console,
    )


def run_in(
    directory: RunDirectory,
    experiment: Experiment,
    *,
    seed: int,
    execution: Execution,
    name: str,
    extend: int = 0,
    fresh: bool = False,
    accept_changes: bool = False,
    source: Path | None = None,
    console: Console | None = None,
) -> Result:
    """As `run`, in a directory of one's own choice."""
    began, group = time.perf_counter(), current()
    console = console if group.leads else None
    setup, extended_to = _set_up(experiment, seed, execution, name, directory, extend, fresh, console)
    with contextlib.closing(setup):
        now = environment(setup.device, experiment)
        if group.count > 1:
            check_together(setup, group, now, directory.path, extended_to)
            if not group.leads:
                return _follow(setup, directory, group, now, name)
        if fresh and directory.exists():
            directory.open()
            try:
                aside = directory.set_aside()
            finally:
                directory.close()
            say(console, f"the earlier run is now {aside}")
        directory.open()
        try:
            notes = claim(directory, setup, now, name, source, accept_changes)
            finished = _finished(directory, setup)
            group.decide({"finished": finished is not None})
            if finished is not None:
                say(console, f"this run has finished already; its result is in {directory.path}")
                return finished
            directory.record_execution(setup.execution, _cores_taken(setup), extended_to)
            carry, pace = train_on(setup, directory, now, notes, name, console)
            result = write_results(setup, carry, directory, name, began, pace, console)
            group.wait_for_all("reported")
            return result
        finally:
            directory.close()


def _follow(setup: Setup, directory: RunDirectory, group: ProcessGroup, now: dict[str, Any], name: str) -> Result:
    """As `run_in`, on a process that leaves all files but its part of the checkpoints to process 0."""
    if not group.decide({})["finished"]:
        carry, _ = train_on(setup, directory, now, (), name, None)
        for split in reported_splits(setup):
            predict_split(setup, reported(setup.experiment, carry), split)
        group.wait_for_all("reported")
    return load(directory.path)


def dry_run(
    experiment: Experiment,
    *,
    seed: int,
    execution: Execution,
    name: str,
    runs: str | Path = "runs",
    extend: int = 0,
    fresh: bool = False,
    devices: int | None = None,
    device_memory: float | None = None,
) -> Preflight:
    """The preflight card of the run that the same arguments would make; no run is trained or written.

    Where it is open over how many cores, or by which lowerings, a processor's updates are fastest, the card says so and
    shows one program.

    Args:
        experiment, seed, execution, name, runs, extend, fresh: as in `run`.
        devices: so many pretended ones in place of those there are; see `research.training.pretend`.
        device_memory: of each of these, in GB; what does not fit is refused.
    """
    check_experiment(experiment, name)
    if devices is not None:
        check_execution(execution)
        return pretended_preflight(experiment, seed=seed, execution=execution, devices=devices, memory=device_memory)
    directory = RunDirectory.of(Path(runs), name, experiment, seed)
    setup, _ = _set_up(experiment, seed, execution, name, directory, extend, fresh, measured=False)
    with contextlib.closing(setup):
        carry = begin(setup, setup.program.initialise()) if fresh else restore(setup, directory)
        return preflight(setup, carry, directory.path, ("dry run: nothing is trained, no run is written",))


def _set_up(
    experiment: Experiment,
    seed: int,
    execution: Execution,
    name: str,
    directory: RunDirectory,
    extend: int,
    fresh: bool,
    console: Console | None = None,
    measured: bool = True,
) -> tuple[Setup, int | None]:
    """Check everything that can be checked before the directory is touched; returns the length of an extended run too.

    An extension that was interrupted is finished first: the same command again never extends twice.
    """
    check_execution(execution)
    if not isinstance(extend, int) or isinstance(extend, bool) or extend < 0:
        raise UserError(f"extend: a whole number of updates of at least 1 is needed, {extend!r} was given.")
    use_compilation_cache()
    device = choose_device(execution.device, execution.deterministic)
    check_lowerings(execution, device)
    begun = not fresh and directory.exists() and not directory.untouched()
    kept = lowerings_of(directory.execution(), device) if begun and execution.lowerings == AUTO else None
    if kept is not None:
        execution = execution.replace(lowerings=kept)
    extended_to = None if fresh else _recorded_extension(directory)
    with contextlib.closing(PreparingDisplay(console)) as told:
        setup = set_up(experiment, seed, execution, extended_to, told)
        if extend and (extended_to is None or directory.results_reach(extended_to)):
            extended_to = setup.cadence.total + extend
            setup.close()
            setup = set_up(experiment, seed, execution, extended_to, told)
    check_profile(execution.profile, setup.cadence.total)
    with waiting(console, "measuring how the updates are fastest here ..."):
        setup = fastest(setup, (directory.virtual_devices() or 1) if begun else None, measured)
    if kept == REFERENCE:
        setup = dataclasses.replace(setup, lowered=f"{REFERENCE}, as this run began")
    if execution.lowerings == VENDOR:
        setup = dataclasses.replace(
            setup, lowered=f"{VENDOR}: LSTMs (float32) and attention (half precision) by cuDNN, where it has them"
        )
    return setup, extended_to


def claim(
    directory: RunDirectory,
    setup: Setup,
    now: dict[str, Any],
    name: str,
    source: Path | None,
    accept_changes: bool,
) -> tuple[str, ...]:
    """Record a new run's identity, or check that the directory is this run's; returns notes for the card."""
    start = setup.experiment.start_from
    data = setup.prepared.summary() if setup.prepared is not None else {"fingerprint": "", "splits": {}}
    data["start_from"] = start_from.content_hash(start) if start is not None else None
    loss = with_fitted(setup.experiment, setup.prepared).loss if setup.prepared is not None else None
    data["loss"] = to_json(loss) if loss is not None and loss != setup.experiment.loss else None
    unreadable = [
        f"the source of {name} cannot be read: a change of it would go unnoticed" for name in now["unreadable_code"]
    ]
    if not directory.exists() or directory.untouched():
        devices = _cores_taken(setup)
        directory.write_identity(name, setup.experiment, setup.seed, setup.execution, now, data, source, devices)
        return tuple(unreadable)
    changed = directory.check_identity(setup.experiment, setup.seed, now, data, accept_changes)
    changed += _changed_ways(directory.execution(), setup.execution, setup.device.platform)
    spread = directory.virtual_devices() if setup.device.platform == "cpu" else None
    if spread not in (None, setup.programs):
        changed.append(
            f"the rows of a batch lay over {spread} of the processor's cores when this run went on and lie over "
            f"{setup.programs} now: equality to the bit is not promised"
        )
    return (*changed, *unreadable)


def _changed_ways(was: Execution, now: Execution, platform: str) -> list[str]:
    """Of how a run is carried out, what its bits depend on and the environment does not say."""
    found = []
    ways = lowerings_of(was), lowerings_of(now)
    if ways[0] != ways[1] and (platform == "cpu" or VENDOR in ways):
        found.append(f"layers were computed by lowerings={ways[0]} when this run went on and are by {ways[1]} now")
    for name in ("fsdp", "tensor", "mode"):
        before, after = getattr(was.parallel, name), getattr(now.parallel, name)
        if before != after:
            found.append(f"execution.parallel.{name} was {before} when this run went on and is {after} now")
    return [f"{each}: equality to the bit is not promised" for each in found]


def _cores_taken(setup: Setup) -> int | None:
    """Over how many of a processor's cores the rows of a batch lie; None on other devices."""
    return setup.programs if posed(setup.device.platform) else None


def _recorded_extension(directory: RunDirectory) -> int | None:
    return directory.read("execution")["extended_to"] if directory.exists() else None


def _finished(directory: RunDirectory, setup: Setup) -> Result | None:
    if not directory.results.exists():
        return None
    result = load(directory.path)
    if result.summary["total_updates"] >= setup.cadence.total:
        return result
    if result.summary["stopped_early"]:
        raise UserError(
            f"{directory.path}: this run stopped early after update {result.summary['updates']}, so there is "
            f"nothing to extend. Set evaluation.select.patience higher, or none, in a new run."
        )
    return None
