"""Glucose forecasting: a small file in the published form, and the real one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from research.data import CGM, SPLITS, Split, parse_source
from research.errors import UserError
from research.spec import check


def test_small_file(tmp_path: Path) -> None:
    lines = ["id,time,gl,diagnosis"]
    for person in ("p1", "p2"):
        lines += [f"{person},2014-02-03 {8 + n // 12:02d}:{n % 12 * 5:02d}:12,{100 + n},diabetic" for n in range(20)]
    path = tmp_path / "hall.csv"
    path.write_text("\n".join(lines) + "\n")
    series = CGM(path=str(path), history=4, horizons=(10, 30), gaps=0).load()
    assert len(series) == 2 * (20 - 3 - 6) and series.interval == 5 and series.time_unit == "minutes"
    assert (
        series.task.kind == "regression" and series.task.names == ("10 min", "30 min") and series.task.unit == "mg/dL"
    )
    assert [(v.name, v.unit) for v in series.variables] == [("glucose", "mg/dL")]
    np.testing.assert_array_equal(series.values[:4, 0], [100, 101, 102, 103])
    assert series.targets[0].tolist() == [105, 109] and series.static is None
    assert series.patient is not None and series.patient.tolist() == ["p1"] * 11 + ["p2"] * 11
    assert series.names is not None and series.names[0] == "p1 at 15 minutes"
    assert series.task.horizons == (10, 30) and series.task.time_unit == "minutes"
    assert series.origins is not None and series.origins.series.tolist() == [0] * 11 + [1] * 11
    assert series.origins.time[:2].tolist() == [15, 20] and series.origins.value[:2].tolist() == [103, 104]
    path.write_text("\n".join([*lines, "p2,2014-02-03 08:00:12,90,diabetic"]))
    with pytest.raises(UserError, match=r"line 42, column 'time': time goes back in series p2"):
        CGM(path=str(path)).load()
    with pytest.raises(UserError, match="ascending"):
        check(CGM(horizons=(60, 30)))
    path.write_text("id,time,glucose\np,2014-02-03 08:00:12,90\n")
    with pytest.raises(UserError, match="has no column 'gl'"):
        CGM(path=str(path)).load()


def test_as_published(data_dir: Path) -> None:
    path = data_dir / "cgm" / "example_data_hall.csv"
    if not path.exists():
        pytest.skip("cgm is absent from RESEARCH_DATA_DIR")
    source = parse_source("cgm")
    series: Any = source.load()
    frame = pd.read_csv(path, parse_dates=["time"])
    assert len(frame) == 34890 and frame["id"].nunique() == 19
    assert set(series.patient) == set(frame["id"])
    assert [int(note.split()[2]) for note in series.about.notes if "left out" in note] == [34890, 34890]
    left_out = sum(int(note.split()[0]) for note in series.about.notes if "left out" in note)
    assert len(series) == 34890 - left_out == 31139
    values = series.values.reshape(len(series), 24)
    assert np.isnan(values).sum(axis=1).max() == 6 and not np.isnan(series.targets).any()
    # A window taken by hand: the reading that ends it, and the one half an hour later.
    person = frame[frame["id"] == "2133-004"]
    row = int(np.flatnonzero(series.patient == "2133-004")[500])
    minutes = (person["time"] - person["time"].iloc[0]).dt.total_seconds() / 60
    end = float(series.names[row].split()[2])
    at = (minutes - end).abs().argmin()
    later = (minutes - minutes.iloc[at] - 30).abs().argmin()
    assert values[row, -1] == person["gl"].iloc[at] and series.targets[row, 0] == person["gl"].iloc[later]
    split = Split().assign(series)
    people = [set(series.patient[split == name]) for name in SPLITS]
    assert [len(found) for found in people] == [12, 3, 4] and len(set.union(*people)) == 19
