"""What a person sees while an ablation goes on: one bar for all members in a terminal, quiet lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from research import metrics
from research.ablation.directory import Wave
from research.ablation.groups import Ready
from research.training.progress import QUIET_SECONDS


class AblationDisplay:
    """Shows waves and members done, the best on validation so far, and the time left.

    Args:
        console: where to show it; None shows nothing, no terminal gets a line every 15 seconds.
        members: how many are trained in all.
        waves: in how many waves.
    """

    def __init__(self, console: Console | None, members: int, waves: int) -> None:
        self.console, self.members, self.waves = console, members, waves
        self._wave, self._done, self._best = 0, 0, ""
        self._shown = time.monotonic()
        self._ready: Sequence[Ready] = ()
        self._metric, self._value = "loss", float("nan")
        self._bar: Progress | None = None
        if console is not None and console.is_terminal and members:
            columns = (TextColumn("{task.description}"), BarColumn(bar_width=12), TextColumn("{task.percentage:.0f} %"))
            more = (TextColumn("{task.fields[note]}"), TimeRemainingColumn(compact=True), TextColumn("left"))
            self._bar = Progress(*columns, *more, console=console, refresh_per_second=4)
            self._bar.start()
            self._task = self._bar.add_task("training", total=float(members), note="")

    def begin(self, wave: Wave, members: Sequence[Ready]) -> None:
        """A wave of some members is trained next."""
        self._wave += 1
        self._ready = members
        select = members[0].fitted.evaluation.select
        metric = "loss" if select is None else select.metric
        if metric != self._metric:
            self._metric, self._value, self._best = metric, float("nan"), ""
        self._show(0.0, f"{len(members)} members by {wave.way}")

    def __call__(self, step: int, record: dict[str, Any]) -> None:
        """An event of the wave that is trained."""
        name = f"validation/{self._metric}"
        if name in record:
            values = np.asarray(record[name], float)
            if np.isfinite(values).any():
                larger = metrics.larger_is_better(self._metric)
                place = int(np.nanargmax(values) if larger else np.nanargmin(values))
                if not (values[place] <= self._value if larger else values[place] >= self._value):
                    self._value = values[place]
                    member = self._ready[record["member"][place]].member.name
                    self._best = f"best {self._metric} {values[place]:.3g} ({member})"
        self._show(step / self._ready[0].cadence.total, self._best)

    def end(self) -> None:
        """The wave has been trained."""
        self._done += len(self._ready)
        self._ready = ()
        self._show(0.0, self._best)

    def _show(self, share: float, note: str) -> None:
        done = self._done + share * len(self._ready)
        if self._bar is not None:
            self._bar.update(self._task, completed=done, description=f"wave {self._wave}/{self.waves}", note=note)
        elif self.console is not None and time.monotonic() - self._shown > QUIET_SECONDS:
            self._shown = time.monotonic()
            self.console.print(
                f"wave {self._wave}/{self.waves}  {done:.0f}/{self.members} members  {note}", markup=False
            )

    def close(self) -> None:
        """Leave the last state on the screen."""
        if self._bar is not None:
            self._bar.stop()
