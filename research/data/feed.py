"""`Feed`: how the batches of a training reach the device, a window of updates at a time."""

from __future__ import annotations

import abc
import dataclasses
import math
import time
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Int32, Shaped

from research.data.batch import Batch
from research.data.order import batches


class Window(NamedTuple):
    """Rows on the device, and which of them make the batches of consecutive updates.

    Attributes:
        rows: a `Batch` of rows to gather from; where ``index`` is None the batches themselves, ``[length, B, ...]`` or
            ``[length, k, B, ...]``, spread over the devices along B.
        index: int32 ``[length, B]``, or ``[length, k, B]`` for k > 1 batches per update: rows of each batch.
        mask: bool, of the same shape: False on padding; None with ``index``.
        offset: where in the window the asked-for update is.
        left: how many updates the window holds from there on.
    """

    rows: Batch
    index: Any
    mask: Any
    offset: int
    left: int


@dataclasses.dataclass(frozen=True)
class Reading:
    """Which rows of train each update reads: a function of the seed alone, the same for every feed.

    Attributes:
        seed: the run's seed.
        examples: number of rows in the training split.
        batch_size: rows per batch.
        batches_per_update: batches that one update consumes.
        classes: class of each row where every class is to come equally often; None where every row comes once.
        groups: group of each row where the rows of a batch are to be of one group, such as alike in length; or None.
    """

    seed: int
    examples: int
    batch_size: int
    batches_per_update: int = 1
    classes: Shaped[np.ndarray, " N"] | None = None
    groups: Int32[np.ndarray, " N"] | None = None

    def shape(self, count: int) -> tuple[int, ...]:
        """Shape of what `rows` gives of so many updates."""
        stack = (self.batches_per_update,) if self.batches_per_update > 1 else ()
        return (count, *stack, self.batch_size)

    @property
    def updates_per_epoch(self) -> int:
        """Updates that one pass over train takes, rounded up."""
        sizes = [self.examples] if self.groups is None else np.unique(self.groups, return_counts=True)[1].tolist()
        return math.ceil(sum(math.ceil(size / self.batch_size) for size in sizes) / self.batches_per_update)

    def rows(self, first: int, count: int) -> tuple[Int32[np.ndarray, "S ..."], Bool[np.ndarray, "S ..."]]:
        """``(index, mask)`` of ``count`` updates from number ``first`` on; shapes as in `Window`."""
        stack = self.batches_per_update
        index, mask = batches(
            self.seed, first * stack, count * stack, self.examples, self.batch_size, self.classes, self.groups
        )
        return index.reshape(self.shape(count)), mask.reshape(self.shape(count))


@dataclasses.dataclass(frozen=True)
class Orders:
    """Orders in which several runs read one split, side by side: a `Reading` with a first axis of orders.

    Attributes:
        readings: one or more, of batches of one shape.
    """

    readings: tuple[Reading, ...]

    def shape(self, count: int) -> tuple[int, ...]:
        """As `Reading.shape`."""
        return (len(self.readings), *self.readings[0].shape(count))

    def rows(self, first: int, count: int) -> tuple[Int32[np.ndarray, "O S ..."], Bool[np.ndarray, "O S ..."]]:
        """As `Reading.rows`."""
        index, mask = zip(*(reading.rows(first, count) for reading in self.readings), strict=True)
        return np.stack(index), np.stack(mask)


def order_like(shape: tuple[int, ...]) -> tuple[jax.ShapeDtypeStruct, jax.ShapeDtypeStruct]:
    """Index and mask of a window as shapes and types."""
    return jax.ShapeDtypeStruct(shape, np.int32), jax.ShapeDtypeStruct(shape, np.bool_)


BLOCK_BYTES = 2**23
"""Inputs of one forward pass in evaluation, as float32; the network's own memory is some hundred times that."""


CACHED_NUMBERS, CACHED_ROWS = 2**16, 64
"""Numbers of the inputs of a forward pass on a processor, and rows that it may have in any case. What a pass makes of
them is some hundred times that: passes whose results lie in the caches took 0.7 of the time for a CNN and an encoder,
0.9 for a ViT and an FCN, and as long for ResNets."""


class Block(NamedTuple):
    """The rows of one forward pass in evaluation.

    Attributes:
        rows: how many of a split.
        filled: how many with those of padding that fill it up, which every device has as many of.
    """

    rows: int
    filled: int


def block_rows(
    batch_size: int, count: int, like: Any, programs: int = 1, compared: bool = False, cached: bool = False
) -> Block:
    """Rows of one forward pass in evaluation: ``batch_size``, or fewer where rows are large.

    Args:
        batch_size: as the experiment says.
        count: how many rows there are.
        like: inputs of a row: anything with a shape, or a pytree of such.
        programs: over how many devices they are spread, each with as many.
        compared: what comes out of a row rests on the other rows of its block too: it has those that one device would
            give it, however many devices there are, and whatever these are.
        cached: whether a pass is to stay in the caches of a processor.
    """
    numbers = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(like))
    fitting = BLOCK_BYTES // (4 * max(numbers, 1))
    if cached and not compared:
        most = max(CACHED_ROWS, CACHED_NUMBERS // max(numbers, 1))
        fitting = min(fitting, 2 ** (most.bit_length() - 1))
    rows = max(1, min(batch_size, count, fitting if compared else programs * fitting))
    filled = -(-rows // programs) * programs
    return Block(rows if compared else filled, filled)


class Feed(abc.ABC):
    """What the training loop asks for rows.

    Attributes:
        reading: which rows when; of several `Orders`, index and mask of windows have a first axis of them.
        waited: seconds that `window` has taken so far, in which nothing new is given to the device.
    """

    def __init__(self, reading: Reading | Orders) -> None:
        self.reading = reading
        self.waited = 0.0

    def window(self, step: int) -> Window:
        """A window that holds the update after ``step`` updates; all windows of a feed have the same shapes."""
        began = time.perf_counter()
        try:
            return self.make_window(step)
        finally:
            self.waited += time.perf_counter() - began

    @abc.abstractmethod
    def make_window(self, step: int) -> Window:
        """See `window`, which measures how long this takes."""

    @abc.abstractmethod
    def window_like(self) -> Window:
        """Shapes and types of windows, with the arrays that are on the device anyway; reads nothing."""

    def close(self) -> None:  # noqa: B027
        """Stop reading ahead, where the feed does."""
