"""Runs of real processes through scripts/launch_local, and what strikes them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from research.training.tripwire import VARIABLE

ROOT = Path(__file__).parents[2]
SILENT = {"RESEARCH_SILENT_SECONDS": "4"}
PATIENCE_SECONDS = 240.0


def launch(
    processes: int, arguments: list[str], tripwire: str = "", variables: Mapping[str, str] = {}
) -> subprocess.Popen[str]:
    """Start ``research run`` with ``arguments`` in so many processes; see `Tripwire` for what they come to."""
    command = [sys.executable, str(ROOT / "scripts" / "launch_local"), str(processes), "--"]
    command += [sys.executable, "-m", "research", "run", *arguments]
    path = os.pathsep.join((str(ROOT), str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")))
    environment = {"JAX_PLATFORMS": "cpu", **os.environ, **SILENT, "PYTHONPATH": path, VARIABLE: tripwire, **variables}
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


def ended(launched: subprocess.Popen[str]) -> tuple[int, str]:
    """Exit code of all, and what they said; ends what takes for ever."""
    children = processes_of(launched)
    try:
        said, _ = launched.communicate(timeout=PATIENCE_SECONDS)
    except subprocess.TimeoutExpired:
        for pid in (*children, launched.pid):
            os.kill(pid, signal.SIGKILL)
        raise
    return launched.returncode, said


def processes_of(launched: subprocess.Popen[str]) -> list[int]:
    """Process ids of those that train, in their order."""
    try:
        return [int(pid) for pid in Path(f"/proc/{launched.pid}/task/{launched.pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


def came(launched: subprocess.Popen[str], file: Path) -> tuple[int, int] | None:
    """The process id of the first that has come to the tripwire, and the step; None if all ended before."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        if file.exists() and (text := file.read_text()):
            pid, step = text.split()
            return int(pid), int(step)
        if launched.poll() is not None:
            return None
        time.sleep(0.005)
    raise TimeoutError(f"nobody came to {file}")
