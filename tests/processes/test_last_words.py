"""A real process whose store is killed says so in words, and JAX shows no trace."""

from __future__ import annotations

import subprocess
import sys

import pytest

from research.errors import REQUEUE

PROGRAM = """
import os, signal, time
from pathlib import Path
from research.processes import Place, join

join(Place("a test", "127.0.0.1:0", 1, 0))
(store,) = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
print("joined", flush=True)
os.kill(int(store), signal.SIGKILL)
time.sleep(20)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="it is done with what C++ has on Linux")
def test_a_process_says_in_words_that_its_store_is_gone() -> None:
    ended = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stdout) == (REQUEUE, "joined\n")
    assert "all speak, was killed or hangs" in ended.stderr and "run the same command again" in ended.stderr
    assert "stack trace" not in ended.stderr and "terminate called" not in ended.stderr
