"""The compiled programs of one run: initialise, advance by any number of updates, record an event, predict.

Updates run in one compiled loop with a dynamic trip count, whose body is the same for a chunk of any length. That is
what makes an interrupted and an uninterrupted run equal to the bit.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from research import keys
from research.algorithms.algorithm import State
from research.data.batch import Batch
from research.data.feed import Window
from research.data.streaming import StreamedSplit
from research.experiment import Experiment
from research.training import steps
from research.training.carry import Carry
from research.training.flops import flops
from research.training.steps import Outline, Run, Split


class Executable(NamedTuple):
    """A compiled program, and its FLOPs as `research.training.flops.flops` counts them."""

    compiled: Any
    flops: float


_EXECUTABLES: dict[Any, Any] = {}


class Program:
    """The programs of one run, compiled when first asked for and shared by all runs of the same structure.

    Args:
        spec: the experiment; its numbers are arguments of the programs, so they never cause a compile. What no program
            uses (data, length of training, reporting) is left out, so that it causes none either.
        seed: the run's seed, an argument as well.
        total_updates: length of the training that the experiment describes, an argument too.
        outline: see `Outline`.
        example: a batch of one row like those of train, whose values do not matter; None without data.
        device: where to run.
    """

    def __init__(
        self,
        spec: Experiment,
        seed: int,
        total_updates: int,
        outline: Outline,
        example: Batch | None,
        device: Any,
    ) -> None:
        # Python floats become weakly typed scalars on the device once, not at every dispatch.
        self.spec = jax.device_put(jax.tree.map(jnp.asarray, steps.traced_part(spec)), device)
        self.run = jax.device_put(Run(jnp.uint32(seed), jnp.int32(total_updates)), device)
        self.total_updates = total_updates
        self.outline, self.example, self.device = outline, example, device
        self._bound: dict[str, Any] = {}

    def initialise(self) -> Carry:
        """The carry before the first update."""
        return self._run("initialise", steps.initialise, (), self.spec, self.run, self.example)

    def carry_like(self) -> Carry:
        """Shapes and types of the carry, as what a checkpoint is restored into; compiles nothing."""
        return jax.eval_shape(functools.partial(steps.initialise, self.outline), self.spec, self.run, self.example)

    def advance(self, carry: Carry, window: Window | None, count: int) -> Carry:
        """``carry`` after up to ``count`` more updates; fewer if training has stopped or failed. Donates ``carry``.

        Args:
            carry: the state after some updates.
            window: a feed's window that holds the next updates; None without data.
            count: how many updates, at most as many as the window has left.
        """
        return self._run(
            "advance", steps.advance, (1,), self.spec, carry, self.run, *_arguments(window), np.int32(count)
        )

    def record(self, carry: Carry, validation: Split | None, assess: bool) -> tuple[Carry, dict[str, Array]]:
        """An event: mean scalars since the last one and, if ``assess``, the validation metrics. Donates ``carry``.

        Assessing updates the best weights and decides on early stopping, all on the device. Metrics are computed from
        the rows by a program of its own, the same for both feeds: in one program with the forward passes, sums would be
        taken in another order, and a choice between two weights might depend on the feed.
        """
        if not assess:
            return self._run("log", steps.log, (1,), self.spec, carry, self.run, None)
        deployed = self._run("deploy", steps.deploy, (), self.spec, carry)
        rows = self._rows(deployed, validation, "evaluate", carry.step)
        return self._run(
            "conclude", steps.conclude, (1,), self.spec, carry, self.run, steps.without_inputs(validation), rows
        )

    def predict(self, state: State, split: Split | None) -> dict[str, Array]:
        """Rows of a deployed state over a whole split, each example once."""
        return self._rows(state, split, "predict", jnp.int32(0))

    def _rows(self, state: State, split: Split | None, purpose: str, step: Array) -> dict[str, Array]:
        """As `predict`; ``purpose`` and ``step`` decide draws, where an algorithm makes any.

        A streamed split comes block by block, one of which is on the device at a time.
        """
        moment = np.uint32(keys.number(purpose)), step
        if not isinstance(split, StreamedSplit):
            name = f"rows of {0 if split is None else len(split.example)}"
            return self._run(name, steps.evaluate, (), self.spec, state, self.run, split, *moment)
        found = []
        for block in split.blocks():
            name = f"rows of blocks of {split.size}"
            found.append(self._run(name, steps.evaluate, (), self.spec, state, self.run, block, *moment))
            jax.block_until_ready(found[-1])
        return split.joined(found)

    def compile(self, carry: Carry, window: Window | None, validation: Split | None, assess: bool) -> dict[str, float]:
        """Compile what training needs, so that mistakes show before the first update.

        Returns:
            FLOPs of one update in matrix products and convolutions, and bytes of memory that the programs of training
            need beside their arguments.
        """
        needed = []
        if assess:
            block = validation.block_like() if isinstance(validation, StreamedSplit) else validation
            rehearse = functools.partial(steps.rehearse, self.outline)
            jax.eval_shape(rehearse, self.spec, carry, self.run, block, steps.without_inputs(validation))
            deployed = jax.eval_shape(functools.partial(steps.deploy, self.outline), self.spec, carry)
            moment = np.uint32(0), carry.step
            evaluating = self._executable("rows", steps.evaluate, (), (self.spec, deployed, self.run, block, *moment))
            needed.append(evaluating.compiled.memory_analysis())
        arguments = (self.spec, carry, self.run, *_arguments(window), np.int32(0))
        advancing = self._executable("advance", steps.advance, (1,), arguments)
        memory = advancing.compiled.memory_analysis()
        needed.append(memory)
        return {
            "flops_per_update": advancing.flops,
            "temporary_bytes": max(float(getattr(each, "temp_size_in_bytes", math.nan)) for each in needed),
            "argument_bytes": float(getattr(memory, "argument_size_in_bytes", math.nan)),
        }

    def _run(self, name: str, function: Callable[..., Any], donate: tuple[int, ...], *arguments: Any) -> Any:
        if name not in self._bound:
            self._bound[name] = self._executable(name, function, donate, arguments)
        return self._bound[name].compiled(*arguments)

    def _executable(self, name: str, function: Callable[..., Any], donate: tuple[int, ...], arguments: Any) -> Any:
        leaves, structure = jax.tree.flatten(arguments)
        key = (name.split()[0], self.outline, structure, tuple(map(jax.typeof, leaves)), self.device)
        if key not in _EXECUTABLES:
            bound = functools.partial(function, self.outline)
            traced = jax.jit(bound, donate_argnums=donate).trace(*arguments)
            _EXECUTABLES[key] = Executable(traced.lower().compile(), flops(traced.jaxpr))
        return _EXECUTABLES[key]


def _arguments(window: Window | None) -> tuple[Any, Any, np.int32]:
    """Rows, order and offset as arguments of the programs."""
    return (None, None, np.int32(0)) if window is None else (window.rows, window[1:3], np.int32(window.offset))
