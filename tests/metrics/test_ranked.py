"""Metrics of many weightings, found from what is sorted and counted once, are those of each weighting alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn import metrics as oracle

from research import metrics
from research.evaluation import Predictions
from research.evaluation.intervals import bootstrap_weights
from research.evaluation.measures import Measured
from research.task import Task

ROWS = 300


def _weights(draw: np.random.Generator, kind: str) -> np.ndarray:
    if kind == "resamples":
        return next(bootstrap_weights(np.arange(ROWS) // 3, 7, 0, chunk=7))
    return draw.random((2, 3, ROWS)) * (draw.random((2, 3, ROWS)) < 0.7)


@pytest.mark.parametrize("kind", ["resamples", "fractions"])
@pytest.mark.parametrize("digits", [1, 2, 12])
def test_ranked_scores_give_what_scikit_learn_gives_for_each_weighting(digits: int, kind: str) -> None:
    draw = np.random.default_rng(digits)
    weights = _weights(draw, kind)
    targets = draw.integers(0, 2, ROWS).astype(float)
    scores = np.round(draw.standard_normal(ROWS) + targets, digits)
    targets[draw.random(ROWS) < 0.1] = np.nan
    known = ~np.isnan(targets)
    standing = metrics.RankedScores(scores, targets).standing(weights)
    found = {"auroc": standing.auroc(), "average_precision": standing.average_precision(), "f1": standing.f1_max()}
    assert all(values.shape == weights.shape[:-1] for values in found.values())
    for place in np.ndindex(weights.shape[:-1]):
        given = targets[known], scores[known], weights[place][known]
        area = oracle.roc_auc_score(given[0], given[1], sample_weight=given[2])
        assert found["auroc"][place] == pytest.approx(area, rel=1e-12)
        area = oracle.average_precision_score(given[0], given[1], sample_weight=given[2])
        assert found["average_precision"][place] == pytest.approx(area, rel=1e-12)
        best = max(oracle.f1_score(given[0], given[1] >= cut, sample_weight=given[2]) for cut in set(given[1]))
        assert found["f1"][place] == pytest.approx(best, rel=1e-12)


def test_ranked_scores_are_those_of_one_row_of_weights_and_know_what_is_not_defined() -> None:
    scores, targets = np.array([0.3, 0.1, 0.3, 0.9]), np.array([1, 0, 0, 1])
    ranked = metrics.RankedScores(scores, targets)
    assert ranked.standing(np.ones(4)).auroc() == 7 / 8  # of four pairs three are in order and one is a tie
    assert ranked.standing(np.ones(4)).average_precision() == pytest.approx((1 + 2 / 3) / 2, rel=1e-15)
    # No positive with weight, no negative with weight, no positive at all.
    for kept in ([0, 1, 1, 0], [1, 0, 0, 1]):
        standing = ranked.standing(np.array(kept, float))
        assert np.isnan(standing.auroc()) and np.isnan(standing.average_precision()) == (kept[0] == 0)
        assert np.isnan(standing.f1_max()) == (kept[0] == 0)
    none = metrics.RankedScores(scores, np.zeros(4)).standing(np.ones((2, 4)))
    assert np.isnan([none.auroc(), none.average_precision(), none.f1_max()]).all()


def test_counted_decisions_are_those_of_each_weighting() -> None:
    draw = np.random.default_rng(0)
    said, true = draw.integers(0, 4, ROWS), draw.integers(0, 3, ROWS)
    counted, weights = metrics.CountedDecisions(said, true, 4), _weights(draw, "fractions")
    matrix = counted.confusion_matrix(weights)
    expected = metrics.class_scores(said, true, 4, weights)
    for name, values in counted.class_scores(weights).items():
        np.testing.assert_allclose(values, expected[name], rtol=1e-12)
    for place in np.ndindex(weights.shape[:-1]):
        by_hand = oracle.confusion_matrix(true, said, sample_weight=weights[place])
        np.testing.assert_allclose(matrix[place], by_hand, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", ["binary", "multiclass", "multilabel"])
def test_what_is_reported_is_what_the_metrics_give_when_called_one_by_one(kind: str) -> None:
    draw = np.random.default_rng(1)
    task = Task(kind, ("a", "b") if kind == "binary" else ("a", "b", "c"))  # pyright: ignore[reportArgumentType]
    targets: Any = draw.integers(0, len(task.names), ROWS, dtype=np.int32)
    odds = np.exp(np.round(draw.standard_normal((ROWS, len(task.names))) + np.eye(len(task.names))[targets], 1))
    said = (odds / odds.sum(1, keepdims=True)).astype(np.float32)
    if kind == "binary":
        said = said[:, 1]
    if kind == "multilabel":
        targets = np.where(draw.random(said.shape) < 0.1, np.nan, draw.integers(0, 2, said.shape)).astype(np.float32)
    predictions = Predictions(task, "test", np.arange(ROWS, dtype=np.int32), said, targets, None)
    weights = _weights(draw, "resamples")
    found = Measured(predictions, dict.fromkeys(task.names, 0.5))(weights)
    if kind == "multilabel":
        areas = metrics.auroc_per_label(said, targets, weights)
        precisions = metrics.average_precision_per_label(said, targets, weights)
        best = metrics.per_column(metrics.f1_max, said, targets, weights)
        expected = {"auroc": areas.mean(-1), "average_precision": precisions.mean(-1), "f1_max": best.mean(-1)}
    elif kind == "multiclass":
        truth = np.eye(3)[targets]
        expected = {
            "auroc": metrics.auroc_per_class(said, targets, weights).mean(-1),
            "average_precision": metrics.average_precision_per_label(said, truth, weights).mean(-1),
            "f1": metrics.class_scores(said.argmax(1), targets, 3, weights)["f1"].mean(-1),
            "brier": metrics.brier(said, targets, weights),
            "log_loss": metrics.log_loss(said, targets, weights),
        }
    else:
        expected = {
            "auroc": metrics.auroc(said, targets, weights),
            "average_precision": metrics.average_precision(said, targets, weights),
            "brier": metrics.brier(said, targets, weights),
            "log_loss": metrics.log_loss(said, targets, weights),
        }
    for name, values in expected.items():
        np.testing.assert_allclose(found["", name], values, rtol=1e-12, err_msg=name)
