"""PhysioNet 2019: small files in the published form, and what is wrong with others. No claims are made on real ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from research.data import PhysioNet2019Sepsis, Series, SeriesData, Split
from research.errors import UserError
from research.spec import check
from research.task import NO_LABEL

NAMES = (
    "HR|O2Sat|Temp|SBP|MAP|DBP|Resp|EtCO2|BaseExcess|HCO3|FiO2|pH|PaCO2|SaO2|AST|BUN|Alkalinephos|Calcium|Chloride|"
    "Creatinine|Bilirubin_direct|Glucose|Lactate|Magnesium|Phosphate|Potassium|Bilirubin_total|TroponinI|Hct|Hgb|PTT|"
    "WBC|Fibrinogen|Platelets|Age|Gender|Unit1|Unit2|HospAdmTime|ICULOS|SepsisLabel"
)


def row(hour: int, label: int, heart_rate: str = "NaN", age: str = "83.14") -> str:
    """An hour in which at most a heart rate was measured."""
    return f"{heart_rate}|" + "NaN|" * 33 + f"{age}|0|NaN|NaN|-0.03|{hour}|{label}\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    patients = {
        "A/p000001": row(1, 0) + row(2, 0, "97.5") + row(3, 1, "89"),
        "A/p000002": row(1, 0, "60", "27"),
        "B/p100001": row(5, 0) + row(6, 0, "80"),
    }
    for name, text in patients.items():
        path = tmp_path / f"training_set{name}.psv"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"{NAMES}\n{text}")
    return tmp_path


def test_hours_labels_and_descriptors(folder: Path) -> None:
    series = PhysioNet2019Sepsis(path=str(folder)).load()
    assert series.names is not None and series.names.tolist() == ["p000001", "p000002", "p100001"]
    assert series.lengths.tolist() == [3, 1, 2] and series.time is not None
    np.testing.assert_array_equal(series.time, [1, 2, 3, 1, 5, 6])
    assert series.task.scorers == ("sepsis_utility",)
    assert series.task.per_step and series.task.kind == "binary" and series.targets.dtype == np.int32
    none = NO_LABEL
    assert series.targets.tolist() == [[0, 0, 1], [0, none, none], [0, 0, none]]
    assert len(series.variables) == 34 and series.variables[0].name == "HR" and series.variables[11].name == "pH"
    assert series.variables[2].unit == "°C" and series.variables[19].unit == "mg/dL"
    np.testing.assert_array_equal(series.values[:, 0], np.float32([np.nan, 97.5, 89, 60, np.nan, 80]))
    assert np.isnan(series.values[:, 1:]).all()
    assert [v.name for v in series.static_variables] == ["Age", "Gender", "Unit1", "Unit2", "HospAdmTime"]
    missing = np.nan
    expected = [[age, 0, missing, missing, -0.03] for age in (83.14, 27, 83.14)]
    np.testing.assert_array_equal(series.static, np.float32(expected))
    only = PhysioNet2019Sepsis(path=str(folder), sets=("B",)).load()
    assert only.names is not None and only.names.tolist() == ["p100001"]


def test_prepared(folder: Path) -> None:
    for number in range(3, 13):
        (folder / "training_setA" / f"p{number:06d}.psv").write_text(
            f"{NAMES}\n" + row(1, number % 2, str(60 + number))
        )
    data = SeriesData(source=PhysioNet2019Sepsis(path=str(folder)), split=Split(test=0.3, validation=0.3))
    prepared = data.prepare()
    assert prepared.task.per_step and {len(e.targets[0]) for e in prepared.splits.values()} == {3}
    found = {str(name) for examples in prepared.splits.values() for name in examples.patient}  # pyright: ignore[reportOptionalIterable]
    assert len(found) == 13
    assert isinstance(data.source.load(), Series)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"{NAMES}\n" + row(1, 0) + row(1, 0), r"p000001.psv, line 3: ICULOS 1 is not later"),
        (f"{NAMES}\n" + row(2, 0) + row(1, 0), r"p000001.psv, line 3: ICULOS 1 is not later"),
        (f"{NAMES}\n" + row(1, 0) + row(2, 2), r"p000001.psv, line 3: SepsisLabel 2 is neither 0 nor 1"),
        (f"{NAMES}\n", "file p000001 has no rows"),
        (NAMES.replace("HR|", "") + "\n" + row(1, 0), "file p000001: the first line is"),
        (f"{NAMES}\n" + row(1, 0, "fast"), "file p000001 cannot be read"),
        (f"{NAMES}\n" + row(1, 0)[:40], r"p000001.psv, line 2: SepsisLabel nan"),
        ("", "file p000001: the first line is ''"),
    ],
)
def test_other_files(folder: Path, text: str, message: str) -> None:
    (folder / "training_setA" / "p000001.psv").write_text(text)
    with pytest.raises(UserError, match=message):
        PhysioNet2019Sepsis(path=str(folder)).load()


def test_other_folders(folder: Path) -> None:
    (folder / "training_setB" / "p000001.psv").write_text(f"{NAMES}\n" + row(1, 0))
    with pytest.raises(UserError, match="the patient p000001 is in another set already"):
        PhysioNet2019Sepsis(path=str(folder)).load()
    (folder / "training_setB").rename(folder / "other")
    with pytest.raises(UserError, match="has no folder training_setB"):
        PhysioNet2019Sepsis(path=str(folder)).load()
    # The publisher's download has one more folder around the sets.
    (folder / "training").mkdir()
    (folder / "training_setA").rename(folder / "training" / "training_setA")
    assert len(PhysioNet2019Sepsis(path=str(folder), sets=("A",)).load()) == 2
    with pytest.raises(UserError, match="A, B or both are needed"):
        check(PhysioNet2019Sepsis(sets=("A", "A")))
