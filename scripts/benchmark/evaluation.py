"""How long the report of 100,000 predictions takes: every metric with its 95 % interval.

    python scripts/benchmark/evaluation.py [--rows 100000] [--rounds 3]

Made-up predictions of three kinds of task, by row and by patient (four rows each), 1000 resamples, thresholds chosen on
a tenth as many predictions: what ``research run`` does at its end. Medians of the rounds.
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np

from research.evaluation import Predictions
from research.evaluation.report import evaluate
from research.task import Task
from research.training.provenance import machine

TASKS = {
    "binary": Task("binary", ("healthy", "disease")),
    "multiclass, 5": Task("multiclass", tuple("abcde")),
    "regression": Task("regression", ("dose",)),
}
ROWS_OF_A_PATIENT = 4


def predictions(task: Task, rows: int, patients: bool, seed: int) -> Predictions:
    """Predictions that are somewhat better than chance."""
    draw, targets = np.random.default_rng(seed), None
    if task.kind == "regression":
        targets = draw.standard_normal((rows, 1)).astype(np.float32)
        said = (targets + draw.standard_normal((rows, 1))).astype(np.float32)
    else:
        classes = len(task.names)
        targets = draw.integers(0, classes, rows, dtype=np.int32)
        scores = draw.standard_normal((rows, classes)) + np.eye(classes)[targets]
        said = (np.exp(scores) / np.exp(scores).sum(1, keepdims=True)).astype(np.float32)
        said = said[:, 1] if task.kind == "binary" else said
    owner = (np.arange(rows) // ROWS_OF_A_PATIENT).astype(str).astype(object) if patients else None
    return Predictions(task, "test", np.arange(rows, dtype=np.int32), said, targets, owner)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000, help="predictions (100000)")
    parser.add_argument("--rounds", type=int, default=3, help="reports of each kind (3)")
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=list(TASKS))
    options = parser.parse_args()
    print(f"{time.strftime('%Y-%m-%d')}, {machine()}; {options.rows:,} predictions, {options.rounds} rounds\n")
    print("| task | intervals | metrics | s |\n|---|---|---|---|")
    for name in options.tasks:
        for patients in (False, True):
            test = predictions(TASKS[name], options.rows, patients, 0)
            validation = predictions(TASKS[name], options.rows // 10, patients, 1)
            seconds, count = [], 0
            for _ in range(options.rounds):
                began = time.perf_counter()
                found = evaluate(test, validation)
                seconds.append(time.perf_counter() - began)
                count = len(found.estimates) + sum(len(part) for part in found.parts.values())
            by = "by patient" if patients else "by row"
            print(f"| {name} | {by} | {count} | {statistics.median(seconds):.2f} |", flush=True)


if __name__ == "__main__":
    main()
