"""The concordance index against its definition, pair by pair, and its influence function against derivatives."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sksurv.metrics import concordance_index_censored

from research import metrics
from research.evaluation import delong


def by_pairs(risk: Any, targets: Any, weights: Any = None) -> float:
    """Harrell's index as written: every pair whose earlier event is known."""
    time, event = np.asarray(targets, float).T
    weights = np.ones(len(time)) if weights is None else weights
    pairs = event[:, None] * ((time[:, None] < time) | ((time[:, None] == time) & (event == 0)))
    agree = (risk[:, None] > risk) + 0.5 * (risk[:, None] == risk)
    both = np.outer(weights, weights)
    return float((both * pairs * agree).sum() / (both * pairs).sum())


def drawn(count: int = 50, seed: int = 0, levels: int = 8) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Risks and times with ties, and weights of which some are 0."""
    random = np.random.default_rng(seed)
    targets = np.stack([random.integers(0, levels, count), random.random(count) < 0.6], axis=1).astype(float)
    risk = random.integers(0, levels, count) - 0.5 * targets[:, 0]
    return risk, targets, random.integers(0, 3, (4, count)).astype(float)


@pytest.mark.parametrize(("count", "levels"), [(2, 4), (3, 2), (31, 3), (64, 8), (65, 400)])
def test_concordance_is_that_of_all_pairs_with_ties_and_weights(count: int, levels: int) -> None:
    risk, targets, weights = drawn(count, count, levels)
    targets[0, 1] = 1
    with np.errstate(invalid="ignore"):
        np.testing.assert_allclose(metrics.concordance(risk, targets), by_pairs(risk, targets), rtol=1e-12)
        expected = [by_pairs(risk, targets, row) for row in weights]
        np.testing.assert_allclose(metrics.concordance(risk, targets, weights), expected, rtol=1e-12)


def test_it_is_the_same_on_device_under_vmap_and_with_padding() -> None:
    risk, targets, weights = drawn()
    weights[:, [0, 20, 49]] = 0
    expected = metrics.concordance(risk, targets, weights)
    risk[[0, 20, 49]], targets[[0, 20, 49]] = np.nan, np.inf
    np.testing.assert_allclose(metrics.concordance(risk, targets, weights), expected, rtol=1e-12)
    on_device = jax.jit(
        lambda *held: (metrics.concordance(*held), jax.vmap(metrics.concordance, (None, None, 0))(*held))
    )
    for found in on_device(*(jnp.asarray(part, jnp.float32) for part in (risk, targets, weights))):
        np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_by_hand() -> None:
    """Events at 2 and 4, censored at 2 and 5: of five pairs that can be compared, one is tied and one is wrong."""
    targets = np.array([[2, 1], [2, 0], [4, 1], [5, 0]])
    assert metrics.concordance(np.array([3.0, 3.0, 1.0, 2.0]), targets) == pytest.approx((0.5 + 1 + 1 + 0) / 4)
    # Two events at once are not compared; nothing then says who was first.
    assert np.isnan(metrics.concordance(np.array([1.0, 2.0]), np.array([[3, 1], [3, 1]])))
    assert np.isnan(metrics.concordance(np.array([1.0, 2.0]), np.array([[3, 0], [4, 0]])))
    assert np.isnan(metrics.concordance(np.array([1.0, np.nan]), np.array([[3, 1], [4, 0]])))


def test_it_is_that_of_scikit_survival() -> None:
    risk, targets, _ = drawn(200, 3)
    time, event = targets.T
    theirs = concordance_index_censored(event == 1, time, risk)[0]
    assert metrics.concordance(risk, targets) == pytest.approx(theirs, rel=1e-9)


def test_the_influence_is_the_derivative_by_each_weight() -> None:
    risk, targets, _ = drawn(25, 5)
    area, moves = metrics.concordance_moves(risk, targets)
    assert area == pytest.approx(by_pairs(risk, targets), rel=1e-12) and abs(moves.sum()) < 1e-12
    step = 1e-5
    stretched = np.stack([np.ones((25, 25)) + sign * step * np.eye(25) for sign in (1, -1)])
    up, down = metrics.concordance(risk, targets, stretched)
    np.testing.assert_allclose(moves, (up - down) / (2 * step), atol=1e-9)
    nothing = metrics.concordance_moves(risk, targets * np.array([1, 0]))
    assert np.isnan(nothing[0]) and not nothing[1].any()


def test_its_interval_covers_the_truth_by_patient() -> None:
    """150 samples of 60 patients with two rows each, which share most of their risk and a third of censored times."""

    def sample(random: np.random.Generator, patients: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        unit = np.repeat(np.arange(patients), 2)
        risk = random.normal(size=patients)[unit] + 0.3 * random.normal(size=2 * patients)
        time = random.exponential(size=2 * patients) * np.exp(-risk)
        end = random.exponential(2.0, size=2 * patients)
        return risk, np.stack([np.minimum(time, end), time <= end], axis=1), unit

    risk, targets, _ = sample(np.random.default_rng(99), 8_000)
    truth, covered, by_row = float(metrics.concordance(risk, targets)), 0, []
    for seed in range(150):
        risk, targets, unit = sample(np.random.default_rng(seed), 60)
        area, moves = metrics.concordance_moves(risk, targets)
        low, high, _ = delong.mean_auroc_interval(np.array([area]), moves[:, None], unit)
        covered += low <= truth <= high
        rows = delong.mean_auroc_interval(np.array([area]), moves[:, None], np.arange(120))
        by_row.append((high - low) / (rows.high - rows.low))
    # Limits of 150 draws at .95, and two rows of a patient are not two patients.
    assert 0.905 <= covered / 150 <= 0.985
    assert np.mean(by_row) > 1.03
