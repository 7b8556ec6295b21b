"""How fast this framework trains, beside the Flax NNX idiom, Keras 3 on JAX, PyTorch and Lightning.

    python scripts/benchmark/speed.py [WORKLOAD ...] [--contestants research nnx keras torch lightning]
        [--rounds 5] [--seconds 1] [--inference] [--json FILE] [--figure FILE.png]

Each contestant of a workload has a process of its own. All do the same: they start from the same parameters (this
framework's initial ones), see the same batches, ready in memory, take mean cross-entropy and AdamW in float32; their
numbers of parameters must be equal, and without dropout and augmentation their first five losses too. They are measured
in turns of about --seconds, one at a time, each --rounds times; the table gives medians with quartiles.

research: what ``research run`` does: its loop, with evaluation on one batch, the log and TensorBoard after each epoch
of 100 batches, and its share of a checkpoint every five minutes. loop: without evaluations and their lines in the logs.
updates: its compiled updates alone.
nnx: ``nnx.jit`` and ``nnx.Optimizer``. keras: ``fit``. lightning: ``Trainer.fit``, for the loop around small models.
torch: eager, compiled, channels_last, one or two threads, two forms of attention; the best by a trial, and what comes
near it, is measured, and the very best with the C library tuned as this framework's too ("tuned"; see
`research.allocator`).

GFLOP/s are by this framework's count for all; "matmul" is their share of this machine's rate in products of float32
matrices of 1024 and 2048, the better of JAX's and PyTorch's. Memory is the most that was held beyond what imports took,
and these. The exit status is 1 where contestants do not agree.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from speed_suite import report
from speed_suite.measure import measure
from speed_suite.protocol import Failed, Worker
from speed_suite.workloads import CONTESTANTS, EAGER, WORKLOADS, Entry

INFERENCE_BATCH = 256


def matmul() -> dict[str, dict[str, float]]:
    """FLOP/s by library and size, of the libraries that are installed."""
    found = {}
    for library in ("jax", "torch"):
        worker = Worker(Entry(library, "matmul", {"library": library}), "perceptron", "train", Path())
        try:
            found[library] = worker.ask("prepare")["rates"]
        except Failed as error:
            say(str(error))
        worker.close()
    return found


def say(text: str) -> None:
    """Progress, apart from the tables."""
    print(text, file=sys.stderr, flush=True)


def stored(path: Path | None) -> dict[str, Any]:
    """Results in a file by workload and mode; empty where there is none."""
    return json.loads(path.read_text()) if path is not None and path.exists() else {}


def ordered(results: dict[str, Any]) -> dict[str, Any]:
    """The same in the order of the workloads, training first."""
    places = {name: place for place, name in enumerate(WORKLOADS)}
    key = {name: (each["mode"] != "train", places[each["workload"]["name"]]) for name, each in results.items()}
    return dict(sorted(results.items(), key=lambda item: key[item[0]]))


def commit() -> str:
    """The commit that is checked out; empty outside a repository."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def main() -> int:
    """Print the tables; 1 where contestants do not agree."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workloads", nargs="*", metavar="WORKLOAD", help=f"of {', '.join(WORKLOADS)}; none: all")
    parser.add_argument("--contestants", nargs="+", default=list(CONTESTANTS), choices=(*CONTESTANTS, EAGER))
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each (5)")
    parser.add_argument("--seconds", type=float, default=1.0, help="of each measurement, about (1)")
    parser.add_argument("--inference", action="store_true", help="forward passes instead of training steps")
    parser.add_argument("--json", type=Path, help="results are added to this file, in place of earlier ones")
    parser.add_argument("--figure", type=Path, help="a bar chart of training, of all that is in the file of --json")
    parser.add_argument("--show", action="store_true", help="measure nothing: show what is in the file of --json")
    options = parser.parse_args()
    unknown = sorted(set(options.workloads) - set(WORKLOADS))
    if unknown:
        parser.error(f"not known: {', '.join(unknown)}; known: {', '.join(WORKLOADS)}")
    results = stored(options.json)
    wanted = [] if options.show else [WORKLOADS[name] for name in options.workloads or WORKLOADS]
    for workload in wanted:
        modes = (str(workload.batch), str(INFERENCE_BATCH)) if options.inference else ("train",)
        for mode in modes:
            rates = matmul()
            found = measure(workload, tuple(options.contestants), mode, options.rounds, options.seconds, say)
            found |= {"matmul": rates, "date": time.strftime("%Y-%m-%d"), "commit": commit()}
            results[f"{workload.name} {mode}"] = found
            print(f"{found['date']}, {found['facts']['machine']}, commit {found['commit']}; {options.rounds} rounds\n")
            print(report.table(found) + "\n", flush=True)
            if options.json is not None:
                options.json.write_text(json.dumps(results, indent=1))
    results, names = ordered(results), {workload.name for workload in wanted}
    shown = [each for each in results.values() if options.show or each["workload"]["name"] in names]
    if options.show:
        print("\n\n".join(report.table(each) for each in shown) + "\n")
    print(report.summary(shown) + "\n")
    print(report.verdicts(shown))
    if options.figure is not None:
        report.chart(list(results.values()), options.figure)
    return int(any(not told["agrees"] for each in shown for told in each["contestants"].values()))


if __name__ == "__main__":
    sys.exit(main())
