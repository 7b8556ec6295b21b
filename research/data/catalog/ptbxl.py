"""`PTBXL`: ten-second electrocardiograms of 12 leads, with the label sets and folds of the PTB-XL benchmark."""

from __future__ import annotations

import ast
import dataclasses
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from jaxtyping import Bool, Shaped

from research.data.about import About
from research.data.dataset import SPLITS
from research.data.formats.wfdb_format import Record, beside, read_record
from research.data.series import Series, Variable
from research.data.source import Source, find_published
from research.errors import UserError, did_you_mean
from research.spec import field
from research.task import Task

HOMEPAGE = "https://physionet.org/content/ptb-xl/1.0.3/"
RECORDS = 21799
"""Of version 1.0.3."""

DATABASE, STATEMENTS = "ptbxl_database.csv", "scp_statements.csv"
FILE_COLUMN = {100: "filename_lr", 500: "filename_hr"}

VALIDATION, TEST, FOLDS = 9, 10, 10
"""Folds of the benchmark, numbered from 1; the others train."""

KIND = {"subdiagnostic": "diagnostic", "superdiagnostic": "diagnostic"}
"""Column that says which statements make up a label set, where it has not the name of the set."""

LABEL = {"subdiagnostic": "diagnostic_subclass", "superdiagnostic": "diagnostic_class"}
"""Column of the label of a statement, where the label is not the statement itself."""


