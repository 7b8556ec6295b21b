"""What the programs of a run do, as pure functions: initialise, advance by some updates, conclude an event, evaluate.

A solo run compiles them as they are; a group of an ablation compiles them for each of its members. So both go through
the same lines.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Key

from research import keys, metrics
from research.algorithms.algorithm import State
from research.context import CUDNN, FAST, REFERENCE, VENDOR, Context
from research.data.batch import Batch
from research.data.feed import Block, block_rows
from research.data.pool import Pooled, inputs_at
from research.data.resident import take
from research.data.streaming import StreamedSplit
from research.errors import UserError
from research.experiment import Evaluation, Experiment, StartFrom
from research.task import Task
from research.training.carry import Best, Carry, fresh
from research.training.layout import ROWS, Layout

Split = Batch | StreamedSplit
"""A split on the device, or one that comes there in blocks."""


@dataclasses.dataclass(frozen=True)
class Outline:
    """What specialises the programs of a run beside the structure of its experiment.

    Attributes:
        batch_size: rows per batch; 0 without data.
        task: what is predicted; None without data.
        platform: kind of device, as in `research.context.Context`.
        layout: how rows and parameters are spread over several devices; None on one.
        remat, stacked, counted: as in `research.context.Context`.
        lowerings: ``fast``, ``reference`` or ``vendor``, as in `research.experiment.Execution`.
        cached: whether evaluation goes by passes that stay in the caches of a processor; see
            `research.data.feed.block_rows`.
    """

    batch_size: int
    task: Task | None
    platform: str
    layout: Layout | None = None
    remat: bool = False
    stacked: bool = False
    counted: bool = False
    lowerings: str = FAST
    cached: bool = False

    @property
    def context_platform(self) -> str:
        """As `research.context.Context.platform`."""
        by_vendor = CUDNN if self.platform == "gpu" else self.platform
        return {REFERENCE: REFERENCE, VENDOR: by_vendor}.get(self.lowerings, self.platform)


def block_of(spec: Experiment, layout: Layout | None, count: int, like: Any, cached: bool) -> Block:
    """Rows of a forward pass in evaluation; the last three as for `research.data.feed.block_rows`."""
    compared = spec.algorithm.compares_rows or (spec.loss is not None and spec.loss.compares_rows)
    cached = cached and (spec.model is None or not spec.model.recurrent)
    programs = 1 if layout is None else layout.programs
    return block_rows(spec.evaluation.batch_size, count, like, programs, compared, cached)


class Run(NamedTuple):
    """What tells runs of one experiment apart, as arrays.

    Attributes:
        seed: uint32.
        total_updates: int32, as in `research.context.Context`.
    """

    seed: Any
    total_updates: Any


def _context(outline: Outline, run: Run) -> Context:
    known = Context(
        total_updates=run.total_updates,
        platform=outline.context_platform,
        remat=outline.remat,
        stacked=outline.stacked,
        counted=outline.counted,
        spread=outline.layout is not None and outline.layout.mode == "jit",
    )
    if outline.layout is not None and outline.layout.mode == "pmap":
        return dataclasses.replace(known, mean=_mean, gather=_gather)
    return known


def _mean(value: Any) -> Any:
    return lax.pmean(value, ROWS)


def _gather(value: Any) -> Any:
    return lax.all_gather(value, ROWS, tiled=True)


def traced_part(spec: Experiment) -> Experiment:
    """The experiment without what no program uses; see `Program`."""
    evaluation = Evaluation(select=spec.evaluation.select, batch_size=spec.evaluation.batch_size)
    start = StartFrom(run="", frozen=spec.start_from.frozen) if spec.start_from is not None else None
    data = spec.data.traced() if spec.data is not None else None
    return spec.replace(data=data, epochs=None, steps=None, batch_size=None, evaluation=evaluation, start_from=start)


def initialise(outline: Outline, spec: Experiment, run: Run, example: Batch | None) -> Carry:
    """The carry before the first update; ``example`` is a batch of one row, whose values do not matter."""
    seen = None if example is None else seen_by_model(spec, example)
    state = spec.algorithm.init(spec, keys.stream(run.seed, "initialise", 0), seen)

    def one_update(state: State) -> dict[str, Array]:
        def on(batch: Batch | None) -> dict[str, Array]:
            return _update(outline, spec, state, batch, keys.stream(run.seed, "update", 0), run)[1]

        if example is None:
            return on(None)
        stack = spec.algorithm.batches_per_update
        shape = (outline.batch_size,) if stack == 1 else (stack, outline.batch_size)
        rows = _gathered(outline, example, jnp.zeros(shape, jnp.int32), jnp.ones(shape, bool))
        return on(_seen(spec, rows, keys.stream(run.seed, "augment", 0)))

    scalars = jax.eval_shape(one_update, state)
    deployed = spec.algorithm.deployed(spec, state) if spec.evaluation.select is not None else None
    return fresh(state, deployed, scalars)


def seen_by_model(spec: Experiment, example: Batch) -> Any:
    """Shapes and types of a batch as the model sees it."""
    return jax.eval_shape(lambda rows: _transform(spec, rows), example)


def advance(
    outline: Outline,
    spec: Experiment,
    carry: Carry,
    run: Run,
    train: Batch | None,
    order: Any,
    offset: Array,
    count: Array,
) -> Carry:
    """The carry after up to ``count`` more updates; fewer once training has stopped or failed.

    Args:
        outline: see `Outline`.
        spec: the experiment.
        carry: the state after some updates.
        run: seed and length.
        train: rows of a `research.data.feed.Window`; None without data.
        order: ``(index, mask)`` of it; None where its rows are the batches.
        offset: where in the window the first of the updates is.
        count: how many updates.
    """

    def unfinished(value: tuple[Array, Carry]) -> Array:
        done, carry = value
        return (done < count) & ~carry.stopped & (carry.failed_step < 0)

    def update(value: tuple[Array, Carry]) -> tuple[Array, Carry]:
        done, carry = value
        key = keys.stream(run.seed, "update", carry.step)

        def on(batch: Batch | None) -> tuple[State, dict[str, Array]]:
            return _update(outline, spec, carry.state, batch, key, run)

        if train is None:
            state, scalars = on(None)
        else:
            augment = keys.stream(run.seed, "augment", carry.step)
            state, scalars = _with_rows(outline, spec, _of_update(outline, train, order, offset + done), augment, on)
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


@functools.partial(jax.jit, static_argnums=0)
def _update(
    outline: Outline, spec: Experiment, state: State, batch: Batch | None, key: Key[Array, ""], run: Run
) -> tuple[State, dict[str, Array]]:
    """Of the algorithm; traced once for each shape and layout, though the first carry needs it as updates do."""
    return spec.algorithm.update(spec, state, batch, key, _context(outline, run))


@functools.partial(jax.jit, static_argnums=0)
def _evaluate(
    outline: Outline, spec: Experiment, state: State, batch: Batch | None, key: Key[Array, ""], run: Run
) -> dict[str, Array]:
    """Of the algorithm; traced once for each shape and layout, though the rehearsal needs it as the program does."""
    return spec.algorithm.evaluate(spec, state, batch, key, _context(outline, run))


def _with_rows(
    outline: Outline,
    spec: Experiment,
    rows: Batch,
    key: Key[Array, ""] | None,
    on: Callable[[Batch], Any],
) -> Any:
    """``on`` rows, ``[B, ...]`` or stacked batches ``[k, B, ...]``, as the model sees them.

    Series are cut to the shortest length of those the data names that loses nothing: one compiled form of ``on`` for
    each, among which the device chooses, so ``on`` must give the same shapes for all.
    """
    lengths = () if spec.data is None else spec.data.cut_lengths()
    if spec.data is None or len(lengths) < 2 or rows.mask.ndim > 1:
        return on(_seen(spec, rows, key))
    data, needed = spec.data, jnp.where(rows.mask, spec.data.needs(rows.inputs), 0).max()
    if outline.layout is not None and outline.layout.mode == "pmap":
        needed = lax.pmax(needed, ROWS)

    def cut_to(length: int) -> Callable[[Batch], Any]:
        return lambda rows: on(_transform(spec, data.cut(rows, length), key))

    fitting = jnp.searchsorted(jnp.asarray(lengths, jnp.int32), needed.astype(jnp.int32))
    return lax.switch(fitting, [cut_to(length) for length in lengths], rows)


def _seen(spec: Experiment, rows: Batch, key: Key[Array, ""] | None) -> Batch:
    """A batch, or stack of batches, as the model sees it, at its full length."""
    if rows.mask.ndim > 1:
        return jax.vmap(lambda each: _transform(spec, each, key))(rows)
    return _transform(spec, rows, key)


def _of_update(outline: Outline, train: Batch, order: Any, number: Array) -> Batch:
    """The rows of one update of a `research.data.feed.Window`, each on the device that computes on it."""
    if order is None:
        return _spread(outline, jax.tree.map(lambda rows: rows[number], train))
    index, mask = order
    return _gathered(outline, train, index[number], mask[number])


def _gathered(outline: Outline, train: Batch, index: Array, mask: Array) -> Batch:
    """The rows of a batch, or stack of batches, each on the device that computes on it."""
    if index.ndim > 1:
        return jax.vmap(lambda i, m: _gathered(outline, train, i, m))(index, mask)
    return _spread(outline, take(train, index, mask))


def _spread(outline: Outline, rows: Batch) -> Batch:
    return rows if outline.layout is None else outline.layout.spread(rows, rows.mask.ndim - 1)


def _transform(spec: Experiment, rows: Batch, key: Key[Array, ""] | None = None) -> Batch:
    return rows if spec.data is None else spec.data.transform(rows, key)


def log(outline: Outline, spec: Experiment, carry: Carry, run: Run, validation: None) -> Any:
    """The carry with its sums begun anew, and the record of the log: mean scalars since the last one."""
    updates = carry.count.clip(1).astype(jnp.float32)
    record = {f"train/{name}": total / updates for name, total in carry.sums.items()}
    record |= {"step": carry.step, "stopped": carry.stopped, "failed_step": carry.failed_step}
    record["updates"] = carry.count
    zero = {name: jnp.zeros_like(total) for name, total in carry.sums.items()}
    return dataclasses.replace(carry, sums=zero, count=jnp.zeros_like(carry.count)), record


def without_inputs(split: Split | None) -> Batch | None:
    """What metrics need of a split beside its rows."""
    if isinstance(split, StreamedSplit):
        return split.targets()
    return None if split is None else dataclasses.replace(split, inputs=None)


def deploy(outline: Outline, spec: Experiment, carry: Carry) -> State:
    """What is evaluated: the state without optimizer, averaged weights in place of the last where there are any."""
    return spec.algorithm.deployed(spec, carry.state)


def rehearse(
    outline: Outline, spec: Experiment, carry: Carry, run: Run, block: Batch | None, validation: Batch | None
) -> Any:
    """What happens to the validation split, whole or block by block, for its shapes and its mistakes."""
    rows = evaluate(outline, spec, deploy(outline, spec, carry), run, block, jnp.uint32(0), carry.step)
    if validation is not None:
        count = len(validation.example)
        rows = jax.tree.map(lambda row: jnp.zeros((count, *row.shape[1:]), row.dtype), rows)
    return conclude(outline, spec, carry, run, validation, rows)


def conclude(outline: Outline, spec: Experiment, carry: Carry, run: Run, validation: Batch | None, rows: Any) -> Any:
    """Metrics of the rows of validation, the best weights by them, and the record of the log."""
    state = deploy(outline, spec, carry)
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
    carry, record = log(outline, spec, carry, run, None)
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


def evaluate(
    outline: Outline,
    spec: Experiment,
    state: State,
    run: Run,
    split: Batch | None,
    purpose: Array,
    step: Array,
    block: bool = False,
) -> Any:
    """Rows over a whole split in batches of one shape, the padding cut off again; with ``block`` over one of them."""
    key = keys.stream(run.seed, purpose, step)
    if split is None:
        return _evaluate(outline, spec, state, None, key, run)
    count = len(split.example)
    like = jax.eval_shape(lambda rows: inputs_at(rows, jnp.zeros(1, jnp.int32)), split)
    size, filled = block_of(spec, outline.layout, count, like, outline.cached)

    def on(batch: Batch) -> dict[str, Array]:
        found = _evaluate(outline, spec, state, batch, key, run)
        return _as_long(found, split.targets.shape[1]) if split.task.per_step else found

    if outline.layout is not None and count == filled and (block or filled == size):
        # It is spread over the devices already, and is one batch.
        return _with_rows(outline, spec, _spread(outline, split), None, on)
    places = jnp.arange(math.ceil(count / size) * size, dtype=jnp.int32)
    if filled > size:
        places = jnp.pad(places.reshape(-1, size), ((0, 0), (0, filled - size)), constant_values=count).reshape(-1)
    shortest_first = _shortest_first(spec, split)
    index = places if shortest_first is None else jnp.take(shortest_first, places, mode="clip")

    def one_batch(rows: tuple[Array, Array]) -> dict[str, Array]:
        place, index = rows
        # A split that came in blocks says itself which rows only fill up the last one.
        counts = (place < count) & jnp.take(split.mask, index, mode="clip")
        return _with_rows(outline, spec, _gathered(outline, split, index, counts), None, on)

    stacked = lax.map(one_batch, (places.reshape(-1, filled), index.reshape(-1, filled)))
    rows = jax.tree.map(lambda x: x[:, :size].reshape(-1, *x.shape[2:])[:count], stacked)
    if shortest_first is None:
        return rows
    back = jnp.argsort(shortest_first)
    return jax.tree.map(lambda row: jnp.take(row, back, axis=0), rows)


def _shortest_first(spec: Experiment, split: Batch) -> Array | None:
    """Rows of a split in the order of their lengths, where these decide how far batches are cut."""
    if spec.data is None or len(spec.data.cut_lengths()) < 2:
        return None
    inputs = split.inputs.whole() if isinstance(split.inputs, Pooled) else split.inputs
    return jnp.argsort(spec.data.needs(inputs)).astype(jnp.int32)


def _as_long(rows: dict[str, Array], length: int) -> dict[str, Array]:
    """Rows with a second axis, that of the steps, filled up with zeros."""

    def fill(row: Array) -> Array:
        return row if row.ndim < 2 else jnp.pad(row, [(0, 0), (0, length - row.shape[1]), *[(0, 0)] * (row.ndim - 2)])

    return {name: fill(row) for name, row in rows.items()}
