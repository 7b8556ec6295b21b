"""Forecasts: where they begin is kept, and they are held against the same as now."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sklearn.metrics as oracle
from rich.console import Console
from walks import HORIZONS, TASK, walks

from research import metrics
from research.errors import UserError
from research.evaluation import Predictions, evaluate


def test_origins_are_kept(tmp_path: Path) -> None:
    predictions = walks()
    predictions.write(tmp_path / "test.parquet")
    table = pd.read_parquet(tmp_path / "test.parquet")
    assert table["time"].iloc[1] == 5 and table["series"].nunique() == 3
    read = Predictions.read(tmp_path / "test.parquet")
    assert read.task == TASK and read.task.horizons == HORIZONS
    assert read.origins is not None and predictions.origins is not None
    for name in ("series", "time", "value"):
        np.testing.assert_array_equal(getattr(read.origins, name), getattr(predictions.origins, name))
    with pytest.raises(UserError, match="origins: 120 are needed, one an example; 7 were given"):
        dataclasses.replace(predictions, origins=predictions.origins.of(np.arange(7)))
    with pytest.raises(
        UserError, match="origins: forecasts need a horizon for each quantity; the task has 0 for 5 min"
    ):
        dataclasses.replace(predictions, task=dataclasses.replace(TASK, horizons=()))


def test_skill_is_against_the_same_as_now() -> None:
    predictions = walks()
    targets: Any = predictions.targets
    assert predictions.origins is not None
    now = np.repeat(predictions.origins.value[:, None], 3, axis=1)
    report = evaluate(predictions, resamples=50)
    expected = 1 - oracle.mean_squared_error(targets, predictions.prediction) / oracle.mean_squared_error(targets, now)
    assert report["skill"].value == pytest.approx(expected) and report["skill"].method == "bootstrap by patient"
    for place, name in enumerate(TASK.names):
        part = {item.name: item for item in report.parts[name]}["skill"]
        errors = [oracle.mean_squared_error(targets[:, place], x[:, place]) for x in (predictions.prediction, now)]
        assert part.value == pytest.approx(1 - errors[0] / errors[1]) and part.low < part.value <= part.high
        assert f"{errors[1] ** 0.5:.4g} ({name})" in " ".join(report.notes)
    # Persistence itself has none; a forecast without error has all.
    same, perfect = (dataclasses.replace(predictions, prediction=said) for said in (now, targets))
    assert evaluate(same, resamples=5)["skill"].value == pytest.approx(0)
    assert evaluate(perfect, resamples=5)["skill"].value == 1
    bare = dataclasses.replace(predictions, origins=None)
    assert all(item.name != "skill" for item in evaluate(bare, resamples=5).estimates)
    assert np.isnan(metrics.skill(np.ones(3), np.zeros(3), np.zeros(3)))


def test_the_table_by_horizon_fits_80_columns_and_cuts_nothing() -> None:
    console = Console(file=io.StringIO(), width=80, record=True)
    for table in evaluate(walks(), resamples=20).tables():
        console.print(table)
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= 80 and "…" not in text
    assert all(word in text for word in ("RMSE", "MAE", "skill", "coverage", *TASK.names))
