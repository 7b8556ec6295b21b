"""How long checkpoints keep a training waiting: a transformer of 50 million parameters, saved every minute.

    .venv/bin/python scripts/benchmark/checkpoints.py [--minutes 5] [--every 1] [--folder FOLDER]

The real loop trains for some minutes, once without a checkpoint but the last and once with one every minute. Said are
the share of the time in which saving kept the main thread (the device does nothing meanwhile; limit 5 %), and by how
much updates were slower altogether: on a processor they also share it with the writing.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import jax

sys.path.insert(0, str(Path(__file__).parents[1] / "prove"))

from sharding import EXPERIMENT, MIB

from research.experiment import Execution
from research.training.checkpoint import Checkpoints
from research.training.loop import Cadence, train
from research.training.metrics_log import NoLog
from research.training.provenance import machine
from research.training.setup import Setup, set_up

LIMIT = 0.05


class Timed(Checkpoints):
    """Checkpoints that note when the device has come to each save, and how long that keeps the main thread."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.saves: list[tuple[float, float]] = []

    def save(self, step: int, value: Any) -> None:
        """See `Checkpoints.save`."""
        jax.block_until_ready(value)
        began = time.perf_counter()
        super().save(step, value)
        self.saves.append((began, time.perf_counter() - began))


def trained(setup: Setup, updates: int, every: float, folder: Path) -> tuple[float, list[float]]:
    """Seconds until the last update, and those in which each save before it kept the main thread."""
    carry = jax.block_until_ready(setup.program.initialise())
    cadence = Cadence(total=updates, evaluate=None, log=None, checkpoint=None, per_epoch=None)
    execution = setup.execution.replace(checkpoint_minutes=every)
    last, best = Timed(folder / "last"), Checkpoints(folder / "best")
    began = time.perf_counter()
    train(setup.program, carry, setup.feed, None, cadence, execution, NoLog(), last, best, lambda record: None)
    last.close()
    best.close()
    return last.saves[-1][0] - began, [kept for _, kept in last.saves[:-1]]


def main() -> int:
    """Print what was measured; 1 where the limit is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=5.0, help="of each of two trainings (5)")
    parser.add_argument("--every", type=float, default=1.0, help="minutes between checkpoints (1)")
    parser.add_argument("--folder", type=Path, help="where checkpoints are written (the folder for temporary files)")
    options = parser.parse_args()
    setup = set_up(EXPERIMENT, 0, Execution())
    carry = setup.program.initialise()
    count = sum(leaf.size for leaf in jax.tree.leaves(carry.state.params))
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(carry))
    assert setup.feed is not None
    carry = jax.block_until_ready(setup.program.advance(carry, setup.feed.window(0), 1))
    began = time.perf_counter()
    jax.block_until_ready(setup.program.advance(carry, setup.feed.window(0), 4))
    updates = max(8, round(60 * options.minutes / ((time.perf_counter() - began) / 4)))
    print(
        f"{time.strftime('%Y-%m-%d')}, {machine()}, {setup.device.device_kind}: {count / 1e6:.1f} million parameters,"
    )
    print(f"{size / MIB:.0f} MiB a checkpoint, {updates} updates, a checkpoint every {options.every:g} min", flush=True)
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        alone, _ = trained(setup, updates, 1e9, Path(name) / "alone")
        seconds, kept = trained(setup, updates, options.every, Path(name) / "saved")
    if not kept:
        sys.exit("No checkpoint came before the end: give more --minutes, or less to --every.")
    share = sum(kept) / seconds
    print(
        f"{len(kept)} checkpoints kept the main thread {statistics.median(kept):.2f} s each (at most {max(kept):.2f}):"
    )
    print(f"{100 * share:.1f} % of {seconds:.0f} s; limit {100 * LIMIT:.0f} %: {'met' if share < LIMIT else 'MISSED'}")
    print(f"an update took {1000 * seconds / updates:.0f} ms, without checkpoints {1000 * alone / updates:.0f} ms")
    return 0 if share < LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
