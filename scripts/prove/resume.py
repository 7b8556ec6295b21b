"""Kill one run many times at random moments and compare it, bit by bit, with one that was never interrupted.

Most kills are SIGKILL, some SIGTERM; half of them fall into the writing of a checkpoint, after a random delay.

    .venv/bin/python scripts/prove/resume.py [--kills 100] [experiments/wisconsin_mlp.py ...]
"""

from __future__ import annotations

import argparse
import itertools
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

from research.training.provenance import machine
from research.training.verify_resume import Interruption, verify_resume

EXPERIMENTS = Path(__file__).parents[2] / "experiments"


def moments(kills: int, seed: int) -> tuple[Interruption, ...]:
    """Random interruptions in the order of the run, so that every process gets a little further."""
    draw = random.Random(seed)
    found = []
    for fraction in sorted(draw.uniform(0, 0.98) for _ in range(kills)):
        number = signal.SIGTERM if draw.random() < 0.2 else signal.SIGKILL
        moment = draw.choice(("update", "save"))
        found.append(Interruption(moment, fraction, number, draw.uniform(0, 0.06) if moment == "save" else 0.0))
    return tuple(found)


def main() -> None:
    """Print a row per experiment."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path, default=[EXPERIMENTS / "wisconsin_mlp.py"])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--feeds", nargs="+", default=["resident"], choices=("resident", "streaming"))
    parser.add_argument("--overrides", nargs="*", default=[], metavar="PATH=VALUE", help="such as steps=60")
    parser.add_argument("--seed", type=int, default=0, help="seed of the moments")
    options = parser.parse_args()
    print(f"{time.strftime('%Y-%m-%d')}, {machine()}\n")
    print("| experiment | feed | updates | kills | moments that came | compared | unequal |")
    print("|---|---|---|---|---|---|---|")
    differing = 0
    for file, feed in itertools.product(options.files, options.feeds):
        command = [str(file), f"execution.feed={feed}", "execution.figures=false", *options.overrides, "--seed", "0"]
        with tempfile.TemporaryDirectory() as folder:
            chosen = moments(options.kills, options.seed)
            verdict = verify_resume(command, Path(folder), lambda text: None, chosen)
        unequal = "; ".join(c.what for c in verdict.comparisons if c.difference) or "none"
        differing += not verdict.equal
        row = (verdict.updates, len(verdict.kills), verdict.reached, len(verdict.comparisons), unequal)
        print(f"| {file.stem} | {feed} | {' | '.join(map(str, row))} |", flush=True)
    sys.exit(differing > 0)


if __name__ == "__main__":
    main()
