"""Processes meet: all come out with the same list, or all hear the same reason why they do not."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Mapping
from typing import Any

import pytest

from research.errors import ResearchError, RunError, UserError
from research.processes import rendezvous
from research.processes.rendezvous import meet

SOON = 0.4


@pytest.fixture
def address() -> str:
    """One that nobody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"127.0.0.1:{listener.getsockname()[1]}"


def came(address: str, *places: tuple[int, int], seconds: float = 10, about: Mapping[int, str] = {}) -> list[Any]:
    """What each of the processes (count, index) comes out with: what it was told, or its error."""
    found: list[Any] = [None] * len(places)

    def come(number: int, count: int, index: int) -> None:
        try:
            found[number] = meet(address, count, index, seconds, {"jax": about.get(index, "0.10")})
        except ResearchError as error:
            found[number] = error

    threads = [threading.Thread(target=come, args=(number, *place)) for number, place in enumerate(places)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def test_all_learn_who_the_others_are_and_of_a_free_port(address: str) -> None:
    found = came(address, (3, 2), (3, 0), (3, 1))
    called, port = found[0]
    assert found == [(called, port)] * 3
    assert list(called) == [0, 1, 2] and all(f"pid {os.getpid()}" in name for name in called.values())
    with socket.create_server(("", port)):
        assert port != int(address.rpartition(":")[2])


def test_those_that_are_missing_are_named_to_those_that_came(address: str) -> None:
    first, last = came(address, (4, 0), (4, 3), seconds=SOON)
    assert isinstance(first, RunError) and isinstance(last, RunError) and str(first) == str(last)
    assert "2 of 4 processes did not come within 0 s: processes 1, 2 have not" in str(first)
    (alone,) = came(address, (2, 0), seconds=SOON)
    assert "1 of 2 processes did not come within 0 s: process 1 has not" in str(alone)


def test_process_0_that_is_not_there_is_named_with_its_address(address: str) -> None:
    (error,) = came(address, (2, 1), seconds=SOON)
    assert isinstance(error, RunError) and f"process 1: process 0 was not reached at {address} within 0 s" in str(error)
    assert "refused" in str(error)


def test_a_port_in_use_is_refused(address: str) -> None:
    with socket.create_server(("", int(address.rpartition(":")[2]))):
        (error,) = came(address, (2, 0), seconds=SOON)
    assert isinstance(error, UserError) and "process 0 cannot listen at port" in str(error)
    assert "take another port, the same for all processes" in str(error)


@pytest.mark.parametrize(
    ("places", "about", "message"),
    [
        (((2, 0), (3, 1)), {}, r"process 1 \(.*\) counts 3 processes, process 0 2\."),
        (((3, 0), (3, 1), (3, 1)), {}, "two processes say that they are process 1"),
        (((2, 0), (2, 1)), {1: "0.11"}, r"jax: process 1 \(.*\) has 0\.11, process 0 0\.10\. Make them the same\."),
    ],
)
def test_processes_not_started_alike_all_hear_why(address: str, places: Any, about: Any, message: str) -> None:
    found = came(address, *places, about=about)
    assert all(isinstance(error, UserError) for error in found) and len({str(error) for error in found}) == 1
    with pytest.raises(UserError, match=message):
        raise found[0]


def test_what_else_looks_at_the_port_is_let_be(address: str, monkeypatch: Any) -> None:
    monkeypatch.setattr(rendezvous, "HELLO_SECONDS", 2.0)
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.extend(came(address, (2, 0))))
    thread.start()
    host, _, port = address.rpartition(":")
    for sent in (b"GET / HTTP/1.1\r\n\r\n", b""):
        while True:
            try:
                connection = socket.create_connection((host, int(port)))
                break
            except ConnectionRefusedError:
                continue
        with connection:
            connection.sendall(sent)
    found.extend(came(address, (2, 1)))
    thread.join()
    assert len(found) == 2 and found[0] == found[1]
