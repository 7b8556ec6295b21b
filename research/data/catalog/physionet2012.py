"""`PhysioNet2012`: the first 48 hours of stays in intensive care, and what became of the patients."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float32, Float64, Int32, Shaped

from research.data.about import About
from research.data.series import Series, Variable
from research.data.small_files import read_together, small_files
from research.data.source import Source, find_folder
from research.datasets import SUMMARIES
from research.errors import UserError, did_you_mean
from research.spec import field
from research.task import Task

ADDRESS = "https://physionet.org/content/challenge-2012/1.0.0/"

PRESSURES = ("DiasABP", "MAP", "NIDiasABP", "NIMAP", "NISysABP", "SysABP")

UNITS = {
    "Albumin": "g/dL",
    "ALP": "IU/L",
    "ALT": "IU/L",
    "AST": "IU/L",
    "Bilirubin": "mg/dL",
    "BUN": "mg/dL",
    "Cholesterol": "mg/dL",
    "Creatinine": "mg/dL",
    "DiasABP": "mmHg",
    "FiO2": "fraction",
    "GCS": "points",
    "Glucose": "mg/dL",
    "HCO3": "mmol/L",
    "HCT": "%",
    "HR": "bpm",
    "K": "mEq/L",
    "Lactate": "mmol/L",
    "Mg": "mmol/L",
    "MAP": "mmHg",
    "MechVent": "0 or 1",
    "Na": "mEq/L",
    "NIDiasABP": "mmHg",
    "NIMAP": "mmHg",
    "NISysABP": "mmHg",
    "PaCO2": "mmHg",
    "PaO2": "mmHg",
    "pH": "",
    "Platelets": "cells/nL",
    "RespRate": "bpm",
    "SaO2": "%",
    "SysABP": "mmHg",
    "Temp": "°C",
    "TroponinI": "µg/L",
    "TroponinT": "µg/L",
    "Urine": "mL",
    "WBC": "cells/nL",
    "Weight": "kg",
}
"""The 37 variables and their units, as the description of the challenge states them."""

DESCRIPTORS = {"Age": "years", "Gender": "0 female, 1 male", "Height": "cm", "Weight": "kg"}
NAMES = (*UNITS, "Age", "Gender", "Height", "ICUType", "RecordID")
"""Everything that a record may name; rows hold the number of a name."""

INTENSIVE_CARE = ("coronary care", "cardiac surgery recovery", "medical", "surgical")
"""Types of units, numbered from 1."""

PLAUSIBLE = {
    **dict.fromkeys(PRESSURES, (0.001, np.inf)),
    "Height": (100, 230),
    "PaCO2": (5, np.inf),
    "PaO2": (10, np.inf),
    "pH": (6.5, 8),
    "Temp": (20, 45),
    "Weight": (20, np.inf),
}
"""Least and greatest value that an adult can have; only what is plainly a slip or a line that is not connected."""

OUTCOMES = ("RecordID", "SAPS-I", "SOFA", "Length_of_stay", "Survival", "In-hospital_death")
SPLITS = {"a": "train", "b": "validation", "c": "test"}


class PhysioNet2012(Source):
    """Stays in intensive care of the PhysioNet/CinC Challenge 2012: 37 variables at irregular times, five descriptors.

    Read from the files as published: ``set-a.tar.gz``, which need not be unpacked (or the folder ``set-a``), and
    ``Outcomes-a.txt``; likewise for the sets b and c. A sample is a time at which something was observed, in hours
    from admission. What stands on admission (age, gender, height, type of unit as four columns of 0 and 1, weight) is
    ``static``; later weights are a variable.

    -1 and other negative numbers mean missing, as the publisher says. With ``implausible="missing"`` so do values that
    no adult can have (`PLAUSIBLE`): most are slips, such as a pH of 735, and pressures of 0 from lines that measure
    nothing. Of several values of a variable at one time the mean counts, of urine, which is a volume, the sum.

    Targets: ``in_hospital_death``; ``length_of_stay`` in days; ``survival``, the days from admission to death, in the
    hospital or later. Where no death is recorded, the patient was followed until the end of the stay.

    Silva, Moody, Scott, Celi & Mark, "Predicting in-hospital mortality of ICU patients: the PhysioNet/Computing in
    Cardiology Challenge 2012", Computing in Cardiology 39 (2012).
    """

    path: str = field("physionet2012", help="folder of the files; tried as given, then below $RESEARCH_DATA_DIR")
    sets: tuple[Literal["a", "b", "c"], ...] = field(("a",), help="which of the sets are read")
    target: Literal["in_hospital_death", "length_of_stay", "survival"] = field(
        "in_hospital_death", help="what is predicted"
    )
    implausible: Literal["missing", "keep"] = field("missing", help="what becomes of values that no adult can have")
    official: bool = field(False, help="divide as the challenge did: set a trains, b validates, c tests")

    def validate(self) -> None:
        """There are sets, each once; with ``official`` one of them trains."""
        if not self.sets or len(set(self.sets)) < len(self.sets):
            raise UserError(f"sets: one or more of a, b, c are needed, each once; {self.sets} was given.")
        if self.official and "a" not in self.sets:
            raise UserError(f"official: set a is the one that trains; sets are {', '.join(self.sets)}. Add it.")

    def about(self) -> About:
        """Licence, citation and notes."""
        return About(
            name="physionet2012",
            summary=SUMMARIES["physionet2012"],
            licence="ODC-BY 1.0 (PhysioNet)",
            citation=(
                "I. Silva, G. Moody, D. J. Scott, L. A. Celi, R. G. Mark: Predicting in-hospital mortality of ICU "
                "patients: the PhysioNet/Computing in Cardiology Challenge 2012. Computing in Cardiology 39, 245-248 "
                "(2012). A. L. Goldberger et al.: PhysioBank, PhysioToolkit, and PhysioNet. Circulation 101(23), "
                "e215-e220 (2000)"
            ),
            homepage=ADDRESS,
            notes=(
                "patients by RecordID, one for each stay; whether a patient has several stays is not stated",
                "magnesium is said to be in mmol/L; its values look like mg/dL",
                "survival: without a recorded death the patient counts as followed until the end of the stay",
            ),
        )

    def load(self) -> Series:
        """All stays of the sets with an observation and the target; the others are counted in the notes.

        Raises:
            UserError: if a file is absent, damaged or not what is published, naming it and what is wrong.
        """
        folder = find_folder(self.path)
        parts = [_read_set(folder, letter) for letter in self.sets]
        rows = pd.concat(
            [part.rows.assign(stay=part.rows["stay"] + sum(map(len, parts[:n]))) for n, part in enumerate(parts)],
            ignore_index=True,
        )
        record = np.concatenate([part.record for part in parts])
        outcomes = pd.concat([part.outcomes for part in parts], ignore_index=True)
        static, rows, notes = _described(rows, len(record), self.implausible == "missing")
        values, hours, lengths, twice = _sampled(rows, len(record))
        targets, task, known = _targets(outcomes, self.target)
        keep = (lengths > 0) & known
        samples = np.repeat(keep, lengths)
        about, kept = self.about(), np.flatnonzero(keep)
        if not len(kept):
            raise UserError(f"{folder}: no stay has an observation and a {self.target}.")
        split = np.repeat([SPLITS[letter] for letter in self.sets], [len(part) for part in parts])
        names = np.asarray([str(number) for number in record], dtype=object)[kept]
        notes = (*notes, *twice, *(note for part in parts for note in part.notes), *_left_out(record, lengths, known))
        return Series(
            values=values[samples],
            lengths=lengths[kept],
            variables=tuple(Variable(name, unit) for name, unit in UNITS.items()),
            time=hours[samples],
            time_unit="hours",
            static=static[kept],
            static_variables=(
                *(Variable(name, unit) for name, unit in DESCRIPTORS.items()),
                *(Variable(f"ICUType={name}") for name in INTENSIVE_CARE),
            ),
            names=names,
            targets=targets[kept],
            task=task,
            patient=names,
            split=split[kept] if self.official else None,
            row=kept.astype(np.int32),
            about=dataclasses.replace(about, notes=(*about.notes, *notes)),
        )


@dataclasses.dataclass(frozen=True)
class _Set:
    """One set as published: ``rows`` with stay, minute, parameter and value; stays and their outcomes."""

    rows: pd.DataFrame
    record: Shaped[np.ndarray, " N"]
    outcomes: pd.DataFrame
    notes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.record)


def _read_set(folder: Path, letter: str) -> _Set:
    places = [folder / f"set-{letter}.tar.gz", folder / f"set-{letter}"]
    place = next((place for place in places if place.exists()), None)
    if place is None:
        there = [name for name in SPLITS if any((folder / f"set-{name}{end}").exists() for end in (".tar.gz", ""))]
        raise UserError(
            f"{folder} has neither {places[0].name} nor a folder {places[1].name}; it has the sets "
            f"{', '.join(there) or 'none'}. Fetch the file from {ADDRESS}, or choose others with sets=..."
        )
    files = small_files(place, ".txt")
    astray = next((name for name in files if not name.isdigit()), None)
    if astray is not None:
        raise UserError(f"{place}: the file {astray}.txt is no record; these are called NNNNNN.txt. Remove it.")
    kinds = {"Time": "category", "Parameter": "category", "Value": np.float64}
    frame, stay = read_together(place, files, tuple(kinds), ",", dtype=kinds)
    names = list(files)
    time, name = pd.Series(frame["Time"]), pd.Series(frame["Parameter"])
    times, parameters = time.cat, name.cat
    minute = _looked_up(times, {str(text): _minutes(str(text)) for text in times.categories})
    _check(place, names, stay, np.isnan(minute), time, "is no time in hours:minutes")
    parameter = _looked_up(parameters, {text: float(number) for number, text in enumerate(NAMES)})
    unknown = np.isnan(parameter) & (parameters.codes >= 0).to_numpy()
    hint = did_you_mean(str(name.to_numpy()[unknown][0]), NAMES) if unknown.any() else ""
    _check(place, names, stay, unknown, name, "is no variable of the challenge", hint)
    rows = pd.DataFrame({"stay": stay, "minute": minute, "parameter": parameter, "value": frame["Value"]}).dropna()
    record = np.asarray(names, dtype=np.int64)
    outcomes, notes = _read_outcomes(folder / f"Outcomes-{letter}.txt", record, place)
    empty = len(frame) - len(rows)
    if empty:
        notes = (*notes, f"{empty} lines of set {letter} lack a variable or a value and are left out")
    return _Set(rows.astype({"minute": int, "parameter": int}), record, outcomes, notes)


def _looked_up(column: Any, numbers: dict[str, float]) -> Float64[np.ndarray, " rows"]:
    """The number of each text of a categorical column; NaN where there is none."""
    found = [numbers.get(str(text), np.nan) for text in column.categories]
    return np.asarray([*found, np.nan])[column.codes.to_numpy()]


def _minutes(text: str) -> float:
    hours, colon, minutes = text.partition(":")
    return float(int(hours) * 60 + int(minutes)) if colon and hours.isdigit() and minutes.isdigit() else np.nan


def _check(
    place: Path, names: list[str], stay: np.ndarray, wrong: np.ndarray, column: pd.Series, what: str, hint: str = ""
) -> None:
    """Raise `UserError` for the first row that is ``wrong``."""
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        line = int(row - np.searchsorted(stay, stay[row])) + 2
        raise UserError(f"{place}, file {names[stay[row]]}, line {line}: {column.iloc[row]!r} {what}.{hint}")


def _read_outcomes(path: Path, record: Shaped[np.ndarray, " N"], place: Path) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """The outcomes of the records, in their order."""
    if not path.is_file():
        raise UserError(f"{path} is absent; it has the outcomes of {place.name}. Fetch it from {ADDRESS}.")
    try:
        outcomes = pd.read_csv(path, skipinitialspace=True)
        outcomes = outcomes[list(OUTCOMES)].astype(int).set_index("RecordID")
    except (ValueError, KeyError, pd.errors.ParserError) as error:
        raise UserError(
            f"{path}: whole numbers in the columns {', '.join(OUTCOMES)} are needed ({error}). Fetch it again."
        ) from None
    lacking = record[~np.isin(record, outcomes.index)]
    if len(lacking) or outcomes.index.has_duplicates:
        what = f"record {lacking[0]} of {place.name} is absent" if len(lacking) else "a record occurs twice"
        raise UserError(f"{path}: {what}. Both files must be of one set, and complete; fetch them again.")
    absent = len(outcomes) - len(record)
    notes = (f"{absent} records of {path.name} have no file in {place.name}",) if absent else ()
    return outcomes.loc[record].reset_index(), notes


def _described(
    rows: pd.DataFrame, stays: int, drop_implausible: bool
) -> tuple[Float32[np.ndarray, "N D"], pd.DataFrame, tuple[str, ...]]:
    """What is known on admission, and the rows of what was observed; both without what means missing, with notes."""
    stay, value = rows["stay"].to_numpy(), rows["value"].to_numpy()
    at = {name: (rows["parameter"] == number).to_numpy() for number, name in enumerate(NAMES)}
    weights = np.flatnonzero(at["Weight"] & (rows["minute"] == 0).to_numpy())
    admission = np.isin(rows["parameter"], [number for number, name in enumerate(NAMES) if name not in UNITS])
    admission[weights[np.unique(stay[weights], return_index=True)[1]]] = True
    valid = value >= 0
    counts: dict[str, int] = {}
    for name, (low, high) in PLAUSIBLE.items() if drop_implausible else ():
        wrong = valid & at[name] & ~((value >= low) & (value <= high))
        counts[name] = int(wrong.sum())
        valid &= ~wrong
    shown = ", ".join(f"{name} {count}" for name, count in counts.items() if count)
    notes = (f"{sum(counts.values())} values that no adult can have are taken as missing: {shown}",) if shown else ()
    static = np.full((stays, len(DESCRIPTORS) + len(INTENSIVE_CARE)), np.nan, np.float32)
    for column, name in enumerate(DESCRIPTORS):
        there = admission & valid & at[name]
        static[stay[there], column] = value[there]
    there = at["ICUType"] & np.isin(value, np.arange(len(INTENSIVE_CARE)) + 1)
    static[stay[there], len(DESCRIPTORS) :] = np.eye(len(INTENSIVE_CARE))[value[there].astype(int) - 1]
    return static, rows.loc[~admission & valid], notes


def _sampled(
    rows: pd.DataFrame, stays: int
) -> tuple[Float32[np.ndarray, "S C"], Float32[np.ndarray, " S"], Int32[np.ndarray, " N"], tuple[str, ...]]:
    """Values at each distinct time of each stay, the times in hours, the number of times of each stay, and notes."""
    span = int(rows["minute"].to_numpy().max(initial=0)) + 1
    times, sample = np.unique(rows["stay"].to_numpy() * span + rows["minute"].to_numpy(), return_inverse=True)
    cells, place, count = np.unique(
        sample * len(UNITS) + rows["parameter"].to_numpy(), return_inverse=True, return_counts=True
    )
    volume = cells % len(UNITS) == NAMES.index("Urine")
    values = np.full(len(times) * len(UNITS), np.nan, np.float32)
    values[cells] = np.bincount(place, rows["value"].to_numpy()) / np.where(volume, 1, count)
    twice = int((count > 1).sum())
    notes = (f"{twice} times a variable has several values at one time: the mean, of Urine the sum",) if twice else ()
    return (
        values.reshape(len(times), len(UNITS)),
        (times % span / 60).astype(np.float32),
        np.bincount(times // span, minlength=stays).astype(np.int32),
        notes,
    )


def _targets(outcomes: pd.DataFrame, target: str) -> tuple[Shaped[np.ndarray, "N ..."], Task, Bool[np.ndarray, " N"]]:
    """Targets of all stays, what they mean, and of which stays they are known."""
    died = outcomes["In-hospital_death"].to_numpy()
    stay, survival = outcomes["Length_of_stay"].to_numpy(), outcomes["Survival"].to_numpy()
    if target == "in_hospital_death":
        return died.astype(np.int32), Task("binary", ("survived", "died")), np.isin(died, (0, 1))
    if target == "length_of_stay":
        return stay[:, None].astype(np.float32), Task("regression", ("length of stay",), "days"), stay >= 0
    dead = survival >= 0
    days = np.where(dead, survival, stay)
    # A death on the day of admission contradicts the two days that every stay lasts; the outcomes deny such deaths.
    known = days > 0
    return np.stack([days, dead], axis=1).astype(np.float32), Task("survival", ("death",), "days"), known


def _left_out(
    record: Shaped[np.ndarray, " N"], lengths: Int32[np.ndarray, " N"], known: Bool[np.ndarray, " N"]
) -> Iterator[str]:
    empty = record[lengths == 0]
    if len(empty):
        shown = ", ".join(map(str, empty[:12])) + (", ..." if len(empty) > 12 else "")
        yield f"{len(empty)} of {len(record)} stays have no observation and are left out: {shown}"
    unknown = int((~known & (lengths > 0)).sum())
    if unknown:
        yield f"{unknown} of {len(record)} stays have no target and are left out"
