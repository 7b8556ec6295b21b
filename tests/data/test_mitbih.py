"""MIT-BIH: the published counts on the real records, and small made-up records, sound and damaged."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import wfdb

from research.data import MITBIH, SeriesData, parse_source
from research.data.catalog import mitbih
from research.errors import UserError
from research.spec import check

RATE, SAMPLES = 100, 400
PLACES = np.asarray([5, 60, 110, 160, 200, 260, 330, 398])
SYMBOLS = ["N", "A", "+", "V", "L", "F", "!", "/"]
"""Two of them are of no beat; the last but one is of flutter between the last two beats."""
BEATS, CLASSES = [0, 1, 3, 4, 5, 7], [0, 1, 2, 0, 3, 4]


def write(folder: Path, name: str, leads: tuple[str, str] = ("MLII", "V1"), symbols: list[str] = SYMBOLS) -> np.ndarray:
    """A record in format 212 with its annotations; returns the stored numbers ``[S, 2]``."""
    stored = np.random.default_rng(int(name)).integers(0, 2048, (SAMPLES, 2))
    wfdb.wrsamp(
        name,
        fs=RATE,
        units=["mV", "mV"],
        sig_name=list(leads),
        d_signal=stored,
        fmt=["212", "212"],
        adc_gain=[200.0, 200.0],
        baseline=[1024, 1024],
        write_dir=str(folder),
    )
    wfdb.wrann(name, "atr", PLACES[: len(symbols)], symbol=symbols, write_dir=str(folder))
    return stored


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, np.ndarray]]:
    folder = tmp_path_factory.mktemp("records")
    swapped = {"114": ("V5", "MLII"), "100": ("MLII", "V5")}
    names = ("101", "114", "201", "100", "202")
    return folder, {name: write(folder, name, swapped.get(name, ("MLII", "V1"))) for name in names}


@pytest.fixture
def records(
    made: tuple[Path, dict[str, np.ndarray]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, np.ndarray]:
    """A database of five records, as numbers; its files may be changed."""
    shutil.copytree(made[0], tmp_path / "mitdb")
    monkeypatch.setenv("RESEARCH_DATA_DIR", str(tmp_path))
    monkeypatch.setattr(mitbih, "TRAIN", ("101", "114", "201"))
    monkeypatch.setattr(mitbih, "TEST", ("100", "202"))
    return made[1]


def test_the_published_counts(data_dir: Path) -> None:
    if not (data_dir / "mitdb").is_dir():
        pytest.skip("mitdb is absent")
    series = MITBIH(shared_patient="keep", intervals=True).load()
    assert series.split is not None and series.patient is not None and series.names is not None
    assert series.static is not None and series.task.names == ("N", "S", "V", "F", "Q")
    train = series.split == "train"
    assert np.bincount(series.targets[train]).tolist() == [45866, 944, 3788, 415, 8]
    assert np.bincount(series.targets[~train]).tolist() == [44259, 1837, 3221, 388, 7]
    assert len(set(series.patient[train])) == len(set(series.patient[~train])) == 22
    assert not {"102", "104", "107", "217"} & {*series.patient}
    assert (series.scale, round(1 / series.interval)) == (1 / 200, 360) and set(series.lengths) == {252}
    # Record 114 has its leads the other way round.
    record = wfdb.rdrecord(str(data_dir / "mitdb" / "114"), channels=[1])
    where = wfdb.rdann(str(data_dir / "mitdb" / "114"), "atr")
    assert record.sig_name == ["MLII"] and record.p_signal is not None
    beat, row = int(where.sample[100]), int(np.flatnonzero(series.patient == "114")[99])
    assert where.symbol[0] == "+" and "+" not in where.symbol[1:101]
    found = series.values[series.span(row), 0] * series.scale
    np.testing.assert_allclose(found, record.p_signal[beat - 90 : beat + 162, 0], atol=1e-6)
    assert series.names[row] == f"114 at {beat / 360:.2f} s"
    beats = np.asarray(where.sample)[~np.isin(where.symbol, ["+", "~", "|"])]
    np.testing.assert_allclose(series.static[row, 0], np.diff(where.sample[99:101]) / np.diff(beats).mean(), rtol=1e-6)


def test_beats_are_cut_around_their_annotations_and_filled_up_at_the_ends(records: dict[str, np.ndarray]) -> None:
    source = MITBIH(before=0.1, after=0.2, shared_patient="keep")
    series = source.load()
    assert series.values.dtype == np.int16 and series.lengths.tolist() == [30] * 30
    assert (series.scale, series.interval, series.time_unit) == (1 / 200, 0.01, "seconds")
    assert series.targets.tolist() == CLASSES * 5 and series.task.scorers == ("aami",)
    assert series.patient is not None and series.split is not None
    assert series.patient.tolist() == np.repeat(["101", "114", "201", "100", "202"], 6).tolist()
    assert series.split.tolist() == ["train"] * 18 + ["test"] * 12
    for record, column, start in (("101", 0, 0), ("114", 1, 6)):
        for number, beat in enumerate(BEATS):
            lead = np.pad(records[record][:, column] - 1024, 30, mode="edge")
            place = PLACES[beat] + 30
            found = series.values[series.span(start + number), 0]
            np.testing.assert_array_equal(found, lead[place - 10 : place + 20])
    prepared = SeriesData(source=source.replace(classes=("N", "V"))).prepare()
    assert prepared.leakage.basis == "by patient" and prepared.task.kind == "binary"
    assert any("one patient is in train (record 201) and in test (record 202)" in text for text in prepared.warnings)


def test_one_patient_is_not_in_train_and_test_and_classes_can_be_left_out(records: dict[str, np.ndarray]) -> None:
    series = MITBIH().load()
    assert series.patient is not None and "201" not in series.patient and "202" in series.patient
    assert series.row.tolist() == [*range(12), *range(18, 30)]
    assert series.about.notes[-1] == "6 beats are of record 201 and left out"
    fewer = parse_source("mitbih?classes=N,V&before=0.1")
    assert isinstance(fewer, MITBIH)
    series = fewer.load()
    assert series.task.names == ("N", "V") and series.targets.tolist() == [0, 1, 0] * 4
    assert "15 of 30 beats are of other classes and left out" in series.about.notes


def test_intervals_are_relative_to_their_mean_and_unknown_across_flutter(records: dict[str, np.ndarray]) -> None:
    series = MITBIH(intervals=True).load()
    assert series.static is not None and len(series.static_variables) == 2
    known = np.asarray([55, 100, 40, 60])
    between = [*(known / known.mean()), np.nan]
    np.testing.assert_allclose(series.static[:6, 0], [np.nan, *between], rtol=1e-6)
    np.testing.assert_allclose(series.static[:6, 1], [*between, np.nan], rtol=1e-6)
    assert MITBIH().load().static is None


def test_leads_by_name(records: dict[str, np.ndarray]) -> None:
    series = MITBIH(leads=("MLII", "V1|V5")).load()
    assert [variable.name for variable in series.variables] == ["lead MLII", "lead V1|V5"]
    middle = 25  # of the window, where the annotation is
    for start, record, columns in ((0, "101", (0, 1)), (6, "114", (1, 0)), (12, "100", (0, 1))):
        found = series.values[series.span(start + 1)][middle]
        assert found.tolist() == [int(records[record][60, column]) - 1024 for column in columns]
    with pytest.raises(UserError, match=r"leads: record 114 has no lead V1; its leads are V5, MLII\. .* 'V1\|V5"):
        MITBIH(leads=("V1",)).load()
    for leads in ((), ("MLII", "MLII"), ("",)):
        with pytest.raises(UserError, match="leads: different names are needed"):
            check(MITBIH(leads=leads))
    with pytest.raises(UserError, match="classes: two or more different ones"):
        check(MITBIH(classes=("N",)))


def test_headers_and_signals_must_agree(records: dict[str, np.ndarray], tmp_path: Path) -> None:
    header, signals = tmp_path / "mitdb" / "101.hea", tmp_path / "mitdb" / "101.dat"
    text, content = header.read_text(), signals.read_bytes()
    signals.write_bytes(content[:900])
    with pytest.raises(UserError, match=r"101\.dat: 300 samples of each of 2 signals .* 101\.hea declares 400"):
        MITBIH().load()
    signals.write_bytes(content[:600] + bytes([content[600] ^ 1]) + content[601:])
    with pytest.raises(UserError, match=r"101\.hea: signal MLII has the checksum \d+, and what 101\.dat holds has \d+"):
        MITBIH().load()
    signals.unlink()
    with pytest.raises(UserError, match=r"101\.dat is missing, and 101\.hea names it"):
        MITBIH().load()
    signals.write_bytes(content)
    header.write_text("nothing of the kind\n")
    with pytest.raises(UserError, match=r"101\.hea: this header cannot be read"):
        MITBIH().load()
    header.write_text(text.replace("/mV", "/uV"))
    with pytest.raises(UserError, match=r"101\.hea: leads of one gain in counts per mV are needed"):
        MITBIH().load()
    header.write_text(text.replace("2 100 400", "2 250 400"))
    with pytest.raises(UserError, match=r"record 114 has 100 Hz .* record 101 250"):
        MITBIH().load()
    header.unlink()
    with pytest.raises(UserError, match=r"1 of the 5 records are missing: 101\. Fetch https"):
        MITBIH().load()


def test_annotations_must_be_there_and_known(records: dict[str, np.ndarray], tmp_path: Path) -> None:
    file = tmp_path / "mitdb" / "101.atr"
    content = file.read_bytes()
    file.write_bytes(content[:-2])
    with pytest.raises(UserError, match=r"101\.atr: the end of the annotations is missing"):
        MITBIH().load()
    file.write_bytes(content[:-2] + bytes([1, 45 << 2, 0, 0]))
    with pytest.raises(UserError, match=r"101\.atr: annotation one without a known code does not occur"):
        MITBIH().load()
    write(tmp_path / "mitdb", "101", symbols=["N", "r", "N"])
    with pytest.raises(UserError, match=r"101\.atr: annotation 'r' does not occur .* Beats are N L R e j A a J S V E"):
        MITBIH().load()
    write(tmp_path / "mitdb", "101")
    wfdb.wrann("101", "atr", np.asarray([10, SAMPLES]), symbol=["N", "N"], write_dir=str(tmp_path / "mitdb"))
    with pytest.raises(UserError, match=r"101\.atr: an annotation stands at sample 400, and the record has 400"):
        MITBIH().load()
    file.unlink()
    with pytest.raises(UserError, match=r"101\.atr is missing: the annotations of record 101"):
        MITBIH().load()


def test_what_else_can_be_wrong(
    records: dict[str, np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match=r"before, after: 0 and 0\.001 s are no sample at 100 Hz"):
        MITBIH(before=0.0, after=0.001).load()
    with pytest.raises(UserError, match=r"'elsewhere' was not found: .* published at https://physionet\.org"):
        MITBIH(path="elsewhere").load()
    monkeypatch.setitem(sys.modules, "wfdb", None)
    with pytest.raises(UserError, match=r"wfdb, which is absent: pip install -c constraints\.txt -e '\.\[medical\]'"):
        MITBIH().load()
