"""This framework, on the path of ``research run``: its set-up, its loop, its events, its checkpoints."""

from __future__ import annotations

import dataclasses
import functools
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import jax

from research.experiment import Execution, Experiment
from research.training import loop
from research.training.checkpoint import Checkpoints
from research.training.compilation_cache import use_compilation_cache
from research.training.fastest import fastest
from research.training.metrics_log import MetricsLog
from research.training.pace_log import PaceLog
from research.training.profiling import Throughput
from research.training.setup import Setup, set_up
from speed_suite.made_data import experiment_of
from speed_suite.updates import advanced
from speed_suite.workloads import COMPARED, UPDATES_PER_EPOCH, Workload

FEW = 8
"""Batches of the split that is predicted where the model is large."""

SOME = 4
"""Updates that tell how long one takes."""

OF_LOOP = 20
"""Updates in a measurement of the loop at least, for what a training does once, where it begins, is no part of it."""


class LastTimed(Checkpoints):
    """Checkpoints that note when the device had come to the last save, which a training ends with."""

    began = 0.0

    def save(self, step: int, value: Any) -> None:
        """See `Checkpoints.save`."""
        jax.block_until_ready(value)
        self.began = time.perf_counter()
        super().save(step, value)


class Contestant:
    """Training as ``research run`` does it, or prediction of a split as it ends with.

    A turn of whole epochs holds their evaluations, lines of the log and TensorBoard events. Where an epoch is longer
    than a turn, what one evaluation costs is measured apart, and its share is added. The checkpoint at the end of a
    turn stands for one every five minutes, so of what it takes the share that a turn has of five minutes is added.

    Attributes:
        alone: seconds that the same number of updates took without the loop, before the last turn or after it, in the
            same process: two processes may have chosen other layouts, and have other memory. None but of ``loop``.
        alone_first: whether before it.
    """

    alone: float | None = None
    alone_first = False

    def __init__(self, workload: Workload, mode: str, given: Path, options: dict[str, Any]) -> None:
        self.workload, self.mode, self.part = workload, mode, options.get("part")
        self.folder = Path(tempfile.mkdtemp(dir=given.parent))

    def prepare(self) -> dict[str, Any]:
        """See `speed_suite.protocol`."""
        began = time.perf_counter()
        if self.mode != "train":
            return self._prepare_inference(began)
        setup = self.setup = self._made(experiment_of(self.workload), Execution(figures=False))
        assert setup.feed is not None
        carry = setup.program.initialise()
        facts = setup.program.compile(carry, setup.feed.window(0), setup.splits["validation"], True)
        losses, first = [], 0.0
        for number in range(COMPARED):
            carry = setup.program.advance(carry, setup.feed.window(number), 1)
            carry, record = setup.program.record(carry, None, False)
            losses.append(float(record["train/loss"]))
            first = first or time.perf_counter() - began
        began = time.perf_counter()
        self.carry = advanced(setup, setup.program.initialise(), 0, SOME)
        # Each turn begins as a run goes on, not as it begins, feeling its way to how many updates fit into a dispatch.
        seconds = loop.Pace(setup.program.clearing_seconds).seconds
        loop.FIRST_DISPATCH = max(1, int(seconds * SOME / (time.perf_counter() - began)))
        self.log = MetricsLog(self.folder / "metrics.jsonl", 0, self.folder / "tensorboard")
        self.last, self.best = LastTimed(self.folder / "last"), Checkpoints(self.folder / "best")
        self.pace = PaceLog(self.folder / "pace.jsonl", 0, functools.partial(_throughput, setup), lambda: 0.0)
        self.event = self._event()
        parameters = sum(leaf.size for leaf in jax.tree.leaves(carry.state.params))
        told = {"parameters": parameters, "losses": losses, "first_step_seconds": first, "event_seconds": self.event}
        devices = 1 if setup.choice is None else setup.choice.devices
        told |= {"fewest": OF_LOOP} if self.part == "loop" else {}
        return told | {"flops": facts["flops_per_update"], "epoch": UPDATES_PER_EPOCH, "virtual_devices": devices}

    def _made(self, experiment: Experiment, execution: Execution) -> Setup:
        """As ``research run`` makes it, in the way that is fastest; whatever is kept is new."""
        use_compilation_cache(str(self.folder / "cache"))
        return fastest(set_up(experiment, 0, execution))

    def run(self, updates: int) -> float:
        """Seconds that so many updates take."""
        if self.mode != "train":
            return self._predict(updates)
        if self.part == "updates":
            return self._updates(updates)
        if self.part != "loop":
            return self._train(updates)
        if self.alone_first:
            self.alone = self._updates(updates)
            return self._train(updates)
        seconds, self.alone = self._train(updates), self._updates(updates)
        return seconds

    def _train(self, updates: int) -> float:
        setup, step = self.setup, int(self.carry.step)
        whole, evaluates = updates % UPDATES_PER_EPOCH == 0, self.part is None
        evaluate = UPDATES_PER_EPOCH if whole and evaluates else None
        cadence = dataclasses.replace(setup.cadence, total=step + updates, evaluate=evaluate)
        began = time.perf_counter()
        self.carry = loop.train(
            setup.program,
            self.carry,
            setup.feed,
            setup.splits["validation"],
            cadence,
            setup.execution,
            self.log,
            self.last,
            self.best,
            self.pace,
        )
        seconds = self.last.began - began
        saving = time.perf_counter() - self.last.began
        seconds += saving * seconds / (60 * setup.execution.checkpoint_minutes)
        return seconds if whole or not evaluates else seconds + self.event * updates / UPDATES_PER_EPOCH

    def _updates(self, updates: int) -> float:
        began = time.perf_counter()
        self.carry = advanced(self.setup, self.carry, int(self.carry.step), updates)
        return time.perf_counter() - began

    def _event(self) -> float:
        """Seconds of one evaluation on validation, with its lines in the logs."""
        program, validation, found = self.setup.program, self.setup.splits["validation"], []
        for _ in range(4):
            jax.block_until_ready(self.carry)
            began = time.perf_counter()
            self.carry, record = program.record(self.carry, validation, True)
            told = {name: float(value) for name, value in jax.device_get(record).items()}
            self.log.write(told)
            self.pace(told)
            found.append(time.perf_counter() - began)
        return statistics.median(found[1:])

    def _prepare_inference(self, began: float) -> dict[str, Any]:
        batches = UPDATES_PER_EPOCH if self.workload.light else FEW
        self.setup = self._made(experiment_of(self.workload, batches, int(self.mode)), Execution())
        carry = self.setup.program.initialise()
        self.deployed = self.setup.experiment.algorithm.deployed(self.setup.experiment, carry.state)
        self.batches = batches
        self._predict(batches)
        parameters = sum(leaf.size for leaf in jax.tree.leaves(carry.state.params))
        first = time.perf_counter() - began
        return {"parameters": parameters, "losses": None, "first_step_seconds": first, "epoch": batches, "whole": True}

    def _predict(self, batches: int) -> float:
        began = time.perf_counter()
        for _ in range(batches // self.batches):
            jax.device_get(self.setup.program.predict(self.deployed, self.setup.splits["train"]))
        return time.perf_counter() - began


def _throughput(setup: Setup, updates: int, seconds: float, waited: float) -> Throughput:
    rows, flops, kind = setup.examples_per_update, setup.program.flops_per_update, setup.device.device_kind
    return Throughput(updates, seconds, rows, flops, waited, 1, kind, "float32", 0)
