"""What an ablation's directory records of its grid and search, and where each arm lies."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from tiny import EXPERIMENT

from research.ablation.ablation import Ablation
from research.ablation.design import Design, describe_arm, describe_design, read_design, value_text
from research.ablation.search import Integers, LogUniform, Search, Uniform
from research.errors import UserError
from research.optimizers import SGD, AdamW


def recorded(**parts: Any) -> Design:
    ablation = Ablation(baseline=EXPERIMENT, **parts)
    arms, _ = ablation.arms()
    plan = {"arms": [describe_arm(arm) for arm in arms], "design": describe_design(ablation)}
    return read_design(json.loads(json.dumps(plan)))


def test_arms_lie_where_the_grid_puts_them_whatever_they_are_called() -> None:
    design = recorded(
        variants={"wider": {"model.widths": (8,)}, "quick": {"optimizer.learning_rate": 0.1}},
        grid={"optimizer.learning_rate": list(np.array([0.1, 0.02], np.float64)), "model.dropout": [0.2, None]},
    )
    rate, dropout = design.grid
    assert (rate.name, rate.values, dropout.values) == ("learning_rate", (0.02, 0.1), (None, 0.2))
    on = design.on(design.grid)
    places = {arm: tuple(design.place(arm, axis) for axis in design.grid) for arm in on}
    # The baseline and a variant by name are points of the grid; the wider network is not.
    assert places["baseline"] == (0.02, 0.2) and places["quick"] == (0.1, 0.2) and "wider" not in places
    assert sorted(places.values(), key=str) == sorted([(0.02, 0.2), (0.1, 0.2), (0.02, None), (0.1, None)], key=str)


def test_parts_and_tuples_are_values_too() -> None:
    grid = {"optimizer": [SGD(learning_rate=0.1), AdamW(learning_rate=0.1)], "model.widths": [(4,), (8, 8)]}
    design = recorded(grid=grid)
    optimizer, widths = design.grid
    assert [value_text(value) for value in optimizer.values] == ["SGD", "AdamW"]
    assert [value_text(value) for value in widths.values] == ["(4)", "(8, 8)"]
    assert len(design.on(design.grid)) == 4 and "baseline" not in design.on(design.grid)


def test_trials_lie_on_axes_with_the_scale_of_their_ranges() -> None:
    ranges = {
        "optimizer.learning_rate": LogUniform(1e-4, 1e-1),
        "optimizer.weight_decay": Uniform(0.0, 0.1),
        "batch_size": Integers(8, 32),
        "model.dropout": [None, 0.2],
    }
    design = recorded(search=Search(ranges=ranges, trials=6), variants={"wild": {"optimizer.learning_rate": 0.5}})
    assert [axis.scale for axis in design.search] == ["log", "linear", "linear", "categories"]
    assert (design.search[0].low, design.search[0].high) == (1e-4, 1e-1)
    on = design.on(design.search)
    assert len(on) == 7 and "baseline" in on and "wild" not in on and design.grid == ()


def test_an_older_directory_is_named_with_what_to_do() -> None:
    with pytest.raises(UserError, match=r"written by older code.*Run the same research ablate again"):
        read_design({"arms": []})
