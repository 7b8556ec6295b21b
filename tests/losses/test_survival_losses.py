"""Cox's partial likelihood and discrete hazards against plain NumPy, published numbers, and each other's limits."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from scipy.optimize import minimize_scalar
from sksurv.linear_model import CoxPHSurvivalAnalysis

from research.context import Context
from research.data.batch import Batch
from research.errors import UserError
from research.losses import CoxPH, DiscreteTimeHazard
from research.spec import check
from research.task import Task

DEATH = Task("survival", ("death",), "weeks")
# Remission of 42 children with leukaemia, in weeks (Freireich et al., Blood 1963): treated with 6-MP, and placebo.
TREATED = (
    *[(time, 1) for time in (6, 6, 6, 7, 10, 13, 16, 22, 23)],
    *[(time, 0) for time in (6, 9, 10, 11, 17, 19, 20, 25, 32, 32, 34, 35)],
)
PLACEBO = tuple((t, 1) for t in (1, 1, 2, 2, 3, 4, 4, 5, 5, 8, 8, 8, 8, 11, 11, 12, 12, 15, 17, 22, 23))
LEUKAEMIA = np.array([*TREATED, *PLACEBO], np.float32)
ON_PLACEBO = np.repeat([0, 1], 21).astype(np.float32)


def drawn(count: int = 42, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Scores, and targets with many ties."""
    random = np.random.default_rng(seed)
    targets = np.stack([random.integers(0, 12, count), random.random(count) < 0.6], axis=1).astype(np.float32)
    return random.normal(0, 2, count).astype(np.float32), targets


