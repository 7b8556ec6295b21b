"""One wave as a job for another process, and that process's environment; imported there before JAX."""

from __future__ import annotations

import dataclasses
import os
import socket
import sysconfig
import traceback
from pathlib import Path
from typing import Any

import research
from research.errors import ResearchError
from research.training.processor import FLAG

PATHS = ("RESEARCH_DATA_DIR", "RESEARCH_CACHE_DIR")
TRACEBACK = "error.txt"


@dataclasses.dataclass(frozen=True)
class WaveJob:
    """All that a process needs to train a wave, beside the directory of the ablation.

    Attributes:
        directory: of the ablation, absolute.
        wave: name of the wave's folder.
        execution: JSON of the execution.
        codes: hash of the code behind each member, by identity, in the process that sends it off.
        accept_changes: go on where the worker has other code.
        folder: where that process was started; relative paths to data are meant from there.
        environment: variables that the process needs; see `worker_environment`.
        memory: bytes that the wave is known to take on all its devices together; 0 where that is not known.
    """

    directory: str
    wave: str
    execution: dict[str, Any]
    codes: dict[str, str]
    accept_changes: bool
    folder: str
    environment: dict[str, str]
    memory: int = 0

    @property
    def path(self) -> Path:
        """The wave's folder."""
        return Path(self.directory) / "waves" / self.wave


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of a job.

    Attributes:
        wave: name of the wave's folder.
        error: why it was not trained, for the user; None where it was.
    """

    wave: str
    error: str | None = None


def train_wave(job: WaveJob) -> Outcome:
    """Train the wave in this process, from the beginning or its checkpoint; done at once if it is finished.

    Errors are told and not raised, so that they reach the user in words.

    Raises:
        Interrupted: after SIGTERM or SIGINT, once the state is saved: the wave can be begun again.
    """
    os.environ.update(job.environment)
    if Path(job.folder).is_dir():
        os.chdir(job.folder)
    from research.ablation.cluster.worker import train
    from research.training.loop import Interrupted

    try:
        train(job)
    except Interrupted:
        raise
    except ResearchError as error:
        return Outcome(job.wave, f"on {socket.gethostname()}: {error}")
    except Exception as error:
        place = job.path / TRACEBACK
        text = f"on {socket.gethostname()}: {type(error).__name__}: {error}\nThis was not foreseen."
        try:
            place.write_text(traceback.format_exc(), encoding="utf-8")
        except OSError:
            return Outcome(job.wave, text)
        return Outcome(job.wave, f"{text} {place} says where it happened.")
    return Outcome(job.wave)


def worker_environment(cpus: int, gpus: int) -> dict[str, str]:
    """Variables of this process that decide what a worker finds and computes, made fit for one.

    Paths become absolute; JAX sees ``cpus`` devices where there is no GPU.
    """
    found = {name: value for name, value in os.environ.items() if name.startswith(("RESEARCH_", "JAX_"))}
    for name in PATHS:
        if found.get(name):
            found[name] = str(Path(found[name]).expanduser().absolute())
    flags = [flag for flag in os.environ.get("XLA_FLAGS", "").split() if not flag.startswith(FLAG)]
    found.pop("JAX_PLATFORMS", None)
    if not gpus:
        flags.append(f"{FLAG}={cpus}")
        found["JAX_PLATFORMS"] = "cpu"
    return found | {"XLA_FLAGS": " ".join(flags), "PYTHONPATH": os.pathsep.join(_python_path())}


def _python_path() -> list[str]:
    """Where this process finds modules beside installed ones: this package's own folder where it is not installed."""
    package = str(Path(research.__file__).parent.parent.resolve())
    installed = {str(Path(sysconfig.get_path(name)).resolve()) for name in ("purelib", "platlib")}
    given = [str(Path(entry).absolute()) for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    return list(dict.fromkeys([*([] if package in installed else [package]), *given]))
