"""Processes meet before JAX connects them, which waits in silence and ends the process if one does not come."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from collections.abc import Mapping
from typing import Any, NoReturn

from research.errors import RunError, UserError, first_line

RETRY_SECONDS = 0.2
HELLO_SECONDS = 10.0
LINE = 2**16


def meet(address: str, count: int, index: int, seconds: float, about: Mapping[str, str]) -> tuple[dict[int, str], int]:
    """Wait until all have come; returns the host and process id of each in words, and a port that is free on process 0.

    Process 0 listens at the address. JAX is to take the other port: where a run is begun again at once, what is left of
    an earlier one may still be there.

    Args:
        address: ``HOST:PORT`` of process 0.
        count: how many processes there are.
        index: which this is, from 0.
        seconds: how long to wait.
        about: what must be the same on all, by name.

    Raises:
        UserError: if process 0 cannot listen there, or the processes were not started alike.
        RunError: if not all have come; those that are missing are named.
    """
    hello = {"count": count, "index": index, "called": f"{socket.gethostname()}, pid {os.getpid()}", "about": about}
    deadline = time.monotonic() + seconds
    if index > 0:
        return _visit(address, hello, deadline, seconds)
    with _listening(address) as listener:
        return _receive(listener, hello, deadline, seconds)


def _listening(address: str) -> socket.socket:
    port = int(address.rpartition(":")[2])
    try:
        return _server(port)
    except OSError as error:
        raise UserError(
            f"{address}: process 0 cannot listen at port {port} ({error}). Another program may be using it: take "
            f"another port, the same for all processes."
        ) from None


def _receive(
    listener: socket.socket, hello: dict[str, Any], deadline: float, seconds: float
) -> tuple[dict[int, str], int]:
    """What process 0 does."""
    come: dict[int, tuple[socket.socket, dict[str, Any]]] = {}
    with contextlib.ExitStack() as stack:

        def refuse(error: UserError | RunError, *further: socket.socket) -> NoReturn:
            for connection in (*(connection for connection, _ in come.values()), *further):
                _send(connection, {"error": str(error), "user": isinstance(error, UserError)})
            raise error

        while len(come) < hello["count"] - 1:
            listener.settimeout(max(0.01, deadline - time.monotonic()))
            try:
                connection = listener.accept()[0]
            except TimeoutError:
                missing = sorted(set(range(1, hello["count"])) - set(come))
                return refuse(RunError(_missing(missing, hello["count"], seconds)))
            stack.enter_context(connection)
            connection.settimeout(HELLO_SECONDS)
            other = _read(connection)
            if other is None:
                continue  # something else looked at the port
            if problem := _problem(hello, other, come):
                return refuse(UserError(problem), connection)
            come[other["index"]] = connection, other
        called = {0: hello["called"]} | {index: other["called"] for index, (_, other) in sorted(come.items())}
        port = _free_port()
        for connection, _ in come.values():
            _send(connection, {"called": called, "port": port})
    return called, port


def _server(port: int) -> socket.socket:
    if socket.has_dualstack_ipv6():
        return socket.create_server(("", port), dualstack_ipv6=True, family=socket.AF_INET6)
    return socket.create_server(("", port))


def _free_port() -> int:
    with _server(0) as listener:
        return listener.getsockname()[1]


def _problem(own: dict[str, Any], other: dict[str, Any], come: Mapping[int, Any]) -> str:
    """Why a process that has come is not one of these; empty if it is."""
    index = other["index"]
    if other["count"] != own["count"]:
        return f"process {index} ({other['called']}) counts {other['count']} processes, process 0 {own['count']}."
    if index in come:
        return f"two processes say that they are process {index}: {come[index][1]['called']} and {other['called']}."
    for name, value in own["about"].items():
        if other["about"].get(name) != value:
            theirs = other["about"].get(name)
            return f"{name}: process {index} ({other['called']}) has {theirs}, process 0 {value}. Make them the same."
    return ""


def _missing(missing: list[int], count: int, seconds: float) -> str:
    some = ", ".join(map(str, missing[:8])) + (" ..." if len(missing) > 8 else "")
    which = f"process {some} has" if len(missing) == 1 else f"processes {some} have"
    return (
        f"{len(missing)} of {count} processes did not come within {seconds:.0f} s: {which} not. Look at why they did "
        f"not start, or whether their machines reach this one."
    )


def _visit(address: str, hello: dict[str, Any], deadline: float, seconds: float) -> tuple[dict[int, str], int]:
    """What the others do."""
    host, _, port = address.rpartition(":")
    why: Exception | None = None
    while time.monotonic() < deadline:
        try:
            connection = socket.create_connection((host.strip("[]"), int(port)), HELLO_SECONDS)
        except (OSError, OverflowError) as error:
            why = error
            time.sleep(RETRY_SECONDS)
            continue
        with connection:
            _send(connection, hello)
            connection.settimeout(max(0.0, deadline - time.monotonic()) + 2 * HELLO_SECONDS)
            answer = _read(connection)
        if answer is None:
            raise RunError(
                f"process 0 at {address} has ended, or is no process of this run. Look there for the reason."
            )
        if "error" in answer:
            raise (UserError if answer["user"] else RunError)(answer["error"])
        return {int(index): called for index, called in answer["called"].items()}, answer["port"]
    raise RunError(
        f"process {hello['index']}: process 0 was not reached at {address} within {seconds:.0f} s ({first_line(why)}). "
        f"Look at whether it was started, and whether its machine lets others reach that port."
    )


def _send(connection: socket.socket, value: Any) -> None:
    with contextlib.suppress(OSError):  # who has gone is missed later
        connection.sendall(json.dumps(value).encode() + b"\n")


def _read(connection: socket.socket) -> Any:
    """A line of JSON; None if there is none."""
    try:
        with connection.makefile("rb") as file:
            return json.loads(file.readline(LINE))
    except (OSError, ValueError):
        return None
