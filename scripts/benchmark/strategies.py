"""What an update of a member costs in an ablation, as `auto` trains it, beside a run of its own.

    RESEARCH_DATA_DIR=DATA .venv/bin/python scripts/benchmark/strategies.py [--rounds 5] [--seconds 3]

A perceptron, a CNN, a ResNet, an LSTM and a transformer, eight seeds each. Runs and members are timed in processes of
their own, in turns: a run has the whole machine to itself and one device, as `research run` has it; an ablation sees a
device for each core, as `research ablate` has it, measures the ways and takes the one it would take. Compiling is not
counted. The cost of a member is the wall time of all of them by their number. Medians of the rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

FILES = {
    "perceptron": ("wisconsin_mlp", {}),
    "CNN": ("chest_xray_cnn", {}),
    "ResNet": ("breast_ultrasound_resnet", {}),
    "LSTM": ("ecg_lstm", {}),
    "transformer": ("vitals_transformer", {}),
}
SEEDS = 8
LONGEST = 64
"""Updates in one call at most."""

SLACK = 1.05


def experiment_of(family: str) -> Any:
    """The experiment of a family of models."""
    from research.experiment_file import load_experiment
    from research.spec import replace

    name, edits = FILES[family]
    return replace(load_experiment(Path(__file__).parents[2] / "experiments" / f"{name}.py")[0], edits)


def alone(family: str, seconds: float, rounds: int) -> dict[str, Any]:
    """Microseconds per update of a run, one a round, each as told to go on."""

    from research.experiment import Execution
    from research.training.setup import set_up

    setup = set_up(experiment_of(family), 0, Execution())
    assert setup.feed is not None
    window = setup.feed.window(0)
    each = _rounds(
        setup.program.initialise(),
        lambda carry, count: setup.program.advance(carry, window, count),
        min(window.left, LONGEST),
        seconds,
        rounds,
    )
    return {"each": each}


def together(family: str, seconds: float, rounds: int) -> dict[str, Any]:
    """The same of the members of an ablation, and which way was taken."""
    import jax

    from research.ablation import Ablation
    from research.ablation.choice import choose_way
    from research.ablation.groups import Stock, group
    from research.ablation.program import GroupProgram
    from research.experiment import Execution

    members = Ablation(baseline=experiment_of(family), seeds=SEEDS).members()
    (its,) = group(members, Stock(), Execution())
    choice = choose_way(its, its.members, jax.devices(), "auto", False, {})
    program = GroupProgram(its.members, its.outline, choice.way, jax.devices())
    windows, left = program.window(0)
    each = _rounds(
        program.initialise(),
        lambda carry, count: program.advance(carry, windows, count),
        min(left, LONGEST),
        seconds,
        rounds,
    )
    return {"each": [cost / SEEDS for cost in each], "way": str(choice.way), "measured": choice.measured}


def _rounds(carry: Any, advance: Callable[[Any, int], Any], longest: int, seconds: float, rounds: int) -> list[float]:
    """Microseconds per update of what ``advance`` trains, one a round, each as told to go on."""
    import jax

    def took(calls: int, count: int) -> float:
        nonlocal carry
        jax.block_until_ready(carry)
        began = time.perf_counter()
        for _ in range(calls):
            carry = advance(carry, count)
        jax.block_until_ready(carry)
        return (time.perf_counter() - began) / calls / count

    took(1, 1)  # compiles
    count = max(1, min(longest, round(seconds / took(1, 1))))
    calls, found = max(1, round(seconds / took(1, count) / count)), []
    for _ in range(rounds):
        _wait()
        found.append(1e6 * took(calls, count))
        print("done", flush=True)
    return found


def _wait() -> None:
    """Until the other process is done with its turn."""
    print("ready", flush=True)
    sys.stdin.readline()


class Worker:
    """One of the two in a process of its own."""

    def __init__(self, kind: str, family: str, seconds: float, rounds: int) -> None:
        environment = dict(os.environ)
        if kind == "together":
            flags = environment.get("XLA_FLAGS", "")
            environment["XLA_FLAGS"] = f"{flags} --xla_force_host_platform_device_count={os.cpu_count()}".strip()
        command = [sys.executable, __file__, "--worker", kind, "--family", family]
        command += ["--seconds", str(seconds), "--rounds", str(rounds)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def read(self, wanted: str) -> None:
        """Wait for a word."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.strip() == wanted:
                return
        raise SystemExit(f"a process ended early: {self.process.wait()}")

    def go(self) -> None:
        """One round."""
        assert self.process.stdin is not None
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        self.read("done")

    def result(self) -> dict[str, Any]:
        """What it found."""
        assert self.process.stdout is not None
        found = json.loads(self.process.stdout.read().strip().splitlines()[-1])
        self.process.wait()
        return found


def compare(family: str, seconds: float, rounds: int) -> str:
    """A row of the table."""
    workers = []
    for kind in ("alone", "together"):
        workers.append(Worker(kind, family, seconds, rounds))
        workers[-1].read("ready")  # so that they do not compile at the same time
    for number in range(rounds):
        for worker in workers:
            worker.go()
            if number + 1 < rounds:
                worker.read("ready")
    run, members = (worker.result() for worker in workers)
    costs = [statistics.median(each["each"]) for each in (run, members)]
    share = costs[1] / costs[0]
    tried = ", ".join(f"{way} {cost:,.0f}" for way, cost in members["measured"].items())
    verdict = "met" if share <= SLACK else "MISSED"
    cells = [family, FILES[family][0], f"{costs[0]:,.0f}", f"{costs[1]:,.0f}", members["way"], tried, f"{share:.2f}"]
    return f"| {' | '.join([*cells, verdict])} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each, in turns (5)")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement, about (3)")
    parser.add_argument("--worker", choices=("alone", "together"), help=argparse.SUPPRESS)
    parser.add_argument("--family", choices=FILES, nargs="*", default=list(FILES), help="only these")
    options = parser.parse_args()
    if options.worker:
        measure = alone if options.worker == "alone" else together
        print(json.dumps(measure(options.family[0], options.seconds, options.rounds)))
        return
    from research.training.provenance import machine

    print(f"{time.strftime('%Y-%m-%d')}, {machine()}; {options.rounds} rounds of about {options.seconds:g} s\n")
    print("| family | experiment | run, µs per update | member | way taken | tried, µs | share | at most 1.05 |")
    print("|---|---|---|---|---|---|---|---|")
    for family in options.family:
        print(compare(family, options.seconds, options.rounds), flush=True)


if __name__ == "__main__":
    main()
