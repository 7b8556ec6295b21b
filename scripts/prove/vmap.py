"""How far members under ``vmap`` part from runs of their own, update by update and in what comes out; dated tables.

    python scripts/prove/vmap.py [--only perceptron cnn resnet lstm transformer gan bandit] [--seeds 20]

Each family is trained with some seeds by ``vmap``, and by ``map``, which gives the bits of runs of their own (see
`scripts/prove/members.py`).

First table: how far the two are from each other after 1, 20 and 100 updates: the largest difference over all members
and numbers, relative to 1 or to the number where that is larger. Beside it, how far runs of their own part whose
weights are one rounding apart at the beginning: training amplifies any rounding, and does so more where gradients are
all but zero and Adam makes them full steps, or where many units are near the corner of a ReLU.

Second table: what is reported of the test split, or of the rows, after the whole training, and whether its distribution
over seeds is the same: Kolmogorov-Smirnov's test of two samples, and a t-test of the differences seed by seed.

The exit code is 1 where, within 100 updates, loss or predictions part by more than 1e-4 and by more than ten times what
one rounding does.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "algorithms"))

from toy_bandit import ToyBandit
from toy_gan import Players, ToyGAN, TwoOptimizers

from research.ablation.ablation import Ablation
from research.ablation.groups import Group, Stock, group
from research.ablation.program import GroupProgram, Way, gathered
from research.ablation.waves import metric_values
from research.data import Augmentation, ImageData, SeriesData, SyntheticTable, SyntheticVitals, SyntheticXray, TableData
from research.experiment import Evaluation, Execution, Experiment
from research.losses import CrossEntropy
from research.models import CNN, MLP, RNN, ResNet, SeriesTransformer
from research.optimizers import AdamW
from research.trained_model import as_predictions
from research.training.carry import Carry
from research.training.provenance import machine

AFTER = (1, 20, 100)
LIMIT = 1e-4
WHAT = ("params", "loss", "rows")
MEASURES = ("auroc", "loss")

TABLE = TableData(source=SyntheticTable(patients=400))
FILMS = ImageData(source=SyntheticXray(patients=200, films=1, size=32), augmentation=Augmentation(rotation=20.0))
VITALS = SeriesData(source=SyntheticVitals(patients=200), resample=2.0)
NETWORKS = Players(generator=MLP(widths=(8,)), discriminator=MLP(widths=(8,)))


def _supervised(data: Any, model: Any, steps: int) -> Experiment:
    return Experiment(
        data=data,
        model=model,
        loss=CrossEntropy(),
        optimizer=AdamW(learning_rate=1e-3, weight_decay=1e-2),
        steps=steps,
        batch_size=8,
        evaluation=Evaluation(every_steps=steps, select=None),
    )


FAMILIES: dict[str, tuple[Experiment, tuple[str, ...]]] = {
    "perceptron": (_supervised(TABLE, MLP(widths=(32, 32), dropout=0.2), 3000), MEASURES),
    "cnn": (_supervised(FILMS, CNN(widths=(4, 8), dense_widths=(16,), dropout=0.2), 400), MEASURES),
    "resnet": (_supervised(FILMS, ResNet(depth=18, width=4, blocks=(1, 1)), 200), MEASURES),
    "lstm": (_supervised(VITALS, RNN(cell="lstm", widths=(16,), dropout=0.2), 400), MEASURES),
    "transformer": (_supervised(VITALS, SeriesTransformer(width=16, depth=2, heads=2, dropout=0.2), 400), MEASURES),
    "gan": (
        Experiment(data=TABLE, model=NETWORKS, algorithm=ToyGAN(), optimizer=TwoOptimizers(), steps=1000),
        ("realism", "norm"),
    ),
    "bandit": (
        Experiment(algorithm=ToyBandit(step_size=0.2), steps=1000, evaluation=Evaluation(every_steps=1000)),
        ("regret",),
    ),
}
"""What is trained, and what is compared at the end."""


class Training:
    """The members of one family by one way, at each of `AFTER` and at the end.

    Args:
        found: the members.
        strategy: how they are gone through.
        total: updates.
        nudged: begin one rounding away from their weights.
    """

    def __init__(self, found: Group, strategy: Any, total: int, nudged: bool = False) -> None:
        self.found = found
        program = GroupProgram(found.members, found.outline, Way(strategy), jax.devices())
        carry, done = program.initialise(), 0
        if nudged:
            carry = tuple(_nudged(part) for part in carry)
        self.params: list[Any] = []
        self.loss: list[Any] = []
        self.rows: list[dict[str, Any]] = []
        for step in [step for step in (*AFTER, total) if step <= total]:
            while done < step:
                windows, left = program.window(done)
                count = min(step - done, left)
                carry, done = program.advance(carry, windows, count), done + count
            carry, record = program.record(carry, False)
            rows = gathered(program.predict(program.deploy(carry), program.reported[-1]))
            self.params.append(gathered(tuple(part.state.params for part in carry)))
            self.loss.append(gathered(tuple(told["train/loss"] for told in record)))
            self.rows.append({name: row for name, row in rows.items() if row.dtype.kind == "f"})

    def measures(self, metric: str) -> np.ndarray:
        """A metric of each member at the end."""
        each = []
        for number, ready in enumerate(self.found.members):
            rows = {name: column[number] for name, column in self.rows[-1].items()}
            each.append(metric_values(as_predictions(ready.fitted, ready.prepared, "test", rows), None)[metric])
        return np.array(each)


def _nudged(carry: Carry) -> Carry:
    params = jax.tree.map(lambda array: jnp.nextafter(array, jnp.float32(np.inf)), carry.state.params)
    return dataclasses.replace(carry, state=dataclasses.replace(carry.state, params=params))


def gaps(left: Any, right: Any) -> dict[str, float]:
    """The largest difference by kind of array: its path without the numbers of layers."""
    found: dict[str, float] = {}
    for (path, a), b in zip(jax.tree_util.tree_leaves_with_path(left), jax.tree.leaves(right), strict=True):
        kind = re.sub(r"\d+/", "", jax.tree_util.keystr(path, simple=True, separator="/"))
        far = np.abs(np.asarray(a, float) - np.asarray(b, float)) / np.maximum(1, np.abs(np.asarray(b, float)))
        found[kind] = max(found.get(kind, 0.0), float(np.nanmax(far)))
    return found


def parting(name: str, at_once: Training, own: Training, nudged: Training) -> tuple[bool, list[str]]:
    """Whether loss and predictions stay together as they should, and the lines of the first table."""
    right, lines = True, []
    for place, step in enumerate(AFTER):
        by_kind = gaps(at_once.params[place], own.params[place])
        furthest = max(by_kind, key=lambda kind: by_kind[kind])
        others = max((far for kind, far in by_kind.items() if kind != furthest), default=0.0)
        far, rounding = (
            [max(gaps(getattr(other, what)[place], getattr(own, what)[place]).values()) for what in WHAT]
            for other in (at_once, nudged)
        )
        right = right and all(a < max(LIMIT, 10 * b) for a, b in zip(far[1:], rounding[1:], strict=True))
        numbers = [f"{number:.0e}" for number in (far[0], others, *far[1:], *rounding)]
        lines.append(f"| {' | '.join([name, str(step), numbers[0], furthest, *numbers[1:]])} |")
    return right, lines


def distributions(name: str, at_once: Training, own: Training) -> list[str]:
    """The lines of the second table."""
    experiment, metrics = FAMILIES[name]
    lines = []
    for metric in metrics:
        one, other = at_once.measures(metric), own.measures(metric)
        apart = one - other
        cells = [
            name,
            f"{experiment.steps}",
            metric,
            _spread(one),
            _spread(other),
            f"{apart.mean():+.1e} ± {apart.std(ddof=1):.1e}",
            f"{np.abs(apart).max():.1e}",
            f"{stats.ks_2samp(one, other).pvalue:.2f}",  # type: ignore[attr-defined]
            f"{stats.ttest_rel(one, other).pvalue:.2f}" if apart.any() else "",  # type: ignore[attr-defined]
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _spread(values: np.ndarray) -> str:
    return f"{values.mean():.4f} ± {values.std(ddof=1):.4f}"


def table(headings: Sequence[str]) -> str:
    """The first two lines of a table."""
    return f"| {' | '.join(headings)} |\n|{'---|' * len(headings)}"


def main() -> int:
    """Print the tables; see the module for the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", default=[*FAMILIES], choices=[*FAMILIES], help="only these")
    parser.add_argument("--seeds", type=int, default=20, help="members of each family (20)")
    options = parser.parse_args()
    began, right, ends = time.perf_counter(), True, []
    print(f"{datetime.datetime.now(datetime.UTC).date().isoformat()}, {machine()}, {options.seeds} seeds\n")
    vmap = ("vmap: weights", "furthest", "other weights", "loss", "predictions")
    print(table(("family", "updates", *vmap, "a rounding: weights", "loss", "predictions")), flush=True)
    for name in options.only:
        experiment, _ = FAMILIES[name]
        (found,) = group(Ablation(baseline=experiment, seeds=options.seeds).members(), Stock(), Execution())
        total = found.cadence.total
        at_once, own = Training(found, "vmap", total), Training(found, "map", total)
        as_said, lines = parting(name, at_once, own, Training(found, "map", AFTER[-1], nudged=True))
        right = right and as_said
        print(*lines, sep="\n", flush=True)
        ends += distributions(name, at_once, own)
    differences = ("vmap - map, by seed", "at most", "p: Kolmogorov-Smirnov", "p: paired t")
    print("\n" + table(("family", "updates", "metric", "vmap", "map", *differences)))
    print(*ends, sep="\n")
    print(f"\n{time.perf_counter() - began:.0f} s")
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
