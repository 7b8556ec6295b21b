"""The process of one contestant: ``python -m speed_suite.worker [MODULE, OPTIONS] WORKLOAD MODE GIVEN``."""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from research.allocator import allocator
from speed_suite.protocol import Channel
from speed_suite.workloads import WORKLOADS


def high_water() -> dict[str, int]:
    """Bytes of memory that this process has held at most (``peak``) and holds now (``now``); 0 where not told."""
    try:
        text = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:
        return {"peak": 0, "now": 0}
    return {
        name: 1024 * int(text.partition(f"{field}:")[2].split()[0])
        for name, field in (("peak", "VmHWM"), ("now", "VmRSS"))
    }


def main() -> None:
    """Answer until the parent closes."""
    channel = Channel()
    module, options = json.loads(sys.argv[1])
    workload, mode, given = WORKLOADS[sys.argv[2]], sys.argv[3], Path(sys.argv[4])
    began = time.perf_counter()
    contestant: Any = importlib.import_module(f"speed_suite.{module}").Contestant(workload, mode, given, options)
    imported, memory = time.perf_counter() - began, high_water()
    while (command := channel.receive()) is not None:
        try:
            if command["do"] == "prepare":
                answer = contestant.prepare()
                answer |= {"import_seconds": imported, "allocator": allocator(), "memory_after_import": memory["peak"]}
            elif command["do"] == "run":
                contestant.alone_first = command.get("alone_first", False)
                began = time.perf_counter()
                answer = {"seconds": contestant.run(command["updates"])}
                answer["wall"] = time.perf_counter() - began
                if (alone := getattr(contestant, "alone", None)) is not None:
                    answer["alone"] = alone
            else:
                answer = high_water()
        except Exception as error:
            traceback.print_exc()
            answer = {"error": f"{type(error).__name__}: {str(error)[:500]}"}
        channel.send(answer)
    sys.stderr.flush()
    # Threads of libraries and half-finished caches are of no interest any more.
    os._exit(0)


if __name__ == "__main__":
    main()
