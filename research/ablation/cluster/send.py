"""Sending the waves of an ablation to a cluster, and waiting for them."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from research.ablation.cluster.cluster import Workers
from research.ablation.cluster.wave_job import WaveJob, worker_environment
from research.ablation.directory import Wave
from research.ablation.groups import Group
from research.ablation.plan import Means, Planned, plan
from research.ablation.program import Way
from research.ablation.progress import AblationDisplay
from research.data.prepare import Listener
from research.errors import RunError, UserError
from research.experiment import Execution
from research.experiment_file import classes_of
from research.spec import to_json


def plan_for(
    workers: Workers, groups: Sequence[Group], done: set[str], means: Means, listener: Listener | None = None
) -> tuple[Planned, ...]:
    """The plan for workers of a cluster; arguments and errors as of `research.ablation.plan.plan`.

    ``auto`` measures here where this machine has what a worker has, and is ``map`` otherwise. So does a plan that is
    only shown; else the workers compile.
    """
    count, on_cpu = workers.cluster.devices, workers.cluster.gpus == 0
    alike = (means.devices[0].platform == "cpu") == on_cpu and len(means.devices) >= count
    means = dataclasses.replace(
        means,
        devices=means.devices[:count],
        strategy="map" if means.strategy == "auto" and not alike else means.strategy,
        waves=workers.cluster.waves or workers.slots,
        compiles=means.measures and alike,
        measures=means.measures and alike,
    )
    found = plan(groups, done, means, listener)
    return tuple(
        dataclasses.replace(each, choice=dataclasses.replace(each.choice, way=_shared_out(each, count, alike)))
        for each in found
    )


def _shared_out(planned: Planned, count: int, measured: bool) -> Way:
    """The way over the devices of a worker, where those here are not like them."""
    way = planned.choice.way
    if measured or way.strategy == "separate":
        return way
    return Way(way.strategy, min(count, planned.size))


def check_portable(experiments: Sequence[Any], source: Path | None) -> None:
    """Raise `UserError` for classes of the program that was started, which no other process can import."""
    if source is not None:
        return
    for experiment in experiments:
        for name in classes_of(experiment):
            if name.startswith("__main__"):
                raise UserError(
                    f"{name.partition(':')[2]}: defined in the program that was started, where workers of a cluster "
                    f"cannot find it. Put it into a module of its own, or use research ablate FILE."
                )


def train_on(
    workers: Workers,
    directory: Path,
    waves: Sequence[Wave],
    execution: Execution,
    codes: Mapping[str, str],
    accept_changes: bool,
    display: AblationDisplay,
) -> None:
    """Train waves on the workers; returns once all are finished.

    Args:
        workers: of the cluster.
        directory: of the ablation.
        waves: begun or not, none finished.
        execution: how the workers are to run.
        codes: hash of the code behind each member here, by identity; workers must have the same.
        accept_changes: whether they need not.
        display: told of what goes on.

    Raises:
        UserError: for waves that were begun on more devices than a worker has.
        RunError: naming the waves that were not trained, and why, after all others were.
    """
    devices = workers.cluster.devices
    for wave in waves:
        wave.check_devices(devices)
    environment = worker_environment(workers.cluster.cpus, workers.cluster.gpus)
    jobs = [
        WaveJob(
            directory=str(directory.resolve()),
            wave=wave.path.name,
            execution=to_json(execution),
            codes={identity: codes[identity] for identity in wave.identities},
            accept_changes=accept_changes,
            folder=str(Path.cwd()),
            environment=environment,
            memory=wave.memory,
        )
        for wave in waves
    ]
    failed: dict[str, str] = {}
    named = {wave.path.name: wave for wave in waves}
    with contextlib.closing(workers.train(jobs, display.look)) as outcomes:
        for outcome in outcomes:
            if outcome.error is not None:
                failed[outcome.wave] = outcome.error
            display.ended(named[outcome.wave], outcome.error)
    if failed:
        lines = [f"  {named[name].title}: {error}" for name, error in failed.items()]
        raise RunError(
            "\n".join([f"{len(failed)} of {len(waves)} waves were not trained:", *lines])
            + "\nThe others are done. Run the same command again to train what is missing."
        )
