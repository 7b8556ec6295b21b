"""Splits: by patient, stratified, complete, repeatable."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import train_test_split
from tiny import EXPERIMENT, run

from research.data import About, Column, Split, SyntheticTable, Table, TableData, Wisconsin
from research.data.division import set_aside
from research.errors import UserError
from research.experiment import Evaluation
from research.spec import check, replace
from research.task import Task
from research.training.run_directory import RunDirectory


def _table(
    targets: Any, patient: list[str] | None = None, split: list[str] | None = None, task: Task | None = None
) -> Table:
    targets = np.asarray(targets)
    return Table(
        frame=pd.DataFrame({"x": np.arange(len(targets), dtype=float)}),
        columns=(Column("x", "numeric"),),
        targets=targets,
        task=task or Task("binary", ("no", "yes")),
        patient=None if patient is None else np.asarray(patient, dtype=object),
        split=None if split is None else np.asarray(split),
        row=np.arange(len(targets), dtype=np.int32),
        about=About("made up", "a table"),
    )


def _balanced(rows: int = 100) -> Table:
    return _table(np.arange(rows, dtype=np.int32) % 4 == 0)


def test_fractions_are_of_all_and_of_what_is_left() -> None:
    names, counts = np.unique(Split(test=0.2, validation=0.25).assign(_balanced()), return_counts=True)
    assert dict(zip(names.tolist(), counts.tolist(), strict=True)) == {"test": 20, "train": 60, "validation": 20}


def test_classes_keep_their_proportions() -> None:
    table = _balanced(200)
    split = Split().assign(table)
    for name in ("train", "validation", "test"):
        assert table.targets[split == name].mean() == pytest.approx(0.25, abs=0.02)


def test_same_seed_same_split_other_seed_other_split() -> None:
    table = _balanced()
    first = Split(seed=3).assign(table)
    assert (first == Split(seed=3).assign(table)).all()
    assert (first != Split(seed=4).assign(table)).any()


@pytest.mark.parametrize("official", [False, True])
def test_a_share_of_train_lies_within_larger_ones_and_leaves_the_others_alone(official: bool) -> None:
    names = ["train"] * 300 + ["test"] * 100 if official else None
    table = _table(np.arange(400, dtype=np.int32) % 4 == 0, [f"p{row // 2}" for row in range(400)], names)
    splits = {share: Split(train_share=share).assign(table) for share in (0.1, 0.5, 1.0)}
    whole = splits[1.0]
    for share, split in splits.items():
        assert (split[whole != "train"] == whole[whole != "train"]).all()
        kept = split == "train"
        assert kept.sum() == pytest.approx(share * (whole == "train").sum(), abs=4)
        assert table.targets[kept].mean() == pytest.approx(0.25, abs=0.04)
        assert table.patient is not None
        assert not set(table.patient[kept]) & set(table.patient[~kept])
    assert set(splits[0.5][splits[0.1] == "train"]) == {"train"}
    assert (Split(train_share=0.5, seed=1).assign(table) != splits[0.5]).any()


def test_what_is_left_of_train_is_trained_on(tmp_path: Path) -> None:
    result = run(replace(EXPERIMENT, {"data.split.train_share": 0.5, "steps": 20}), tmp_path)
    assert RunDirectory(result.directory).read("data")["splits"]["train"]["examples"] == 32


def test_no_patient_is_divided() -> None:
    table = SyntheticTable(patients=200, visits=3).load()
    assert table.patient is not None
    for split in (Split(), Split(folds=5, fold=2)):
        names = split.assign(table)
        assert len(set(zip(table.patient, names, strict=True))) == 200
        assert set(names) == {"train", "validation", "test"}


def test_patients_are_stratified_by_any_positive_row() -> None:
    # 20 patients with five rows; four of them have one positive row each: one in five in every split.
    targets = np.zeros((20, 5), dtype=np.int32)
    targets[:4, 0] = 1
    patient = [f"p{number}" for number in range(20) for _ in range(5)]
    split = Split(test=0.25, validation=1 / 3).assign(_table(targets.ravel(), patient))
    positives = {name: int(targets.ravel()[split == name].sum()) for name in ("train", "validation", "test")}
    assert positives == {"train": 2, "validation": 1, "test": 1}


def test_folds_cover_every_patient_once() -> None:
    table = SyntheticTable(patients=103, visits=2).load()
    tested = [Split(folds=5, fold=fold).assign(table) == "test" for fold in range(5)]
    assert (np.sum(tested, axis=0) == 1).all()
    sizes = [int(rows.sum()) // 2 for rows in tested]
    assert max(sizes) - min(sizes) <= 2


def test_inner_folds_cover_the_patients_outside_the_fold_once() -> None:
    table = SyntheticTable(patients=200, visits=2).load()
    outer = Split(folds=4, fold=1).assign(table) == "test"
    inner = [Split(folds=4, fold=1, inner_folds=3, inner_fold=number).assign(table) for number in range(3)]
    assert all((split[outer] == "unused").all() and (split[~outer] != "unused").all() for split in inner)
    assert (sum((split == "test").astype(int) for split in inner) == ~outer).all()
    assert table.patient is not None
    for split in inner:
        assert len(set(zip(table.patient, split, strict=True))) == 200
        assert set(split[~outer]) == {"train", "validation", "test"}


def test_regression_is_divided_without_strata() -> None:
    targets = np.random.default_rng(0).normal(size=(50, 1)).astype(np.float32)
    split = Split(folds=5).assign(_table(targets, task=Task("regression", ("y",))))
    assert (split == "test").sum() == 10


def test_official_splits_are_kept() -> None:
    official = ["train"] * 70 + ["validation"] * 10 + ["test"] * 20
    assert Split().assign(_table(np.arange(100) % 2, split=official)).tolist() == official


def test_validation_is_carved_from_official_train_by_patient() -> None:
    official = ["train"] * 80 + ["test"] * 20
    patient = [f"p{row // 2}" for row in range(100)]
    split = Split(validation=0.25).assign(_table(np.arange(100) % 2, patient, official))
    assert (split[80:] == "test").all()
    assert (split[:80] == "validation").sum() == 20
    assert (split[:80:2] == split[1:80:2]).all()


def test_official_splits_refuse_folds() -> None:
    with pytest.raises(UserError, match="official splits"):
        Split(folds=3).assign(_table([0, 1, 0], split=["train", "test", "validation"]))


def test_too_few_of_a_class_is_named_with_its_count() -> None:
    with pytest.raises(UserError, match=r"class 'yes'.* has 2 rows; at least 3"):
        Split().assign(_table([0] * 30 + [1] * 2))


def test_fraction_too_small_for_the_classes_is_refused() -> None:
    with pytest.raises(UserError, match=r"split\.test: 0\.01 of 20 rows"):
        Split(test=0.01).assign(_balanced(20))


@pytest.mark.parametrize(
    ("split", "message"),
    [
        (Split(test=1.0), "test: a number in"),
        (Split(validation=0.0), "validation: a number in"),
        (Split(fold=1), "without folds"),
        (Split(folds=5, fold=5), "from 0 to 4"),
        (Split(folds=1), "folds"),
        (Split(inner_folds=2), "inner_folds: .* Set folds as well"),
        (Split(folds=5, inner_folds=2, inner_fold=2), "inner_fold: 2 was given; allowed: 0 to 1"),
        (Split(folds=5, inner_fold=1), "none without inner_folds"),
        (Split(seed=-1), "seed"),
    ],
)
def test_impossible_splits_are_refused(split: Split, message: str) -> None:
    with pytest.raises(UserError, match=message):
        check(split)


def test_class_absent_from_train_is_an_error_with_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    table = _table([0] * 10 + [1] * 5, split=["train"] * 8 + ["validation"] * 2 + ["test"] * 5)
    monkeypatch.setattr(Wisconsin, "load", lambda self: table)
    with pytest.raises(UserError, match=r"class 'yes' is absent from the train split.*train 0, validation 0, test 5"):
        TableData(source=Wisconsin()).prepare()


def test_test_is_carved_from_official_train_where_it_lacks() -> None:
    patient = [f"p{row // 2}" for row in range(200)]
    targets = np.arange(200) // 2 % 4 == 0
    alone = Split(test=0.2, validation=0.25).assign(_table(targets, patient, ["train"] * 200))
    names, counts = np.unique(alone, return_counts=True)
    assert dict(zip(names.tolist(), counts.tolist(), strict=True)) == {"test": 40, "train": 120, "validation": 40}
    assert (alone[::2] == alone[1::2]).all()
    assert {name: int(targets[alone == name].sum()) for name in names.tolist()} == {
        "test": 10,
        "train": 30,
        "validation": 10,
    }
    beside = Split(test=0.25).assign(_table(targets, patient, ["train"] * 160 + ["validation"] * 40))
    assert (beside[160:] == "validation").all()
    assert (beside[:160] == "test").sum() == 40 and (beside[:160] == "validation").sum() == 0


def test_a_class_needs_a_patient_for_every_split_that_is_made() -> None:
    two = [1] * 2 + [0] * 38
    with pytest.raises(UserError, match=r"class 'yes' .* has 2 rows; at least 3"):
        Split().assign(_table(two, split=["train"] * 40))
    found = Split(test=0.5).assign(_table([*two, 0, 1], split=["train"] * 40 + ["validation"] * 2))
    assert sorted(found[:2].tolist()) == ["test", "train"]


def test_official_splits_without_train_are_refused() -> None:
    with pytest.raises(UserError, match=r"splits of made up have no train split, only test and validation\. Add the"):
        Split().assign(_table([0, 1] * 10, split=["test"] * 10 + ["validation"] * 10))


def test_without_validation_all_others_train(tmp_path: Path) -> None:
    """A protocol that chooses nothing: no validation split, thresholds of 0.5, the last weights."""
    split = Split(test=0.25, validation=None)
    assert set(split.assign(SyntheticTable(patients=80).load()).tolist()) == {"train", "test"}
    experiment = EXPERIMENT.replace(evaluation=Evaluation(resamples=100), steps=8)
    result = run(replace(experiment, {"data.split": split}), tmp_path)
    assert set(result.predictions) == {"test"} and set(result.report.thresholds.values()) == {0.5}
    assert result.summary["reported_step"] == 8
    with pytest.raises(UserError, match=r"evaluation.select: there is no validation split to choose on"):
        run(replace(EXPERIMENT, {"data.split": split}), tmp_path)


@pytest.mark.parametrize("classes", [None, 1, 2, 3, 7])
def test_rows_set_aside_are_those_of_scikit_learn(classes: int | None) -> None:
    draw = np.random.default_rng(0)
    for seed in range(60):
        count, fraction = (
            int(draw.integers(80, 400)),
            float(draw.choice([0.1, 0.2, 1 / 3, 0.5, draw.uniform(0.1, 0.9)])),
        )
        strata = None
        if classes is not None:
            strata = np.concatenate([np.repeat(np.arange(classes), 2), draw.integers(0, classes, count - 2 * classes)])
            # Equal sizes too, whose remainders are ties that chance breaks.
            strata = np.sort(strata) if seed % 2 else np.arange(count) % classes
        expected = train_test_split(np.arange(count), test_size=fraction, random_state=seed, stratify=strata)[1]
        np.testing.assert_array_equal(set_aside(count, fraction, seed, strata), np.sort(expected))


@pytest.mark.parametrize(("fraction", "strata"), [(0.99, [0, 1] * 5), (0.05, [0, 1] * 5), (0.5, [0] * 9 + [1])])
def test_rows_cannot_be_set_aside_where_scikit_learn_cannot(fraction: float, strata: list[int]) -> None:
    with pytest.raises(ValueError):
        train_test_split(np.arange(10), test_size=fraction, random_state=0, stratify=strata)
    with pytest.raises(ValueError, match=r"leaves none|classes|1 member"):
        set_aside(10, fraction, 0, np.array(strata))
