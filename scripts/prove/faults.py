"""What strikes one of two processes that train a run, what both say then, and how long it takes until they have ended.

    .venv/bin/python scripts/prove/faults.py

Real processes: the disk of one is full while a checkpoint is saved, one is killed or stopped between two updates,
process 0 is lost together with the store through which they speak, as where its machine is; the port to meet at is in
use; one never comes. Those that were not struck must end by themselves, within a minute, with the words and the exit
code that are expected; a checkpoint that was complete must be there and readable afterwards. Prints a row for each
fault; fails where one does not hold. Processes are taken for lost after 4 s here. The last row takes the five minutes
that one is waited for.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "processes"))

from launched import came, ended, launch, processes_of

from research.errors import REQUEUE, RunError
from research.training.checkpoint import Checkpoints
from research.training.provenance import machine
from research.training.run_directory import RunDirectory

EXPERIMENT = """
from research.models import MLP
from tiny import EXPERIMENT

experiment = EXPERIMENT.replace(steps=1_000_000, model=MLP(widths=(512,)))
"""
OPTIONS = ["execution.tensorboard=false", "execution.figures=false", "execution.checkpoint_every=100"]
STRUCK_AT = 300
FULL_BYTES = 40_000
"""Files beyond this cannot be written on a disk that is full: those of checkpoints are larger, and no others."""

MOST_SECONDS = 60.0
SAVED = "What was saved is intact: run the same command again."


@dataclasses.dataclass(frozen=True)
class Fault:
    """Something that strikes a run of two processes.

    Attributes:
        name: of the row.
        strike: does it, given the process ids; returns those of the processes that cannot end by themselves then.
        expected: patterns of what must be said.
        code: that scripts/launch_local must end with, which is that of process 0.
    """

    name: str
    strike: Callable[[list[int]], list[int]]
    expected: tuple[str, ...]
    code: int


def full(index: int) -> Callable[[list[int]], list[int]]:
    """The disk of a process is full."""

    def strike(pids: list[int]) -> list[int]:
        resource.prlimit(pids[index], resource.RLIMIT_FSIZE, (FULL_BYTES, FULL_BYTES))
        return []

    return strike


def struck(number: signal.Signals, index: int, with_store: bool = False) -> Callable[[list[int]], list[int]]:
    """A process receives a signal, and process 0 with the store beside it."""

    def strike(pids: list[int]) -> list[int]:
        victims = [*(children(pids[0]) if with_store else []), pids[index]]
        for pid in victims:
            os.kill(pid, number)
        return victims

    return strike


def children(pid: int) -> list[int]:
    """Process ids."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


LOST = r"process {} \(.*\) has given no sign of life for 4 s"
GONE = r"process 0 \(.*\) can no longer be reached.*Its machine or pod was lost"
FULL = r"checkpoints/last: a checkpoint could not be written: File too large\. The checkpoint of step \d+ is intact"
KILLED = 128 + signal.SIGKILL
BROKEN = RunError.exit_code
FAULTS = (
    Fault(
        "disk full, process 0", full(0), (rf"error: \S*{FULL}", rf"process 0 \(.*\) has failed.*{FULL}", SAVED), BROKEN
    ),
    Fault(
        "disk full, process 1",
        full(1),
        (rf"process 1 \(.*\): \S*{FULL}", r"process 1 \(.*\) has failed", SAVED),
        BROKEN,
    ),
    Fault("process 0 killed", struck(signal.SIGKILL, 0), (LOST.format(0), SAVED, "killed: process 0"), KILLED),
    Fault("process 1 killed", struck(signal.SIGKILL, 1), (LOST.format(1), SAVED, "killed: process 1"), REQUEUE),
    Fault("process 0 stopped", struck(signal.SIGSTOP, 0), (LOST.format(0), SAVED), KILLED),
    Fault("process 1 stopped", struck(signal.SIGSTOP, 1), (LOST.format(1), SAVED), REQUEUE),
    Fault("process 0 and store killed", struck(signal.SIGKILL, 0, with_store=True), (GONE, SAVED), KILLED),
    Fault("process 0 and store stopped", struck(signal.SIGSTOP, 0, with_store=True), (GONE, SAVED), KILLED),
)


