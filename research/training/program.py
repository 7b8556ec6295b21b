"""The compiled programs of one run: initialise, advance by any number of updates, record an event, predict.

Updates run in one compiled loop with a dynamic trip count, whose body is the same for a chunk of any length. That is
what makes an interrupted and an uninterrupted run equal to the bit.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Key

from research import keys, metrics
from research.algorithms.algorithm import State
from research.context import Context
from research.data.batch import Batch
from research.data.feed import Window, block_rows
from research.data.resident import take
from research.data.streaming import StreamedSplit
from research.errors import UserError
from research.experiment import Evaluation, Experiment, StartFrom
from research.task import Task
from research.training.carry import Best, Carry, fresh
from research.training.flops import flops


@dataclasses.dataclass(frozen=True)
class Outline:
    """What specialises the programs of a run beside the structure of its experiment.

    Attributes:
        batch_size: rows per batch; 0 without data.
        task: what is predicted; None without data.
        platform: kind of device, as in `research.context.Context`.
    """

    batch_size: int
    task: Task | None
    platform: str


class Run(NamedTuple):
    """What tells runs of one experiment apart, as arrays.

    Attributes:
        seed: uint32.
        total_updates: int32, as in `research.context.Context`.
    """

    seed: Any
    total_updates: Any


class Executable(NamedTuple):
    """A compiled program, and its FLOPs as `research.training.flops.flops` counts them."""

    compiled: Any
    flops: float


Split = Batch | StreamedSplit
"""A split on the device, or one that comes there in blocks."""

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
        self.spec = jax.device_put(jax.tree.map(jnp.asarray, _traced_part(spec)), device)
        self.run = jax.device_put(Run(jnp.uint32(seed), jnp.int32(total_updates)), device)
        self.total_updates = total_updates
        self.outline, self.example, self.device = outline, example, device
        self._bound: dict[str, Any] = {}

    def initialise(self) -> Carry:
        """The carry before the first update."""
        return self._run("initialise", _initialise, (), self.spec, self.run, self.example)

    def carry_like(self) -> Carry:
        """Shapes and types of the carry, as what a checkpoint is restored into; compiles nothing."""
        return jax.eval_shape(functools.partial(_initialise, self.outline), self.spec, self.run, self.example)

    def advance(self, carry: Carry, window: Window | None, count: int) -> Carry:
        """``carry`` after up to ``count`` more updates; fewer if training has stopped or failed. Donates ``carry``.

        Args:
            carry: the state after some updates.
            window: a feed's window that holds the next updates; None without data.
            count: how many updates, at most as many as the window has left.
        """
        return self._run("advance", _advance, (1,), self.spec, carry, self.run, *_arguments(window), np.int32(count))

    def record(self, carry: Carry, validation: Split | None, assess: bool) -> tuple[Carry, dict[str, Array]]:
        """An event: mean scalars since the last one and, if ``assess``, the validation metrics. Donates ``carry``.

        Assessing updates the best weights and decides on early stopping, all on the device. Metrics are computed from
        the rows by a program of its own, the same for both feeds: in one program with the forward passes, sums would be
        taken in another order, and a choice between two weights might depend on the feed.
        """
        if not assess:
            return self._run("log", _log, (1,), self.spec, carry, self.run, None)
        deployed = self._run("deploy", _deploy, (), self.spec, carry)
        rows = self._rows(deployed, validation, "evaluate", carry.step)
        return self._run("conclude", _conclude, (1,), self.spec, carry, self.run, _without_inputs(validation), rows)

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
            return self._run(name, _evaluate, (), self.spec, state, self.run, split, *moment)
        found = []
        for block in split.blocks():
            name = f"rows of blocks of {split.size}"
            found.append(self._run(name, _evaluate, (), self.spec, state, self.run, block, *moment))
            jax.block_until_ready(found[-1])
        return jax.tree.map(lambda *parts: jnp.concatenate(parts)[: len(split)], *found)

    def compile(self, carry: Carry, window: Window | None, validation: Split | None, assess: bool) -> dict[str, float]:
        """Compile what training needs, so that mistakes show before the first update.

        Returns:
            FLOPs of one update in matrix products and convolutions, and bytes of memory that the programs of training
            need beside their arguments.
        """
        needed = []
        if assess:
            block = validation.block_like() if isinstance(validation, StreamedSplit) else validation
            rehearse = functools.partial(_rehearse, self.outline)
            jax.eval_shape(rehearse, self.spec, carry, self.run, block, _without_inputs(validation))
            deployed = jax.eval_shape(functools.partial(_deploy, self.outline), self.spec, carry)
            moment = np.uint32(0), carry.step
            evaluating = self._executable("rows", _evaluate, (), (self.spec, deployed, self.run, block, *moment))
            needed.append(evaluating.compiled.memory_analysis())
        arguments = (self.spec, carry, self.run, *_arguments(window), np.int32(0))
        advancing = self._executable("advance", _advance, (1,), arguments)
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


def _context(outline: Outline, run: Run) -> Context:
    return Context(total_updates=run.total_updates, platform=outline.platform)


def _traced_part(spec: Experiment) -> Experiment:
    """The experiment without what no program uses; see `Program`."""
    evaluation = Evaluation(select=spec.evaluation.select, batch_size=spec.evaluation.batch_size)
    start = StartFrom(run="", frozen=spec.start_from.frozen) if spec.start_from is not None else None
    data = spec.data.traced() if spec.data is not None else None
    return spec.replace(data=data, epochs=None, steps=None, batch_size=None, evaluation=evaluation, start_from=start)


def _initialise(outline: Outline, spec: Experiment, run: Run, example: Batch | None) -> Carry:
    algorithm, context = spec.algorithm, _context(outline, run)
    seen = None if example is None else jax.eval_shape(lambda rows: _transform(spec, rows), example)
    state = algorithm.init(spec, keys.stream(run.seed, "initialise", 0), seen)

    def one_update(state: State) -> dict[str, Array]:
        def on(batch: Batch | None) -> dict[str, Array]:
            return algorithm.update(spec, state, batch, keys.stream(run.seed, "update", 0), context)[1]

        if example is None:
            return on(None)
        stack = algorithm.batches_per_update
        shape = (outline.batch_size,) if stack == 1 else (stack, outline.batch_size)
        key = keys.stream(run.seed, "augment", 0)
        return on(_whole(spec, example, jnp.zeros(shape, jnp.int32), jnp.ones(shape, bool), key))

    scalars = jax.eval_shape(one_update, state)
    deployed = algorithm.deployed(spec, state) if spec.evaluation.select is not None else None
    return fresh(state, deployed, scalars)


def _advance(
    outline: Outline,
    spec: Experiment,
    carry: Carry,
    run: Run,
    train: Batch | None,
    order: Any,
    offset: Array,
    count: Array,
) -> Carry:
    context = _context(outline, run)

    def unfinished(value: tuple[Array, Carry]) -> Array:
        done, carry = value
        return (done < count) & ~carry.stopped & (carry.failed_step < 0)

    def update(value: tuple[Array, Carry]) -> tuple[Array, Carry]:
        done, carry = value
        key = keys.stream(run.seed, "update", carry.step)

        def on(batch: Batch | None) -> tuple[State, dict[str, Array]]:
            return spec.algorithm.update(spec, carry.state, batch, key, context)

        if train is None:
            state, scalars = on(None)
        else:
            index, mask = order
            augment = keys.stream(run.seed, "augment", carry.step)
            state, scalars = _with_rows(spec, train, index[offset + done], mask[offset + done], augment, on)
        step = carry.step + 1
        return done + 1, dataclasses.replace(
            carry,
            step=step,
            state=state,
            failed_step=jnp.where(jnp.isfinite(scalars["loss"]), carry.failed_step, step),
            sums={name: carry.sums[name] + scalars[name] for name in carry.sums},
            count=carry.count + 1,
        )

    return lax.while_loop(unfinished, update, (jnp.int32(0), carry))[1]


def _with_rows(
    spec: Experiment,
    train: Batch,
    index: Array,
    mask: Array,
    key: Key[Array, ""] | None,
    on: Callable[[Batch], Any],
) -> Any:
    """``on`` the batch, or stack of batches, of one update as the model sees it.

    Series are cut to the shortest length of those the data names that loses nothing: one compiled form of ``on`` for
    each, among which the device chooses, so ``on`` must give the same shapes for all.
    """
    lengths = () if spec.data is None else spec.data.cut_lengths()
    if spec.data is None or len(lengths) < 2 or index.ndim > 1:
        return on(_whole(spec, train, index, mask, key))
    rows = take(train, index, mask)
    data, needed = spec.data, jnp.where(mask, spec.data.needs(rows.inputs), 0).max()

    def cut_to(length: int) -> Callable[[Batch], Any]:
        return lambda rows: on(_transform(spec, data.cut(rows, length), key))

    fitting = jnp.searchsorted(jnp.asarray(lengths, jnp.int32), needed.astype(jnp.int32))
    return lax.switch(fitting, [cut_to(length) for length in lengths], rows)


def _whole(spec: Experiment, train: Batch, index: Array, mask: Array, key: Key[Array, ""] | None) -> Batch:
    """The batch, or stack of batches, of one update as the model sees it, at its full length."""
    if index.ndim > 1:
        return jax.vmap(lambda i, m: _whole(spec, train, i, m, key))(index, mask)
    return _transform(spec, take(train, index, mask), key)


def _transform(spec: Experiment, rows: Batch, key: Key[Array, ""] | None = None) -> Batch:
    return rows if spec.data is None else spec.data.transform(rows, key)


def _log(outline: Outline, spec: Experiment, carry: Carry, run: Run, validation: None) -> Any:
    updates = carry.count.clip(1).astype(jnp.float32)
    record = {f"train/{name}": total / updates for name, total in carry.sums.items()}
    record |= {"step": carry.step, "stopped": carry.stopped, "failed_step": carry.failed_step}
    record["updates"] = carry.count
    zero = {name: jnp.zeros_like(total) for name, total in carry.sums.items()}
    return dataclasses.replace(carry, sums=zero, count=jnp.zeros_like(carry.count)), record


def _without_inputs(split: Split | None) -> Batch | None:
    """What metrics need of a split beside its rows."""
    if isinstance(split, StreamedSplit):
        return split.targets()
    return None if split is None else dataclasses.replace(split, inputs=None)


def _deploy(outline: Outline, spec: Experiment, carry: Carry) -> State:
    return spec.algorithm.deployed(spec, carry.state)


def _rehearse(
    outline: Outline, spec: Experiment, carry: Carry, run: Run, block: Batch | None, validation: Batch | None
) -> Any:
    """What happens to the validation split, whole or block by block, for its shapes and its mistakes."""
    rows = _evaluate(outline, spec, _deploy(outline, spec, carry), run, block, jnp.uint32(0), carry.step)
    if validation is not None:
        count = len(validation.example)
        rows = jax.tree.map(lambda row: jnp.zeros((count, *row.shape[1:]), row.dtype), rows)
    return _conclude(outline, spec, carry, run, validation, rows)


def _conclude(outline: Outline, spec: Experiment, carry: Carry, run: Run, validation: Batch | None, rows: Any) -> Any:
    """Metrics of the rows of validation, the best weights by them, and the record of the log."""
    state = _deploy(outline, spec, carry)
    mask = jnp.ones(len(jax.tree.leaves(rows)[0]), bool) if validation is None else validation.mask
    summary = spec.algorithm.summarize(spec, rows, validation, mask)
    select = spec.evaluation.select
    if select is not None and carry.best is not None:
        if select.metric not in summary:
            raise UserError(
                f"evaluation.select.metric: {select.metric!r} is not computed during training here. "
                f"Allowed: {', '.join(sorted(summary))}."
            )
        best, stopped = _best(spec, carry, state, summary[select.metric])
        carry = dataclasses.replace(carry, best=best, stopped=stopped)
    carry, record = _log(outline, spec, carry, run, None)
    return carry, record | {f"validation/{name}": value for name, value in summary.items()}


def _best(spec: Experiment, carry: Carry, state: State, value: Array) -> tuple[Best, Array]:
    select, best = spec.evaluation.select, carry.best
    assert select is not None
    sign = 1.0 if metrics.larger_is_better(select.metric) else -1.0
    gain = sign * (value - best.metric)
    active = ~carry.stopped & (carry.failed_step < 0)
    better = active & jnp.isfinite(value) & (jnp.isnan(best.metric) | (gain > select.minimum_improvement))
    # A metric that is not defined, such as AUROC with one class, is no evidence of anything.
    waited = jnp.where(better, 0, best.waited + (active & jnp.isfinite(value)).astype(jnp.int32))

    def choose(new: Array, old: Array) -> Array:
        return jnp.where(better, new, old)

    new = Best(
        jax.tree.map(choose, state, best.state), choose(value, best.metric), choose(carry.step, best.step), waited
    )
    stopped = carry.stopped if select.patience is None else carry.stopped | (waited >= select.patience)
    return new, stopped


def _evaluate(
    outline: Outline, spec: Experiment, state: State, run: Run, split: Batch | None, purpose: Array, step: Array
) -> Any:
    """Rows over a whole split in batches of one shape, the padding cut off again."""
    context, key = _context(outline, run), keys.stream(run.seed, purpose, step)
    if split is None:
        return spec.algorithm.evaluate(spec, state, None, key, context)
    count = len(split.example)
    like = jax.eval_shape(lambda rows: jax.tree.map(lambda leaf: leaf[0], rows), split.inputs)
    size = block_rows(spec.evaluation.batch_size, count, like)
    places = jnp.arange(math.ceil(count / size) * size, dtype=jnp.int32)
    shortest_first = _shortest_first(spec, split)
    index = places if shortest_first is None else jnp.take(shortest_first, places, mode="clip")

    def one_batch(rows: tuple[Array, Array]) -> dict[str, Array]:
        place, index = rows
        # A split that came in blocks says itself which rows only fill up the last one.
        counts = (place < count) & jnp.take(split.mask, index, mode="clip")

        def on(batch: Batch) -> dict[str, Array]:
            found = spec.algorithm.evaluate(spec, state, batch, key, context)
            return _as_long(found, split.targets.shape[1]) if split.task.per_step else found

        return _with_rows(spec, split, index, counts, None, on)

    stacked = lax.map(one_batch, (places.reshape(-1, size), index.reshape(-1, size)))
    rows = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:])[:count], stacked)
    if shortest_first is None:
        return rows
    back = jnp.argsort(shortest_first)
    return jax.tree.map(lambda row: jnp.take(row, back, axis=0), rows)


def _shortest_first(spec: Experiment, split: Batch) -> Array | None:
    """Rows of a split in the order of their lengths, where these decide how far batches are cut."""
    if spec.data is None or len(spec.data.cut_lengths()) < 2:
        return None
    return jnp.argsort(spec.data.needs(split.inputs)).astype(jnp.int32)


def _as_long(rows: dict[str, Array], length: int) -> dict[str, Array]:
    """Rows with a second axis, that of the steps, filled up with zeros."""

    def fill(row: Array) -> Array:
        return row if row.ndim < 2 else jnp.pad(row, [(0, 0), (0, length - row.shape[1]), *[(0, 0)] * (row.ndim - 2)])

    return {name: fill(row) for name, row in rows.items()}
