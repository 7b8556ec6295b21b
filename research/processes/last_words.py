"""What is said in the place of JAX's own end of a process whose store is gone: a trace of C++ that names nobody."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

REACH_SECONDS = 2.0
TRIES, TRY_SECONDS = 20, 0.1

_kept: list[Any] = []
"""What C++ may call at any time must not be collected."""


@contextlib.contextmanager
def speaking(say_and_end: Callable[[], None]) -> Iterator[None]:
    """While JAX connects this process: what it shall call, at any later time, where the store is gone.

    JAX takes a function for that, but its build cannot hand over the argument, an error of C++. What C++ calls then,
    last of all in a process (`std::terminate`), is set here; without it JAX is left as it is.

    Args:
        say_and_end: says why this process ends, and ends it.
    """
    from jax._src import distributed

    module: Any = distributed._jax  # pyright: ignore[reportPrivateImportUsage]
    own = module.get_distributed_runtime_client

    def connecting(address: str, *arguments: Any, **options: Any) -> Any:
        if _terminating(address, say_and_end):
            options["missed_heartbeat_callback"] = lambda *error: say_and_end()
        return own(address, *arguments, **options)

    module.get_distributed_runtime_client = functools.wraps(own)(connecting)
    try:
        yield
    finally:
        module.get_distributed_runtime_client = own


def _terminating(address: str, say_and_end: Callable[[], None]) -> bool:
    """Have C++ call ``say_and_end`` before it ends this process, if nobody answers at ``address``; whether it will."""
    function = ctypes.CFUNCTYPE(None)
    try:
        set_terminate = ctypes.CDLL("libstdc++.so.6")["_ZSt13set_terminatePFvvE"]
    except (OSError, AttributeError):
        return False  # another system than Linux

    def terminate() -> None:
        if not _answers(address):
            say_and_end()
        previous()

    set_terminate.restype = function
    _kept.append(function(terminate))
    previous = set_terminate(_kept[-1])
    return True


def _answers(address: str) -> bool:
    """Whether it does so again and again: what is just being killed still does for a moment."""
    host, _, port = address.rpartition(":")
    for _ in range(TRIES):
        try:
            socket.create_connection((host.strip("[]"), int(port)), REACH_SECONDS).close()
        except OSError:
            return False
        time.sleep(TRY_SECONDS)
    return True
