"""PhysioNet 2012: a small set as published, in an archive and unpacked, what is wrong with others, and the real one."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from research.data import SPLITS, PhysioNet2012, Split, parse_source
from research.errors import UserError
from research.spec import check

HEAD = "Time,Parameter,Value\n"
OUTCOMES = "RecordID,SAPS-I,SOFA,Length_of_stay,Survival,In-hospital_death\n"
RECORDS = {
    "132539": (
        "00:00,RecordID,132539\n00:00,Age,54\n00:00,Gender,0\n00:00,Height,-1\n00:00,ICUType,4\n00:00,Weight,-1\n"
        "00:07,HR,73\n00:07,pH,7.31\n01:30,HR,77\n01:30,Weight,80.5\n01:30,pH,735\n47:59,Temp,-17.8\n48:00,HR,60\n"
    ),
    "132540": (
        "00:00,RecordID,132540\n00:00,Age,76\n00:00,GCS,15\n00:00,Gender,1\n00:00,Height,431.8\n00:00,ICUType,2\n"
        "00:00,Weight,76\n00:42,MAP,80\n00:42,MAP,90\n00:42,Urine,400\n00:42,Urine,30\n00:42,SysABP,0\n"
    ),
    "132541": (
        "00:00,RecordID,132541\n00:00,Age,31\n00:00,Gender,-1\n00:00,Height,170\n00:00,ICUType,3\n00:00,Weight,-1\n"
    ),
    "132543": (
        "00:00,RecordID,132543\n00:00,Age,68\n00:00,Gender,1\n00:00,Height,180.3\n00:00,ICUType,3\n00:00,Weight,84.6\n"
        "00:00,Weight,85\n02:00,Albumin,4\n"
    ),
}
RESULTS = ("132539,6,1,5,-1,0\n", "132540,16,8,8,7,1\n", "132541,21,11,19,-1,0\n", "132543,7,1,-1,575,0\n")


def publish(folder: Path, letter: str = "a", archive: bool = True, records: dict[str, str] | None = None) -> None:
    """Write a set in the publisher's layout."""
    records = RECORDS if records is None else records
    (folder / f"Outcomes-{letter}.txt").write_text(OUTCOMES + "".join(RESULTS))
    if not archive:
        (folder / f"set-{letter}").mkdir()
        for name, text in records.items():
            (folder / f"set-{letter}" / f"{name}.txt").write_text(HEAD + text)
        return
    with tarfile.open(folder / f"set-{letter}.tar.gz", "w:gz") as tar:
        for name, text in records.items():
            member = tarfile.TarInfo(f"set-{letter}/{name}.txt")
            member.size = len(HEAD + text)
            tar.addfile(member, io.BytesIO((HEAD + text).encode()))


@pytest.mark.parametrize("archive", [True, False])
def test_small_set(tmp_path: Path, archive: bool) -> None:
    publish(tmp_path, archive=archive)
    series = PhysioNet2012(path=str(tmp_path)).load()
    assert series.names is not None and series.names.tolist() == ["132539", "132540", "132543"]
    assert series.patient is not None and series.patient.tolist() == series.names.tolist()
    assert series.targets.tolist() == [0, 1, 0] and series.task.names == ("survived", "died")
    assert series.row.tolist() == [0, 1, 3] and series.split is None
    assert len(series.variables) == 37 and series.time_unit == "hours" and series.time is not None
    column = {variable.name: number for number, variable in enumerate(series.variables)}
    assert series.variables[column["Creatinine"]].unit == "mg/dL"
    # The last time of the first stay holds nothing but what cannot be, and so does not exist.
    assert series.lengths.tolist() == [3, 2, 2]
    np.testing.assert_allclose(series.time, [7 / 60, 1.5, 48, 0, 0.7, 0, 2], rtol=1e-6)
    first = series.values[series.span(0)]
    np.testing.assert_array_equal(first[:, column["HR"]], [73, 77, 60])
    np.testing.assert_array_equal(first[:, column["pH"]], np.float32([7.31, np.nan, np.nan]))
    np.testing.assert_array_equal(first[:, column["Weight"]], np.float32([np.nan, 80.5, np.nan]))
    second = series.values[series.span(1)]
    assert second[0, column["GCS"]] == 15 and np.isnan(second[0]).sum() == 36
    assert second[1, column["MAP"]] == 85 and second[1, column["Urine"]] == 430  # a mean, and a volume
    assert np.isnan(second[1, column["SysABP"]])
    assert series.values[series.span(2)][0, column["Weight"]] == 85
    assert [v.name for v in series.static_variables[:4]] == ["Age", "Gender", "Height", "Weight"]
    missing = np.nan
    np.testing.assert_array_equal(
        series.static,
        np.float32(
            [
                [54, 0, missing, missing, 0, 0, 0, 1],
                [76, 1, missing, 76, 0, 1, 0, 0],
                [68, 1, 180.3, 84.6, 0, 0, 1, 0],
            ]
        ),
    )
    notes = " ".join(series.about.notes)
    assert "1 of 4 stays have no observation and are left out: 132541" in notes
    # The negative temperature is missing by the publisher's own rule and so is not counted.
    assert "3 values that no adult can have are taken as missing: SysABP 1, Height 1, pH 1" in notes
    assert "2 times a variable has several values at one time" in notes
    kept = PhysioNet2012(path=str(tmp_path), implausible="keep").load()
    assert kept.values[1, column["pH"]] == 735 and kept.static is not None and kept.static[1, 2] == np.float32(431.8)
    assert np.isnan(kept.values[:, column["Temp"]]).all()


