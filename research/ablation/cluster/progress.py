"""What a person sees while waves are trained elsewhere: one bar in a terminal, quiet lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Sequence

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from research.ablation.cluster.wave_job import Outcome
from research.ablation.directory import Wave
from research.training.progress import QUIET_SECONDS

LOOK_SECONDS = 2.0


class ClusterDisplay:
    """Shows waves and members done, and a line for every wave that is begun again or fails.

    Args:
        console: where to show it; None shows nothing, no terminal gets a line every 15 seconds.
        waves: that are trained.
    """

    def __init__(self, console: Console | None, waves: Sequence[Wave]) -> None:
        self.console = console
        self._waves = {wave.path.name: wave for wave in waves}
        self._attempts = {name: len(wave.attempted()) for name, wave in self._waves.items()}
        self._before = dict(self._attempts)
        self._running, self._ended, self._done = 0, 0, 0
        self._members = sum(len(wave.identities) for wave in waves)
        self._left = set(self._waves)
        self._shown = self._looked = time.monotonic()
        self._bar: Progress | None = None
        if console is not None and console.is_terminal and waves:
            columns = (TextColumn("{task.description}"), BarColumn(bar_width=12), TextColumn("{task.percentage:.0f} %"))
            more = (TextColumn("{task.fields[note]}"), TimeRemainingColumn(compact=True), TextColumn("left"))
            self._bar = Progress(*columns, *more, console=console, refresh_per_second=4)
            self._bar.start()
            self._task = self._bar.add_task(self._description(), total=float(self._members), note="")

    def look(self) -> None:
        """Look into the folders of the waves, now and then, for attempts that have begun."""
        if self.console is None or time.monotonic() - self._looked < LOOK_SECONDS:
            return
        self._looked = time.monotonic()
        for name in self._left:
            attempts = self._waves[name].attempted()
            for number, attempt in enumerate(attempts[self._attempts[name] :], self._attempts[name]):
                if number > self._before[name]:
                    self._print(f"{self._waves[name].title}: begun again on {attempt['host']}")
            self._attempts[name] = len(attempts)
        self._running = sum(self._attempts[name] > self._before[name] for name in self._left)
        self._show()

    def ended(self, outcome: Outcome) -> None:
        """A wave has been trained, or will not be."""
        wave = self._waves[outcome.wave]
        self._left.discard(outcome.wave)
        self._running = sum(self._attempts[name] > self._before[name] for name in self._left)
        if outcome.error is None:
            self._ended += 1
            self._done += len(wave.identities)
        else:
            self._print(f"{wave.title} failed {outcome.error}")
        self._show()

    def _description(self) -> str:
        return f"wave {self._ended}/{len(self._waves)}"

    def _show(self) -> None:
        note = f"{self._running} in training"
        if self._bar is not None:
            self._bar.update(self._task, completed=self._done, description=self._description(), note=note)
        elif self.console is not None and time.monotonic() - self._shown > QUIET_SECONDS:
            self._shown = time.monotonic()
            self._print(f"{self._description()}  {self._done}/{self._members} members  {note}")

    def _print(self, text: str) -> None:
        if self.console is not None:
            self.console.print(text, markup=False)

    def close(self) -> None:
        """Leave the last state on the screen."""
        if self._bar is not None:
            self._bar.stop()
