"""The resident feed: a split is put into device memory once; every update gathers its rows by index."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int32

from research.data.batch import Batch
from research.data.order import batches
from research.data.prepare import Examples
from research.task import Task

WINDOW_ENTRIES = 2**18
WINDOW_STEPS = 4096


def put(examples: Examples, task: Task, device: Any = None) -> Batch:
    """A whole split on the device, as one batch in which ``example`` counts 0, 1, 2 ... and no row is padding."""
    count = len(examples.example)
    host = Batch(
        inputs=examples.inputs,
        targets=examples.targets,
        mask=np.ones(count, bool),  # pyright: ignore[reportArgumentType]
        example=np.arange(count, dtype=np.int32),  # pyright: ignore[reportArgumentType]
        patient=examples.patient_code,  # pyright: ignore[reportArgumentType]
        task=task,
    )
    return jax.device_put(host, device)


def take(split: Batch, index: Int32[Array, " B"], mask: Bool[Array, " B"]) -> Batch:
    """The rows ``index`` of a resident split, gathered on the device; ``mask`` is False on padding."""
    rows: Batch = jax.tree.map(lambda array: jnp.take(array, index, axis=0, mode="clip"), split)
    return Batch(rows.inputs, rows.targets, mask, rows.example, rows.patient, split.task)


class Order:
    """Windows of row indices on the device, made ahead from the order function of (seed, epoch, example).

    Every window has the same shape, so one compiled program serves any number of updates.

    Args:
        seed: the run's seed.
        examples: number of rows in the training split.
        batch_size: rows per batch.
        batches_per_update: batches that one update consumes.
    """

    def __init__(self, seed: int, examples: int, batch_size: int, batches_per_update: int = 1, device: Any = None):
        self.seed, self.examples, self.batch_size, self.stack = seed, examples, batch_size, batches_per_update
        self.length = max(1, min(WINDOW_STEPS, WINDOW_ENTRIES // (batch_size * batches_per_update)))
        self.device = device
        self._start = -1
        self._window: tuple[Any, Any] = (None, None)

    def window(self, step: int) -> tuple[Any, int, int]:
        """``((index, mask), offset, left)``: arrays that hold ``step`` at ``offset``, and how many steps remain there.

        ``index`` is int32 and ``mask`` bool, both ``[length, B]``, or ``[length, k, B]`` for k > 1 batches per update.
        """
        start = step - step % self.length
        if start != self._start:
            index, mask = batches(
                self.seed, start * self.stack, self.length * self.stack, self.examples, self.batch_size
            )
            if self.stack > 1:
                index = index.reshape(self.length, self.stack, self.batch_size)
                mask = mask.reshape(self.length, self.stack, self.batch_size)
            self._window = jax.device_put((index, mask), self.device)
            self._start = start
        offset = step - start
        return self._window, offset, self.length - offset
