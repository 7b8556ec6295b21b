"""PTB-XL: the benchmark's labels on the real records, and a small made-up table with records, sound and damaged."""

from __future__ import annotations

import ast
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import wfdb
from sklearn.preprocessing import MultiLabelBinarizer

from research.data import PTBXL, SeriesData
from research.data.formats import wfdb_format
from research.errors import UserError

STATEMENTS = """,description,diagnostic,form,rhythm,diagnostic_class,diagnostic_subclass
NORM,normal ECG,1.0,,,NORM,NORM
IMI,inferior infarction,1.0,,,MI,IMI
ASMI,anteroseptal infarction,1.0,,,MI,AMI
NDT,non-diagnostic T,1.0,1.0,,STTC,STTC
PVC,premature complex,,1.0,,,
SR,sinus rhythm,,,1.0,,
"""

CODES = (
    {"NORM": 100.0, "SR": 0.0},
    {"IMI": 0.0, "ASMI": 50.0},
    {"NDT": 100.0, "SR": 0.0},
    {"PVC": 100.0},
    {"IMI": 80.0, "SR": 0.0},
    {"NORM": 100.0},
    {"NORM": 100.0, "NDT": 0.0},
    {"IMI": 100.0},
)
FOLDS = (1, 2, 3, 4, 8, 9, 10, 10)


