"""Two programs of the same updates, such as over one device and over two: which is faster here is tried, and kept.

What is kept lies beside the compiled programs, so that a later run of the same program on this machine does the same,
and gives the same bits. It is written once: of two processes that measure at the same time both take the first.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import time
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import jax

from research.allocator import allocator
from research.errors import RunError
from research.training.code import code_hash
from research.training.loop import DISPATCH_SECONDS
from research.training.processor import cores
from research.training.provenance import processor_features
from research.training.run_directory import write_json

if TYPE_CHECKING:
    from research.training.setup import Setup

ADVANTAGE = 1.05
"""How many times faster a program must be to be taken in place of the first."""

MUCH_SLOWER = 4
"""How many times slower a single update of a program must be for no more to be made of it: single ones of the same
program were seen to differ by three times."""

LEAST_UPDATES = 50
"""Updates of a training below which nothing is tried: a trial takes two compilations, and of each heavy program up to
fourteen updates, or four where one takes longer than a dispatch."""

MEASURED_SECONDS = 0.5
ROUNDS = 3

FEWEST = 4
"""Updates of a measurement at least, as far as `DISPATCH_SECONDS` have so many: each dispatch is given its memory anew.
One of a run may be longer (`research.training.loop`), for which there is no time here. Of xresnet1d-101 single updates
took between 137 and 395 ms, one of five in a row between 123 and 207."""

Kind = TypeVar("Kind", bound=Hashable)


def compared(setups: dict[Kind, Setup]) -> dict[Kind, float]:
    """Milliseconds of an update of each, measured in turns; empty where that cannot be said.

    Args:
        setups: what is there already first; others are given up where an update is much slower.
    """
    trials: dict[Kind, _Trial] = {}
    try:
        for kind, setup in setups.items():
            trials[kind] = trial = _Trial(setup)
            if trial.took > MUCH_SLOWER * min(each.took for each in trials.values()):
                return {kind: round(each.took, 3) for kind, each in trials.items()} if trial.whole else {}
        updates = _fitting(min(trial.took for trial in trials.values()))
        rounds = [{kind: trial.milliseconds(updates) for kind, trial in trials.items()} for _ in range(ROUNDS)]
    except jax.errors.JaxRuntimeError:  # such as too little memory for both
        return {}
    if not all(trial.whole for trial in trials.values()):
        return {}
    return {kind: round(min(each[kind] for each in rounds), 3) for kind in trials}


def _fitting(milliseconds: float) -> int:
    """Updates of a measurement, where one takes so long."""
    in_dispatch = int(1e3 * DISPATCH_SECONDS / milliseconds)
    return max(1, int(1e3 * MEASURED_SECONDS / milliseconds), min(FEWEST, in_dispatch))


class _Trial:
    """The first updates of a setup, again and again.

    Attributes:
        whole: whether all of them were made: training stops where a loss is not finite, and then takes no time.
        took: milliseconds of a single one, the second, or the first where that took longer than a dispatch.
    """

    def __init__(self, setup: Setup) -> None:
        assert setup.feed is not None
        self.program, self.window = setup.program, setup.feed.window(0)
        self.program.compile(self.program.initialise(), self.window, None, False)
        self.whole = True
        self.took = self.milliseconds()
        if self.took < 1e3 * DISPATCH_SECONDS:
            self.took = self.milliseconds()  # without what is done once

    def milliseconds(self, updates: int = 1) -> float:
        """Of one update, measured over so many in one dispatch, as far as there are rows for them."""
        updates = min(updates, self.window.left)
        carry = jax.block_until_ready(self.program.initialise())
        began = time.perf_counter()
        carry = jax.block_until_ready(self.program.advance(carry, self.window, updates))
        took = time.perf_counter() - began
        self.whole &= int(carry.step) == updates
        return 1e3 * took / updates


def flops_of(setup: Setup) -> float:
    """Of an update; compiles its program, where that has not been done."""
    if setup.choice is not None and setup.choice.flops:
        return setup.choice.flops
    assert setup.feed is not None
    carry = setup.program.initialise()
    return setup.program.compile(carry, setup.feed.window(0), None, False)["flops_per_update"]


def name_of(setup: Setup, *more: Any) -> str:
    """Hash of what the speed of a program on this machine depends on, all but its layout, and of ``more``."""
    program, execution = setup.program, setup.execution
    shapes = [str(jax.typeof(leaf)) for leaf in jax.tree.leaves(program.example)]
    outline = dataclasses.replace(program.outline, layout=None), setup.streamed
    structure = jax.tree.structure(program.spec)
    told = jax.__version__, os.environ.get("XLA_FLAGS", ""), allocator(), code_hash(setup.experiment)[0]
    told = *told, cores(), processor_features()
    parts = structure, shapes, outline, *more, execution.resident_mib, *told
    return hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()[:24]


def folder_of(kind: str) -> Path | None:
    """Where what was found is kept: beside the compiled programs, where those are; None where they are not kept."""
    cache = jax.config.values["jax_compilation_cache_dir"]
    return None if cache is None else Path(cache) / kind


def read_kept(kind: str, name: str) -> Any:
    """What was kept; None where there is nothing, or nothing that can be read."""
    folder = folder_of(kind)
    if folder is None:
        return None
    try:
        return json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def keep(kind: str, name: str, found: dict[str, Any], valid: Callable[[Any], bool]) -> Any:
    """Keep what was found, and return it, or what another process has kept in the meantime.

    Args:
        kind: the folder.
        name: as by `name_of`.
        found: what JSON can hold.
        valid: tells whether what is there already can be read.
    """
    folder = folder_of(kind)
    assert folder is not None
    file, own = folder / f"{name}.json", folder / f"{name}-{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(own, found)
        try:
            os.link(own, file)  # which fails where there is one, so that all take the first
        except OSError:
            if valid(first := read_kept(kind, name)):
                return first
            os.replace(own, file)
        finally:
            own.unlink(missing_ok=True)
    except (OSError, RunError):
        return found
    return found
