"""Whether members of an ablation equal runs of their own, by model and algorithm; prints a dated table.

    python scripts/prove/members.py [--only perceptron streamed folds 'film folds' cnn resnet lstm
        transformer gan bandit] [--updates 20] [--ways map 'map on 2 devices' separate vmap]

Each way through the members of one group (see `research.ablation.program`) beside runs of each member: carries, records
of the log and predictions after some updates and an evaluation. Ways that are called exact must not differ in a bit,
and the exit code says whether they do. ``vmap`` takes sums in another order; what comes of that grows with the updates.
"""

from __future__ import annotations

import os

os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=2".strip()

import argparse
import datetime
import platform
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "algorithms"))

from members import alone, as_group, furthest, one_group, unequal
from series import MadeUp
from toy_bandit import ToyBandit
from toy_gan import Players, ToyGAN, TwoOptimizers

from research.ablation.groups import Group
from research.ablation.program import EXACT, Way
from research.data import (
    Augmentation,
    ImageData,
    SeriesAugmentation,
    SeriesData,
    Split,
    SyntheticTable,
    SyntheticXray,
    TableData,
)
from research.experiment import Evaluation, Experiment, Selection
from research.losses import CrossEntropy
from research.models import CNN, MLP, RNN, ResNet, SeriesMLP, SeriesTransformer
from research.optimizers import AdamW, Momentum
from research.schedules import WarmupCosine

WAYS = {str(way): way for way in (Way("map"), Way("map", 2), Way("separate"), Way("vmap"))}
TABLE = TableData(source=SyntheticTable(patients=100))
FILMS = ImageData(source=SyntheticXray(patients=40, films=1, size=32), augmentation=Augmentation(rotation=20.0))
SERIES = SeriesData(source=MadeUp(), lengths=(6, 12), split=Split(test=0.2, validation=0.3))
UNEVEN = ImageData(source=SyntheticXray(patients=43, films=2, size=32))
EVEN = SERIES.replace(lengths=(12,))
NOISY = SERIES.replace(lengths=(12,), augmentation=SeriesAugmentation(jitter=0.1))
FAMILIES: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "perceptron": (TABLE, MLP(widths=(16,), dropout=0.2, normalization="batch"), {}),
    "streamed": (NOISY, SeriesMLP(widths=(8,), dropout=(0.1, 0.2)), {"feed": "streaming"}),
    "folds": (TABLE, MLP(widths=(16,), dropout=0.2), {"folds": 3, "seeds": 1}),
    "film folds": (UNEVEN, CNN(widths=(8,), dense_widths=(8,), dropout=0.2), {"folds": 3, "seeds": 1}),
    "series folds": (
        SERIES.replace(lengths=(12,)),
        RNN(cell="lstm", widths=(8,), dropout=0.2),
        {"folds": 3, "seeds": 1},
    ),
    "cnn": (FILMS, CNN(widths=(8,), dense_widths=(8,), dropout=0.2), {}),
    "resnet": (FILMS, ResNet(depth=18, width=4, blocks=(1, 1)), {}),
    "lstm": (SERIES, RNN(cell="lstm", widths=(8,), dropout=0.2), {}),
    "transformer": (SERIES, SeriesTransformer(width=8, depth=2, heads=2, dropout=0.2), {}),
}
OPTIMIZERS = TwoOptimizers(discriminator=Momentum(learning_rate=1e-3))
NETWORKS = Players(generator=MLP(widths=(8,)), discriminator=MLP(widths=(8,)))
ALGORITHMS: dict[str, tuple[Experiment, str, Sequence[Any]]] = {
    "gan": (
        Experiment(data=TABLE, model=NETWORKS, algorithm=ToyGAN(), optimizer=OPTIMIZERS, steps=100),
        "optimizer.generator.learning_rate",
        (1e-3, 2e-3),
    ),
    "bandit": (
        Experiment(algorithm=ToyBandit(step_size=0.2), steps=300, evaluation=Evaluation(every_steps=100)),
        "algorithm.step_size",
        (0.1, 0.2),
    ),
}
"""Experiments that are trained by other algorithms, a number of each by its path, and two values."""


def group_of(name: str) -> Group:
    """Members of two values of a number, and some seeds."""
    if name in ALGORITHMS:
        experiment, path, values = ALGORITHMS[name]
        return one_group(experiment, path, values)
    data, model, more = FAMILIES[name]
    experiment = Experiment(
        data=data,
        model=model,
        loss=CrossEntropy(label_smoothing=0.1),
        optimizer=AdamW(learning_rate=WarmupCosine(peak=1e-3), clip_norm=1.0, accumulate=2, average=0.9),
        steps=100,
        batch_size=8,
        evaluation=Evaluation(every_steps=20, select=Selection(), batch_size=8),
    )
    if data is NOISY:  # a number of the data, whose rows are the same
        return one_group(experiment, "data.augmentation.jitter", [0.1, 0.2], **more)
    return one_group(experiment, "optimizer.weight_decay", [0.01, 0.1], **more)


def rows_of(name: str, updates: int, ways: Sequence[Way]) -> list[tuple[bool, str]]:
    """For each way whether it is as equal as it says, and its line of the table."""
    found = group_of(name)
    runs, lines = alone(found, updates), []
    for way in ways:
        pairs = list(zip(as_group(found, way, updates), runs, strict=True))
        differing = sum(bool(unequal(member, run)) for member, run in pairs)
        gap = max(furthest(member, run) for member, run in pairs)
        cells = [name, str(way), f"{len(pairs)}", f"{updates}", f"{differing}", f"{gap:.1e}" if differing else "0"]
        lines.append((way.strategy not in EXACT or not differing, f"| {' | '.join(cells)} |"))
    return lines


def main() -> int:
    """Print the table; 1 where a way that is called exact is not."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    every = [*FAMILIES, *ALGORITHMS]
    parser.add_argument("--only", nargs="*", default=every, choices=every, help="only these")
    parser.add_argument("--updates", type=int, default=20, help="updates before the comparison (20)")
    parser.add_argument("--ways", nargs="*", default=[*WAYS], choices=[*WAYS], help="only these")
    options = parser.parse_args()
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    print(f"{today}, Python {platform.python_version()}, jax {jax.__version__} on {jax.default_backend()}\n")
    print("| family | way | members | updates | members that differ | by at most |\n|---|---|---|---|---|---|")
    right = True
    for name in options.only:
        for as_said, line in rows_of(name, options.updates, [WAYS[way] for way in options.ways]):
            print(line, flush=True)
            right = right and as_said
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
