"""How the time of an update grows with batch, width, length of series, number of members and number of examples.

    python scripts/benchmark/scaling.py [NAME ...] [--rounds 3] [--seconds 0.5]

This framework's compiled updates, for a few sizes each, measured in turns; the exponent is the slope of a line through
the logarithms (1: the time is proportional to the size; 0: it does not depend on it). That of the arithmetic and of the
memory that the program needs beside its arguments are given too. At small sizes what does not grow weighs in, so the
last slope, between the two largest sizes, is given beside that of all.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import jax
import numpy as np
from speed_suite.made_data import experiment_of
from speed_suite.updates import advanced
from speed_suite.workloads import WORKLOADS, Workload

from research.ablation import Ablation
from research.ablation.choice import choose_way
from research.ablation.groups import Stock, group
from research.ablation.program import GroupProgram
from research.experiment import Execution
from research.training.provenance import machine
from research.training.setup import set_up

BATCHES = 8
LENGTHS = (64, 128, 256, 512, 1024, 2048)
"""Of the encoder, in the three longest of which attention goes by blocks."""

Run = Callable[[int], None]


def changed(name: str, **changes: Any) -> Workload:
    """A workload with other numbers; what it has no field for are options of its model."""
    workload = WORKLOADS[name]
    own = {field.name for field in dataclasses.fields(Workload)}
    options = workload.options | {key: value for key, value in changes.items() if key not in own}
    fields: dict[str, Any] = {key: value for key, value in changes.items() if key in own}
    return dataclasses.replace(workload, options=options, **fields)


SERIES: dict[str, tuple[str, tuple[int, ...], Callable[[int], tuple[Workload, int]]]] = {
    "batch, perceptron": ("examples", (32, 128, 512, 2048), lambda n: (changed("perceptron", batch=n), BATCHES)),
    "batch, cnn": ("examples", (16, 32, 64, 128), lambda n: (changed("cnn", batch=n), BATCHES)),
    "batch, lstm": ("examples", (16, 32, 64, 128), lambda n: (changed("lstm", batch=n), BATCHES)),
    "width, perceptron": ("units", (64, 128, 256, 512), lambda n: (changed("perceptron", widths=(n, n)), BATCHES)),
    "width, encoder": ("features", (32, 64, 128, 256), lambda n: (changed("encoder", width=n), BATCHES)),
    "length, lstm": ("steps", (62, 125, 250, 500), lambda n: (changed("lstm", shape=(n, 12)), BATCHES)),
    "length, fcn": ("steps", (70, 140, 280, 560), lambda n: (changed("fcn", shape=(n, 1)), BATCHES)),
    "length, encoder": ("steps", LENGTHS, lambda n: (changed("encoder", shape=(n, 12), batch=8), BATCHES)),
    "examples, perceptron": ("batches", (100, 400, 1600, 6400), lambda n: (WORKLOADS["perceptron"], n)),
}
MEMBERS = ("members, perceptron", (8, 32, 128, 512))


def updates_of(workload: Workload, batches: int) -> tuple[Run, float, float]:
    """What makes so many updates, and of one the bytes that its program needs beside its arguments and its FLOPs."""
    setup = set_up(experiment_of(workload, batches), 0, Execution())
    assert setup.feed is not None
    carry = setup.program.initialise()
    facts = setup.program.compile(carry, setup.feed.window(0), None, False)
    step = 0

    def run(updates: int) -> None:
        nonlocal carry, step
        carry, step = advanced(setup, carry, step, updates), step + updates

    return run, facts["temporary_bytes"], facts["flops_per_update"]


def members_of(count: int) -> tuple[Run, float, float]:
    """The same of the members of an ablation, without bytes and FLOPs."""
    members = Ablation(baseline=experiment_of(WORKLOADS["perceptron"]).replace(steps=1200), seeds=count).members()
    (its,) = group(members, Stock(), Execution())
    choice = choose_way(its, its.members, jax.devices(), "auto", False, {})
    program = GroupProgram(its.members, its.outline, choice.way, jax.devices())
    carry, step = program.initialise(), 0

    def run(updates: int) -> None:
        nonlocal carry, step
        end = step + updates
        while step < end:
            windows, left = program.window(step)
            made = min(left, end - step)
            carry = program.advance(carry, windows, made)
            step += made
        jax.block_until_ready(carry)

    return run, float("nan"), float("nan")


def times(runs: list[Run], rounds: int, seconds: float) -> list[float]:
    """Median seconds per update of each, measured in turns."""

    def took(run: Run, updates: int) -> float:
        began = time.perf_counter()
        run(updates)
        return (time.perf_counter() - began) / updates

    counts = []
    for run in runs:
        took(run, 1)
        once = took(run, 2)
        counts.append(max(1, round(seconds / took(run, max(1, round(0.05 / once))))))
    found = [[took(run, count) for run, count in zip(runs, counts, strict=True)] for _ in range(rounds)]
    return [statistics.median(column) for column in zip(*found, strict=True)]


def slopes(sizes: tuple[int, ...], values: list[float]) -> str:
    """The exponent over all sizes, and between the two largest."""
    x, y = np.log(sizes), np.log(values)
    return f"{np.polyfit(x, y, 1)[0]:.2f}, {(y[-1] - y[-2]) / (x[-1] - x[-2]):.2f} at the end"


def main() -> None:
    """Print the table."""
    names = [*SERIES, MEMBERS[0]]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {'; '.join(names)}; none: all")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each (3)")
    parser.add_argument("--seconds", type=float, default=0.5, help="of each, about (0.5)")
    options = parser.parse_args()
    unknown = sorted(set(options.names) - set(names))
    if unknown:
        parser.error(f"not known: {'; '.join(unknown)}; known: {'; '.join(names)}")
    print(f"{time.strftime('%Y-%m-%d')}, {machine()}; {options.rounds} rounds of about {options.seconds:g} s\n")
    print("| of what | sizes | ms an update | exponent | of its FLOPs | MiB beside arguments | exponent |")
    print("|---|---|---|---|---|---|---|")
    for name in options.names or names:
        if name == MEMBERS[0]:
            unit, sizes = "members", MEMBERS[1]
            made = [members_of(size) for size in sizes]
        else:
            unit, sizes, of = SERIES[name]
            made = [updates_of(*of(size)) for size in sizes]
        found = times([run for run, _, _ in made], options.rounds, options.seconds)
        memory, flops = [each / 2**20 for _, each, _ in made], [each for _, _, each in made]
        cells = [f"{name} ({unit})", ", ".join(map(str, sizes)), ", ".join(f"{1e3 * each:.3g}" for each in found)]
        cells.append(slopes(sizes, found))
        known = all(each > 0 for each in memory)
        cells.append(slopes(sizes, flops) if known else "")
        cells += [", ".join(f"{each:.3g}" for each in memory) if known else "", slopes(sizes, memory) if known else ""]
        print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
