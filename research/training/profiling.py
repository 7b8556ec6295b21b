"""How fast a run is and what bounds it: a trace of some updates, throughput, and the share of the chip's peak rate."""

from __future__ import annotations

import dataclasses
import os
import re
import resource
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax

from research.errors import UserError

SLOW_FEED = 0.1
"""Share of the time spent waiting for rows above which the feed is said to be what bounds a run."""

PEAK_RATES: dict[str, dict[str, float]] = {
    "GH200": {"float32": 494e12, "bfloat16": 989e12, "float16": 989e12},
    "H200": {"float32": 494e12, "bfloat16": 989e12, "float16": 989e12},
    "H100": {"float32": 494e12, "bfloat16": 989e12, "float16": 989e12},
    "A100": {"float32": 156e12, "bfloat16": 312e12, "float16": 312e12},
    "L40S": {"float32": 183e12, "bfloat16": 362e12, "float16": 362e12},
    "L4": {"float32": 60e12, "bfloat16": 121e12, "float16": 121e12},
    "A10": {"float32": 62.5e12, "bfloat16": 125e12, "float16": 125e12},
    "V100": {"float32": 15.7e12, "float16": 125e12},
    "T4": {"float32": 8.1e12, "float16": 65e12},
    "TPU v6 lite": {"float32": 918e12, "bfloat16": 918e12},
    "TPU v5 lite": {"float32": 197e12, "bfloat16": 197e12},
    "TPU v5p": {"float32": 459e12, "bfloat16": 459e12},
    "TPU v5": {"float32": 459e12, "bfloat16": 459e12},
    "TPU v4": {"float32": 275e12, "bfloat16": 275e12},
}
"""Published dense peak rates of chips by type of the computation, in FLOP/s.

With JAX's default precision, matrix products of float32 are computed in TF32 on GPUs from Ampere on, and in bfloat16 on
TPUs. The SXM forms of NVIDIA's chips; others are slower. JAX calls a v5p "TPU v5" as well. Sources: NVIDIA's data
sheets and Google's descriptions.
"""


def peak_rate(kind: str, compute: str) -> float | None:
    """Peak rate of a chip in FLOP/s by the kind that JAX says; None where it is not known."""
    for name, rates in PEAK_RATES.items():
        if re.search(rf"\b{re.escape(name)}\b", kind):
            return rates.get(compute)
    return None


def parse_profile(text: str) -> tuple[int, int]:
    """Updates ``FIRST:LAST`` between which a trace is written; raises `UserError` for what means nothing."""
    found = re.fullmatch(r"(\d+):(\d+)", text.strip())
    if found is None or not int(found[1]) < int(found[2]):
        raise UserError(f"--profile: FIRST:LAST, two numbers of updates such as 10:20, is needed; {text!r} was given.")
    return int(found[1]), int(found[2])


def check_profile(bounds: Sequence[int] | None, total: int) -> None:
    """Raise `UserError` for a trace that would begin after the last of ``total`` updates."""
    if bounds and bounds[0] >= total:
        raise UserError(
            f"execution.profile: the run ends after update {total}, before update {bounds[0]}, after which the trace "
            f"would begin. Give FIRST:LAST with FIRST below {total}."
        )


class Trace:
    """Writes a trace of the updates after ``first`` up to ``last``, for TensorBoard, XProf and Perfetto.

    Chunks of updates end there, so they are not dispatched as far ahead as without it.

    Args:
        bounds: these two; None writes nothing.
        folder: where it is written.
    """

    def __init__(self, bounds: Sequence[int] | None, folder: Path) -> None:
        self.bounds, self.folder, self._running = tuple(bounds or ()), folder, False

    def next_bound(self, step: int, stop: int) -> int:
        """The first step after ``step`` at which the trace begins or ends, or ``stop`` where that comes before."""
        return min([stop, *(bound for bound in self.bounds if bound > step)])

    def at(self, step: int, carry: Any) -> None:
        """Begin or end where it is time for it; the device has finished what came before."""
        if not self.bounds:
            return
        first, last = self.bounds
        if not self._running and first <= step < last:
            jax.block_until_ready(carry.step)
            jax.profiler.start_trace(self.folder)
            self._running = True
        elif step >= last:
            self.close(carry)

    def close(self, carry: Any = None) -> None:
        """End the trace, also where training ends before ``last``."""
        if self._running:
            if carry is not None:
                jax.block_until_ready(carry.step)
            jax.profiler.stop_trace()
            self._running = False


@dataclasses.dataclass(frozen=True)
class Throughput:
    """How fast the updates of this process were, evaluations and checkpoints included.

    Attributes:
        updates: how many it made.
        seconds: that these took.
        examples_per_update: rows that one consumes; 0 without data.
        flops_per_update: in matrix products and convolutions.
        waited: share of the time in which it waited for rows.
        devices: how many computed.
        kind: of device, as JAX says.
        compute: type of the computation.
        memory: most bytes that were in use at once: of the busiest device, or of the process on a processor.
    """

    updates: int
    seconds: float
    examples_per_update: int
    flops_per_update: float
    waited: float
    devices: int
    kind: str
    compute: str
    memory: int

    @property
    def utilisation(self) -> float | None:
        """Model FLOPs utilisation: arithmetic of the model over what the chips could do; None where not known."""
        peak = peak_rate(self.kind, self.compute)
        if peak is None or not self.updates:
            return None
        return self.flops_per_update * self.updates / self.seconds / (peak * self.devices)

    def to_json(self) -> dict[str, Any]:
        """What ``results.json`` holds."""
        pace = self.updates / self.seconds if self.seconds else 0.0
        share = self.utilisation
        return {
            "updates": self.updates,
            "updates_per_second": round(pace, 3),
            "examples_per_second": round(pace * self.examples_per_update, 1),
            "model_flops_utilisation": None if share is None else round(share, 4),
            "peak_memory_bytes": self.memory,
            "device": self.kind,
            "devices": self.devices,
        }


def in_words(found: dict[str, Any]) -> str:
    """A line about what `Throughput.to_json` gave; empty where this process made no update."""
    if not found["updates"]:
        return ""
    pace, rows = found["updates_per_second"], found["examples_per_second"]
    share = found["model_flops_utilisation"]
    used = f"not known for {found['device']}" if share is None else f"{100 * share:.1f} %"
    rate = f"{rows:,.0f} examples/s, " if rows else ""
    return (
        f"{rate}{1000 / max(pace, 1e-9):.3g} ms an update; model FLOPs utilisation {used}; at most "
        f"{found['peak_memory_bytes'] / 2**20:,.0f} MiB of memory"
    )


def slow_feed(waited: float) -> str:
    """A warning where waiting for rows bounds a run; empty elsewhere."""
    if waited <= SLOW_FEED:
        return ""
    return (
        f"the input feed is what bounds this run: {100 * waited:.0f} % of the time was spent waiting for rows. Read "
        f"with more processes (execution.workers; {os.cpu_count()} cores are here), or from memory "
        f"(execution.feed=resident)."
    )


def memory_in_use(devices: Sequence[Any]) -> int:
    """Most bytes that were in use at once on one of the devices, or by this process where they do not count."""
    told = [(device.memory_stats() or {}).get("peak_bytes_in_use", 0) for device in devices]
    if max(told, default=0):
        return max(told)
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
