"""Utility of warnings of sepsis, against the rules of the Challenge 2019 written out hour by hour."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from research.errors import UserError
from research.evaluation import Predictions, compare_predictions, evaluate, sepsis_utility, utility_threshold
from research.evaluation.sepsis import utilities
from research.task import Task

SEPSIS = Task("binary", ("none", "sepsis"), per_step=True)


def of_one_patient(labels: Any, warned: Any) -> float:
    """Rules of the Challenge: straight lines between -12, -6 and +3 hours from the onset."""
    total = 0.0
    onset = labels.index(1) + 6 if 1 in labels else None
    for hour, warns in enumerate(warned):
        if onset is None:
            total += -0.05 if warns else 0.0
        elif hour <= onset + 3:
            since = hour - onset
            if warns:
                total += max((since + 12) / 6, -0.05) if since <= -6 else (3 - since) / 9
            else:
                total += 0.0 if since <= -6 else -2 * (since + 6) / 9
    return total


def patients(count: int = 40, seed: int = 0) -> tuple[Predictions, list[tuple[list[int], np.ndarray]]]:
    random = np.random.default_rng(seed)
    rows: list[tuple[int, int, int, float]] = []
    each = []
    for number in range(count):
        length = int(random.integers(5, 40))
        first = int(random.integers(0, length)) if number % 3 == 0 else length
        labels = [int(hour >= first) for hour in range(length)]
        said = (0.5 * random.random(length) + 0.4 * np.array(labels) * random.random(length)).round(2)
        rows += [(number, hour, labels[hour], said[hour]) for hour in range(length)]
        each.append((labels, said))
    series, hour, label, said = (np.array(column) for column in zip(*rows, strict=True))
    shuffled = random.permutation(len(rows))
    held = [column[shuffled] for column in (series, said, label, series.astype(str).astype(object), hour)]
    example, prediction, targets, patient, step = held
    return Predictions(SEPSIS, "test", example, prediction, targets, patient, step=step), each


def test_the_example_of_the_scorer() -> None:
    """The published scorer gives 3.388888888888889 for a warning at each of the last four hours of this patient."""
    labels, warned = [0, 0, 0, 0, 1, 1], np.array([0, 0, 1, 1, 1, 1]) == 1
    found = utilities(np.array(labels), np.zeros(6, int), np.arange(6))
    assert np.where(warned, found.warned, found.silent).sum() == pytest.approx(3.388888888888889, abs=1e-12)
    assert of_one_patient(labels, warned) == pytest.approx(3.388888888888889, abs=1e-12)


def test_normalised_utility_is_that_of_the_rules() -> None:
    predictions, each = patients()

    def normalised(cut: float) -> float:
        reached = sum(of_one_patient(labels, said >= cut) for labels, said in each)
        silent = sum(of_one_patient(labels, [False] * len(labels)) for labels, _ in each)
        best = silent_best = 0.0
        for labels, _ in each:
            onset = labels.index(1) + 6 if 1 in labels else np.inf
            best += of_one_patient(labels, [onset - 12 <= hour <= onset + 3 for hour in range(len(labels))])
            silent_best += 0.0
        return (reached - silent) / (best - silent)

    for cut in (0.1, 0.35, 0.6):
        found = sepsis_utility(predictions, cut, resamples=200)
        assert found.value == pytest.approx(normalised(cut), rel=1e-12)
        assert found.low < found.value < found.high
        assert (found.name, found.patients, found.method) == ("utility", 40, "bootstrap by patient")
    # Warning of nothing gains nothing; the chosen threshold is the best of all.
    assert sepsis_utility(predictions, 2.0, resamples=10).value == 0
    chosen = utility_threshold(predictions)
    best = max(normalised(cut) for cut in np.arange(0, 1.01, 0.01))
    assert normalised(chosen) == pytest.approx(best, rel=1e-12)


def test_a_report_has_it_where_the_task_asks_for_it() -> None:
    task = dataclasses.replace(SEPSIS, scorers=("sepsis_utility",))
    test, validation = (dataclasses.replace(patients(seed=seed)[0], task=task) for seed in (0, 1))
    report = evaluate(test, dataclasses.replace(validation, split="validation"), resamples=50)
    threshold = utility_threshold(validation)
    assert report["utility"] == sepsis_utility(test, threshold, resamples=50)
    assert report.own_thresholds["utility"] == threshold
    assert any(line.startswith("threshold of utility:") for line in str(report.tables()[-1]).splitlines())
    (found,) = [item for item in compare_predictions(test, test, resamples=10) if item.name == "utility"]
    assert found.difference == 0
    assert "utility" not in [item.name for item in evaluate(patients()[0], resamples=5).estimates]


def test_the_best_warnings_score_one_and_healthy_patients_alone_have_no_score() -> None:
    predictions, _ = patients()
    found = utilities(np.asarray(predictions.targets), predictions.example, np.asarray(predictions.step))
    perfect = Predictions(
        SEPSIS, "test", predictions.example, found.useful.astype(float), predictions.targets, step=predictions.step
    )
    estimate = sepsis_utility(perfect, 0.5, resamples=20)
    assert estimate.value == pytest.approx(1) and estimate.patients is None
    healthy = Predictions(SEPSIS, "test", np.zeros(5, int), np.ones(5), np.zeros(5, int), step=np.arange(5))
    assert np.isnan(sepsis_utility(healthy, 0.5, resamples=5).value)
    assert utility_threshold(healthy) > 1
    with pytest.raises(UserError, match="two classes at each hour"):
        sepsis_utility(Predictions(Task("binary", ("a", "b")), "test", np.arange(2), np.ones(2), np.arange(2)), 0.5)
