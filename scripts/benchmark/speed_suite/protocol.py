"""Parent and worker: lines of JSON over pipes. A worker computes only while it is asked; otherwise it waits to read."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from research.allocator import KEPT, SYSTEM, VARIABLE
from speed_suite.workloads import Entry

FOLDER = Path(__file__).parents[1]


class Failed(Exception):
    """A worker that ended or could not do what it was asked; the text says why."""


class Channel:
    """The worker's end: commands come from standard input, answers go to what standard output was at the start.

    Whatever libraries print goes to standard error.
    """

    def __init__(self) -> None:
        self._out = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)

    def receive(self) -> dict[str, Any] | None:
        """The next command; None once the parent has closed."""
        line = sys.stdin.readline()
        return json.loads(line) if line.strip() else None

    def send(self, answer: dict[str, Any]) -> None:
        """Answer a command."""
        self._out.write(json.dumps(answer) + "\n")
        self._out.flush()


OURS = ("given", "ours", "members")
"""Modules in which this framework runs, as it is."""


class Worker:
    """The parent's end of one contestant's process.

    Args:
        entry: the contestant.
        workload: its name.
        mode: ``train``, or the number of examples per forward pass.
        given: the file of initial parameters and batches; written by the module ``given``, read by the others.
    """

    def __init__(self, entry: Entry, workload: str, mode: str, given: Path) -> None:
        self.entry = entry
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115
        command = [sys.executable, "-m", "speed_suite.worker", json.dumps([entry.module, entry.options])]
        path = os.pathsep.join([str(FOLDER), str(FOLDER.parents[1]), os.environ.get("PYTHONPATH", "")])
        self._process = subprocess.Popen(
            [*command, workload, mode, str(given)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=os.environ | {"PYTHONPATH": path, VARIABLE: KEPT if entry.tuned or entry.module in OURS else SYSTEM},
            text=True,
        )

    def ask(self, command: str, **arguments: Any) -> dict[str, Any]:
        """Its answer; raises `Failed` where there is none."""
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps({"do": command, **arguments}) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        answer = json.loads(line) if line else {"error": f"it ended: {self._last_words()}"}
        if "error" in answer:
            raise Failed(f"{self.entry.name}: {answer['error']}")
        return answer

    def close(self) -> None:
        """End it; a second call does nothing."""
        if self._errors.closed:
            return
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self._process.wait()
        self._errors.close()

    def _last_words(self) -> str:
        self._process.wait()
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else f"exit status {self._process.returncode}"
