"""Two runs side by side: what differs is shown as it was written."""

from __future__ import annotations

import io
from pathlib import Path

from rich.console import Console

from research.run_comparison import RunComparison


def test_text_in_brackets_is_shown_as_it_is() -> None:
    differing = {"experiment": {"data.source.target": ("state [/bold]", "glucose [mg/dL]")}, "data": {}}
    comparison = RunComparison(Path("runs/a [old]"), Path("runs/b"), differing, [], "the classes [red]a and b differ")
    console = Console(width=120, record=True, file=io.StringIO())
    for part in comparison.tables():
        console.print(part)
    shown = console.export_text()
    for text in ("A: runs/a [old]", "state [/bold]", "glucose [mg/dL]", "data: no difference", "classes [red]a"):
        assert text in shown, f"{text!r} is not in {shown}"
