"""Folders of WFDB records, written by the reference package, and what is said of those that are damaged."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from wfdb_records import put

from research.data import Series, SeriesData, SignalFolder, Split, Variable, parse_source
from research.errors import UserError
from research.spec import check

pytest.importorskip("wfdb")

SIGNALS = {name: np.random.default_rng(n).normal(size=(40 + n, 2)).round(3) for n, name in enumerate("abc")}
TABLE = "record,who,rhythm\nr/a,p1,sinus\nr/b.hea,p1,flutter\nr/c,p2,sinus\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, signal in SIGNALS.items():
        put(tmp_path / "r", name, signal)
    (tmp_path / "labels.csv").write_text(TABLE)
    return tmp_path


def load(folder: Path, **options: Any) -> Series:
    given = {"path": str(folder), "labels": "labels.csv", "target": "rhythm", "positive": "flutter", "patient": "who"}
    source = SignalFolder(**given | options)
    check(source)
    return source.load()


def test_signals_labels_and_patients(folder: Path) -> None:
    series = load(folder)
    assert series.lengths.tolist() == [40, 41, 42] and series.time is None
    assert series.interval == 0.01 and series.time_unit == "seconds"
    assert series.variables == (Variable("I", "mV"), Variable("V1", "mV"))
    np.testing.assert_allclose(series.values, np.concatenate(list(SIGNALS.values())), atol=1e-6)
    assert series.targets.tolist() == [0, 1, 0] and series.task.names == ("sinus", "flutter")
    assert series.patient is not None and series.patient.tolist() == ["p1", "p1", "p2"]
    assert series.names is not None and series.names.tolist() == ["r/a", "r/b", "r/c"]
    one = load(folder, signals=("V1",))
    np.testing.assert_array_equal(one.values, series.values[:, 1:])
    assert one.variables == (Variable("V1", "mV"),)


def test_times_to_an_event(folder: Path) -> None:
    (folder / "labels.csv").write_text("record,days,died\nr/a,3,1\nr/b,4,0\nr/c,5,1\n")
    series = load(folder, target=("days", "died"), task="survival", positive=None, patient=None, unit="days")
    assert series.targets.tolist() == [[3, 1], [4, 0], [5, 1]] and series.task.kind == "survival"


def test_invalid_samples_are_missing(folder: Path) -> None:
    signal = SIGNALS["b"].copy()
    signal[3, 1] = np.nan
    put(folder / "r", "b", signal)
    series = load(folder)
    np.testing.assert_array_equal(np.isnan(series.values[series.span(1)]), np.isnan(signal))
    assert "1 of 246 samples are marked as invalid" in series.about.notes


def test_on_the_command_line_and_prepared(folder: Path) -> None:
    lines = ["record,who,rhythm"]
    for number in range(12):
        put(folder / "r", f"n{number}", SIGNALS["a"] + number)
        lines.append(f"r/n{number},p{number},{'flutter' if number % 2 else 'sinus'}")
    (folder / "labels.csv").write_text("\n".join(lines))
    source = parse_source(f"signal_folder:{folder}?labels=labels.csv&target=rhythm&positive=flutter&patient=who")
    prepared = SeriesData(source=source, split=Split(test=0.25)).prepare()
    assert sum(map(len, prepared.splits.values())) == 12 and prepared.time_unit == "seconds"


def test_records_that_are_not_alike(folder: Path) -> None:
    put(folder / "r", "b", SIGNALS["b"], rate=250)
    with pytest.raises(
        UserError, match=r"not alike: 2 with I in mV, V1 in mV at 100 Hz; 1 .* at 250 Hz \(such as r/b\)"
    ):
        load(folder)
    put(folder / "r", "b", SIGNALS["b"], leads=("I", "V2"))
    with pytest.raises(UserError, match="V2 in mV"):
        load(folder)
    with pytest.raises(UserError, match=r"signals: record .*b has no 'V1'. It has: I, V2"):
        load(folder, signals=("V1",))
    assert load(folder, signals=("I",)).values.shape == (123, 1)


def _cut(path: Path, by: int) -> None:
    path.write_bytes(path.read_bytes()[:-by])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            lambda r: _cut(r / "b.dat", 40),
            r"b.dat: 31 samples of each of 2 signals .*124 bytes\) are there, and b.hea declares 41",
        ),
        (lambda r: (r / "b.dat").write_bytes((r / "b.dat").read_bytes() * 2), "b.dat: 82 samples of each of 2 signals"),
        (
            lambda r: (r / "b.dat").write_bytes(bytes(164)),
            r"b.hea: signal I has the checksum \d+, and what b.dat holds has 0",
        ),
        (lambda r: (r / "b.dat").unlink(), "b.dat is missing, and b.hea names it as a file of signals"),
        (lambda r: (r / "b.hea").write_text("no header"), "b.hea: this header cannot be read"),
        (
            lambda r: (r / "b.hea").rename(r / "bb.hea"),
            r"line 3, .*b.hea does not exist. Did you mean 'bb'",
        ),
    ],
)
def test_damaged_record(folder: Path, damage: Any, message: str) -> None:
    damage(folder / "r")
    with pytest.raises(UserError, match=message):
        load(folder)


@pytest.mark.parametrize(
    ("table", "options", "message"),
    [
        (TABLE + "r/a.hea,p1,sinus\n", {}, "line 5, column 'record': the record 'r/a' stands on line 2 already"),
        (TABLE + ",p1,sinus\n", {}, "line 5, column 'record': the record is missing"),
        (TABLE, {"record": "recrod"}, "record: .* has no column 'recrod'. Did you mean 'record'"),
        (TABLE, {"record": "who"}, "column 'who' has another role already"),
        (TABLE, {"target": "rythm"}, "Did you mean 'rhythm'"),
        (TABLE, {"labels": ""}, "the path of a CSV file with the labels is needed"),
        (TABLE, {"labels": "label.csv"}, "was not found"),
        (TABLE, {"path": " "}, "the path of a folder is needed"),
    ],
)
def test_other_tables(folder: Path, table: str, options: dict[str, Any], message: str) -> None:
    (folder / "labels.csv").write_text(table)
    with pytest.raises(UserError, match=message):
        load(folder, **options)


def test_formats_that_wfdb_reads(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Format 16 is read here, with or without wfdb; what wfdb reads is checked and marked in the same way."""
    signal = SIGNALS["b"].copy()
    signal[3, 1] = np.nan
    put(folder / "r", "b", signal, form="212")
    series = load(folder)
    found = series.values[series.span(1)]
    np.testing.assert_allclose(found, signal, atol=0.0051)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(signal))
    monkeypatch.setitem(sys.modules, "wfdb", None)
    with pytest.raises(UserError, match=r"read by wfdb, which is absent: pip install"):
        load(folder)
    put_back = folder / "r" / "b.dat"
    put_back.write_bytes(put_back.read_bytes()[:-6])
    monkeypatch.undo()
    with pytest.raises(UserError, match=r"b.dat: 39 samples of each of 2 signals in format 212"):
        load(folder)
