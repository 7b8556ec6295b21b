"""What processes say to each other, over a store in memory: decisions, differences, failures, silence, standstill."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from jax.errors import JaxRuntimeError

from research.errors import REQUEUE, UserError
from research.processes import ProcessGroup, group

pytestmark = pytest.mark.filterwarnings("ignore:Exception in thread:pytest.PytestUnhandledThreadExceptionWarning")
"""Threads of processes that have ended end by an exception."""

SILENT = 0.3
CALLED = {0: "a, pid 7", 1: "b, pid 8", 2: "c, pid 9"}


class Store:
    """JAX's store as far as it is used, in memory."""

    def __init__(self) -> None:
        self.kept: dict[str, str] = {}
        self._changed = threading.Condition()

    def key_value_set(self, name: str, text: str, allow_overwrite: bool) -> None:
        with self._changed:
            assert allow_overwrite or name not in self.kept
            self.kept[name] = text
            self._changed.notify_all()

    def key_value_delete(self, name: str) -> None:
        with self._changed:
            del self.kept[name]

    def key_value_dir_get(self, folder: str) -> list[tuple[str, str]]:
        with self._changed:
            return [(name, text) for name, text in self.kept.items() if name.startswith(f"{folder}/")]

    def blocking_key_value_get(self, name: str, milliseconds: int) -> str:
        with self._changed:
            if not self._changed.wait_for(lambda: name in self.kept, milliseconds / 1000):
                raise JaxRuntimeError("DEADLINE_EXCEEDED: it was not written")
            return self.kept[name]


class Ends:
    """Stands for the end of a process: notes its exit code and ends the thread."""

    def __init__(self) -> None:
        self.codes: list[int] = []
        self.came = threading.Event()

    def __call__(self, code: int) -> None:
        self.codes.append(code)
        self.came.set()
        raise SystemExit


@pytest.fixture
def ends(monkeypatch: Any) -> Ends:
    found = Ends()
    monkeypatch.setattr(group.os, "_exit", found)
    for name, seconds in (("BEAT", 0.02), ("WAIT", 0.05), ("SAME_MISTAKE", 0.2), ("LAST", 0.5)):
        monkeypatch.setattr(group, f"{name}_SECONDS", seconds)
    return found


@pytest.fixture
def make(ends: Ends) -> Iterator[Callable[..., list[ProcessGroup]]]:
    made: list[ProcessGroup] = []

    def groups(count: int, silent: float = 60.0, present: int | None = None, stuck: float = 60.0) -> list[ProcessGroup]:
        store = Store()
        new = [ProcessGroup(store, index, count, CALLED, silent, stuck) for index in range(present or count)]
        made.extend(new)
        return new

    yield groups
    for each in made:
        each._over.set()
    for thread in threading.enumerate():
        if thread.name.startswith("watch over"):
            thread.join()  # while the end of a process is none


def together(*calls: Callable[[], Any]) -> list[Any]:
    """What each call gives, or its error, in a thread of its own each."""
    found: list[Any] = [None] * len(calls)

    def call(number: int) -> None:
        try:
            found[number] = calls[number]()
        except Exception as error:
            found[number] = error

    threads = [threading.Thread(target=call, args=(number,)) for number in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def eventually(holds: Callable[[], bool]) -> bool:
    """Whether it does within 5 s."""
    deadline = time.monotonic() + 5
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.02)
    return holds()


def decisions(group: ProcessGroup) -> list[int]:
    """Those that the store holds."""
    return [int(name.rpartition("/")[2]) for name in list(group._client.kept) if "/decision/" in name]


def test_a_process_alone_decides_for_itself() -> None:
    alone = ProcessGroup()
    assert alone.leads and alone.count == 1 and alone.decide({"a": 1}, wish=True) == {"a": 1} and not alone.wished()
    alone.check_same({"data": "x"})
    alone.wait_for_all("here")
    alone.fail("nothing ends", 1)
    alone.close()


def test_all_do_what_process_0_decides_and_the_store_does_not_grow(make: Any) -> None:
    groups = make(3)

    for number in range(10):  # as in training, where none runs ahead of the others
        given = [{"updates": 10 * each.index + number} for each in groups]
        calls = zip(groups, given, strict=True)
        decided = together(*[lambda each=each, mine=mine: each.decide(mine) for each, mine in calls])
        assert decided == [{"updates": number}] * 3
    assert eventually(lambda: not decisions(groups[0]))


def test_decisions_stay_until_a_process_that_is_late_has_read_them(make: Any) -> None:
    first, second, third = make(3)
    for number in range(5):  # updates are sent off to the devices, and process 0 does not wait for them
        first.decide({"updates": number})
    assert decisions(first) == [1, 2, 3, 4, 5]
    assert [second.decide({})["updates"] for _ in range(5)] == [0, 1, 2, 3, 4]
    assert third.decide({}) == {"updates": 0}
    assert eventually(lambda: decisions(first) == [2, 3, 4, 5])
    assert [third.decide({})["updates"] for _ in range(4)] == [1, 2, 3, 4]
    assert eventually(lambda: not decisions(first))


def test_a_wish_reaches_process_0(make: Any) -> None:
    first, second = make(2)
    together(lambda: first.decide({}), lambda: second.decide({}))
    assert not first.wished()
    together(lambda: first.decide({}), lambda: second.decide({}, wish=True))
    assert first.wished()


