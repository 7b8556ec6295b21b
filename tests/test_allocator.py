"""The C library keeps memory on Linux without accelerators, and nothing is changed where a user has chosen."""

import os
import subprocess
import sys

import pytest
from tiny import EXPERIMENT, QUIET

from research import allocator
from research.allocator import clearing_seconds, large_pages_missed
from research.errors import UserError
from research.spec import replace
from research.training.preflight import preflight
from research.training.setup import choose_device, set_up

PROGRAM = """
import resource
from research.allocator import allocator
import jax
import jax.numpy as jnp
from research.training.setup import choose_device
device = choose_device("cpu", True)
def work(x):
    y = jnp.tile(x, (64, 1))
    return jnp.cumsum(y, axis=0).sum()
work = jax.jit(work)
x = jnp.ones((128, 512))
for _ in range(3):
    work(x).block_until_ready()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    work(x).block_until_ready()
print(allocator(), resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def _told(**variables: str) -> tuple[str, int]:
    variables = {"JAX_PLATFORMS": "cpu"} | variables
    environment = {name: value for name, value in os.environ.items() if name != "RESEARCH_ALLOCATOR"} | variables
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, env=environment, check=True)
    state, faults = done.stdout.split()
    return state, int(faults)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the GNU C library is asked for")
def test_pages_are_fetched_from_the_system_once():
    kept, faults = _told()
    system, more = _told(RESEARCH_ALLOCATOR="system")
    assert (kept, system) == ("kept", "system")
    assert faults < 0.5 * more


@pytest.mark.parametrize(
    ("name", "value", "state"),
    [
        ("MALLOC_ARENA_MAX", "2", "system"),
        ("GLIBC_TUNABLES", "glibc.malloc.tcache_count=8", "system"),
        ("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1:glibc.malloc.tcache_count=8", "system, large pages"),
        pytest.param(
            "GLIBC_TUNABLES",
            "glibc.malloc.hugetlb=1",
            "kept, large pages",
            marks=pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the GNU C library is asked for"),
        ),
    ],
)
def test_a_user_who_chose_is_left_alone_but_for_large_pages(name, value, state):
    environment = {key: each for key, each in os.environ.items() if key != "RESEARCH_ALLOCATOR"}
    environment |= {"JAX_PLATFORMS": "cpu", name: value}
    program = "from research.allocator import allocator; print(allocator())"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.strip() == state


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the GNU C library is asked for")
def test_large_pages_are_missed_where_they_would_be_had(monkeypatch, tmp_path):
    offered = tmp_path / "enabled"
    offered.write_text("always [madvise] never\n")
    monkeypatch.setattr(allocator, "TRANSPARENT", offered)
    monkeypatch.setattr(allocator, "_state", allocator.KEPT)
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    assert large_pages_missed(2.0**27) and not large_pages_missed(2.0**26)
    assert clearing_seconds(2.0**28, 2) == 0.25 and clearing_seconds(2.0**26, 16) == 0
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1")
    assert not large_pages_missed(2.0**27) and clearing_seconds(2.0**28, 2) == 0
    monkeypatch.delenv("GLIBC_TUNABLES")
    offered.write_text("[always] madvise never\n")
    assert not large_pages_missed(2.0**27) and clearing_seconds(2.0**28, 2) == 0
    monkeypatch.setattr(allocator, "TRANSPARENT", tmp_path / "absent")
    assert not large_pages_missed(2.0**27)


def test_programs_know_what_a_dispatch_spends_on_clearing(monkeypatch, tmp_path):
    """Few layers work in what is kept; wide ones do not."""
    monkeypatch.setattr(allocator, "TRANSPARENT", tmp_path / "absent")
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    small, large = (set_up(replace(EXPERIMENT, {"model.widths": widths}), 0, QUIET) for widths in ((8,), (4096, 4096)))
    for setup in (small, large):
        setup.program.compile(setup.program.initialise(), setup.feed.window(0), None, False)
    assert small.program.clearing_seconds == 0 < large.program.clearing_seconds < 1


def test_the_card_of_a_long_run_names_what_it_would_gain_by(monkeypatch, tmp_path):
    monkeypatch.setattr("research.training.preflight.large_pages_missed", lambda working: True)
    setup = set_up(EXPERIMENT, 0, QUIET)
    carry = setup.program.initialise()
    assert not preflight(setup, carry, tmp_path).notes
    monkeypatch.setattr("research.training.preflight.LEAST_TRAINING", 0)
    (note,) = preflight(setup, carry, tmp_path).notes
    assert note.startswith("GLIBC_TUNABLES=glibc.malloc.hugetlb=1 before the command")


def test_an_unknown_value_is_named(monkeypatch):
    monkeypatch.setenv("RESEARCH_ALLOCATOR", "jemalloc")
    with pytest.raises(UserError, match=r"RESEARCH_ALLOCATOR: 'jemalloc' was given\. Allowed: kept"):
        choose_device("cpu", True)


GIVEN_BACK = """
import ctypes
import time
from research import allocator
if {later}:
    allocator._given_back = time.monotonic()
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096 / 2**20
library = ctypes.CDLL(None)
library.malloc.restype, library.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
library.free.argtypes = [ctypes.c_void_p]
blocks = [library.malloc(2**24) for _ in range(16)]
for block in blocks:
    ctypes.memset(block, 1, 2**24)
last = library.malloc(64)  # above them, so that the end of the pool does not move
for block in blocks:
    library.free(block)
before = resident()
allocator.give_back()
print(before - resident() > 200)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the GNU C library is asked for")
@pytest.mark.parametrize(("later", "given"), [(False, "True"), (True, "False")])
def test_what_lies_free_is_given_back_once_in_a_while(later, given):
    environment = {name: value for name, value in os.environ.items() if name != "RESEARCH_ALLOCATOR"}
    command = [sys.executable, "-c", GIVEN_BACK.format(later=later)]
    environment |= {"JAX_PLATFORMS": "cpu"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.strip() == given