class PTBXL(Source):
    """PTB-XL: electrocardiograms of 10 s, with 12 leads and any number of labels; counts of mV / 1000.

    ``ptbxl_database.csv``, ``scp_statements.csv`` and ``records100/`` or ``records500/`` lie in ``path``. Where only
    some of the records are there, these are loaded and the notes say how many. All 21,799 take 0.5 GB of memory at
    100 Hz, 2.6 GB at 500 Hz.

    The label sets are those of the benchmark: 71 statements in all, of which 44 are diagnostic, 19 on form and 12 on
    rhythm (some are of two kinds); 23 sub- and 5 superclasses of the diagnostic ones. As in the benchmark a record has
    a label if its statement is given, whatever likelihood stands beside it, for 0 is written where none was stated;
    records without any label of the set are left out; and folds 1 to 8 train, 9 validates and 10 tests. Folds keep
    each patient together. Labels with fewer than ``fewest`` records in the training folds cannot be learnt and are left
    out as well. The notes count what was left out.

    Wagner et al., "PTB-XL, a large publicly available electrocardiography dataset", Scientific Data 7, 154 (2020);
    Strodthoff et al., "Deep learning for ECG analysis: benchmarks and insights from PTB-XL", IEEE Journal of
    Biomedical and Health Informatics 25 (2021).
    """

    path: str = field("ptbxl", help="folder of the files; tried as given, then below $RESEARCH_DATA_DIR")
    rate: Literal[100, 500] = field(100, help="samples per second: records100 or records500")
    labels: Literal["all", "diagnostic", "subdiagnostic", "superdiagnostic", "form", "rhythm"] = field(
        "superdiagnostic", help="label set of the benchmark"
    )
    fewest: int = field(1, minimum=1, help="records of the training folds that a label needs")

    def about(self) -> About:
        """Licence, citation and notes."""
        return About(
            name="ptbxl",
            summary=f"electrocardiograms of 12 leads and 10 s at {self.rate} Hz; {self.labels} labels, any number each",
            licence="CC BY 4.0",
            citation=(
                "P. Wagner et al.: PTB-XL, a large publicly available electrocardiography dataset. Scientific Data 7, "
                "154 (2020). doi:10.13026/kfzx-aw45. A. L. Goldberger et al.: PhysioBank, PhysioToolkit, and "
                "PhysioNet. Circulation 101(23), e215-e220 (2000). Label sets and folds: N. Strodthoff et al.: Deep "
                "learning for ECG analysis: benchmarks and insights from PTB-XL. IEEE Journal of Biomedical and Health "
                "Informatics 25(5), 1519-1528 (2021)"
            ),
            homepage=HOMEPAGE,
            notes=(
                "patients by the column patient_id",
                f"official splits between patients: folds 1 to 8 train, {VALIDATION} validation, {TEST} test",
                "a label is given whatever the likelihood of its statement, as in the benchmark",
            ),
        )

    def load(self) -> Series:
        """Signals and labels, in memory.

        Raises:
            UserError: for files that are absent or damaged, columns that lack, statements that are not known, or where
                no record has a label.
        """
        folder = find_published(self.path, HOMEPAGE)
        table = _read_table(folder / DATABASE, ("ecg_id", "patient_id", "scp_codes", "strat_fold", self._file_column))
        present = self._present(folder, table)
        notes = [f"{len(present)} of {len(table)} records of {DATABASE} are here; the others are left out"]
        notes = notes if len(present) < len(table) else []
        if len(present) < RECORDS:
            notes.append(f"part of PTB-XL: {len(present):,} records, of {RECORDS:,} in version 1.0.3")
        names, targets, split = self._labelled(folder, table.iloc[present], notes)
        has_label = targets.any(1)
        if not has_label.any():
            raise UserError(f"labels: none of the {len(present)} records in {folder} has one of the set {self.labels}.")
        if not has_label.all():
            without = int((~has_label).sum())
            notes.append(
                f"{without:,} of {len(present):,} records have no label of the set {self.labels} and are left out"
            )
        rows = present[has_label]
        chosen = table.iloc[rows]
        records = [read_record(folder / file) for file in chosen[self._file_column]]
        self._check_alike(chosen, records)
        about = self.about()
        return Series(
            values=np.concatenate([record.counts for record in records]),
            lengths=np.asarray([len(record.counts) for record in records], np.int32),
            variables=tuple(Variable(f"lead {lead}", "mV") for lead in records[0].leads),
            interval=1 / self.rate,
            time_unit="seconds",
            scale=1 / records[0].gains[0],
            names=chosen["ecg_id"].to_numpy(object),
            targets=targets[has_label].astype(np.float32),
            task=Task("multilabel", names),
            patient=np.asarray([f"{float(patient):.0f}" for patient in chosen["patient_id"]], object),
            split=split[has_label],
            row=rows.astype(np.int32),
            about=dataclasses.replace(about, notes=(*about.notes, *notes)),
        )

    @property
    def _file_column(self) -> str:
        return FILE_COLUMN[self.rate]

    def _present(self, folder: Path, table: pd.DataFrame) -> Shaped[np.ndarray, " n"]:
        """Rows whose record is there."""
        files = table[self._file_column]
        found = np.flatnonzero([beside(folder / file, "hea").is_file() for file in files])
        if not len(found):
            other = 500 if self.rate == 100 else 100
            hint = f" records{other} is there: set rate={other}." if (folder / f"records{other}").is_dir() else ""
            raise UserError(
                f"{folder}: none of the {len(files)} records that {DATABASE} names is there, such as "
                f"{files.iloc[0]}.hea.{hint} Fetch records{self.rate} from {HOMEPAGE}."
            )
        return found

    def _labelled(
        self, folder: Path, table: pd.DataFrame, notes: list[str]
    ) -> tuple[tuple[str, ...], Bool[np.ndarray, "n L"], Shaped[np.ndarray, " n"]]:
        """Names of the labels, which of them each record has, and the split of each record."""
        place, labels = folder / DATABASE, self._labels(folder)
        names = sorted({label for label in labels.values() if label})
        targets, split = np.zeros((len(table), len(names)), bool), np.full(len(table), SPLITS[0], "<U10")
        columns = (table[name] for name in ("ecg_id", "patient_id", "scp_codes", "strat_fold"))
        for row, (identifier, patient, codes, fold) in enumerate(zip(*columns, strict=True)):
            number, where = _number(fold), f"{place}, record {identifier}"
            if number is None or not 1 <= number <= FOLDS:
                raise UserError(f"{where}: strat_fold is {fold!r}; a fold from 1 to {FOLDS} is needed.")
            if _number(patient) is None:
                raise UserError(f"{where}: patient_id is {patient!r}; the number of the patient is needed.")
            split[row] = {VALIDATION: SPLITS[1], TEST: SPLITS[2]}.get(number, SPLITS[0])
            for code in _statements(codes, where):
                if code not in labels:
                    raise UserError(
                        f"{where}: statement {code!r} is not in {STATEMENTS}.{did_you_mean(code, labels)} The two "
                        f"files must be of one version."
                    )
                if labels[code]:
                    targets[row, names.index(labels[code])] = True
        enough = targets[split == SPLITS[0]].sum(0) >= self.fewest
        if not enough.all():
            few = [name for name, kept in zip(names, enough, strict=True) if not kept]
            what = "no record" if self.fewest == 1 else f"fewer than {self.fewest} records"
            notes.append(f"{len(few)} of {len(names)} labels have {what} in train and are left out: {', '.join(few)}")
        return tuple(np.asarray(names, object)[enough]), targets[:, enough], split

    def _labels(self, folder: Path) -> dict[str, str]:
        """Each statement and its label in the set; empty where it belongs to none."""
        kind, label = KIND.get(self.labels, self.labels), LABEL.get(self.labels)
        needed = tuple(name for name in (kind, label) if name not in (None, "all"))
        table = _read_table(folder / STATEMENTS, needed, first="statement")
        member = np.ones(len(table), bool) if kind == "all" else [_number(cell) == 1 for cell in table[kind]]
        labels = table["statement" if label is None else label]
        return {
            code: name if belongs else ""
            for code, name, belongs in zip(table["statement"], labels, member, strict=True)
        }

    def _check_alike(self, table: pd.DataFrame, records: list[Record]) -> None:
        """Leads, their order, gain and rate are the same everywhere."""
        first = records[0]
        for file, record in zip(table[self._file_column], records, strict=True):
            if record.rate != self.rate:
                raise UserError(f"{file}: {record.rate:g} Hz; {self.rate} are expected in records{self.rate}.")
            if record.leads != first.leads:
                raise UserError(f"{file}: its leads are {', '.join(record.leads)}, not {', '.join(first.leads)}.")
            if len({*record.gains, *first.gains}) > 1 or {*record.units} != {"mV"}:
                raise UserError(
                    f"{file}: {record.gains} counts per {record.units}; all leads need {first.gains[0]:g} per mV."
                )


