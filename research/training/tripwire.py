"""Stops a real process at a chosen moment, so that `verify-resume` can kill it there; off unless asked for."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable
from pathlib import Path

VARIABLE = "RESEARCH_TRIPWIRE"


@dataclasses.dataclass(frozen=True)
class Tripwire:
    """A moment of a run, and the file that tells the watching process that it has come.

    Attributes:
        moment: ``update`` (between two dispatches), ``save`` (a checkpoint is being written) or ``report``
            (training is over, the results are not written).
        step: the earliest step at which it counts.
        file: created when the moment has come, by the first process that comes to it; holds its process id and the
            step.
    """

    moment: str
    step: int
    file: Path

    @staticmethod
    def armed() -> Tripwire | None:
        """The tripwire that the environment asks for: ``moment:step:file``."""
        text = os.environ.get(VARIABLE, "")
        if not text:
            return None
        moment, step, file = text.split(":", 2)
        return Tripwire(moment, int(step), Path(file))

    def reached(self, moment: str, step: int, released: Callable[[], bool] = lambda: False) -> None:
        """At its moment: create the file and, except in the middle of a save, wait there to be killed."""
        if moment != self.moment or step < self.step:
            return
        try:
            with open(self.file, "x", encoding="utf-8") as file:
                file.write(f"{os.getpid()} {step}")
        except FileExistsError:
            return
        while moment != "save" and not released():
            time.sleep(0.002)
