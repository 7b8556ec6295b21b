"""`pace.jsonl`: how fast a run was between two events of its log. Apart from the metrics, which no clock touches."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from research.training.profiling import Throughput

Measure = Callable[[int, float, float], Throughput]
"""Updates, the seconds that they took, and the share of these spent waiting for rows, to what is said of them."""


SHORTEST = 0.05
"""Seconds since the last line before which none is written: of events that are read at once the pace means nothing."""


class PaceLog:
    """Appends a line for each event: step, seconds since this process began, and what `Throughput` says since the last.

    An event that is read within `SHORTEST` of the last line has none, and counts with the next one.

    Args:
        path: the file; a resumed run goes on in it.
        step: updates made before.
        measure: see `Measure`.
        waited: seconds in which rows were waited for so far.
    """

    def __init__(self, path: Path, step: int, measure: Measure, waited: Callable[[], float]) -> None:
        self.path, self._measure, self._waiting = path, measure, waited
        self._step, self._waited = step, waited()
        self._first = self._last = time.perf_counter()

    def __call__(self, record: dict[str, Any]) -> None:
        """Note an event; a file that cannot be written stops no training."""
        now, waited, updates = time.perf_counter(), self._waiting(), record["step"] - self._step
        seconds = now - self._last
        if seconds < SHORTEST:
            return
        share = min(1.0, (waited - self._waited) / seconds)
        found = self._measure(updates, seconds, share).to_json()
        line = {"step": record["step"], "seconds": round(now - self._first, 3), "input_wait_share": round(share, 5)}
        line |= {name: found[name] for name in found if name not in ("updates", "device", "devices")}
        with contextlib.suppress(OSError), open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        self._step, self._last, self._waited = record["step"], now, waited
