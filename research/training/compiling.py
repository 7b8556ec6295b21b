"""What the compiler is told beside the program: on a processor, by which of its libraries to compute."""

from __future__ import annotations

import functools
from typing import Any

import jax

PROCESSOR: dict[str, Any] = {"xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT"}
"""XLA's newer library YNNPACK for matrix products alone: its convolutions took up to twice the time of the older one.
"""


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
