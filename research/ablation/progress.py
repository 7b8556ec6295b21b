"""What a person sees while an ablation goes on, here or on a cluster: a bar in a terminal, quiet lines elsewhere."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from research import metrics
from research.ablation.directory import Wave
from research.ablation.names import value_at
from research.ablation.plan import duration
from research.training.metrics_log import read_metrics
from research.training.progress import QUIET_SECONDS

LOOK_SECONDS = 2.0
BAR = 10
"""Letters that the bar takes."""


class AblationDisplay:
    """Shows groups, waves and members done, the best on validation so far, and the time left.

    Of waves trained here the best is that of the events of their logs as they come; of others that of the logs of
    those whose results are there, and a line is shown for each that is begun again or fails.

    Args:
        console: where to show it; None shows nothing, no terminal gets a line every 15 seconds.
        waves: that are trained.
        groups: number of the group of each wave.
    """

    def __init__(self, console: Console | None, waves: Sequence[Wave], groups: Sequence[int]) -> None:
        self.console = console
        self._waves = {wave.path: wave for wave in waves}
        self._group = {wave.path: number for wave, number in zip(waves, groups, strict=True)}
        self._left, self._failed = dict(self._waves), set[Path]()
        self._members = sum(len(wave.identities) for wave in waves)
        self._done, self._share = 0, 0.0
        # Of a wave that is gone on with, the pace counts from its first event: what was done before took no time now.
        self._resumed, self._earlier, self._wave_began = False, 0.0, 0.0
        self._here: Wave | None = None
        self._best, self._metric, self._value = "", "", math.nan
        self._attempts = {path: len(wave.attempted()) for path, wave in self._waves.items()}
        self._before = dict(self._attempts)
        self._began = self._shown = self._looked = time.monotonic()
        self._bar: Progress | None = None
        if console is not None and console.is_terminal and waves:
            texts = (TextColumn(f"{{task.fields[{name}]}}", markup=False) for name in ("done", "note"))
            counts, note = texts
            self._bar = Progress(counts, BarColumn(bar_width=BAR), note, console=console, refresh_per_second=4)
            self._bar.start()
            self._task = self._bar.add_task("", total=float(self._members), done=self._counts(), note="")

    def begin(self, wave: Wave) -> None:
        """A wave is trained here next."""
        self._here, self._share = wave, 0.0
        self._resumed, self._wave_began = wave.last.exists(), time.monotonic()
        self._show(f"{counted(len(wave.identities), 'member')} by {wave.way}")

    def __call__(self, step: int, record: Mapping[str, Any]) -> None:
        """An event of the wave that is trained here."""
        assert self._here is not None
        self._see(self._here, record)
        self._share = step / self._here.about["total_updates"] * len(self._here.identities)
        if self._resumed:
            self._resumed = False
            self._earlier += self._share
            self._began += time.monotonic() - self._wave_began
        self._show()

    def look(self) -> None:
        """Look into the folders of waves that are trained elsewhere, now and then, for attempts that have begun."""
        if self.console is None or time.monotonic() - self._looked < LOOK_SECONDS:
            return
        self._looked = time.monotonic()
        for path, wave in self._left.items():
            attempts = wave.attempted()
            for number, attempt in enumerate(attempts[self._attempts[path] :], self._attempts[path]):
                if number > self._before[path]:
                    self._print(f"{wave.title}: begun again on {attempt['host']}")
            self._attempts[path] = len(attempts)
        self._show(self._elsewhere())

    def ended(self, wave: Wave, error: str | None = None) -> None:
        """A wave has been trained, or will not be, for the reason given."""
        del self._left[wave.path]
        if error is not None:
            self._failed.add(wave.path)
            self._print(f"{wave.title} failed {error}")
        elif self.console is not None:
            if self._here is None:
                for record in read_metrics(wave.curves):
                    self._see(wave, record)
            self._done += len(wave.identities)
        self._share = 0.0
        self._show("" if self._here is not None else self._elsewhere())
        self._here = None

    def _elsewhere(self) -> str:
        return f"{sum(self._attempts[path] > self._before[path] for path in self._left)} in training"

    def _see(self, wave: Wave, record: Mapping[str, Any]) -> None:
        """Note the best member of an event, by the metric that the experiment selects by, or else the loss."""
        members = wave.about["members"]
        metric = value_at(members[0].get("experiment", {}).get("evaluation"), "select.metric") or "loss"
        if metric != self._metric:
            self._best, self._metric, self._value = "", metric, math.nan
        values = np.asarray(record.get(f"validation/{metric}", ()), float)
        if not np.isfinite(values).any():
            return
        sign = 1 if metrics.larger_is_better(metric) else -1
        place = int(np.nanargmax(sign * np.where(np.isfinite(values), values, np.nan)))
        if math.isnan(self._value) or sign * values[place] > sign * self._value:
            self._value = float(values[place])
            self._best = f"best {metric} {self._value:.3g} ({members[record['member'][place]]['name']})"

    def _counts(self) -> str:
        """How many groups, waves and members are done; of groups and waves where there are several."""
        missing = self._left.keys() | self._failed
        groups = len(set(self._group.values()))
        counts = [
            ("group", groups - len({self._group[path] for path in missing}), groups),
            ("wave", len(self._waves) - len(missing), len(self._waves)),
            ("member", math.floor(self._done + self._share), self._members),
        ]
        return "  ".join(f"{n}/{counted(of, name)}" for name, n, of in counts if of > 1 or name == "member")

    def _time_left(self) -> str:
        """How long what is left takes at the pace so far; empty before anything is done."""
        done = self._done + self._share - self._earlier
        left = sum(len(wave.identities) for wave in self._left.values()) - self._share
        if done <= 0 or left <= 0:
            return ""
        return f"{duration((time.monotonic() - self._began) * left / done)} left"

    def _show(self, note: str = "") -> None:
        """Show where things are, the best so far, and a note."""
        if self.console is None:
            return
        counts, left = self._counts(), self._time_left()
        if self._bar is not None:
            room = self.console.width - len(counts) - BAR - len(left) - 5
            text = _cut("  ".join(filter(None, (self._best, note))), room)
            text = "  ".join(filter(None, (left, text)))
            self._bar.update(self._task, completed=self._done + self._share, done=counts, note=text)
        elif time.monotonic() - self._shown > QUIET_SECONDS:
            self._shown = time.monotonic()
            self._print("  ".join(filter(None, (counts, left, self._best, note))))

    def _print(self, text: str) -> None:
        if self.console is not None:
            self.console.print(text, markup=False)

    def close(self) -> None:
        """Leave the last state on the screen."""
        if self._bar is not None:
            self._bar.stop()


def counted(number: int, noun: str) -> str:
    """Such as ``1 member`` or ``2 members``."""
    return f"{number} {noun}{'s' * (number != 1)}"


def _cut(text: str, room: int) -> str:
    return text if len(text) <= room else text[: max(0, room - 1)] + "…"