def _read_table(path: Path, columns: tuple[str, ...], first: str = "") -> pd.DataFrame:
    """A table as text; ``first`` names its first column, which has no name in the file."""
    if not path.is_file():
        raise UserError(f"{path} is missing. Fetch it from {HOMEPAGE}.")
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (ValueError, OSError) as error:
        raise UserError(f"{path} cannot be read as a table ({error}). Fetch it again.") from None
    if first:
        table = table.rename(columns={table.columns[0]: first})
    for name in columns:
        if name not in table.columns:
            raise UserError(
                f"{path} has no column {name!r}.{did_you_mean(name, table.columns)} Its columns: "
                f"{', '.join(table.columns)}. Fetch it again."
            )
    if not len(table):
        raise UserError(f"{path} has a header and no rows. Fetch it again.")
    return table


def _statements(text: str, where: str) -> list[str]:
    """Statements of ``{'NORM': 100.0, 'SR': 0.0}``."""
    try:
        found = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        found = None
    if not isinstance(found, dict) or not all(isinstance(code, str) for code in found):
        raise UserError(f"{where}: scp_codes is {text!r}; statements with likelihoods are needed: {{'NORM': 100.0}}.")
    return list(found)


def _number(cell: str) -> int | None:
    """The whole number of a cell, which may be written ``1.0``; None for other cells."""
    try:
        value = float(cell)
    except ValueError:
        return None
    return int(value) if value.is_integer() else None
