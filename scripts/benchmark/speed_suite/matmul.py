"""How fast this machine multiplies matrices of float32 by one of the libraries: what all rates are a share of."""

from __future__ import annotations

import importlib
import time
from pathlib import Path
from typing import Any

from speed_suite.workloads import Workload

SIZES = (1024, 2048)
SECONDS = 0.5


class Contestant:
    """Products of square matrices."""

    def __init__(self, workload: Workload, mode: str, given: Path, options: dict[str, Any]) -> None:
        self.library: Any = importlib.import_module(options["library"])

    def prepare(self) -> dict[str, Any]:
        """FLOP/s by size, the best of several."""
        return {"rates": {str(size): self._rate(size) for size in SIZES}}

    def _rate(self, size: int) -> float:
        if self.library.__name__ == "jax":
            draw = self.library.random.normal(self.library.random.key(0), (size, size))
            product = self.library.jit(lambda a: a @ a)

            def once() -> None:
                product(draw).block_until_ready()
        else:
            draw = self.library.randn(size, size)

            def once() -> None:
                draw @ draw

        once()
        best, end = float("inf"), time.perf_counter() + SECONDS
        while (began := time.perf_counter()) < end:
            once()
            best = min(best, time.perf_counter() - began)
        return 2 * size**3 / best
