"""What an ablation's directory records of its grid and search, and where each arm lies."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from tiny import EXPERIMENT

from research.ablation.ablation import Ablation
from research.ablation.design import Design, describe_arm, describe_design, read_design
from research.ablation.figures.arms import labels_of
from research.ablation.names import value_texts
from research.ablation.search import Integers, LogUniform, Search, Uniform
from research.errors import UserError
from research.optimizers import SGD, AdamW
from research.schedules import StepDecay, WarmupCosine


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


def test_names_differ_where_a_slash_is_not_allowed_in_them() -> None:
    assert value_texts(["a/b", "a|b"]) == ["a/b", "a|b"]
    assert value_texts(["a/b", "a|b"], names=True) == ["a|b", "a|b (2)"]


def test_numbers_in_tuples_keep_their_digits() -> None:
    assert value_texts([[0.9, 0.99999], [0.9, 0.9999]]) == ["(0.9, 0.99999)", "(0.9, 0.9999)"]


def test_parts_and_tuples_are_values_too() -> None:
    grid = {"optimizer": [SGD(learning_rate=0.1), AdamW(learning_rate=0.1)], "model.widths": [(4,), (8, 8)]}
    design = recorded(grid=grid)
    optimizer, widths = design.grid
    assert value_texts(optimizer.values) == ["SGD", "AdamW"]
    assert value_texts(widths.values) == ["(4,)", "(8, 8)"]
    assert len(design.on(design.grid)) == 4 and "baseline" not in design.on(design.grid)


def test_values_that_differ_have_texts_that_differ() -> None:
    rates = [
        WarmupCosine(peak=0.1, warmup=0.05),
        WarmupCosine(peak=0.1, warmup=0.1),
        WarmupCosine(peak=0.01, warmup=0.1),
        StepDecay(),
    ]
    (axis,) = recorded(grid={"optimizer.learning_rate": [*rates, 0.1, 0.10000001, 0.1]}).grid
    texts = value_texts(axis.values)
    assert texts == [
        *("WarmupCosine(warmup=0.05, peak=0.1)", "WarmupCosine(warmup=0.1, peak=0.1)"),
        *("WarmupCosine(warmup=0.1, peak=0.01)", "StepDecay", "0.1", "0.10000001"),
    ]
    labels = labels_of(axis, 18)
    assert len(set(labels)) == len(labels) == 6 and max(map(len, labels)) <= 18
    nested = [AdamW(learning_rate=rate) for rate in (WarmupCosine(peak=0.1), WarmupCosine(peak=0.2), 0.5)]
    (axis,) = recorded(grid={"optimizer": nested}).grid
    assert len(set(value_texts(axis.values))) == 3
    assert value_texts([True, 1, 1.0, [1], [1.0], None, None])[-1] == "none"
    assert len(set(value_texts([True, 1, 1.0, [1], [1.0], None, None]))) == 6


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
