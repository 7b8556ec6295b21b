"""The processor: how many cores it has, and as how many devices it poses."""

from __future__ import annotations

import os

import jax

from research.processes import current

FLAG = "--xla_force_host_platform_device_count"
VARIABLE = "JAX_NUM_CPU_DEVICES"
"""Users who set the flag or the variable choose devices themselves, and `Execution.parallel` what they share."""

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


def posed(platform: str) -> bool:
    """Whether devices of a kind are a processor's, by `pose`."""
    return platform == "cpu" and _posed
