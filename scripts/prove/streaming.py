"""The streaming feed on a set larger than its memory: peak memory, throughput, and the share of time spent waiting.

    RESEARCH_DATA_DIR=DATA python scripts/prove/streaming.py [--gigabytes 2] [--folder FOLDER]

Prepares made-up pictures of 224 x 224 x 3 pixels as records, then trains a network on one pass over them in a process
of its own, and prints a dated table. Peak resident memory is VmHWM of that process, pages of mapped files included.
The last line is ``chest_xray_cnn`` for 3 epochs on the streaming feed, where its data is there. Exits with 1 where the
peak is above 1 GiB, or the share of the time in training that was spent waiting is above 5 % for `chest_xray_cnn`.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import research
from research.data import About, ImageData, Images, Source
from research.experiment import Evaluation, Execution, Experiment
from research.experiment_file import load_experiment
from research.losses import CrossEntropy
from research.models import CNN
from research.optimizers import Adam
from research.spec import Static, field, replace
from research.task import Task
from research.training.provenance import machine

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
SIDE, CHANNELS = 224, 3
MOST_MEBIBYTES, MOST_WAITING = 1024, 0.05
RESIDENT_MEBIBYTES = 512
"""Up to so much ``auto`` would keep pictures in memory."""


class Noise(Source):
    """Pictures of noise, brighter in the positive class; each is a function of its number."""

    gigabytes: Static[float] = field(2.0, above=0, help="bytes of all pictures, in GiB")

    def about(self) -> About:
        """What the rows are."""
        return About(name="noise", summary="made-up pictures", licence="Apache-2.0", citation="none")

    def load(self) -> Images:
        """Nothing is drawn before it is read."""
        count = int(self.gigabytes * 2**30 / (SIDE * SIDE * CHANNELS))
        return Images(
            targets=(np.arange(count) % 2).astype(np.int32),
            task=Task("binary", ("dark", "bright")),
            patient=None,
            split=None,
            row=np.arange(count, dtype=np.int32),
            about=self.about(),
            shape=(SIDE, SIDE, CHANNELS),
            read=read,
            signature=f"noise {count}",
        )


def read(position: int) -> np.ndarray:
    """Picture number ``position``."""
    draw = np.random.default_rng(position)
    return draw.integers(0, 200 + 20 * (position % 2), (SIDE, SIDE, CHANNELS), np.uint8)


def memory() -> dict[str, float]:
    """Peak resident memory of this process and its parts now, MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    kilobytes = {line.split(":")[0]: int(line.split()[1]) for line in lines if line.startswith(("VmHWM", "Rss"))}
    return {name: value / 1024 for name, value in kilobytes.items()}


def noise(gigabytes: float) -> Experiment:
    """A network so small that reading decides the speed."""
    return Experiment(
        data=ImageData(source=Noise(gigabytes=gigabytes)),
        model=CNN(widths=(4,), kernel=3, pool=16, dense_widths=()),
        loss=CrossEntropy(),
        optimizer=Adam(),
        epochs=1,
        batch_size=32,
        evaluation=Evaluation(batch_size=32, resamples=100),
    )


def child(what: str, gigabytes: float, runs: Path) -> None:
    """One training on the streaming feed; prints what it took as JSON."""
    before = memory()
    experiment = noise(gigabytes)
    if what == "chest":
        experiment = replace(load_experiment(EXPERIMENTS / "chest_xray_cnn.py")[0], {"epochs": 3})
    execution = Execution(feed="streaming", tensorboard=False, figures=False)
    if what == "noise":
        execution = execution.replace(feed="auto", resident_mib=RESIDENT_MEBIBYTES)
    began = time.perf_counter()
    result = research.run(experiment, runs=runs, name=what, execution=execution, fresh=True)
    facts = {
        "seconds": time.perf_counter() - began,
        "waited": result.summary["input_wait_share"],
        "updates": result.summary["updates"],
        "peak": memory()["VmHWM"],
        "file": memory()["RssFile"],
        "start": before["VmHWM"],
    }
    print(json.dumps(facts))


def main() -> None:
    """Prepare, train, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=2.0, help="GiB of pictures (2)")
    parser.add_argument("--folder", type=Path, help="where to keep records and runs (a temporary folder)")
    parser.add_argument("--child", choices=("noise", "chest"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child, options.gigabytes, options.folder)
        return
    with tempfile.TemporaryDirectory() as temporary:
        met = table(options.folder or Path(temporary), options.gigabytes)
    sys.exit(not met)


def table(folder: Path, gigabytes: float) -> bool:
    """Print a line per training; returns whether what is asked for is met."""
    environment = os.environ | {"RESEARCH_CACHE_DIR": str(folder / "cache")}
    command = [sys.executable, __file__, "--gigabytes", str(gigabytes), "--folder", str(folder), "--child"]
    print(f"{datetime.datetime.now(datetime.UTC).date().isoformat()}, {machine()}; {gigabytes:g} GiB of pictures\n")
    print("| training | s | updates | waited for input | peak resident MiB | of files, at the end | at the start |")
    print("|---|---|---|---|---|---|---|")
    size = f"{gigabytes:g} GiB"
    lines = {f"{size}, records prepared first": "noise", f"{size}, records there": "noise", "chest_xray_cnn": "chest"}
    met = True
    for name, what in lines.items():
        done = subprocess.run([*command, what], env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            why = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
            print(f"{name} is left out: {why}", file=sys.stderr)
            met = met and what == "chest"
            continue
        facts = json.loads(done.stdout.splitlines()[-1])
        met = met and facts["peak"] < MOST_MEBIBYTES and (what == "noise" or facts["waited"] < MOST_WAITING)
        print(
            f"| {name} | {facts['seconds']:.0f} | {facts['updates']} | {100 * facts['waited']:.1f} % "
            f"| {facts['peak']:.0f} | {facts['file']:.0f} | {facts['start']:.0f} |",
            flush=True,
        )
    print(f"\npeak below {MOST_MEBIBYTES} MiB, chest_xray_cnn waits below {100 * MOST_WAITING:g} %: {met}")
    return met


if __name__ == "__main__":
    main()
