"""The streaming feed: rows are read and decoded ahead of the training, by Grain, and sent to the device in chunks.

The one module that touches Grain. A chunk holds the rows of some consecutive updates, in the order in which the
updates take them; on the device it is a small resident split, so the compiled programs are those of the resident feed
and the batches are equal to the bit. Memory is that of a few chunks, however large the data is. Where batches are
spread over devices, each process reads the rows of its own devices alone, and a chunk holds the batches as they are.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import multiprocessing
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

from research.allocator import give_back
from research.data.batch import Batch
from research.data.feed import Block, Feed, Orders, Reading, Window, order_like
from research.data.placing import own_part, place, place_part
from research.data.prepare import Examples
from research.data.resident import filled, without_inputs
from research.errors import RunError
from research.task import Task

CHUNK_BYTES = 2**23
CHUNK_UPDATES = 64
THREADS = 2
AHEAD = 2

Spread = Callable[[int], jax.sharding.Sharding]
"""By the axis of the rows, how arrays are spread over devices along it."""


@dataclasses.dataclass(frozen=True)
class _ReadChunk:
    """Number of a chunk to its rows; small enough to be sent to a worker process.

    Attributes:
        reading: which rows when.
        examples: the training split.
        length: updates in a chunk.
        part: positions in a batch whose rows are read; None for all.
    """

    reading: Reading | Orders
    examples: Examples
    length: int
    part: np.ndarray | None = None

    def __call__(self, chunk: int) -> dict[str, Any]:
        if multiprocessing.parent_process() is not None and threading.current_thread() is threading.main_thread():
            # Ctrl-C reaches the whole group: the parent saves its state first and ends this process then.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        index, mask = self.reading.rows(int(chunk) * self.length, self.length)
        if self.part is not None:
            index, mask = index[..., self.part], mask[..., self.part]
        rows = index.reshape(-1)
        return {
            "inputs": self.examples.read(rows),
            "targets": self.examples.targets[rows],
            "example": rows.astype(np.int32),
            "patient": self.examples.patient_code[rows],
            "mask": mask,
        }


class StreamingFeed(Feed):
    """Chunks of rows, read by threads or processes while the device works on earlier ones."""

    def __init__(
        self,
        reading: Reading | Orders,
        examples: Examples,
        task: Task,
        total: int,
        workers: int = 0,
        device: Any = None,
        spread: Spread | None = None,
    ) -> None:
        """Start nothing yet.

        Args:
            reading: which rows when.
            examples: the training split; its inputs may be on disk.
            task: what the targets mean.
            total: updates of the whole run; the chunk of the last one is the last that is read.
            workers: processes that read; 0: threads of this process.
            device: where the rows go.
            spread: over which devices the rows of each batch go instead; for a single order.
        """
        super().__init__(reading)
        self.spread, self._rows = spread, len(reading.shape(1)) - 1
        self.examples, self.task, self.workers, self.device = examples, task, workers, device
        row = sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(examples.like))
        self.length = chunk_updates(row * math.prod(reading.shape(1)))
        self.chunks = -(-total // self.length)
        self._iterator: Iterator[dict[str, Any]] | None = None
        self._next = -1
        self._number = -1
        self._window: Window | None = None

    def make_window(self, step: int) -> Window:
        """See `Feed.make_window`; waits for the chunk where it has not been read yet.

        Raises:
            RunError: if a process that reads has ended.
        """
        number, offset = divmod(step, self.length)
        if self._window is None or number != self._number:
            if self._iterator is None or number != self._next:
                self.close()
                self._iterator = self._start(number)
            self._window = self._send(self._take(self._iterator))
            self._number, self._next = number, number + 1
            give_back()
        return self._window._replace(offset=offset, left=self.length - offset)

    def window_like(self) -> Window:
        """See `Feed.window_like`."""
        shape = self.reading.shape(self.length)
        count = math.prod(shape)
        rows = StreamedSplit(self.examples, self.task, Block(count, count)).block_like()
        if self.spread is None:
            return Window(rows, *order_like(shape), 0, self.length)
        place = self.spread(self._rows)
        batches = jax.tree.map(
            lambda row: jax.ShapeDtypeStruct((*shape, *row.shape[1:]), row.dtype, sharding=place), rows
        )
        return Window(batches, None, None, 0, self.length)

    @property
    def chunks_ahead(self) -> int:
        """Chunks in the memory of the host while it reads, at most."""
        return 2 * self.workers if self.workers else THREADS + AHEAD

    @functools.cached_property
    def _part(self) -> np.ndarray | None:
        """See `_ReadChunk`."""
        if self.spread is None:
            return None
        return own_part(self.spread(self._rows), self.reading.shape(1)[-1], self._rows)

    def _take(self, chunks: Iterator[dict[str, Any]]) -> dict[str, Any]:
        try:
            return next(chunks)
        except RuntimeError as error:
            if not self.workers or isinstance(error, RunError):
                raise
            raise RunError(
                f"execution.workers: a process that reads has ended ({str(error).splitlines()[0]}). A script of your "
                f"own that calls research.run with workers must do so below `if __name__ == '__main__':`. Or set "
                f"workers=0: threads read then. What was saved is kept; run the same command again."
            ) from None

    def close(self) -> None:
        """See `Feed.close`."""
        if self._iterator is not None:
            getattr(self._iterator, "close", lambda: None)()
        self._iterator = None

    def _start(self, number: int) -> Iterator[dict[str, Any]]:
        import grain
        from absl import flags

        read = _ReadChunk(self.reading, self.examples, self.length, self._part)
        chunks = grain.MapDataset.range(number, self.chunks).map(read)
        threads = grain.ReadOptions(num_threads=THREADS, prefetch_buffer_size=AHEAD)
        ahead = chunks.to_iter_dataset(threads)
        if self.workers:
            # Grain's worker processes read command-line flags that only an absl program would have parsed.
            if not flags.FLAGS.is_parsed():
                flags.FLAGS.mark_as_parsed()
            options = grain.MultiprocessingOptions(num_workers=self.workers, per_worker_buffer_size=1)
            ahead = chunks.to_iter_dataset(grain.ReadOptions(num_threads=1, prefetch_buffer_size=1))
            ahead = ahead.mp_prefetch(options)
        return iter(ahead)

    def _send(self, chunk: dict[str, Any]) -> Window:
        mask = chunk["mask"]
        rows = Batch(
            inputs=chunk["inputs"],
            targets=chunk["targets"],
            mask=np.ones(mask.size, bool) if self.spread is None else mask.reshape(-1),
            example=chunk["example"],
            patient=chunk["patient"],
            task=self.task,
        )
        if self.spread is not None:
            assert self._part is not None
            batches = jax.tree.map(lambda array: array.reshape(*mask.shape, *array.shape[1:]), rows)
            size = self.reading.shape(1)[-1]
            batches = place_part(batches, self.spread(self._rows), self._part, size, self._rows)
            return Window(batches, None, None, 0, self.length)
        index = np.arange(mask.size, dtype=np.int32).reshape(mask.shape)
        sent: Any = place((rows, index, mask), self.device)
        rows, index, mask = sent
        return Window(rows, index, mask, 0, self.length)


def chunk_updates(update_bytes: int) -> int:
    """Updates in a chunk, from the size of the rows of one."""
    return max(1, min(CHUNK_UPDATES, CHUNK_BYTES // max(update_bytes, 1)))


@dataclasses.dataclass(frozen=True)
class StreamedSplit:
    """A split that is evaluated block by block, without ever being in memory as a whole.

    Attributes:
        examples: the split.
        task: what the targets mean.
        block: rows of a block; it is filled up with its first row.
        device: where the blocks go, and what is known of all rows.
        spread: over which devices the rows of the blocks go instead, each process reading those of its own.
    """

    examples: Examples
    task: Task
    block: Block
    device: Any = None
    spread: Spread | None = None

    def __len__(self) -> int:
        return len(self.examples)

    def targets(self) -> Batch:
        """The whole split without its inputs, on the device."""
        return place(filled(without_inputs(self.examples, self.task), self.examples.room), self.device)

    def block_like(self) -> Batch:
        """Shapes and types of a block (`jax.ShapeDtypeStruct`)."""
        targets = self.examples.targets
        place = None if self.spread is None else self.spread(0)

        def like(shape: tuple[int, ...], dtype: Any) -> Any:
            return jax.ShapeDtypeStruct((self.block.filled, *shape), dtype, sharding=place)

        whole = like((), np.int32)
        return Batch(
            jax.tree.map(lambda row: like(row.shape, row.dtype), self.examples.like),
            like(targets.shape[1:], targets.dtype),
            like((), np.bool_),
            whole,
            whole,
            self.task,
        )

    def joined(self, found: Sequence[Any], axis: int = 0) -> Any:
        """What was made of each block as if made of the whole split: zeros where it is filled up beyond the blocks.

        Args:
            found: pytrees, in the order of the blocks, with as many rows as these are filled up to.
            axis: that of the rows.
        """
        count = max(len(self), self.examples.room)

        def whole(*parts: Array) -> Array:
            size, filled = self.block
            own = parts if size == filled else [lax.slice_in_dim(part, 0, size, axis=axis) for part in parts]
            rows = jnp.concatenate(own, axis)
            missing = max(0, count - rows.shape[axis])
            padded = jnp.pad(rows, [(0, missing if number == axis else 0) for number in range(rows.ndim)])
            return lax.slice_in_dim(padded, 0, count, axis=axis)

        return jax.tree.map(whole, *found)

    def blocks(self) -> Iterator[Batch]:
        """The rows in order, in batches of one shape on the device; ``mask`` is False on what fills them up."""
        import grain

        size, filled = self.block
        starts = range(0, len(self), size)
        place_of = None if self.spread is None else self.spread(0)
        part = np.arange(filled) if place_of is None else own_part(place_of, filled, 0)
        read = _ReadBlock(self.examples, self.task, part, size)
        options = grain.ReadOptions(num_threads=THREADS, prefetch_buffer_size=AHEAD)
        blocks = grain.MapDataset.range(0, len(self), size).map(read).to_iter_dataset(options)
        for _, block in zip(starts, blocks, strict=True):
            give_back()
            if place_of is None:
                yield place(block, self.device)
            else:
                yield place_part(block, place_of, part, filled, 0)


@dataclasses.dataclass(frozen=True)
class _ReadBlock:
    """First position of a block to the rows ``part`` of it, of which those beyond ``size`` are padding."""

    examples: Examples
    task: Task
    part: np.ndarray
    size: int

    def __call__(self, first: int) -> Batch:
        positions = (first + self.part).astype(np.int32)
        mask = (positions < len(self.examples)) & (self.part < self.size)
        positions = np.where(mask, positions, np.int32(first))
        examples = self.examples
        return Batch(
            examples.read(positions),
            examples.targets[positions],
            mask,
            positions,
            examples.patient_code[positions],
            self.task,
        )
