"""What the processes of one run say to each other beside their arrays: decisions, signs of life, and how it ends.

They write into the store of JAX's coordination service (`research.processes.store`); a thread of each looks at what
the others have written. JAX itself would end a process whose neighbour is lost without a word that a user understands,
and would wait for ever for one that hangs.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import faulthandler
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NoReturn

from research.errors import REQUEUE, UserError

BEAT_SECONDS = 1.0
SILENT_SECONDS = 30.0
"""After so long without a sign of life a process is taken for lost."""

STUCK_SECONDS = 1200.0
"""After so long in which no main thread has come further, while one waits for another, that one is taken to hang."""

STUCK = "RESEARCH_STUCK_SECONDS"
"""The variable for it."""

WAIT_SECONDS = 1.0
SAME_MISTAKE_SECONDS = 3.0
LAST_SECONDS = 8.0
"""How long process 0, which ends the store, waits at most for the others to read why it ends."""

INTACT = "What was saved is intact: run the same command again."
HANGS = 1
"""Exit code where a process hangs, which a further attempt may only repeat."""


@dataclasses.dataclass(frozen=True)
class Sign:
    """The sign of life that a process gives.

    Attributes:
        beat: its number.
        steps: to how many of the calls that all must come to its main thread has come.
        read: the last decision that it has read.
        waits: whether its main thread waits there for another one.
    """

    beat: int = 0
    steps: int = 0
    read: int = 0
    waits: bool = False


class ProcessGroup:
    """The processes of one run, as one of them sees them; alone it is all of them, and everything is done at once.

    Args:
        client: of JAX's coordination service; None for a process alone.
        index: which process this is, from 0.
        count: how many there are.
        called: host and process id of each, where known.
        silent: seconds without a sign of life after which a process is taken for lost.
        stuck: seconds in which none has come further, while one waits for another, after which that one hangs.
        end_store: ends the store, on process 0.
    """

    def __init__(
        self,
        client: Any = None,
        index: int = 0,
        count: int = 1,
        called: Mapping[int, str] = {},
        silent: float = SILENT_SECONDS,
        stuck: float = STUCK_SECONDS,
        end_store: Callable[[], None] | None = None,
    ) -> None:
        self.index, self.count = index, count
        self._client, self._called, self._end_store = client, called, end_store
        self._silent, self._stuck = silent, stuck
        self._decisions, self._steps, self._read, self._waits = 0, 0, 0, False
        self._unread = collections.deque[int]()
        self._wish = threading.Event()
        self._over = threading.Event()
        self._answered = threading.Event()
        self._ending = threading.Lock()
        if client is not None:
            for watch, what in ((self._watch, "the other processes"), (self._watch_store, "the store")):
                threading.Thread(target=watch, name=f"watch over {what}", daemon=True).start()

    @property
    def leads(self) -> bool:
        """Whether this is the process that decides, writes files and shows what goes on."""
        return self.index == 0

    def decide(self, value: dict[str, Any], wish: bool = False) -> dict[str, Any]:
        """What process 0 gave as ``value`` in the same call; each must come to the same calls in the same order.

        Args:
            value: of JSON types.
            wish: whether this process asks for what `wished` tells process 0 of, such as to stop.
        """
        self._steps += 1
        if self._client is None:
            return value
        if wish and not self.leads and not self._wish.is_set():
            self._wish.set()
            self._write("wish/" + str(self.index), "")
        self._decisions += 1
        name = f"decision/{self._decisions}"
        if self.leads:
            self._write(name, json.dumps(value))
            self._unread.append(self._decisions)
            return value
        decided = json.loads(self._await(name))
        self._read = self._decisions
        return decided

    def wished(self) -> bool:
        """On process 0: whether another process has asked; see `decide`."""
        return self._client is not None and bool(self._client.key_value_dir_get("research/wish"))

    def check_same(self, what: Mapping[str, str]) -> None:
        """Raise `UserError` on all where a process does not have the same, naming it; ``what`` is by name."""
        if self._client is None:
            return
        self._steps += 1
        self._decisions += 1
        name = f"same/{self._decisions}"
        self._write(f"{name}/{self.index}", json.dumps(dict(what)))
        self.wait_for_all(name)
        first = json.loads(self._await(f"{name}/0"))
        for index in range(1, self.count):
            other = json.loads(self._await(f"{name}/{index}"))
            for key, value in first.items():
                if other.get(key) != value:
                    raise UserError(
                        f"{key}: {self.name(index)} has {other.get(key)}, {self.name(0)} has {value}. All processes "
                        f"must have the same: start them with the same command, code, data and packages. Runs that "
                        f"have nothing to do with each other are each given --processes 1."
                    )

    def wait_for_all(self, name: str) -> None:
        """Return once all have come here; each wait is one of its own, also of the same name."""
        self._steps += 1
        if self._client is not None:
            here = f"here/{self._steps}/{name}"
            self._write(f"{here}/{self.index}", "")
            for index in range(self.count):
                self._await(f"{here}/{index}")

    def name(self, index: int) -> str:
        """A process for messages."""
        return f"process {index} ({self._called[index]})" if index in self._called else f"process {index}"

    def fail(self, message: str, exit_code: int, foreseen: bool = True) -> None:
        """End this process because of an error, and so the others, who say why; returns in a process alone.

        Args:
            message: for the user.
            exit_code: of all.
            foreseen: False for errors of libraries, which may be what is seen here of the end of another process: that
                one is waited for.
        """
        if self._client is None:
            return
        if not foreseen:
            time.sleep(self._silent + 3 * BEAT_SECONDS)  # the watching thread ends this process before
        self._end_once(exit_code)
        with contextlib.suppress(Exception):
            self._write(f"failed/{self.index}", json.dumps({"message": message, "exit_code": exit_code}))
        if self.leads:
            _say("", message)
        elif self._said_by_first() != message:
            _say(f"{self.name(self.index)}: ", message)
        self._leave(exit_code)

    def _end_once(self, exit_code: int) -> None:
        """Leave it to the thread that came here first to say why this process ends, and to end it."""
        if not self._ending.acquire(blocking=False):
            time.sleep(2 * LAST_SECONDS)
            self._exit(exit_code)

    def _said_by_first(self) -> str:
        """Why process 0 has failed, if it has: a mistake may be the same on all."""
        for _ in range(int(SAME_MISTAKE_SECONDS / 0.1)):
            with contextlib.suppress(Exception):
                if 0 in (failed := _by_index(self._client.key_value_dir_get("research/failed"))):
                    return json.loads(failed[0])["message"]
            time.sleep(0.1)
        return ""

    def _leave(self, exit_code: int) -> NoReturn:
        """End at once, for what JAX does at the end of a process would wait for the others; process 0 as the last."""
        with contextlib.suppress(Exception):
            self._write(f"left/{self.index}", "")
            deadline = time.monotonic() + LAST_SECONDS
            while self.leads and time.monotonic() < deadline:
                if len(self._client.key_value_dir_get("research/left")) == self.count:
                    if self._end_store is not None:
                        self._end_store()
                    break
                time.sleep(0.1)
        self._exit(exit_code)

    def _exit(self, exit_code: int) -> NoReturn:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(exit_code)

    def close(self) -> None:
        """All have come to the end, and leave each other."""
        if self._client is not None and not self._over.is_set():
            self.wait_for_all("end")
            self._over.set()

    def _write(self, name: str, text: str) -> None:
        self._client.key_value_set(f"research/{name}", text, allow_overwrite=True)

    def _await(self, name: str) -> str:
        """What is written there, as soon as it is; the watching thread ends a wait for what never comes."""
        self._waits = True
        try:
            while True:
                # In turns, so that a signal is answered in between.
                with _unless_late():
                    return self._client.blocking_key_value_get(f"research/{name}", int(1000 * WAIT_SECONDS))
        finally:
            self._waits = False

    # ---- the threads that watch

    def _watch_store(self) -> None:
        """End this process where the store no longer answers the other thread, which waits for it."""
        silent = 0.0
        while not self._over.wait(BEAT_SECONDS):
            silent = 0.0 if self._answered.is_set() else silent + BEAT_SECONDS
            self._answered.clear()
            if silent > self._silent and not self._ending.locked():
                self.end_without_store()

    def end_without_store(self) -> NoReturn:
        """End this process because the store is gone, and with it all that the others could learn from each other."""
        self._end_once(REQUEUE)
        why = (
            f"{self.name(0)} can no longer be reached, nor what it speaks to the others through, so this one ends. Its "
            f"machine or pod was lost, or the network between is down."
        )
        if self.leads:
            why = "the process beside it, through which all speak, was killed or hangs, so this one ends."
        _say(f"{self.name(self.index)}: ", f"{why}\n{INTACT}")
        self._exit(REQUEUE)

    def _watch(self) -> None:
        seen: dict[int, tuple[Sign, float]] = {}
        moved: dict[int, tuple[int, float]] = {}
        beat = 0
        while not self._over.wait(BEAT_SECONDS):
            beat += 1
            try:
                own = Sign(beat, self._steps, self._read, self._waits)
                self._write(f"alive/{self.index}", json.dumps(dataclasses.astuple(own)))
                alive = _by_index(self._client.key_value_dir_get("research/alive"))
                failed = _by_index(self._client.key_value_dir_get("research/failed"))
                signs = [Sign(*json.loads(alive[index])) if index in alive else Sign() for index in range(self.count)]
                self._forget_read(signs)
            except Exception:
                continue  # the store is gone, which the other thread or JAX notices
            self._answered.set()
            self._heed_failed(failed)
            now = time.monotonic()
            for index, sign in enumerate(signs):
                if index not in seen or seen[index][0] != sign:
                    seen[index] = sign, now
                if index not in moved or moved[index][0] != sign.steps:
                    moved[index] = sign.steps, now
            self._heed_silent({index: now - when for index, (_, when) in seen.items()})
            if now - max(when for _, when in moved.values()) > self._stuck:
                self._heed_stuck(signs)

    def _forget_read(self, signs: Sequence[Sign]) -> None:
        """Process 0 deletes what all others have read: where updates are only sent off, it may be far ahead of them."""
        read = min((sign.read for sign in signs[1:]), default=0)
        while self._unread and self._unread[0] <= read:
            self._client.key_value_delete(f"research/decision/{self._unread.popleft()}")

    def _heed_failed(self, failed: Mapping[int, str]) -> None:
        for index, told in failed.items():
            if index != self.index and self.index not in failed:
                said = json.loads(told)
                self._end(f"{self.name(index)} has failed, so this one ends too: {said['message']}", said["exit_code"])

    def _heed_silent(self, silent: Mapping[int, float]) -> None:
        for index, seconds in silent.items():
            if index != self.index and seconds > self._silent:
                self._end(
                    f"{self.name(index)} has given no sign of life for {self._silent:.0f} s, so this one ends too. It "
                    f"was killed, or its machine or the network between is down."
                )

    def _heed_stuck(self, signs: Sequence[Sign]) -> None:
        """End this process where one is waited for: in words, or by its devices, where others have come further."""
        if not any(sign.waits for sign in signs) and len({sign.steps for sign in signs}) == 1:
            return  # all are at work, such as on their data
        at_work = [index for index, sign in enumerate(signs) if not sign.waits] or range(self.count)
        behind = min(at_work, key=lambda index: signs[index].steps)
        self._end(
            f"no process has come further for {self._stuck:.0f} s, and {self.name(behind)} is waited for. Above is "
            f"where this one stands. If that one was at work, such as on data or a report, set {STUCK} to more.",
            HANGS,
            stacks=True,
        )

    def _end(self, message: str, exit_code: int = REQUEUE, stacks: bool = False) -> NoReturn:
        if stacks:
            faulthandler.dump_traceback(all_threads=True)
        self._end_once(exit_code)
        _say(f"{self.name(self.index)}: ", f"{message}\n{INTACT}")
        self._leave(exit_code)


_CURRENT = ProcessGroup()


def begin(called: Mapping[int, str], silent: float = SILENT_SECONDS, stuck: float = STUCK_SECONDS) -> ProcessGroup:
    """The group of processes that JAX has connected; from now on it is the `current` one."""
    global _CURRENT
    from jax._src import distributed  # JAX offers its store nowhere else

    state = distributed.global_state
    end_store = None if state.service is None else state.service.shutdown
    _CURRENT = ProcessGroup(state.client, state.process_id, state.num_processes, called, silent, stuck, end_store)
    return _CURRENT


def current() -> ProcessGroup:
    """The group that this process is in; by itself unless processes were joined."""
    return _CURRENT


def _by_index(entries: list[tuple[str, str]]) -> dict[int, str]:
    return {int(name.rpartition("/")[2]): text for name, text in entries}


@contextlib.contextmanager
def _unless_late() -> Iterator[None]:
    """Go on where nothing was written in time."""
    from jax.errors import JaxRuntimeError

    try:
        yield
    except JaxRuntimeError as error:
        if "DEADLINE_EXCEEDED" not in str(error):
            raise


def _say(whose: str, message: str) -> None:
    print(f"error: {whose}{message}", file=sys.stderr, flush=True)
