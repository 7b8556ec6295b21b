"""The store of JAX's coordination service, in a process of its own that outlives process 0.

JAX keeps it in process 0, and ends all others by a fatal error of its own at the moment at which it is gone: none of
them could say that process 0 was killed. Run as a program, this file is the process that keeps it; it imports little.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

READY, END = "ready", "end"
GRACE_SECONDS = 3.0
"""How long it lives on after its end was asked for: until then the others have ended too."""


class Store:
    """The process that keeps the store; in the place of JAX's own service in process 0, with its method.

    Args:
        address: where it listens.
        count: how many processes there are.
        linger: seconds that it lives on after process 0 was killed.
        options: what JAX gives to its service besides, such as ``heartbeat_timeout``.

    Raises:
        RuntimeError: if it cannot listen there.
    """

    def __init__(self, address: str, count: int, linger: float, **options: Any) -> None:
        # A session of its own, for what a terminal sends to process 0 is not meant for it.
        self._process = subprocess.Popen(
            [sys.executable, __file__, address, f"{count}", f"{linger}", json.dumps(options)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )
        assert self._process.stdout is not None
        with self._process.stdout as said:
            first = said.readline().strip()
        if first != READY:
            raise RuntimeError(first or "the process that keeps the store of JAX has ended")

    def shutdown(self) -> None:
        """Let it end: all others have come to their end."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.write(END)
            self._process.stdin.close()


@contextlib.contextmanager
def outliving(linger: float) -> Iterator[None]:
    """While JAX connects the processes: process 0 starts a `Store` in the place of a service in itself."""
    from jax._src import distributed  # JAX has no other place for a service that somebody else runs

    module: Any = distributed._jax  # pyright: ignore[reportPrivateImportUsage]
    own = module.get_distributed_runtime_service
    module.get_distributed_runtime_service = functools.partial(Store, linger=linger)
    try:
        yield
    finally:
        module.get_distributed_runtime_service = own


def main(address: str, count: str, linger: str, options: str) -> None:
    """Keep the store until process 0 says that it ends, or was killed and the others have had time to learn of it."""
    from jaxlib import _jax  # pyright: ignore[reportAttributeAccessIssue]

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)  # a cluster sends them to all processes of a job that is to save
    try:
        service = _jax.get_distributed_runtime_service(address, int(count), **json.loads(options))
    except Exception as error:
        print(" ".join(str(error).split()), flush=True)
        return
    print(READY, flush=True)
    time.sleep(GRACE_SECONDS if sys.stdin.read() == END else float(linger))
    del service
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
