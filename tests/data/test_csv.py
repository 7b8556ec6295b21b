"""CSV files as people have them, and what is said of those that cannot be read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from research.data import CSV, Split, TableData, parse_source, read_new
from research.errors import UserError
from research.spec import check, from_json, to_json
from research.task import Task

GOOD = "age, sex ,bp,disease\n63,m,120,1\n41, f ,130,0\n55,m,,0\n"


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def write(text: str | bytes, name: str = "data.csv") -> str:
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return str(path)

    return write


def _fails(message: str, **options: Any) -> None:
    with pytest.raises(UserError, match=message):
        _load(CSV(**options))


def _load(source: CSV) -> None:
    check(source)
    source.load()


def test_padding_gaps_and_categories(write: Any) -> None:
    table = CSV(path=write(GOOD), target="disease", categorical=("sex",)).load()
    assert list(table.frame) == ["age", "sex", "bp"]
    assert table.frame["age"].tolist() == [63, 41, 55]
    assert table.frame["sex"].tolist() == ["m", "f", "m"]
    assert table.frame["bp"].isna().tolist() == [False, False, True]
    assert [(c.name, c.kind, c.categories) for c in table.columns] == [
        ("age", "numeric", ()),
        ("sex", "categorical", ("f", "m")),
        ("bp", "numeric", ()),
    ]
    assert table.targets.tolist() == [1, 0, 0] and table.targets.dtype == np.int32
    assert table.task.names == ("0", "1")
    assert table.patient is None and table.split is None


def test_no_header_numbers_sentinels_and_positive_rule(write: Any) -> None:
    path = write("1.0,0,?,0\n2.0,5,7,3\n1,6,-9,1\n")
    source = CSV(
        path=path,
        header=False,
        columns=("kind", "glucose", "wbc", "num"),
        target=-1,
        positive=">0",
        categorical=("kind",),
        sentinels=("glucose", "wbc=-9"),
    )
    table = source.load()
    assert table.frame["kind"].tolist() == ["1", "2", "1"]
    np.testing.assert_array_equal(table.frame["glucose"], [np.nan, 5, 6])
    np.testing.assert_array_equal(table.frame["wbc"], [np.nan, 7, np.nan])
    assert table.targets.tolist() == [0, 1, 1]
    assert table.task.names == ("negative", "positive")
    unnamed = CSV(path=path, header=False, target="3", positive=("1", "3")).load()
    assert list(unnamed.frame) == ["0", "1", "2"] and unnamed.targets.tolist() == [0, 1, 1]


def test_byte_order_mark_quotes_delimiter_and_encoding(write: Any) -> None:
    text = '\ufeff"größe";"y"\r\n"1.5";0\r\n2.5;1\r\n\r\n'
    table = CSV(path=write(text), delimiter=";", target="y").load()
    assert table.frame["größe"].tolist() == [1.5, 2.5]
    latin = CSV(path=write("größe,y\n1,0\n2,1\n".encode("latin-1")), target="y")
    with pytest.raises(UserError, match="is not utf-8"):
        latin.load()
    assert list(latin.replace(encoding="latin-1").load().frame) == ["größe"]


@pytest.mark.parametrize(
    ("labels", "options", "targets", "names"),
    [
        (["no", "Yes", "no"], {}, [0, 1, 0], ("no", "Yes")),
        (["M", "B", "M"], {"positive": "M"}, [1, 0, 1], ("B", "M")),
        (["M", "B", "M"], {"classes": ("B", "M")}, [1, 0, 1], ("B", "M")),
        (["0", "2", "1"], {"positive": ">=1", "class_names": ("well", "ill")}, [0, 1, 1], ("well", "ill")),
        (["0.0", "1.0", "1"], {}, [0, 1, 1], ("0", "1")),
        (["0.0", "1.0", "1"], {"classes": ("0.0", "1.0")}, [0, 1, 1], ("0", "1")),
        (["0", "2.0", "1"], {"classes": ("2.0", " 1.0", "0"), "task": "multiclass"}, [2, 0, 1], ("2", "1", "0")),
        (["10", "9", "10"], {"task": "multiclass"}, [1, 0, 1], ("9", "10")),
        (["c", "a", "b"], {"task": "multiclass", "classes": ("c", "b", "a")}, [0, 2, 1], ("c", "b", "a")),
    ],
)
def test_classes(write: Any, labels: list[str], options: Any, targets: list[int], names: tuple[str, ...]) -> None:
    table = CSV(path=write("x,y\n" + "".join(f"1,{label}\n" for label in labels)), target="y", **options).load()
    assert table.targets.tolist() == targets
    assert table.task.names == names


def test_underscores_make_no_number(write: Any) -> None:
    path = write("code,y\n1_05,0\n105,1\n-9,2_0\n")
    table = CSV(path=path, target="y", positive="2_0", categorical=("code",), sentinels=("code=105",)).load()
    assert table.frame["code"].fillna("missing").tolist() == ["1_05", "missing", "-9"]
    _fails(r"compares numbers, but .* has y='2_0'", path=path, target="y", positive=">1", categorical=("code",))
    _fails(r"line 4, column 'y': '2_0' is not", path=path, target="y", task="regression", categorical=("code",))
    _fails(r"'code=1_05' is not readable", path=path, target="y", positive="1", sentinels=("code=1_05",))


def test_regression_and_multilabel_targets(write: Any) -> None:
    path = write("x,a,b\n1,0,1\n2,1,\n")
    labels = CSV(path=path, target=("a", "b"), task="multilabel").load()
    np.testing.assert_array_equal(labels.targets, np.asarray([[0, 1], [1, np.nan]], dtype=np.float32))
    numbers = CSV(path=path, target="a", task="regression", unit="mmol/L", drop=("b",)).load()
    assert numbers.targets.tolist() == [[0.0], [1.0]] and numbers.targets.dtype == np.float32
    assert numbers.task.unit == "mmol/L" and list(numbers.frame) == ["x"]
    _fails("line 3, column 'a'.*2 is no label", path=write("x,a\n1,0\n2,2\n"), target="a", task="multilabel")


TIMES = "x,days,died\n1,10,1\n2,2.5,0.0\n3,NA,1\n4,7,NA\n"


def test_times_to_an_event(write: Any) -> None:
    path, options = write(TIMES), {"target": ("days", "died"), "task": "survival", "unit": "days"}
    table = CSV(path=path, unlabelled="drop", **options).load()
    assert table.targets.tolist() == [[10, 1], [2.5, 0]] and table.targets.dtype == np.float32
    assert table.task == Task("survival", ("died",), "days") and list(table.frame) == ["x"]
    assert "2 of 4 rows have no target and are left out" in table.about.notes
    words = CSV(path=write("x,days,end\n1,3,dead\n2,4,lost\n3,5,alive\n"), target=("days", "end"), task="survival")
    found = words.replace(positive="dead").load()
    assert found.targets[:, 1].tolist() == [1, 0, 0] and "event: end dead" in found.about.notes
    assert parse_source(f"csv:{path}?target=days,died&task=survival&unit=days") == CSV(path=path, **options)


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        (TIMES, {}, "line 4, column 'days': the target is missing, in 2 rows in all"),
        (
            "x,days,died\n1,3,1\n2,-1,0\n",
            {},
            "line 3, column 'days': -1 is no time to an event, which is larger than 0",
        ),
        ("x,days,died\n1,0,1\n2,0,0\n", {}, "line 2, column 'days': 0 is no time to an event.* in 2 rows in all"),
        ("x,days,died\n1,long,1\n", {}, "line 2, column 'days': 'long' is not"),
        ("x,days,died\n1,3,1\n2,3,2\n", {}, "line 3, column 'died': '2' is no event; 1 means that it came"),
        ("x,days,died\n1,3,yes\n", {}, "'yes' is no event; .* such as positive='yes'"),
        ("x,days,died\n1,3,yes\n2,3,no\n", {"positive": "dead"}, "positive: 'dead' matches none of the labels"),
        (TIMES, {"target": "died"}, r"two columns, that of the time .* target=\('days', 'died'\); 'died' was given"),
        (TIMES, {"target": ("days", "days")}, "two columns, that of the time and that of the event"),
        (TIMES, {"class_names": ("alive", "dead")}, "classes: a survival target has none"),
    ],
)
def test_times_and_events_that_are_none(write: Any, text: str, options: dict[str, Any], message: str) -> None:
    _fails(message, **({"path": write(text), "target": ("days", "died"), "task": "survival"} | options))


def test_rows_without_target_are_an_error_or_left_out(write: Any) -> None:
    path = write("x,y\n1,0\n2,NA\n3,1\n")
    _fails(r"line 3, column 'y': the target is missing, in 1 rows.*unlabelled='drop'", path=path, target="y")
    table = CSV(path=path, target="y", unlabelled="drop").load()
    assert table.row.tolist() == [0, 2] and table.targets.tolist() == [0, 1] and table.frame["x"].tolist() == [1, 3]


def test_missing_file_names_both_places(tmp_path: Path, write: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    write(GOOD, "patients.csv")
    monkeypatch.setenv("RESEARCH_DATA_DIR", str(tmp_path))
    _fails(r"looked for patient\.csv and .*patient\.csv\. Did you mean 'patients\.csv'", path="patient.csv", target="y")
    assert len(CSV(path="patients.csv", target="disease", categorical=("sex",)).load()) == 3
    assert len(CSV(path="$RESEARCH_DATA_DIR/patients.csv", target="disease", categorical=("sex",)).load()) == 3
    _fails("is a folder", path=str(tmp_path), target="y")
    monkeypatch.delenv("RESEARCH_DATA_DIR")
    _fails("RESEARCH_DATA_DIR is not set", path="patient.csv", target="y")
    _fails("variable RESEARCH_DATA_DIR is not set", path="$RESEARCH_DATA_DIR/patients.csv", target="y")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("x,y\n", "has a header and no rows"),
        ("x,y\n1,0\n2\n", r"line 3: 1 value where the header names 2.*truncated.*delimiter"),
        ("x,y\n1,0\n2,1,9\n", r"line 3: 3 values where the header names 2"),
        ('x,y\n1,0\n2,"1\n', r"line 3: unexpected end of data.*truncated"),
        ("x,x,y\n1,2,0\n", "line 1: the column name 'x' occurs more than once"),
        ("x,,y\n1,2,0\n", "line 1: column 2 has no name"),
        ("x,y\n1,0\nhigh,1\n", r"line 3, column 'x': 'high' is not a finite number.*categorical=\('x',\).*missing="),
        ("x,y\n1,0\nNaN,1\n", r"line 3, column 'x': 'NaN' is not a finite number"),
        ("x,y\n1,0\n1_05,1\n", r"line 3, column 'x': '1_05' is not a finite number"),
        ("x,y\n1,0\ninf,1\n", r"line 3, column 'x': 'inf' is not a finite number"),
        ("x,y\n1,a\n2,b\n", r"which label of the target 'y' is positive: 'a' \(1\), 'b' \(1\).*positive='b'"),
        ("x,y\n1,0\n2,1\n3,2\n", r"holds 3 different labels: '0' \(1\).*positive='>0'.*task='multiclass'"),
        ("x,y\n1,0\n2,0\n", "holds 1 different labels"),
        ("x,z\n1,0\n", "target: .* has no column 'y'.*Its columns: x, z"),
    ],
)
def test_files_that_are_not_what_is_declared(write: Any, text: str, message: str) -> None:
    _fails(message, path=write(text), target="y")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": None}, "needs a target column.*one of age, sex, bp, disease"),
        ({"target": "diseas"}, "Did you mean 'disease'"),
        ({"target": 9}, "has 4 columns"),
        ({"target": ("age", "disease")}, "one column, 2 were given"),
        ({"classes": ("0", "2")}, r"line 2, column 'disease': '1' is not one of the declared classes 0, 2"),
        ({"classes": ("0", "1", "1.0")}, r"classes: '1\.0' is declared twice"),
        ({"positive": ">5"}, "matches none of the labels"),
        ({"positive": ">0.5.1"}, "matches none of the labels"),
        ({"positive": ">=0"}, "matches every one of the labels"),
        ({"positive": "yes"}, "matches none of the labels.*: 0, 1"),
        ({"drop": ("tim",)}, "drop: .* has no column 'tim'"),
        ({"categorical": ("sx",)}, "categorical: .*Did you mean 'sex'"),
        ({"patient": "id"}, "patient: .* has no column 'id'"),
        ({"patient": "bp"}, r"line 4, column 'bp': the patient is missing"),
        ({"patient": "disease"}, "'disease' is target already"),
        ({"split": "age"}, r"line 2, column 'age': '63' is no split; use train, validation, test"),
        ({"sentinels": ("glucose",)}, "sentinels: .* has no column 'glucose'"),
        ({"sentinels": ("disease",)}, "sentinels: column 'disease' is no input"),
        ({"drop": ("age", "bp"), "categorical": (), "patient": "sex"}, "no column is left"),
        ({"columns": ("a", "b")}, "columns: names are given where the file has no header"),
        ({"delimiter": "::"}, "delimiter: one character"),
        ({"task": "regression", "positive": ">0"}, "positive: only a binary target"),
        ({"encoding": "klingon"}, "'klingon' is not known"),
    ],
)
def test_options_that_do_not_fit_the_file(write: Any, options: dict[str, Any], message: str) -> None:
    _fails(message, **({"path": write(GOOD), "target": "disease", "categorical": ("sex",)} | options))


def test_official_split_and_patient_columns(write: Any) -> None:
    rows = [f"{n},{n % 2},p{n // 2},{'train' if n < 40 else 'Val' if n < 50 else 'test'}" for n in range(60)]
    path = write("x,y,who,part\n" + "\n".join(rows))
    prepared = TableData(source=CSV(path=path, target="y", patient="who", split="part")).prepare()
    assert [len(e) for e in prepared.splits.values()] == [40, 10, 10]
    assert prepared.summary()["splits"]["train"]["patients"] == 20
    assert prepared.splits["test"].patient is not None and prepared.splits["test"].patient[0] == "p25"
    assert prepared.splits["test"].patient_code.tolist() == [25, 25, 26, 26, 27, 27, 28, 28, 29, 29]
    moved = path.replace("data.csv", "moved.csv")
    Path(moved).write_text(Path(path).read_text().replace("0,0,p0,train", "0,0,p0,test"))
    with pytest.raises(UserError, match=r"1 patient is in more than one split: 'p0' \(train, test\)"):
        TableData(source=CSV(path=moved, target="y", patient="who", split="part")).prepare()


def test_source_as_text(write: Any) -> None:
    path = write(GOOD)
    source = parse_source(f"csv:{path}?target=disease&categorical=sex&positive=>0&missing=?,NA&header=true")
    assert source == CSV(path=path, target="disease", categorical=("sex",), positive=">0", missing=("?", "NA"))
    assert source.load().targets.tolist() == [1, 0, 0]
    assert from_json(to_json(source)) == source


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("wisconsn", "Did you mean 'wisconsin'.*Known: .*cifar10, .*synthetic_table, .*csv:FILE"),
        ("heart.csv", "write 'csv:heart.csv'"),
        ("csv:", "lacks what follows the colon; write csv:FILE"),
        ("csv:a.csv?targt=y", "Did you mean 'target'"),
        ("csv:a.csv?header=maybe", "header: true or false is needed"),
        ("synthetic_table?patients=0", "patients"),
    ],
)
def test_source_texts_that_mean_nothing(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse_source(text)


def _trained(write: Any, header: bool = True) -> tuple[CSV, Any]:
    draw = np.random.default_rng(0)
    rows = [f"p{n},{draw.integers(60, 200) * (n % 9 > 0)},{'ab'[n % 2]},{n % 3 == 0:d}" for n in range(60)]
    text = "\n".join(rows)
    names = ("id", "glucose", "kind", "y")
    source = CSV(
        path=write((",".join(names) + "\n" if header else "") + text, "train.csv"),
        header=header,
        columns=() if header else names,
        target="y",
        patient="id",
        categorical=("kind",),
        sentinels=("glucose",),
    )
    return source, TableData(source=source, split=Split(seed=1)).prepare()


def test_new_patients_are_transformed_as_the_training_data(write: Any) -> None:
    source, prepared = _trained(write)
    again = read_new(source.path, prepared.preprocessing, source)
    test = prepared.splits["test"]
    np.testing.assert_array_equal(again.inputs[test.example], test.inputs)
    assert again.patient is not None and test.patient is not None
    assert again.patient[test.example].tolist() == test.patient.tolist()
    shuffled = write("kind,extra,glucose\na,1,0\nz,2,9999\n", "new.csv")
    new = read_new(f"{shuffled}", prepared.preprocessing, source)
    fill = prepared.preprocessing.columns[0]
    assert fill.fill is not None
    assert new.inputs[0, 0] == np.float32((fill.fill - fill.shift) / fill.scale)
    assert new.inputs[1, 1:].tolist() == [0, 0]
    assert new.patient is None and new.row.tolist() == [0, 1]
    assert [note.split(":")[0] for note in new.notes] == ["glucose", "kind"]


def test_new_patients_without_header_and_outcome(write: Any) -> None:
    source, prepared = _trained(write, header=False)
    new_path = write("q1,100,a\nq2,150,b\n", "new.csv")
    new = read_new(new_path, prepared.preprocessing, source)
    assert new.patient is not None and new.patient.tolist() == ["q1", "q2"]
    by_number = read_new(new_path, prepared.preprocessing, source.replace(target=-1))
    np.testing.assert_array_equal(by_number.inputs, new.inputs)
    complete = read_new(write("q1,100,a,1\nq2,150,b,0\n", "complete.csv"), prepared.preprocessing, source)
    np.testing.assert_array_equal(new.inputs, complete.inputs)


def test_new_patients_without_a_needed_column_are_named(write: Any) -> None:
    source, prepared = _trained(write)
    with pytest.raises(UserError, match=r"lacks 1 of the 2 columns .*: glucose\. Did you mean 'glucos'"):
        read_new(write("glucos,kind\n1,a\n", "new.csv"), prepared.preprocessing, source)
