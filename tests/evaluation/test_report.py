"""Reports: values against scikit-learn, thresholds from validation only, the unit, warnings, JSON and tables."""

from __future__ import annotations

import io
import json
import math
import time

import numpy as np
import pytest
import sklearn.metrics as oracle
from rich.console import Console
from scipy.special import logit

from research import metrics
from research.errors import UserError
from research.evaluation import Predictions, Report, Rows, compare_predictions, evaluate
from research.origins import Origins
from research.task import Task

BINARY = Task("binary", ("benign", "malignant"))


def binary(count=200, seed=0, split="test", shift=1.5, per_patient=None, offset=0.0):
    random = np.random.default_rng(seed)
    targets = (random.random(count) < 0.4).astype(np.int32)
    scores = random.normal(size=count) + shift * targets
    patient = None if per_patient is None else np.arange(count) // per_patient
    probability = 1 / (1 + np.exp(-(scores - 1 + offset)))
    return Predictions(BINARY, split, np.arange(count), probability, targets, patient)


def shown(report):
    console = Console(file=io.StringIO(), width=80, record=True)
    for table in report.tables():
        console.print(table)
    return console.export_text()


def test_binary_values_equal_scikit_learn_at_the_threshold_of_validation():
    test, validation = binary(seed=1), binary(seed=2, split="validation", offset=1.0)
    report = evaluate(test, validation, resamples=50)
    threshold = report.thresholds["malignant"]
    false_alarm, sensitivity, cuts = oracle.roc_curve(validation.targets, validation.prediction)
    best = (sensitivity - false_alarm).max()
    said = validation.prediction >= threshold
    reached = oracle.balanced_accuracy_score(validation.targets, said, adjusted=True)
    assert reached == pytest.approx(best, abs=1e-12)
    assert threshold not in cuts
    assert report.threshold_choice == "Youden's J on validation"
    y, p = test.targets, test.prediction
    said = p >= threshold
    expected = {
        "auroc": oracle.roc_auc_score(y, p),
        "average_precision": oracle.average_precision_score(y, p),
        "accuracy": oracle.accuracy_score(y, p >= 0.5),
        "balanced_accuracy": oracle.balanced_accuracy_score(y, said),
        "sensitivity": oracle.recall_score(y, said),
        "specificity": oracle.recall_score(y, said, pos_label=0),
        "f1": oracle.f1_score(y, said),
        "brier": oracle.brier_score_loss(y, p),
        "log_loss": oracle.log_loss(y, p),
    }
    # The score of the Challenge 2012 has a threshold of its own, the best on validation of all there are.
    own = report.own_thresholds["min_sensitivity_precision"]

    def smaller(predictions, cut):
        truth, called = predictions.targets, predictions.prediction >= cut
        return min(oracle.recall_score(truth, called), oracle.precision_score(truth, called))

    assert smaller(validation, own) == max(smaller(validation, cut) for cut in validation.prediction)
    expected["min_sensitivity_precision"] = smaller(test, own)
    assert {item.name: item.value for item in report.estimates} == pytest.approx(expected, abs=1e-12)
    assert all(item.low < item.value < item.high for item in report.estimates)
    np.testing.assert_array_equal(report.confusion, oracle.confusion_matrix(y, said))
    assert f"min(Se, +P) at {own:.3g}" in shown(report)
    # The test split has no part in the choice.
    other = evaluate(binary(seed=9), validation, resamples=10)
    assert other.thresholds == report.thresholds


def test_without_validation_the_threshold_is_one_half_and_the_report_says_so():
    report = evaluate(binary(), resamples=20)
    assert report.thresholds == {"malignant": 0.5}
    assert any("not chosen on validation" in warning for warning in report.warnings)
    one_class = binary(split="validation")
    one_class = Predictions(BINARY, "validation", one_class.example, one_class.prediction, 0 * one_class.targets)
    report = evaluate(binary(), one_class, resamples=20)
    assert report.thresholds == {"malignant": 0.5} and "one class only" in report.threshold_choice


