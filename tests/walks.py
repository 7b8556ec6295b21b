"""Forecasts of made-up random walks, a few patients with a reading every five minutes, for tests of what is made."""

from __future__ import annotations

import numpy as np

from research.evaluation import Predictions
from research.origins import Origins
from research.task import Task

HORIZONS = (5.0, 10.0, 15.0)
TASK = Task("regression", tuple(f"{h:g} min" for h in HORIZONS), "mg/dL", horizons=HORIZONS, time_unit="minutes")
ERRORS = {"far": 9.0, "near": 1.0, "middle": 4.0}
"""By how much the forecasts of each patient are off, always to the same side."""


def walks(count: int = 40, quantiles: bool = True) -> Predictions:
    """Of each patient ``count`` forecasts; the middle patient's break off for an hour after the tenth."""
    random = np.random.default_rng(0)
    parts = []
    for series, (patient, error) in enumerate(ERRORS.items()):
        values = 100 + random.normal(size=count + len(HORIZONS)).cumsum()
        time = 5.0 * np.arange(count) + (60.0 * (np.arange(count) >= 10) if patient == "middle" else 0)
        targets = np.stack([values[1 + k : count + 1 + k] for k in range(len(HORIZONS))], axis=1)
        parts.append((np.full(count, patient, object), np.full(count, series), time, values[:count], targets, error))
    patient, series, time, now, targets = (np.concatenate(part) for part in list(zip(*parts, strict=True))[:5])
    said = targets + np.repeat([part[5] for part in parts], count)[:, None]
    bands = said[..., None] + np.asarray([-5.0, 0, 5]) if quantiles else None
    return Predictions(
        TASK,
        "test",
        np.arange(len(patient), dtype=np.int32),
        said.astype(np.float32),
        targets.astype(np.float32),
        patient,
        quantiles=None if bands is None else bands.astype(np.float32),
        levels=(0.1, 0.5, 0.9) if quantiles else (),
        origins=Origins(series.astype(np.int32), time, now.astype(np.float32)),
    )
