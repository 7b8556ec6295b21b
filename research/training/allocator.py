"""The C library is told to keep the memory that compiled programs work in, and not to give it back at every update.

XLA asks for its working memory anew whenever a program runs. On Linux the GNU C library takes large blocks from the
system and gives them back at once, so that each update begins with pages that the system has to clear: in a network
whose intermediate results take some hundred MiB that costs more than the arithmetic. Kept, a block is used again.

What it costs: memory that was used once stays with the process until it ends, and threads share one pool of it. On
machines with accelerators nothing is changed, for there the arrays live elsewhere. ``RESEARCH_ALLOCATOR=system`` turns
it off; a user who has set one of the C library's own variables, or another allocator, is left alone.

See ``man mallopt``.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import sys

from research.errors import UserError

VARIABLE = "RESEARCH_ALLOCATOR"
KEPT, SYSTEM = "kept", "system"
OWN_SETTINGS = ("GLIBC_TUNABLES", "LD_PRELOAD")
"""Beside those that begin with ``MALLOC_``: variables by which a user chooses an allocator, or how it works."""

SETTINGS = {"M_ARENA_MAX": (-8, 1), "M_MMAP_MAX": (-4, 0), "M_TRIM_THRESHOLD": (-1, -1)}
"""Number of each parameter of ``mallopt``, and its value: one pool, nothing apart from it, nothing given back."""

_state = SYSTEM


def keep_memory(device: str) -> None:
    """Tell the C library; to be called before JAX starts its threads, and of no effect where it was called before.

    Args:
        device: as in `research.experiment.Execution`.

    Raises:
        UserError: for a value of the variable that means nothing.
    """
    asked = os.environ.get(VARIABLE, KEPT)
    if asked not in (KEPT, SYSTEM):
        raise UserError(
            f"{VARIABLE}: {asked!r} was given. Allowed: {KEPT} (memory is kept for the next update, the default), "
            f"{SYSTEM} (the C library decides)."
        )
    if asked == SYSTEM or _state == KEPT or _chosen_by_user():
        return
    from research.training.determinism import expects_gpu  # it imports JAX, which what calls `tell` may not need

    if not expects_gpu(device) and not (device in ("auto", "tpu") and importlib.util.find_spec("libtpu") is not None):
        tell()


def tell() -> bool:
    """Tell the C library whatever the devices; whether it is one that takes it: that of GNU on Linux."""
    global _state
    if sys.platform.startswith("linux"):
        library = ctypes.CDLL(None)
        if hasattr(library, "gnu_get_libc_version"):
            taken = [library.mallopt(number, value) for number, value in SETTINGS.values()]
            _state = KEPT if all(taken) else SYSTEM
    return _state == KEPT


def allocator() -> str:
    """``kept`` where the C library was told, else ``system``."""
    return _state


def _chosen_by_user() -> bool:
    return any(os.environ.get(name) for name in OWN_SETTINGS) or any(name.startswith("MALLOC_") for name in os.environ)
