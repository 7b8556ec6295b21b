"""What is shown of a dataset: names, units and classes as the user wrote them, brackets included."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from rich.console import Console

from research.data import CSV
from research.reporting.show import show

HEADER = "glucose [mg/dL],x [/y],:smile:,state [bold]"


def bracketed(path: Path) -> CSV:
    """A file whose header and classes hold what rich would take for markup."""
    draw = np.random.default_rng(0)
    names = [("[red]a", "[/]b")[n % 2] + "," + ("well [/]", "ill [severe]")[n % 3 > 0] for n in range(60)]
    rows = [f"{draw.integers(60, 200)},{draw.random():.3f},{name}" for name in names]
    path.write_text("\n".join([HEADER, *rows]))
    return CSV(
        path=str(path),
        target="state [bold]",
        positive="ill [severe]",
        categorical=(":smile:",),
        citation="A. Author [1], [/journal]",
    )


def test_text_in_brackets_is_shown_as_it_is(tmp_path: Path) -> None:
    # A console as a notebook has it, with markup and emoji.
    console = Console(width=200, record=True, file=io.StringIO())
    for part in show(bracketed(tmp_path / "table [v2].csv")):
        console.print(part)
    shown = console.export_text()
    names = ("glucose [mg/dL]", "x [/y]", ":smile:", "[/]b, [red]a", "ill [severe]", "well [/]")
    for text in (*names, "A. Author [1], [/journal]", "table [v2]: 60 examples", "target state [bold]"):
        assert text in shown, f"{text!r} is not in {shown}"
