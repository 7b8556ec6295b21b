"""How long one waits for commands: imports, help, list, preflight, first run, runs with a warm compilation cache.

    python scripts/benchmark/startup.py [--rounds 3] [--only NAME ...]

Each is a command of its own, timed from start to end, in turns; medians, least and most. The compilation cache is an
empty folder for each first run and dry run, and the one that a first run has filled for the warm ones. "one update" is
a run of a single update: what lies before and after training. "finished before": the same run again, which is shown.
Python keeps what it compiles of modules, as it does unless told otherwise; that too is there before the first round.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from research.training.provenance import machine

ROOT = Path(__file__).parents[2]
EXPERIMENT = str(ROOT / "experiments" / "wisconsin_mlp.py")
PYTHON, RESEARCH = [sys.executable, "-c"], [sys.executable, "-m", "research"]
ONE = ["epochs=none", "steps=1"]
COMMANDS: dict[str, tuple[list[str], bool, float | None]] = {
    "import jax": ([*PYTHON, "import jax"], True, None),
    "import research": ([*PYTHON, "import research"], True, None),
    "research --help": ([*RESEARCH, "--help"], True, 0.5),
    "research list": ([*RESEARCH, "list"], True, 0.5),
    "preflight (--dry-run)": ([*RESEARCH, "run", EXPERIMENT, "--dry-run"], False, None),
    "one update, cold cache": ([*RESEARCH, "run", EXPERIMENT, *ONE], False, None),
    "one update, warm cache": ([*RESEARCH, "run", EXPERIMENT, *ONE], True, None),
    "wisconsin_mlp, cold cache": ([*RESEARCH, "run", EXPERIMENT], False, None),
    "wisconsin_mlp, warm cache": ([*RESEARCH, "run", EXPERIMENT], True, 4.0),
    "wisconsin_mlp, finished before": ([*RESEARCH, "run", EXPERIMENT, "--runs", "RUNS"], True, None),
}
"""Of each the command, whether the cache is warm, and the most seconds asked for; RUNS stays for all rounds."""


def timed(command: list[str], cache: Path, folder: Path) -> float:
    """Seconds of a command in a folder of its own."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment |= {"RESEARCH_CACHE_DIR": str(cache), "PYTHONPATH": str(ROOT)}
    environment["PYTHONPYCACHEPREFIX"] = str(folder / "python")
    with tempfile.TemporaryDirectory(dir=folder) as place:
        began = time.perf_counter()
        command = [str(folder / "runs") if word == "RUNS" else word for word in command]
        done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, check=False)
        seconds = time.perf_counter() - began
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stderr}")
    return seconds


def main() -> int:
    """Print the table; 1 where a limit is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="of each command (3)")
    parser.add_argument("--only", nargs="+", default=list(COMMANDS), choices=list(COMMANDS), metavar="NAME")
    options = parser.parse_args()
    seconds: dict[str, list[float]] = {name: [] for name in options.only}
    with tempfile.TemporaryDirectory(prefix="startup-") as name:
        folder = Path(name)
        warm = folder / "warm"
        for command in {tuple(COMMANDS[each][0]) for each in options.only}:
            timed(list(command), warm, folder)
        for number in range(options.rounds):
            for each in options.only:
                command, is_warm, _ = COMMANDS[each]
                cache = warm if is_warm else folder / f"cold {each} {number}"
                seconds[each].append(timed(command, cache, folder))
    print(f"{time.strftime('%Y-%m-%d')}, {machine()}; {options.rounds} rounds\n")
    print("| command | s | least to most | at most | verdict |\n|---|---|---|---|---|")
    missed = False
    for each, found in seconds.items():
        limit, middle = COMMANDS[each][2], statistics.median(found)
        verdict = "" if limit is None else "met" if middle <= limit else "MISSED"
        missed |= verdict == "MISSED"
        asked = "" if limit is None else f"{limit:g}"
        print(f"| {each} | {middle:.2f} | {min(found):.2f} to {max(found):.2f} | {asked} | {verdict} |")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
