"""Made-up vital signs: a known best AUROC and a known best forecast, and oracles that come close to them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import roc_auc_score

from research.data import Series, SeriesData, SyntheticVitals
from research.data.catalog.known_risk import expected_auroc
from research.data.catalog.vitals_dynamics import (
    BEGIN,
    BETWEEN,
    CIRCADIAN,
    DETERIORATION,
    FLUCTUATION,
    HOURS,
    MEAN,
    MEASUREMENT,
    MEMORY,
    OFTEN,
    OWN_CIRCADIAN,
    PEAK,
    PRESSURE_PER_YEAR,
    SHARED,
    STEP,
    fluctuations,
    forecast,
)
from research.errors import UserError
from research.spec import check

SMALL = SyntheticVitals(patients=700, stays=2, seed=2)
AHEAD = SyntheticVitals(patients=600, stays=1, seed=2, task="forecast")


def _dense(series: Series) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values ``[N, T, C]`` with 0 for what is unknown, whether they are known, and times."""
    row = np.repeat(np.arange(len(series)), series.lengths)
    step = np.arange(len(series.values)) - np.repeat(series.starts, series.lengths)
    shape = (len(series), int(series.lengths.max()), series.values.shape[1])
    values, known, time = np.zeros(shape), np.zeros(shape), np.zeros(shape[:2])
    assert series.time is not None
    values[row, step], known[row, step] = np.nan_to_num(series.values), ~np.isnan(series.values)
    time[row, step] = series.time
    return values, known, time


def _slopes(series: Series) -> np.ndarray:
    """Least-squares slope of each vital sign beside a circadian swing, per 48 hours, ``[N, C]``."""
    values, known, time = _dense(series)
    angle = 2 * np.pi * time / 24
    design = np.stack([np.ones_like(time), time / HOURS, np.cos(angle), np.sin(angle)], axis=-1)
    normal = np.einsum("ntc,nti,ntj->ncij", known, design, design) + 1e-3 * np.eye(4)
    return np.linalg.solve(normal, np.einsum("ntc,nti->nci", values, design)[..., None])[:, :, 1, 0]


def _oracle(source: SyntheticVitals) -> tuple[float, float]:
    """AUROC of a logistic regression of slopes on the second half of the patients, and that of their true risk."""
    series, half = source.load(), source.patients * source.stays // 2
    slopes = _slopes(series) / DETERIORATION
    model = LogisticRegression().fit(slopes[:half], series.targets[:half])
    risk = source.risk()[half:]
    return expected_auroc(model.decision_function(slopes[half:]), risk), expected_auroc(risk, risk)


@pytest.mark.parametrize("missing", ["random", "informative"])
def test_slopes_come_close_to_the_best_auroc(missing: Any) -> None:
    found, best = _oracle(SMALL.replace(missing=missing))
    assert best - 0.015 < found <= best
    assert best == pytest.approx(SMALL.bayes_auroc(), abs=0.015)


def test_slopes_of_the_control_are_at_chance_and_labels_the_same() -> None:
    control = SMALL.replace(visible=False)
    assert abs(_oracle(control)[0] - 0.5) < 0.05
    shown, series = control.load(), SMALL.load()
    assert (shown.targets == series.targets).all() and len(shown.values) != len(series.values)
    assert control.bayes_auroc() == 0.5
    np.testing.assert_allclose(np.nanmean(shown.values, axis=0), np.nanmean(series.values, axis=0), rtol=0.03)


def test_bayes_auroc_is_the_auroc_of_the_true_risk() -> None:
    samples = [SyntheticVitals(patients=20_000, seed=seed) for seed in range(4)]
    draw = np.random.default_rng(0)
    estimates = [roc_auc_score(draw.random(40_000) < (risk := sample.risk()), risk) for sample in samples]
    error = np.std(estimates, ddof=1) / 2
    assert error < 0.002 and abs(samples[0].bayes_auroc() - np.mean(estimates)) < 4 * error + 0.001
    assert SyntheticVitals().bayes_auroc() == pytest.approx(0.90, abs=0.002)
    assert SyntheticVitals(strength=0).bayes_auroc() == pytest.approx(0.5, abs=1e-9)


