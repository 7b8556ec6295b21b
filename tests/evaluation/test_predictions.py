"""Stored predictions: what is written is read, equal bytes, and files or values that cannot be right are refused."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from research.errors import RunError, UserError
from research.evaluation import Predictions, Rows, read_predictions
from research.task import Task

BINARY = Task("binary", ("benign", "malignant"))
CLASSES = Task("multiclass", ("a", "b", "c"))
LABELS = Task("multilabel", ("effusion", "nodule"))
QUANTITY = Task("regression", ("glucose",), "mg/dL")


def examples(task, count=6, patient=True):
    random = np.random.default_rng(0)
    held = {
        "binary": (random.random(count), np.arange(count) % 2),
        "multiclass": (random.dirichlet([1, 1, 1], count), np.arange(count) % 3),
        "multilabel": (random.random((count, 2)), np.where(random.random((count, 2)) < 0.3, np.nan, 1.0)),
        "regression": (random.normal(size=(count, 1)), random.normal(size=(count, 1))),
    }
    prediction, targets = held[task.kind]
    names = np.array([f"p{row // 2}" for row in range(count)], object) if patient else None
    return Predictions(
        task,
        "test",
        np.arange(count, dtype=np.int32),
        prediction.astype(np.float32),
        targets,
        names,
        random.random(count),
    )


@pytest.mark.parametrize("patient", [True, False])
@pytest.mark.parametrize("task", [BINARY, CLASSES, LABELS, QUANTITY])
def test_what_is_written_is_read_and_bytes_repeat(task, patient, tmp_path):
    written = examples(task, patient=patient)
    written.write(tmp_path / "deep" / "test.parquet")
    written.write(tmp_path / "again.parquet")
    read = read_predictions(tmp_path / "deep" / "test.parquet")
    assert isinstance(read, Predictions)
    assert (read.task, read.split) == (task, "test")
    for name in ("example", "prediction", "targets", "patient", "loss"):
        ours, theirs = getattr(written, name), getattr(read, name)
        if ours is None:
            assert theirs is None
            continue
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)
    read.write(tmp_path / "third.parquet")
    first = (tmp_path / "deep" / "test.parquet").read_bytes()
    assert first == (tmp_path / "again.parquet").read_bytes() == (tmp_path / "third.parquet").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again.parquet", "deep", "third.parquet"]


def test_columns_speak_for_themselves_in_pandas(tmp_path):
    examples(BINARY).write(tmp_path / "b.parquet")
    examples(CLASSES).write(tmp_path / "c.parquet")
    examples(QUANTITY).write(tmp_path / "q.parquet")
    assert list(pd.read_parquet(tmp_path / "b.parquet")) == ["example", "patient", "target", "probability", "loss"]
    assert "probability_b" in pd.read_parquet(tmp_path / "c.parquet")
    assert {"target_glucose", "prediction_glucose"} <= set(pd.read_parquet(tmp_path / "q.parquet"))


def test_new_patients_have_no_targets(tmp_path):
    Predictions(BINARY, "new", np.arange(3), np.array([0.1, 0.2, 0.9])).write(tmp_path / "new.parquet")
    read = Predictions.read(tmp_path / "new.parquet")
    assert read.targets is None and read.patient is None and read.loss is None


def test_two_columns_of_a_binary_task_keep_the_positive_one():
    both = np.array([[0.9, 0.1], [0.2, 0.8]])
    np.testing.assert_array_equal(Predictions(BINARY, "test", np.arange(2), both).prediction, [0.1, 0.8])


def test_rows_of_other_algorithms(tmp_path):
    rows = Rows("episode", "final", {"return": np.array([1.0, 2.0]), "length": np.array([10.0, np.nan])})
    rows.write(tmp_path / "rows.parquet")
    read = read_predictions(tmp_path / "rows.parquet")
    assert isinstance(read, Rows) and (read.unit, read.split, list(read.columns)) == (
        "episode",
        "final",
        ["return", "length"],
    )
    np.testing.assert_array_equal(read.columns["length"], [10.0, np.nan])
    with pytest.raises(UserError, match="holds rows, predictions are needed"):
        Predictions.read(tmp_path / "rows.parquet")
    with pytest.raises(UserError, match="equal length"):
        Rows("episode", "final", {"return": np.ones(2), "length": np.ones(3)})


def test_damaged_foreign_and_missing_files_are_named(tmp_path):
    path = tmp_path / "test.parquet"
    with pytest.raises(UserError, match=r"test\.parquet does not exist"):
        Predictions.read(path)
    examples(BINARY).write(path)
    whole = path.read_bytes()
    for size in (0, 3, 100, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(UserError, match=r"test\.parquet is not a readable Parquet file"):
            Predictions.read(path)
    path.write_text("example,probability\n0,0.1\n")
    with pytest.raises(UserError, match=r"test\.parquet is not a readable Parquet file"):
        Predictions.read(path)
    pd.DataFrame({"x": [1]}).to_parquet(path)
    with pytest.raises(UserError, match=r"test\.parquet is a Parquet file, but not of predictions"):
        Predictions.read(path)


def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    path = tmp_path / "test.parquet"
    examples(BINARY).write(path)
    before = path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(RunError, match=r"test\.parquet cannot be written: No space left"):
        examples(CLASSES).write(path)
    assert path.read_bytes() == before
    assert [item.name for item in tmp_path.iterdir()] == ["test.parquet"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prediction": np.array([0.1, np.nan])}, "prediction: row 1 is not finite"),
        ({"prediction": np.array([0.1, 3.2])}, "prediction: probabilities between 0 and 1"),
        ({"prediction": np.array([0.1, 0.2, 0.3])}, r"prediction: shape \(2,\) is needed"),
        ({"prediction": np.ones((2, 3)) / 3}, "a binary task has 1 or 2 columns, 3"),
        ({"targets": np.array([0, 2])}, r"targets: classes 0 to 1 \(benign, malignant\) are declared, 2 .* row 1"),
        ({"targets": np.array([0.0, np.nan])}, "targets: classes 0 to 1"),
        ({"example": np.array([4, 4])}, "example: some rows stand for the same example"),
        ({"patient": np.array(["a", None], object)}, "patient: row 1 has no identifier"),
        ({"patient": np.array([1.0, np.nan])}, "patient: row 1 has no identifier"),
        ({"patient": np.array(["a"])}, "patient: 2 identifiers are needed"),
        ({"loss": np.ones(3)}, "loss: 2 values are needed"),
    ],
)
def test_what_cannot_be_evaluated_is_refused(changes, message):
    held = {"task": BINARY, "split": "test", "example": np.arange(2), "prediction": np.array([0.1, 0.9])}
    held |= {"targets": np.array([0, 1])}
    with pytest.raises(UserError, match=message):
        Predictions(**(held | changes))
