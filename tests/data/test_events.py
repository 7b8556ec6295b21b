"""Records of coded events: what belongs to whom, and what is refused."""

from __future__ import annotations

from typing import Any

import jaxtyping
import numpy as np
import pytest

from research.data import About, Events
from research.errors import UserError
from research.task import NO_LABEL, Task

PARTS: dict[str, Any] = {
    "codes": np.asarray([0, 2, 1, 1, 0], np.int32),
    "vocabulary": ("ICD10//E11", "ATC//A10", "LAB//HbA1c"),
    "lengths": np.asarray([3, 2], np.int32),
    "time": np.asarray([0, 0, 4.5, 0, 90], np.float32),
    "visit": np.asarray([0, 0, 1, 0, 1], np.int32),
    "age": np.asarray([50, 50, 50.01, np.nan, np.nan], np.float32),
    "number": np.asarray([np.nan, 7.2, np.nan, np.nan, np.nan], np.float32),
    "targets": np.asarray([0, 1], np.int32),
    "task": Task("binary", ("no", "yes")),
    "patient": np.asarray(["a", "b"], dtype=object),
    "split": None,
    "row": np.arange(2, dtype=np.int32),
    "about": About(name="made", summary=""),
}


def test_events_are_laid_end_to_end() -> None:
    events = Events(**PARTS)
    assert len(events) == 2 and events.starts.tolist() == [0, 3]
    assert [events.codes[events.span(row)].tolist() for row in range(2)] == [[0, 2, 1], [1, 0]]
    assert events.called(1) == "record 1"
    assert Events(**PARTS | {"names": np.asarray(["x", "y"], dtype=object)}).called(1) == "record y"


def test_hashes_are_equal_for_equal_records_only() -> None:
    twice = {
        name: np.concatenate([part[:3], part[:3]])
        for name, part in PARTS.items()
        if name in ("codes", "time", "visit", "age", "number")
    } | {"lengths": np.asarray([3, 3], np.int32)}
    same = Events(**PARTS | twice).hashes()
    assert same[0] == same[1] and same[0] == Events(**PARTS).hashes()[0]
    for name, other in (("codes", 1), ("time", 9), ("visit", 2), ("age", 51), ("number", 0)):
        changed = twice[name].copy()
        changed[5] = other if name != "codes" else 0
        hashes = Events(**PARTS | twice | {name: changed}).hashes()
        assert hashes[0] == same[0] and hashes[1] != same[0]


def test_targets_may_stand_at_each_event() -> None:
    task = Task("multiclass", PARTS["vocabulary"], per_step=True)
    targets = np.asarray([[2, 1, NO_LABEL], [0, NO_LABEL, NO_LABEL]], np.int32)
    assert Events(**PARTS | {"task": task, "targets": targets}).targets.shape == (2, 3)
    with pytest.raises(UserError, match=r"made: targets of shape \(2, 3\) are needed.*\(2, 2\) was given"):
        Events(**PARTS | {"task": task, "targets": targets[:, :2]})


@pytest.mark.parametrize(
    ("part", "given", "message"),
    [
        ("visit", np.zeros(4, np.int32), "made: 5 codes, but 4 entries of visit"),
        ("number", np.zeros(6, np.float32), "made: 5 codes, but 6 entries of number"),
        ("lengths", np.asarray([3, 3], np.int32), "made: 2 records of 6 events in all are declared, .* and 5 events"),
        ("lengths", np.asarray([5], np.int32), "there are 1 lengths"),
        ("lengths", np.asarray([5, 0], np.int32), "made: record 1 has no event. Leave records without events out"),
        ("codes", np.asarray([0, 2, 1, 3, 0], np.int32), "record 1 has code number 3, but .* the 3 codes 0 to 2"),
        ("codes", np.asarray([0, -1, 1, 1, 0], np.int32), "record 0 has code number -1"),
        ("vocabulary", ("a", "b", "a"), "made: the code 'a' is in the vocabulary more than once"),
        (
            "time",
            np.asarray([0, 5, 4.5, 0, 90], np.float32),
            "made: time goes back in record 0, from day 5 to 4.5. Sort its events by time",
        ),
        ("time", np.asarray([0, 0, 4, np.nan, 90], np.float32), "made: record 1 has an event without a time"),
        ("visit", np.asarray([0, 0, -1, 0, 1], np.int32), "made: record 0 has visit number -1"),
    ],
)
def test_parts_that_disagree_are_refused(part: str, given: Any, message: str) -> None:
    # Outside of the tests nothing else checks that sizes agree.
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        with pytest.raises(UserError, match=message):
            Events(**PARTS | {part: given})
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)