def test_what_is_measured_is_as_declared() -> None:
    series, severity = SMALL.load(), SMALL.severity()
    _, known, time = _dense(series)
    assert series.targets.mean() == pytest.approx(0.5, abs=0.04)
    assert series.time_unit == "hours" and float(time.max()) < HOURS and (time[:, 0] == 0).all()
    assert known[:, 0].all()
    later = known[:, 1:].sum(axis=(0, 1)) / (known[:, 1:].any(axis=2)).sum()
    np.testing.assert_allclose(later, OFTEN, atol=0.015)
    assert 40 < series.lengths.mean() < 60 and series.lengths.std() > 5
    late = np.nanmean(np.where(series.time[:, None] > 40, series.values, np.nan), axis=0)  # pyright: ignore
    well = np.repeat(severity < 0.2, series.lengths)
    for vital in range(7):
        ill = series.values[~well & (series.time > 44), vital]  # pyright: ignore
        ill_mean, change = np.nanmean(ill), DETERIORATION[vital]
        assert np.sign(ill_mean - np.nanmean(series.values[well, vital])) == np.sign(change)
        assert abs(late[vital] - MEAN[vital]) < abs(change)
        whole = series.values[:, vital][~np.isnan(series.values[:, vital])].astype(np.float64) / STEP[vital]
        np.testing.assert_allclose(whole, np.round(whole), atol=1e-3)
    assert np.nanmax(series.values[:, 6]) == 100


def test_vital_signs_are_highest_in_the_afternoon() -> None:
    series = AHEAD.load()
    hour = (series.time + BEGIN) % 24  # pyright: ignore
    for vital in (0, 1, 5):
        angle = 2 * np.pi * (hour - PEAK) / 24
        there = ~np.isnan(series.values[:, vital])
        design = np.stack([np.ones(there.sum()), np.cos(angle[there]), np.sin(angle[there])], axis=1)
        found = np.linalg.lstsq(design, series.values[there, vital], rcond=None)[0]
        assert found[1] == pytest.approx(CIRCADIAN[vital], rel=0.1)
        assert abs(found[2]) < 0.1 * CIRCADIAN[vital]


def test_informative_missingness_measures_the_ill_more_often() -> None:
    kept = []
    for missing in ("random", "informative"):
        series = SMALL.replace(missing=missing).load()
        _, known, time = _dense(series)
        ill = SMALL.severity() > 0.8
        late = (time > 30) & known.any(axis=2)
        share = [known[group][late[group]].mean(axis=0) for group in (ill, ~ill)]
        kept.append(share[0] - share[1])
    assert np.abs(kept[0]).max() < 0.03
    assert (kept[1] > 0.04).all()


def test_fluctuations_are_correlated_in_time_and_between_vital_signs_as_declared() -> None:
    time = np.repeat(np.asarray([[0.0, 1.0, 1.5]]), 40_000, axis=0)
    found = fluctuations(time, np.random.default_rng(0).standard_normal((40_000, 3, 8))) / FLUCTUATION
    np.testing.assert_allclose(found.std(axis=0), 1, atol=0.02)
    assert np.corrcoef(found[:, 0, 0], found[:, 2, 0])[0, 1] == pytest.approx(np.exp(-1.5 / MEMORY), abs=0.02)
    assert np.corrcoef(found[:, 1, 0], found[:, 1, 1])[0, 1] == pytest.approx(0.2, abs=0.02)
    assert np.corrcoef(found[:, 1, 0], found[:, 1, 5])[0, 1] == pytest.approx(0, abs=0.02)


