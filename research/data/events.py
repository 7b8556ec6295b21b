"""`Events`: coded events of patients over time, such as diagnoses, drugs and laboratory values, one record a row."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import numpy as np
from jaxtyping import Float32, Int32, UInt64

from research.data.dataset import canonical, hash_of
from research.data.sequences import Sequences
from research.errors import UserError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Events(Sequences):
    """Records of one dataset, before splits and preprocessing, their events laid end to end.

    Record number i are the next ``lengths[i]`` of the S events. An event is one code at one moment, with or without a
    number. Events of the same moment have the order in which the source gives them.

    Attributes:
        codes: int32 ``[S]``, numbers into ``vocabulary``.
        vocabulary: the codes as the source writes them, such as ``ICD10//E11``, each once; also those that do not
            occur.
        lengths: int32 ``[N]``, events of each record, at least 1.
        time: float32 ``[S]``, days since the first event of the record, never going back; the first one of a record is
            above 0 only where its beginning was cut off.
        visit: int32 ``[S]``, number of the visit that an event belongs to, within its record, from 0.
        age: float32 ``[S]``, age of the patient in years at each event; NaN where unknown.
        number: float32 ``[S]``, such as the result of a laboratory test; NaN where an event has none.
        names: what to call each record when it is shown; None where there is nothing to say.
    """

    noun: ClassVar = "record"

    codes: Int32[np.ndarray, " S"]
    vocabulary: tuple[str, ...]
    time: Float32[np.ndarray, " S"]
    visit: Int32[np.ndarray, " S"]
    age: Float32[np.ndarray, " S"]
    number: Float32[np.ndarray, " S"]

    def __post_init__(self) -> None:
        """Raises `UserError` where the parts disagree, a record is empty, or time goes back in one."""
        name, events = self.about.name, len(self.codes)
        for part in ("time", "visit", "age", "number"):
            if len(getattr(self, part)) != events:
                raise UserError(f"{name}: {events} codes, but {len(getattr(self, part))} entries of {part}.")
        if len(self.lengths) != len(self) or int(self.lengths.sum()) != events:
            raise UserError(
                f"{name}: {len(self)} records of {int(self.lengths.sum())} events in all are declared, but there are "
                f"{len(self.lengths)} lengths and {events} events."
            )
        if (self.lengths < 1).any():
            row = int(np.flatnonzero(self.lengths < 1)[0])
            raise UserError(f"{name}: {self.called(row)} has no event. Leave records without events out.")
        self._check_vocabulary()
        if self.task.per_step and (self.targets.ndim != 2 or self.targets.shape[1] < int(self.lengths.max())):
            raise UserError(
                f"{name}: targets of shape {(len(self), int(self.lengths.max()))} are needed, a row for each record "
                f"and a column for each event of the longest; {self.targets.shape} was given."
            )
        self._check_order()

    def _check_vocabulary(self) -> None:
        """Every code is in the vocabulary, and no code is in it twice."""
        name, known = self.about.name, len(self.vocabulary)
        outside = (self.codes < 0) | (self.codes >= known)
        if outside.any():
            event = int(np.flatnonzero(outside)[0])
            raise UserError(
                f"{name}: {self.called(self._record_of(event))} has code number {self.codes[event]}, but the "
                f"vocabulary has the {known} codes 0 to {known - 1}."
            )
        if len(set(self.vocabulary)) < known:
            twice = next(code for place, code in enumerate(self.vocabulary) if code in self.vocabulary[:place])
            raise UserError(f"{name}: the code {twice!r} is in the vocabulary more than once.")

    def _check_order(self) -> None:
        """Times are finite and in order; visits are numbered from 0."""
        name = self.about.name
        if not np.isfinite(self.time).all():
            row = self._record_of(int(np.flatnonzero(~np.isfinite(self.time))[0]))
            raise UserError(f"{name}: {self.called(row)} has an event without a time. Leave it out, or give its time.")
        back = np.diff(self.time) < 0
        back[self.starts[1:] - 1] = False
        if back.any():
            event = int(np.flatnonzero(back)[0])
            raise UserError(
                f"{name}: time goes back in {self.called(self._record_of(event))}, from day {self.time[event]:g} to "
                f"{self.time[event + 1]:g}. Sort its events by time."
            )
        if (self.visit < 0).any():
            event = int(np.flatnonzero(self.visit < 0)[0])
            raise UserError(
                f"{name}: {self.called(self._record_of(event))} has visit number {self.visit[event]}; visits of a "
                f"record are numbered from 0."
            )

    def hashes(self) -> UInt64[np.ndarray, " N"]:
        """A number of each record, equal where codes, times, visits, ages and numbers are."""
        found = np.empty(len(self), np.uint64)
        parts = [canonical(part) for part in (self.codes, self.time, self.visit, self.age, self.number)]
        for row, (start, length) in enumerate(zip(self.starts, self.lengths, strict=True)):
            found[row] = hash_of(*(part[start : start + length] for part in parts))
        return found

    def _record_of(self, event: int) -> int:
        """Which record an event belongs to."""
        return int(np.searchsorted(self.starts, event, side="right")) - 1
