"""Whole runs on times to an event and on quantiles: they learn, report, draw, and predict for new patients."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pytest

import research
from research.data import CSV, Source, TableData
from research.data.about import About
from research.data.table import Column, Table
from research.experiment import Evaluation, Execution, Experiment, Parallel, Selection
from research.losses import CoxPH, DiscreteTimeHazard, Loss, Quantile
from research.models import MLP
from research.optimizers import Adam
from research.spec import field
from research.task import Task
from research.training.run_directory import RunDirectory
from research.training.setup import set_up


class Followed(Source):
    """Two measurements of made-up patients, and how long they were followed, or what their sodium was."""

    target: str = field("death", help="what is known: death or sodium")

    def about(self) -> About:
        return About(name="followed", summary="made up", licence="none", citation="none")

    def load(self) -> Table:
        random = np.random.default_rng(0)
        x = random.normal(size=(300, 2)).astype(np.float32)
        if self.target == "death":
            time, end = 40 * random.exponential(size=300) * np.exp(-1.5 * x[:, 0]), 30 * random.exponential(size=300)
            targets = np.stack([np.minimum(time, end), time <= end], axis=1)
            task = Task("survival", ("death",), "days")
        else:
            targets, task = (
                (140 + 4 * x[:, :1] + random.normal(size=(300, 1))),
                Task("regression", ("sodium",), "mmol/L"),
            )
        return Table(
            frame=pd.DataFrame(x, columns=["a", "b"]),
            columns=(Column("a", "numeric"), Column("b", "numeric")),
            targets=targets.astype(np.float32),
            task=task,
            patient=np.array([f"p{row}" for row in range(300)], object),
            split=None,
            row=np.arange(300, dtype=np.int32),
            about=self.about(),
        )


def experiment_of(loss: Loss, source: Source) -> Experiment:
    return Experiment(
        data=TableData(source=source),
        model=MLP(widths=()),
        loss=loss,
        optimizer=Adam(learning_rate=0.05),
        steps=60,
        batch_size=64,
    )


def run(
    loss: Loss, metric: str, runs: Path, target: str = "death", figures: bool = False, source: Source | None = None
) -> Any:
    evaluation = Evaluation(every_steps=20, select=Selection(metric=metric), resamples=100)
    experiment = experiment_of(loss, source or Followed(target=target)).replace(evaluation=evaluation)
    return research.run(experiment, runs=runs, execution=Execution(tensorboard=False, figures=figures))


@pytest.mark.parametrize("feed", ["resident", "streaming"])
def test_risk_sets_in_evaluation_are_the_same_on_any_number_of_devices(feed: Literal["resident", "streaming"]) -> None:
    """Blocks of 13 patients, though two devices take 14 rows each time."""
    experiment = experiment_of(CoxPH(), Followed()).replace(evaluation=Evaluation(batch_size=13))
    found = []
    for parallel in (Parallel(data=1), Parallel(data=2)):
        setup = set_up(experiment, 0, Execution(parallel=parallel, feed=feed))
        carry, record = setup.program.record(setup.program.initialise(), setup.splits["validation"], True)
        state = setup.experiment.algorithm.deployed(setup.experiment, carry.state)
        rows = setup.program.predict(state, setup.splits["test"])
        found.append((float(record["validation/loss"]), np.asarray(rows["loss"]), np.asarray(rows["prediction"])))
    for one, two in zip(*found, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("loss", [CoxPH(), DiscreteTimeHazard(intervals=5)])
def test_a_run_on_times_ranks_patients_and_its_model_predicts_the_same(loss: Loss, tmp_path: Path) -> None:
    result = run(loss, "concordance", tmp_path, figures=isinstance(loss, CoxPH))
    found = result.metrics["concordance"]
    assert found.value > 0.75 and found.low < found.value < found.high
    if isinstance(loss, CoxPH):
        assert (result.directory / "figures" / "test" / "survival.png").is_file()
    test = result.predictions["test"]
    source = Followed().load()
    inputs = source.frame.iloc[test.example]
    features = result.model.inputs.fitted.transform(inputs)
    np.testing.assert_allclose(result.model.predict(features), test.prediction, rtol=1e-4, atol=1e-4)
    # High risk where the first measurement is high, which shortens life.
    assert np.corrcoef(test.prediction[:, 0], inputs["a"])[0, 1] > 0.8


def test_a_file_of_ones_own_with_times_and_events_is_learnt_from(tmp_path: Path) -> None:
    source = Followed().load()
    frame = source.frame.assign(days=source.targets[:, 0], died=np.where(source.targets[:, 1] == 1, "yes", "no"))
    frame.to_csv(tmp_path / "followed.csv", index=False)
    file = CSV(path=str(tmp_path / "followed.csv"), target=("days", "died"), task="survival", positive="yes")
    result = run(CoxPH(), "concordance", tmp_path, source=file.replace(unit="weeks"))
    assert result.metrics["concordance"].value > 0.75
    assert result.predictions["test"].task == Task("survival", ("died",), "weeks")
    frame[["a", "b"]].assign(b=0.0, a=np.linspace(-1, 1, 300)).to_csv(tmp_path / "new.csv", index=False)
    found, _ = result.model.predict_file(f"csv:{tmp_path}/new.csv", tmp_path / "predicted.csv")
    assert (np.diff(found["risk of died"]) > 0).all()


def test_quantiles_of_a_standardised_quantity_come_in_its_units(tmp_path: Path) -> None:
    result = run(Quantile(standardize=True), "rmse", tmp_path, target="sodium")
    test = result.predictions["test"]
    assert 135 < test.prediction.mean() < 145 and result.metrics["rmse"].value < 2
    assert test.levels == (0.1, 0.5, 0.9) and (np.diff(test.quantiles, axis=2) >= 0).all()
    np.testing.assert_array_equal(test.quantiles[..., 1], test.prediction)
    assert 0.5 < result.metrics["coverage"].value <= 1
    source = Followed(target="sodium").load()
    features = result.model.inputs.fitted.transform(source.frame.iloc[test.example])
    np.testing.assert_allclose(result.model.predict(features), test.prediction, rtol=1e-5)
    # What was taken from train stands with the run, and the experiment is as it was given.
    data = RunDirectory(result.directory).read("data")
    assert data["loss"]["mean"][0] == pytest.approx(140, abs=1) and not data["loss"]["standardize"]
    assert result.experiment.loss == Quantile(standardize=True)
