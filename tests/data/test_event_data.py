"""Codes become numbers by training patients alone; values by their quantiles; records are cut and filled up."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest

from research.data.about import About
from research.data.event_data import EventData, PreparedEvents
from research.data.events import Events
from research.data.resident import put
from research.data.source import Source
from research.data.vocabulary import UNKNOWN, Vocabulary, build_vocabulary
from research.errors import UserError
from research.task import NO_LABEL, Task

ABOUT = About("made up", "records for tests")
NAMES = ("age", "glucose", "pain", "rare", "only in test")


class MadeUp(Source):
    """Records of one to nine events; the last code is seen in the test split alone."""

    rows: int = 40
    per_step: bool = False

    def about(self) -> About:
        return ABOUT

    def load(self) -> Events:
        random = np.random.default_rng(0)
        lengths = random.integers(1, 10, self.rows).astype(np.int32)
        lengths[:3] = 9
        samples = int(lengths.sum())
        row = np.repeat(np.arange(self.rows), lengths)
        split = np.asarray(["train"] * (self.rows - 20) + ["validation"] * 10 + ["test"] * 10)
        codes = random.integers(0, 3, samples).astype(np.int32)
        codes[split[row] == "test"] = np.where(random.random((split[row] == "test").sum()) < 0.3, 4, 1)
        codes[0] = 3
        number = np.where(codes == 1, random.normal(100, 20, samples), np.nan).astype(np.float32)
        time = np.concatenate([np.sort(random.random(n) * 10) for n in lengths]).astype(np.float32)
        targets = np.arange(self.rows, dtype=np.int32) % 2
        if self.per_step:
            steps = np.arange(9)[None, :] < lengths[:, None]
            targets = np.where(steps, np.arange(9)[None, :] % 2, NO_LABEL).astype(np.int32)
        return Events(
            codes=codes,
            vocabulary=NAMES,
            lengths=lengths,
            time=time,
            visit=np.zeros(samples, np.int32),
            age=np.where(row == 0, np.nan, 40).astype(np.float32),
            number=number,
            targets=targets,
            task=Task("binary", ("no", "yes"), per_step=self.per_step),
            patient=np.arange(self.rows),
            split=split,
            row=np.arange(self.rows, dtype=np.int32),
            about=ABOUT,
        )


def test_the_vocabulary_is_that_of_train_alone() -> None:
    prepared = EventData(source=MadeUp(), values="none", fewest=2).prepare()
    assert isinstance(prepared, PreparedEvents)
    assert {code for code, _ in prepared.vocabulary.codes} == {"age", "glucose", "pain"}
    raw = MadeUp().load()
    test = prepared.splits["test"]
    for place, row in enumerate(test.example):
        found = test.read(np.asarray([place]))["codes"][0]
        codes = raw.codes[raw.span(int(row))]
        assert ((found[: len(codes)] == UNKNOWN) == (codes == 4)).all() and not found[len(codes) :].any()
    told = [warning for warning in prepared.warnings if "not in the vocabulary" in warning]
    assert any(warning.startswith("test: ") for warning in told)


def test_values_of_other_patients_move_no_edge_and_no_moment() -> None:
    class Moved(MadeUp):
        def load(self) -> Events:
            import dataclasses

            raw = MadeUp().load()
            of_test = np.repeat(raw.split == "test", raw.lengths)
            return dataclasses.replace(raw, number=np.where(of_test, raw.number * 100, raw.number).astype(np.float32))

    for values in ("bins", "scaled"):
        plain, moved = (EventData(source=source, values=values).prepare() for source in (MadeUp(), Moved()))
        assert plain.vocabulary == moved.vocabulary and plain.fingerprint != moved.fingerprint


def test_bins_are_quantiles_of_train_and_have_numbers_of_their_own() -> None:
    random = np.random.default_rng(1)
    values = np.concatenate([random.normal(size=1000), [np.nan] * 100]).astype(np.float32)
    codes, train = np.zeros(1100, np.int32), np.ones(1100, bool)
    found = build_vocabulary(codes, ("lab",), values, train, 100, 1, bins=4)
    np.testing.assert_allclose(found.edges["lab"], np.quantile(values[:1000].astype(float), [0.25, 0.5, 0.75]))
    numbers = found.numbered(codes, ("lab",), values)
    assert sorted(np.bincount(numbers)[2:].tolist()) == [100, 250, 250, 250, 250]
    assert len(set(numbers[1000:].tolist())) == 1
    assert Vocabulary.from_json(found.to_json()) == found
    scaled = found.scaled(codes, ("lab",), values)
    assert np.nanmean(scaled) == pytest.approx(0, abs=1e-5) and np.nanstd(scaled) == pytest.approx(1, abs=1e-5)
    assert np.isnan(scaled[1000:]).all()


def test_the_most_frequent_codes_are_kept() -> None:
    codes = np.repeat(np.arange(4), [5, 1, 9, 3]).astype(np.int32)
    names, values = ("a", "b", "c", "d"), np.full(18, np.nan, np.float32)
    found = build_vocabulary(codes, names, values, np.ones(18, bool), 4, 2, None)
    assert found.codes == (("c", -1), ("a", -1)) and len(found) == 4
    assert found.numbered(codes, names, values).tolist() == [3] * 5 + [UNKNOWN] + [2] * 9 + [UNKNOWN] * 3


@pytest.mark.parametrize("keep", ["first", "last"])
def test_longer_records_are_cut_and_time_begins_anew(keep: Any) -> None:
    raw = MadeUp(per_step=True).load()
    prepared = EventData(source=MadeUp(per_step=True), longest=4, keep=keep, values="scaled").prepare()
    assert isinstance(prepared.data, EventData)
    train = prepared.splits["train"]
    batch = jax.device_get(prepared.data.transform(put(train, prepared.task)))
    for place, row in enumerate(train.example):
        events = raw.span(int(row))
        kept = (
            slice(events.start, events.start + 4)
            if keep == "first"
            else slice(max(events.stop - 4, events.start), events.stop)
        )
        kept = slice(kept.start, min(kept.stop, events.stop))
        n = kept.stop - kept.start
        assert batch.inputs["length"][place] == n
        np.testing.assert_allclose(batch.inputs["time"][place, :n], raw.time[kept] - raw.time[kept.start])
        np.testing.assert_array_equal(batch.inputs["number_known"][place, :n], ~np.isnan(raw.number[kept]))
        assert np.isfinite(batch.inputs["number"]).all()
        first = kept.start - events.start
        np.testing.assert_array_equal(batch.targets[place, :n], raw.targets[row, first : first + n])
        assert (batch.targets[place, n:] == NO_LABEL).all()
    assert any("records were cut to 4 events" in warning for warning in prepared.warnings)


def test_lengths_end_with_the_longest() -> None:
    with pytest.raises(UserError, match=r"data.lengths: ascending lengths up to data.longest, 256"):
        EventData(source=MadeUp(), lengths=(4, 8)).prepare()
    prepared = EventData(source=MadeUp(), longest=9, lengths=(4, 9)).prepare()
    groups = prepared.groups()
    assert groups is not None and set(groups.tolist()) == {0, 1}
    assert prepared.padding() < EventData(source=MadeUp(), longest=9).prepare().padding()
