"""What a person sees of a dataset before training on it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from research.data import table
from research.data.augmentation import Augmentation
from research.data.batch import Batch
from research.data.dataset import Dataset
from research.data.event_data import EventData
from research.data.events import Events
from research.data.image_data import ImageData, PreparedImages
from research.data.images import Images
from research.data.prepare import Data, Listener, Prepared
from research.data.series import Series
from research.data.series_data import SeriesData
from research.data.source import Source
from research.data.table_data import TableData
from research.errors import RunError, UserError
from research.keys import stream

PICTURES_SHOWN = 8
CODES_SHOWN = 15
VARIANTS_SHOWN = 6
MOST_UNKNOWN_NAMED = 3
"""Labels that are not known are named below a picture as long as they are no more than these; else counted."""


def data_of(source: Source) -> tuple[Data, Dataset]:
    """The kind of data that a source gives, with its default split, and the raw rows."""
    raw = source.load()
    kinds: dict[type[Dataset], type[Data]] = {Images: ImageData, Series: SeriesData, Events: EventData}
    return kinds.get(type(raw), TableData)(source=source), raw


def prepare(source: Source, listener: Listener | None = None) -> Text:
    """Make a dataset ready, pictures as records for the streaming feed, and say what it is in a line.

    Args:
        source: the dataset.
        listener: told of progress.

    Raises:
        UserError: if the data is absent or not what the source declares.
    """
    data, raw = data_of(source)
    return _headline(data.prepare(stored=True, listener=listener), raw)


def show(source: Source) -> Iterator[RenderableType]:
    """Load and split a source with the default split, and yield what to print about it.

    Args:
        source: the dataset.

    Raises:
        UserError: if the data is absent or not what the source declares.
    """
    data, raw = data_of(source)
    prepared = data.prepare()
    about = prepared.about
    # Names and notes are the user's: as `Text` they are shown as they are, brackets included.
    yield _headline(prepared, raw)
    yield Text(about.summary)
    facts = Table.grid(padding=(0, 2))
    for label in ("licence", "citation", "homepage"):
        if getattr(about, label):
            facts.add_row(label, Text(getattr(about, label)))
    facts.add_row("task", Text(f"{prepared.task.kind}: {', '.join(prepared.task.names)}"))
    facts.add_row("patients", Text(prepared.leakage.basis))
    for note in dict.fromkeys((*about.notes, *prepared.warnings)):
        facts.add_row("note", Text(note))
    yield facts
    yield _splits(prepared)
    if isinstance(raw, table.Table):
        yield _columns(prepared.splits["train"].inputs.shape[1], raw)
    if isinstance(raw, Series):
        yield _variables(raw)
    if isinstance(raw, Events):
        yield _codes(raw)


def _headline(prepared: Prepared, raw: Dataset) -> Text:
    rows = sum(len(examples) for examples in prepared.splits.values())
    if isinstance(raw, table.Table):
        size = f"{rows} examples, {len(raw.columns)} columns"
    elif isinstance(raw, Series | Events):
        what, parts = ("series", "samples") if isinstance(raw, Series) else ("records", "events")
        size = f"{rows} {what} of {_range(raw.lengths, parts)}"
    else:
        assert isinstance(raw, Images)
        size = f"{rows} pictures of {' x '.join(map(str, raw.shape))} (height, width, channels)"
    return Text(f"{prepared.about.name}: {size}, fingerprint {prepared.fingerprint}: ready")


def show_pictures(data: ImageData, path: Path, seed: int = 0, count: int = PICTURES_SHOWN) -> None:
    """Write a contact sheet of training pictures; with augmentation each beside what training may make of it.

    Args:
        data: where the pictures come from; its augmentation is the one that is shown.
        path: file to write, a PNG.
        seed: seed of the draws.
        count: how many pictures.

    Raises:
        UserError: if the data is absent, or the file cannot be written.
    """
    from research.reporting import contact_sheet

    prepared = data.prepare()
    train = prepared.splits["train"]
    # Evenly over the split, so that classes which follow one another are all seen.
    chosen = np.unique(np.linspace(0, len(train) - 1, count).astype(np.int32))
    rows = Batch(
        jnp.asarray(train.read(chosen)), jnp.asarray(train.targets[chosen]), jnp.ones(len(chosen), bool),
        jnp.asarray(chosen), jnp.asarray(train.patient_code[chosen]), prepared.task,
    )  # fmt: skip
    # Standardised pixels are not for the eye: only what happens before that is shown.
    seen = data.replace(pixels=data.pixels.replace(standardize=None, mean=None, deviation=None))
    labels = [_label(prepared, train.targets[position]) for position in chosen]
    pictures, captions = [np.asarray(seen.transform(rows).inputs)], labels
    if data.augmentation is not None:
        changed = jax.jit(lambda key: seen.transform(rows, key).inputs)
        pictures += [np.asarray(changed(stream(seed, "augment", step))) for step in range(VARIANTS_SHOWN)]
        captions = [text for label in labels for text in (label, *[""] * VARIANTS_SHOWN)]
    ordered = np.stack(pictures, axis=1).reshape(-1, *pictures[0].shape[1:])
    title = f"{prepared.about.name}: training pictures"
    columns = 4
    if data.augmentation is not None:
        columns = len(pictures)
        title += f", and {VARIANTS_SHOWN} augmented forms of each"
    # After scaling, what was stored as 255 is to be seen as white.
    white = 255 * float(data.pixels.rescale)
    try:
        contact_sheet(path, ordered, captions, columns=columns, title=title, white=white)
    except RunError as error:
        raise UserError(f"{error} Choose another file with --out.") from None


def gentle() -> Augmentation:
    """What is shown of a dataset that no experiment augments: flips and small moves."""
    return Augmentation(rotation=10.0, translation=0.1, zoom=0.2, horizontal_flip=True, brightness=0.2)


def _label(prepared: Prepared, target: Any) -> str:
    assert isinstance(prepared, PreparedImages)
    task = prepared.task
    if task.is_classes:
        return task.names[int(target)]
    if task.kind == "multilabel":
        return _labels(task.names, target)
    if task.kind == "survival":
        return f"{target[0]:.3g}, {task.names[0] if target[1] else 'censored'}"
    return ", ".join(f"{value:.3g}" for value in target)


def _labels(names: Sequence[str], target: Any) -> str:
    """The labels that a picture has, and which are not known: unknown is not absent."""
    there = ", ".join(name for name, value in zip(names, target, strict=True) if value == 1)
    unknown = [name for name, value in zip(names, target, strict=True) if np.isnan(value)]
    if len(unknown) == len(names):
        return "none known"
    if not unknown:
        return there or "none"
    which = ", ".join(unknown) if len(unknown) <= MOST_UNKNOWN_NAMED else f"{len(unknown)} of {len(names)}"
    return f"{there or 'none'}; not known: {which}"


def _splits(prepared: Prepared) -> Table:
    splits = Table("split (by default)", "examples", "targets", box=None, padding=(0, 2, 0, 0))
    for name, split in prepared.summary()["splits"].items():
        targets = next((split[key] for key in ("classes", "labels", "targets", "events") if key in split), {})
        shown = ", ".join(f"{key} {_amount(value)}" for key, value in targets.items())
        splits.add_row(name, str(split["examples"]), Text(shown))
    return splits


def _amount(value: Any) -> str:
    """A count, or mean and deviation of a quantity."""
    if isinstance(value, dict) and "mean" in value:
        return f"{value['mean']:.4g} ± {value['standard_deviation']:.3g}"
    return str(value)


def _range(numbers: np.ndarray, what: str) -> str:
    least, most = int(numbers.min()), int(numbers.max())
    return f"{least} {what}" if least == most else f"{least} to {most} {what} (median {np.median(numbers):.0f})"


def _variables(raw: Series) -> Table:
    """Each variable with its unit, range, and how often it was measured."""
    shown = Table("variable", "unit", "range", "measured", box=None, padding=(0, 2, 0, 0))
    spacing = "" if raw.time is not None else f", {raw.interval:g} apart"
    shown.caption = f"time in {raw.time_unit}{spacing}"
    groups = [(raw.variables, raw.values, raw.scale), (raw.static_variables, raw.static, 1.0)]
    for variables, values, scale in groups:
        for variable, column in zip(variables, () if values is None else values.T, strict=True):
            known = column[~np.isnan(column)] * scale if column.dtype.kind == "f" else column * scale
            text = f"{known.min():.4g} to {known.max():.4g}, median {np.median(known):.4g}" if len(known) else "never"
            shown.add_row(Text(variable.name), Text(variable.unit), text, f"{100 * len(known) / len(column):.1f} %")
    return shown


def _codes(raw: Events) -> Table:
    """The most frequent codes."""
    shown = Table("code", "events", "records", box=None, padding=(0, 2, 0, 0))
    counts = np.bincount(raw.codes, minlength=len(raw.vocabulary))
    record = np.repeat(np.arange(len(raw)), raw.lengths)
    for code in np.argsort(-counts, kind="stable")[:CODES_SHOWN]:
        records = len(np.unique(record[raw.codes == code]))
        shown.add_row(Text(raw.vocabulary[code]), f"{counts[code]:,}", f"{records:,}")
    shown.caption = f"{len(raw.vocabulary):,} codes in all"
    return shown


def _columns(features: int, raw: table.Table) -> Table:
    """Each raw column with its kind, unit, range and missing values."""
    shown = Table("column", "kind", "unit", "range or categories", "missing", box=None, padding=(0, 2, 0, 0))
    shown.caption = f"{features} features after the default preprocessing"
    for column in raw.columns:
        values = raw.frame[column.name]
        if column.kind == "numeric":
            text = f"{values.min():.4g} to {values.max():.4g}, median {values.median():.4g}"
        else:
            text = ", ".join(column.categories[:6]) + (" ..." if len(column.categories) > 6 else "")
        missing = str(values.isna().to_numpy().sum())
        shown.add_row(*map(Text, (column.name, column.kind, column.unit, text, missing)))
    return shown