def partial_likelihood(score: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Cost of each event, written out."""
    costs = np.zeros(len(score))
    for row, (time, event) in enumerate(targets):
        if event:
            costs[row] = np.log(np.exp(score[targets[:, 0] >= time]).sum()) - score[row]
    return costs


def slope(score: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Gradient of the mean over events: what is expected of each row at each event, less what was seen."""
    gradient = -targets[:, 1].astype(np.float64)
    for time, event in targets:
        shares = np.where(targets[:, 0] >= time, np.exp(score), 0)
        gradient += event * shares / shares.sum()
    return gradient / targets[:, 1].sum()


def batch_of(targets: Any, mask: Any = None) -> Batch:
    rows = jnp.arange(len(targets), dtype=jnp.int32)
    mask = jnp.ones(len(targets), bool) if mask is None else jnp.asarray(mask)
    return Batch(None, jnp.asarray(targets), mask, rows, rows, DEATH)


@jax.jit
def cox(outputs: Any, batch: Batch) -> Any:
    def mean(outputs: Any) -> Any:
        total, weight = CoxPH().batch_cost(outputs, batch, Context())
        return Context().ratio(total, weight), (total, weight)

    (value, rows), gradient = jax.value_and_grad(mean, has_aux=True)(outputs)
    return value, gradient, *rows


def test_cox_is_the_partial_likelihood_with_the_ties_of_breslow() -> None:
    score, targets = drawn()
    value, gradient, total, weight = cox(jnp.asarray(score[:, None]), batch_of(targets))
    expected = partial_likelihood(score.astype(np.float64), targets)
    np.testing.assert_allclose(total, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(weight, targets[:, 1])
    assert float(value) == pytest.approx(expected.sum() / targets[:, 1].sum(), rel=1e-5)
    np.testing.assert_allclose(gradient[:, 0], slope(score.astype(np.float64), targets), atol=1e-6)


def test_cox_gives_the_published_fit_of_the_leukaemia_trial() -> None:
    """Kleinbaum & Klein, Survival Analysis: the coefficient of treatment is 1.509 and -2 log L 172.759 (Breslow)."""

    def twice(coefficient: float) -> float:
        outputs = jnp.asarray(coefficient * ON_PLACEBO[:, None])
        return 2 * float(cox(outputs, batch_of(LEUKAEMIA))[2].sum())

    found = minimize_scalar(twice, bounds=(0, 3), method="bounded", options={"xatol": 1e-3})
    assert found.x == pytest.approx(1.509, abs=0.02)
    assert found.fun == pytest.approx(172.759, abs=0.002)
    # At 0 it is what any computation of the same data gives before fitting: 187.970.
    assert twice(0.0) == pytest.approx(187.970, abs=0.002)


def test_cox_is_at_its_best_where_scikit_survival_says() -> None:
    """Of a linear predictor the gradient vanishes at its coefficients, and not beside them."""
    _, targets = drawn(60, 3)
    features = np.random.default_rng(4).normal(size=(60, 3)).astype(np.float32)
    outcomes = np.array([(event == 1, time + 1) for time, event in targets], dtype=[("event", "?"), ("time", "<f8")])
    theirs = CoxPHSurvivalAnalysis(alpha=0, ties="breslow", tol=1e-12).fit(features, outcomes).coef_
    batch = batch_of(targets)

    def cost(coefficients: Any) -> Any:
        total, weight = CoxPH().batch_cost((features @ coefficients)[:, None], batch, Context())
        return total.sum() / weight.sum()

    gradient = jax.jit(jax.grad(cost))
    assert np.abs(gradient(jnp.asarray(theirs, jnp.float32))).max() < 2e-6
    assert np.abs(gradient(jnp.asarray(theirs, jnp.float32) + 0.1)).max() > 1e-3


@pytest.mark.parametrize("junk", [np.nan, np.inf, 60.0])
def test_rows_of_padding_are_in_no_risk_set_whatever_they_hold(junk: float) -> None:
    score, targets = drawn(seed=1)
    mask = ~np.isin(np.arange(42), (5, 41))
    # In the lead of everyone, with an event, were they to count.
    score[~mask], targets[~mask] = junk, (99, 1)
    value, gradient, total, weight = cox(jnp.asarray(score[:, None]), batch_of(targets, mask))
    kept = score[mask].astype(np.float64), targets[mask]
    np.testing.assert_allclose(total[mask], partial_likelihood(*kept), rtol=1e-4, atol=1e-5)
    assert float(value) == pytest.approx(partial_likelihood(*kept).sum() / kept[1][:, 1].sum(), rel=1e-5)
    np.testing.assert_allclose(gradient[mask, 0], slope(*kept), atol=1e-6)
    for part in (total, weight, gradient[:, 0]):
        np.testing.assert_array_equal(part[~mask], 0)


def test_two_programs_have_the_risk_sets_and_the_gradient_of_one() -> None:
    score, targets = drawn(seed=4)
    mask = np.arange(42) != 3
    value, gradient, *_ = cox(jnp.asarray(score[:, None]), batch_of(targets, mask))
    halves = batch_of(targets, mask)
    halves = dataclasses.replace(
        halves, targets=halves.targets.reshape(2, 21, 2), mask=halves.mask.reshape(2, 21),
        example=halves.example.reshape(2, 21), patient=halves.patient.reshape(2, 21),
    )  # fmt: skip
    context = Context(
        mean=lambda tree: lax.pmean(tree, "program"),
        gather=lambda tree: lax.all_gather(tree, "program", tiled=True),
    )

    # One parameter for each row, as every program has them all; the gradients' mean is that of one program.
    outputs = jnp.asarray(score).reshape(2, 21, 1)

    def each(shift: Any, number: Any, outputs: Any, batch: Batch) -> Any:
        def mean(shift: Any) -> Any:
            own = lax.dynamic_slice_in_dim(shift, number * 21, 21)
            return context.ratio(*CoxPH().batch_cost(outputs + own[:, None], batch, context))

        found, slope = jax.value_and_grad(mean)(shift)
        return found, context.mean(slope)

    run = jax.jit(jax.vmap(each, in_axes=(None, 0, 0, 0), axis_name="program"))
    found, slopes = run(jnp.zeros(42), jnp.arange(2), outputs, halves)
    np.testing.assert_allclose(found, float(value), rtol=1e-6)
    np.testing.assert_allclose(slopes, np.broadcast_to(gradient[:, 0], (2, 42)), rtol=1e-5, atol=1e-7)


def test_a_batch_without_events_teaches_nothing() -> None:
    score, targets = drawn()
    value, gradient, *_ = cox(jnp.asarray(score[:, None]), batch_of(targets * np.array([1, 0], np.float32)))
    assert float(value) == 0
    np.testing.assert_array_equal(gradient, 0)


def hazard_likelihood(hazard: np.ndarray, cuts: np.ndarray, time: float, event: float) -> float:
    """What the paper says of one patient, interval by interval."""
    likelihood, start = 1.0, 0.0
    for h, end in zip(hazard, cuts, strict=True):
        if event and time <= end:
            return likelihood * h
        if not event and time < (start + end) / 2:
            return likelihood
        likelihood, start = likelihood * (1 - h), end
    return likelihood


def test_discrete_hazards_have_the_likelihood_of_the_paper() -> None:
    cuts = (1.0, 2.5, 4.0, 9.0)
    random = np.random.default_rng(2)
    targets = np.stack([random.uniform(0, 11, 60), random.random(60) < 0.5], axis=1).astype(np.float32)
    targets[:6] = [[0, 1], [0, 0], [1, 1], [2.5, 1], [9, 1], [1.75, 0]]
    outputs = random.normal(size=(60, 4)).astype(np.float32)
    total, weight = DiscreteTimeHazard(cuts=cuts).per_example(jnp.asarray(outputs), jnp.asarray(targets))
    hazards = 1 / (1 + np.exp(-outputs.astype(np.float64)))
    expected = [-np.log(hazard_likelihood(h, np.array(cuts), *row)) for h, row in zip(hazards, targets, strict=True)]
    np.testing.assert_allclose(total, expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(weight, 1)


def test_the_best_constant_hazards_are_those_of_the_life_table() -> None:
    """Without covariates: events in an interval over those who reached it, the half-lived ones not counted."""
    cuts = (5.0, 10.0, 20.0, 40.0)
    loss, targets = DiscreteTimeHazard(cuts=cuts), jnp.asarray(LEUKAEMIA)
    time, event = LEUKAEMIA.T
    expected, start = [], 0.0
    for end in cuts:
        failed = (event == 1) & (time > start) & (time <= end)
        through = np.where(event == 1, time > end, time >= (start + end) / 2)
        expected.append(failed.sum() / (failed.sum() + through.sum()))
        start = end
    logits = jnp.asarray(np.log(np.array(expected) / (1 - np.array(expected))), jnp.float32)
    rises = jax.jit(jax.grad(lambda o: loss.per_example(jnp.broadcast_to(o[None], (42, 4)), targets)[0].mean()))
    np.testing.assert_allclose(rises(logits), 0, atol=1e-6)
    survival = loss.survival(logits[None])[0]
    np.testing.assert_allclose(survival, np.cumprod(1 - np.array(expected)), rtol=1e-5)


def test_the_risk_is_minus_the_restricted_mean_survival_time() -> None:
    loss = DiscreteTimeHazard(cuts=(2.0, 6.0))
    outputs = jnp.asarray([[0.0, 0.0], [-40.0, -40.0], [40.0, 0.0]])
    # Chances 1, 1/2, 1/4 at 0, 2, 6; 1 throughout; 1, 0, 0.
    np.testing.assert_allclose(loss.predict(outputs, DEATH), [[-(1.5 + 1.5)], [-6], [-1]], atol=1e-5)


def test_cuts_hold_equal_shares_of_the_events_and_no_interval_is_empty() -> None:
    targets = np.stack([np.arange(1, 101), np.ones(100)], axis=1)
    assert DiscreteTimeHazard(intervals=4).fitted(DEATH, targets) == DiscreteTimeHazard(
        intervals=4, cuts=(25.0, 50.0, 75.0, 100.0)
    )
    censored = np.concatenate([targets, np.stack([np.full(500, 300), np.zeros(500)], axis=1)])
    assert DiscreteTimeHazard(intervals=2).fitted(DEATH, censored).cuts == (50, 100)  # type: ignore[attr-defined]
    tied = np.stack([np.repeat([0, 1, 2, 3, 9], [3, 80, 1, 1, 1]), np.ones(86)], axis=1)
    fitted = DiscreteTimeHazard(intervals=4).fitted(DEATH, tied)
    assert fitted.cuts == (1, 2, 3, 9) and fitted.outputs(DEATH) == 4  # type: ignore[attr-defined]
    check(fitted)
    given = DiscreteTimeHazard(cuts=(1.0, 2.0))
    assert given.fitted(DEATH, tied) is given


@pytest.mark.parametrize(
    ("loss", "targets", "message"),
    [
        (
            DiscreteTimeHazard(intervals=3),
            [[1, 1], [1, 1], [5, 1], [7, 0]],
            r"3 intervals .* train has 2. Use at most 2",
        ),
        (CoxPH(), [[1, 0], [2, 0]], "no training example has 'death'"),
        (CoxPH(), [[1, 1], [-2, 0]], r"training row 1 has time -2 and event 0"),
        (CoxPH(), [[np.nan, 1]], "time nan"),
        (DiscreteTimeHazard(), [[1, 2]], "event 2"),
    ],
)
def test_targets_that_cannot_be_learnt_are_named(loss: Any, targets: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        loss.fitted(DEATH, np.array(targets, np.float32))


def test_cuts_must_ascend_and_must_be_known() -> None:
    with pytest.raises(UserError, match=r"loss\.cuts: they are needed in ascending order"):
        check(DiscreteTimeHazard(cuts=(2.0, 2.0)))
    with pytest.raises(UserError, match="not known yet"):
        DiscreteTimeHazard().predict(jnp.zeros((1, 10)), DEATH)