def test_other_targets(tmp_path: Path) -> None:
    publish(tmp_path)
    stay = PhysioNet2012(path=str(tmp_path), target="length_of_stay").load()
    assert stay.task.kind == "regression" and stay.task.unit == "days"
    assert stay.targets.tolist() == [[5], [8]]
    assert "1 of 4 stays have no target and are left out" in stay.about.notes
    survival = PhysioNet2012(path=str(tmp_path), target="survival").load()
    assert survival.task.kind == "survival" and survival.task.names == ("death",)
    assert survival.targets.tolist() == [[5, 0], [7, 1], [575, 1]]


def test_several_sets_and_their_division(tmp_path: Path) -> None:
    publish(tmp_path)
    publish(tmp_path, "c", archive=False)
    for name in RECORDS:
        (tmp_path / "set-c" / f"{name}.txt").rename(tmp_path / "set-c" / f"2{name[1:]}.txt")
    text = (tmp_path / "Outcomes-c.txt").read_text().replace("\n1", "\n2")
    (tmp_path / "Outcomes-c.txt").write_text(text)
    series = PhysioNet2012(path=str(tmp_path), sets=("a", "c"), official=True).load()
    assert series.split is not None and series.split.tolist() == ["train"] * 3 + ["test"] * 3
    assert series.names is not None and series.names[3] == "232539" and series.row.tolist() == [0, 1, 3, 4, 5, 7]
    np.testing.assert_array_equal(series.values[:7], series.values[7:])
    with pytest.raises(UserError, match=r"has neither set-b.tar.gz nor a folder set-b; it has the sets a, c"):
        PhysioNet2012(path=str(tmp_path), sets=("b",)).load()
    for sets, official, message in (
        ((), False, "one or more of a, b, c"),
        (("a", "a"), False, "each once"),
        (("b",), True, "set a is the one that trains"),
    ):
        with pytest.raises(UserError, match=message):
            check(PhysioNet2012(sets=sets, official=official))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("00:07,HR", "00:07,HRT"), r"file 132539, line 8: 'HRT' is no variable of the challenge. Did you mean 'HR'"),
        (("00:42,Urine,30", "0042,Urine,30"), "file 132540, line 12: '0042' is no time in hours:minutes"),
        (("HR,73", "HR,fast"), "file 132539 cannot be read"),
        (("HR,73", "HR,73,74"), "file 132539 cannot be read"),
    ],
)
def test_damaged_record(tmp_path: Path, change: tuple[str, str], message: str) -> None:
    publish(tmp_path, records={name: text.replace(*change) for name, text in RECORDS.items()})
    with pytest.raises(UserError, match=message):
        PhysioNet2012(path=str(tmp_path)).load()


