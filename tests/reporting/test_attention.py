"""Attention as pictures: of whom it is drawn, and that it says what the model saw."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from PIL import Image
from tiny import QUIET

import research
from research.cli import main
from research.data import EventData, SeriesData, Split, SyntheticRecords, SyntheticVitals
from research.data.resident import put
from research.data.series_data import PreparedSeries
from research.evaluation.attention import attend
from research.experiment import Evaluation, Experiment
from research.losses import CrossEntropy
from research.models import RecordTransformer, SeriesTransformer
from research.training.setup import set_up, with_fitted

SMALL: dict[str, Any] = {"steps": 2, "batch_size": 8, "evaluation": Evaluation(every_steps=2, resamples=100)}
UNDIVIDED = Split(validation=None)
"""No validation, for whose number of rows there would be further programs."""
VITALS = Experiment(
    data=SeriesData(source=SyntheticVitals(patients=40), longest=24, keep="last", split=UNDIVIDED),
    model=SeriesTransformer(width=8, depth=1, heads=2),
    loss=CrossEntropy(),
    **SMALL,
)
RECORDS = Experiment(
    data=EventData(source=SyntheticRecords(patients=60), vocabulary=40, longest=12, split=UNDIVIDED),
    model=RecordTransformer(vocabulary=40, width=8, depth=1, heads=2, readout="attention"),
    loss=CrossEntropy(),
    **SMALL,
)


def test_weights_are_of_the_steps_that_count_and_sum_to_one() -> None:
    setup = set_up(VITALS, 0, QUIET)
    assert isinstance(setup.prepared, PreparedSeries)
    carry = setup.program.initialise()
    batch = put(setup.prepared.splits["test"], setup.prepared.task)
    experiment = with_fitted(VITALS, setup.prepared)
    state = VITALS.algorithm.deployed(VITALS, carry.state)
    found = attend(experiment, state, batch, "cpu")
    (weights,) = found.layers.values()
    steps, length = found.inputs["time"].shape[1], found.inputs["length"]
    assert weights.shape == (len(length), 2, steps + 1, steps + 1)  # the class token comes first
    for example, n in enumerate(length):
        np.testing.assert_allclose(weights[example, :, : n + 1].sum(-1), 1, atol=1e-5)
        assert not weights[example, :, :, n + 1 :].any()
        read = found.read("layer 1", example)
        np.testing.assert_allclose(read, weights[example].mean(0)[0, 1:])
    rows = jax.device_get(setup.program.predict(state, setup.splits["test"]))
    np.testing.assert_allclose(found.prediction, rows["prediction"], atol=1e-6)


@pytest.mark.parametrize(("experiment", "examples"), [(VITALS, 2), (RECORDS, 1)], ids=["series", "records"])
def test_a_patient_is_drawn(experiment: Experiment, examples: int, tmp_path: Path, capsys: Any) -> None:
    result = research.run(experiment, runs=tmp_path, execution=QUIET)
    patient = str(result.predictions["test"].patient[0])
    both = ["--attention", patient] + (["--patient", patient] if experiment is VITALS else [])
    assert main(["evaluate", str(result.directory), *both]) == 0
    assert len([*(result.directory / "figures" / "test").glob("patient-*.png")]) == examples * (experiment is VITALS)
    drawn = sorted((result.directory / "figures" / "test").glob("attention-*.png"))
    assert len(drawn) == examples and all(patient in path.name for path in drawn)
    assert np.asarray(Image.open(drawn[0]).convert("L")).std() > 10
    capsys.readouterr()
    assert main(["evaluate", str(result.directory), "--attention", "nobody"]) == 2
    said = " ".join("".join(capsys.readouterr()).split())
    assert "--attention: test has no patient 'nobody'." in said and patient in said
