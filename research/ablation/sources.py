"""What the members on one device read: their splits and the rows of their updates, in its memory or from disk.

From disk, rows are read once for all members that take them in the same order. A wave reads one set of rows then, so
that each block of a split that is evaluated, too, is read once for all of it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Int32

from research.ablation.groups import Ready
from research.ablation.memory import size_of
from research.ablation.stacking import one_or_stacked, stacked
from research.data.batch import Batch
from research.data.feed import Feed, Orders
from research.data.pool import Pooled
from research.data.prepare import Prepared
from research.data.resident import ResidentFeed, put, put_pooled
from research.data.streaming import StreamingFeed
from research.training.setup import first_row
from research.training.splits import resident_splits, streamed_splits
from research.training.steps import Split

WINDOW_ENTRIES = 2**20
"""Rows that the windows of all devices together name at most, where they hold more than one update."""

CHUNKS = 2
"""Chunks from disk that are on a device at once: one that is gone through, and the next."""


@dataclasses.dataclass(frozen=True)
class Source:
    """What some members read.

    Attributes:
        splits: by name, with a first axis of data where there are several, but for what these share; empty without.
        example: a batch of one row like those of train, with such an axis too; None without data.
        feed: the rows of the updates, in all orders side by side; None without data.
        data: which of the data each member has.
        order: in which of the orders each member reads.
        several: whether members have different rows.
    """

    splits: dict[str, Split]
    example: Batch | None
    feed: Feed | None
    data: Int32[np.ndarray, " M"]
    order: Int32[np.ndarray, " M"]
    several: bool

    def resident(self) -> tuple[int, int]:
        """Bytes that lie on the device all the time: of the data, and of what says which rows the updates read."""
        if self.feed is None:
            return 0, 0
        window = self.feed.window_like()
        order = size_of((window.index, window.mask))
        if not isinstance(self.feed, StreamingFeed):
            return size_of((self.splits, self.example)), order
        on_host = self.feed.device.platform == "cpu"
        chunks = CHUNKS + (self.feed.chunks_ahead if on_host else 0)
        return size_of(self.example) + chunks * size_of(window.rows), CHUNKS * order


def source_of(members: Sequence[Ready], device: Any, share: int) -> Source:
    """What members of one group read on a device; put there, unless it comes from disk.

    Args:
        members: with their data prepared; all with the same rows where these are on disk.
        device: where they are trained.
        share: devices that have members of the same wave.
    """
    data = {ready.rows: ready.prepared for ready in members if ready.prepared is not None}
    readings = {ready.order: ready.reading for ready in members if ready.reading is not None}
    data_of = _places([ready.rows for ready in members])
    order_of = _places([ready.order for ready in members])
    if not data:
        return Source({}, None, None, data_of, order_of, False)
    first, orders = members[0], Orders(tuple(readings.values()))
    example = one_or_stacked([put(first_row(each.splits["train"]), each.task, device) for each in data.values()])
    if first.workers is None:
        resident = _resident(list(data.values()), device)
        feed = ResidentFeed(orders, resident["train"], device, WINDOW_ENTRIES // share)
        return Source(dict(resident), example, feed, data_of, order_of, len(data) > 1)
    (prepared,) = data.values()
    splits: dict[str, Split] = dict(streamed_splits(first.fitted, prepared, device, None, device.platform == "cpu"))
    train, total, workers = prepared.splits["train"], first.cadence.total, math.ceil(first.workers / share)
    feed = StreamingFeed(orders, train, prepared.task, total, workers, device)
    return Source(splits, example, feed, data_of, order_of, False)


def _resident(data: Sequence[Prepared], device: Any) -> dict[str, Batch]:
    """The splits in the memory of a device; several divisions of the same rows share these, if all do."""
    if len(data) == 1:
        return resident_splits(data[0], device)
    pooled = put_pooled([each.splits for each in data], data[0].task, device)
    if pooled is None:
        return stacked([resident_splits(each, device) for each in data])
    inputs = {
        name: Pooled(split.inputs.pool, stacked([each[name].inputs.rows for each in pooled]))
        for name, split in pooled[0].items()
    }
    rest = stacked([{name: dataclasses.replace(split, inputs=None) for name, split in each.items()} for each in pooled])
    return {name: dataclasses.replace(split, inputs=inputs[name]) for name, split in rest.items()}


def _places(keys: Sequence[Any]) -> Int32[np.ndarray, " M"]:
    """The number of each key among the different ones."""
    numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    return np.asarray([numbers[key] for key in keys], np.int32)