def running(pid: int) -> bool:
    """Whether a process has not ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def strike(fault: Fault, folder: Path) -> tuple[float, str, str]:
    """Seconds from the fault to the end of those that were not struck, what was said, and what does not hold."""
    file, runs = folder / "faulty.py", folder / "runs"
    file.write_text(EXPERIMENT)
    arguments = [str(file), *OPTIONS, "execution.parallel.data=2", "--runs", str(runs)]
    launched = launch(2, arguments, f"save:{STRUCK_AT}:{folder / 'moment'}")
    assert came(launched, folder / "moment") is not None
    pids = processes_of(launched)
    (directory,) = runs.glob("*/*")
    last = RunDirectory(directory).last
    before, began = Checkpoints(last, writable=False).latest(), time.monotonic()
    victims = fault.strike(pids)
    while any(running(pid) for pid in pids if pid not in victims) and time.monotonic() < began + 2 * MOST_SECONDS:
        time.sleep(0.05)
    seconds = time.monotonic() - began
    for pid in filter(running, {*victims, *pids}):
        os.kill(pid, signal.SIGKILL)
    code, said = ended(launched)
    wrong = [f"not said: {pattern}" for pattern in fault.expected if not re.search(pattern, said)]
    if code != fault.code:
        wrong.append(f"exit code {code}, not {fault.code}")
    kept = Checkpoints(last, writable=False)
    after = kept.latest()
    if before is None or after is None or after < before:
        wrong.append(f"checkpoint {before} was complete, {after} is the newest")
    else:
        kept.restore_free(after)
    if seconds > MOST_SECONDS:
        wrong.append("too long")
    return seconds, said, "; ".join(wrong)


def first_process(port: int, folder: Path) -> subprocess.Popen[str]:
    """Process 0 of two, by itself."""
    (folder / "faulty.py").write_text(EXPERIMENT)
    place = ["--coordinator", f"127.0.0.1:{port}", "--processes", "2", "--process", "0"]
    command = [sys.executable, "-m", "research", "run", str(folder / "faulty.py"), "--runs", str(folder / "runs")]
    path = os.pathsep.join((*sys.path[:2], os.environ.get("PYTHONPATH", "")))
    environment = {**os.environ, "PYTHONPATH": path}
    return subprocess.Popen([*command, *place], env=environment, stderr=subprocess.PIPE, text=True)


def meeting(folder: Path) -> Iterator[tuple[str, float, str, str]]:
    """The rows of processes that do not come together: name, seconds, what was said, and what does not hold."""
    expectations = ("process 0 cannot listen at port", "1 of 2 processes did not come within 300 s: process 1 has not")
    for name, expected in zip(("port in use", "process 1 never comes"), expectations, strict=True):
        with socket.create_server(("", 0)) as listener:
            port = listener.getsockname()[1]
            if name != "port in use":
                listener.close()
            began = time.monotonic()
            _, said = first_process(port, folder).communicate()
            yield name, time.monotonic() - began, said, "" if expected in said else f"not said: {expected}"


def main() -> None:
    """Print a row for each fault."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    print(f"{time.strftime('%Y-%m-%d')}, {machine()}\n")
    print("| fault | seconds | said | does not hold |\n|---|---|---|---|")
    failed = False

    def row(name: str, seconds: float, said: str, wrong: str) -> None:
        nonlocal failed
        failed |= bool(wrong)
        errors = re.findall(r"error: (.*)", said)
        words = "; ".join(re.sub(r"/\S*/(?=checkpoints/)", "", error) for error in errors)
        print(f"| {name} | {seconds:.1f} | {words} | {wrong or 'nothing'} |", flush=True)

    for fault in FAULTS:
        with tempfile.TemporaryDirectory() as name:
            row(fault.name, *strike(fault, Path(name)))
    with tempfile.TemporaryDirectory() as name:
        for found in meeting(Path(name)):
            row(*found)
    sys.exit(failed)


if __name__ == "__main__":
    main()
