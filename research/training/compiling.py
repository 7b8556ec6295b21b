"""What the compiler is told beside the program: on a processor, its libraries, and that barriers are to hold."""

from __future__ import annotations

import functools
import os
import re
from typing import Any

import jax

LIBRARIES = ("xla_cpu_experimental_ynn_fusion_type", "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT")
"""XLA's newer library YNNPACK for matrix products alone: its convolutions took up to twice the time of the older."""

BARRIERS = ("xla_disable_hlo_passes", "cse_barrier_expander")
"""Barriers stay until the end. By default they are gone when loops are put together, and what makes an array is
computed again within each loop that turns the array round, at a cost of up to a cache line for each number."""

SMALL_LOOPS = "small-while-loop-hoisting"
"""By this pass XLA puts a loop over a few numbers into the caller's code, where it cannot place a barrier and fails."""


def compiled(lowered: Any, platform: str) -> Any:
    """A lowered program compiled for a kind of device (cpu, gpu, tpu).

    Where XLA fails at a barrier it is compiled again without `SMALL_LOOPS`.
    """
    known = options(platform)
    try:
        return lowered.compile(compiler_options=known or None)
    except jax.errors.JaxRuntimeError as error:
        if BARRIERS[0] not in known or "opt-barrier" not in str(error):
            raise
        passes = f"{known[BARRIERS[0]]},{SMALL_LOOPS}"
        return lowered.compile(compiler_options=known | {BARRIERS[0]: passes})


def options(platform: str) -> dict[str, Any]:
    """Of XLA's compiler, as far as this version of it knows them."""
    return dict(_known(os.environ.get("XLA_FLAGS", ""))) if platform == "cpu" else {}


def barriers_hold() -> bool:
    """Whether this version of XLA takes the option by which barriers stay in programs for processors."""
    return BARRIERS[0] in options("cpu")


@functools.cache
def _known(flags: str) -> tuple[tuple[str, Any], ...]:
    name, passes = BARRIERS
    own = re.findall(rf"--{name}=(\S+)", flags)
    wanted = (LIBRARIES, (name, ",".join((*own[-1:], passes))))  # beside what the user has disabled
    return tuple(option for option in wanted if _takes(option))


def _takes(option: tuple[str, Any]) -> bool:
    try:
        here = jax.device_put(0, jax.local_devices(backend="cpu")[0])
        jax.jit(lambda x: x).lower(here).compile(compiler_options=dict([option]))
    except jax.errors.JaxRuntimeError:
        return False
    return True
