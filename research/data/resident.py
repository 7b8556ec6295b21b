"""The resident feed: a split is put into device memory once; every update gathers its rows by index."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int32

from research.data.batch import Batch
from research.data.feed import Feed, Orders, Reading, Window, order_like
from research.data.placing import place
from research.data.pool import Pooled, inputs_at, pool_of
from research.data.prepare import Examples
from research.task import Task

WINDOW_ENTRIES = 2**18
WINDOW_STEPS = 4096


def put(examples: Examples, task: Task, device: Any = None) -> Batch:
    """A whole split on the device, as one batch in which ``example`` counts 0, 1, 2 ....

    No row is padding, unless ``room`` of the split is larger than it: then copies of the first row fill it up.
    """
    whole = dataclasses.replace(without_inputs(examples, task), inputs=examples.all_inputs())
    return place(filled(whole, examples.room), device)


def put_pooled(examples: Sequence[Mapping[str, Examples]], task: Task, device: Any) -> list[dict[str, Batch]] | None:
    """Several divisions of the same rows on a device, where the inputs of each row are there once, in a `Pooled`.

    Returns:
        The splits of each division, by name, filled up as by `put`; None where inputs of a row differ.
    """
    pool = pool_of([split for division in examples for split in division.values()])
    if pool is None:
        return None
    numbers, inputs = pool
    inputs = jax.device_put(inputs, device)

    def pooled(split: Examples) -> Batch:
        rows = np.searchsorted(numbers, split.example).astype(np.int32)
        whole = filled(dataclasses.replace(without_inputs(split, task), inputs=rows), split.room)
        whole = jax.device_put(whole, device)
        return dataclasses.replace(whole, inputs=Pooled(inputs, whole.inputs))

    return [{name: pooled(split) for name, split in division.items()} for division in examples]


def without_inputs(examples: Examples, task: Task) -> Batch:
    """A whole split on the host, but for its inputs."""
    count = len(examples)
    rows = np.arange(count, dtype=np.int32)
    return Batch(None, examples.targets, np.ones(count, bool), rows, examples.patient_code, task)


def filled(rows: Batch, room: int) -> Batch:
    """Rows on the host, filled up to ``room`` with copies of the first one as padding."""
    count = len(rows.mask)
    if room <= count:
        return rows
    row = np.arange(room)
    padded: Batch = jax.tree.map(lambda array: array[np.where(row < count, row, 0)], rows)
    return dataclasses.replace(padded, mask=row < count, example=row.astype(np.int32))


def take(split: Batch, index: Int32[Array, " B"], mask: Bool[Array, " B"]) -> Batch:
    """The rows ``index`` of a resident split, gathered on the device; ``mask`` is False on padding."""
    rows: Batch = jax.tree.map(
        lambda array: jnp.take(array, index, axis=0, mode="clip"), dataclasses.replace(split, inputs=None)
    )
    return Batch(inputs_at(split, index), rows.targets, mask, rows.example, rows.patient, split.task)


class ResidentFeed(Feed):
    """Windows of row indices into a split on the device, made ahead by the order of (seed, epoch, example).

    Every window has the same shape, so one compiled program serves any number of updates.
    """

    def __init__(
        self, reading: Reading | Orders, split: Batch, device: Any = None, entries: int = WINDOW_ENTRIES
    ) -> None:
        """Make no window yet.

        Args:
            reading: which rows when.
            split: the training split, as `put` makes it.
            device: where the indices go.
            entries: rows that a window names at most, where it holds more than one update.
        """
        super().__init__(reading)
        self.split, self.device = split, device
        self.length = max(1, min(WINDOW_STEPS, entries // math.prod(reading.shape(1))))
        self._start = -1
        self._window: tuple[Any, Any] = (None, None)

    def make_window(self, step: int) -> Window:
        """See `Feed.make_window`."""
        start = step - step % self.length
        if start != self._start:
            self._window = place(self.reading.rows(start, self.length), self.device)
            self._start = start
        offset = step - start
        return Window(self.split, *self._window, offset, self.length - offset)

    def window_like(self) -> Window:
        """See `Feed.window_like`."""
        return Window(self.split, *order_like(self.reading.shape(self.length)), 0, self.length)
