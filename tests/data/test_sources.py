"""The datasets of the catalogue, the real tables, and what `prepare` says of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from research.data import CSV, SPLITS, Split, SyntheticTable, Table, TableData, Wisconsin, catalog
from research.errors import UserError

CLEVELAND = CSV(
    path="tabular/heart_processed.cleveland.data",
    header=False,
    columns=(
        *("age", "sex", "cp", "trestbps", "chol", "fbs", "restecg", "thalach", "exang", "oldpeak", "slope"),
        *("ca", "thal", "num"),
    ),
    target="num",
    positive=">0",
    categorical=("cp", "restecg", "slope", "thal"),
)
PIMA = CSV(
    path="tabular/pima_diabetes.csv",
    header=False,
    columns=("pregnancies", "glucose", "pressure", "skin", "insulin", "bmi", "pedigree", "age", "diabetes"),
    target="diabetes",
    sentinels=("glucose", "pressure", "skin", "insulin", "bmi"),
)
HEART_FAILURE = CSV(path="tabular/heart_failure.csv", target="DEATH_EVENT", drop=("time",))


def _needs(path: str) -> None:
    folder = os.environ.get("RESEARCH_DATA_DIR")
    if not folder or not (Path(folder) / path).is_file():
        pytest.skip(f"{path} is absent: set RESEARCH_DATA_DIR to the folder of the real data to run this test")


def test_every_dataset_states_licence_citation_and_summary() -> None:
    for name, source in catalog().items():
        about = source().about()
        assert about.name == name
        assert about.summary and about.licence != "not stated" and about.citation != "not stated"


def test_wisconsin_is_the_published_data_with_malignant_positive() -> None:
    table = Wisconsin().load()
    bunch: Any = load_breast_cancer()
    np.testing.assert_array_equal(table.frame.to_numpy(), bunch.data)
    assert list(table.frame.columns) == list(bunch.feature_names)
    assert table.task.names == ("benign", "malignant")
    assert np.bincount(table.targets).tolist() == [357, 212]  # as published
    malignant = list(bunch.target_names).index("malignant")
    np.testing.assert_array_equal(table.targets == 1, bunch.target == malignant)


def test_wisconsin_prepared() -> None:
    prepared = TableData(source=Wisconsin()).prepare()
    assert tuple(prepared.splits) == SPLITS
    assert [len(examples) for examples in prepared.splits.values()] == [364, 91, 114]
    train = prepared.splits["train"].inputs
    assert train.dtype == np.float32
    np.testing.assert_allclose(train.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(train.std(axis=0), 1, atol=1e-5)
    rows = np.concatenate([examples.example for examples in prepared.splits.values()])
    assert sorted(rows.tolist()) == list(range(569))
    assert not prepared.patients_known
    summary = prepared.summary()
    assert summary["basis"] == "by row, no patient identifiers"
    assert summary["splits"]["test"] == {
        "examples": 114,
        "patients": None,
        "classes": {"benign": 72, "malignant": 42},
    }
    assert json.loads(json.dumps(summary)) == summary


def test_fingerprint_is_stable_across_processes_and_depends_on_what_it_should(tmp_path: Path) -> None:
    data = TableData(source=SyntheticTable(patients=50, visits=2))
    fingerprint = data.prepare().fingerprint
    made = "TableData(source=SyntheticTable(patients=50, visits=2))"
    program = f"from research.data import *; print({made}.prepare().fingerprint)"
    other = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert other.stdout.strip() == fingerprint
    changed = [
        data.replace(split=Split(seed=1)),
        data.replace(source=SyntheticTable(patients=50, visits=2, seed=1)),
        data.replace(source=SyntheticTable(patients=50, visits=2, strength=0.5)),
    ]
    assert len({fingerprint, *(d.prepare().fingerprint for d in changed)}) == 4
    path = tmp_path / "t.csv"
    seen = set()
    for first, name, patient in (("1", "x", "a"), ("2", "x", "a"), ("1", "z", "a"), ("1", "x", "b"), ("NA", "x", "a")):
        rows = [f"{first if n == 0 else n},{n % 2},{patient if n == 0 else f'p{n}'}" for n in range(20)]
        path.write_text(f"{name},y,who\n" + "\n".join(rows))
        seen.add(TableData(source=CSV(path=str(path), target="y", patient="who")).prepare().fingerprint)
    assert len(seen) == 5


def test_summary_counts_identical_examples_and_missing_values(tmp_path: Path) -> None:
    rows = [f"{n % 7},{'NA' if n == 0 else 1 + n % 3},{n % 2}" for n in range(60)]
    path = tmp_path / "t.csv"
    path.write_text("a,b,y\n" + "\n".join(rows))
    prepared = TableData(source=CSV(path=str(path), target="y")).prepare()
    summary = prepared.summary()
    raw = CSV(path=str(path), target="y").load().frame.to_numpy()
    splits = {name: [tuple(raw[row]) for row in examples.example] for name, examples in prepared.splits.items()}
    for pair, count in summary["identical_examples"].items():
        first, second = pair.split("/")
        assert count == sum(row in set(splits[first]) for row in splits[second])
    assert summary["identical_examples"]["train/test"] > 0
    assert any("the same inputs in test as some example in train" in warning for warning in summary["warnings"])
    assert sum(counts.get("b", 0) for counts in summary["missing"].values()) == 1


def test_synthetic_table_is_repeatable_and_knows_its_patients() -> None:
    source = SyntheticTable(patients=30, visits=4, seed=2)
    first, second = source.load(), source.load()
    assert first.frame.equals(second.frame) and (first.targets == second.targets).all()
    assert first.patient is not None and len(set(first.patient)) == 30 and len(first) == 120
    for name in ("age", "sex", "smoking"):
        assert _values_per_patient(first, name).max() == 1
    assert _values_per_patient(first, "glucose").min() > 1


def _values_per_patient(table: Table, column: str) -> np.ndarray:
    return np.asarray(table.frame[column].groupby(table.patient).nunique())


def _estimates(source: SyntheticTable, samples: int, rows: int) -> np.ndarray:
    """AUROC of the true risk against drawn labels, in independent samples of the population."""
    tables = [source.replace(patients=rows, seed=100 + number).load() for number in range(samples)]
    return np.asarray([roc_auc_score(t.targets, source._risk(t.frame)) for t in tables])


@pytest.mark.parametrize(("strength", "visits"), [(1.0, 1), (0.3, 1), (1.0, 3)])
def test_bayes_auroc_is_the_auroc_of_the_true_risk(strength: float, visits: int) -> None:
    source = SyntheticTable(strength=strength, visits=visits)
    estimates = _estimates(source, 10, 60_000 // visits)
    error = estimates.std(ddof=1) / np.sqrt(len(estimates))
    assert error < 0.0015
    assert abs(source.bayes_auroc() - estimates.mean()) < 4 * error + 0.0005


def test_bayes_auroc_counts_pairs() -> None:
    # The same formula by brute force over all pairs of a small population.
    source = SyntheticTable()
    risk = source._risk(SyntheticTable(patients=3000, seed=5).load().frame)
    better = (risk[:, None] > risk[None, :]) + 0.5 * (risk[:, None] == risk[None, :])
    pairs = (risk[:, None] * (1 - risk[None, :]) * better).sum() / (risk.sum() * (1 - risk).sum())
    assert source.bayes_auroc() == pytest.approx(pairs, abs=0.01)


def test_interactions_are_needed_and_control_has_no_signal() -> None:
    source = SyntheticTable(patients=6000)
    prepared = TableData(source=source).prepare()
    train, test = prepared.splits["train"], prepared.splits["test"]
    linear = LogisticRegression(max_iter=500).fit(train.inputs, train.targets)
    auroc = float(roc_auc_score(test.targets, linear.predict_proba(test.inputs)[:, 1]))
    assert 0.7 < auroc < source.bayes_auroc() - 0.01
    control = source.replace(signal=False)
    assert control.bayes_auroc() == 0.5
    prepared = TableData(source=control).prepare()
    train, test = prepared.splits["train"], prepared.splits["test"]
    linear = LogisticRegression(max_iter=500).fit(train.inputs, train.targets)
    assert abs(float(roc_auc_score(test.targets, linear.predict_proba(test.inputs)[:, 1])) - 0.5) < 0.06


def test_cleveland_as_published() -> None:
    _needs(CLEVELAND.path)
    table = CLEVELAND.load()
    assert np.bincount(table.targets).tolist() == [164, 139]
    absent = table.frame.isna().sum()
    assert {name: int(n) for name, n in absent.items() if n} == {"ca": 4, "thal": 2}
    assert {c.name: c.categories for c in table.columns}["thal"] == ("3", "6", "7")
    prepared = TableData(source=CLEVELAND).prepare()
    assert "cp=4" in prepared.feature_names and np.isfinite(prepared.splits["test"].inputs).all()
    with pytest.raises(UserError, match=r"holds 5 different labels: '0' \(164\)"):
        CLEVELAND.replace(positive=None).load()


def test_pima_zeros_are_missing() -> None:
    _needs(PIMA.path)
    table = PIMA.load()
    assert np.bincount(table.targets).tolist() == [500, 268]
    # The numbers of zeros that Breault (2001) and many after him count in this file.
    absent = {str(name): int(n) for name, n in table.frame.isna().sum().items()}
    assert absent == dict(zip(PIMA.columns[:-1], (0, 5, 35, 227, 374, 11, 0, 0), strict=True))
    assert TableData(source=PIMA).prepare().splits["train"].inputs.shape == (491, 8)


def test_heart_failure_with_padded_header() -> None:
    _needs(HEART_FAILURE.path)
    table = HEART_FAILURE.load()
    assert np.bincount(table.targets).tolist() == [203, 96]  # Chicco & Jurman 2020
    assert "time" not in table.frame and "creatinine_phosphokinase" in table.frame
    assert not table.frame.isna().any().any()
