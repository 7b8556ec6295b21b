"""What an example costs on two processes, as on two machines, beside one process with as many devices.

    .venv/bin/python scripts/benchmark/processes.py [--rounds 3] [--only MLP CNN LSTM transformer]

Each run is `research run` with its default events, on two virtual devices of the processor: both of one process, or one
of each of two, which send each other gradients through the network stack of this machine. In turns; medians of what
the runs say of their rate, evaluations and checkpoints included, with the least and the most. Aim: at most 15 % more.

Before that, what a message between the two devices takes, a sum of arrays of some sizes in a compiled loop.
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
from typing import Any

from research.training.provenance import machine

ROOT = Path(__file__).parents[2]
LAUNCH = ROOT / "scripts" / "launch_local"
SIZES, ROUNDS = (64, 40_000, 4_000_000), 200
"""Bytes of an array, and how often it is sent."""

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
        command = [sys.executable, str(LAUNCH), f"{processes}", "--devices", f"{devices}"]
        command += ["--", sys.executable, "-m", "research", "run", str(file), "--runs", runs]
        command += ["execution.parallel.data=2", "execution.tensorboard=false", "execution.figures=false"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"{family}, {way}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
        (results,) = Path(runs).glob("*/*/results.json")
        rate = json.loads(results.read_text(encoding="utf-8"))["throughput"]["examples_per_second"]
    return 1e6 / rate


def messages() -> None:
    """Print, on process 0, milliseconds of a sum over both devices, by the size of the array."""
    import jax
    import jax.numpy as jnp
    from jax.sharding import AxisType, NamedSharding, PartitionSpec

    from research.processes import current, find_place, join

    if place := find_place():
        join(place)
    mesh, whole = jax.make_mesh((2,), ("device",), axis_types=(AxisType.Auto,)), PartitionSpec()
    found = []
    for size in SIZES:

        def again(number: Any, value: Any) -> Any:
            return 0.5 * jax.lax.psum(value, "device")

        loop = jax.shard_map(
            lambda value, again=again: jax.lax.fori_loop(0, ROUNDS, again, value),
            mesh=mesh,
            in_specs=whole,
            out_specs=whole,
            check_vma=False,
        )
        value = jax.jit(lambda size=size: jnp.ones(size // 4), out_shardings=NamedSharding(mesh, whole))()
        run = jax.jit(loop)
        jax.block_until_ready(run(value))
        began = time.perf_counter()
        jax.block_until_ready(run(value))
        found.append(f"{1000 * (time.perf_counter() - began) / ROUNDS:.2f}")
    if current().leads:
        print(f"| {'two processes' if current().count > 1 else 'one process'} | {' | '.join(found)} |", flush=True)
    current().close()


def print_messages() -> None:
    """Print what `messages` measures in both ways."""
    print(f"| a message, ms | {' | '.join(f'{size:,} B' for size in SIZES)} |\n|---|{'---|' * len(SIZES)}", flush=True)
    for processes, devices in WAYS.values():
        command = [sys.executable, str(LAUNCH), f"{processes}", "--devices", f"{devices}"]
        command += ["--", sys.executable, __file__, "--messages"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"messages: {done.stdout[-2000:]}{done.stderr[-2000:]}")
        print(next(line for line in done.stdout.splitlines() if line.startswith("|")), flush=True)
    print()


def main() -> int:
    """Print the table; 1 where the aim is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="runs of each kind (3)")
    parser.add_argument("--only", nargs="+", default=[*STEPS], choices=[*STEPS], help="these families")
    parser.add_argument("--scale", type=float, default=1.0, help="times as many updates (1)")
    parser.add_argument("--messages", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.messages:
        messages()
        return 0
    print(f"{time.strftime('%Y-%m-%d')}, {machine()}; microseconds of an example: median (least to most)\n")
    print_messages()
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
