"""The leakage gate stops shared patients and counts identical examples."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from research.data import CSV, TableData, check_leakage
from research.errors import UserError

SPLIT = np.asarray(["train", "train", "validation", "test", "test"])


def test_shared_patients_stop_with_their_number_and_names() -> None:
    patient = np.asarray(["ann", "bob", "ann", "bob", "carl"], dtype=object)
    with pytest.raises(UserError, match=r"2 patients are .* 'ann' \(train, validation\), 'bob' \(train, test\)"):
        check_leakage(SPLIT, patient, np.arange(5, dtype=np.uint64))


def test_only_the_first_few_are_named() -> None:
    patient = np.asarray([f"p{number}" for number in range(50)] * 2, dtype=object)
    split = np.asarray(["train"] * 50 + ["test"] * 50)
    with pytest.raises(UserError, match=r"50 patients are .*'p4' \(train, test\), \.\.\.") as caught:
        check_leakage(split, patient, np.arange(100, dtype=np.uint64))
    assert "p5" not in str(caught.value)


def test_separate_patients_pass() -> None:
    patient = np.asarray(["ann", "ann", "bob", "carl", "carl"], dtype=object)
    found = check_leakage(SPLIT, patient, np.arange(5, dtype=np.uint64))
    assert found.basis == "by patient"
    assert found.identical == {"train/validation": 0, "train/test": 0, "validation/test": 0}


def test_identical_examples_are_counted() -> None:
    found = check_leakage(SPLIT, None, np.asarray([7, 3, 3, 7, 9], np.uint64))
    assert found.basis == "by row, no patient identifiers"
    assert found.identical == {"train/validation": 1, "train/test": 1, "validation/test": 0}
    within = check_leakage(SPLIT, None, np.asarray([3, 3, 4, 5, 6], np.uint64))
    assert within.repeated == {"train": 1, "validation": 0, "test": 0} and not sum(within.identical.values())


def test_identical_rows_of_a_table_are_found_gaps_included(tmp_path: Path) -> None:
    rows = zip(["1,a", ",", ",", "1,a", "1,b"] * 4, [0, 1] * 10, [*SPLIT] * 4, strict=True)
    (tmp_path / "rows.csv").write_text("x,k,y,split\n" + "".join(f"{x},{y},{split}\n" for x, y, split in rows))
    source = CSV(path=str(tmp_path / "rows.csv"), target="y", categorical=("k",), split="split")
    found = TableData(source=source).prepare().leakage
    assert found.identical == {"train/validation": 4, "train/test": 4, "validation/test": 0}
