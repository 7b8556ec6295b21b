"""Reports of times to an event, the survival curve, and quantiles of quantities, from stored predictions."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from rich.console import Console
from scipy import stats

from research import metrics
from research.errors import UserError
from research.evaluation import Predictions, compare_predictions, evaluate, kaplan_meier
from research.task import Task

DEATH = Task("survival", ("death",), "days")
# Remission of 21 children with leukaemia treated with 6-MP, in weeks (Freireich et al., Blood 1963).
REMISSION = np.array([6, 6, 6, 7, 10, 13, 16, 22, 23, 6, 9, 10, 11, 17, 19, 20, 25, 32, 32, 34, 35], float)
RELAPSE = np.repeat([1, 0], [9, 12])


def survival(count: int = 200, seed: int = 0, split: str = "test", per_patient: int | None = None) -> Predictions:
    random = np.random.default_rng(seed)
    risk = random.normal(size=count)
    time, end = random.exponential(size=count) * np.exp(-risk), random.exponential(1.5, size=count)
    targets = np.stack([np.minimum(time, end), time <= end], axis=1).astype(np.float32)
    patient = None if per_patient is None else np.arange(count) // per_patient
    said = (risk + random.normal(size=count)).astype(np.float32)
    return Predictions(DEATH, split, np.arange(count), said, targets, patient)


def shown(report: Any) -> str:
    console = Console(file=io.StringIO(), width=80, record=True)
    for table in report.tables():
        console.print(table)
    return console.export_text()


def test_the_curve_is_the_published_one_of_the_leukaemia_trial() -> None:
    """Kleinbaum & Klein, Survival Analysis, table 2.1, with the errors of Greenwood that they give."""
    curve = kaplan_meier(REMISSION, RELAPSE)
    np.testing.assert_array_equal(curve.time, [0, 6, 7, 10, 13, 16, 22, 23])
    published = [1, 0.8571, 0.8067, 0.7529, 0.6902, 0.6275, 0.5378, 0.4482]
    np.testing.assert_allclose(curve.survival, published, atol=1e-4)
    errors = np.array([0.0764, 0.0869, 0.0963, 0.1068, 0.1141, 0.1282, 0.1346])
    share = curve.survival[1:]
    spread = 1.959964 * errors / (share * np.log(share))
    np.testing.assert_allclose(curve.low[1:], share ** np.exp(-spread), atol=2e-3)
    np.testing.assert_allclose(curve.high[1:], share ** np.exp(spread), atol=2e-3)


def test_the_curve_and_its_interval_are_those_of_scipy() -> None:
    random = np.random.default_rng(1)
    time, event = random.integers(1, 30, 80).astype(float), random.random(80) < 0.6
    # All of the last ones die, so that nobody is left.
    event |= time >= 27
    theirs = stats.ecdf(stats.CensoredData(uncensored=time[event], right=time[~event])).sf
    with pytest.warns(RuntimeWarning, match="undefined at some observations"):
        limits = theirs.confidence_interval(method="log-log")
    ours = kaplan_meier(time, event)
    np.testing.assert_allclose(ours.survival[1:], theirs.evaluate(ours.time[1:]), rtol=1e-12, atol=1e-12)
    inner = ours.survival[1:] > 1e-9
    np.testing.assert_allclose(ours.low[1:][inner], limits.low.evaluate(ours.time[1:])[inner], rtol=1e-9)
    np.testing.assert_allclose(ours.high[1:][inner], limits.high.evaluate(ours.time[1:])[inner], rtol=1e-9)
    assert ours.survival[-1] == pytest.approx(0, abs=1e-12) and np.isnan([ours.low[-1], ours.high[-1]]).all()


def test_the_report_gives_the_concordance_with_its_interval_by_patient() -> None:
    alone, grouped = survival(), survival(per_patient=4)
    report, clustered = evaluate(alone, resamples=20), evaluate(grouped, resamples=20)
    found = report["concordance"]
    assert found.value == pytest.approx(metrics.concordance(alone.prediction[:, 0], alone.targets))
    assert found.low < found.value < found.high and (found.method, found.n) == ("influence, logit", 200)
    spread = compare_predictions(alone, survival(seed=3), resamples=600)[0]
    # The difference to independent predictions has the variance of two such intervals.
    other = evaluate(survival(seed=3), resamples=20)["concordance"]
    together = np.hypot(found.high - found.low, other.high - other.low)
    assert spread.high - spread.low == pytest.approx(together, rel=0.15) and not spread.paired
    assert clustered["concordance"].patients == 50 and clustered["concordance"].value == found.value
    text = shown(clustered)
    assert max(map(len, text.splitlines())) <= 80
    text = " ".join(text.split())
    events = int(alone.targets[:, 1].sum())  # type: ignore[index]
    assert "concordance" in text and f"death in {events} of 200 examples" in text and "days in the median" in text


def test_few_events_are_warned_of_and_none_leave_it_undefined() -> None:
    few = survival(24)
    report = evaluate(few, resamples=20)
    assert any("events: the concordance means little" in warning for warning in report.warnings)
    targets = np.asarray(few.targets) * np.array([1, 0], np.float32)
    report = evaluate(dataclasses.replace(few, targets=targets), resamples=20)
    assert np.isnan(report["concordance"].value) and report["concordance"].method == "none: not defined"


def test_survival_is_written_and_read(tmp_path: Path) -> None:
    written = survival(10, per_patient=2)
    written.write(tmp_path / "test.parquet")
    frame = pd.read_parquet(tmp_path / "test.parquet")
    assert list(frame) == ["example", "patient", "target_time", "target_event", "risk_death"]
    read = Predictions.read(tmp_path / "test.parquet")
    np.testing.assert_array_equal(read.targets, written.targets)  # type: ignore[arg-type]
    np.testing.assert_array_equal(read.prediction, written.prediction)


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (np.ones((4, 1)), r"shape \(4, 2\) is needed for a survival task"),
        (np.array([[1, 0], [2, 1], [-1, 0], [2, 0]]), "a time to the event is negative"),
        (np.array([[1, 0], [2, 0.5], [1, 0], [2, 0]]), "an event is 1 where it came"),
    ],
)
def test_targets_of_another_sort_are_refused(targets: np.ndarray, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Predictions(DEATH, "test", np.arange(4), np.ones(4), targets)


def quantiles(quantities: int) -> Predictions:
    random = np.random.default_rng(5)
    task = Task("regression", ("in 30 min", "in 60 min")[:quantities], "mg/dL")
    middle = random.normal(100, 20, (300, quantities))
    bands = middle[..., None] + np.array([-12.8, 0, 12.8])
    said = {"quantiles": bands.astype(np.float32), "levels": (0.1, 0.5, 0.9)}
    true = middle + 10 * random.normal(size=middle.shape)
    return Predictions(task, "test", np.arange(300), middle, true, np.arange(300) // 3, **said)


@pytest.mark.parametrize("quantities", [1, 2])
def test_quantiles_have_their_coverage_and_their_loss_and_are_kept(quantities: int, tmp_path: Path) -> None:
    predictions = quantiles(quantities)
    report = evaluate(predictions, resamples=100)
    targets: Any = predictions.targets
    inside = np.abs(targets - predictions.prediction) <= 12.8
    assert report["coverage"].value == pytest.approx(inside.mean()) and 0.7 < inside.mean() < 0.9
    assert report["coverage"].low < inside.mean() < report["coverage"].high
    assert report["coverage"].method == ("Wilson by patient" if quantities == 1 else "bootstrap by patient")
    expected = metrics.pinball(predictions.quantiles, targets, predictions.levels)
    assert report["pinball"].value == pytest.approx(expected)
    assert any("within the predicted quantiles 0.1 to 0.9, which should be 0.8" in note for note in report.notes)
    if quantities == 2:
        part = {item.name: item for item in report.parts["in 60 min"]}
        assert part["coverage"].value == pytest.approx(inside[:, 1].mean())
        assert part["coverage"].method == "Wilson by patient"
    assert max(map(len, shown(report).splitlines())) <= 80
    predictions.write(tmp_path / "test.parquet")
    assert "quantile_0.9_in 30 min" in pd.read_parquet(tmp_path / "test.parquet")
    read = Predictions.read(tmp_path / "test.parquet")
    np.testing.assert_array_equal(read.quantiles, predictions.quantiles)  # type: ignore[arg-type]
    assert read.levels == predictions.levels


def test_quantiles_of_another_shape_are_refused() -> None:
    good = quantiles(1)
    with pytest.raises(UserError, match=r"quantiles: shape \(300, 1, 2\)"):
        dataclasses.replace(good, levels=(0.1, 0.9))
    with pytest.raises(UserError, match="quantiles: a value is not finite"):
        dataclasses.replace(good, quantiles=good.quantiles * np.inf)  # type: ignore[operator]
