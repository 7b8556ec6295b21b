"""The C library is told to keep the memory that compiled programs work in, and not to give it back at every update.

XLA asks for its working memory anew whenever a program runs. On Linux the GNU C library takes large blocks from the
system and gives them back at once, so that each update begins with pages that the system has to clear: in a network
whose intermediate results take some hundred MiB that costs more than the arithmetic. Kept, a block is used again.

Each thread has a pool of its own: in one pool they wait for each other, for a program asks for memory at each of its
products. A thread's pool is made of parts of 64 MiB, so a block larger than that still comes from the system. Such is
the working memory of a large program; it is fetched once for all updates of a dispatch (`clearing_seconds`), of which
there are therefore more in one (`research.training.loop`). The library asks for pages of 2 MiB instead where it was
started with ``GLIBC_TUNABLES=glibc.malloc.hugetlb=1``, which cannot be set later; small programs did not gain by them,
or lost, so it is left to the user, to whom the card of a long run says it (`large_pages_missed`).

What it costs: memory that was used once stays with the process, in each pool. Where rows are read from disk, blocks
that come and go leave gaps which others do not fit into, so what lies free is given back once in a while (`give_back`).
On machines with accelerators nothing is changed, for there the arrays live elsewhere. ``RESEARCH_ALLOCATOR=system``
turns it off; a user who has set one of the C library's own variables, or another allocator, is left alone.

See ``man mallopt``.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import sys
import time
from pathlib import Path

from research.errors import UserError

VARIABLE = "RESEARCH_ALLOCATOR"
KEPT, SYSTEM = "kept", "system"
TUNABLES, LARGE_PAGES = "GLIBC_TUNABLES", "glibc.malloc.hugetlb=1"
"""The C library's own variable, and the one setting in it that ours go with."""

OF_THREAD = 2**26
"""Bytes of the parts of a thread's pool."""

TRANSPARENT = Path("/sys/kernel/mm/transparent_hugepage/enabled")

SETTINGS = {"M_MMAP_MAX": (-4, 0), "M_TRIM_THRESHOLD": (-1, -1), "M_TOP_PAD": (-2, 2**27)}
"""Number of each parameter of ``mallopt``, and its value: no block apart from the pools, and nothing given back.

The C library takes away the last part of a thread's pool as soon as it is free, unless the part before it would have
no room for ``M_TOP_PAD`` bytes, which it never has for so many.
"""

GPUS = ("/dev/nvidia0", "/dev/nvidiactl", "/dev/dxg", "/dev/kfd")
"""What there is where the driver of a GPU is."""

CLEARED_A_SECOND = 2.0**31
"""Bytes that the system clears, page by page, all cores together: 1.8 GiB were measured, and 3.6 (`docs/speed.md`)."""

BETWEEN = 2.0
"""Seconds from one `give_back` to the next."""

_state = SYSTEM
_given_back = 0.0


def keep_memory() -> None:
    """Tell the C library, where this machine has no accelerator and the user has not chosen.

    Threads that have a pool of their own keep it, so this comes first of all: when the package is imported.
    """
    global _state
    if not sys.platform.startswith("linux") or os.environ.get(VARIABLE, KEPT) != KEPT:
        return
    library = ctypes.CDLL(None)
    if _chosen_by_user() or _accelerator_here() or not hasattr(library, "gnu_get_libc_version"):
        return
    taken = [library.mallopt(number, value) for number, value in SETTINGS.values()]
    _state = KEPT if all(taken) else SYSTEM


def give_back() -> None:
    """Let the system have what is kept and lies free now, unless that was done in the last `BETWEEN` seconds.

    The next update fetches its pages anew, which costs as much as every update does under ``system``.
    """
    global _given_back
    if _state == KEPT and time.monotonic() - _given_back > BETWEEN:
        ctypes.CDLL(None).malloc_trim(0)
        _given_back = time.monotonic()


def clearing_seconds(working: float, devices: int) -> float:
    """What a dispatch of a program spends on having its working memory cleared.

    0 where it is kept from one to the next, and where pages are large: what it takes then was not to be told from 0.
    Measured with the GNU C library on Linux; of other systems it is supposed.

    Args:
        working: bytes on each device.
        devices: processors' virtual devices in this process, each with its own.
    """
    large = LARGE_PAGES in _tunables() or (TRANSPARENT.exists() and "[always]" in TRANSPARENT.read_text("ascii"))
    return 0.0 if large or working <= OF_THREAD else devices * working / CLEARED_A_SECOND


def large_pages_missed(working: float) -> bool:
    """Whether pages of 2 MiB would be had for the asking, and a program that works in so many bytes gain by them."""
    if _state != KEPT or working <= OF_THREAD or LARGE_PAGES in _tunables():
        return False
    told = ctypes.CDLL(None).gnu_get_libc_version
    told.restype = ctypes.c_char_p
    version = tuple(int(part) for part in told().decode().split(".")[:2])
    return version >= (2, 35) and TRANSPARENT.exists() and "[madvise]" in TRANSPARENT.read_text(encoding="ascii")


def check_variable() -> None:
    """Raise `UserError` for a value of the variable that means nothing."""
    asked = os.environ.get(VARIABLE, KEPT)
    if asked not in (KEPT, SYSTEM):
        raise UserError(
            f"{VARIABLE}: {asked!r} was given. Allowed: {KEPT} (memory is kept for the next update, the default), "
            f"{SYSTEM} (the C library decides)."
        )


def allocator() -> str:
    """``kept`` where the C library was told and took it, else ``system``; and whether it asks for large pages."""
    return f"{_state}, large pages" if LARGE_PAGES in _tunables() else _state


def _accelerator_here() -> bool:
    """Whether JAX would use one; it is not imported yet."""
    platforms = os.environ.get("JAX_PLATFORMS", "")
    if platforms and not {"cuda", "gpu", "rocm", "tpu"} & set(platforms.split(",")):
        return False
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
    return (any(map(os.path.exists, GPUS)) and not hidden) or importlib.util.find_spec("libtpu") is not None


def _tunables() -> set[str]:
    return set(filter(None, os.environ.get(TUNABLES, "").split(":")))


def _chosen_by_user() -> bool:
    """Whether a variable chooses an allocator, or how it works."""
    other = bool(os.environ.get("LD_PRELOAD")) or any(name.startswith("MALLOC_") for name in os.environ)
    return other or bool(_tunables() - {LARGE_PAGES})
