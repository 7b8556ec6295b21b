"""Which pictures are written for which task, what they say, and what is left out with a reason."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from research.errors import RunError
from research.evaluation import Predictions, Report, evaluate
from research.reporting import write_figures
from research.reporting.agreement import agreement, limits_of_agreement
from research.reporting.confusion import confusion
from research.reporting.contrasts import MOST_PANELS, contrasts, facts
from research.reporting.discrimination import discrimination
from research.reporting.learning import learning_curves
from research.reporting.reliability import reliability
from research.task import Task

BINARY = Task("binary", ("normal", "pneumonia $5_a$"))
RECORDS: list[dict[str, Any]] = [
    {"step": 10, "epoch": 1.0, "train/loss": 0.9, "validation/loss": 1.0, "validation/auroc": 0.6},
    {"step": 20, "epoch": 2.0, "train/loss": None, "validation/loss": 0.7, "validation/auroc": None},
    {"step": 30, "epoch": 3.0, "train/loss": 0.4, "validation/loss": 0.8, "validation/auroc": 0.8},
]
CURVES = ["roc.png", "precision_recall.png", "reliability.png"]


def binary(count: int = 60, seed: int = 0, targets: Any = None, per_patient: int | None = 2) -> Predictions:
    random = np.random.default_rng(seed)
    if targets is None:
        targets = (np.arange(count) % 3 == 0).astype(np.int32)
    probability = 1 / (1 + np.exp(-random.normal(size=count) - 1.5 * targets + 0.7))
    patient = None if per_patient is None else np.arange(count) // per_patient
    return Predictions(BINARY, "test", np.arange(count), probability, targets, patient)


def of_kind(kind: str) -> Predictions:
    random = np.random.default_rng(3)
    if kind == "binary":
        return binary()
    if kind == "regression":
        true = random.normal(size=(40, 2)).astype(np.float32)
        task = Task("regression", ("length", "weight"), unit="z")
        return Predictions(task, "test", np.arange(40), (true + 0.3).astype(np.float32), true)
    shares = random.dirichlet(np.ones(3), 60)
    if kind == "multiclass":
        task = Task("multiclass", ("a", "b", "c"))
        return Predictions(task, "test", np.arange(60), shares, (np.arange(60) % 3).astype(np.int32))
    labels = (random.random((60, 3)) < 0.4).astype(np.float32)
    labels[:7, 1] = np.nan
    return Predictions(Task("multilabel", ("a", "b", "c")), "test", np.arange(60), shares, labels)


def texts(figure: Any) -> str:
    from matplotlib.text import Text

    return "\n".join(item.get_text() for item in figure.findobj(Text))


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("binary", [*CURVES, "confusion.png"]),
        ("multiclass", [*CURVES, "confusion.png"]),
        ("multilabel", CURVES),
        ("regression", ["predicted.png", "bland_altman.png"]),
    ],
)
def test_the_pictures_of_each_task(kind: str, expected: list[str], tmp_path: Path) -> None:
    predictions = of_kind(kind)
    for stale in ("confusion.png", "predicted.png", "kept.png"):
        (tmp_path / stale).write_bytes(b"old")
    found = write_figures(tmp_path, predictions, evaluate(predictions, resamples=20), RECORDS, "a run", best_step=20)
    expected = [*expected, "learning_curves.png"]
    assert [path.name for path in found.paths] == expected and found.notes == ()
    # Those of another task are gone, files of others are left alone, and nothing half written stays.
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*expected, "kept.png"])
    for path in found.paths:
        with Image.open(path) as picture:
            assert picture.format == "PNG" and min(picture.size) > 400
            assert picture.info["dpi"] == pytest.approx((150, 150), abs=0.1)
            assert len(np.unique(np.asarray(picture.convert("L")))) > 50


def test_numbers_are_those_of_the_report_and_names_are_shown_as_they_are() -> None:
    predictions = binary()
    report = evaluate(predictions, resamples=20)
    found, notes = contrasts(predictions, report)
    assert notes == []
    roc, precision_recall = discrimination(predictions, found, "a run, test", {})
    auroc, area = report["auroc"], report["average_precision"]
    assert f"{auroc.value:.3f} [{auroc.low:.3f}, {auroc.high:.3f}]" in texts(roc)
    assert f"{area.value:.3f} [{area.low:.3f}, {area.high:.3f}]" in texts(precision_recall)
    assert "60 examples of 30 patients; pneumonia \\$5_a\\$ in 20 (33.3 %)" in texts(roc)
    assert "bootstrap by patient" in texts(roc)
    calibration = texts(reliability(predictions, report, found, ""))
    assert "predicted probability of pneumonia \\$5_a\\$\n" in calibration
    assert "pneumonia \\$5_a\\$\nn = 20" in texts(confusion(report, "", ""))
    altered = Report.from_json(report.to_json() | {"estimates": [dict(report.to_json()["estimates"][0], name="auroc")]})
    assert texts(discrimination(predictions, contrasts(predictions, altered)[0], "x", {})[0]) != texts(roc)


def test_the_chosen_threshold_lies_on_the_curve() -> None:
    predictions = binary()
    report = evaluate(predictions, binary(seed=9), resamples=20)
    found, _ = contrasts(predictions, report)
    roc, _ = discrimination(predictions, found, "", {})
    lines = {line.get_label(): line for line in roc.axes[0].get_lines()}
    (point,) = [line for name, line in lines.items() if name.startswith("threshold")]
    said = predictions.prediction >= report.thresholds[BINARY.names[1]]
    truth = predictions.targets == 1  # type: ignore[operator]
    assert point.get_xdata()[0] == pytest.approx(said[~truth].mean())
    assert point.get_ydata()[0] == pytest.approx(said[truth].mean())


@pytest.mark.parametrize("count", [1, 4])
def test_one_class_only_leaves_curves_out_with_a_reason(count: int, tmp_path: Path) -> None:
    predictions = binary(count, targets=np.ones(count, np.int32), per_patient=None)
    (tmp_path / "roc.png").write_bytes(b"of an older run")
    found = write_figures(tmp_path, predictions, evaluate(predictions, resamples=5), [], "a run")
    assert [path.name for path in found.paths] == ["confusion.png"]
    said = " ".join(found.notes)
    assert "cases only" in said and "roc.png and precision_recall.png are left out" in said
    assert "reliability.png is left out" in said and "learning_curves.png is left out" in said
    assert not (tmp_path / "roc.png").exists()


def test_without_targets_only_the_learning_curves_are_drawn(tmp_path: Path) -> None:
    known = binary()
    report = evaluate(known, resamples=5)
    unknown = Predictions(BINARY, "new", known.example, known.prediction)
    found = write_figures(tmp_path, unknown, report, RECORDS, "a run")
    assert [path.name for path in found.paths] == ["learning_curves.png"]
    assert "no targets" in found.notes[0]


def test_many_classes_are_drawn_as_far_as_can_be_read(tmp_path: Path) -> None:
    classes, count = 25, 200
    random = np.random.default_rng(0)
    truth = np.minimum(random.geometric(0.12, count) - 1, classes - 2).astype(np.int32)
    shares = random.dirichlet(np.ones(classes), count)
    task = Task("multiclass", tuple(f"class {index}" for index in range(classes)))
    predictions = Predictions(task, "test", np.arange(count), shares, truth)
    report = evaluate(predictions, resamples=5)
    found, notes = contrasts(predictions, report)
    cases = np.bincount(truth, minlength=classes)
    assert len(found) == MOST_PANELS
    assert min(item.cases for item in found) >= sorted(cases)[-MOST_PANELS]
    assert any("class 24: no cases" in note for note in notes) and any("with most cases" in note for note in notes)
    assert facts(predictions, found).endswith("; drawn: 15 of 25 classes, those with most cases")
    figure = confusion(report, "", "")
    # Colours without numbers: the names of the classes, and no counts.
    assert not figure.axes[0].texts and len(figure.axes) == 2
    assert len(confusion(evaluate(of_kind("multiclass"), resamples=5), "", "").axes[0].texts) == 9


def test_figures_say_that_some_labels_or_quantities_are_not_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    every = of_kind("multilabel")
    report = evaluate(every, resamples=5)
    assert "drawn" not in facts(every, contrasts(every, report)[0])
    some = dataclasses.replace(every, targets=np.where(np.arange(3) == 1, 0, every.targets))  # type: ignore[call-overload]
    found = contrasts(some, report)[0]
    assert facts(some, found).endswith("; drawn: 2 of 3 labels, those with cases and others")
    # A panel alone has no title, so the label is named above it.
    one = discrimination(some, found[:1], "a run", {})[0]
    assert "drawn: 1 of 3 labels, a" in texts(one).replace("\n", " ")
    monkeypatch.setattr("research.reporting.agreement.MOST_PANELS", 1)
    both = of_kind("regression")
    scatter, bland = agreement(both, evaluate(both, resamples=5), "a run")
    assert all("drawn: the first 1 of 2 quantities" in texts(one).replace("\n", " ") for one in (scatter, bland))


@pytest.mark.parametrize(("per_epoch", "whole"), [(10, True), (40, False)])
def test_whole_epochs_have_whole_ticks(per_epoch: int, whole: bool) -> None:
    records = [{"step": step, "epoch": step / per_epoch, "train/loss": 1 / step} for step in range(10, 60, 10)]
    figure = learning_curves(records, "a run")
    assert figure is not None
    low, high = figure.axes[0].get_xlim()
    ticks = [tick for tick in figure.axes[0].get_xticks() if low <= tick <= high]
    assert len(ticks) >= 3 and all(float(tick).is_integer() for tick in ticks) is whole


def test_a_loss_that_falls_far_has_a_logarithmic_axis_with_plain_numbers() -> None:
    records = [{"step": step, "train/loss": 10.0**-step} for step in range(6)]
    figure = learning_curves(records, "a run")
    assert figure is not None
    axes = figure.axes[0]
    figure.canvas.draw()
    low, high = axes.get_ylim()
    ticks = {text.get_text() for text in axes.get_yticklabels() if low <= text.get_position()[1] <= high}
    assert axes.get_yscale() == "log" and ticks == {"1", "0.1", "0.01", "0.001", "0.0001", "1e-05"}


def test_learning_curves_show_losses_metrics_and_the_reported_weights() -> None:
    figure = learning_curves(RECORDS, "a run", best_step=20)
    assert figure is not None
    loss, metrics = figure.axes
    lines = {line.get_label(): line for line in loss.get_lines()}
    assert lines["train"].get_xdata().tolist() == [1, 3] and lines["train"].get_ydata().tolist() == [0.9, 0.4]
    assert lines["validation"].get_ydata().tolist() == [1.0, 0.7, 0.8]
    assert metrics.get_lines()[0].get_ydata().tolist() == [0.6, 0.8]
    assert loss.get_lines()[-1].get_xdata() == [2.0, 2.0]
    assert learning_curves([{"step": 3, "epoch": 1.0}], "a run") is None
    only_null = learning_curves([{"step": 1, "train/loss": None}], "a run")
    assert only_null is None


def test_limits_of_agreement_are_those_of_bland_and_altman() -> None:
    predictions = of_kind("regression")
    random = np.random.default_rng(5)
    noisy = predictions.prediction + random.normal(scale=0.5, size=(40, 2))
    predictions = Predictions(predictions.task, "test", predictions.example, noisy, predictions.targets)
    difference = noisy - np.asarray(predictions.targets, np.float64)
    found = limits_of_agreement(predictions, resamples=100)
    mean, spread = difference.mean(0), 1.959964 * difference.std(0, ddof=1)
    np.testing.assert_allclose(found[:, 0], [mean - spread, mean, mean + spread], rtol=1e-5)
    assert (found[:, 1] < found[:, 0]).all() and (found[:, 0] < found[:, 2]).all()
    # The interval of the bias, against the standard error of a mean.
    half = 1.96 * difference.std(0, ddof=1) / 40**0.5
    np.testing.assert_allclose((found[1, 2] - found[1, 1]) / 2, half, rtol=0.3)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    predictions = binary(10)
    with pytest.raises(RunError, match=r"roc\.png cannot be written"):
        write_figures(tmp_path / "file", predictions, evaluate(predictions, resamples=5), [], "a run")
