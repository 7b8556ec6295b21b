"""`EventData`: records of coded events, numbered by a vocabulary of the training patients."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Iterator
from typing import Any, ClassVar, Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float32, Int32, Int64, Key, Shaped

from research.data.batch import Batch
from research.data.dataset import SPLITS
from research.data.events import Events
from research.data.leakage import check_leakage
from research.data.prepare import (
    Listener,
    add_text,
    check_present,
    divide,
    fingerprint_of,
    leaks_of,
    other_kind,
    warnings_of,
)
from research.data.sequences import PreparedSequences, SequenceData
from research.data.shelf import Shelf
from research.data.source import Source
from research.data.split import Split
from research.data.vocabulary import UNKNOWN, Vocabulary, build_vocabulary
from research.errors import UserError
from research.spec import check, field
from research.task import NO_LABEL


class EventData(SequenceData):
    """What an experiment on patient records learns from: records, their division, and the numbers of their codes.

    A model gets a dict: ``codes [B, T]``, 0 on padding, 1 for a code that train does not have, else from 2 on;
    ``time [B, T]`` in days since the first event that is kept; ``visit [B, T]`` from 0; ``age [B, T]`` in years, NaN
    where it is not known; ``length [B]``; and with ``values="scaled"`` ``number [B, T]`` and ``number_known [B, T]``,
    the value of an event less the mean of its code in train, over its deviation, and whether it has one.

    The vocabulary holds the most frequent codes of the training patients; no other patient is looked at. With
    ``lengths`` each batch is cut as `SeriesData` does.
    """

    along_steps: ClassVar = ("codes", "time", "visit", "age", "number")

    vocabulary: int = field(2000, minimum=3, help="most numbers for codes, padding and unknown among them")
    fewest: int = field(2, minimum=1, help="events in train that a code needs; rarer ones are unknown")
    values: Literal["none", "bins", "scaled"] = field(
        "bins", help="numeric values: left out; a code of its own for each bin of them; or scaled beside the code"
    )
    bins: int = field(4, minimum=2, maximum=100, help="quantiles of train into which the values of a code are cut")
    longest: int = field(256, minimum=1, help="most events of a record")
    keep: Literal["first", "last"] = field("last", help="which events of a longer record are kept")

    def validate(self) -> None:
        """Lengths ascend up to ``longest``."""
        if self.lengths and (list(self.lengths) != sorted(set(self.lengths)) or self.lengths[-1] != self.longest):
            raise UserError(
                f"data.lengths: ascending lengths up to data.longest, {self.longest}, are needed; {self.lengths} was "
                f"given."
            )

    def prepare(
        self, stored: bool = False, listener: Listener | None = None, shelf: Shelf | None = None
    ) -> PreparedEvents:
        """See `Data.prepare`; inputs are put together from the events, which are in memory in any case."""
        check(self)
        shelf = shelf or Shelf()
        raw = shelf.load(self.source)
        if not isinstance(raw, Events):
            raise other_kind(self, "records of events", raw)
        self.check_balanced(raw.task)
        raw = dataclasses.replace(raw, alike=raw.hashes())
        split = self.split.assign(raw)
        check_present(raw, split, self.split.required)
        assert raw.alike is not None
        leakage = check_leakage(split, raw.patient, raw.alike)
        leaks = leaks_of(leakage, {}, copies="records")
        train = np.repeat(split == "train", raw.lengths)
        bins = self.bins if self.values == "bins" else None
        values = self._values(raw)
        vocabulary = build_vocabulary(raw.codes, raw.vocabulary, values, train, self.vocabulary, self.fewest, bins)
        whole = self.inputs_of(raw, vocabulary)
        splits = divide(raw, split, whole.of, shelf.largest(self.split, self.source, raw))
        if raw.task.per_step:
            for name, examples in splits.items():
                targets = self._targets(raw, np.flatnonzero(split == name))
                splits[name] = dataclasses.replace(examples, targets=targets)
        return PreparedEvents(
            data=self.replace(lengths=self.lengths or (self.longest,)),
            splits=splits,
            task=raw.task,
            about=raw.about,
            patients_known=raw.patient is not None,
            fingerprint=fingerprint_of(raw, split, functools.partial(_add_events, events=raw)),
            leakage=leakage,
            warnings=(
                *warnings_of(raw, split, self.source.about().notes),
                *itertools.chain(*leaks.values()),
                *_left_out(raw, whole.codes, split, self.longest),
            ),
            leaks=leaks,
            vocabulary=vocabulary,
        )

    def inputs_of(self, events: Events, vocabulary: Vocabulary) -> EventInputs:
        """Inputs of all records, old or new, by the vocabulary of a training."""
        values = self._values(events)
        codes = vocabulary.numbered(events.codes, events.vocabulary, values)
        number = vocabulary.scaled(events.codes, events.vocabulary, values) if self.values == "scaled" else None
        return EventInputs(codes, events, number, *self._kept(events), self.longest)

    def _values(self, events: Events) -> Float32[np.ndarray, " S"]:
        """Numeric values as far as they count."""
        return events.number if self.values != "none" else np.full_like(events.number, np.nan)

    def _kept(self, events: Events) -> tuple[Int64[np.ndarray, " N"], Int32[np.ndarray, " N"]]:
        """Where the kept events of each record begin, and how many they are."""
        lengths = np.minimum(events.lengths, self.longest).astype(np.int32)
        return events.starts + (events.lengths - lengths if self.keep == "last" else 0), lengths

    def _targets(self, events: Events, rows: Shaped[np.ndarray, " n"]) -> Int32[np.ndarray, "n T"]:
        """Targets of the kept events of the records ``rows``, one for each."""
        begins, lengths = self._kept(events)
        found = np.full((len(rows), self.longest), NO_LABEL, np.int32)
        for place, row in enumerate(rows):
            first = int(begins[row] - events.starts[row])
            found[place, : lengths[row]] = events.targets[row, first : first + int(lengths[row])]
        return found

    def transform(self, batch: Batch, key: Key[Array, ""] | None = None) -> Batch:
        """See `Data.transform`; numbers that are not known become 0."""
        inputs = dict(batch.inputs)
        if "number" in inputs:
            inputs["number_known"] = ~jnp.isnan(inputs["number"])
            inputs["number"] = jnp.nan_to_num(inputs["number"], nan=0.0)
        return dataclasses.replace(batch, inputs=inputs)

    def traced(self) -> EventData:
        """See `Data.traced`: the lengths."""
        return EventData(source=Source(), split=Split(), longest=self.longest, lengths=self.lengths)


@dataclasses.dataclass(frozen=True)
class PreparedEvents(PreparedSequences):
    """Records ready to be trained on and evaluated.

    Attributes:
        vocabulary: of the training patients.
    """

    vocabulary: Vocabulary

    def details(self) -> dict[str, Any]:
        """See `Prepared.details`."""
        assert isinstance(self.data, EventData)
        return {
            "events": {
                "numbers": len(self.vocabulary),
                "kept": self.spread(),
                "lengths": list(self.data.cut_lengths()),
                "vocabulary": self.vocabulary.to_json(),
            }
        }


@dataclasses.dataclass(frozen=True, eq=False)
class EventInputs:
    """Inputs of one split, put together from records laid end to end when they are asked for.

    Attributes:
        codes: ``[S]`` of all splits, numbered by the vocabulary.
        events: the raw records.
        number: ``[S]``, scaled values; None where they are not inputs of their own.
        begins: where the kept events of each record of the split begin.
        lengths: how many they are.
        longest: events of what is read.
    """

    codes: Int32[np.ndarray, " S"]
    events: Events
    number: Float32[np.ndarray, " S"] | None
    begins: Int64[np.ndarray, " n"]
    lengths: Int32[np.ndarray, " n"]
    longest: int

    def of(self, rows: Shaped[np.ndarray, " n"]) -> EventInputs:
        """Inputs of the records ``rows``."""
        return dataclasses.replace(self, begins=self.begins[rows], lengths=self.lengths[rows])

    def __len__(self) -> int:
        return len(self.lengths)

    def texts(self, position: int) -> list[str]:
        """The codes of the kept events of a record as the source writes them, with their numbers."""
        begin = int(self.begins[position])
        place = slice(begin, begin + int(self.lengths[position]))
        pairs = zip(self.events.codes[place], self.events.number[place], strict=True)
        return [self.events.vocabulary[code] + ("" if np.isnan(n) else f" = {n:g}") for code, n in pairs]

    def read(self, positions: Shaped[np.ndarray, " B"]) -> dict[str, np.ndarray]:
        """Inputs of the records at ``positions``, filled up with zeros to ``longest`` events."""
        positions = np.asarray(positions)
        lengths, steps = self.lengths[positions], np.arange(self.longest)
        beyond = steps[None, :] >= lengths[:, None]
        place = np.minimum(self.begins[positions][:, None] + steps[None, :], len(self.codes) - 1)

        def gathered(of: np.ndarray) -> np.ndarray:
            found = of[place]
            found[beyond] = 0
            return found

        events = self.events
        found = {"codes": gathered(self.codes), "age": gathered(events.age), "length": lengths}
        for name, of in (("time", events.time), ("visit", events.visit)):
            # From the first event that is kept on, so that it does not tell how much was cut off.
            first = of[self.begins[positions]][:, None]
            found[name] = np.where(beyond, 0, gathered(of) - first).astype(of.dtype)
        if self.number is not None:
            found["number"] = gathered(self.number)
        return found


def _left_out(
    events: Events, codes: Int32[np.ndarray, " S"], split: Shaped[np.ndarray, " N"], longest: int
) -> Iterator[str]:
    """How many events the vocabulary does not have, and how many records are cut."""
    of_split = np.repeat(split, events.lengths)
    for name in (name for name in SPLITS if (split == name).any()):
        unknown = float((codes[of_split == name] == UNKNOWN).mean())
        if unknown > 0:
            yield f"{name}: {100 * unknown:.1f} % of the events have a code that is not in the vocabulary of train."
    cut = int((events.lengths > longest).sum())
    if cut:
        yield f"{cut} of {len(events)} records were cut to {longest} events."


def _add_events(digest: Any, events: Events) -> None:
    add_text(digest, list(events.vocabulary))
    assert events.alike is not None
    digest.update(np.ascontiguousarray(events.lengths, "<i4").tobytes())
    digest.update(np.ascontiguousarray(events.alike, "<u8").tobytes())
