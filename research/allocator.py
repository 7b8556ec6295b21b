"""The C library is told to keep the memory that compiled programs work in, and not to give it back at every update.

XLA asks for its working memory anew whenever a program runs. On Linux the GNU C library takes large blocks from the
system and gives them back at once, so that each update begins with pages that the system has to clear: in a network
whose intermediate results take some hundred MiB that costs more than the arithmetic. Kept, a block is used again.

Each thread has a pool of its own: in one pool they wait for each other, for a program asks for memory at each of its
products. A thread's pool is made of parts of 64 MiB, so a block larger than that still comes from the system. Such is
the working memory of a large program; it is fetched once for all updates of a dispatch, which take some two seconds.

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

from research.errors import UserError

VARIABLE = "RESEARCH_ALLOCATOR"
KEPT, SYSTEM = "kept", "system"
OWN_SETTINGS = ("GLIBC_TUNABLES", "LD_PRELOAD")
"""Beside those that begin with ``MALLOC_``: variables by which a user chooses an allocator, or how it works."""

SETTINGS = {"M_MMAP_MAX": (-4, 0), "M_TRIM_THRESHOLD": (-1, -1), "M_TOP_PAD": (-2, 2**27)}
"""Number of each parameter of ``mallopt``, and its value: no block apart from the pools, and nothing given back.

The C library takes away the last part of a thread's pool as soon as it is free, unless the part before it would have
no room for ``M_TOP_PAD`` bytes, which it never has for so many.
"""

GPUS = ("/dev/nvidia0", "/dev/nvidiactl", "/dev/dxg", "/dev/kfd")
"""What there is where the driver of a GPU is."""

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


def check_variable() -> None:
    """Raise `UserError` for a value of the variable that means nothing."""
    asked = os.environ.get(VARIABLE, KEPT)
    if asked not in (KEPT, SYSTEM):
        raise UserError(
            f"{VARIABLE}: {asked!r} was given. Allowed: {KEPT} (memory is kept for the next update, the default), "
            f"{SYSTEM} (the C library decides)."
        )


def allocator() -> str:
    """``kept`` where the C library was told and took it, else ``system``."""
    return _state


def _accelerator_here() -> bool:
    """Whether JAX would use one; it is not imported yet."""
    platforms = os.environ.get("JAX_PLATFORMS", "")
    if platforms and not {"cuda", "gpu", "rocm", "tpu"} & set(platforms.split(",")):
        return False
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
    return (any(map(os.path.exists, GPUS)) and not hidden) or importlib.util.find_spec("libtpu") is not None


def _chosen_by_user() -> bool:
    return any(os.environ.get(name) for name in OWN_SETTINGS) or any(name.startswith("MALLOC_") for name in os.environ)
