"""What commands print: tables for people, JSON for machines."""

from __future__ import annotations

import json
import sys
from typing import Any

from rich.console import Console


def terminal(**options: Any) -> Console:
    """A console that shows text as it is: names and values of the user may hold brackets, colons and numbers."""
    return Console(markup=False, emoji=False, highlight=False, **options)


def show_report(console: Console, report: Any, title: str) -> None:
    """The tables of a report under a title."""
    console.print(f"\n{title}", style="bold")
    for table in report.tables():
        console.print(table)


def print_json(value: Any) -> None:
    """Strict JSON on standard output; a number that is not finite is null there."""
    from research.training.metrics_log import finite

    json.dump(finite(value), sys.stdout, indent=1, allow_nan=False, default=str)
    sys.stdout.write("\n")
