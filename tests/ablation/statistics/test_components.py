"""Variance components: an analysis of variance by hand, DeLong's covariance, the jackknife of a mean."""

from __future__ import annotations

import numpy as np
import pytest
from ablation_members import predicted, scores, variant

from research.ablation.statistics import Outcomes, components
from research.ablation.statistics.measuring import area_moves, jackknife_weights, measure
from research.evaluation import delong


def test_components_are_those_of_a_two_way_layout():
    """The metric is a mean of ``seed + patient + rest``: mean squares of seeds and patients give the components."""
    random = np.random.default_rng(0)
    seeds, patients = 6, 40
    table = (
        random.normal(size=(seeds, 1)) + 2 * random.normal(size=(1, patients)) + random.normal(size=(seeds, patients))
    )
    values = table.mean(1)
    moves = (table - values[:, None]).T / np.sqrt(patients * (patients - 1))
    parts = components(values, moves)
    rest = table - table.mean(0) - values[:, None] + table.mean()
    mean_square_rest = (rest**2).sum() / ((seeds - 1) * (patients - 1))
    mean_square_patients = seeds * table.mean(0).var(ddof=1)
    assert parts.seed_variance == pytest.approx(values.var(ddof=1))
    assert parts.data_variance == pytest.approx(table.var(1, ddof=1).mean() / patients)
    assert parts.shared_variance == pytest.approx((mean_square_patients - mean_square_rest) / seeds / patients)
    assert parts.variance() == pytest.approx(parts.seed_variance / 6 + parts.shared_variance)


def test_components_are_unbiased_for_new_seeds_and_new_patients():
    """Over repetitions, the estimated variance of the mean is the variance of the mean."""
    random = np.random.default_rng(1)
    means, variances = [], []
    for _ in range(1500):
        table = 0.3 * random.normal(size=(4, 1)) + random.normal(size=(1, 30)) + 2 * random.normal(size=(4, 30))
        values = table.mean(1)
        # With a shared part as large as this, hardly any estimate is cut off at 0.
        parts = components(values, (table - values[:, None]).T / np.sqrt(30 * 29))
        means.append(parts.mean)
        variances.append(parts.seed_variance / 4 + parts.shared_variance)
    assert np.mean(variances) == pytest.approx(np.var(means), rel=0.1)


def test_negative_shared_variance_is_cut_off_and_seeds_without_a_value_are_left_out():
    moves = np.array([[0.1, -0.1], [-0.1, 0.1]])
    assert components(np.array([0.5, 0.7]), moves).shared_variance == 0
    parts = components(np.array([0.5, np.nan, 0.7]), np.array([[0.1, np.nan, 0.1], [-0.1, np.nan, -0.1]]))
    assert (parts.seeds, parts.mean) == (2, pytest.approx(0.6))
    assert parts.has_data and parts.shared_variance == pytest.approx(0.02)
    assert components(np.array([np.nan]), None).seeds == 0
    assert not components(np.array([0.5, 0.7]), np.array([[np.nan, 0.1]])).has_data


def test_carriers_count_the_patients_who_decide():
    random = np.random.default_rng(2)
    even = components(np.zeros(1), random.normal(size=(3000, 1)))
    assert even.carriers == pytest.approx(1000, rel=0.1)
    lone = np.zeros((3000, 1))
    lone[:4] = 1
    assert components(np.zeros(1), lone).carriers == pytest.approx(4)


@pytest.mark.parametrize("rows", ["one each", "one class a patient", "mixed"])
def test_moves_of_areas_give_the_covariance_of_delong_and_obuchowski(rows):
    logits, targets = scores(120, 2)
    unit = np.arange(120)
    if rows == "one class a patient":
        unit = np.where(targets == 1, np.cumsum(targets) // 3, 200 + np.cumsum(1 - targets) // 3)
    elif rows == "mixed":
        unit = np.arange(120) // 4
    unit = np.unique(unit, return_inverse=True)[1]
    parts = [delong.influence(member, targets) for member in logits]
    moves = [area_moves(part, unit) for part in parts]
    for i in range(2):
        for j in range(2):
            assert moves[i] @ moves[j] == pytest.approx(delong.covariance(parts[i], parts[j], unit), rel=1e-9)


def test_moves_are_not_known_where_a_class_has_one_patient():
    targets = np.array([1, 0, 0, 0])
    part = delong.influence(np.array([0.9, 0.1, 0.2, 0.95]), targets)
    assert np.isnan(area_moves(part, np.arange(4))).all()
    assert np.isnan(area_moves(part, np.array([0, 1, 1, 2]))).all()


def test_the_jackknife_of_a_mean_is_its_variance():
    logits, targets = scores(50, 1)
    item = variant("a", (0,), count=50)
    found = measure([item], ["brier"], resamples=0)[0]
    errors = (1 / (1 + np.exp(-logits[0])) - targets) ** 2
    assert (found.moves["brier"] ** 2).sum() == pytest.approx(errors.var(ddof=1) / 50)
    assert found.values["brier"][0] == pytest.approx(errors.mean())


def test_jackknife_and_bootstrap_agree_for_every_metric():
    found = measure([variant("a", count=300)], resamples=400)[0]
    for name in found.values:
        moves, resampled = found.moves[name], found.resampled[name]
        jackknife, bootstrap = moves.T @ moves, np.cov(resampled.T)
        assert np.diag(jackknife) == pytest.approx(np.diag(bootstrap), rel=0.35), name
        assert jackknife[0, 1] == pytest.approx(bootstrap[0, 1], rel=0.5), name


def test_many_patients_are_left_out_in_groups():
    unit = np.repeat(np.arange(50), 2)
    weights = np.concatenate(list(jackknife_weights(unit, most=7)))
    assert weights.shape == (7, 100)
    assert ((weights == 0).sum(0) == 1).all()
    assert (weights[:, ::2] == weights[:, 1::2]).all()
    assert {int(n) for n in (weights == 0).sum(1)} == {14, 16}


def test_rows_of_a_patient_count_together():
    """The same rows twice, under one patient, tell nothing new."""
    logits, targets = scores(80, 3)
    once = [predicted(member, targets) for member in logits]
    twice = [predicted(np.repeat(m, 2), np.repeat(targets, 2), np.repeat(np.arange(80), 2)) for m in logits]
    a, b = (measure([Outcomes("a", (0, 1, 2), members)], resamples=0)[0] for members in (once, twice))
    for name in ("accuracy", "brier", "average_precision"):
        first, second = (item.moves[name] for item in (a, b))
        assert first.T @ first == pytest.approx(second.T @ second, rel=1e-9), name
