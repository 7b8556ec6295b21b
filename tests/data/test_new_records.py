"""Records of new patients: the inputs are those of the training's own, and what is unlike them is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from as_trained import check_same, of_test, trained

from research.data import MEDS, EventData, Split, SyntheticRecords
from research.errors import UserError

START = pd.Timestamp("2150-01-01 08:00")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def meds(patients: int = 30) -> pd.DataFrame:
    """Records of a few codes, some with numbers, a birth each, and a gender without a time."""
    random = np.random.default_rng(0)
    rows: list[tuple[Any, ...]] = []
    for patient in range(patients):
        rows += [(patient, None, "GENDER//F", None), (patient, START - pd.Timedelta(days=20000), "MEDS_BIRTH", None)]
        rows.append((patient, START, "HOSPITAL_ADMISSION//EW", None))
        for hour in np.sort(random.random(random.integers(3, 12))) * 200:
            code = "LAB//" + "abc"[random.integers(3)]
            rows.append((patient, START + pd.Timedelta(hours=hour), code, random.normal() if code[-1] == "a" else None))
    frame = pd.DataFrame(rows, columns=["subject_id", "time", "code", "numeric_value"])
    return frame.assign(time=pd.to_datetime(frame["time"]), numeric_value=frame["numeric_value"].astype("float32"))


def judged(frame: pd.DataFrame) -> pd.DataFrame:
    """Each patient four days after the start."""
    patients = frame["subject_id"].unique()
    moment = START + pd.Timedelta(days=4)
    return pd.DataFrame({"subject_id": patients, "prediction_time": moment, "boolean_value": patients % 2 == 0})


@pytest.mark.parametrize("options", [{"longest": 6}, {"values": "scaled", "lengths": (8, 16), "longest": 16}], ids=str)
def test_records_up_to_a_time(here: Path, options: dict[str, Any]) -> None:
    frame = meds()
    frame.to_parquet("events.parquet")
    judged(frame).to_parquet("labels.parquet")
    data = EventData(source=MEDS(path="events.parquet", labels="labels.parquet"), split=Split(test=0.3), **options)
    prepared, reader = trained(data)
    for name in ("events.parquet", "labels.parquet"):
        Path(name).unlink()
    new = of_test(prepared, frame, "subject_id")
    Path("new").mkdir()
    new[: len(new) // 2].to_parquet("new/1.parquet")
    new[len(new) // 2 :].to_parquet("new/2.parquet")
    judged(new).drop(columns="boolean_value").to_parquet("times.parquet")
    rows = reader.read("records:new", "times.parquet")
    check_same(prepared, reader, rows)
    assert (rows.columns["prediction_time"] == np.datetime64(START + pd.Timedelta(days=4))).all()
    # Without times: up to the last event, which is the same where nothing comes after that time.
    new[~(new["time"] > START + pd.Timedelta(days=4))].to_parquet("before.parquet")
    before = reader.read("records:before.parquet")
    check_same(prepared, reader, before)
    assert (before.columns["prediction_time"] <= rows.columns["prediction_time"]).all()
    later = reader.read("records:new")
    assert (later.columns["prediction_time"] >= before.columns["prediction_time"]).all()
    lengths = [each.read(np.arange(each.count, dtype=np.int32))["length"] for each in (before, later)]
    assert (lengths[1] >= lengths[0]).all() and (options["longest"] == 6 or (lengths[1] > lengths[0]).any())


def test_codes_that_train_does_not_have_are_counted(here: Path) -> None:
    frame = meds()
    frame.to_parquet("events.parquet")
    judged(frame).to_parquet("labels.parquet")
    source = MEDS(path="events.parquet", labels="labels.parquet")
    _, reader = trained(EventData(source=source, split=Split(test=0.3)))
    new = frame[frame["subject_id"] == 1].assign(code=lambda f: f["code"].str.replace("LAB//b", "DRUG//b"))
    undated = pd.DataFrame({"subject_id": [99], "time": [pd.NaT], "code": ["GENDER//F"], "numeric_value": [np.nan]})
    pd.concat([new, undated]).to_parquet("new.parquet")
    rows = reader.read("records:new.parquet")
    count = int((new["code"] == "DRUG//b").sum())
    told = rf"{count} of {len(new) - 1} events have a code that is not in the vocabulary of train (DRUG//b): they count"
    assert count and any(note.startswith(told) for note in rows.notes)
    assert "1 patients have no event with a time: left out." in rows.notes
    times = pd.DataFrame({"subject_id": [1, 1, 98], "prediction_time": [START - pd.Timedelta(days=1), START, START]})
    times.to_parquet("times.parquet")
    rows = reader.read("records:new.parquet", "times.parquet")
    assert rows.count == 1 and rows.columns["prediction_time"].tolist() == np.asarray([START], "M8[us]").tolist()
    assert "1 of 2 records have no event by their moment: left out." in rows.notes
    assert "1 of 3 rows are of patients without any event: left out." in rows.notes
    with pytest.raises(UserError, match="learnt from records of events, so write records:FILE or records:FOLDER"):
        reader.read("series:new.parquet")
    times.drop(columns="prediction_time").to_parquet("times.parquet")
    with pytest.raises(UserError, match=r"times.parquet: column 'prediction_time' is missing"):
        reader.read("records:new.parquet", "times.parquet")


def test_records_of_a_catalogue_source_at_each_event(here: Path) -> None:
    source = SyntheticRecords(patients=60, task="next_code")
    data = EventData(source=source, split=Split(test=0.3), longest=30)
    prepared, reader = trained(data)
    events = source.load()
    frames = []
    for row in prepared.splits["test"].example.tolist():
        span = events.span(row)
        time = START + pd.to_timedelta(np.round(events.time[span].astype(np.float64) * 86400e6), "us")
        codes = np.asarray(events.vocabulary, object)[events.codes[span]]
        birth = START - pd.Timedelta(days=1) * 365.25 * float(events.age[events.starts[row]])
        assert events.patient is not None
        frames.append(
            pd.DataFrame(
                {
                    "subject_id": events.patient[row],
                    "time": [birth, *time],
                    "code": ["MEDS_BIRTH", *codes],
                    "numeric_value": np.concatenate([[np.nan], events.number[span]]).astype(np.float32),
                }
            )
        )
    pd.concat(frames).to_parquet("new.parquet")
    new = reader.read("records:new.parquet")
    check_same(prepared, reader, new)
    assert new.steps is not None
    # Of a record that is cut the last events are kept, under the numbers that they have in it.
    lengths = events.lengths[prepared.splits["test"].example]
    whole = dict(zip(prepared.splits["test"].patient, lengths, strict=True))
    last = (
        pd.DataFrame({"patient": new.columns["patient"][new.steps.row]} | new.steps.columns).groupby("patient").last()
    )
    assert all(row.step == whole[patient] - 1 for patient, row in last.iterrows()) and max(lengths) > 30
    assert set(last["code"]) <= set(events.vocabulary)
