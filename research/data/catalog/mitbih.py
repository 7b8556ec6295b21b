"""`MITBIH`: heartbeats of the MIT-BIH Arrhythmia Database, in the five classes of AAMI, divided between patients."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float32, Int16, Int32, Int64, Shaped

from research.data.about import About
from research.data.formats.wfdb_format import Record, beside, read_annotations, read_record
from research.data.series import Series, Variable
from research.data.source import Source, find_published
from research.datasets import SUMMARIES
from research.errors import UserError
from research.spec import Static, field
from research.task import Task

HOMEPAGE = "https://physionet.org/content/mitdb/1.0.0/"

TRAIN = (
    *("101", "106", "108", "109", "112", "114", "115", "116", "118", "119", "122"),
    *("124", "201", "203", "205", "207", "208", "209", "215", "220", "223", "230"),
)
"""Records of DS1 of de Chazal et al."""

TEST = (
    *("100", "103", "105", "111", "113", "117", "121", "123", "200", "202", "210"),
    *("212", "213", "214", "219", "221", "222", "228", "231", "232", "233", "234"),
)
"""Records of DS2. 102, 104, 107 and 217 are in neither: AAMI leaves out patients with a pacemaker."""

SHARED, ITS_PATIENT = "201", "202"
"""The record of DS1 that is of the same patient as one of DS2."""

SYMBOLS = {"N": "NLRej", "S": "AaJS", "V": "VE", "F": "F", "Q": "/fQ"}
"""Annotations of beats that belong to each class of AAMI."""

CLASS_OF = {symbol: number for number, symbols in enumerate(SYMBOLS.values()) for symbol in symbols}

NO_BEAT = frozenset('+~|!x"[]')
"""Rhythm, signal quality, artifact, flutter wave, P wave without a beat, comment, begin and end of flutter."""

FLUTTER = frozenset("!]")
"""Between two beats with one of these there was flutter, so that the time between them is no RR interval."""

RR = (
    Variable("RR interval before the beat", "mean RR intervals of the record"),
    Variable("RR interval after the beat", "mean RR intervals of the record"),
)


class MITBIH(Source):
    """Each annotated heartbeat of 44 half-hour recordings as a short series around it, and its class.

    The records (``100.hea``, ``100.dat``, ``100.atr``, ...) lie in ``path``; they are read by wfdb, and nothing is
    filtered. A beat is what lies from ``before`` its annotation to ``after`` it, in counts of 1/200 mV; where that
    goes beyond an end of the record the value at the end goes on, so that no beat is lost.

    The classes are those of ANSI/AAMI EC57: N (normal, bundle branch block, escape), S (supraventricular ectopic), V
    (ventricular ectopic), F (fusion of ventricular and normal), Q (paced, unclassifiable). Train is DS1 and test is
    DS2 of de Chazal et al., of 22 records each; a validation split is taken from train, by patient. The records 201
    (DS1) and 202 (DS2) are of one patient: by default 201 is left out of train. With ``shared_patient=keep`` it stays
    as published, as if it were of another patient, and a warning says so. Of class Q there are 15 beats in all; with
    ``classes=N,S,V,F`` they are left out.

    A lead is chosen by its name, not by its place: record 114 has MLII second. All 44 records have MLII; the other
    lead differs, so name alternatives, the first of which that a record has is taken::

        MITBIH(leads=("MLII", "V1|V5|V2|V4"))

    With ``intervals`` the time to the beat before and to the one after, each divided by the mean over the record, are
    static descriptors; unknown at the ends of a record and across ventricular flutter. They look ahead: one beat, and
    in the mean the whole record.

    Moody & Mark, "The impact of the MIT-BIH Arrhythmia Database", IEEE Engineering in Medicine and Biology 20 (2001);
    de Chazal, O'Dwyer & Reilly, "Automatic classification of heartbeats using ECG morphology and heartbeat interval
    features", IEEE Transactions on Biomedical Engineering 51 (2004).
    """

    path: str = field("mitdb", help="folder of the records; tried as given, then below $RESEARCH_DATA_DIR")
    before: Static[float] = field(0.25, minimum=0, help="seconds of a beat before its annotation")
    after: Static[float] = field(0.45, above=0, help="seconds of a beat from its annotation on")
    leads: tuple[str, ...] = field(("MLII",), help="names of leads; alternatives, of which the first counts, with |")
    intervals: bool = field(False, help="whether RR intervals are given as static descriptors")
    classes: tuple[Literal["N", "S", "V", "F", "Q"], ...] = field(
        ("N", "S", "V", "F", "Q"), help="classes of AAMI that are kept; beats of others are left out"
    )
    shared_patient: Literal["drop", "keep"] = field(
        "drop", help="what becomes of record 201 of train, whose patient is in test too: left out, or as published"
    )

    def validate(self) -> None:
        """At least one lead and two classes, each named once."""
        if not self.leads or "" in self.leads or len(set(self.leads)) < len(self.leads):
            raise UserError(f"leads: different names are needed, such as ('MLII',); {self.leads} was given.")
        if len(self.classes) < 2 or len(set(self.classes)) < len(self.classes):
            raise UserError(f"classes: two or more different ones are needed; {self.classes} was given.")

    def about(self) -> About:
        """Licence, citation and notes."""
        shared = "left out of train" if self.shared_patient == "drop" else "kept in train, as published"
        return About(
            name="mitbih",
            summary=SUMMARIES["mitbih"],
            licence="ODC-BY 1.0",
            citation=(
                "G. B. Moody, R. G. Mark: The impact of the MIT-BIH Arrhythmia Database. IEEE Engineering in Medicine "
                "and Biology 20(3), 45-50 (2001). doi:10.13026/C2F305. A. L. Goldberger et al.: PhysioBank, "
                "PhysioToolkit, and PhysioNet. Circulation 101(23), e215-e220 (2000). Splits: P. de Chazal, M. "
                "O'Dwyer, R. B. Reilly: Automatic classification of heartbeats using ECG morphology and heartbeat "
                "interval features. IEEE Transactions on Biomedical Engineering 51(7), 1196-1206 (2004)"
            ),
            homepage=HOMEPAGE,
            notes=(
                "patients by record, one record each but for 201 and 202",
                "official splits between patients: train is DS1, test is DS2 of de Chazal et al. 2004",
                f"record {SHARED} of DS1 is of the same patient as record {ITS_PATIENT} of DS2: {shared}",
                "records 102, 104, 107 and 217, of patients with a pacemaker, are left out, as AAMI recommends",
                "classes: N normal, bundle branch block or escape; S supraventricular ectopic; V ventricular ectopic; "
                "F fusion of ventricular and normal; Q paced or unclassifiable",
                f"leads: {', '.join(self.leads)}",
            ),
        )

    def load(self) -> Series:
        """All beats, record by record, those of train first.

        Raises:
            UserError: for a record, a header or annotations that are absent or damaged or disagree, a lead that a
                record lacks, an unknown annotation, or a window without a sample.
        """
        folder = find_published(self.path, HOMEPAGE)
        self._check_records(folder)
        beats = [self._beats(folder / record) for record in (*TRAIN, *TEST)]
        self._check_alike(beats)
        record = np.concatenate([np.full(len(part.classes), part.record, object) for part in beats])
        classes = np.concatenate([part.classes for part in beats])
        kept, notes = self._kept(classes, record)
        numbers = np.cumsum([name in self.classes for name in SYMBOLS]) - 1
        about = self.about()
        return Series(
            values=np.concatenate([part.values for part in beats])[kept].reshape(-1, len(self.leads)),
            lengths=np.full(int(kept.sum()), beats[0].values.shape[1], np.int32),
            variables=tuple(Variable(f"lead {lead}", "mV") for lead in self.leads),
            interval=1 / beats[0].rate,
            time_unit="seconds",
            scale=1 / beats[0].gain,
            static=np.concatenate([part.intervals for part in beats])[kept] if self.intervals else None,
            static_variables=RR if self.intervals else (),
            names=np.concatenate([part.names for part in beats])[kept],
            targets=numbers[classes[kept]].astype(np.int32),
            task=self._task,
            patient=record[kept],
            split=np.where(np.isin(record[kept], TRAIN), "train", "test"),
            row=np.flatnonzero(kept).astype(np.int32),
            about=dataclasses.replace(about, notes=(*about.notes, *notes)),
        )

    def _kept(
        self, classes: Int32[np.ndarray, " B"], record: Shaped[np.ndarray, " B"]
    ) -> tuple[Bool[np.ndarray, " B"], list[str]]:
        """Which beats are kept, and what to know of that."""
        kept, notes = np.isin(classes, [list(SYMBOLS).index(name) for name in self.classes]), []
        if not kept.all():
            notes.append(f"{int((~kept).sum()):,} of {len(kept):,} beats are of other classes and left out")
        if self.shared_patient == "drop":
            notes.append(f"{int((kept & (record == SHARED)).sum()):,} beats are of record {SHARED} and left out")
            kept &= record != SHARED
        else:
            notes.append(
                f"one patient is in train (record {SHARED}) and in test (record {ITS_PATIENT}), as published, and "
                f"counts as two: what is learnt from that patient is tested on the same patient."
            )
        if not kept.any():
            raise UserError(f"classes: no beat is of class {' or '.join(self.classes)}. Name other classes.")
        return kept, notes

    @property
    def _task(self) -> Task:
        names = tuple(name for name in SYMBOLS if name in self.classes)
        if len(names) == 2:
            return Task("binary", names)
        return Task("multiclass", names, scorers=("aami",) if {"N", "S", "V"} <= set(names) else ())

    def _check_records(self, folder: Path) -> None:
        """All records are there."""
        absent = [record for record in (*TRAIN, *TEST) if not beside(folder / record, "hea").is_file()]
        if absent:
            raise UserError(
                f"{folder}: {len(absent)} of the {len(TRAIN) + len(TEST)} records are missing: {', '.join(absent)}. "
                f"Fetch {HOMEPAGE} completely."
            )

    def _beats(self, path: Path) -> _Beats:
        """The beats of one record."""
        record = read_record(path)
        columns = [self._column(path, record, lead) for lead in self.leads]
        where, symbols = read_annotations(path, "atr", len(record.counts))
        _check_symbols(path, symbols)
        beat = np.asarray([symbol in CLASS_OF for symbol in symbols], bool)
        centres = where[beat]
        window = np.arange(-round(self.before * record.rate), round(self.after * record.rate))
        if not len(window):
            raise UserError(f"before, after: {self.before:g} and {self.after:g} s are no sample at {record.rate:g} Hz.")
        place = np.clip(centres[:, None] + window[None, :], 0, len(record.counts) - 1)
        units = {(record.gains[column], record.units[column]) for column in columns}
        if len(units) > 1 or next(iter(units))[1] != "mV":
            raise UserError(f"{beside(path, 'hea')}: leads of one gain in counts per mV are needed; found {units}.")
        names = np.empty(len(centres), object)
        name = path.name
        names[:] = [f"{name} at {second:.2f} s" for second in (centres / record.rate).tolist()]
        flutter = np.cumsum([symbol in FLUTTER for symbol in symbols], dtype=np.int64)[beat]
        return _Beats(
            record=name,
            values=record.counts[:, columns][place],
            classes=np.asarray([CLASS_OF[symbol] for symbol in symbols if symbol in CLASS_OF], np.int32),
            intervals=_intervals(centres, flutter),
            names=names,
            rate=record.rate,
            gain=record.gains[columns[0]],
        )

    def _column(self, path: Path, record: Record, lead: str) -> int:
        """Place of a lead, or of the first of its alternatives that the record has."""
        for name in lead.split("|"):
            if name in record.leads:
                return record.leads.index(name)
        raise UserError(
            f"leads: record {path.name} has no lead {lead.replace('|', ' or ')}; its leads are "
            f"{', '.join(record.leads)}. Choose MLII, which all records have, or name alternatives, the first of which "
            f"that a record has is taken, as in 'V1|V5|V2|V4'."
        )

    def _check_alike(self, beats: list[_Beats]) -> None:
        for part in beats:
            if (part.rate, part.gain) != (beats[0].rate, beats[0].gain):
                raise UserError(
                    f"record {part.record} has {part.rate:g} Hz and {part.gain:g} counts per mV, record "
                    f"{beats[0].record} {beats[0].rate:g} and {beats[0].gain:g}: they are not of one database."
                )


@dataclasses.dataclass(frozen=True, eq=False)
class _Beats:
    """Those of one record, B of them."""

    record: str
    values: Int16[np.ndarray, "B T C"]
    classes: Int32[np.ndarray, " B"]
    intervals: Float32[np.ndarray, "B 2"]
    names: Shaped[np.ndarray, " B"]
    rate: float
    gain: float


def _check_symbols(path: Path, symbols: tuple[str, ...]) -> None:
    """Raise `UserError` for an annotation that is not of this database."""
    for symbol in sorted({*symbols} - {*CLASS_OF} - NO_BEAT):
        shown = "one without a known code" if symbol == "nan" else repr(symbol)
        raise UserError(
            f"{beside(path, 'atr')}: annotation {shown} does not occur in the MIT-BIH Arrhythmia Database; its class "
            f"is not known. Beats are {' '.join(CLASS_OF)}. Fetch the file again."
        )


def _intervals(centres: Int64[np.ndarray, " B"], flutter: Int64[np.ndarray, " B"]) -> Float32[np.ndarray, "B 2"]:
    """RR intervals before and after each beat, relative to their mean; NaN where there is none."""
    found = np.full((len(centres), 2), np.nan)
    between = np.where(np.diff(flutter) > 0, np.nan, np.diff(centres).astype(np.float64))
    if not np.isnan(between).all():
        between = between / np.nanmean(between)
    found[1:, 0] = found[:-1, 1] = between
    return found.astype(np.float32)
