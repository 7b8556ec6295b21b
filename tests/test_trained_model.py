"""A finished run predicts for series and records of new patients what it predicted for its own, without its data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from flax import nnx
from tiny import QUIET, run

from research import Result
from research.cli import main
from research.data import MEDS, EventData, Forecast, SeriesCSV, SeriesData, Split
from research.errors import UserError
from research.evaluation import Predictions
from research.experiment import Evaluation, Experiment
from research.losses import CrossEntropy, Quantile
from research.models import Forward, Model, SeriesMLP
from research.models.layers import Dense, Embedding
from research.optimizers import Adam


class EachStep(Model):
    """Sees the values and the time of a step; as little as possible is compiled for it."""

    def build(self, inputs: Any, outputs: int, rngs: nnx.Rngs) -> nnx.Module:
        return EachStepNetwork(inputs["values"].shape[-1] + 1, outputs, rngs)


class EachStepNetwork(nnx.Module):
    def __init__(self, features: int, outputs: int, rngs: nnx.Rngs) -> None:
        self.dense = Dense(features, outputs, rngs=rngs)

    def __call__(self, inputs: dict[str, Any], forward: Forward) -> Any:
        scale = 2.0 if forward.context.platform == "reference" else 1.0  # shows which lowerings it was asked for
        return scale * self.dense(jnp.concatenate([inputs["values"], inputs["time"][..., None] / 10], -1), forward)


class AllCodes(Model):
    """Sees which codes there are, and how many."""

    def build(self, inputs: Any, outputs: int, rngs: nnx.Rngs) -> nnx.Module:
        return AllCodesNetwork(outputs, rngs)


class AllCodesNetwork(nnx.Module):
    def __init__(self, outputs: int, rngs: nnx.Rngs) -> None:
        self.table = Embedding(20, 4, rngs=rngs)
        self.dense = Dense(4, outputs, rngs=rngs)

    def __call__(self, inputs: dict[str, Any], forward: Forward) -> Any:
        return self.dense(self.table(inputs["codes"], forward).sum(1), forward)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def trained(data: Any, model: Any, loss: Any, file: str) -> tuple[Result, Predictions]:
    """A run of two updates whose data is gone afterwards, and its predictions for test.

    Nothing is validated, for whose number of rows there would be further programs.
    """
    experiment = Experiment(
        data=data.replace(split=Split(test=0.4, validation=None)),
        model=model,
        loss=loss,
        optimizer=Adam(learning_rate=0.1),
        steps=2,
        batch_size=2,
        evaluation=Evaluation(resamples=100, batch_size=7),
    )
    result = run(experiment, Path("runs"), execution=QUIET.replace(lowerings="reference"))
    Path(file).unlink()
    test = result.predictions["test"]
    assert isinstance(test, Predictions) and test.patient is not None
    return result, test


def predicted(result: Result, *arguments: str) -> pd.DataFrame:
    """What the command writes."""
    assert main(["predict", str(result.directory), *arguments, "--out", "out.csv"]) == 0
    return pd.read_csv("out.csv")


def vitals() -> pd.DataFrame:
    """Readings of 20 patients, two to eight of each, every five minutes."""
    random = np.random.default_rng(0)
    row = np.repeat(np.arange(20), random.integers(2, 9, 20))
    hour = pd.Series(row).groupby(row).cumcount() * 5
    values = random.normal(100, 20, (len(row), 2)).round(2)
    values[::5, 1] = np.nan
    frame = pd.DataFrame({"id": [f"p{n}" for n in row], "minute": hour, "hr": values[:, 0], "bp": values[:, 1]})
    return frame.assign(stage=np.where(values[:, 0] > 120, "high", "low"))


def test_a_line_for_each_step(capsys: Any) -> None:
    frame = vitals()
    frame.to_csv("vitals.csv", index=False)
    source = SeriesCSV(path="vitals.csv", patient="id", time="minute", target="stage", per_step=True, positive="high")
    data = SeriesData(source=source, lengths=(4, 8))
    result, test = trained(data, EachStep(), CrossEntropy(), "vitals.csv")
    new = frame[frame["id"].isin(set(test.patient))].drop(columns="stage")
    new.to_csv("new.csv", index=False)
    table = predicted(result, "--data", "series:new.csv")
    assert table.columns.tolist() == ["patient", "step", "time", "probability of high"]
    assert f"{len(new)} predictions in out.csv" in capsys.readouterr().out
    np.testing.assert_array_equal(table[["patient", "time"]], new[["id", "minute"]])
    assert test.step is not None
    expected = dict(zip(zip(test.patient, test.step, strict=True), test.prediction, strict=True))
    keys = zip(table["patient"], table["step"], strict=True)
    np.testing.assert_allclose(table["probability of high"], [expected[key] for key in keys], rtol=1e-6)
    # From Python: what is prepared is predicted alike; what is not of that form is refused.
    rows = result.model.inputs.read("series:new.csv")
    inputs = rows.read(np.arange(rows.count, dtype=np.int32))
    found = result.model.predict(inputs)
    assert found.shape == (rows.count, 8) and rows.steps is not None
    np.testing.assert_allclose(found[rows.steps.row, rows.steps.place], table["probability of high"], rtol=1e-6)
    for wrong in (
        inputs["values"],
        inputs | {"values": inputs["values"][:, :4]},
        inputs | {"length": inputs["length"][:1]},
        {name: array for name, array in inputs.items() if name != "observed"},
    ):
        with pytest.raises(UserError, match=r"inputs: .*values float32 of shape \(N, 8, 2\).* was given"):
            result.model.predict(wrong)
    assert main(["predict", str(result.directory), "--data", "csv:new.csv"]) == 2
    assert "so write series:FILE, a table with the columns id, minute, hr, bp" in capsys.readouterr().err


def test_a_forecast_has_columns_for_its_quantiles(capsys: Any) -> None:
    random = np.random.default_rng(0)
    frame = pd.DataFrame({"id": np.repeat(np.arange(12), 9), "minute": np.tile(np.arange(9) * 5, 12)})
    frame = frame.assign(gl=random.normal(100, 20, len(frame)).round(2))
    frame.to_csv("cgm.csv", index=False)
    source = SeriesCSV(
        path="cgm.csv",
        patient="id",
        time="minute",
        time_unit="minutes",
        target="gl",
        task="regression",
        forecast=Forecast(history=4, horizons=(5.0, 10.0)),
    )
    model = SeriesMLP(widths=(4,), dropout=None)
    result, test = trained(SeriesData(source=source), model, Quantile(standardize=True), "cgm.csv")
    patients = {int(patient) for patient in test.patient}
    # The fifth reading is the last one here; of training it is the second of five windows of each patient.
    frame[frame["id"].isin(patients) & (frame["minute"] <= 20)].to_csv("new.csv", index=False)
    table = predicted(result, "--data", "series:new.csv")
    quantiles = [f"quantile {level} of {ahead} minutes" for level in (0.1, 0.5, 0.9) for ahead in (5, 10)]
    assert table.columns.tolist() == ["patient", "time", "predicted 5 minutes", "predicted 10 minutes", *quantiles]
    assert sorted(table["patient"]) == sorted(patients) and (table["time"] == 20).all()
    assert test.quantiles is not None
    for row in table.itertuples(index=False):
        place = np.flatnonzero(np.asarray(test.patient) == str(row.patient))[1]
        np.testing.assert_allclose(row[2:4], test.prediction[place], rtol=1e-6)
        np.testing.assert_allclose(np.reshape(row[4:], (3, 2)).T, test.quantiles[place], rtol=1e-6)


def test_records_are_judged_at_the_times_given(capsys: Any) -> None:
    random = np.random.default_rng(0)
    start, rows = pd.Timestamp("2150-01-01"), []
    for patient in range(20):
        hours = np.sort(random.random(6)) * 100
        rows += [(patient, start + pd.Timedelta(hours=hour), f"LAB//{'abc'[random.integers(3)]}") for hour in hours]
    frame = pd.DataFrame(rows, columns=["subject_id", "time", "code"]).assign(numeric_value=np.float32(1))
    frame.to_parquet("events.parquet")
    labels = frame.iloc[3::6][["subject_id", "time"]].rename(columns={"time": "prediction_time"})
    labels.assign(boolean_value=labels["subject_id"] % 2 == 0).to_parquet("labels.parquet")
    source = MEDS(path="events.parquet", labels="labels.parquet")
    data = EventData(source=source, vocabulary=20, longest=8)
    result, test = trained(data, AllCodes(), CrossEntropy(), "events.parquet")
    new = frame[frame["subject_id"].astype(str).isin(set(test.patient))]
    new.to_parquet("new.parquet")
    table = predicted(result, "--data", "records:new.parquet", "--beside", "labels.parquet")
    assert "are of patients without any event: left out" in capsys.readouterr().out
    assert table.columns.tolist() == ["patient", "prediction_time", "probability of yes"]
    expected = dict(zip(test.patient, test.prediction, strict=True))
    known = [expected[str(patient)] for patient in table["patient"]]
    np.testing.assert_allclose(table["probability of yes"], known, rtol=1e-6)
    later = predicted(result, "--data", "records:new.parquet")
    assert (pd.to_datetime(later["prediction_time"]) > pd.to_datetime(table["prediction_time"])).all()
    assert (later["probability of yes"] != table["probability of yes"]).any()
