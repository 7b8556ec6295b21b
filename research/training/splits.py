"""The splits where they are evaluated: in the memory of devices, or read from disk block by block."""

from __future__ import annotations

from typing import Any

from research.data.batch import Batch
from research.data.feed import Block
from research.data.prepare import Examples, Prepared
from research.data.resident import put
from research.data.streaming import StreamedSplit
from research.experiment import Experiment
from research.training.layout import Layout
from research.training.steps import block_of


def resident_splits(prepared: Prepared, place: Any) -> dict[str, Batch]:
    """The splits in the memory of a device, or of several."""
    return {name: put(examples, prepared.task, place) for name, examples in prepared.splits.items()}


def streamed_splits(
    experiment: Experiment, prepared: Prepared, place: Any, layout: Layout | None, cached: bool
) -> dict[str, StreamedSplit]:
    """The splits, to be evaluated block by block, each of which the devices of a layout share evenly.

    A block is a forward pass where they do; else it may be several, all of as many rows.

    Args:
        experiment, prepared: what is evaluated, and on what.
        place: of the blocks of one device.
        layout: of several devices.
        cached: as in `Outline`.
    """
    spread = None if layout is None else layout.rows

    def block(examples: Examples) -> Block:
        count, like = max(len(examples), examples.room), examples.like
        own = block_of(experiment, layout, count, like, cached)
        if layout is not None:
            return own
        most = block_of(experiment, layout, count, like, False).rows
        rows = max(own.rows, most // own.rows * own.rows)
        return Block(rows, rows)

    return {
        name: StreamedSplit(examples, prepared.task, block(examples), place, spread)
        for name, examples in prepared.splits.items()
    }
