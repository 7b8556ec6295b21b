"""Exact tests and corrections: SciPy and statsmodels as oracles, known values."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import scipy.stats
from ablation_members import variant

from research.ablation.statistics import analyse, holm, sign_flip_p_values, smallest_p


@pytest.mark.parametrize("pairs", [2, 5, 8, 11])
def test_sign_flip_is_scipys_permutation_test(pairs):
    differences = np.random.default_rng(pairs).normal(0.4, 1, (pairs, 4))
    found = sign_flip_p_values(differences)
    for column, p_value in zip(differences.T, found, strict=True):
        expected: Any = scipy.stats.permutation_test(
            (column,), lambda x, axis: x.mean(axis), permutation_type="samples", vectorized=True, n_resamples=10**6
        )
        assert p_value == pytest.approx(expected.pvalue)


def test_five_pairs_never_reach_significance():
    assert sign_flip_p_values(np.full((5, 1), 0.3))[0] == 0.0625
    assert sign_flip_p_values(np.zeros((5, 1)))[0] == 1
    assert math.isnan(sign_flip_p_values(np.array([[0.1], [np.nan]]))[0])


def test_many_pairs_are_tested_with_random_signs():
    differences = np.random.default_rng(0).normal(0.35, 1, (30, 1))
    normal: Any = scipy.stats.ttest_1samp(differences[:, 0], 0)
    assert sign_flip_p_values(differences)[0] == pytest.approx(normal.pvalue, abs=0.01)
    assert sign_flip_p_values(np.full((30, 1), 0.1))[0] > 0


def test_holm_by_hand_and_without_the_undefined():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.01, np.nan, 0.04]) == pytest.approx([0.02, np.nan, 0.04], nan_ok=True)
    assert holm([0.9, 0.8]) == pytest.approx([1, 1])
    assert len(holm([])) == 0


def test_holm_agrees_with_statsmodels():
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    values = np.random.default_rng(0).random(20) ** 3
    assert holm(values) == pytest.approx(multitest.multipletests(values, method="holm")[1])


def test_smallest_p():
    assert smallest_p(5).p_value == 0.0625 and not smallest_p(5).reachable
    assert smallest_p(6).reachable and smallest_p(5).seeds_wanted == 6
    eight = smallest_p(8, 12)
    assert eight.corrected == pytest.approx(12 / 128) and not eight.reachable
    assert smallest_p(eight.seeds_wanted, 12).reachable and not smallest_p(eight.seeds_wanted - 1, 12).reachable
    first, second = eight.text().splitlines()
    assert "exact p over seeds at least 0.0078, 0.094 after Holm" in first
    assert "never significant; 9 seeds" in first and "of these very patients; the table's p" in second
    # It is another indeed: the gain is plain to the table's p, which no five seeds can show by the exact test.
    item = analyse([variant("a"), variant("b", gain=2.0, seed=8)], ("auroc",), resamples=0).differences[0]
    assert item.p_value is not None and item.p_value < smallest_p(5).p_value == item.p_seeds
    assert "no p-value" in smallest_p(1).text() and not smallest_p(1).reachable