def test_forecast_is_the_conditional_mean_of_a_gaussian_process() -> None:
    # One dense covariance matrix, in the place of the filter.
    stays, ahead = AHEAD.replace(patients=3)._stays(0), HOURS + 2.5
    mean, variance = forecast(stays.time, stays.values, stays.measured, stays.age, ahead)
    for row in range(3):
        place, vital = np.nonzero(stays.measured[row])
        when, vital = np.append(stays.time[row][place], ahead), np.append(vital, 0)
        apart, same = np.abs(when[:, None] - when[None]), vital[:, None] == vital[None]
        shared, own = FLUCTUATION * np.sqrt(SHARED), FLUCTUATION**2 * (1 - SHARED)
        joint = np.exp(-apart / MEMORY) * (shared[vital][:, None] * shared[vital][None] + same * own[vital])
        swing = (OWN_CIRCADIAN * CIRCADIAN[vital]) ** 2
        joint += same * (BETWEEN[vital] ** 2 + swing * np.cos(2 * np.pi * apart / 24))
        expected = MEAN[vital] + CIRCADIAN[vital] * np.cos(2 * np.pi * (when + BEGIN - PEAK) / 24)
        expected += (vital == 1) * PRESSURE_PER_YEAR * (stays.age[row] - 60)
        error = MEASUREMENT[vital[:-1]] ** 2 + STEP[vital[:-1]] ** 2 / 12
        gain = np.linalg.solve(joint[:-1, :-1] + np.diag(error), joint[:-1, -1])
        assert variance[row] == pytest.approx(joint[-1, -1] - gain @ joint[:-1, -1], rel=1e-6)
        assert mean[row] == pytest.approx(expected[-1] + gain @ (stays.values[row][place, vital[:-1]] - expected[:-1]))


def test_best_rmse_is_the_error_of_the_best_forecast_and_others_come_close() -> None:
    series, best = AHEAD.load(), AHEAD.best_rmse()
    mean, variance = AHEAD.best_forecast()
    assert np.sqrt(np.mean((series.targets[:, 0] - mean) ** 2)) == pytest.approx(best, rel=0.05)
    assert np.sqrt(variance.mean()) == pytest.approx(best, rel=0.01)
    values, known, time = _dense(series)
    features = []
    for memory in (1, 3, 10, 100):
        weight = known * np.exp(-(HOURS - time) / memory)[..., None]
        features += [(weight * values).sum(axis=1) / (weight.sum(axis=1) + 1e-6), weight.sum(axis=1)]
    inputs = np.concatenate(features, axis=1)
    inputs = (inputs - inputs.mean(axis=0)) / inputs.std(axis=0)
    model = Ridge(alpha=10).fit(inputs[:450], series.targets[:450, 0])
    error = np.sqrt(np.mean((model.predict(inputs[450:]) - series.targets[450:, 0]) ** 2))
    assert 0.92 * best < error < 1.15 * best < 0.5 * series.targets.std()


def test_best_rmse_grows_with_the_horizon_up_to_what_is_known_of_nobody() -> None:
    errors = [AHEAD.replace(horizon=horizon).best_rmse() for horizon in (0.25, 1.0, 24.0)]
    control = AHEAD.replace(visible=False)
    assert errors == sorted(errors) and errors[-1] < control.best_rmse()
    assert control.best_rmse() == pytest.approx(control.load().targets.std(), rel=0.06)
    few = control.replace(patients=300)
    assert abs(np.corrcoef(few.best_forecast()[0], few.load().targets[:, 0])[0, 1]) < 0.17
    assert (control.load().targets == AHEAD.load().targets).all()


def test_the_same_fields_give_the_same_and_more_patients_leave_the_first_as_they_were() -> None:
    series, few = SMALL.load(), SMALL.replace(patients=20).load()
    end = int(few.lengths.sum())
    np.testing.assert_array_equal(series.values[:end], few.values)
    assert (series.targets[:40] == few.targets).all() and (series.time[:end] == few.time).all()  # pyright: ignore
    assert (SMALL.replace(seed=3).load().targets != series.targets).any()
    assert series.patient is not None and series.names is not None and series.static is not None
    assert np.unique(series.patient, return_counts=True)[1].tolist() == [2] * 700
    assert series.names[3] == "p001 stay 2" and (series.static[0::2] == series.static[1::2]).all()


def test_it_is_prepared_as_series() -> None:
    for source in (SMALL.replace(patients=60), AHEAD.replace(patients=60)):
        prepared = SeriesData(source=source, lengths=(64, 112)).prepare()
        assert prepared.patients_known
        assert prepared.task.kind == ("binary" if source.task == "risk" else "regression")
        assert not any("never observed" in warning for warning in prepared.warnings)


def test_what_is_not_known_is_refused() -> None:
    with pytest.raises(UserError, match="missing: the best error of a forecast is known for missing=random only"):
        check(AHEAD.replace(missing="informative"))
    with pytest.raises(UserError, match="task: forecast has no AUROC"):
        AHEAD.bayes_auroc()
    with pytest.raises(UserError, match="task: risk has no error of a forecast"):
        SMALL.best_rmse()
