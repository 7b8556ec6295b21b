"""Intervals against published examples, independent slow implementations and their own promises."""

from __future__ import annotations

import numpy as np
import pytest

from research.evaluation import delong, intervals

# Hanley & McNeil, Radiology 1982: ratings of 58 normal and 51 abnormal CT images, definitely normal to abnormal.
RATINGS = np.repeat([1.0, 2, 3, 4, 5, 1, 2, 3, 4, 5], [33, 6, 6, 11, 2, 3, 2, 2, 11, 33])
ABNORMAL = np.repeat([0, 1], [58, 51])


def structural_components(scores, targets):
    """DeLong's components by the definition: every pair compared."""
    positive, negative = scores[targets == 1], scores[targets == 0]
    psi = (positive[:, None] > negative[None, :]) + 0.5 * (positive[:, None] == negative[None, :])
    return psi.mean(), psi.mean(1), psi.mean(0)


def test_delong_gives_the_published_example():
    part = delong.influence(RATINGS, ABNORMAL)
    error = np.sqrt(delong.covariance(part, part, np.arange(109)))
    # The table that Stata's manual prints for `roctab`: area, standard error, limits on the plain scale.
    assert round(part.area, 4) == 0.8932
    assert round(error, 4) == 0.0307
    assert round(part.area - 1.959964 * error, 5) == 0.83295
    assert round(part.area + 1.959964 * error, 5) == 0.95339
    low, high, method = delong.auroc_interval(part, np.arange(109))
    assert method == "DeLong, logit"
    half = 1.959964 * error / (part.area * (1 - part.area))
    odds = np.exp([-half, half]) * part.area / (1 - part.area)
    np.testing.assert_allclose([low, high], odds / (1 + odds), rtol=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_delong_equals_the_definition(seed):
    random = np.random.default_rng(seed)
    targets = np.r_[0, 0, 1, 1, random.integers(0, 2, 40)]
    first = random.integers(0, 8, len(targets)) + targets.astype(float)
    second = random.normal(size=len(targets)) + targets
    expected = 0.0
    areas, components = [], []
    for scores in (first, second):
        area, above, below = structural_components(scores, targets)
        areas.append(area)
        components.append((above, below))
    for side, count in ((0, (targets == 1).sum()), (1, (targets == 0).sum())):
        expected += np.cov(components[0][side], components[1][side])[0, 1] / count
    parts = delong.influence(first, targets), delong.influence(second, targets)
    np.testing.assert_allclose([part.area for part in parts], areas, atol=1e-12)
    assert delong.covariance(*parts, np.arange(len(targets))) == pytest.approx(expected, abs=1e-14)


def test_clustered_variance_equals_obuchowski_by_loops():
    random = np.random.default_rng(3)
    unit = random.integers(0, 25, 120)
    targets = random.integers(0, 2, 120)
    scores = random.normal(size=120) + targets + random.normal(size=25)[unit]
    area, above, below = structural_components(scores, targets)
    positives, negatives = len(above), len(below)
    sums = []
    for patient in np.unique(unit):
        mine_positive = unit[targets == 1] == patient
        mine_negative = unit[targets == 0] == patient
        sums.append(
            (
                above[mine_positive].sum() - mine_positive.sum() * area,
                below[mine_negative].sum() - mine_negative.sum() * area,
                mine_positive.any(),
                mine_negative.any(),
            )
        )
    up, down, has_up, has_down = map(np.array, zip(*sums, strict=True))
    with_up, with_down, patients = has_up.sum(), has_down.sum(), len(sums)
    s10 = with_up / ((with_up - 1) * positives) * (up**2).sum()
    s01 = with_down / ((with_down - 1) * negatives) * (down**2).sum()
    s11 = patients / (patients - 1) * (up * down).sum()
    expected = s10 / positives + s01 / negatives + 2 * s11 / (positives * negatives)
    part = delong.influence(scores, targets)
    assert delong.covariance(part, part, unit) == pytest.approx(expected, rel=1e-12)
    assert delong.auroc_interval(part, unit).method == "Obuchowski, logit"


def test_repeating_every_row_of_a_patient_does_not_narrow_the_interval():
    random = np.random.default_rng(0)
    targets = random.integers(0, 2, 60)
    scores = random.normal(size=60) + targets
    once = delong.auroc_interval(delong.influence(scores, targets), np.arange(60))
    rows = np.repeat(np.arange(60), 5)
    part = delong.influence(scores[rows], targets[rows])
    by_patient, by_row = delong.auroc_interval(part, rows), delong.auroc_interval(part, np.arange(300))
    np.testing.assert_allclose(by_patient[:2], once[:2], rtol=1e-9)
    assert by_row.high - by_row.low < 0.6 * (once.high - once.low)
    right = random.random(60) < 0.8
    everything = np.ones(60, bool)
    alone = intervals.proportion_interval(right, everything, np.arange(60))
    clustered = intervals.proportion_interval(right[rows], np.repeat(everything, 5), rows)
    np.testing.assert_allclose(clustered[:2], alone[:2], atol=0.003)
    assert clustered.method == "Wilson by patient"


def test_newcombe_method_5_solves_its_polynomial():
    # Documented for the R package SingleCaseES (non-overlap of all pairs), whose interval is this method.
    before, after = np.array([20, 20, 26, 25, 22, 23.0]), np.array([28, 25, 24, 27, 30, 30, 29.0])
    part = delong.influence(np.r_[before, after], np.repeat([0, 1], [6, 7]))
    low, high = delong.newcombe(part.area, 7, 6)
    assert part.area == pytest.approx(0.9166667, abs=1e-7)
    # The same limits from the polynomial into which the equation multiplies out.
    h, z = (6 + 7) / 2 - 1, 1.959963984540054
    for limit in (low, high):
        left = 6 * 7 * (part.area - limit) ** 2 * (2 - limit) * (1 + limit)
        right = z**2 * limit * (1 - limit) * (2 + h + (1 + 2 * h) * limit * (1 - limit))
        assert left == pytest.approx(right, rel=1e-6)
    assert (round(low, 3), round(high, 3)) == (0.597, 0.986)


@pytest.mark.parametrize(("positives", "negatives"), [(1, 1), (1, 30), (10, 20), (300, 700)])
def test_perfect_ranking_has_an_interval_with_width_that_narrows(positives, negatives):
    scores = np.arange(positives + negatives, dtype=float)
    targets = np.repeat([0, 1], [negatives, positives])
    low, high, method = delong.auroc_interval(delong.influence(scores, targets), np.arange(len(scores)))
    assert method == "Newcombe" and high == 1 and 0 < low < 1
    more = delong.newcombe(1.0, 2 * positives, 2 * negatives)
    assert more[0] > low
    worst = delong.auroc_interval(delong.influence(-scores, targets), np.arange(len(scores)))
    np.testing.assert_allclose([worst.low, worst.high], [0, 1 - low], atol=1e-6)


def test_wilson_gives_published_limits():
    # Newcombe, Statistics in Medicine 1998, table I, method 3.
    for cases, size, limits in (
        (81, 263, (0.2553, 0.3662)),
        (15, 148, (0.0624, 0.1605)),
        (0, 20, (0.0, 0.1611)),
        (1, 29, (0.0061, 0.1718)),
    ):
        np.testing.assert_allclose(intervals.wilson(cases / size, size), limits, atol=6e-5)
    assert intervals.wilson(1.0, 20) == (pytest.approx(1 - 0.1611, abs=1e-4), 1.0)


def test_bootstrap_draws_whole_patients_and_chunks_change_nothing():
    unit = intervals.unit_numbers(np.array(["b", "a", "b", "c", "a", "b"], object), 6)
    whole = np.concatenate(list(intervals.bootstrap_weights(unit, 50, seed=3)))
    assert whole.shape == (50, 6)
    for patient in range(3):
        assert (np.ptp(whole[:, unit == patient], axis=1) == 0).all()
    one_per_patient = whole[:, [0, 1, 3]]
    assert (one_per_patient.sum(1) == 3).all() and (one_per_patient == 0).any()
    chunked = list(intervals.bootstrap_weights(unit, 50, seed=3, chunk=7))
    assert [len(chunk) for chunk in chunked] == [7] * 7 + [1]
    np.testing.assert_array_equal(np.concatenate(chunked), whole)
    assert not np.array_equal(np.concatenate(list(intervals.bootstrap_weights(unit, 50, seed=4))), whole)


def test_bootstrap_standard_error_of_a_mean_is_the_known_one():
    values = np.random.default_rng(0).normal(size=80)
    weights = np.concatenate(list(intervals.bootstrap_weights(np.arange(80), 4000, seed=0)))
    assert (weights @ values / 80).std() == pytest.approx(values.std() / np.sqrt(80), rel=0.05)


def test_percentile_interval_counts_what_is_undefined_and_refuses_what_does_not_vary():
    values = np.arange(1000.0)
    assert intervals.percentile_interval(values, "patient")[:2] == (pytest.approx(24.975), pytest.approx(974.025))
    values[:10] = np.nan
    assert intervals.percentile_interval(values, "row").method == "bootstrap by row, 10 undefined"
    values[:600] = np.nan
    assert np.isnan(intervals.percentile_interval(values, "row").low)
    assert np.isnan(intervals.percentile_interval(np.ones(50), "row").low)


def test_macro_interval_of_one_class_is_that_of_the_class():
    part = delong.influence(RATINGS, ABNORMAL)
    single = delong.auroc_interval(part, np.arange(109))
    macro = delong.mean_auroc_interval(np.array([part.area]), part.moves[:, None], np.arange(109))
    np.testing.assert_allclose(macro[:2], single[:2], atol=2e-3)


def test_paired_test_of_areas():
    random = np.random.default_rng(0)
    targets = random.integers(0, 2, 200)
    good, noise = random.normal(size=200) + 2 * targets, random.normal(size=200)
    rows = np.arange(200)
    parts = delong.influence(good, targets), delong.influence(noise, targets)
    assert delong.paired_p_value(*parts, rows) < 1e-6
    assert delong.paired_p_value(parts[0], parts[0], rows) == 1
    # Under the null hypothesis p-values are uniform.
    p_values = []
    for _ in range(100):
        shared = random.normal(size=100) + targets[:100]
        pair = (delong.influence(shared + random.normal(size=100), targets[:100]) for _ in range(2))
        p_values.append(delong.paired_p_value(*pair, rows[:100]))
    assert np.mean(np.array(p_values) < 0.05) == pytest.approx(0.05, abs=0.045)
    assert np.mean(p_values) == pytest.approx(0.5, abs=0.08)
