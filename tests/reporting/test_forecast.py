"""Forecasts as a picture: whose are drawn, where each stands, what holds the band, and what was left out."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from matplotlib.text import Text
from walks import TASK, walks

from research.reporting.forecast import forecasts


def texts(figure: Any) -> str:
    return " ".join(" ".join(item.get_text().split()) for item in figure.findobj(Text))


def lines(axes: Any) -> dict[str, Any]:
    return {line.get_label(): np.asarray(line.get_xydata(), float) for line in axes.get_lines()}


def test_the_patient_of_median_error_is_drawn() -> None:
    predictions = walks()
    figure = forecasts(predictions, "a run, test")
    said = texts(figure)
    assert "Patient middle, whose mean absolute error over all horizons (4.000 mg/dL) is the median of 3" in said
    assert "10 min ahead: MAE 4.000 here, 4.667 of all; in the band 100 % here, 67 % of all" in said
    assert "quantiles 0.1 and 0.9, which should hold 80 %" in said and "are drawn" not in said
    own = np.flatnonzero(predictions.patient == "middle")
    targets: Any = predictions.targets
    assert predictions.origins is not None and len(figure.axes) == 3
    for place, axes in enumerate(figure.axes):
        found = lines(axes)
        assert set(found) == {"observed", "forecast"}
        # An hour without forecasts breaks the line.
        assert np.isnan(found["observed"][10]).all() and np.isnan(found["observed"]).any(1).sum() == 1
        observed = np.delete(found["observed"], 10, axis=0)
        when = predictions.origins.time[own] + TASK.horizons[place]
        np.testing.assert_allclose(observed[:, 0], when, rtol=1e-6)
        np.testing.assert_allclose(observed[:, 1], targets[own, place])
        np.testing.assert_allclose(np.delete(found["forecast"], 10, axis=0)[:, 1] - observed[:, 1], 4, atol=1e-4)
        assert [item.get_label() for item in axes.collections] == ["band"]


def test_one_may_choose_the_patient_and_is_told_what_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    predictions = walks(quantiles=False)
    monkeypatch.setattr("research.reporting.forecast.MOST_FORECASTS", 25)
    monkeypatch.setattr("research.reporting.forecast.MOST_HORIZONS", 2)
    figure = forecasts(predictions, "a run, test", "far")
    said = texts(figure)
    assert "Patient far; the first 25 of 40 forecasts are drawn; 2 of 3 horizons are drawn" in said
    assert "5 min ahead: MAE 9.000 here" in said and "15 min ahead" in said and "band" not in said
    assert len(figure.axes) == 2 and len(lines(figure.axes[0])["forecast"]) == 25


def test_a_single_forecast_of_a_single_horizon() -> None:
    every = walks()
    assert every.origins is not None and every.targets is not None and every.quantiles is not None
    task = dataclasses.replace(TASK, names=("5 min",), horizons=(5.0,))
    one = dataclasses.replace(
        every,
        task=task,
        example=every.example[:1],
        prediction=every.prediction[:1, :1],
        targets=every.targets[:1, :1],
        patient=None,
        quantiles=every.quantiles[:1, :1],
        origins=every.origins.of(np.arange(1)),
    )
    figure = forecasts(one, "a run, test")
    assert "Series 0; band" in texts(figure) and lines(figure.axes[0])["observed"].shape == (1, 2)


def test_long_times_are_in_larger_units_and_the_longest_series_is_drawn() -> None:
    predictions = walks(200)
    origins = predictions.origins
    assert origins is not None
    number = np.where((predictions.patient == "near") & (origins.time < 300), 9, origins.series).astype(np.int32)
    divided = dataclasses.replace(predictions, origins=dataclasses.replace(origins, series=number))
    figure = forecasts(divided, "a run, test", "near")
    assert "the longest of 2 series" in texts(figure) and "time (hours)" in texts(figure)
    when = lines(figure.axes[0])["observed"][:, 0]
    assert len(when) == 140 and when[0] == pytest.approx(305 / 60)
