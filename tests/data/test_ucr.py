"""The UCR and UEA archives: three real sets, and made-up files of both formats, sound and damaged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from research.data import UCR, SeriesData, parse_source
from research.errors import UserError
from research.spec import check


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RESEARCH_DATA_DIR", str(tmp_path))
    (tmp_path / "ucr" / "Toy").mkdir(parents=True)
    return tmp_path / "ucr" / "Toy"


def put(folder: Path, train: str, test: str, ending: str = "tsv") -> None:
    (folder / f"Toy_TRAIN.{ending}").write_text(train)
    (folder / f"Toy_TEST.{ending}").write_text(test)


@pytest.mark.parametrize(
    ("name", "sizes", "length", "classes"),
    [("ECG200", (100, 100), 96, 2), ("ECGFiveDays", (23, 861), 136, 2), ("ECG5000", (500, 4499), 140, 5)],
)
def test_real_sets(data_dir: Path, name: str, sizes: tuple[int, int], length: int, classes: int) -> None:
    if not (data_dir / "ucr").is_dir():
        pytest.skip("ucr is absent")
    source = parse_source(f"ucr:{name}")
    series = source.load()
    assert isinstance(source, UCR) and series.patient is None and series.split is not None
    assert ((series.split == "train").sum(), (series.split == "test").sum()) == sizes
    assert len(series.task.names) == classes and set(series.lengths) == {length}
    first = np.loadtxt(data_dir / "ucr" / name / f"{name}_TRAIN.tsv")
    np.testing.assert_array_equal(series.values[: first[:, 1:].size, 0], first[:, 1:].astype(np.float32).ravel())
    assert [series.task.names[target] for target in series.targets[: sizes[0]]] == [
        f"{label:.0f}" for label in first.T[0]
    ]
    lacking = [note for note in series.about.notes if "as published" in note]
    assert lacking == (
        ["ECG5000_TEST_4499of4500.tsv has 4499 series, of 4500 as published"] if name == "ECG5000" else []
    )


def test_series_of_different_length_with_gaps(folder: Path) -> None:
    put(folder, "10\t1\t2\tNaN\tNaN\n-1\t3\tNaN\t4.5\tNaN\n9.0\t0\t0\t0\t1\n", "2\t-1e-3\t?\t2\t8\n\n")
    series = UCR(name="Toy").load()
    assert series.task.kind == "multiclass" and series.task.names == ("-1", "2", "9", "10")
    assert series.targets.tolist() == [3, 0, 2, 1] and series.lengths.tolist() == [2, 3, 4, 4]
    expected = [1, 2, 3, np.nan, 4.5, 0, 0, 0, 1, -0.001, np.nan, 2, 8]
    np.testing.assert_array_equal(series.values[:, 0], np.asarray(expected, np.float32))
    assert series.names is not None and series.names.tolist() == ["train[0]", "train[1]", "train[2]", "test[0]"]
    assert series.about.name == "Toy" and "no patient identifiers" in series.about.notes[0]


def test_the_positive_class_and_the_splits(folder: Path) -> None:
    rows = "".join(f"{1 + n % 2}\t{n}\t{n * n}\n" for n in range(10))
    put(folder, rows, rows.replace("\t", "\t-"))
    series = UCR(name="Toy").load()
    assert series.task.names == ("1", "2") and "positive class: 2, the second one" in series.about.notes
    series = UCR(name="Toy", positive="1").load()
    assert series.task.names == ("2", "1") and series.targets[:2].tolist() == [1, 0]
    assert "positive class: 1" in series.about.notes
    prepared = SeriesData(source=UCR(name="Toy"), scaling="series").prepare()
    assert [len(examples) for examples in prepared.splits.values()] == [8, 2, 10]
    with pytest.raises(UserError, match=r"positive: '3' must be one of two classes; Toy has 1, 2"):
        UCR(name="Toy", positive="3").load()


HEAD = (
    "#A set\n@problemName Toy\n@timeStamps false\n@univariate false\n@dimensions 2\n@classLabel true walk rest\n@data\n"
)


def test_several_dimensions(folder: Path) -> None:
    # Beside a .tsv file of another set, and directly in the folder of the sets.
    put(folder.parent, HEAD + "1,2,3:4,5:walk\n0.5,?:-1,NaN:rest\n", HEAD + "7:8:rest\n", "ts")
    series = UCR(name="Toy").load()
    assert series.task.names == ("rest", "walk") and series.targets.tolist() == [1, 0, 0]
    assert [variable.name for variable in series.variables] == ["dimension 1", "dimension 2"]
    assert series.lengths.tolist() == [3, 2, 1]
    nan = np.nan
    np.testing.assert_array_equal(series.values, np.asarray([[1, 4], [2, 5], [3, nan], [0.5, -1], [nan, nan], [7, 8]]))


ROW = "1\t2\t3\n2\t2\t3\n"


@pytest.mark.parametrize(
    ("train", "message"),
    [
        ("", r"Toy_TRAIN\.tsv is empty"),
        ("1\t2\t3\n2\t2\n", r"Toy_TRAIN\.tsv, line 2: 1 values after the class, where the first line has 2"),
        ("1,2,3\n", r"line 1: 0 values after the class"),
        ("1\t2\tx\n", r"line 1: 'x' is no finite number; a missing value is written \? or NaN"),
        ("1\t2\t3\n1\t2\tinf\n", r"line 2: 'inf' is no finite number"),
        ("1\t2\t1e99\n", r"line 1: '1e99' is no finite number"),
        ("1\t2\t1_05\n", r"line 1: '1_05' is no finite number"),
        ("1\tNaN\tNaN\n", r"line 1: the series has no value"),
        ("1.5\t2\t3\n", r"line 1: '1\.5' is no class; a whole number or a name is needed"),
        ("nan\t2\t3\n", r"line 1: 'nan' is no class"),
    ],
)
def test_wrong_tsv_files_are_named(folder: Path, train: str, message: str) -> None:
    put(folder, train, ROW)
    with pytest.raises(UserError, match=message):
        UCR(name="Toy").load()


@pytest.mark.parametrize(
    ("train", "message"),
    [
        (HEAD, r"Toy_TRAIN\.ts has no series after @data"),
        ("1,2:walk\n", r"line 1: '1,2:walk' stands before @data"),
        (HEAD + "1,2:walk\n", r"line 8: 1 dimensions, 2 are declared"),
        (HEAD.replace("univariate false", "univariate true") + "1:2:walk\n", r"line 8: 2 dimensions, 1 are declared"),
        (HEAD + "1,2:3,4:run\n", r"line 8: class 'run' is not declared; @classLabel has walk, rest"),
        (HEAD + "1,2:3,x:rest\n", r"line 8: 'x' is no finite number"),
        (
            HEAD.replace("@data", "@equalLength true\n@seriesLength 3\n@data") + "1,2:3,4:rest\n",
            r"line 10: 2 values, 3 are",
        ),
        (HEAD.replace("timeStamps false", "timeStamps true"), r"series with time stamps .* are not supported"),
        (HEAD.replace("classLabel true", "targetLabel true"), r"series without classes are not supported"),
    ],
)
def test_wrong_ts_files_are_named(folder: Path, train: str, message: str) -> None:
    put(folder, train, HEAD + "7:8:rest\n", "ts")
    with pytest.raises(UserError, match=message):
        UCR(name="Toy").load()


def test_files_that_do_not_fit(folder: Path) -> None:
    with pytest.raises(UserError, match=r"no Toy_TRAIN\.tsv or \.ts is in .* Fetch the set from https"):
        UCR(name="Toy").load()
    with pytest.raises(UserError, match=r"Did you mean 'Toy'\?"):
        UCR(name="Toys").load()
    put(folder, ROW, ROW)
    (folder / "Toy_TEST.tsv").rename(folder / "Toy_TEST_a.tsv")
    assert len(UCR(name="Toy").load()) == 4
    (folder / "Toy_TEST_b.tsv").write_text(ROW)
    with pytest.raises(
        UserError, match=r"Toy_TEST\.tsv is not there, and several .*: Toy_TEST_a\.tsv, Toy_TEST_b\.tsv"
    ):
        UCR(name="Toy").load()
    put(folder, "1\t2\n", "1\t2\n")
    with pytest.raises(UserError, match=r"Toy: two or more classes are needed; the files have 1 only"):
        UCR(name="Toy").load()
    (folder / "Toy_TEST.tsv").unlink()
    for file in folder.glob("Toy_TEST_*"):
        file.unlink()
    (folder / "Toy_TEST.ts").write_text(HEAD + "7:8:rest\n")
    with pytest.raises(UserError, match=r"same dimensions everywhere; they have Toy_TRAIN\.tsv 1 and Toy_TEST\.ts 2"):
        UCR(name="Toy").load()
    (folder / "Toy_TRAIN.tsv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match=r"Toy_TRAIN\.tsv cannot be read as text"):
        UCR(name="Toy").load()
    with pytest.raises(UserError, match="name: the name of a set of the archive is needed"):
        check(UCR(name="../Toy"))
    with pytest.raises(UserError, match=r"Write ucr:NAME|ucr"):
        parse_source("ucr")
