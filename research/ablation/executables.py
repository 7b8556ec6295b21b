"""Compiled programs of groups, kept while the process lasts: what several waves need is compiled once."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from research.training.compiling import compiled


class Executable(NamedTuple):
    """A compiled program.

    Attributes:
        compiled: what is called.
        like: shapes of its results.
        seconds: how long compiling it took, or reading it from the cache on disk.
        name: hash of what specialises it, whatever the device.
    """

    compiled: Any
    like: Any
    seconds: float
    name: str


_EXECUTABLES: dict[Any, Executable] = {}
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")
"""What tells apart functions of two processes in text, though they are the same."""


def executable(
    name: str,
    about: tuple[Any, ...],
    function: Callable[..., Any],
    arguments: tuple[Any, ...],
    donate: int,
    device: Any,
) -> Executable:
    """A function compiled for arguments of these types, or what has been compiled for them before.

    Args:
        name: what it does.
        about: what specialises the function itself.
        function: called with the arguments.
        arguments: arrays, or shapes of such.
        donate: the argument that is given away; -1 for none.
        device: where the arguments are.
    """
    leaves, structure = jax.tree.flatten(arguments)
    about = (name, *about, structure, tuple(map(jax.typeof, leaves)))
    if (*about, device) not in _EXECUTABLES:
        began, given = time.perf_counter(), () if donate < 0 else (donate,)
        traced = jax.jit(function, donate_argnums=given).trace(*arguments)
        program, seconds = compiled(traced.lower(), device.platform), time.perf_counter() - began
        digest = hashlib.sha256(_ADDRESS.sub("", str(about)).encode()).hexdigest()[:12]
        _EXECUTABLES[*about, device] = Executable(program, traced.out_info, seconds, digest)
    return _EXECUTABLES[*about, device]


def compiled_programs(name: str = "") -> int:
    """How many programs of groups this process has compiled, each for a device; with a name, only those called so."""
    return sum(not name or key[0] == name for key in _EXECUTABLES)