def _stored(number: int, rate: int = 100) -> np.ndarray:
    """Counts of half a second."""
    return np.random.default_rng(number).integers(-2000, 2000, (rate // 2, 3))


def _write(folder: Path, number: int, rate: int = 100) -> None:
    """A record at this rate, where the table says it is."""
    (folder / f"records{rate}").mkdir(exist_ok=True)
    wfdb.wrsamp(
        f"{number:05d}_{'lr' if rate == 100 else 'hr'}",
        fs=rate,
        units=["mV"] * 3,
        sig_name=["I", "II", "V1"],
        d_signal=_stored(number, rate),
        fmt=["16"] * 3,
        adc_gain=[1000.0] * 3,
        baseline=[0] * 3,
        write_dir=str(folder / f"records{rate}"),
    )


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ptbxl")
    rows = []
    for number, (codes, fold) in enumerate(zip(CODES, FOLDS, strict=True), 1):
        _write(folder, number)
        files = f"records100/{number:05d}_lr,records500/{number:05d}_hr"
        rows.append(f'{number},{max(2, number)}.0,"{codes}",{fold},{files}')
    header = "ecg_id,patient_id,scp_codes,strat_fold,filename_lr,filename_hr\n"
    (folder / "ptbxl_database.csv").write_text(header + "\n".join(rows) + "\n")
    (folder / "scp_statements.csv").write_text(STATEMENTS)
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the made-up files, which may be changed."""
    monkeypatch.setenv("RESEARCH_DATA_DIR", str(tmp_path))
    return shutil.copytree(made, tmp_path / "ptbxl")


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))


SETS = {
    "all": (71, lambda table: table.index),
    "diagnostic": (44, lambda table: table.index.where(table.diagnostic == 1)),
    "subdiagnostic": (23, lambda table: table.diagnostic_subclass.where(table.diagnostic == 1)),
    "superdiagnostic": (5, lambda table: table.diagnostic_class.where(table.diagnostic == 1)),
    "form": (19, lambda table: table.index.where(table.form == 1)),
    "rhythm": (12, lambda table: table.index.where(table.rhythm == 1)),
}
"""Number of labels as published, and the label of each statement."""


@pytest.mark.parametrize("labels", SETS)
def test_labels_of_the_real_records_are_those_of_the_benchmark(data_dir: Path, labels: str) -> None:
    if not (data_dir / "ptbxl").is_dir():
        pytest.skip("ptbxl is absent")
    table = pd.read_csv(data_dir / "ptbxl" / "ptbxl_database.csv")
    statements = pd.read_csv(data_dir / "ptbxl" / "scp_statements.csv", index_col=0)
    published, label_of = SETS[labels]
    label = pd.Series(label_of(statements), index=statements.index).dropna()
    assert label.nunique() == published
    given = [{label[code] for code in ast.literal_eval(text) if code in label} for text in table.scp_codes]
    found = MultiLabelBinarizer()
    targets = found.fit_transform(given)
    trained = targets[table.strat_fold <= 8].any(0)
    targets, names = targets[:, trained], found.classes_[trained]
    kept = targets.any(1)
    series = PTBXL(labels=labels).load()  # pyright: ignore[reportArgumentType]
    assert series.task.names == tuple(names)
    np.testing.assert_array_equal(series.targets, targets[kept])
    np.testing.assert_array_equal(series.row, np.flatnonzero(kept))
    assert series.patient is not None and series.split is not None
    assert series.patient.tolist() == [f"{patient:.0f}" for patient in table.patient_id[kept]]
    expected = table.strat_fold[kept].map({9: "validation", 10: "test"}).fillna("train")
    assert series.split.tolist() == expected.tolist()
    assert "part of PTB-XL: 500 records, of 21,799 in version 1.0.3" in series.about.notes
    if labels == "all":
        assert series.values.shape == (495 * 1000, 12) and (series.scale, series.interval) == (0.001, 0.01)
        record = wfdb.rdrecord(str(data_dir / "ptbxl" / table.filename_lr[7]))
        row = series.row.tolist().index(7)
        np.testing.assert_allclose(series.values[series.span(row)] * series.scale, record.p_signal, atol=1e-6)


def test_what_is_kept_of_a_small_table(folder: Path) -> None:
    series = PTBXL().load()
    # Statements count at likelihood 0 too; the record with PVC alone has no diagnosis.
    assert series.task.kind == "multilabel" and series.task.names == ("MI", "NORM", "STTC")
    assert series.targets.tolist() == [[0, 1, 0], [1, 0, 0], [0, 0, 1], [1, 0, 0], [0, 1, 0], [0, 1, 1], [1, 0, 0]]
    assert series.row.tolist() == [0, 1, 2, 4, 5, 6, 7] and series.names is not None
    assert series.names.tolist() == ["1", "2", "3", "5", "6", "7", "8"]
    assert series.split is not None and series.split.tolist() == ["train"] * 4 + ["validation"] + ["test"] * 2
    assert series.patient is not None and series.patient.tolist() == ["2", "2", "3", "5", "6", "7", "8"]
    assert [variable.name for variable in series.variables] == ["lead I", "lead II", "lead V1"]
    np.testing.assert_array_equal(series.values[series.span(3)], _stored(5))
    assert series.about.notes[-2:] == (
        "part of PTB-XL: 8 records, of 21,799 in version 1.0.3",
        "1 of 8 records have no label of the set superdiagnostic and are left out",
    )
    series = PTBXL(labels="subdiagnostic", fewest=2).load()
    assert series.task.names == ("IMI",) and len(series) == 3
    assert "3 of 4 labels have fewer than 2 records in train and are left out: AMI, NORM, STTC" in series.about.notes
    prepared = SeriesData(source=PTBXL()).prepare()
    assert prepared.leakage.basis == "by patient"
    assert prepared.splits["test"].read(np.asarray([0]))["values"].shape == (1, 50, 3)


def test_records_that_are_not_here_are_left_out_and_counted(folder: Path) -> None:
    (folder / "records100" / "00008_lr.hea").unlink()
    series = PTBXL().load()
    assert series.row.tolist() == [0, 1, 2, 4, 5, 6]
    assert "7 of 8 records of ptbxl_database.csv are here; the others are left out" in series.about.notes
    with pytest.raises(UserError, match=r"none of the 8 records .* such as records500/00001_hr\.hea\. records100 is"):
        PTBXL(rate=500).load()


def test_records_at_500_hz_are_read_where_these_are_asked_for(folder: Path) -> None:
    for number in (2, 5):
        _write(folder, number, rate=500)
    series = PTBXL(rate=500).load()
    assert series.interval == 0.002 and series.lengths.tolist() == [250, 250] and series.row.tolist() == [1, 4]
    for row, number in enumerate((2, 5)):
        np.testing.assert_array_equal(series.values[series.span(row)], _stored(number, 500))
        record = wfdb.rdrecord(str(folder / "records500" / f"{number:05d}_hr"))
        np.testing.assert_allclose(series.values[series.span(row)] * series.scale, record.p_signal, atol=1e-6)
    assert "2 of 8 records of ptbxl_database.csv are here; the others are left out" in series.about.notes
    edit(folder / "records500" / "00005_hr.hea", " 500 ", " 100 ")
    with pytest.raises(UserError, match=r"00005_hr: 100 Hz; 500 are expected in records500"):
        PTBXL(rate=500).load()


def test_simple_headers_are_read_as_wfdb_reads_them(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = folder / "records100" / "00003_lr"
    simple = wfdb_format.read_record(path)
    monkeypatch.setattr(wfdb_format, "_simple_header", lambda file: None)
    other = wfdb_format.read_record(path)
    np.testing.assert_array_equal(simple.counts, other.counts)
    for name in ("leads", "gains", "units", "rate"):
        assert getattr(simple, name) == getattr(other, name)


def _database(old: str, new: str) -> Callable[[Path], None]:
    return lambda folder: edit(folder / "ptbxl_database.csv", old, new)


def _header(old: str, new: str) -> Callable[[Path], None]:
    return lambda folder: edit(folder / "records100" / "00002_lr.hea", old, new)


WRONG = {
    "table": (lambda folder: (folder / "ptbxl_database.csv").unlink(), r"ptbxl_database\.csv is missing\. Fetch it"),
    "statements": (lambda folder: (folder / "scp_statements.csv").unlink(), r"scp_statements\.csv is missing"),
    "column": (
        _database("strat_fold", "strat_folds"),
        r"ptbxl_database\.csv has no column 'strat_fold'.*Did you mean 'strat_folds'",
    ),
    "rows": (
        lambda folder: (folder / "ptbxl_database.csv").write_text(
            "ecg_id,patient_id,scp_codes,strat_fold,filename_lr\n"
        ),
        r"ptbxl_database\.csv has a header and no rows",
    ),
    "empty": (lambda folder: (folder / "scp_statements.csv").write_text(""), r"cannot be read as a table"),
    "fold": (_database('",1,', '",11,'), r"record 1: strat_fold is '11'; a fold from 1 to 10 is needed"),
    "patient": (_database("1,2.0,", "1,,"), r"record 1: patient_id is ''; the number of the patient"),
    "codes": (_database("{'NORM': 100.0, 'SR': 0.0}", "NORM"), r"record 1: scp_codes is 'NORM'; statements with"),
    "unknown": (_database("'PVC'", "'PVCX'"), r"record 4: statement 'PVCX' is not in .* Did you mean 'PVC'"),
    "length": (_header("100 50", "100 60"), r"00002_lr\.dat: 50 samples of each of 3 .* 00002_lr\.hea declares 60"),
    "rate": (_header("100 50", "250 50"), r"00002_lr: 250 Hz; 100 are expected in records100"),
    "leads": (_header("V1", "V2"), r"00002_lr: its leads are I, II, V2, not I, II, V1"),
    "gain": (_header("1000.0(0)/mV", "500.0(0)/mV"), r"00002_lr: \(500\.0, .* counts per"),
    "signals": (
        lambda folder: (folder / "records100" / "00002_lr.dat").write_bytes(np.full(150, -(2**15), "<i2").tobytes()),
        r"00002_lr\.hea: signal I has the checksum",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_wrong_files_are_named(folder: Path, what: str) -> None:
    spoil, message = WRONG[what]
    spoil(folder)
    with pytest.raises(UserError, match=message):
        PTBXL().load()


def test_unknown_samples_stop_the_run(folder: Path) -> None:
    (folder / "records100" / "00002_lr.dat").write_bytes(np.full(150, -(2**15), "<i2").tobytes())
    header = folder / "records100" / "00002_lr.hea"
    lines = header.read_text().splitlines()
    checksum = 50 * -(2**15) % 2**16
    fields = [line.split(" ") for line in lines[1:]]
    header.write_text("\n".join([lines[0], *(" ".join([*part[:6], str(checksum), *part[7:]]) for part in fields)]))
    with pytest.raises(UserError, match=r"00002_lr\.hea: 150 samples are marked as unknown"):
        PTBXL().load()


def test_a_label_set_without_records_stops_the_run(folder: Path) -> None:
    with pytest.raises(UserError, match=r"labels: none of the 8 records in .* has one of the set form"):
        PTBXL(labels="form", fewest=5).load()
