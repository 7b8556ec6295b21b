"""How a process finds the others that train with it: told by options, by variables, or by what started it."""

from __future__ import annotations

import dataclasses
import math
import os
import re
from collections.abc import Mapping

from research.errors import RunError, UserError, first_line
from research.processes.group import (
    BEAT_SECONDS,
    SILENT_SECONDS,
    STUCK,
    STUCK_SECONDS,
    ProcessGroup,
    begin,
    current,
)
from research.processes.last_words import speaking
from research.processes.rendezvous import meet
from research.processes.store import outliving

VARIABLES = ("RESEARCH_COORDINATOR", "RESEARCH_PROCESSES", "RESEARCH_PROCESS")
"""What ``scripts/launch_local`` and recipes for Kubernetes set: address of process 0, how many, and which this is."""

OPTIONS = ("--coordinator", "--processes", "--process")
MPI_COUNT = "OMPI_COMM_WORLD_SIZE"
MPI_ADDRESS = "OMPI_MCA_orte_hnp_uri"
"""From which JAX takes where process 0 is reached; only up to Open MPI 4."""

SILENT = "RESEARCH_SILENT_SECONDS"
"""Seconds without a sign of life after which a process is taken for lost, where they are not to be `SILENT_SECONDS`."""

FEWEST_SECONDS = 3 * BEAT_SECONDS
"""In fewer a process that is only busy would be taken for lost."""

JOIN_SECONDS = 300
LINGER_SECONDS = 30.0
"""How much longer than that the store lives after process 0 was killed."""

OWN_SECONDS = 100.0
"""How much later JAX ends by itself those that hear nothing of one: by then all have ended in words."""


@dataclasses.dataclass(frozen=True)
class Place:
    """Which of how many processes this is.

    Attributes:
        told: by what, for messages.
        coordinator: ``HOST:PORT`` at which process 0 listens; None where JAX finds it, as it does all that is None.
        count: how many there are.
        index: which this is, from 0.
        devices: of this machine that belong to this process; None for all.
    """

    told: str
    coordinator: str | None = None
    count: int | None = None
    index: int | None = None
    devices: tuple[int, ...] | None = None


def find_place(
    coordinator: str | None = None,
    processes: int | None = None,
    process: int | None = None,
    environment: Mapping[str, str] | None = None,
) -> Place | None:
    """What options, variables or the program that started this process say; None for a process by itself.

    Looked at in this order: the options; `VARIABLES`; Slurm (a step of several tasks), Open MPI, TPU pods.

    Args:
        coordinator, processes, process: what was given as options: all or none; ``processes`` 1 alone, for a process
            by itself whatever started it; ``coordinator`` alone under Open MPI, which says the others.
        environment: variables; those of this process by default.

    Raises:
        UserError: for options or variables that are incomplete or mean nothing.
    """
    variables = os.environ if environment is None else environment
    given = (coordinator, processes, process)
    if any(value is not None for value in given):
        return _told(OPTIONS, given, variables)
    if any(name in variables for name in VARIABLES):
        return _told(VARIABLES, tuple(variables.get(name) for name in VARIABLES), variables)
    if _whole(variables.get("SLURM_STEP_NUM_TASKS")) > 1 and "SLURM_PROCID" in variables:
        return _of_slurm(variables)
    if _whole(variables.get(MPI_COUNT)) > 1:
        if MPI_ADDRESS not in variables:
            raise UserError(
                "Open MPI from version 5 on does not say where process 0 is reached, as version 4 does. Give "
                "--coordinator HOST:PORT, or the variable RESEARCH_COORDINATOR: the machine of rank 0, and a free port."
            )
        return Place("Open MPI", devices=_devices_of_mpi(variables))
    hosts = variables.get("TPU_WORKER_HOSTNAMES", "")
    if "," in hosts:
        return Place("the TPU pod")
    return None


def _told(
    names: tuple[str, str, str], values: tuple[str | int | None, ...], variables: Mapping[str, str]
) -> Place | None:
    missing = [name for name, value in zip(names, values, strict=True) if value in (None, "")]
    devices = None
    if missing == [names[0], names[2]] and str(values[1]) == "1":
        return None
    if missing == [*names[1:]] and _whole(variables.get(MPI_COUNT)) > 1:
        values = (values[0], variables[MPI_COUNT], variables.get("OMPI_COMM_WORLD_RANK"))
        devices = _devices_of_mpi(variables)
    elif missing:
        raise UserError(
            f"{', '.join(names)} go together, and {', '.join(missing)} is missing. Give all three, or {names[1]} 1 "
            f"alone for a process by itself."
        )
    address, count, index = values
    found = re.fullmatch(r".+:(\d{1,5})", str(address))
    if found is None or not 0 < int(found[1]) < 2**16:
        raise UserError(
            f"{names[0]}: HOST:PORT is needed, with a port up to 65535, such as 10.0.0.1:7788; {address!r} was given."
        )
    count, index = (_number(name, value) for name, value in zip(names[1:], (count, index), strict=True))
    if count < 1 or not 0 <= index < count:
        raise UserError(
            f"{names[1]}, {names[2]}: processes are numbered from 0 to one less than their number; {index} of {count} "
            f"was given."
        )
    return None if count == 1 else Place(f"{names[0]}", str(address), count, index, devices)


