"""Made-up electrocardiograms: the published equations, known rates and waves, and a known best AUROC."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.signal import find_peaks
from sklearn.metrics import roc_auc_score
from sklearn.tree import DecisionTreeClassifier

from research.data import Series, SeriesData, SyntheticECG
from research.data.catalog.ecg_dynamics import (
    ANGLES,
    FREQUENCIES,
    TACHOGRAM_RATE,
    TACHOGRAM_SECONDS,
    WARM_UP,
    WIDTHS,
    Waves,
    tachogram,
    voltage,
)
from research.data.catalog.known_risk import expected_auroc
from research.errors import UserError
from research.spec import check

SMALL = SyntheticECG(patients=100, records=2, seed=3)


@pytest.fixture(scope="module")
def drawn() -> np.ndarray:
    return _records(SMALL.load())


def _records(series: Series) -> np.ndarray:
    return series.values.reshape(len(series), -1).astype(np.float64)


def _beats(record: np.ndarray, rate: int = 100) -> np.ndarray:
    """Places of the R waves: the steepest falls, which a T wave never has."""
    fall = -np.diff(record)
    return find_peaks(fall, height=0.4 * np.quantile(fall, 0.995), distance=round(0.2 * rate))[0]


def _height_of_t(record: np.ndarray, heart_rate: float) -> float:
    """T over R in the mean beat of a record, both from the level between T and the next P."""
    beat = 60 / heart_rate * 100
    place = np.asarray([0, beat * (heart_rate / 60) ** 0.25 / 4, 0.48 * beat])
    rows = []
    for begin in _beats(record):
        peak = begin - 4 + int(np.argmax(record[max(begin - 4, 0) : begin + 1])) if begin >= 4 else begin
        if peak >= 0 and peak + place[-1] < len(record) - 1:
            rows.append(np.interp(peak + place, np.arange(len(record)), record))
    r, t, level = np.mean(rows, axis=0)
    return float((t - level) / (r - level))


def test_voltage_solves_the_published_equations() -> None:
    amplitudes, speed = np.asarray([1.2, -5.0, 30.0, -7.5, 0.75]), 2 * np.pi  # Table I; 60 beats a minute
    wander = (0.05, 0.25, 0.7)

    def slope(time: float, state: np.ndarray) -> list[float]:
        x, y, z = state
        pull = 1 - np.hypot(x, y)
        away = (np.arctan2(y, x) - np.asarray(ANGLES) + np.pi) % (2 * np.pi) - np.pi
        waves = (amplitudes * away * np.exp(-(away**2) / (2 * np.asarray(WIDTHS) ** 2))).sum()
        base = wander[0] * np.sin(2 * np.pi * wander[1] * time + wander[2])
        return [pull * x - speed * y, pull * y + speed * x, -waves - (z - base)]

    seconds = np.arange(300) / 100
    solution = solve_ivp(slope, (0, WARM_UP + 3), [1, 0, 0], t_eval=WARM_UP + seconds, rtol=1e-8, atol=1e-10)
    angle, width = (np.asarray(part)[None, None] for part in (ANGLES, WIDTHS))
    height = amplitudes * width**2 / speed
    beats = np.arange(12.0)[None]
    found = voltage(beats, Waves(angle, width, height), np.asarray([wander]), 3.0, 100)[0]
    np.testing.assert_allclose(found, solution.y[2], atol=0.002 * np.ptp(found))
    assert 0.09 < np.ptp(found) < 0.12


def test_a_beat_out_of_step_leaves_no_step() -> None:
    beats = np.cumsum([0, 1, 1, 1, 1, 0.6, 1.4, 1, 1, 1, 1])[None]
    waves = Waves(*(np.asarray(part, np.float64)[None, None] for part in (ANGLES, WIDTHS, (0.1, -0.1, 1.0, -0.2, 0.3))))
    found = voltage(beats, waves, np.zeros((1, 3)), 5.0, 500)[0]
    peaks = find_peaks(found, height=0.6)[0]
    np.testing.assert_allclose(peaks / 500, np.asarray([0.0, 0.6, 2.0, 3.0, 4.0, 5.0])[1:-1], atol=0.02)
    assert np.ptp(found[peaks]) < 0.12


def test_tachogram_has_two_bands_of_known_power() -> None:
    phases = np.random.default_rng(0).uniform(0, 2 * np.pi, (5, FREQUENCIES))
    found = tachogram(phases, np.linspace(0.6, 1.0, 5), np.full(5, 0.04))
    np.testing.assert_allclose(found.mean(axis=1), np.linspace(0.6, 1.0, 5), rtol=1e-9)
    np.testing.assert_allclose(found.std(axis=1), 0.04, rtol=1e-6)
    power = (np.abs(np.fft.rfft(found - found.mean(axis=1, keepdims=True), axis=1)) ** 2).mean(axis=0)
    frequency = np.fft.rfftfreq(TACHOGRAM_RATE * TACHOGRAM_SECONDS, 1 / TACHOGRAM_RATE)
    low, high = (frequency > 0.04) & (frequency < 0.15), (frequency > 0.15) & (frequency < 0.4)
    assert frequency[low][np.argmax(power[low])] == pytest.approx(0.1, abs=0.005)
    assert frequency[high][np.argmax(power[high])] == pytest.approx(0.25, abs=0.005)
    assert power[low].sum() / power[high].sum() == pytest.approx(0.5, abs=0.01)
    assert power[low | high].sum() / power.sum() > 0.999


def test_heart_rate_can_be_counted(drawn: np.ndarray) -> None:
    counted = np.asarray([6000 / np.diff(_beats(record)).mean() for record in drawn])
    np.testing.assert_allclose(counted, SMALL.mean_rates(), rtol=0.06)
    assert np.abs(counted / SMALL.mean_rates() - 1).mean() < 0.015
    quick = SMALL.replace(heart_rate=100, patients=20, variability=0)
    for record, rate in zip(_records(quick.load()), quick.mean_rates(), strict=True):
        assert 6000 / np.diff(_beats(record)).mean() == pytest.approx(rate, rel=0.01)


def test_fields_say_what_is_drawn() -> None:
    plain = SMALL.replace(patients=20, records=1, noise=0.0)
    clean = _records(plain.load())
    assert (_records(plain.replace(noise=0.1).load()) - clean).std() == pytest.approx(0.1, rel=0.02)
    assert _records(plain.replace(seconds=4, rate=250).load()).shape == (20, 1000)
    flat = _records(plain.replace(heights=(0, 0, 1, 0, 0)).load())
    higher = _records(plain.replace(heights=(0, 0, 1, 0, 0.2)).load()) - flat
    np.testing.assert_allclose(_records(plain.replace(heights=(0, 0, 1, 0, 0.4)).load()) - flat, 2 * higher, atol=1e-5)
    late = _records(plain.replace(heights=(0, 0, 1, 0, 0.2), angles=(*ANGLES[:4], ANGLES[4] + 0.4)).load()) - flat
    wide = _records(plain.replace(heights=(0, 0, 1, 0, 0.2), widths=(*WIDTHS[:4], 0.6)).load()) - flat
    beat = 6000 / plain.mean_rates()
    for row in range(20):
        shift = np.argmax([higher[row, 100:800] @ late[row, 100 + s : 800 + s] for s in range(30)])
        assert shift == pytest.approx(0.4 / (2 * np.pi) * beat[row] * (60 / beat[row] * 100 / 60) ** 0.25, abs=2.5)
    assert (np.abs(wide).sum() / np.abs(higher).sum()) > 1.2


@pytest.mark.parametrize("strength", [1.0, 0.4])
def test_bayes_auroc_is_the_auroc_of_the_true_risk(strength: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SyntheticECG, "_records", lambda self: np.zeros((self.patients * self.records, 3), np.float32))
    samples = [SyntheticECG(strength=strength, patients=15_000, seed=seed) for seed in range(4)]
    targets = [sample.load().targets for sample in samples]
    estimates = [roc_auc_score(target, sample.risk()) for target, sample in zip(targets, samples, strict=True)]
    error = np.std(estimates, ddof=1) / np.sqrt(len(estimates))
    assert error < 0.0025
    assert abs(samples[0].bayes_auroc() - np.mean(estimates)) < 4 * error + 0.001
    assert np.mean(targets) == pytest.approx(0.5, abs=0.006)
    severity = samples[0].severity().reshape(-1, 2)
    assert np.quantile(severity, [0.1, 0.5, 0.9]) == pytest.approx([0.1, 0.5, 0.9], abs=0.01)
    assert 0.5 < np.corrcoef(severity[:, 0], severity[:, 1])[0, 1] < 0.65


def test_known_scores() -> None:
    assert SyntheticECG().bayes_auroc() == pytest.approx(0.90, abs=0.002)
    assert SyntheticECG(strength=0).bayes_auroc() == pytest.approx(0.5, abs=1e-9)
    assert SyntheticECG(visible=False).bayes_auroc() == SyntheticECG(visible=False, task="rhythm").bayes_auroc() == 0.5
    assert SyntheticECG(task="rhythm").bayes_auroc() == 1.0


def test_the_height_of_t_comes_close_to_the_best_auroc_and_the_control_to_chance(drawn: np.ndarray) -> None:
    risk, rates = SMALL.risk(), SMALL.mean_rates()
    heights = np.asarray([_height_of_t(record, rate) for record, rate in zip(drawn, rates, strict=True)])
    assert np.corrcoef(heights, SMALL.severity())[0, 1] < -0.97
    assert expected_auroc(-heights, risk) > expected_auroc(risk, risk) - 0.01
    control = SMALL.replace(visible=False)
    assert (control.load().targets == SMALL.load().targets).all()
    others = _records(control.load())
    hidden = np.asarray([_height_of_t(record, rate) for record, rate in zip(others, rates, strict=True)])
    assert abs(expected_auroc(-hidden, risk) - 0.5) < 0.06
    assert abs(np.corrcoef(hidden, heights)[0, 1]) < 0.2
    # What is drawn is as varied as ever: only what it tells of is gone.
    np.testing.assert_allclose(np.quantile(hidden, [0.2, 0.5, 0.8]), np.quantile(heights, [0.2, 0.5, 0.8]), atol=0.08)


def test_rhythms_are_told_apart_by_times_and_shapes_of_beats() -> None:
    source = SyntheticECG(task="rhythm", patients=100, records=2, seconds=8, seed=1)
    shown = []
    for visible in (True, False):
        series = source.replace(visible=visible).load()
        features = []
        for record in _records(series):
            between = np.diff(_beats(record)) / 100
            usual = np.median(between)
            features.append(
                [between.std() / usual, between.min() / usual, between.max() / usual, record.min() / np.ptp(record)]
            )
        assert series.task.names == ("regular", "irregular", "ectopic")
        tree = DecisionTreeClassifier(max_depth=4, random_state=0).fit(features[:100], series.targets[:100])
        shown.append(tree.score(features[100:], series.targets[100:]))
    assert shown[0] > 0.9
    assert abs(shown[1] - 1 / 3) < 0.15
    assert np.bincount(series.targets) / 200 == pytest.approx([1 / 3] * 3, abs=0.1)


def test_the_same_fields_give_the_same_and_more_patients_leave_the_first_as_they_were(drawn: np.ndarray) -> None:
    series, few = SMALL.load(), SMALL.replace(patients=10).load()
    assert (_records(series) == drawn).all()
    assert (_records(few) == drawn[:20]).all() and (few.targets == series.targets[:20]).all()
    rhythm = SMALL.replace(task="rhythm", patients=12)
    assert (_records(rhythm.replace(patients=6).load()) == _records(rhythm.load())[:12]).all()
    other = SMALL.replace(seed=4, patients=10).load()
    assert (other.targets != few.targets).any() and not np.allclose(_records(other)[0], drawn[0])
    assert series.patient is not None and series.names is not None
    assert np.unique(series.patient, return_counts=True)[1].tolist() == [2] * 100
    assert series.names[3] == "p01 record 2" and series.variables[0].unit == "mV"
    assert len(set(series.hashes())) == 200


def test_it_is_prepared_as_series() -> None:
    prepared = SeriesData(source=SMALL.replace(patients=60)).prepare()
    assert prepared.patients_known and prepared.time_unit == "seconds"
    assert prepared.splits["train"].inputs.read(np.arange(2))["values"].shape == (2, 1000, 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"angles": (0.0, 1.0)}, "angles: five numbers are needed, of P, Q, R, S and T; 2 were given"),
        ({"rate": 10}, "rate"),
        ({"seconds": 1000}, "seconds"),
        ({"task": "beats"}, "task"),
    ],
)
def test_wrong_fields_are_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        check(SyntheticECG(**change))
