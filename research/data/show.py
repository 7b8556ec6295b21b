"""What a person sees of a dataset before training on it."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from research.data.prepare import Data
from research.data.source import Source


def show(source: Source, details: bool = True) -> Iterator[RenderableType]:
    """Load and split a source with the default split, and yield what to print about it.

    Args:
        source: the dataset.
        details: with licence, citation, notes and a line per feature; without, only that it is ready.

    Raises:
        UserError: if the data is absent or not what the source declares.
    """
    about = source.about()
    prepared = Data(source=source).prepare()
    rows = sum(len(examples) for examples in prepared.splits.values())
    # Names and notes are the user's: as `Text` they are shown as they are, brackets included.
    size = f"{rows} examples, {len(prepared.columns)} columns"
    yield Text(f"{about.name}: {size}, fingerprint {prepared.fingerprint}: ready")
    if not details:
        return
    yield Text(about.summary)
    facts = Table.grid(padding=(0, 2))
    for label in ("licence", "citation", "homepage"):
        if getattr(about, label):
            facts.add_row(label, Text(getattr(about, label)))
    facts.add_row("task", Text(f"{prepared.task.kind}: {', '.join(prepared.task.names)}"))
    facts.add_row("patients", Text(prepared.leakage.basis))
    for note in (*about.notes, *prepared.warnings):
        facts.add_row("note", Text(note))
    yield facts
    splits = Table("split (by default)", "examples", "targets", box=None, padding=(0, 2, 0, 0))
    for name, split in prepared.summary()["splits"].items():
        targets = next((split[key] for key in ("classes", "labels", "targets") if key in split), {})
        shown = ", ".join(f"{key} {value}" for key, value in targets.items())
        splits.add_row(name, str(split["examples"]), Text(shown))
    yield splits
    yield _columns(prepared.splits["train"].inputs.shape[1], source)


def _columns(features: int, source: Source) -> Table:
    """Each raw column with its kind, unit, range and missing values."""
    raw = source.load()
    table = Table("column", "kind", "unit", "range or categories", "missing", box=None, padding=(0, 2, 0, 0))
    table.caption = f"{features} features after the default preprocessing"
    for column in raw.columns:
        values = raw.frame[column.name]
        if column.kind == "numeric":
            shown = f"{values.min():.4g} to {values.max():.4g}, median {values.median():.4g}"
        else:
            shown = ", ".join(column.categories[:6]) + (" ..." if len(column.categories) > 6 else "")
        missing = str(values.isna().to_numpy().sum())
        table.add_row(*map(Text, (column.name, column.kind, column.unit, shown, missing)))
    return table
