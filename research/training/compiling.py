"""What the compiler is told beside the program: on a processor, its libraries, and that barriers are to hold."""

from __future__ import annotations

import functools
from typing import Any

import jax

PROCESSOR: dict[str, Any] = {
    # XLA's newer library YNNPACK for matrix products alone: its convolutions took up to twice the time of the older.
    "xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT",
    # Barriers stay until the end. By default they are gone when loops are put together, and what makes an array is
    # computed again within each loop that turns the array round, at a cost of up to a cache line for each number.
    "xla_disable_hlo_passes": "cse_barrier_expander",
}
"""Options of XLA's compiler for processors."""


def compiled(lowered: Any, platform: str) -> Any:
    """A lowered program compiled for a kind of device (cpu, gpu, tpu)."""
    return lowered.compile(compiler_options=dict(_options(platform)) or None)


@functools.cache
def _options(platform: str) -> tuple[tuple[str, Any], ...]:
    """Options that this version of XLA knows."""
    if platform != "cpu":
        return ()
    try:
        here = jax.device_put(0, jax.local_devices(backend="cpu")[0])
        jax.jit(lambda x: x).lower(here).compile(compiler_options=PROCESSOR)
    except jax.errors.JaxRuntimeError:
        return ()
    return tuple(PROCESSOR.items())
