"""`MEDS`: patient records in the Medical Event Data Standard, with labels from a table or one of the ready tasks."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Bool, Int32, Int64

from research.data.about import About
from research.data.events import Events
from research.data.sequences import Unlabelled, places
from research.data.source import Source, find
from research.errors import UserError, did_you_mean
from research.spec import Static, field
from research.task import NO_LABEL, Task

SUBJECT, TIME, CODE, VALUES = "subject_id", "time", "code", ("numeric_value", "value")
BIRTH, DEATH = "MEDS_BIRTH", "MEDS_DEATH"
ADMISSION, DISCHARGE = "HOSPITAL_ADMISSION", "HOSPITAL_DISCHARGE"
NUMBERS = (pa.types.is_floating, pa.types.is_integer, pa.types.is_decimal, pa.types.is_null)
LABELS = ("boolean_value", "categorical_value", "integer_value", "float_value")
DAY, YEAR = np.timedelta64(86_400_000_000, "us"), 365.25
OTHER = "other"
NEXT_CODE = (
    "only the events after the admission of a record's own stay are targets, each of them once",
    "the classes are the most frequent targets of all patients, those of validation and test among them",
)
DEMO = "mimic_iv_demo_meds_events.parquet"

TaskName = Literal["labels", "next_code", "length_of_stay", "long_stay"]


class MEDS(Source):
    """Coded events of patients: Parquet with ``subject_id``, ``time``, ``code`` and ``numeric_value`` (or ``value``).

    Medical Event Data Standard: Arnrich et al., "Medical event data standard (MEDS): facilitating machine learning for
    health", ICLR workshop 2024; one file, or a folder below which every Parquet file is read (``data/`` of a dataset,
    whose splits are not used). A record is what is known of a patient **up to and including** a prediction time;
    nothing after it enters. Events without a time, such as the gender, come first; the birth gives the age and is no
    event. A visit begins at each ``visit_code``.

    ``task="labels"`` reads prediction times and labels from a Parquet table ``labels``: ``subject_id``,
    ``prediction_time`` and one of ``boolean_value``, ``categorical_value``, ``integer_value`` (classes) and
    ``float_value`` (a quantity). A patient may have several. Ready tasks on hospital stays:

    - ``next_code``: at each event of a stay, from its admission on, the code of the next one, one of the ``classes``
      most frequent targets of all patients or "other"; a record is what is known at the end of the stay, and events
      before it have no target, so that no event is a target twice. Codes are cut to their first ``parts`` parts
      between ``//``, as their last ones often are units.
    - ``length_of_stay``: ``hours`` after each admission, how long the stay will be in all, in days.
    - ``long_stay``: the same moment; whether that is more than ``days`` days. Stays that have ended by then are left
      out in both, and so are those without a discharge.
    """

    path: str = field(f"mimic4_demo_meds/{DEMO}", help="a Parquet file, or a folder of them")
    task: TaskName = field("labels", help="labels from a table, or a ready task")
    labels: str | None = field(None, help="Parquet table of subject_id, prediction_time and a label; task labels only")
    classes: int = field(50, minimum=2, help="codes told apart by next_code, the most frequent of all")
    parts: int = field(2, minimum=1, help="parts of a code between // that next_code looks at")
    hours: Static[float] = field(24.0, minimum=0, help="hours after admission at which a stay is judged")
    days: Static[float] = field(7.0, above=0, help="days from which on a stay is long")
    visit_code: str = field(ADMISSION, help="a code that begins so begins a visit")
    most: int = field(4096, minimum=1, help="most events of a record that are read, the last ones before its moment")

    def validate(self) -> None:
        """A table of labels is given where it is needed, and only there."""
        if (self.labels is None) == (self.task == "labels"):
            what = "is needed for task=labels" if self.labels is None else f"is of no use for task={self.task}"
            raise UserError(f"labels: a table {what}. Set labels=FILE.parquet, or task=next_code or length_of_stay.")

    def about(self) -> About:
        """Licence and citation of the MIMIC-IV demo where that is what is read."""
        notes = NEXT_CODE if self.task == "next_code" else ()
        if Path(self.path).name != DEMO:
            return About(name=Path(self.path).stem or "meds", summary=f"records in MEDS, task {self.task}", notes=notes)
        return About(
            name="mimic4_demo_meds",
            summary=f"MIMIC-IV demo, 100 patients, 916,166 events; task {self.task}",
            licence="ODbL 1.0",
            citation=(
                "A. E. W. Johnson et al.: MIMIC-IV, a freely accessible electronic health record dataset. Scientific "
                "Data 10, 1 (2023); R. van de Water et al.: MIMIC-IV demo data in MEDS, PhysioNet (2025)"
            ),
            homepage="https://physionet.org/content/mimic-iv-demo-meds/",
            notes=("dates are shifted by patient; ages of the oldest are not exact", *notes),
        )

    def load(self) -> Events:
        """All records; raises `UserError` for files that are no MEDS, and where no record is left."""
        frame, born = _read(find(self.path))
        moments, notes = self._moments(frame)
        return self._records(frame, born, moments, notes, None)

    def reads_records(self) -> MEDS:
        """See `Source.reads_records`."""
        return self

    def read_new(self, path: str, beside: str | None, task: Task) -> Unlabelled:
        """Records of new patients; nothing is known of their targets.

        Args:
            path: a file or a folder, as ``path`` of a training.
            beside: Parquet table of ``subject_id`` and ``prediction_time``; None: each patient is judged at the last
                event that has a time.
            task: what is predicted.

        Raises:
            UserError: as `load`.
        """
        frame, born = _read(find(path))
        if beside is not None:
            moments, notes = _read_moments(find(beside, Path.is_file), set(frame[SUBJECT]))
        else:
            moments, notes = self._ends(frame)
        events = self.replace(path=path)._records(frame, born, moments, [], task)
        empty = len(moments) - len(events)
        notes += [f"{empty} of {len(moments)} records have no event by their moment: left out."] if empty else []
        times = moments["moment"].to_numpy("datetime64[us]")[events.row]
        assert events.patient is not None
        return Unlabelled(events, {"patient": events.patient, "prediction_time": times}, tuple(notes))

    def _ends(self, frame: Any) -> tuple[Any, list[str]]:
        """The last time of each patient."""
        last = frame.dropna(subset=[TIME]).groupby(SUBJECT, sort=False)[TIME].max()
        lost = frame[SUBJECT].nunique() - len(last)
        notes = [f"{lost} patients have no event with a time: left out."] if lost else []
        if self.task in ("length_of_stay", "long_stay"):
            notes.append(
                f"each patient is judged at the end of what is known, and this run learnt to judge stays "
                f"{self.hours:g} hours after admission: give such times with --beside."
            )
        return pd.DataFrame({SUBJECT: last.index, "moment": last.to_numpy()}), notes

    def _moments(self, frame: Any) -> tuple[Any, list[str]]:
        """Patient, prediction time and label of each record, and what was left out."""
        if self.task == "labels":
            assert self.labels is not None
            return _read_labels(find(self.labels, Path.is_file), set(frame[SUBJECT]))
        return self._stays(frame)

    def _stays(self, frame: Any) -> tuple[Any, list[str]]:
        """Admissions, and which event they are, with the discharge that follows; judged some hours after they began."""
        ends = frame.loc[frame[CODE].str.startswith((ADMISSION, DISCHARGE)), [SUBJECT, TIME, CODE]].copy()
        ends["begins"] = ends[CODE].str.startswith(ADMISSION)
        following = ends.shift(-1)
        closed = ends["begins"] & (following[SUBJECT] == ends[SUBJECT]) & (following["begins"] == False)  # noqa: E712
        stays: Any = pd.DataFrame({SUBJECT: ends[SUBJECT], "begin": ends[TIME], "end": following[TIME]})[closed]
        notes = []
        dated = stays["begin"].notna() & stays["end"].notna()
        moment, running = stays["end"], dated
        if self.task != "next_code":
            moment = stays["begin"] + pd.to_timedelta(self.hours, unit="h")
            running = dated & (moment < stays["end"])
        length = (stays["end"] - stays["begin"]) / pd.Timedelta(days=1)
        label = length if self.task == "length_of_stay" else (length > self.days).astype(np.int64)
        for count, why in (
            (int((ends["begins"] & ~closed).sum()), "without a discharge"),
            (int((~dated).sum()), "whose admission or discharge has no time"),
            (int((dated & ~running).sum()), f"that had ended {self.hours:g} hours after they began"),
        ):
            if count:
                notes.append(f"{count} of {int(ends['begins'].sum())} stays are left out: {why}.")
        columns = {SUBJECT: stays[SUBJECT], "moment": moment, "label": label, "admission": stays.index}
        found: Any = pd.DataFrame(columns)[running]
        return found.reset_index(drop=True), notes

    def _records(self, frame: Any, born: Any, moments: Any, notes: list[str], learnt: Task | None) -> Events:
        """What is known of each patient at each moment; with ``learnt``, a task, nothing of targets."""
        times = frame[TIME].to_numpy("datetime64[us]")
        begins, ends = _up_to(frame[SUBJECT].to_numpy(), times, moments)
        empty = begins == ends
        if empty.all():
            raise UserError(f"{self.path}: no record has an event up to its prediction time; check the labels' times.")
        if empty.any():
            notes = [*notes, f"{int(empty.sum())} of {len(moments)} records have no event by their moment: left out."]
        lengths = np.minimum(ends - begins, self.most).astype(np.int32)
        if learnt is None and self.task == "next_code":
            moments, silent = _own_events(moments, ends, lengths)
            silent &= ~empty
            if silent.any():
                notes = [
                    *notes,
                    f"{int(silent.sum())} of {len(moments)} stays have no event that is a target: left out.",
                ]
            empty |= silent
            if empty.all():
                raise UserError(f"{self.path}: no stay has an event after its admission; raise most, {self.most}.")
        moments, ends, lengths = moments[~empty], ends[~empty], lengths[~empty]
        starts = np.cumsum(lengths, dtype=np.int64) - lengths
        chosen = np.repeat(ends - lengths - starts, lengths) + np.arange(lengths.sum())
        codes, vocabulary = pd.factorize(frame[CODE], sort=True)
        visit = np.cumsum(frame[CODE].str.startswith(self.visit_code).to_numpy())[chosen]
        first = np.repeat(_first_known(times[chosen], starts, lengths), lengths)
        dated = np.where(np.isnat(times[chosen]), first, times[chosen])
        birth = born.reindex(frame[SUBJECT]).to_numpy("datetime64[us]")[chosen]
        texts = [str(code) for code in vocabulary]
        if learnt is not None:
            targets, task = learnt.unknown(len(moments), int(lengths.max())), learnt
        else:
            targets, task = self._targets(moments, codes[chosen], texts, lengths)
        patient = moments[SUBJECT].astype(str).to_numpy(object)
        names = [f"{who} at {when:%Y-%m-%d %H:%M}" for who, when in zip(patient, moments["moment"], strict=True)]
        return Events(
            codes=codes[chosen].astype(np.int32),
            vocabulary=tuple(texts),
            lengths=lengths,
            time=((dated - first) / DAY).astype(np.float32),
            visit=(visit - np.repeat(visit[starts], lengths)).astype(np.int32),
            age=((dated - birth) / DAY / YEAR).astype(np.float32),
            number=frame["number"].to_numpy(np.float32)[chosen],
            names=np.asarray(names),
            targets=targets,
            task=task,
            patient=patient,
            split=None,
            row=np.flatnonzero(~empty).astype(np.int32),
            about=dataclasses.replace(self.about(), notes=(*self.about().notes, *notes)),
        )

    def _targets(
        self, moments: Any, codes: np.ndarray, vocabulary: list[str], lengths: np.ndarray
    ) -> tuple[np.ndarray, Task]:
        label = moments["label"]
        if self.task == "next_code":
            return self._next_codes(codes, vocabulary, lengths, moments["before"].to_numpy())
        if self.task == "length_of_stay":
            return label.to_numpy(np.float32)[:, None], Task("regression", ("length of stay",), "days")
        if self.task == "long_stay":
            return label.to_numpy(np.int32), Task("binary", ("short stay", f"longer than {self.days:g} days"))
        if label.dtype == np.float64:
            return label.to_numpy(np.float32)[:, None], Task("regression", ("label",))
        if label.dtype == bool:
            return label.to_numpy(np.int32), Task("binary", ("no", "yes"))
        numbers, names = pd.factorize(label, sort=True)
        if len(names) < 2:
            raise UserError(f"{self.labels}: all labels are {names[0]!r}; at least two classes are needed.")
        kind = "binary" if len(names) == 2 else "multiclass"
        return numbers.astype(np.int32), Task(kind, tuple(str(name) for name in names))

    def _next_codes(
        self,
        codes: np.ndarray,
        vocabulary: list[str],
        lengths: np.ndarray,
        before: Int64[np.ndarray, " N"],
    ) -> tuple[np.ndarray, Task]:
        """For each event but the last of a record, and but those ``before`` its stay, the class of the next one."""
        place, step = places(lengths)
        told = (step >= before[place]) & (step < lengths[place] - 1)
        short = ["//".join(code.split("//")[: self.parts]) for code in vocabulary]
        kinds, names = pd.factorize(np.asarray(short, object)[codes[1:][told[:-1]]], sort=True)
        frequent = np.argsort(-np.bincount(kinds), kind="stable")[: self.classes]
        if len(names) < 2:
            raise UserError(f"{self.path}: all targets are {names[0]!r}; at least two classes are needed.")
        number = np.full(len(names), len(frequent), np.int32)
        number[frequent] = np.arange(len(frequent))
        targets = np.full((len(lengths), int(lengths.max())), NO_LABEL, np.int32)
        targets[place[told], step[told]] = number[kinds]
        classes = tuple(str(names[kind]) for kind in frequent)
        classes = (*classes, OTHER) if len(names) > len(frequent) else classes
        return targets, Task("multiclass", classes, per_step=True, ahead=True)


def _read(place: Path) -> tuple[Any, Any]:
    """All events but births, by patient and time, with ``number`` for the numeric value; and the births."""
    files = [place] if place.is_file() else sorted(place.rglob("*.parquet"))
    if not files:
        raise UserError(f"{place}: no Parquet file is in this folder. Give the file, or the folder data/ of a dataset.")
    frames = []
    for file in files:
        table = _table(file)
        values = [name for name in VALUES if name in table.column_names]
        _check_columns(file, table, {SUBJECT: "an identifier", TIME: "a timestamp", CODE: "text"})
        if not values:
            raise UserError(f"{file}: the column of numeric values is missing; it is called {' or '.join(VALUES)}.")
        _check_columns(file, table, {values[0]: "numbers"})
        frame = table.select([SUBJECT, TIME, CODE, values[0]]).to_pandas()
        frames.append(frame.rename(columns={values[0]: "number"}))
    found: Any = pd.concat(frames, ignore_index=True)
    if not len(found):
        raise UserError(f"{place}: there are no events.")
    lacking = found[CODE].isna() | found[SUBJECT].isna()
    if lacking.any():
        raise UserError(
            f"{place}: event {int(np.flatnonzero(lacking)[0])} has no {CODE} or no {SUBJECT} "
            f"({int(lacking.sum())} in all)."
        )
    found = found.assign(number=found["number"].astype(np.float32))
    born = found.loc[found[CODE] == BIRTH].drop_duplicates(SUBJECT).set_index(SUBJECT)[TIME]
    # Events without a time come first in any record; the sort keeps the order of the source among equals.
    found = found.loc[found[CODE] != BIRTH].sort_values([SUBJECT, TIME], kind="stable", na_position="first")
    return found.reset_index(drop=True), born


def _table(file: Path) -> pa.Table:
    try:
        return pq.ParquetFile(file).read()
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{file}: this is not a readable Parquet file ({str(error).splitlines()[0]}).") from None


def _check_columns(file: Path, table: pa.Table, wanted: dict[str, str]) -> None:
    """Raises `UserError` where a column is missing or of another type."""

    def is_text(kind: Any) -> bool:
        return pa.types.is_string(kind) or pa.types.is_large_string(kind)

    kinds: dict[str, Any] = {
        "a timestamp": pa.types.is_timestamp,
        "text": lambda kind: is_text(kind) or pa.types.is_dictionary(kind),
        "numbers": lambda kind: any(test(kind) for test in NUMBERS),
        "an identifier": lambda kind: pa.types.is_integer(kind) or is_text(kind),
    }
    for name, what in wanted.items():
        if name not in table.column_names:
            hint = did_you_mean(name, table.column_names)
            raise UserError(f"{file}: column {name!r} is missing.{hint} There are: {', '.join(table.column_names)}.")
        kind = table.schema.field(name).type
        if not kinds[what](kind):
            raise UserError(f"{file}: column {name!r} must hold {what}, and holds {kind}.")


def _read_moments(file: Path, known: set[Any], label: str | None = None) -> tuple[Any, list[str]]:
    """Patient and prediction time of each row of a table, and its label where one is named."""
    table = _table(file)
    _check_columns(file, table, {SUBJECT: "an identifier", "prediction_time": "a timestamp"})
    names = {SUBJECT: SUBJECT, "prediction_time": "moment"} | ({label: "label"} if label is not None else {})
    frame: Any = table.select(list(names)).to_pandas().rename(columns=names)
    lacking = frame.isna().any(axis=1)
    if lacking.any():
        more = "" if label is None else " or a label"
        raise UserError(f"{file}: row {int(np.flatnonzero(lacking)[0])} lacks a patient, a time{more}.")
    strange = ~frame[SUBJECT].isin(known)
    what = "rows" if label is None else "labels"
    notes = [f"{int(strange.sum())} of {len(frame)} {what} are of patients without any event: left out."]
    if strange.all():
        raise UserError(f"{file}: none of its patients is in the data; check {SUBJECT}.")
    return frame[~strange].reset_index(drop=True), notes if strange.any() else []


def _read_labels(file: Path, known: set[Any]) -> tuple[Any, list[str]]:
    """Patient, prediction time and label of each row of a table of labels."""
    table = _table(file)
    there = [name for name in LABELS if name in table.column_names and table[name].null_count < len(table)]
    if len(there) != 1:
        raise UserError(
            f"{file}: one column of labels is needed, one of {', '.join(LABELS)}; "
            f"{'none' if not there else ' and '.join(there)} was found."
        )
    frame, notes = _read_moments(file, known, there[0])
    if there[0] == "float_value":
        frame["label"] = frame["label"].astype(np.float64)
    return frame, notes


def _up_to(
    subjects: np.ndarray, times: np.ndarray, moments: Any
) -> tuple[Int64[np.ndarray, " N"], Int64[np.ndarray, " N"]]:
    """First and last (not included) of the events of each patient up to and including each moment.

    Events without a time come first and are always known; a record of them alone is empty.
    """
    wanted = moments[SUBJECT].to_numpy()
    begins, ends = (np.searchsorted(subjects, wanted, side=side) for side in ("left", "right"))
    undated = np.isnat(times)
    earliest = np.datetime64("0001-01-01", "us")
    known = np.where(undated, earliest, times)
    found = np.empty(len(begins), np.int64)
    for place, moment in enumerate(moments["moment"].to_numpy("datetime64[us]")):
        span = slice(begins[place], ends[place])
        count = int(np.searchsorted(known[span], moment, side="right"))
        found[place] = begins[place] + (count if count > int(undated[span].sum()) else 0)
    return begins.astype(np.int64), found


def _own_events(
    moments: Any, ends: Int64[np.ndarray, " N"], lengths: Int32[np.ndarray, " N"]
) -> tuple[Any, Bool[np.ndarray, " N"]]:
    """Stays with ``before``, the events of their record before the first that has a target; and which have none.

    An event is a target once, though one at the very time of a discharge may belong to the next stay too.
    """
    same = moments[SUBJECT].eq(moments[SUBJECT].shift()).to_numpy()
    first = np.maximum(moments["admission"].to_numpy(), np.where(same, np.roll(ends, 1) - 1, 0))
    before = np.maximum(first - (ends - lengths), 0)
    return moments.assign(before=before), before >= lengths - 1


def _first_known(times: np.ndarray, starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """The first time of each record that is known; not a time where none is."""
    found = np.full(len(starts), np.datetime64("NaT", "us"))
    for place, (start, length) in enumerate(zip(starts, lengths, strict=True)):
        known = times[start : start + length]
        known = known[~np.isnat(known)]
        if len(known):
            found[place] = known[0]
    return found
