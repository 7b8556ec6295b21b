"""Comparisons: paired where the examples are the same, unpaired and said so elsewhere."""

from __future__ import annotations

import dataclasses
import io
import json
import math

import numpy as np
import pytest
from rich.console import Console

from research.errors import UserError
from research.evaluation import Predictions, Rows, compare_predictions, comparison_table
from research.origins import Origins
from research.task import Task

BINARY = Task("binary", ("benign", "malignant"))


def pair(count=300, patients=None, seed=0):
    """Two models that share most of their errors; the second is a little better."""
    random = np.random.default_rng(seed)
    targets = (random.random(count) < 0.4).astype(np.int32)
    shared = random.normal(size=count) + targets
    scores = shared, shared + 0.5 * targets + 0.3 * random.normal(size=count)
    return tuple(
        Predictions(BINARY, "test", np.arange(count), 1 / (1 + np.exp(-s)), targets, patients, np.abs(s))
        for s in scores
    )


def by_name(differences):
    return {item.name: item for item in differences}


def test_paired_interval_is_narrower_than_unpaired_and_the_test_agrees():
    a, b = pair()
    paired = by_name(compare_predictions(a, b, resamples=400))
    shifted = dataclasses.replace(b, example=b.example + 1)
    unpaired = by_name(compare_predictions(a, shifted, resamples=400))
    assert all(item.paired for item in paired.values()) and not any(item.paired for item in unpaired.values())
    area = paired["auroc"]
    assert area.difference == pytest.approx(area.b.value - area.a.value)
    assert area.low > 0 and area.p_value is not None and area.p_value < 0.01
    assert unpaired["auroc"].p_value is None and unpaired["auroc"].method.startswith("unpaired")
    for name in ("auroc", "brier", "log_loss", "loss"):
        assert paired[name].high - paired[name].low < 0.8 * (unpaired[name].high - unpaired[name].low), name
    # The bootstrap's spread is that of DeLong's test: |z| from both.
    z = area.difference / ((area.high - area.low) / (2 * 1.959964))
    assert math.erfc(abs(z) / math.sqrt(2)) == pytest.approx(area.p_value, abs=0.01)


def test_the_order_of_the_rows_does_not_matter():
    a, b = pair(patients=np.arange(300) // 3)
    order = np.random.default_rng(1).permutation(300)
    columns = ("example", "prediction", "targets", "patient", "loss")
    shuffled = dataclasses.replace(b, **{name: getattr(b, name)[order] for name in columns})
    straight, turned = compare_predictions(a, b, resamples=50), compare_predictions(a, shuffled, resamples=50)
    for first, second in zip(straight, turned, strict=True):
        assert second.paired
        assert (first.low, first.high) == pytest.approx((second.low, second.high), abs=1e-12)


def test_the_order_of_forecasts_does_not_matter():
    random = np.random.default_rng(4)
    truth, now, wrong = random.normal(size=60), random.normal(size=60), random.normal(size=60)
    task = Task("regression", ("in 1 h",), horizons=(1.0,), time_unit="hours")

    def forecasts(order: np.ndarray, error: float) -> Predictions:
        origins = Origins((order % 30).astype(np.int32), order * 1.0, now[order].astype(np.float32))
        return Predictions(task, "test", order, (truth + error * wrong)[order], truth[order], origins=origins)

    turned, straight = np.arange(60)[::-1], np.arange(60)
    found, expected = (
        {item.name: item for item in compare_predictions(forecasts(order, 0.5), forecasts(straight, 0.3), resamples=50)}
        for order in (turned, straight)
    )
    assert found["skill"].paired and found["skill"].low == pytest.approx(expected["skill"].low)
    assert found["skill"].high == pytest.approx(expected["skill"].high)


def test_equal_predictions_do_not_differ():
    a, _ = pair()
    for item in compare_predictions(a, a, resamples=50):
        assert item.difference == 0
        assert math.isnan(item.low) or item.low == item.high == 0
        assert item.p_value in (None, 1.0)


def test_other_targets_are_not_paired():
    a, b = pair()
    targets = b.targets.copy()
    targets[0] = 1 - targets[0]
    assert not compare_predictions(a, dataclasses.replace(b, targets=targets), resamples=10)[0].paired


def test_unpaired_interval_of_independent_means_is_the_known_one():
    random = np.random.default_rng(0)
    a, b = (Rows("episode", "final", {"return": random.normal(size=200), "only": np.ones(200)}) for _ in range(2))
    b = Rows("episode", "final", {"return": b.columns["return"]})
    differences = compare_predictions(a, b, resamples=2000)
    assert [item.name for item in differences] == ["return"]
    item = differences[0]
    error = np.sqrt(sum(rows.columns["return"].var() / 200 for rows in (a, b)))
    assert item.high - item.low == pytest.approx(2 * 1.96 * error, rel=0.08)


def test_table_and_json():
    a, b = pair()
    differences = compare_predictions(a, b, resamples=30)
    console = Console(file=io.StringIO(), width=80, record=True)
    console.print(comparison_table(differences))
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= 80 and "AUROC" in text and "paired, the same examples" in text
    json.dumps([item.to_json() for item in differences], allow_nan=False)


def test_what_cannot_be_compared_says_why():
    a, _ = pair()
    with pytest.raises(UserError, match="rows per episode"):
        compare_predictions(a, Rows("episode", "final", {"return": np.ones(3)}))
    other = dataclasses.replace(a, task=Task("binary", ("no", "yes")))
    with pytest.raises(UserError, match="different things: binary benign, malignant and binary no, yes"):
        compare_predictions(a, other)
