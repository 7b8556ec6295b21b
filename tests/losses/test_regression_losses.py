"""Quantiles against scikit-learn, and losses in deviations of the training targets against those in units."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sklearn.metrics as oracle

from research.errors import UserError
from research.losses import MAE, MSE, Huber, Loss, Quantile
from research.spec import apply_overrides, check, from_json, to_json
from research.task import Task

VALUES = Task("regression", ("sodium", "platelets"))
RNG = np.random.default_rng(0)
TARGETS = RNG.normal((140, 250), (4, 90), (40, 2)).astype(np.float32)
TARGETS[3, 0] = TARGETS[5, 1] = np.nan


def mean_loss(loss: Loss, outputs: Any, targets: Any) -> float:
    total, weight = loss.per_example(jnp.asarray(outputs, jnp.float32), jnp.asarray(targets))
    return float(total.sum() / weight.sum())


def test_the_pinball_loss_is_that_of_scikit_learn() -> None:
    loss = Quantile(quantiles=(0.05, 0.5, 0.7))
    targets, outputs = RNG.normal(size=(30, 2)).astype(np.float32), RNG.normal(size=(30, 6)).astype(np.float32)
    said = outputs.reshape(30, 2, 3)
    each = [oracle.mean_pinball_loss(targets, said[..., k], alpha=q) for k, q in enumerate(loss.quantiles)]
    assert mean_loss(loss, outputs, targets) == pytest.approx(np.mean(each), rel=1e-5)


def test_the_best_constants_are_the_quantiles_of_the_sample() -> None:
    sample = RNG.exponential(size=(401, 1)).astype(np.float32)
    loss = Quantile(quantiles=(0.1, 0.5, 0.9))
    best = np.quantile(sample, loss.quantiles).astype(np.float32)

    def gradient(constants: Any) -> Any:
        outputs = jnp.broadcast_to(constants[None], (401, 3))
        return jax.grad(lambda shift: loss.per_example(outputs + shift[None], jnp.asarray(sample))[0].mean())(
            jnp.zeros(3)
        )

    # To either side of the sample's quantile the loss rises.
    assert (gradient(jnp.asarray(best) - 0.05) < 0).all() and (gradient(jnp.asarray(best) + 0.05) > 0).all()


def test_the_median_is_the_prediction_and_quantiles_never_cross() -> None:
    loss = Quantile(quantiles=(0.1, 0.5, 0.9))
    outputs = jnp.asarray([[1.0, 2.0, 3.0, 30.0, 20.0, 10.0]])
    np.testing.assert_array_equal(loss.predict(outputs, VALUES), [[2, 20]])
    np.testing.assert_array_equal(loss.predict_quantiles(outputs, VALUES), [[[1, 2, 3], [10, 20, 30]]])
    assert loss.levels == (0.1, 0.5, 0.9) and MSE().levels == ()


@pytest.mark.parametrize("loss", [MSE(), MAE(), Huber(delta=0.7), Quantile(quantiles=(0.2, 0.5))])
def test_standardize_is_the_loss_of_scaled_targets_and_predicts_in_units(loss: Any) -> None:
    fitted = loss.replace(standardize=True).fitted(VALUES, TARGETS)
    mean, deviation = np.nanmean(TARGETS, 0, dtype=np.float64), np.nanstd(TARGETS, 0, dtype=np.float64)
    np.testing.assert_allclose(fitted.mean, mean, rtol=1e-6)
    np.testing.assert_allclose(fitted.deviation, deviation, rtol=1e-6)
    outputs = RNG.normal(size=(40, loss.outputs(VALUES))).astype(np.float32)
    scaled = ((TARGETS - mean) / deviation).astype(np.float32)
    assert mean_loss(fitted, outputs, TARGETS) == pytest.approx(mean_loss(loss, outputs, scaled), rel=1e-4)
    slope = jax.grad(lambda o: fitted.per_example(o, jnp.asarray(TARGETS))[0].sum())(jnp.asarray(outputs))
    unknown = np.repeat(np.isnan(TARGETS), outputs.shape[1] // 2, axis=1)
    assert np.isfinite(slope).all() and (slope[unknown] == 0).all() and (slope[~unknown] != 0).any()
    plain = np.asarray(loss.predict(jnp.asarray(outputs), VALUES), np.float64)
    np.testing.assert_allclose(fitted.predict(jnp.asarray(outputs), VALUES), plain * deviation + mean, rtol=1e-5)
    check(fitted)
    assert from_json(to_json(fitted)) == fitted and loss.fitted(VALUES, TARGETS) is loss


def test_a_constant_quantity_keeps_its_scale_and_an_unknown_one_is_named() -> None:
    constant = np.full((5, 2), 7, np.float32)
    assert MSE(standardize=True).fitted(VALUES, constant).deviation == (1, 1)  # type: ignore[attr-defined]
    constant[:, 1] = np.nan
    with pytest.raises(UserError, match=r"loss\.standardize: platelets is known of no training example"):
        MSE(standardize=True).fitted(VALUES, constant)


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (Quantile(quantiles=(0.5, 0.1)), r"loss\.quantiles: they are needed in ascending order, \(0\.5, 0\.1\)"),
        (Quantile(quantiles=(0.1, 0.9)), r"loss\.quantiles: 0\.5 is needed among them"),
        (Quantile(quantiles=(0.5, 1.0)), r"quantiles\.1: a number in \(0, 1\) is needed"),
        (MSE(mean=(1.0,)), r"loss\.mean, loss\.deviation: both are needed"),
        (MSE(standardize=True, mean=(1.0,), deviation=(1.0,)), r"loss\.mean: standardize=true takes"),
        (MSE(mean=(1.0,), deviation=(0.0,)), r"deviation\.0: a number above 0"),
    ],
)
def test_what_cannot_be_is_refused(loss: Loss, message: str) -> None:
    with pytest.raises(UserError, match=message):
        check(loss)


def test_quantiles_are_structure_and_read_from_the_command_line() -> None:
    loss = apply_overrides(Quantile(), ["quantiles=(0.25,0.5,0.75)"])
    assert loss == Quantile(quantiles=(0.25, 0.5, 0.75)) and jax.tree.leaves(loss) == []