def _devices_of_mpi(variables: Mapping[str, str]) -> tuple[int, ...] | None:
    """One for each process of a machine that has several."""
    several = _whole(variables.get("OMPI_COMM_WORLD_LOCAL_SIZE")) > 1
    return (_whole(variables.get("OMPI_COMM_WORLD_LOCAL_RANK")),) if several else None


def _number(name: str, value: str | int | None) -> int:
    if not re.fullmatch(r"-?\d+", str(value)):
        raise UserError(f"{name}: a whole number is needed, {value!r} was given.")
    return int(str(value))


def _whole(text: str | None) -> int:
    return int(text) if text and text.isdigit() else 0


def _of_slurm(variables: Mapping[str, str]) -> Place:
    """The place of a task in a step of Slurm; process 0 is on the first machine of the list."""
    # The first of "gpu[07-09,12],login" is gpu07: of each bracket the first number counts.
    first = re.match(r"(?:[^,\[]|\[[^\]]*\])+", variables.get("SLURM_STEP_NODELIST", ""))
    if first is None:
        raise UserError("SLURM_STEP_NODELIST: names no machine. Start the processes with srun.")
    host = re.sub(r"\[(\d+)[^\]]*\]", r"\1", first[0])
    port = 65535 - _whole(variables.get("SLURM_JOB_ID")) % 4096  # another one for each job of a machine
    return Place(
        "Slurm",
        f"{host}:{port}",
        _whole(variables["SLURM_STEP_NUM_TASKS"]),
        _whole(variables["SLURM_PROCID"]),
        _devices_of_task(variables),
    )


def _devices_of_task(variables: Mapping[str, str]) -> tuple[int, ...] | None:
    """An equal share of the GPUs of a machine that shows all of them to each of its tasks; else all that it shows."""
    shown = [each for each in variables.get("CUDA_VISIBLE_DEVICES", "").split(",") if each]
    tasks = _tasks_of_machine(variables)
    own = variables.get("SLURM_GPUS_PER_TASK") or "gpu" in variables.get("SLURM_TRES_PER_TASK", "")
    if variables.get("SLURM_GPU_BIND", "none") != "none" or own or tasks < 2 or len(shown) < 2:
        return None
    if len(shown) < tasks:
        raise UserError(
            f"Slurm: {tasks} tasks of this machine would share {len(shown)} GPUs (CUDA_VISIBLE_DEVICES="
            f"{','.join(shown)}). Start at most one for each (--ntasks-per-node={len(shown)}), or show them none "
            f"(CUDA_VISIBLE_DEVICES=)."
        )
    each, number = len(shown) // tasks, _whole(variables.get("SLURM_LOCALID"))
    return tuple(range(number * each, (number + 1) * each))


def _tasks_of_machine(variables: Mapping[str, str]) -> int:
    """Of this step on this machine, from a list such as ``2(x3),1``."""
    counts = list[int]()
    for count, times in re.findall(r"(\d+)(?:\(x(\d+)\))?", variables.get("SLURM_STEP_TASKS_PER_NODE", "")):
        counts += [int(count)] * int(times or 1)
    number = _whole(variables.get("SLURM_NODEID"))
    return counts[number] if number < len(counts) else 1


def seconds_of(name: str, otherwise: float, environment: Mapping[str, str] | None = None) -> float:
    """The seconds that a variable names, such as `SILENT` or `STUCK`; ``otherwise`` where it is not there.

    Raises:
        UserError: for what is no number, or fewer than `FEWEST_SECONDS`.
    """
    text = (os.environ if environment is None else environment).get(name, f"{otherwise}")
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not FEWEST_SECONDS <= seconds < math.inf:
        raise UserError(f"{name}: a number of seconds from {FEWEST_SECONDS:g} on is needed, {text!r} was given.")
    return seconds


def join(place: Place, seconds: int = JOIN_SECONDS) -> ProcessGroup:
    """Meet the others; all of them come out at about the same time. To be called before JAX is used.

    Args:
        place: which process this is.
        seconds: how long to wait for the others.

    Raises:
        UserError: if process 0 cannot listen at the address, or the processes were not started alike; for a variable
            `SILENT` or `STUCK` that means nothing.
        RunError: if not all have come, or process 0 is not reached; named.
    """
    import jax

    silent, stuck = seconds_of(SILENT, SILENT_SECONDS), seconds_of(STUCK, STUCK_SECONDS)
    address, hosts = place.coordinator, dict[int, str]()
    if place.coordinator is not None and place.count is not None and place.index is not None:
        hosts, port = meet(place.coordinator, place.count, place.index, seconds, {"jax": jax.__version__})
        address = f"{place.coordinator.rpartition(':')[0]}:{port}"
    # All that this process sees, unless told otherwise: where JAX finds its place by itself, it would take one GPU.
    devices = list(place.devices or ())
    # JAX would take SIGTERM for itself, which this program answers.
    jax.config.update("jax_enable_preemption_service", False)
    try:
        with outliving(silent + LINGER_SECONDS), speaking(lambda: current().end_without_store()):
            jax.distributed.initialize(
                address,
                place.count,
                place.index,
                local_device_ids=devices,
                initialization_timeout=seconds,
                heartbeat_timeout_seconds=math.ceil(3 * silent + OWN_SECONDS),
            )
    except (RuntimeError, ValueError) as error:
        raise RunError(f"{place.told}: the processes did not come together ({first_line(error)}).") from None
    return begin(hosts, silent, stuck)
