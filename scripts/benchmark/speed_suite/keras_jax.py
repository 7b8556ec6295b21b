"""Keras 3 on JAX: ``compile`` and ``fit`` over arrays in memory, ``predict`` for forward passes."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

os.environ["KERAS_BACKEND"] = "jax"

import jax
import keras  # pyright: ignore[reportMissingImports]
import numpy as np

from speed_suite.keras_models import BUILDERS
from speed_suite.weights import Given
from speed_suite.workloads import COMPARED, Workload


class Contestant:
    """Epochs of ``fit``, or passes of ``predict``."""

    def __init__(self, workload: Workload, mode: str, given: Path, options: dict[str, Any]) -> None:
        self.workload, self.mode, self.given = workload, mode, given
        if workload.family not in BUILDERS:
            raise NotImplementedError(f"{workload.name} is not written for Keras")

    def prepare(self) -> dict[str, Any]:
        """See `speed_suite.protocol`."""
        given = Given(self.given)
        inputs, targets = (given.inputs, given.targets) if self.mode == "train" else given.batches(int(self.mode))
        self.batch = inputs.shape[1]
        self.inputs, self.targets = inputs.reshape(-1, *inputs.shape[2:]), targets.reshape(-1)
        began = time.perf_counter()
        self.model = BUILDERS[self.workload.family](self.workload, given)
        given.check()
        count = int(sum(np.prod(leaf.shape) for leaf in self.model.trainable_variables))
        told: dict[str, Any] = {"parameters": count, "losses": None, "epoch": len(inputs)}
        if self.mode != "train":
            self.run(1)
            told["first_step_seconds"] = time.perf_counter() - began
            return told | {"gap": given.gap(np.asarray(self.model(given.inputs[0], training=False)))}
        rule = keras.optimizers.AdamW(self.workload.learning_rate, weight_decay=0.01, epsilon=1e-8)
        self.model.compile(rule, keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        losses, first = [], 0.0
        for number in range(COMPARED):
            rows = slice(number * self.batch, (number + 1) * self.batch)
            losses.append(float(np.asarray(self.model.train_on_batch(self.inputs[rows], self.targets[rows]))))
            first = first or time.perf_counter() - began
        self.run(1)
        return told | {"losses": losses, "first_step_seconds": first}

    def run(self, updates: int) -> float:
        """Seconds that so many updates, or forward passes, take: whole epochs, and what is left over."""
        batches = len(self.inputs) // self.batch
        epochs, left = divmod(updates, batches)
        began = time.perf_counter()
        if epochs:
            self._over(batches, epochs)
        if left:
            self._over(left, 1)
        return time.perf_counter() - began

    def _over(self, batches: int, epochs: int) -> None:
        x, y = self.inputs[: batches * self.batch], self.targets[: batches * self.batch]
        if self.mode == "train":
            self.model.fit(x, y, batch_size=self.batch, epochs=epochs, shuffle=False, verbose=0)
            jax.block_until_ready(self.model.trainable_variables[0].value)
        else:
            for _ in range(epochs):
                self.model.predict(x, batch_size=self.batch, verbose=0)