def test_lines_without_variable_or_value_are_counted(tmp_path: Path) -> None:
    publish(tmp_path, records=RECORDS | {"132543": RECORDS["132543"] + "03:00,,-1\n04:00,HR,\n"})
    series = PhysioNet2012(path=str(tmp_path)).load()
    assert "2 lines of set a lack a variable or a value and are left out" in series.about.notes
    assert series.lengths.tolist() == [3, 2, 2]


def _outcomes(text: str) -> Any:
    return lambda folder: (folder / "Outcomes-a.txt").write_text(text)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "Outcomes-a.txt").unlink(), "Outcomes-a.txt is absent"),
        (_outcomes(OUTCOMES + "".join(RESULTS[:3])), "record 132543 of set-a.tar.gz is absent"),
        (_outcomes(OUTCOMES + "".join((*RESULTS, RESULTS[0]))), "a record occurs twice"),
        (_outcomes("RecordID,died\n132539,0\n"), "whole numbers in the columns RecordID"),
        (_outcomes(OUTCOMES + "132539,6,1,long,-1,0\n"), "whole numbers in the columns"),
        (
            lambda folder: (folder / "set-a.tar.gz").write_bytes((folder / "set-a.tar.gz").read_bytes()[:200]),
            "set-a.tar.gz cannot be read",
        ),
        (lambda folder: (folder / "set-a.tar.gz").write_bytes(b"no archive"), "set-a.tar.gz cannot be read"),
    ],
)
def test_damaged_set(tmp_path: Path, damage: Any, message: str) -> None:
    publish(tmp_path)
    damage(tmp_path)
    with pytest.raises(UserError, match=message):
        PhysioNet2012(path=str(tmp_path)).load()


def test_other_headers_and_files(tmp_path: Path) -> None:
    publish(tmp_path, archive=False)
    path = tmp_path / "set-a" / "132540.txt"
    path.write_text(path.read_text().replace("Parameter", "Name"))
    with pytest.raises(UserError, match="file 132540: the first line is 'Time,Name,Value'"):
        PhysioNet2012(path=str(tmp_path)).load()
    path.write_text(HEAD)
    with pytest.raises(UserError, match="file 132540 has no rows"):
        PhysioNet2012(path=str(tmp_path)).load()
    path.rename(tmp_path / "set-a" / "notes.txt")
    with pytest.raises(UserError, match=r"the file notes.txt is no record"):
        PhysioNet2012(path=str(tmp_path)).load()
    for file in (tmp_path / "set-a").iterdir():
        file.unlink()
    with pytest.raises(UserError, match=r"holds no files \*.txt"):
        PhysioNet2012(path=str(tmp_path)).load()
    # Records without a file are counted.
    publish(tmp_path, archive=True, records={name: RECORDS[name] for name in list(RECORDS)[:2]})
    assert (
        "2 records of Outcomes-a.txt have no file in set-a.tar.gz"
        in PhysioNet2012(path=str(tmp_path)).load().about.notes
    )


def test_set_a_as_published(data_dir: Path) -> None:
    if not (data_dir / "physionet2012" / "set-a.tar.gz").exists():
        pytest.skip("physionet2012 is absent from RESEARCH_DATA_DIR")
    source = parse_source("physionet2012")
    series: Any = source.load()
    # 4,000 stays and 554 deaths as published; three stays have no time series at all.
    assert len(series) == 3997 and int(series.targets.sum()) == 554
    assert any(note.endswith("left out: 140501, 140936, 141264") for note in series.about.notes)
    assert len(series.values) == 288257 and series.values.shape[1] == 37 and series.time.max() == 48
    assert series.observed().any(axis=1).all() and series.observed().any(axis=0).all()
    name = {variable.name: number for number, variable in enumerate(series.variables)}
    first = series.values[series.span(0)]
    np.testing.assert_array_equal(first[:3, name["HR"]], [73, 77, 60])
    np.testing.assert_allclose(series.time[:4], [7 / 60, 37 / 60, 97 / 60, 157 / 60], rtol=1e-6)
    assert first[1, name["Urine"]] == 60 and first[0, name["NISysABP"]] == 147
    np.testing.assert_array_equal(series.static[0], np.float32([54, 0, np.nan, np.nan, 0, 0, 0, 1]))
    split = Split(folds=5).assign(series)
    assert [int((split == name).sum()) for name in SPLITS] == [2557, 640, 800]
    assert int(series.targets[split == "test"].sum()) == 111
