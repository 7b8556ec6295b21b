"""A researcher's own series: every layout that is read, and what is said of those that cannot be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from research.data import Forecast, Series, SeriesCSV, SeriesData, Split, Variable, parse_source
from research.errors import UserError
from research.spec import check, from_json, to_json
from research.task import Task

WIDE = "id,hour,hr,bp,age,sex,died\na,0,80,,50,f,1\nb,0,70,110,60,m,\na,1.5,82,120,50,f,\nb,2,?,,60,,0\n"
NAN = float("nan")


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def write(text: str | bytes, name: str = "vitals.csv") -> str:
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return str(path)

    return write


def load(path: str, **options: Any) -> Series:
    source = SeriesCSV(path=path, **{"patient": "id", "time": "hour", "target": "died", **options})
    check(source)
    return source.load()


def fails(message: str, path: str, **options: Any) -> None:
    with pytest.raises(UserError, match=message):
        load(path, **options)


def test_a_column_for_each_variable(write: Any) -> None:
    series = load(write(WIDE), static=("age", "sex"), categorical=("sex",), units=("hr=bpm", "age=years"))
    assert series.variables == (Variable("hr", "bpm"), Variable("bp"))
    assert series.lengths.tolist() == [2, 2] and series.time_unit == "hours"
    np.testing.assert_array_equal(series.values, np.float32([[80, NAN], [82, 120], [70, 110], [NAN, NAN]]))
    np.testing.assert_array_equal(series.time, np.float32([0, 1.5, 0, 2]))
    assert series.targets.tolist() == [1, 0] and series.task.names == ("0", "1")
    assert series.patient is not None and series.patient.tolist() == ["a", "b"]
    assert [v.name for v in series.static_variables] == ["age", "sex=f", "sex=m"]
    assert series.static_variables[0].unit == "years"
    np.testing.assert_array_equal(series.static, np.float32([[50, 1, 0], [60, 0, 1]]))
    chosen = load(write(WIDE), variables=("bp",))
    assert [v.name for v in chosen.variables] == ["bp"] and chosen.values.shape == (4, 1)


def test_a_row_for_each_value(write: Any) -> None:
    text = (
        "id,hour,what,how much,died\na,0,hr,80,1\nb,0,bp,110,0\nb,0,hr,70,0\na,1.5,bp,120,1\na,1.5,hr,82,1\nb,2,hr,,0\n"
    )
    options: dict[str, Any] = {"variable": "what", "value": "how much"}
    series = load(write(text), **options)
    assert [v.name for v in series.variables] == ["bp", "hr"]
    np.testing.assert_array_equal(series.values, np.float32([[NAN, 80], [120, 82], [110, 70], [NAN, NAN]]))
    np.testing.assert_array_equal(series.time, np.float32([0, 1.5, 0, 2]))
    assert series.targets.tolist() == [1, 0]
    ordered = load(write(text), **options, variables=("hr",))
    np.testing.assert_array_equal(ordered.values[:, 0], np.float32([80, 82, 70, NAN]))
    fails("'ph' does not occur in column 'what'.*there are: bp, hr", write(text), **options, variables=("ph",))
    twice = text.replace("b,2,hr,,0", "b,2,hr,5,0\nb,2,hr,7,0")
    fails("line 8: a variable has a second value at one time", write(twice), **options)
    assert load(write(twice), **options, sort=True).values[-1, 1] == 6
    fewer = load(write(text + "c,0,ph,7,0\nc,1,ph,7,0\n"), **options, variables=("hr",))
    assert "1 series have no row of a variable that is chosen and are left out" in fewer.about.notes
    assert not any("that is chosen" in note for note in ordered.about.notes)
    fails(
        "line 4, column 'what': the name of the variable is missing", write(text.replace("0,hr,70", "0,,70")), **options
    )
    fails("name both columns, variable and value", write(text), variable="what")


def test_parquet_is_read_as_text_is(write: Any, tmp_path: Path) -> None:
    text = load(write(WIDE), static=("age", "sex"), categorical=("sex",))
    frame = pd.read_csv(tmp_path / "vitals.csv", na_values="?")
    frame["sex"] = frame["sex"].astype("category")
    frame["id"] = frame["id"].map({"a": 1, "b": 2})
    frame.to_parquet(tmp_path / "vitals.parquet")
    series = load(str(tmp_path / "vitals.parquet"), static=("age", "sex"), categorical=("sex",))
    np.testing.assert_array_equal(series.values, text.values)
    np.testing.assert_array_equal(series.static, text.static)
    np.testing.assert_array_equal(series.targets, text.targets)
    assert series.names is not None and series.names.tolist() == ["1", "2"]
    dated = frame.assign(hour=pd.to_datetime("2024-02-28 22:00") + pd.to_timedelta(frame["hour"], "h"))
    dated.to_parquet(tmp_path / "dated.parquet")
    found = load(str(tmp_path / "dated.parquet"), drop=("age", "sex"))
    np.testing.assert_array_equal(found.time, text.time)
    fails("row 4, column 'hour': time goes back", _parquet(tmp_path, frame.assign(hour=[0, 3, 1, 2])), drop=("sex",))
    fails("column 'sex' holds.*list", _parquet(tmp_path, frame.assign(sex=[[1]] * 4)))
    fails(r"row 1, column 'sex': 'f' is not a finite number", _parquet(tmp_path, frame.assign(sex=["f"] * 4)))
    fails("has no rows", _parquet(tmp_path, frame.iloc[:0]))
    fails("cannot be read as Parquet", write("id,hour", "x.parquet"))


def _parquet(folder: Path, frame: pd.DataFrame) -> str:
    frame.to_parquet(folder / "other.parquet")
    return str(folder / "other.parquet")


def test_times(write: Any) -> None:
    dates = "id,when,hr,y\na,2024-02-28 23:30:00,1,0\na,2024-02-29T00:15:00,2,0\nb,2024-01-01,3,1\n"
    series = load(write(dates), time="when", target="y", time_unit="minutes")
    np.testing.assert_array_equal(series.time, np.float32([0, 45, 0]))
    german = "id,when,hr,y\na,28.02.2024 23:30,1,0\na,01.03.2024 23:30,2,0\nb,01.01.2024 00:00,3,1\n"
    fails(
        r"line 2, column 'when': '28.02.2024 23:30' is neither a number nor a date",
        write(german),
        time="when",
        target="y",
    )
    found = load(write(german), time="when", target="y", time_format="%d.%m.%Y %H:%M", time_unit="days")
    np.testing.assert_array_equal(found.time, np.float32([0, 2, 0]))
    fails("dates can be brought to seconds", write(dates), time="when", target="y", time_unit="weeks")
    even = load(write("id,hr,y\na,1,0\nb,3,1\na,2,0\n"), time=None, target="y", interval=0.5)
    assert even.time is None and even.interval == 0.5 and even.values[:, 0].tolist() == [1, 2, 3]
    epoch = "id,hour,hr,died\na,1700000000,1,0\na,1700000001,2,0\nb,1,3,1\n"
    fails("cannot be told apart in single precision", write(epoch))


def test_times_that_rounding_would_move(write: Any, tmp_path: Path) -> None:
    """Seconds since 1970, five minutes apart: in single precision 256 or 384 seconds."""
    hours = 1.7e9 + 300.0 * np.arange(12)
    wide = pd.DataFrame({"id": "a", "hour": hours, "hr": np.arange(12), "died": 1})
    wide = pd.concat([wide, wide.assign(id="b", died=0)])
    message = "the time 1.?700.* becomes 1.?700.*where samples are 300 apart .*subtract the first time of each series"
    fails(message, write(wide.to_csv(index=False, float_format="%.0f")))
    fails(message, _parquet(tmp_path, wide))
    long = wide.assign(what="hr").rename(columns={"hr": "much"})
    fails(message, _parquet(tmp_path, long), variable="what", value="much")
    near = _parquet(tmp_path, wide.assign(hour=wide["hour"] - 1.7e9))
    series = load(near)
    assert series.time is not None and (np.diff(series.time[:12]) == 300).all()
    # As dates they count from the first one of each series.
    dated = load(_parquet(tmp_path, wide.assign(hour=pd.to_datetime(wide["hour"], unit="s"))), time_unit="seconds")
    np.testing.assert_array_equal(dated.time, series.time)
    # A time of its own between two series says nothing about the samples of either.
    assert len(load(write("id,hour,hr,died\na,1700000000,1,0\nb,5,3,1\n"))) == 2


def test_sorting(write: Any) -> None:
    back = "id,hour,hr,bp,died\na,0,1,,1\nb,5,9,9,0\na,4,2,,1\na,3,3,8,1\n"
    fails(
        r"line 5, column 'hour': time goes back in series a, from 4 \(line 4\) to 3. Put the rows in the order of time",
        write(back),
    )
    np.testing.assert_array_equal(load(write(back), sort=True).values[:3, 0], [1, 3, 2])
    still = back.replace("a,3,3,8", "a,4,3,8")
    fails(r"line 5, column 'hour': time stands still in series a, from 4 \(line 4\) to 4", write(still))
    merged = load(write(still), sort=True)
    np.testing.assert_array_equal(merged.values, np.float32([[1, NAN], [2.5, 8], [9, 9]]))
    assert "1 times several rows stand at one time: their mean is taken" in merged.about.notes


def test_a_class_at_each_row(write: Any) -> None:
    text = "id,hour,hr,stage\na,0,1,wake\nb,0,2,rem\na,1,3,\na,2,4,rem\nb,1,5,wake\nc,0,6,\n"
    series = load(write(text), target="stage", positive="rem", per_step=True)
    assert series.task.per_step and series.task.names == ("wake", "rem")
    assert series.targets.tolist() == [[0, -1, 1], [1, 0, -1]] and series.targets.dtype == np.int32
    assert "1 of 3 series have no label at any step and are left out" in series.about.notes
    fails("there may be a class", write(text), target="stage", per_step=True, task="regression")
    fails("remove labels and forecast", write(text), target="stage", per_step=True, labels="x.csv")


def test_forecast(write: Any) -> None:
    rows = "".join(f"{who},{5 * n},{n + 100 * (who == 'b')},{n},60\n" for who in "ab" for n in range(7))
    path = write("id,hour,glucose,steps,age\n" + rows)
    spec = Forecast(history=3, horizons=(5.0, 15.0), interval=5.0)
    options: dict[str, Any] = {"target": "glucose", "task": "regression", "forecast": spec, "time_unit": "minutes"}
    series = load(path, **options, static=("age",), unit="mg/dL")
    assert series.task.names == ("5 minutes", "15 minutes") and series.task.unit == "mg/dL"
    assert series.lengths.tolist() == [3] * 4 and [v.name for v in series.variables] == ["glucose", "steps"]
    np.testing.assert_array_equal(series.values[:3], [[0, 0], [1, 1], [2, 2]])
    assert series.targets.tolist() == [[3, 5], [4, 6], [103, 105], [104, 106]]
    assert series.patient is not None and series.patient.tolist() == ["a", "a", "b", "b"]
    assert series.static is not None and series.static.shape == (4, 1)
    assert "4 of 14 windows are left out: too many readings are absent from their history" in series.about.notes
    # Without patients the windows of a series stay together all the same.
    alone = load(path, **options, patient=None, series="id")
    assert alone.patient is not None and alone.patient.tolist() == ["a", "a", "b", "b"]
    fails("one of which is forecast: glucose, steps", path, **{**options, "target": "weight"}, drop=("age",))
    fails("set task='regression'", path, **{**options, "task": "binary"})
    fails("no window is complete", path, **{**options, "forecast": spec.replace(history=20)}, drop=("age",))


def test_labels_in_another_table(write: Any) -> None:
    path = write("stay,id,hour,hr\n1,a,0,80\n1,a,1,81\n2,a,0,70\n3,b,0,60\n4,b,0,50\n")
    write("stay,died,age,set\n3,no,60,train\n1,yes,50,test\n2,no,51,test\n9,yes,1,train\n", "outcomes.csv")
    options: dict[str, Any] = {"series": "stay", "labels": "outcomes.csv", "static": ("age",), "split": "set"}
    fails("has no row for 1 of 4 series, such as '4'", path, **options)
    fails("has no row for 1 of 4 series, such as '4'", path, series="stay", labels="outcomes.csv", unlabelled="error")
    write("stay,id,hour,hr\n1,a,0,80\n1,a,1,81\n2,a,0,70\n3,b,0,60\n")
    series = load(path, **options)
    assert "1 of 4 rows of outcomes.csv are of no series of vitals.csv" in series.about.notes
    assert series.targets.tolist() == [1, 0, 0] and series.task.names == ("no", "yes")
    assert series.split is not None and series.split.tolist() == ["test", "test", "train"]
    assert series.patient is not None and series.patient.tolist() == ["a", "a", "b"]
    assert series.static is not None and series.static[:, 0].tolist() == [50, 51, 60]
    write("stay,died\n3,no\n1,yes\n", "outcomes.csv")
    some = load(path, series="stay", labels="outcomes.csv", unlabelled="drop")
    assert not any("no series of" in note for note in some.about.notes)
    assert some.row.tolist() == [0, 2] and "1 of 3 series have no target and are left out" in some.about.notes
    write("stay,died\n3,no\n1,yes\n2,no\n1,no\n", "outcomes.csv")
    fails(
        "outcomes.csv, line 5, column 'stay': '1' stands on line 3 already", path, series="stay", labels="outcomes.csv"
    )
    write("stay,died\nx,no\n", "outcomes.csv")
    fails("no stay of .* occurs in column 'stay', which holds 'x'", path, series="stay", labels="outcomes.csv")
    fails("labels: .* has no column 'id'", path, labels="outcomes.csv", variables=("hr",))


def test_times_to_an_event(write: Any) -> None:
    path = write("id,hour,hr\na,0,80\na,1,81\nb,0,70\nc,0,60\n")
    write("id,days,end\nb,12,alive\na,3.5,dead\n", "outcomes.csv")
    options: dict[str, Any] = {"target": ("days", "end"), "task": "survival", "labels": "outcomes.csv", "unit": "days"}
    series = load(path, **options, positive="dead", unlabelled="drop")
    assert series.targets.tolist() == [[3.5, 1], [12, 0]] and series.targets.dtype == np.float32
    assert series.task == Task("survival", ("end",), "days") and "event: end dead" in series.about.notes
    fails("outcomes.csv, line 3, column 'end': 'dead' is no event", path, **options, unlabelled="drop")
    fails("two columns, that of the time and that of the event", path, **{**options, "target": "end"})


def test_what_has_no_value_or_no_target(write: Any) -> None:
    series = load(write(WIDE + "c,0,,,1,f,1\n"), drop=("age", "sex"))
    assert "1 of 3 series have no value at all and are left out" in series.about.notes and len(series) == 2
    unknown = write(WIDE + "c,0,1,,1,f,\n")
    fails("line 6, column 'died': the target is missing", unknown, drop=("age", "sex"))
    kept = load(unknown, drop=("age", "sex"), unlabelled="drop")
    assert kept.row.tolist() == [0, 1] and "1 of 3 series have no target and are left out" in kept.about.notes


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        (WIDE, {"patient": "patient"}, "patient: .*vitals.csv has no column 'patient'"),
        (WIDE, {"time": "hours"}, "time: .* has no column 'hours'. Did you mean 'hour'"),
        (WIDE, {"target": "dead"}, "target: .* has no column 'dead'. Did you mean 'died'"),
        (WIDE, {"target": None}, "needs a target column"),
        (WIDE, {"patient": None}, "name the column of the patient"),
        (WIDE, {"variables": ("hr", "died")}, "variables: column 'died' is target already"),
        (WIDE, {"categorical": ("sex",)}, "'sex' is not among the static columns"),
        (WIDE, {"units": ("hr",), "drop": ("sex",)}, "units: 'hr' is not readable"),
        (WIDE, {}, r"line 2, column 'sex': 'f' is not a finite number.*drop=\('sex',\)"),
        (WIDE.replace("82,120", "82,high"), {"drop": ("sex",)}, "line 4, column 'bp': 'high' is not a finite number"),
        (WIDE.replace("82,120", "82,inf"), {"drop": ("sex",)}, "line 4, column 'bp': 'inf' is not a finite number"),
        (WIDE.replace("\na,1.5", "\n\n,1.5"), {"drop": ("sex",)}, "line 5, column 'id': it is missing"),
        (WIDE.replace("a,1.5", "a,"), {"drop": ("sex",)}, "line 4, column 'hour': the time is missing"),
        (WIDE.replace("a,1.5", "a,noon"), {"drop": ("sex",)}, "line 4, column 'hour': 'noon' is not a finite number"),
        (
            WIDE.replace("120,50,f,", "120,50,f,0"),
            {"drop": ("sex",)},
            "line 4, column 'died': '0', but series a has '1' on",
        ),
        (
            WIDE.replace("120,50,", "120,51,"),
            {"static": ("age",), "drop": ("sex",)},
            "column 'age': '51', but series a",
        ),
        (WIDE.replace("\nb,2,?,,60,,0\n", "\nb,2\n"), {"drop": ("sex",)}, "line 5: 2 values where the header names 7"),
        (WIDE.replace("sex", "age"), {}, "the column name 'age' occurs more than once"),
        (b"id,hour,hr,died\na,0,\xff,1\n", {}, "is not utf-8"),
        ("", {}, "is empty"),
        ("id,hour,hr,died\n", {}, "has a header and no rows"),
        ("id,hour,died\na,0,1\n", {}, "no column is left as a variable"),
        (WIDE, {"drop": ("sex",), "positive": "2"}, "positive: '2' matches none of the labels"),
        (WIDE, {"drop": ("sex",), "split": "age"}, "line 2, column 'age': '50' is no split"),
    ],
)
def test_bad_input(write: Any, text: str | bytes, options: dict[str, Any], message: str) -> None:
    fails(message, write(text), **options)


def test_quotes_blank_lines_and_encodings(write: Any) -> None:
    text = '\ufeffid;hour;"größe";died\n\n"a";0;1.5;1\n"b";0;"2.5";0\n\n'
    series = load(write(text), delimiter=";")
    assert series.values[:, 0].tolist() == [1.5, 2.5] and series.variables[0].name == "größe"
    latin = load(write(text[1:].encode("latin-1")), delimiter=";", encoding="latin-1")
    assert latin.variables[0].name == "größe"
    fails("No such|not found|was not found", "absent.csv")


def test_on_the_command_line_and_prepared(write: Any) -> None:
    rows = "".join(f"p{n},{t},{n % 2 + t},{n % 2}\n" for n in range(20) for t in range(1 + n % 3))
    path = write("id,hour,hr,died\n" + rows)
    source = parse_source(f"series_csv:{path}?patient=id&time=hour&target=died")
    assert source == SeriesCSV(path=path, patient="id", time="hour", target="died")
    assert from_json(to_json(source)) == source
    prepared = SeriesData(source=source, split=Split(test=0.25)).prepare()
    assert prepared.patients_known and sum(map(len, prepared.splits.values())) == 20
    inputs = prepared.splits["train"].read(np.arange(2))
    assert inputs["values"].shape == (2, 3, 1)
