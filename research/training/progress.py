"""What a person sees while a run goes on: a bar in a terminal, a quiet line now and then elsewhere."""

from __future__ import annotations

import contextlib
import time
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

QUIET_SECONDS = 15.0
PATIENCE_SECONDS = 2.0


class ProgressDisplay:
    """Shows steps, loss, the validation metrics, examples per second and the time left.

    Args:
        console: where to show it; a console that is no terminal gets a line every 15 seconds.
        total: updates of the whole run.
        step: updates already made.
        examples_per_update: rows that one update consumes; 0 without data.
    """

    def __init__(self, console: Console, total: int, step: int, examples_per_update: int) -> None:
        self.console, self.total, self.per_update = console, total, examples_per_update
        self._began, self._first, self._shown = time.monotonic(), step, time.monotonic()
        self._bar: Progress | None = None
        if console.is_terminal:
            # At 80 columns all of it has room.
            columns = (BarColumn(bar_width=12), TextColumn("{task.completed}/{task.total}"))
            more = (TextColumn("{task.fields[note]}"), TimeRemainingColumn(compact=True), TextColumn("left"))
            self._bar = Progress(*columns, *more, console=console, refresh_per_second=4)
            self._bar.start()
            self._task = self._bar.add_task("training", total=total, completed=step, note="")

    def __call__(self, record: dict[str, Any]) -> None:
        """Show one record of the log."""
        now = time.monotonic()
        pace = (record["step"] - self._first) / max(now - self._began, 1e-9)
        if self._bar is not None:
            self._bar.update(self._task, completed=record["step"], note=self._note(record, pace))
        elif now - self._shown > QUIET_SECONDS:
            self._shown = now
            left = (self.total - record["step"]) / max(pace, 1e-9)
            self.console.print(f"step {record['step']}/{self.total}  {self._note(record, pace)}  {left:.0f} s left")

    def _note(self, record: dict[str, Any], pace: float) -> str:
        parts = [f"loss {record['train/loss']:.3g}"] if "train/loss" in record else []
        if "validation/loss" in record:
            parts.append(f"val {record['validation/loss']:.3g}")
        rate = pace * self.per_update
        parts.append(f"{rate:,.0f} examples/s" if self.per_update else f"{pace:,.0f} updates/s")
        return "  ".join(parts)

    def close(self) -> None:
        """Leave the last state on the screen."""
        if self._bar is not None:
            self._bar.stop()


class PreparingDisplay:
    """Shows how far the preparation of the data has come, once it has taken a while.

    Args:
        console: where to show it; None shows nothing.
    """

    def __init__(self, console: Console | None) -> None:
        self.console = console
        self._shown = time.monotonic()
        self._bar: Progress | None = None

    def __call__(self, what: str, done: int, total: int) -> None:
        """Show that ``done`` of ``total`` are done; see `research.data.prepare.Listener`."""
        now = time.monotonic()
        if self.console is None or (self._bar is None and now - self._shown < PATIENCE_SECONDS):
            return
        if not self.console.is_terminal:
            if now - self._shown > QUIET_SECONDS:
                self._shown = now
                self.console.print(f"{what}: {done}/{total}")
            return
        if self._bar is None:
            columns = (TextColumn("{task.description}"), BarColumn(bar_width=12), TextColumn("{task.completed}"))
            self._bar = Progress(*columns, TextColumn("of {task.total}"), TimeRemainingColumn(), console=self.console)
            self._bar.start()
            self._task = self._bar.add_task(what, total=total)
        self._bar.update(self._task, description=what, completed=done, total=total)

    def close(self) -> None:
        """Leave the last state on the screen."""
        if self._bar is not None:
            self._bar.stop()


def waiting(console: Console | None, why: str) -> contextlib.AbstractContextManager[Any]:
    """Says in a terminal, until it is done, why nothing else happens for a while."""
    if console is None or not console.is_terminal:
        return contextlib.nullcontext()
    return console.status(why)


def say(console: Console | None, text: str) -> None:
    """Show a line where anything is shown."""
    if console is not None:
        # Names and paths may have brackets in them, which rich would take for its markup.
        console.print(text, markup=False)
