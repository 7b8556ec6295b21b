"""The processor: how many cores it has, and as how many devices it poses."""

from __future__ import annotations

import os

import jax

from research.allocator import KEPT, allocator
from research.processes import current

FLAG = "--xla_force_host_platform_device_count"
VARIABLE = "JAX_NUM_CPU_DEVICES"
"""Users who set the flag or the variable choose devices themselves, and `Execution.parallel` what they share."""

ASYNCHRONOUS = "JAX_CPU_ENABLE_ASYNC_DISPATCH"
"""Users who set this variable say themselves whether a processor's programs run beside their caller."""

_posed = False


def cores() -> int:
    """Of this machine, as far as this process may use them."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def pose() -> None:
    """Let the processor be one device per core, before JAX starts, unless the user has chosen or processes share it."""
    global _posed
    if FLAG in os.environ.get("XLA_FLAGS", "") or VARIABLE in os.environ or current().count > 1:
        return
    if _posed or jax.config.values["jax_num_cpu_devices"] != -1:
        return  # Set by an earlier call, or by whoever wants other devices, such as pretended ones.
    try:
        jax.config.update("jax_num_cpu_devices", cores())
    except RuntimeError:
        return  # JAX has started: with one device, or because of an earlier call.
    _posed = True


def work_in_caller() -> None:
    """Let programs run in the thread that calls them, before JAX starts, where the C library keeps memory.

    In a pool of XLA's threads the working memory of a program, if larger than a thread's pool can hold, would come anew
    from the system each time (see `research.allocator`). Nothing is lost: the processor has no time to spare beside a
    program.
    """
    if allocator() == KEPT and ASYNCHRONOUS not in os.environ:
        jax.config.update("jax_cpu_enable_async_dispatch", False)


def posed(platform: str) -> bool:
    """Whether devices of a kind are a processor's, by `pose`."""
    return platform == "cpu" and _posed
