"""MEDS: nothing after the prediction time enters, the ready tasks say what they promise, and bad tables are named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from research.data.events import Events
from research.data.formats.meds import ADMISSION, DISCHARGE, MEDS
from research.errors import UserError
from research.spec import check
from research.task import NO_LABEL

DAY = pd.Timedelta(days=1)
START = pd.Timestamp("2150-01-01 08:00")


def events_of(patient: int, stay: float, codes: str) -> list[dict[str, Any]]:
    """Born 50 years before, admitted at the start, a code every six hours, discharged after ``stay`` days."""
    rows: list[dict[str, Any]] = [
        {"time": None, "code": "GENDER//F"},
        {"time": START - 50 * 365.25 * DAY, "code": "MEDS_BIRTH"},
        {"time": START, "code": "HOSPITAL_ADMISSION//EW"},
    ]
    rows += [
        {"time": START + (k + 1) * DAY / 4, "code": f"LAB//{c}//mg", "numeric_value": k} for k, c in enumerate(codes)
    ]
    rows.append({"time": START + stay * DAY, "code": "HOSPITAL_DISCHARGE//HOME"})
    return [{"subject_id": patient, "numeric_value": None} | row for row in rows]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    rows = events_of(7, 9, "abcab") + events_of(3, 2, "ba") + events_of(5, 0.5, "a")
    # Shuffled, so that nothing hangs on the order of the file.
    frame = pd.DataFrame(rows).sample(frac=1, random_state=0)
    frame["time"] = pd.to_datetime(frame["time"])
    frame["numeric_value"] = frame["numeric_value"].astype("float32")
    frame.to_parquet(tmp_path / "events.parquet")
    return tmp_path / "events.parquet"


def codes(events: Events, row: int) -> list[str]:
    return [events.vocabulary[code] for code in events.codes[events.span(row)]]


def test_a_record_is_what_is_known_up_to_its_moment(file: Path) -> None:
    found = MEDS(path=str(file), task="long_stay").load()
    assert found.patient is not None and found.patient.tolist() == ["3", "7"]
    assert found.targets.tolist() == [0, 1] and found.task.names == ("short stay", "longer than 7 days")
    assert codes(found, 1) == ["GENDER//F", "HOSPITAL_ADMISSION//EW", *(f"LAB//{c}//mg" for c in "abca")]
    place = found.span(1)
    np.testing.assert_allclose(found.time[place], [0, 0, 0.25, 0.5, 0.75, 1])
    np.testing.assert_allclose(found.age[place], 50 + np.asarray([0, 0, 0.25, 0.5, 0.75, 1]) / 365.25, rtol=1e-6)
    np.testing.assert_array_equal(found.number[place], [np.nan, np.nan, 0, 1, 2, 3])
    np.testing.assert_array_equal(found.visit[place], [0, 1, 1, 1, 1, 1])
    assert "1 of 3 stays are left out: that had ended 24 hours after they began." in found.about.notes


def test_nothing_after_the_prediction_time_enters(file: Path, tmp_path: Path) -> None:
    """A planted event a microsecond after the moment changes nothing; one at the moment enters."""
    frame = pd.read_parquet(file)
    moment = START + DAY
    table = pd.DataFrame({"subject_id": [7, 3], "prediction_time": [moment] * 2, "boolean_value": [True, False]})
    table.to_parquet(tmp_path / "labels.parquet")
    source = MEDS(path=str(file), labels=str(tmp_path / "labels.parquet"))
    before = source.load()
    planted = pd.DataFrame({"subject_id": [7], "time": [moment + pd.Timedelta(microseconds=1)], "code": ["LEAK"]})
    pd.concat([frame, planted.assign(numeric_value=np.float32(1))]).to_parquet(file)
    after = source.load()
    assert before.targets.tolist() == after.targets.tolist() == [1, 0]
    for name in ("lengths", "time", "visit", "age", "number"):
        np.testing.assert_array_equal(getattr(before, name), getattr(after, name))
    assert [codes(before, row) for row in (0, 1)] == [codes(after, row) for row in (0, 1)]
    pd.concat([frame, planted.assign(time=moment, numeric_value=np.float32(1))]).to_parquet(file)
    assert "LEAK" in codes(source.load(), 0)


def test_length_of_stay_is_in_days(file: Path) -> None:
    found = MEDS(path=str(file), task="length_of_stay", hours=6).load()
    assert found.targets[:, 0].tolist() == [2, 0.5, 9] and found.task.unit == "days"


def test_next_code_is_that_of_the_next_event(file: Path) -> None:
    found = MEDS(path=str(file), task="next_code", classes=2).load()
    assert found.task.per_step and found.task.names[-1] == "other" and len(found.task.names) == 3
    assert found.task.names[0] == "LAB//a"
    for row in range(len(found)):
        kinds = ["//".join(code.split("//")[:2]) for code in codes(found, row)]
        targets = found.targets[row, : len(kinds)]
        assert targets[-1] == NO_LABEL and (found.targets[row, len(kinds) :] == NO_LABEL).all()
        # The gender is known before the admission, and the admission is no target.
        assert kinds[0] == "GENDER//F" and targets[0] == NO_LABEL
        expected = [kind if kind in found.task.names else "other" for kind in kinds[2:]]
        assert [found.task.names[target] for target in targets[1:-1]] == expected


def test_an_event_is_the_target_of_its_own_stay_alone(tmp_path: Path) -> None:
    """Two stays and an event between them; the second begins the moment the first ends."""

    def row(day: float, code: str) -> dict[str, Any]:
        return {"subject_id": 1, "time": START + day * DAY, "code": code, "numeric_value": 1.0}

    rows = [row(0, ADMISSION), row(1, "a"), row(2, DISCHARGE), row(3, "b"), row(4, ADMISSION), row(5, "c")]
    rows += [row(6, DISCHARGE), row(6, ADMISSION), row(6, "d"), row(7, "e"), row(8, DISCHARGE), row(9, ADMISSION)]
    place = tmp_path / "events.parquet"
    pd.DataFrame(rows).to_parquet(place)
    found = MEDS(path=str(place), task="next_code").load()
    names = [[found.task.names[t] if t != NO_LABEL else None for t in targets] for targets in found.targets]
    assert found.lengths.tolist() == [3, 9, 11]
    assert names[0] == ["a", DISCHARGE, *[None] * 9]
    assert names[1] == [*[None] * 4, "c", DISCHARGE, ADMISSION, "d", None, None, None]
    assert names[2] == [*[None] * 8, "e", DISCHARGE, None]
    assert any("each of them once" in note for note in found.about.notes)
    assert any("the most frequent targets of all patients" in note for note in found.about.notes)
    # Read up to the last two events, only the last one of a record can be a target.
    short = MEDS(path=str(place), task="next_code", most=3).load()
    assert (short.targets != NO_LABEL).sum(axis=1).tolist() == [2, 2, 2]


def test_stays_without_a_target_are_counted_and_left_out(tmp_path: Path) -> None:
    """All of the second stay happens at the time of the first discharge, in whose record it is."""
    codes = ["a", ADMISSION, "a", "b", DISCHARGE, ADMISSION, DISCHARGE]
    times = [START, *[START + DAY] * 2, *[START + 2 * DAY] * 4]
    place = tmp_path / "events.parquet"
    pd.DataFrame({"subject_id": 1, "time": times, "code": codes, "numeric_value": 1.0}).to_parquet(place)
    found = MEDS(path=str(place), task="next_code").load()
    assert len(found) == 1 and (found.targets != NO_LABEL).sum() == 5
    assert "1 of 2 stays have no event that is a target: left out." in found.about.notes
    with pytest.raises(UserError, match="no stay has an event after its admission; raise most, 1"):
        MEDS(path=str(place), task="next_code", most=1).load()


def test_stays_without_times_are_not_said_to_have_ended(file: Path) -> None:
    undated = {"subject_id": [9, 9], "time": [pd.NaT, pd.NaT], "code": [ADMISSION, DISCHARGE], "numeric_value": [1, 1]}
    frame = pd.concat([pd.read_parquet(file), pd.DataFrame(undated)])
    frame.assign(numeric_value=frame["numeric_value"].astype("float32")).to_parquet(file)
    for source, ended in ((MEDS(task="next_code"), 0), (MEDS(task="long_stay"), 1)):
        notes = source.replace(path=str(file)).load().about.notes
        assert "1 of 4 stays are left out: whose admission or discharge has no time." in notes
        assert sum("had ended" in note for note in notes) == ended


def test_labels_of_each_type_make_their_task(file: Path, tmp_path: Path) -> None:
    place = tmp_path / "labels.parquet"
    table = pd.DataFrame({"subject_id": [7, 3, 5], "prediction_time": [START + DAY / 4] * 3})
    cases = {
        "categorical_value": (["home", "ward", "home"], "binary", ("home", "ward")),
        "integer_value": ([2, 0, 1], "multiclass", ("0", "1", "2")),
        "float_value": ([1.5, 2, 3], "regression", ("label",)),
    }
    for name, (values, kind, names) in cases.items():
        table.assign(**{name: values}).to_parquet(place)
        found = MEDS(path=str(file), labels=str(place)).load()
        assert (found.task.kind, found.task.names) == (kind, names)


def test_records_without_events_are_counted_and_left_out(file: Path, tmp_path: Path) -> None:
    place = tmp_path / "labels.parquet"
    early = START - DAY
    table = {"subject_id": [7, 3, 99], "prediction_time": [START, early, START], "boolean_value": [True, False, True]}
    pd.DataFrame(table).to_parquet(place)
    found = MEDS(path=str(file), labels=str(place)).load()
    assert len(found) == 1 and found.row.tolist() == [0]
    assert "1 of 2 records have no event by their moment: left out." in found.about.notes
    assert "1 of 3 labels are of patients without any event: left out." in found.about.notes


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.rename(columns={"code": "codes"}), "column 'code' is missing. Did you mean 'codes'"),
        (lambda f: f.rename(columns={"numeric_value": "x"}), "the column of numeric values is missing"),
        (lambda f: f.assign(time=f["time"].astype(str)), "column 'time' must hold a timestamp, and holds"),
        (lambda f: f.assign(code=1), "column 'code' must hold text, and holds int64"),
        (
            lambda f: f.assign(numeric_value=["1.5", "positive", *[None] * (len(f) - 2)]),
            "column 'numeric_value' must hold numbers, and holds",
        ),
        (lambda f: f.iloc[:0], "there are no events"),
        (lambda f: f.assign(code=[None, *f["code"].iloc[1:]]), "event 0 has no code or no subject_id .1 in all"),
    ],
)
def test_wrong_columns_and_types_are_named(file: Path, change: Any, message: str) -> None:
    change(pd.read_parquet(file)).to_parquet(file)
    with pytest.raises(UserError, match=message):
        MEDS(path=str(file), task="long_stay").load()


def test_files_that_are_no_tables_are_named(tmp_path: Path) -> None:
    (tmp_path / "events.parquet").write_bytes(b"no table")
    with pytest.raises(UserError, match="this is not a readable Parquet file"):
        MEDS(path=str(tmp_path / "events.parquet"), task="long_stay").load()
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no Parquet file is in this folder"):
        MEDS(path=str(tmp_path / "empty"), task="long_stay").load()


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"prediction_time": [START]}, "one column of labels is needed, .*; none was found"),
        (
            {"prediction_time": [START], "boolean_value": [True], "float_value": [1.0]},
            "boolean_value and float_value was",
        ),
        ({"boolean_value": [True]}, "column 'prediction_time' is missing"),
        ({"prediction_time": [pd.NaT], "boolean_value": [True]}, "row 0 lacks a patient, a time or a label"),
    ],
)
def test_wrong_tables_of_labels_are_named(file: Path, tmp_path: Path, table: dict[str, Any], message: str) -> None:
    place = tmp_path / "labels.parquet"
    pd.DataFrame({"subject_id": [7]} | table).to_parquet(place)
    with pytest.raises(UserError, match=message):
        MEDS(path=str(file), labels=str(place)).load()


def test_labels_are_asked_for_where_they_are_needed() -> None:
    with pytest.raises(UserError, match="labels: a table is needed for task=labels"):
        check(MEDS())
    with pytest.raises(UserError, match="labels: a table is of no use for task=next_code"):
        check(MEDS(task="next_code", labels="labels.parquet"))


def test_the_demo_of_mimic_iv_has_its_published_size(data_dir: Path) -> None:
    found = MEDS(task="long_stay").load()
    assert found.about.licence == "ODbL 1.0"
    assert found.patient is not None and len(np.unique(found.patient)) <= 100 and len(found) == 275 - 1 - 31
