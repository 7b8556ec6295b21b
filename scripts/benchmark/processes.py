"""What an example costs on two processes, as on two machines, beside one process with as many devices.

    .venv/bin/python scripts/benchmark/processes.py [--rounds 3] [--only MLP CNN LSTM transformer]

Each run is `research run` with its default events, on two virtual devices of the processor: both of one process, or one
of each of two, which send each other gradients through the network stack of this machine. In turns; medians of what
the runs say of their rate, evaluations and checkpoints included, with the least and the most. Aim: at most 15 % more.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from research.training.provenance import machine

ROOT = Path(__file__).parents[2]
AIM = 1.15
HEAD = """
import sys
sys.path.insert(0, {folder!r})
from parallel import experiment_of
experiment = experiment_of({family!r}).replace(steps={steps}, batch_size=64)
"""
STEPS = {"MLP": 20_000, "CNN": 400, "ResNet": 300, "LSTM": 300, "transformer": 300}
WAYS = {"one process": (1, 2), "two processes": (2, 1)}
"""By name: processes, and devices of each."""


def cost(family: str, way: str, folder: Path, steps: int) -> float:
    """Microseconds of an example."""
    processes, devices = WAYS[way]
    file = folder / "costs.py"
    file.write_text(HEAD.format(folder=str(ROOT / "scripts" / "prove"), family=family, steps=steps))
    with tempfile.TemporaryDirectory(dir=folder) as runs:
        command = [sys.executable, str(ROOT / "scripts" / "launch_local"), f"{processes}", "--devices", f"{devices}"]
        command += ["--", sys.executable, "-m", "research", "run", str(file), "--runs", runs]
        command += ["execution.parallel.data=2", "execution.tensorboard=false", "execution.figures=false"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"{family}, {way}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
        (results,) = Path(runs).glob("*/*/results.json")
        rate = json.loads(results.read_text(encoding="utf-8"))["throughput"]["examples_per_second"]
    return 1e6 / rate


def main() -> int:
    """Print the table; 1 where the aim is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="runs of each kind (3)")
    parser.add_argument("--only", nargs="+", default=[*STEPS], choices=[*STEPS], help="these families")
    parser.add_argument("--scale", type=float, default=1.0, help="times as many updates (1)")
    options = parser.parse_args()
    print(f"{time.strftime('%Y-%m-%d')}, {machine()}; microseconds of an example: median (least to most)\n")
    print("| family | updates | one process, 2 devices | two processes, 1 device each | ratio |\n|---|---|---|---|---|")
    missed = False
    with tempfile.TemporaryDirectory() as folder:
        for family in options.only:
            steps = max(20, round(options.scale * STEPS[family]))
            found: dict[str, list[float]] = {way: [] for way in WAYS}
            for _ in range(options.rounds):
                for way in WAYS:
                    found[way].append(cost(family, way, Path(folder), steps))
            one, two = (statistics.median(found[way]) for way in WAYS)
            missed |= two / one > AIM
            cells = [f"{statistics.median(v):.1f} ({min(v):.1f} to {max(v):.1f})" for v in found.values()]
            print(f"| {family} | {steps} | {' | '.join(cells)} | {two / one:.2f} |", flush=True)
    print(f"\naim: at most {AIM:.2f}: {'missed' if missed else 'met'}")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