def test_patients_are_the_unit_where_they_are_known():
    by_row, by_patient = evaluate(binary(400), resamples=300), evaluate(binary(400, per_patient=4), resamples=300)
    assert "intervals by row, no patient identifiers" in by_row.notes
    assert by_row["auroc"].patients is None and by_row["auroc"].method == "DeLong, logit"
    assert by_patient["auroc"].patients == 100 and by_patient["auroc"].method == "Obuchowski, logit"
    assert by_patient["brier"].method == "bootstrap by patient"
    assert by_patient["accuracy"].method == "Wilson by patient"
    sensitivity = by_patient["sensitivity"]
    assert sensitivity.n == int(binary(400).targets.sum()) and sensitivity.patients <= 100
    # Rows that are copies of one another must not narrow the interval.
    base = binary(100)
    rows = np.repeat(np.arange(100), 4)
    copies = Predictions(BINARY, "test", np.arange(400), base.prediction[rows], base.targets[rows], rows)
    alone, copied = evaluate(base, resamples=300), evaluate(copies, resamples=300)
    for item in alone.estimates:
        width = copied[item.name].high - copied[item.name].low
        assert width == pytest.approx(item.high - item.low, rel=0.25), item.name


def test_without_patients_the_steps_of_a_series_and_forecasts_from_it_are_one_unit():
    # 12 series of 30 equal steps tell no more than 12 rows.
    truth, p = np.random.default_rng(0).integers(0, 2, 12), np.random.default_rng(1).random(12)
    series, step = np.repeat(np.arange(12), 30), np.tile(np.arange(30), 12)
    steps = Predictions(
        Task("binary", ("wake", "rem"), per_step=True), "test", series, p[series], truth[series], step=step
    )
    alone = Predictions(Task("binary", ("wake", "rem")), "test", np.arange(12), p, truth)
    by_series, by_row = evaluate(steps, resamples=200), evaluate(alone, resamples=200)
    assert "intervals by series, 12 series, no patient identifiers" in by_series.notes
    assert any(warning.startswith("only 12 series: intervals") for warning in by_series.warnings)
    assert by_series["brier"].method == "bootstrap by series" and by_series["accuracy"].method == "Wilson by series"
    for name in ("brier", "auroc"):
        found, expected = by_series[name], by_row[name]
        assert found.high - found.low == pytest.approx(expected.high - expected.low, rel=0.15)
    assert by_series["accuracy"].high - by_series["accuracy"].low > 0.8 * (
        by_row["accuracy"].high - by_row["accuracy"].low
    )
    (found,) = [item for item in compare_predictions(steps, steps, resamples=20) if item.name == "brier"]
    assert found.paired
    task = Task("regression", ("in 1 h",), horizons=(1.0,), time_unit="hours")
    origins = Origins(series.astype(np.int32), step.astype(np.float64), p[series].astype(np.float32))
    forecasts = Predictions(task, "test", np.arange(360), p[series], truth[series], origins=origins)
    assert forecasts.unit_name == "series" and evaluate(forecasts, resamples=20)["mse"].method == "bootstrap by series"


def test_same_seed_same_report():
    test = binary(per_patient=3)
    assert evaluate(test, resamples=40, seed=1) == evaluate(test, resamples=40, seed=1)
    assert evaluate(test, resamples=40, seed=1) != evaluate(test, resamples=40, seed=2)


