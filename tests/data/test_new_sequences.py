"""Series of new patients: the inputs are those of the training's own, and what is unlike them is said."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from as_trained import check_same, of_test, seen, trained
from series import MadeUp
from wfdb_records import put as put_record

from research.data import (
    CGM,
    CSV,
    Filter,
    Forecast,
    Series,
    SeriesCSV,
    SeriesData,
    SignalFolder,
    Split,
    TableData,
)
from research.data.new_inputs import new_inputs
from research.errors import UserError

SOURCE = SeriesCSV(
    path="vitals.csv",
    patient="id",
    time="hour",
    target="died",
    static=("age", "sex"),
    categorical=("sex",),
    units=("hr=bpm",),
)


def vitals(rows: int = 40) -> pd.DataFrame:
    """Readings of two variables with gaps, age and sex of each patient, and whether they died."""
    random = np.random.default_rng(0)
    lengths = random.integers(2, 9, rows)
    lengths[:2] = 8
    row = np.repeat(np.arange(rows), lengths)
    values = random.normal(100, 20, (len(row), 2)).round(3)
    values[random.random(values.shape) < 0.3] = np.nan
    return pd.DataFrame(
        {
            "id": [f"p{n}" for n in row],
            "hour": np.concatenate([np.sort(random.random(n)).round(4) * 48 for n in lengths]),
            "hr": values[:, 0],
            "bp": values[:, 1],
            "age": random.integers(40, 80, rows)[row],
            "sex": np.where(row % 3 == 0, "f", "m"),
            "died": row // 2 % 2,
        }
    )


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    vitals().to_csv("vitals.csv", index=False)
    return tmp_path


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"impute": "mean", "scaling": "none", "resample": 6.0, "lengths": (4, 9)},
        {"longest": 4, "keep": "last", "scaling": "series"},
        {"resample": 1.0, "longest": 9, "keep": "last", "impute": "mean"},
    ],
    ids=str,
)
def test_the_tests_own_patients_in_a_file_without_answers(here: Path, options: dict[str, Any]) -> None:
    data = SeriesData(source=SOURCE, split=Split(test=0.3), **options)
    prepared, reader = trained(data)
    (here / "vitals.csv").unlink()
    # Columns in another order, one more, and no target.
    new = of_test(prepared, vitals())[["bp", "sex", "hour", "age", "hr", "id"]].assign(ward=3)
    new.to_csv("new.csv", index=False)
    new.to_parquet("new.parquet")
    for name in ("new.csv", "new.parquet"):
        rows = reader.read(f"series:{name}")
        check_same(prepared, reader, rows)
        # Series of at most 8 samples are cut where they are more than 9 bins.
        assert any("were cut to" in note for note in rows.notes) == ("longest" in options)
        assert not [note for note in rows.notes if "cut" not in note and "outside" not in note]
    # What stands once may stand in a table of its own.
    new.drop(columns=["age", "sex"]).to_csv("new.csv", index=False)
    new.drop_duplicates("id")[["id", "age", "sex"]].to_csv("beside.csv", index=False)
    check_same(prepared, reader, reader.read("series:new.csv", "beside.csv"))


def test_a_row_for_each_value(here: Path) -> None:
    frame = vitals().melt(["id", "hour", "died"], ["hr", "bp"], "what", "much").dropna()
    frame.sort_values(["id", "hour"]).to_csv("long.csv", index=False)
    source = SeriesCSV(path="long.csv", patient="id", time="hour", target="died", variable="what", value="much")
    prepared, reader = trained(SeriesData(source=source, split=Split(test=0.3)))
    new = of_test(prepared, frame.sort_values(["id", "hour"])).drop(columns="died")
    new.to_csv("new.csv", index=False)
    check_same(prepared, reader, reader.read("series:new.csv"))
    # Nobody need have been measured for everything; what is unknown is said, what is only misspelt is an error.
    new[new["what"] == "hr"].replace("hr", "hr").assign(what=lambda f: f["what"]).to_csv("new.csv", index=False)
    assert "no row is of bp: not measured" in reader.read("series:new.csv").notes
    other = new.assign(what=np.where(np.arange(len(new)) % 5 == 0, "lactate", new["what"]))
    other.to_csv("new.csv", index=False)
    assert "not known to the run, and not looked at: lactate" in reader.read("series:new.csv").notes
    new.replace("bp", "BP ").to_csv("new.csv", index=False)
    with pytest.raises(UserError, match=r"lacks the variable 'bp'.*Did you mean 'BP'.*has: BP, hr"):
        reader.read("series:new.csv")


def test_what_is_unlike_the_training_is_noted(here: Path) -> None:
    _, reader = trained(SeriesData(source=SOURCE, split=Split(test=0.3)))
    text = "id,hour,hr,bp,age,sex\nx,0,9000,,50,f\nx,1,,100,50,f\ny,0,,,50,f\nz,0,80,90,1000,other\n"
    Path("new.csv").write_text(text)
    new = reader.read("series:new.csv")
    assert new.count == 2 and new.columns["patient"].tolist() == ["x", "z"]
    notes = "\n".join(new.notes)
    assert "1 of 3 series have no value at all and are left out" in notes
    assert "sex: 1 of 3 series have a category that the training had not ('other'): it counts as none of f, m" in notes
    assert "hr: 1 of 2 values lie outside the range" in notes and "age: 1 of 2 values lie outside" in notes
    assert "bp: " not in notes
    static = new.read(np.arange(2, dtype=np.int32))["static"]
    np.testing.assert_array_equal(static, np.float32([[50, 1, 0], [1000, 0, 0]]))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,hour,HR,bp,age,sex\nx,0,1,2,3,f\n", r"new.csv lacks 1 of the 6 columns .*: hr. Did you mean 'HR'\? Its c"),
        (
            "id,hour,hr,bp,age\nx,0,1,2,3\n",
            r"lacks 1 of the 6 columns .*: sex.* sex may also stand in a table",
        ),
        ("id,hour,hr,bp,age,sex\nx,0,1,2,3,f\nx,1,high,2,3,f\n", r"new.csv, line 3, column 'hr': 'high' is not a fin"),
        ("id,hour,hr,bp,age,sex\nx,1,1,2,3,f\nx,0,1,2,3,f\n", r"line 3, column 'hour': time goes back in series x"),
        ("id,hour,hr,bp,age,sex\nx,,1,2,3,f\n", r"line 2, column 'hour': the time is missing"),
        ("id,hour,hr,bp,age,sex\nx,1,,,3,f\n", r"no series has a value"),
        (
            "id,hour,hr,bp,age,sex\nw,0,1,1,3,f\n" + "".join(f"x,{n},1,2,3,f\n" for n in range(9)),
            r"more than 8 samples, series x 9. This run takes no longer ones. Shorten it, or train again",
        ),
    ],
)
def test_files_that_the_run_cannot_take(here: Path, text: str, message: str) -> None:
    _, reader = trained(SeriesData(source=SOURCE, split=Split(test=0.3)))
    Path("new.csv").write_text(text)
    with pytest.raises(UserError, match=message):
        reader.read("series:new.csv")


def test_what_must_be_written_is_named(here: Path) -> None:
    _, reader = trained(SeriesData(source=SOURCE, split=Split(test=0.3)))
    needed = r"learnt from series, so write series:FILE, a table with the columns id, hour, hr, bp, age, sex"
    for text in ("csv:new.csv", "new.csv", "series:"):
        with pytest.raises(UserError, match=needed):
            reader.read(text)
    with pytest.raises(UserError, match=r"'new.csv' was not found"):
        reader.read("series:new.csv")
    data = TableData(source=CSV(path="vitals.csv", target="died", drop=("id", "hr", "bp"), categorical=("sex",)))
    table, _ = new_inputs(json.loads(json.dumps(data.prepare().summary())), data)
    with pytest.raises(UserError, match="--beside: this run learnt from a table, beside which it needs nothing"):
        table.read("csv:new.csv", "more.csv")


def test_a_data_json_of_other_code_is_named(here: Path) -> None:
    data = SeriesData(source=SOURCE, split=Split(test=0.3))
    summary = data.prepare().summary()
    del summary["series"]["complete"]
    with pytest.raises(UserError, match=r"data.json: .* not what this version writes \('complete'\)"):
        new_inputs(summary, data)


# Other sources of series ---------------------------------------------------------------------------------------------


def plain(series: Series, rows: list[int], time: bool) -> pd.DataFrame:
    """Series as a table with the columns patient, series, and what they have by name."""
    frames = []
    for row in rows:
        span = series.span(row)
        frame = pd.DataFrame(series.values[span] * np.float32(series.scale), columns=[v.name for v in series.variables])
        steps = np.arange(len(frame)) * series.interval
        if time:
            frame["time"] = steps if series.time is None else series.time[span]
        assert series.patient is not None
        frame["patient"], frame["series"] = series.patient[row], row
        if series.static is not None:
            for variable, value in zip(series.static_variables, series.static[row], strict=True):
                frame[variable.name] = value
        frames.append(frame)
    return pd.concat(frames, ignore_index=True)


@pytest.mark.parametrize(
    ("source", "time", "options"),
    [
        (MadeUp(static=True), True, {}),
        (MadeUp(even=True), False, {"filter": Filter(high=0.4, order=1), "lengths": (8, 12)}),
        (MadeUp(even=True), True, {"resample": 0.25}),
    ],
    ids=str,
)
def test_sources_without_a_layout_of_ones_own(here: Path, source: MadeUp, time: bool, options: Any) -> None:
    class Counts(MadeUp):
        """Whole numbers that stand for twentieths, of which a series has at least 6."""

        def load(self) -> Series:
            series = MadeUp(even=self.even, static=self.static, rows=30).load()
            if not self.even:
                return series
            found = np.round(series.values * 20).astype(np.int16)
            lengths = np.full(30, 12, np.int32)
            chosen = np.resize(np.arange(len(found)), 360)
            return dataclasses.replace(series, values=found[chosen], lengths=lengths, scale=0.05, alike=None)

    data = SeriesData(source=Counts(even=source.even, static=source.static), split=Split(test=0.3), **options)
    prepared, reader = trained(data)
    series = data.source.load()
    assert isinstance(series, Series)
    frame = plain(series, prepared.splits["test"].example.tolist(), time)
    frame.to_parquet("new.parquet")
    new = reader.read("series:new.parquet")
    test = prepared.splits["test"]
    assert new.columns["series"].tolist() == test.example.astype(str).tolist()
    known = seen(prepared.data, test.read(np.arange(len(test))), prepared.task)
    found = seen(reader.data, new.read(np.arange(new.count, dtype=np.int32)), prepared.task)
    for name, expected in known.items():
        np.testing.assert_allclose(found[name], expected, rtol=1e-5, atol=1e-5, err_msg=name)
    if source.even and time:
        frame.loc[5, "time"] += 0.1
        frame.to_parquet("new.parquet")
        with pytest.raises(UserError, match=r"two samples of series \d+ are 0.[46] hours apart.* one every 0.5"):
            reader.read("series:new.parquet")
    if source.even:
        frame.loc[5, "pressure"] = np.nan
        frame.drop(columns="time", errors="ignore").to_parquet("new.parquet")
        with pytest.raises(UserError, match=r"series \d+ has gaps, and the series of the training, .* had none"):
            reader.read("series:new.parquet")


def test_static_variables_that_are_called_as_others_are(here: Path) -> None:
    class Weighed(MadeUp):
        def load(self) -> Series:
            series = MadeUp(static=True).load()
            return dataclasses.replace(series, static_variables=series.variables[:1])

    _, reader = trained(SeriesData(source=Weighed()))
    Path("new.csv").write_text("patient,time,heart rate,pressure,static heart rate\nx,0,1,2,3\n")
    new = reader.read("series:new.csv").read(np.zeros(1, np.int32))
    assert new["values"][0, 0].tolist() == [1, 2] and new["static"].tolist() == [[3]]
    with pytest.raises(UserError, match="columns patient, time, heart rate, pressure, static heart rate"):
        reader.read("pictures:x")


def test_signals_of_a_folder(here: Path) -> None:
    pytest.importorskip("wfdb")
    random = np.random.default_rng(0)
    lines = ["record,who,rhythm"]
    for number in range(12):
        put_record(here / "r", f"n{number}", random.normal(size=(20 + number, 2)).round(3))
        lines.append(f"n{number},p{number},{'flutter' if number % 2 else 'sinus'}")
    Path("r/labels.csv").write_text("\n".join(lines))
    source = SignalFolder(path="r", labels="labels.csv", target="rhythm", positive="flutter", signals=("V1", "I"))
    prepared, reader = trained(SeriesData(source=source, split=Split(test=0.3), impute="mean"))
    names = prepared.splits["test"].names
    assert names is not None
    Path("new/deep").mkdir(parents=True)
    for name in names:
        for end in (".hea", ".dat"):
            (here / "r" / f"{name}{end}").rename(here / "new" / ("deep" if name == names[0] else "") / f"{name}{end}")
    new = reader.read("series:new")
    assert f"deep/{names[0]}" in new.columns["record"]
    new.columns["record"] = np.asarray([name.removeprefix("deep/") for name in new.columns["record"]], object)
    check_same(prepared, reader, new, "record")
    assert reader.read(f"series:new/{names[1]}.hea").columns["record"].tolist() == [names[1]]
    put_record(here / "fast", "x", random.normal(size=(20, 2)).round(3), rate=250)
    with pytest.raises(UserError, match=r"fast: samples are 0.004 seconds apart, and .* one every 0.01"):
        reader.read("series:fast")
    put_record(here / "fast", "x", random.normal(size=(20, 2)).round(3), unit="uV")
    with pytest.raises(UserError, match="signal V1 is in uV, and the run learnt from mV"):
        reader.read("series:fast")
    put_record(here / "fast", "x", random.normal(size=(20, 2)).round(3), leads=("I", "V2"))
    with pytest.raises(UserError, match=r"record .*x has no 'V1'.* It has: I, V2"):
        reader.read("series:fast")
    with pytest.raises(UserError, match="so write series:FOLDER, of WFDB records with the signals V1, I"):
        reader.read("csv:fast")


def test_a_forecast_is_from_the_last_reading(here: Path) -> None:
    glucose = np.random.default_rng(0).normal(100, 20, (8, 12)).round(2)
    lines = [f"p{who},{5 * n},{value}" for who, values in enumerate(glucose) for n, value in enumerate(values)]
    Path("cgm.csv").write_text("\n".join(["id,time,gl", *lines]))
    data = SeriesData(source=CGM(path="cgm.csv", history=3, horizons=(10.0,), gaps=0), split=Split(test=0.25))
    prepared, reader = trained(data)
    test = prepared.splits["test"]
    assert test.names is not None and test.patient is not None
    # Cut off after the fifth reading, with nothing after it; of one the readings stop for too long before the last.
    kept = [line for line in lines if line.split(",")[0] in test.patient and float(line.split(",")[1]) <= 20]
    Path("new.csv").write_text("\n".join(["id,time,gl", *kept, "gappy,0,100", "gappy,40,100"]))
    new = reader.read("series:new.csv")
    assert new.columns["time"].tolist() == [20, 20]
    row = [list(test.names).index(f"{who} at 20 minutes") for who in new.columns["patient"]]
    found, known = new.read(np.arange(2, dtype=np.int32)), test.read(np.asarray(row))
    np.testing.assert_array_equal(found["values"], known["values"])
    assert any("1 of 3 series are left out, such as gappy: there is no reading of gl, or more" in n for n in new.notes)
    Path("new.csv").write_text("id,time,gl\nx,0,100\nx,5,100\n")
    with pytest.raises(UserError, match="nothing can be forecast for any series"):
        reader.read("series:new.csv")
    assert SeriesCSV(path="x", patient="id", target="gl", task="regression", forecast=Forecast()).reads_series()


def test_steps_have_their_number_and_time(here: Path) -> None:
    frame = vitals().assign(stage=lambda f: np.where(f["hr"] > 100, "high", "low"))
    frame.to_csv("vitals.csv", index=False)
    source = SOURCE.replace(target="stage", per_step=True, positive="high", drop=("died",))
    _, reader = trained(SeriesData(source=source, split=Split(test=0.3)))
    Path("new.csv").write_text("id,hour,hr,bp,age,sex\ny,1,1,2,3,f\nx,3,1,2,3,f\ny,4.5,1,,3,f\n")
    steps = reader.read("series:new.csv").steps
    assert steps is not None
    assert steps.row.tolist() == [0, 0, 1] and steps.place.tolist() == steps.columns["step"].tolist() == [0, 1, 0]
    assert steps.columns["time"].tolist() == [1, 4.5, 3]