def test_the_process_that_differs_is_named_to_all(make: Any) -> None:
    groups = make(3)
    same = {"seed": "3", "data": "f00"}
    assert together(*[lambda each=each: each.check_same(same) for each in groups]) == [None] * 3
    given = [same, same, same | {"data": "bad"}]
    calls = zip(groups, given, strict=True)
    errors = together(*[lambda each=each, mine=mine: each.check_same(mine) for each, mine in calls])
    assert {type(error) for error in errors} == {UserError} and len({str(error) for error in errors}) == 1
    assert "data: process 2 (c, pid 9) has bad, process 0 (a, pid 7) has f00" in str(errors[0])
    assert "Runs that have nothing to do with each other are each given --processes 1." in str(errors[0])


def test_waiting_lasts_until_all_have_come(make: Any) -> None:
    first, second = make(2)
    began = time.monotonic()
    for seconds in (0.0, 0.3):  # as at the end of two runs, one after the other
        late = functools.partial(time.sleep, seconds)
        together(lambda: first.wait_for_all("there"), lambda late=late: (late(), second.wait_for_all("there")))
    assert time.monotonic() - began > 0.25
    assert together(first.close, second.close) == [None, None]


def said_in(capsys: Any, ends: Ends, *parts: str) -> str:
    """What was said when a process ended."""
    assert ends.came.wait(5)
    deadline, said = time.monotonic() + 5, ""
    while time.monotonic() < deadline and not all(part in said for part in parts):
        said += capsys.readouterr().err
        time.sleep(0.02)
    assert all(part in said for part in parts), said
    return said


def test_an_error_of_one_ends_the_others_with_its_message_and_code(make: Any, ends: Ends, capsys: Any) -> None:
    _, second, _ = make(3)
    together(lambda: second.fail("the disk is full", 7))
    said_in(
        capsys,
        ends,
        "error: process 1 (b, pid 8): the disk is full",
        "process 0 (a, pid 7): process 1 (b, pid 8) has failed, so this one ends too: the disk is full",
        "process 2 (c, pid 9): process 1 (b, pid 8) has failed",
        "What was saved is intact: run the same command again.",
    )
    assert eventually(lambda: ends.codes == [7, 7, 7])


def test_the_same_mistake_of_all_is_said_once(make: Any, ends: Ends, capsys: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(group, "BEAT_SECONDS", 30.0)  # no thread looks at what the others say
    groups = make(3)
    together(*[lambda each=each: each.fail("epochs: a number is needed", 2) for each in groups])
    assert ends.codes == [2, 2, 2]
    assert capsys.readouterr().err == "error: epochs: a number is needed\n"


def test_process_0_ends_the_store_once_all_have_left(make: Any, ends: Ends) -> None:
    first, second = make(2)
    ended = []
    first._end_store = lambda: ended.append(True)
    together(lambda: first.fail("broken", 1), lambda: second.fail("broken", 1))
    assert ended == [True]


def test_a_process_without_a_sign_of_life_is_named(make: Any, ends: Ends, capsys: Any) -> None:
    make(2, SILENT, present=1)
    said = said_in(capsys, ends, "process 1 (b, pid 8) has given no sign of life for 0 s, so this one ends too")
    assert "It was killed, or its machine or the network between is down." in said and ends.codes == [REQUEUE]
    assert said.count("error: ") == 1  # though it waits for the others longer than for a sign of life


def test_a_store_that_no_longer_answers_ends_a_process_and_names_where_it_was(
    make: Any, ends: Ends, capsys: Any
) -> None:
    _, second = make(2, SILENT)
    answers = threading.Event()
    second._client.key_value_set = lambda *arguments, **options: answers.wait(10)
    said_in(
        capsys,
        ends,
        "error: process 1 (b, pid 8): process 0 (a, pid 7) can no longer be reached",
        "machine or pod was lost, or the network between is down.\nWhat was saved is intact",
    )
    answers.set()
    assert set(ends.codes) == {REQUEUE}


def test_processes_that_live_are_not_taken_for_lost(make: Any, ends: Ends) -> None:
    make(3, SILENT)
    assert not ends.came.wait(4 * SILENT)


def test_an_unforeseen_error_waits_for_the_end_of_another_that_may_have_caused_it(
    make: Any, ends: Ends, capsys: Any
) -> None:
    (first,) = make(2, SILENT, present=1)
    together(lambda: first.fail("Gloo: connection closed", 1, foreseen=False))
    said = said_in(capsys, ends, "process 1 (b, pid 8) has given no sign of life")
    assert said.index("no sign of life") < said.find("Gloo") or "Gloo" not in said


def test_a_process_that_hangs_while_another_waits_is_named(make: Any, ends: Ends, capfd: Any) -> None:
    _, second, third = make(3, stuck=SILENT)
    for each in (second, third):
        threading.Thread(target=each.wait_for_all, args=("here",), daemon=True).start()
    said = said_in(
        capfd, ends, "process 0 (a, pid 7) is waited for", "set RESEARCH_STUCK_SECONDS to more", "b, pid 8): no process"
    )
    assert "most recent call first" in said and "test_group.py" in said
    assert eventually(lambda: ends.codes == [group.HANGS] * 3)


def test_a_process_that_is_behind_the_others_is_named(make: Any, ends: Ends, capfd: Any) -> None:
    first, second, third = make(3, stuck=SILENT)  # the devices of the others wait for it
    first._steps, second._steps, third._steps = 4, 3, 4
    said_in(capfd, ends, "no process has come further for 0 s, and process 1 (b, pid 8) is waited for")


def test_processes_that_work_for_long_while_none_waits_are_left_in_peace(make: Any, ends: Ends) -> None:
    make(3, stuck=SILENT)
    assert not ends.came.wait(4 * SILENT)