def test_a_perfect_classifier_has_intervals_with_width_or_none():
    targets = np.repeat([0, 1], [60, 40])
    perfect = Predictions(BINARY, "test", np.arange(100), 0.1 + 0.8 * targets, targets)
    report = evaluate(perfect, resamples=50)
    for name in ("auroc", "accuracy", "balanced_accuracy", "sensitivity", "specificity", "f1"):
        assert report[name].value == report[name].high == 1
        assert 0.85 < report[name].low < 0.99, name
    assert report["auroc"].method == "Newcombe" and report["accuracy"].method == "Wilson"
    assert math.isnan(report["average_precision"].low)
    assert report["average_precision"].method == "none: no variation"
    patients = Predictions(BINARY, "test", np.arange(100), 0.1 + 0.8 * targets, targets, np.arange(100) // 5)
    clustered = evaluate(patients, resamples=50)
    for name in ("auroc", "accuracy", "balanced_accuracy", "sensitivity"):
        assert clustered[name].low < report[name].low


def test_multiclass_values_equal_scikit_learn():
    random = np.random.default_rng(0)
    targets = random.choice(4, 300, p=[0.4, 0.3, 0.2, 0.1])
    logits = random.normal(size=(300, 4)) + 1.5 * np.eye(4)[targets]
    probability = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    task = Task("multiclass", ("n", "s", "v", "f"))
    report = evaluate(
        Predictions(task, "test", np.arange(300), probability, targets, np.arange(300) // 2), resamples=200
    )
    said = probability.argmax(-1)
    expected = {
        "auroc": oracle.roc_auc_score(targets, probability, multi_class="ovr"),
        "auroc_weighted": oracle.roc_auc_score(targets, probability, multi_class="ovr", average="weighted"),
        "average_precision": oracle.average_precision_score(np.eye(4)[targets], probability),
        "accuracy": oracle.accuracy_score(targets, said),
        "balanced_accuracy": oracle.balanced_accuracy_score(targets, said),
        "f1": oracle.f1_score(targets, said, average="macro"),
        "brier": oracle.brier_score_loss(targets, probability, scale_by_half=False),
        "log_loss": oracle.log_loss(targets, probability),
    }
    assert {item.name: item.value for item in report.estimates} == pytest.approx(expected, abs=1e-12)
    assert all(item.low < item.value < item.high for item in report.estimates)
    recall = oracle.recall_score(targets, said, average=None)
    for index, name in enumerate(task.names):
        part = {item.name: item for item in report.parts[name]}
        assert part["sensitivity"].value == pytest.approx(recall[index])
        assert part["sensitivity"].n == (targets == index).sum()
        assert part["auroc"].low < oracle.roc_auc_score(targets == index, probability[:, index]) < part["auroc"].high
    np.testing.assert_array_equal(report.confusion, oracle.confusion_matrix(targets, said))


def test_macro_intervals_of_the_influence_agree_with_the_bootstrap():
    random = np.random.default_rng(5)
    targets = random.choice(3, 600, p=[0.5, 0.3, 0.2])
    # Areas that differ much, so that the shares of the classes matter to their weighted mean.
    scores = random.normal(size=(600, 3)) + np.diag([4.0, 1.0, 0.0])[targets]
    probability = 1 / (1 + np.exp(-scores))
    unit = np.arange(600) // 3
    # The weights of the classes vary with the resample, as they do from study to study.
    counts = np.stack([np.bincount(np.random.default_rng(d).integers(0, 200, 200), minlength=200) for d in range(1000)])
    weights = np.repeat(counts, 3, axis=1).astype(float)
    areas = metrics.auroc_per_class(probability, targets, weights)
    shares = weights @ np.eye(3)[targets] / weights.sum(1, keepdims=True)
    spread = {"macro": areas.mean(-1), "weighted": (areas * shares).sum(-1)}
    report = evaluate(
        Predictions(Task("multiclass", ("a", "b", "c")), "test", np.arange(600), probability, targets, unit),
        resamples=5,
    )
    for name, values in (("auroc", spread["macro"]), ("auroc_weighted", spread["weighted"])):
        error = (logit(report[name].high) - logit(report[name].low)) / (2 * 1.959964)
        assert error == pytest.approx(np.std(logit(values)), rel=0.08)


def test_classes_that_are_absent_or_rare_are_named_and_left_out_of_means():
    random = np.random.default_rng(0)
    targets = np.r_[np.zeros(50, int), np.ones(47, int), [2, 2, 2]]
    probability = random.dirichlet([1, 1, 1, 1], 100)
    task = Task("multiclass", ("a", "b", "rare", "absent"))
    report = evaluate(Predictions(task, "test", np.arange(100), probability, targets), resamples=200)
    assert any("rare: only 3 cases" in warning for warning in report.warnings)
    assert any("absent: no cases" in warning for warning in report.warnings)
    expected = np.mean([oracle.roc_auc_score(targets == c, probability[:, c]) for c in range(3)])
    assert report["auroc"].value == pytest.approx(expected)
    absent = {item.name: item for item in report.parts["absent"]}
    assert math.isnan(absent["auroc"].value) and math.isnan(absent["auroc"].low)
    assert "undefined" in report["f1"].method or "undefined" in report["average_precision"].method


def test_few_patients_are_warned_of():
    report = evaluate(binary(60, per_patient=5), resamples=20)
    assert any("only 12 patients" in warning for warning in report.warnings)
    assert not any("patients" in warning for warning in evaluate(binary(60, per_patient=1), resamples=20).warnings)


def test_multilabel_means_leave_out_missing_labels_and_choose_a_threshold_each():
    random = np.random.default_rng(0)
    task = Task("multilabel", ("effusion", "nodule"))

    def draw(count, split):
        targets = (random.random((count, 2)) < [0.3, 0.5]).astype(np.float32)
        probability = (0.5 * random.random((count, 2)) + [0.0, 0.4] + 0.1 * targets).astype(np.float32)
        targets[random.random((count, 2)) < 0.2] = np.nan
        return Predictions(task, split, np.arange(count), probability, targets)

    test, validation = draw(300, "test"), draw(200, "validation")
    report = evaluate(test, validation, resamples=100)
    assert report.thresholds["effusion"] < 0.5 < report.thresholds["nodule"]
    areas, scores = [], []
    for index, name in enumerate(task.names):
        seen = ~np.isnan(test.targets[:, index])
        y, p = test.targets[seen, index], test.prediction[seen, index]
        areas.append(oracle.roc_auc_score(y, p))
        scores.append(oracle.f1_score(y, p >= report.thresholds[name]))
        part = {item.name: item for item in report.parts[name]}
        assert part["auroc"].value == pytest.approx(areas[-1]) and part["auroc"].n == seen.sum()
        assert part["sensitivity"].value == pytest.approx(oracle.recall_score(y, p >= report.thresholds[name]))
    assert report["auroc"].value == pytest.approx(np.mean(areas))
    assert report["f1"].value == pytest.approx(np.mean(scores))
    assert report["f1_max"].value >= report["f1"].value
    assert report.confusion is None
    assert all(item.low < item.value < item.high for item in report.estimates)


def test_regression_and_rows():
    random = np.random.default_rng(0)
    targets = random.normal(size=(80, 2))
    predicted = targets + 0.3 * random.normal(size=(80, 2))
    task = Task("regression", ("glucose", "insulin"), "mg/dL")
    report = evaluate(Predictions(task, "test", np.arange(80), predicted, targets), resamples=200)
    assert report["r2"].value == pytest.approx(oracle.r2_score(targets, predicted))
    assert report["mae"].value == pytest.approx(oracle.mean_absolute_error(targets, predicted))
    assert report["rmse"].value == pytest.approx(oracle.mean_squared_error(targets, predicted) ** 0.5)
    for index, part in enumerate(report.parts.values()):
        found = {item.name: item for item in part}
        for name, theirs in (("rmse", oracle.root_mean_squared_error), ("mae", oracle.mean_absolute_error)):
            assert found[name].value == pytest.approx(theirs(targets[:, index], predicted[:, index]))
            assert found[name].low < found[name].value < found[name].high
    assert set(report.parts) == {"glucose", "insulin"} and "predicted quantities in mg/dL" in report.notes
    values = random.normal(2, 1, size=400)
    rows = evaluate(Rows("episode", "final", {"return": np.append(values, np.nan)}), resamples=500)
    item = rows["return"]
    assert (item.n, item.method) == (400, "bootstrap by episode") and item.value == pytest.approx(values.mean())
    assert item.high - item.low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.1)


@pytest.mark.parametrize("make", [lambda: binary(30), lambda: Rows("sample", "final", {"score": np.ones(3)})])
def test_json_and_back(make):
    report = evaluate(make(), resamples=20)
    text = json.dumps(report.to_json(), allow_nan=False)
    back = Report.from_json(text)
    assert json.dumps(back.to_json()) == text
    assert [item.name for item in back.estimates] == [item.name for item in report.estimates]
    with pytest.raises(UserError, match="not a report"):
        Report.from_json({"title": "x"})
    with pytest.raises(UserError, match="not a report"):
        Report.from_json("{")
    with pytest.raises(UserError, match=r"no metric 'nothing'. It has"):
        report["nothing"]


def test_tables_fit_80_columns_and_say_what_was_done():
    text = shown(evaluate(binary(10000, per_patient=5), binary(seed=2, split="validation"), resamples=5))
    assert max(map(len, text.splitlines())) <= 80
    for needed in (
        "AUROC",
        "Obuchowski",
        "10000",
        "2000",
        "malignant",
        "Youden's J on validation",
        "intervals by patient",
    ):
        assert needed in text, needed
    many = Task("multiclass", tuple(f"class {c}" for c in range(12)))
    random = np.random.default_rng(0)
    report = evaluate(
        Predictions(many, "test", np.arange(240), random.dirichlet(np.ones(12), 240), np.arange(240) % 12), resamples=5
    )
    text = shown(report)
    assert max(map(len, text.splitlines())) <= 80 and "most frequent confusions" in text


def test_what_cannot_be_evaluated_says_why():
    test = binary()
    with pytest.raises(UserError, match="no targets"):
        evaluate(Predictions(BINARY, "new", test.example, test.prediction))
    with pytest.raises(UserError, match="no rows"):
        evaluate(Predictions(BINARY, "test", np.arange(0), np.zeros(0), np.zeros(0, int)))
    with pytest.raises(UserError, match="resamples: 1 or more"):
        evaluate(test, resamples=0)
    with pytest.raises(UserError, match="another task"):
        evaluate(
            test, Predictions(Task("binary", ("no", "yes")), "validation", test.example, test.prediction, test.targets)
        )


def test_ten_thousand_examples_take_seconds():
    test = binary(10_000)
    began = time.perf_counter()
    evaluate(test, resamples=1000)
    # About one second on two slow cores; the margin is for machines under load.
    assert time.perf_counter() - began < 15
