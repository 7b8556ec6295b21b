"""Members of a group beside runs of their own, for the tests of programs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from research.ablation.ablation import Ablation
from research.ablation.groups import Group, Stock, group
from research.ablation.program import GroupProgram, Way, gathered
from research.experiment import Execution, Experiment
from research.training.setup import set_up


def one_group(
    experiment: Experiment, path: str, values: Sequence[Any], seeds: int = 2, feed: Any = "resident", **more: Any
) -> Group:
    """The group of one field's values and some seeds."""
    ablation = Ablation(baseline=experiment, grid={path: values}, seeds=seeds, **more)
    (found,) = group(ablation.members(), Stock(), Execution(feed=feed))
    return found


def as_group(found: Group, way: Way, updates: int) -> list[Any]:
    """What the programs of a group give each member: carry, record and rows after some updates and an event."""
    program = GroupProgram(found.members, found.outline, way, jax.devices())
    windows, _ = program.window(0)
    carry = program.advance(program.initialise(), windows, updates)
    program.close()
    carry, record = program.record(carry, True)
    rows = program.predict(program.deploy(carry), "rows" if program.reported == ("rows",) else "validation")
    stacked = gathered(tuple(zip(carry, record, rows, strict=True)))
    return [jax.tree.map(lambda array: array[number], stacked) for number in range(program.count)]  # noqa: B023


def alone(found: Group, updates: int) -> list[Any]:
    """The same from a run of each."""
    each = []
    for ready in found.members:
        execution = Execution(feed="streaming" if ready.streamed else "resident")
        setup = set_up(ready.member.experiment, ready.member.seed, execution)
        window = setup.feed.window(0) if setup.feed is not None else None
        carry = setup.program.advance(setup.program.initialise(), window, updates)
        if setup.feed is not None:
            setup.feed.close()
        carry, record = setup.program.record(carry, setup.splits.get("validation"), True)
        state = setup.experiment.algorithm.deployed(setup.experiment, carry.state)
        rows = setup.program.predict(state, setup.splits.get("validation"))
        each.append(jax.device_get((carry, record, rows)))
    return each


def unequal(left: Any, right: Any) -> list[str]:
    """Paths of the leaves whose bits differ."""
    pairs = zip(jax.tree_util.tree_leaves_with_path(left), jax.tree.leaves(right), strict=True)
    return [jax.tree_util.keystr(path) for (path, a), b in pairs if np.asarray(a).tobytes() != np.asarray(b).tobytes()]


def furthest(left: Any, right: Any) -> float:
    """The largest difference of any number, relative to 1 or to the number where that is larger."""
    pairs = zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True)
    gaps = [np.abs(np.asarray(a, float) - np.asarray(b, float)) / (1 + np.abs(np.asarray(b, float))) for a, b in pairs]
    return max(float(np.nanmax(gap)) for gap in gaps if gap.size)
