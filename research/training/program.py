"""The compiled programs of one run: initialise, advance by any number of updates, record an event, predict.

Updates run in one compiled loop with a dynamic trip count, whose body is the same for a chunk of any length. That is
what makes an interrupted and an uninterrupted run equal to the bit.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec
from jaxtyping import Array

from research import keys
from research.algorithms.algorithm import State
from research.allocator import clearing_seconds
from research.context import FAST, VENDOR
from research.data.batch import Batch
from research.data.feed import Window
from research.data.streaming import StreamedSplit
from research.errors import RunError
from research.experiment import Experiment
from research.training import steps
from research.training.carry import Carry
from research.training.compiling import compiled
from research.training.flops import flops, recomputes, turned_flops
from research.training.layout import ROWS, Layout
from research.training.replicas import parted
from research.training.steps import Outline, Run, Split


class Executable(NamedTuple):
    """A compiled program, and its FLOPs as `research.training.flops` counts them, all and of turned convolutions."""

    compiled: Any
    flops: float
    turned: float


_evaluate_block = functools.partial(steps.evaluate, block=True)

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
        device: where to run; where the outline has a layout, it decides.

    Attributes:
        flops_per_update: see `compile`, before which it is not known.
        clearing_seconds: of each dispatch of updates, in which memory is cleared; 0 before they are compiled.
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
        layout = outline.layout
        place = jax.sharding.SingleDeviceSharding(device) if layout is None else layout.everywhere
        # Python floats become weakly typed scalars on the device once, not at every dispatch.
        self.spec = _everywhere(steps.traced_part(spec), place)
        self.run = _everywhere(Run(np.uint32(seed), np.int32(total_updates)), place)
        self.total_updates = total_updates
        self.example, self.place = _everywhere(example, place), place
        self.outline = outline if layout is None else dataclasses.replace(outline, layout=layout.jitted())
        self._beside = outline if layout is not None and layout.mode == "pmap" else None
        self._bound: dict[str, Any] = {}
        self.flops_per_update, self.clearing_seconds = math.nan, 0.0
        self._order: tuple[Any, Any] = (None, None)
        self._compared = self._beside is None

    def computing(self, lowerings: str) -> Program:
        """The same with its layers computed by these lowerings, as in `Outline`; nothing is placed anew."""
        other = copy.copy(self)
        other.outline = dataclasses.replace(self.outline, lowerings=lowerings)
        if self._beside is not None:
            other._beside = dataclasses.replace(self._beside, lowerings=lowerings)
        other._bound, other.flops_per_update, other.clearing_seconds = {}, math.nan, 0.0
        return other

    def initialise(self) -> Carry:
        """The carry before the first update.

        Where each core of a processor holds it whole, it is made on the first of them, by the program that training on
        one device has too: of a deep network that takes longer to compile than to try.
        """
        layout = self.outline.layout
        if layout is not None and self.outline.platform == "cpu" and layout.whole and self.place.is_fully_addressable:
            carry = self._on(layout.devices[0]).initialise()
            return jax.device_put(carry, self.places(carry))
        return self._run("initialise", steps.initialise, (), self.spec, self.run, self.example)

    def _on(self, device: Any) -> Program:
        """The same on one device alone."""
        other = copy.copy(self)
        other.place = jax.sharding.SingleDeviceSharding(device)
        other.spec, other.run, other.example = jax.device_put((self.spec, self.run, self.example), other.place)
        other.outline, other._beside = dataclasses.replace(self.outline, layout=None), None
        other._bound = {}
        return other

    def carry_like(self) -> Carry:
        """Shapes, types and places of the carry, as what a checkpoint is restored into; compiles nothing."""
        like = jax.eval_shape(functools.partial(steps.initialise, self.outline), self.spec, self.run, self.example)
        return jax.tree.map(
            lambda leaf, place: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place), like, self.places(like)
        )

    def places(self, values: Any) -> Any:
        """Where what a program gives lies: states as the layout spreads them, the rest whole on each device."""
        layout = self.outline.layout
        if layout is None:
            return jax.tree.map(lambda _: self.place, values)

        def place(value: Any) -> Any:
            return layout.state(value) if isinstance(value, Carry | State) else self.place

        return jax.tree.map(place, values, is_leaf=lambda value: isinstance(value, Carry | State))

    def advance(self, carry: Carry, window: Window | None, count: int) -> Carry:
        """``carry`` after up to ``count`` more updates; fewer if training has stopped or failed. Donates ``carry``.

        Args:
            carry: the state after some updates.
            window: a feed's window that holds the next updates; None without data.
            count: how many updates, at most as many as the window has left.

        Raises:
            RunError: where programs side by side do not end their first updates with the same state.
        """
        carry = self._run("advance", steps.advance, (1,), *self._to_advance(carry, window, count))
        if not self._compared:
            self._compare(carry)
        return carry

    def _compare(self, carry: Carry) -> None:
        """Raise `RunError` where devices have parted, which nothing shows later: one's numbers are taken for all."""
        assert self.outline.layout is not None
        names, self._compared = parted(carry, self.outline.layout.mesh, ROWS), True
        if names:
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            raise RunError(
                f"{type(self.spec.algorithm).__name__}: under execution.parallel.mode=pmap its first updates gave each "
                f"device another state ({', '.join(names[:3])}{more}). Gradients must go through context.mean, "
                f"losses and statistics through context.ratio or context.mean, and draws must be made by example; see "
                f"research.algorithms.Algorithm.update. Or set execution.parallel.mode=jit."
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
            name = f"blocks of {split.block.filled}"
            found.append(self._run(name, _evaluate_block, (), self.spec, state, self.run, block, *moment))
            jax.block_until_ready(found[-1])
        return split.joined(found)

    def compile(self, carry: Carry, window: Window | None, validation: Split | None, assess: bool) -> dict[str, float]:
        """Compile what training needs, so that mistakes show before the first update.

        Returns:
            FLOPs of one update in matrix products and convolutions, and of them those of turned convolutions (see
            `research.training.flops`); bytes of memory that the programs of training need beside their arguments.
        """
        needed = []
        if assess:
            streamed = isinstance(validation, StreamedSplit)
            block, name = (validation.block_like(), "blocks") if streamed else (validation, "rows")
            evaluate = _evaluate_block if streamed else steps.evaluate
            rehearse = functools.partial(steps.rehearse, self.outline)
            jax.eval_shape(rehearse, self.spec, carry, self.run, block, steps.without_inputs(validation))
            deployed = jax.eval_shape(functools.partial(steps.deploy, self.outline), self.spec, carry)
            moment = np.uint32(0), carry.step
            evaluating = self._executable(name, evaluate, (), (self.spec, deployed, self.run, block, *moment))
            needed.append(evaluating.compiled.memory_analysis())
        advancing = self._executable("advance", steps.advance, (1,), self._to_advance(carry, window, 0))
        memory = advancing.compiled.memory_analysis()
        needed.append(memory)
        self.flops_per_update = advancing.flops
        if self.outline.platform == "cpu":
            layout = self.outline.layout
            devices = 1 if layout is None else sum(each.process_index == jax.process_index() for each in layout.devices)
            self.clearing_seconds = clearing_seconds(getattr(memory, "temp_size_in_bytes", 0), devices)
        return {
            "flops_per_update": advancing.flops,
            "turned_flops": advancing.turned,
            "temporary_bytes": max(float(getattr(each, "temp_size_in_bytes", math.nan)) for each in needed),
            "argument_bytes": float(getattr(memory, "argument_size_in_bytes", math.nan)),
        }

    def turned(self, carry: Carry, window: Window | None) -> float:
        """FLOPs of an update in turned convolutions (see `research.training.flops`); compiles nothing."""
        bound = functools.partial(steps.advance, self.outline)
        return turned_flops(jax.jit(bound).trace(*self._to_advance(carry, window, 0)).jaxpr)

    def initialise_memory(self) -> dict[str, float]:
        """Compile what makes the first carry; bytes on each device of its ``results``, and ``temporary`` beside."""
        made = self._executable("initialise", steps.initialise, (), (self.spec, self.run, self.example))
        told = made.compiled.memory_analysis()
        names = {"results": "output_size_in_bytes", "temporary": "temp_size_in_bytes"}
        return {name: float(getattr(told, own, math.nan)) for name, own in names.items()}

    def text_of_advance(self, carry: Carry, window: Window | None) -> str:
        """The compiled program of the updates, as XLA prints it."""
        made = self._executable("advance", steps.advance, (1,), self._to_advance(carry, window, 0))
        return made.compiled.as_text()

    def _divided(self, order: tuple[Any, Any], layout: Layout) -> tuple[Any, Any]:
        """The rows of each update, ``[..., B]``, spread over the programs along B."""
        if self._order[0] is not order[0]:
            place = layout.rows(order[0].ndim - 1)
            if isinstance(order[0], jax.ShapeDtypeStruct):
                index, mask = (jax.ShapeDtypeStruct(each.shape, each.dtype, sharding=place) for each in order)
                return index, mask
            self._order = order[0], jax.device_put(order, place)
        return self._order[1]

    def _run(self, name: str, function: Callable[..., Any], donate: tuple[int, ...], *arguments: Any) -> Any:
        if name not in self._bound:
            self._bound[name] = self._executable(name, function, donate, arguments)
        found = self._bound[name].compiled(*arguments)
        if self.outline.layout is not None and self.outline.platform == "cpu":
            # Two programs with collectives in flight on virtual devices would wait for one another for ever.
            jax.block_until_ready(found)
        return found

    def _to_advance(self, carry: Carry, window: Window | None, count: int) -> tuple[Any, ...]:
        """Arguments of `research.training.steps.advance`."""
        layout, arguments = self.outline.layout, (None, None, np.int32(0))
        if window is not None:
            rows, order = window.rows, None if window.index is None else (window.index, window.mask)
            if order is not None and layout is not None and self._beside is not None:
                order = self._divided(order, layout)
            arguments = rows, order, np.int32(window.offset)
        return self.spec, carry, self.run, *arguments, np.int32(count)

    def _executable(self, name: str, function: Callable[..., Any], donate: tuple[int, ...], arguments: Any) -> Any:
        leaves, structure = jax.tree.flatten(arguments)
        key = (name.split()[0], self.outline, self._beside, structure, tuple(map(jax.typeof, leaves)), self.place)
        if key not in _EXECUTABLES:
            _EXECUTABLES[key] = self._compiled(name, function, donate, arguments)
        return _EXECUTABLES[key]

    def _compiled(self, name: str, function: Callable[..., Any], donate: tuple[int, ...], arguments: Any) -> Executable:
        layout = self.outline.layout
        bound = functools.partial(function, self.outline)
        places = None if layout is None else self.places(jax.eval_shape(bound, *arguments))
        if layout is not None and self._beside is not None and name == "advance":
            bound = _beside(functools.partial(function, self._beside), layout, arguments[3], arguments[4])
        traced = jax.jit(bound, donate_argnums=donate, out_shardings=places).trace(*arguments)
        counted = traced
        if name == "advance" and (self.outline.lowerings == VENDOR or recomputes(traced.jaxpr)):
            # What is computed again is no arithmetic of the model, and that of a vendor's kernels cannot be counted.
            lowerings = FAST if self.outline.lowerings == VENDOR else self.outline.lowerings
            changes = {"remat": False, "counted": True, "lowerings": lowerings}
            once = functools.partial(function, dataclasses.replace(self.outline, **changes))
            counted = jax.jit(once).trace(*arguments)
        made = compiled(traced.lower(), self.outline.platform)
        return Executable(made, flops(counted.jaxpr), turned_flops(counted.jaxpr))


def _beside(function: Callable[..., Any], layout: Layout, rows: Any, order: Any) -> Callable[..., Any]:
    """`research.training.steps.advance` as a program for each device, with collectives between them.

    As `jax.pmap` makes it, by what JAX makes that of; but for the devices of several processes alike.
    """
    axis = None if rows is None else (rows.mask if order is None else order[0]).ndim - 1
    whole, parts = PartitionSpec(), PartitionSpec() if axis is None else layout.rows(axis).spec
    of_rows = (parts, whole) if order is None else (whole, parts)
    places = (whole, whole, whole, *of_rows, whole, whole)
    return jax.shard_map(function, mesh=layout.mesh, in_specs=places, out_specs=whole, check_vma=False)


def _everywhere(values: Any, place: jax.sharding.Sharding) -> Any:
    """Numbers and small arrays of the host whole on each device; Python's numbers stay weakly typed."""
    if place.is_fully_addressable:
        return jax.device_put(values, place)
    return jax.jit(lambda values: values, out_shardings=place)(jax.tree.map(_of_host, values))


def _of_host(value: Any) -> Any:
    return np.asarray(value) if isinstance(value, jax.Array) else value
