"""Curves of weighted examples against scikit-learn, bands of resamples, and bins of known contents."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import sklearn.metrics as oracle

from research.evaluation.intervals import wilson
from research.reporting.contrasts import Contrast
from research.reporting.curves import (
    GRID,
    bands,
    counts,
    precision,
    precision_recall_points,
    rank,
    roc,
    roc_points,
)
from research.reporting.reliability import reliability_bins


def contrast(count: int = 300, decimals: int = 2, seed: int = 0, shift: float = 1.2) -> Contrast:
    random = np.random.default_rng(seed)
    positive = random.random(count) < 0.3
    score = np.round(random.normal(size=count) + shift * positive, decimals)
    return Contrast("sick", np.arange(count), score, positive, {})


@pytest.mark.parametrize("decimals", [0, 1, 6])
def test_roc_is_that_of_scikit_learn_with_and_without_ties(decimals: int) -> None:
    item = contrast(decimals=decimals)
    alarm, hit, _ = oracle.roc_curve(item.positive, item.score, drop_intermediate=False)
    x, y = roc_points(item)
    np.testing.assert_allclose(x, alarm, atol=1e-12)
    np.testing.assert_allclose(y, hit, atol=1e-12)
    on_grid = roc(*counts(rank(item.score, item.positive), np.ones((1, 300))))[0]
    np.testing.assert_allclose(on_grid, np.interp(GRID, alarm, hit), atol=1e-12)


@pytest.mark.parametrize("decimals", [0, 1, 6])
def test_precision_is_that_of_scikit_learn_at_the_highest_threshold_that_reaches_each_sensitivity(
    decimals: int,
) -> None:
    item = contrast(decimals=decimals)
    shares, recalls, _ = oracle.precision_recall_curve(item.positive, item.score)
    # Thresholds rise with the index; the last point is scikit-learn's own, without a threshold.
    expected = [shares[:-1][recalls[:-1] >= max(r, 1e-12)][-1] for r in GRID]
    found = precision(*counts(rank(item.score, item.positive), np.ones((1, 300))))[0]
    np.testing.assert_allclose(found, expected, atol=1e-12)
    recall, share = precision_recall_points(item)
    area = float(np.sum(np.diff(recall) * share[1:]))
    assert area == pytest.approx(oracle.average_precision_score(item.positive, item.score), abs=1e-12)


def test_weights_are_repetitions() -> None:
    item = contrast(80, decimals=1)
    weights = np.random.default_rng(1).integers(0, 4, (5, 80)).astype(np.float64)
    hits, alarms = counts(rank(item.score, item.positive), weights)
    for row in range(5):
        times = weights[row].astype(int)
        score, positive = np.repeat(item.score, times), np.repeat(item.positive, times)
        alarm, hit, _ = oracle.roc_curve(positive, score, drop_intermediate=False)
        np.testing.assert_allclose(roc(hits, alarms)[row], np.interp(GRID, alarm, hit), atol=1e-12)
        one = counts(rank(score, positive), np.ones((1, len(score))))
        np.testing.assert_allclose(precision(hits, alarms)[row], precision(*one)[0], atol=1e-12)


def test_a_resample_without_one_of_the_classes_has_no_curve() -> None:
    item = contrast(50)
    only = np.stack([item.positive, ~item.positive]).astype(np.float64)
    hits, alarms = counts(rank(item.score, item.positive), only)
    assert np.isnan(roc(hits, alarms)).all()
    assert np.isnan(precision(hits, alarms)).all(1).tolist() == [False, True]


def test_bands_hold_the_curve_and_narrow_with_more_examples() -> None:
    widths = []
    for count in (200, 3200):
        item = contrast(count, decimals=6)
        both = bands([item], np.arange(count), resamples=200)[0]
        ones = counts(rank(item.score, item.positive), np.ones((1, count)))
        for band, curve in zip(both, (roc(*ones)[0], precision(*ones)[0]), strict=True):
            inside = (band.low <= curve + 1e-12) & (curve <= band.high + 1e-12)
            assert inside.mean() > 0.97
        widths.append(float((both[0].high - both[0].low).mean()))
    # Four times narrower with sixteen times the examples.
    assert widths[0] / widths[1] == pytest.approx(4, rel=0.3)


def test_bands_know_little_where_no_resample_differs() -> None:
    """Of two classes that are told apart perfectly, every resample has the same curve."""
    positive = np.arange(30) >= 20
    item = Contrast("sick", np.arange(30), np.arange(30, dtype=float), positive, {})
    of_roc, of_precision = bands([item], np.arange(30), resamples=50)[0]
    # Wilson's interval of 10 of 10 begins at 10 / (10 + 1.96 ** 2), of one of one at 1 / (1 + 1.96 ** 2).
    assert of_roc.low == pytest.approx(10 / (10 + 1.96**2), abs=1e-4) and (of_roc.high == 1).all()
    assert of_precision.low[[5, 100]] == pytest.approx([1 / (1 + 1.96**2), 10 / (10 + 1.96**2)], abs=1e-4)


def test_bands_go_by_patient() -> None:
    one = contrast(200, decimals=6)
    # Every example four times: by row this looks like four times the data, by patient it is the same data.
    fourfold = Contrast("sick", np.arange(800), np.repeat(one.score, 4), np.repeat(one.positive, 4), {})
    patient = np.repeat(np.arange(200), 4)
    expected = bands([one], np.arange(200), resamples=50)[0][0]
    by_patient = bands([fourfold], patient, resamples=50)[0][0]
    by_row = bands([fourfold], np.arange(800), resamples=50)[0][0]
    np.testing.assert_allclose(by_patient.low, expected.low, atol=1e-12)
    assert (by_row.high - by_row.low).mean() < 0.7 * (expected.high - expected.low).mean()


def test_a_label_that_is_missing_in_places_is_drawn_from_the_rest() -> None:
    whole = contrast(120, decimals=6)
    unit = np.arange(120)
    rows = np.flatnonzero(np.arange(120) % 3 != 0)
    part = Contrast("sick", rows, whole.score[rows], whole.positive[rows], {})
    weights: Any = np.zeros((1, 120))
    weights[:, rows] = 1
    expected = roc(*counts(rank(whole.score, whole.positive), weights))[0]
    x, y = roc_points(part)
    np.testing.assert_allclose(np.interp(GRID, x, y), expected, atol=1e-12)
    assert np.isfinite(bands([part], unit, resamples=20)[0][0].low).all()


def test_reliability_bins_are_as_many_examples_each_with_wilson_limits() -> None:
    probability = np.linspace(0, 1, 400, endpoint=False)
    outcome = np.arange(400) % 4 == 0
    bins = reliability_bins(probability, outcome, np.arange(400))
    assert bins.size.tolist() == [40] * 10
    np.testing.assert_allclose(bins.predicted, probability.reshape(10, 40).mean(1))
    np.testing.assert_allclose(bins.observed, 0.25)
    low, high = wilson(0.25, 40)
    np.testing.assert_allclose(bins.low, low)
    np.testing.assert_allclose(bins.high, high)


def test_equal_probabilities_share_a_bin_and_few_examples_make_few_bins() -> None:
    probability = np.repeat([0.1, 0.9], [350, 50])
    outcome = np.arange(400) % 2 == 0
    bins = reliability_bins(probability, outcome, np.arange(400))
    assert bins.size.tolist() == [350, 50] and bins.predicted == pytest.approx([0.1, 0.9])
    assert len(reliability_bins(probability[:45], outcome[:45], np.arange(45)).size) == 1
    few = reliability_bins(np.linspace(0, 1, 45), outcome[:45], np.arange(45))
    assert len(few.size) == 2 and few.size.sum() == 45


def test_reliability_limits_go_by_patient() -> None:
    random = np.random.default_rng(0)
    sick = np.repeat(random.random(50) < 0.5, 8)
    probability = np.full(400, 0.5)
    by_row = reliability_bins(probability, sick, np.arange(400))
    by_patient = reliability_bins(probability, sick, np.repeat(np.arange(50), 8))
    width = [float((bins.high - bins.low)[0]) for bins in (by_row, by_patient)]
    assert width[1] / width[0] == pytest.approx(8**0.5, rel=0.1)
