"""What `research evaluate RUN --patient` draws: a label at each step, forecasts, and what is not drawn."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tiny import EXPERIMENT, QUIET

from research.algorithms.algorithm import State
from research.data import CGM, EventData, SeriesCSV, SeriesData, SyntheticRecords
from research.errors import UserError
from research.evaluation import Predictions, evaluate
from research.experiment import Experiment
from research.losses import CrossEntropy, Quantile
from research.models import RNN, RecordTransformer
from research.reporting import write_figures
from research.reporting.run_sequences import _said, check_patient, write_attention, write_patient
from research.task import Task
from research.trained_model import predict_split
from research.training.setup import Setup, set_up


def drawn(path: Path) -> bool:
    return bool(np.asarray(Image.open(path).convert("L")).std() > 10)


def untrained(experiment: Experiment) -> tuple[Setup, State, Predictions]:
    """A run that has just begun, and what it predicts."""
    setup = set_up(experiment, 0, QUIET)
    state = experiment.algorithm.deployed(experiment, setup.program.initialise().state)
    predictions = predict_split(setup, state, "test")
    assert isinstance(predictions, Predictions) and predictions.patient is not None
    return setup, state, predictions


def test_a_label_at_each_step(tmp_path: Path) -> None:
    lines = ["id,hours,pulse,ill"]
    lines += [f"p{i},{hour},{60 + 9 * i + hour},{int(hour > i % 5)}" for i in range(60) for hour in range(6)]
    (tmp_path / "vitals.csv").write_text("\n".join(lines) + "\n")
    source = SeriesCSV(path=str(tmp_path / "vitals.csv"), patient="id", time="hours", target="ill", per_step=True)
    setup, state, predictions = untrained(
        Experiment(data=SeriesData(source=source), model=RNN(widths=(4,), readout="each"), loss=CrossEntropy(), steps=1)
    )
    patient, report = str(np.asarray(predictions.patient)[0]), evaluate(predictions, resamples=5)
    (path,) = write_patient(tmp_path, setup, state, predictions, patient, "a run", report)
    assert path.name == f"patient-{patient}.png" and drawn(path)
    with pytest.raises(UserError, match="--patient: test has no patient 'nobody'"):
        check_patient(setup, "test", "nobody", "--patient")
    with pytest.raises(UserError, match="RNN has no attention layer"):
        write_attention(tmp_path, setup, state, "test", patient, "a run", report)


def test_forecasts_know_where_they_begin_and_are_drawn(tmp_path: Path) -> None:
    lines, random = ["id,time,gl,diagnosis"], np.random.default_rng(0)
    for person in range(8):
        values = 100 + random.normal(size=30).cumsum()
        lines += [f"p{person},2014-02-03 {8 + n // 12:02d}:{n % 12 * 5:02d}:12,{values[n]:.2f},x" for n in range(30)]
    (tmp_path / "hall.csv").write_text("\n".join(lines) + "\n")
    setup, state, predictions = untrained(
        Experiment(
            data=SeriesData(source=CGM(path=str(tmp_path / "hall.csv"), history=6, horizons=(5, 10), gaps=0)),
            model=RNN(cell="simple", widths=(4,), steps_ahead=2),
            loss=Quantile(standardize=True),
            steps=1,
        )
    )
    patient, origins, targets = str(np.asarray(predictions.patient)[0]), predictions.origins, predictions.targets
    assert origins is not None and targets is not None
    own = predictions.patient == patient
    # What comes true five minutes after a forecast is what is known at the next.
    assert (np.diff(origins.time[own]) == 5).all() and origins.time[0] == 25
    np.testing.assert_array_equal(targets[own, 0][:-1], origins.value[own][1:])
    report = evaluate(predictions, resamples=5)
    (path,) = write_patient(tmp_path, setup, state, predictions, patient, "a run", report)
    assert path.name == f"patient-{patient}.png" and drawn(path)
    write_figures(tmp_path, predictions, report, [], "a run")
    assert drawn(tmp_path / "forecast.png")


def test_other_inputs_are_refused() -> None:
    records = Experiment(
        data=EventData(source=SyntheticRecords(patients=60), vocabulary=40, longest=12),
        model=RecordTransformer(vocabulary=40, width=8, depth=1, heads=2),
        loss=CrossEntropy(),
        steps=1,
    )
    for experiment, message in (
        (records, "--patient: only series are drawn over time; of records use --attention."),
        (EXPERIMENT, "--patient: only series are drawn; this run learnt from something else."),
    ):
        with pytest.raises(UserError, match=re.escape(message)):
            check_patient(set_up(experiment, 0, QUIET), "test", "1", "--patient")


@pytest.mark.parametrize(
    ("task", "target", "prediction", "expected"),
    [
        (Task("binary", ("well", "died")), 1, 0.25, "True: died; said: died with probability 0.25."),
        (Task("multiclass", ("a", "b", "c")), 0, np.asarray([0.2, 0.7, 0.1]), "True: a; said: b with 0.70."),
        (Task("survival", ("death",), "days"), np.asarray([12.5, 1]), np.asarray([0.3]),
         "True: 12.5 days, then death; said: risk 0.3."),
        (Task("survival", ("death",), "days"), np.asarray([12.5, 0]), np.asarray([0.3]),
         "True: 12.5 days without death, censored; said: risk 0.3."),
        (Task("regression", ("5 min",), "mg/dL"), np.asarray([100.0]), np.asarray([90.5]),
         "5 min: true 100, said 90.5 mg/dL."),
        (Task("binary", ("well", "ill"), per_step=True), np.zeros(3), np.zeros(3), ""),
    ],
)  # fmt: skip
def test_what_is_true_and_said(task: Task, target: Any, prediction: Any, expected: str) -> None:
    assert _said(task, target, prediction) == expected
