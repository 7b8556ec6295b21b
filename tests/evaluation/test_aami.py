"""Beats in the form of the AAMI, from counts by hand."""

from __future__ import annotations

import dataclasses
import io

import numpy as np
import pytest
from rich.console import Console

from research.errors import UserError
from research.evaluation import Predictions, Report, aami, evaluate
from research.task import Task

BEATS = Task("multiclass", ("N", "S", "V", "F", "Q"))
COUNTS = np.array(
    [
        [900, 40, 8, 50, 2],
        [10, 70, 15, 4, 1],
        [6, 9, 120, 7, 3],
        [5, 2, 20, 30, 0],
        [4, 3, 5, 1, 7],
    ]
)
"""Beats by true class (row) and called class."""


def predictions(counts: np.ndarray, task: Task = BEATS, patients: int | None = None) -> Predictions:
    true, said = np.nonzero(counts)
    times = counts[true, said]
    probability = np.eye(len(counts), dtype=np.float32)[np.repeat(said, times)]
    targets = np.repeat(true, times).astype(np.int32)
    rows = np.arange(len(targets))
    return Predictions(task, "test", rows, probability, targets, None if patients is None else rows % patients)


def test_the_numbers_are_those_of_the_recommendation() -> None:
    """Fusion and unknown beats called V (20 and 5), and unknown ones called S (3), are left out; nothing else is."""
    found = aami(predictions(COUNTS))
    expected = {
        "VEB": (120 / 145, 120 / (120 + 8 + 15), (8 + 15) / (1000 + 100 + 57 - 20 + 20 - 5)),
        "SVEB": (70 / 100, 70 / (70 + 40 + 9 + 2), (40 + 9 + 2) / (1000 + 145 + 57 + 20 - 3)),
    }
    for group, values in expected.items():
        assert [item.name for item in found[group]] == ["sensitivity", "precision", "false_positive_rate"]
        assert [item.value for item in found[group]] == pytest.approx(values)
        assert all(item.low < item.value < item.high for item in found[group])
        assert found[group][0].patients is None and found[group][0].method == "Wilson"
    assert found["VEB"][1].n == 143 and found["SVEB"][0].n == 100


def test_unknown_beats_excuse_both_calls_and_fusion_beats_one() -> None:
    counts = np.zeros((5, 5), int)
    counts[0, 0], counts[1, 1], counts[2, 2], counts[3, :3], counts[4, :3] = 50, 10, 10, 4, 3
    found = aami(predictions(counts, patients=9))
    assert found["VEB"][1].value == 1 and found["SVEB"][1].value == pytest.approx(10 / 14)
    assert found["SVEB"][2].value == pytest.approx(4 / (50 + 10 + 12 + 6))
    assert found["VEB"][0].patients is not None and found["VEB"][0].method == "Wilson by patient"


def test_a_report_has_them_where_the_task_asks_for_them() -> None:
    judged = predictions(COUNTS, dataclasses.replace(BEATS, scorers=("aami",)), patients=30)
    report = evaluate(judged, resamples=5)
    assert {name: report.parts[f"{name}, AAMI"] for name in ("VEB", "SVEB")} == aami(judged)
    assert Report.from_json(report.to_json()).parts == report.parts
    console = Console(width=80, file=io.StringIO())
    for table in report.tables():
        console.print(table)
    text = console.file.getvalue()  # pyright: ignore[reportAttributeAccessIssue]
    assert "test: by class" in text and "test: by group" in text and "VEB, AAMI" in text
    assert "false positive rate" in text and "0.828" in text  # 120 / 145
    assert len(evaluate(predictions(COUNTS), resamples=5).parts) == 5


def test_classes_go_by_other_names_and_may_lack_fusion_and_unknown_beats() -> None:
    names = {"N": "normal", "S": "atrial", "V": "ventricular"}
    task = Task("multiclass", ("ventricular", "normal", "atrial"))
    found = aami(predictions(np.array([[8, 2, 0], [1, 20, 1], [0, 3, 5]]), task), names)
    assert found["VEB"][0].value == pytest.approx(0.8) and found["SVEB"][1].value == pytest.approx(5 / 6)
    with pytest.raises(UserError, match="the task has ventricular, normal, atrial"):
        aami(predictions(np.eye(3, dtype=int), task))
    with pytest.raises(UserError, match="several classes with known targets"):
        aami(Predictions(Task("binary", ("a", "b")), "test", np.arange(2), np.ones(2), np.arange(2)))
