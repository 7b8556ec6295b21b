"""The leakage gate stops shared patients and counts identical examples."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from research.data import check_leakage
from research.errors import UserError

SPLIT = np.asarray(["train", "train", "validation", "test", "test"])


def test_shared_patients_stop_with_their_number_and_names() -> None:
    patient = np.asarray(["ann", "bob", "ann", "bob", "carl"], dtype=object)
    with pytest.raises(UserError, match=r"2 patients are .* 'ann' \(train, validation\), 'bob' \(train, test\)"):
        check_leakage(SPLIT, patient, pd.DataFrame({"x": np.arange(5.0)}))


def test_only_the_first_few_are_named() -> None:
    patient = np.asarray([f"p{number}" for number in range(50)] * 2, dtype=object)
    split = np.asarray(["train"] * 50 + ["test"] * 50)
    with pytest.raises(UserError, match=r"50 patients are .*'p4' \(train, test\), \.\.\.") as caught:
        check_leakage(split, patient, pd.DataFrame({"x": np.arange(100.0)}))
    assert "p5" not in str(caught.value)


def test_separate_patients_pass() -> None:
    patient = np.asarray(["ann", "ann", "bob", "carl", "carl"], dtype=object)
    found = check_leakage(SPLIT, patient, pd.DataFrame({"x": np.arange(5.0)}))
    assert found.basis == "by patient"
    assert found.identical == {"train/validation": 0, "train/test": 0, "validation/test": 0}


def test_identical_examples_are_counted_gaps_and_names_included() -> None:
    frame = pd.DataFrame(
        {"x": [1.0, np.nan, np.nan, 1.0, 1.0], "k": np.asarray(["a", None, None, "a", "b"], dtype=object)}
    )
    found = check_leakage(SPLIT, None, frame)
    assert found.basis == "by row, no patient identifiers"
    assert found.identical == {"train/validation": 1, "train/test": 1, "validation/test": 0}
