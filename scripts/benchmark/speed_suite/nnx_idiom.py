"""Flax NNX as its documentation shows it: a module, ``nnx.Optimizer``, and a step under ``nnx.jit`` for each batch."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
from flax import nnx

from speed_suite.nnx_models import BUILDERS, augment
from speed_suite.weights import Given
from speed_suite.workloads import COMPARED, Workload


def loss_of(model: Any, x: Any, y: Any) -> Any:
    """Mean cross-entropy."""
    return optax.softmax_cross_entropy_with_integer_labels(model(x), y).mean()


@nnx.jit
def train_step(model: Any, optimizer: Any, x: Any, y: Any) -> Any:
    """One update."""
    loss, gradients = nnx.value_and_grad(loss_of)(model, x, y)
    optimizer.update(model, gradients)
    return loss


@nnx.jit
def augmented_step(model: Any, optimizer: Any, rngs: Any, x: Any, y: Any) -> Any:
    """One update on changed images."""
    loss, gradients = nnx.value_and_grad(loss_of)(model, augment(x, rngs.augment()), y)
    optimizer.update(model, gradients)
    return loss


def functional_step(model: Any, optimizer: Any) -> tuple[Any, Any]:
    """One update of the arrays of both as plain ``jax.jit`` takes it, which spares calls of ``nnx.jit``; and these."""
    structure, state = nnx.split((model, optimizer))

    @jax.jit
    def step(state: Any, x: Any, y: Any) -> Any:
        model, optimizer = nnx.merge(structure, state)
        loss, gradients = nnx.value_and_grad(loss_of)(model, x, y)
        optimizer.update(model, gradients)
        return loss, nnx.state((model, optimizer))

    return step, state


@nnx.jit
def predict(model: Any, x: Any) -> Any:
    """Outputs."""
    return model(x)


class Contestant:
    """A training loop, or a loop of forward passes."""

    def __init__(self, workload: Workload, mode: str, given: Path, options: dict[str, Any]) -> None:
        self.workload, self.mode, self.given = workload, mode, given
        self.functional = options.get("functional", False)

    def prepare(self) -> dict[str, Any]:
        """See `speed_suite.protocol`."""
        given = Given(self.given)
        inputs, targets = (given.inputs, given.targets) if self.mode == "train" else given.batches(int(self.mode))
        self.batches = [jax.device_put(each) for each in zip(inputs, targets, strict=True)]
        began = time.perf_counter()
        self.rngs = nnx.Rngs(0, augment=1)
        self.model: Any = BUILDERS[self.workload.family](self.workload, given, self.rngs)
        given.check()
        count = sum(leaf.size for leaf in jax.tree.leaves(nnx.state(self.model, nnx.Param)))
        told: dict[str, Any] = {"parameters": count, "losses": None, "epoch": 1}
        if self.mode != "train":
            self.model.eval()
            self.run(1)
            told["first_step_seconds"] = time.perf_counter() - began
            return told | {"gap": given.gap(np.asarray(predict(self.model, given.inputs[0])))}
        self.model.train()
        rule = optax.adamw(self.workload.learning_rate, weight_decay=0.01)
        self.optimizer = nnx.Optimizer(self.model, rule, wrt=nnx.Param)
        if self.functional:
            self.step, self.state = functional_step(self.model, self.optimizer)
        losses, first = [], 0.0
        for number in range(COMPARED):
            losses.append(float(self._update(number)))
            first = first or time.perf_counter() - began
        return told | {"losses": losses, "first_step_seconds": first}

    def _update(self, number: int) -> Any:
        x, y = self.batches[number % len(self.batches)]
        if self.functional:
            loss, self.state = self.step(self.state, x, y)
            return loss
        if self.workload.augmented:
            return augmented_step(self.model, self.optimizer, self.rngs, x, y)
        return train_step(self.model, self.optimizer, x, y)

    def run(self, updates: int) -> float:
        """Seconds that so many updates, or forward passes, take."""
        began, last = time.perf_counter(), None
        for number in range(updates):
            if self.mode == "train":
                last = self._update(number)
            else:
                last = predict(self.model, self.batches[number % len(self.batches)][0])
        jax.block_until_ready((last, self.state) if self.mode == "train" and self.functional else last)
        return time.perf_counter() - began
