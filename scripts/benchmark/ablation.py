"""An ablation of 512 perceptrons by one command, beside the three ways of doing without it.

    .venv/bin/python scripts/benchmark/ablation.py [--sample 6]

wisconsin_mlp with four learning rates, weight decays and dropouts and eight seeds, as `research ablate` trains it in a
process of its own with an empty cache: start, preparing, compiling, measuring, training, evaluation, statistics, table
and figures. Against it, each estimated from a sample, whose members are trained to the end:

processes: `research run` for each member, one after the other, compiled programs taken from the cache.
usual: a Python loop in one process, a jitted step for each batch, written the usual way: a function that trains for
given numbers and a seed makes an optax optimizer and a step, which is compiled anew each time.
shared: the same, but for the eight seeds of a setting, which share its step: 64 settings are compiled.
tuned: the same loop with all numbers as arguments of the step, so that nothing is compiled after the first member.

The loops do what an ablation needs and no more: the same network, batches, epochs, validation after each epoch, best
weights, predictions for test. They write no log and no checkpoint, cannot be resumed and make no statistics.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import itertools
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from research.ablation.directory import AblationDirectory
from research.experiment_file import load_experiment
from research.training.provenance import machine
from research.training.setup import reading_of

ROOT = Path(__file__).parents[2]
EXPERIMENT = ROOT / "experiments" / "wisconsin_mlp.py"
GRID = {
    "optimizer.learning_rate": (3e-4, 1e-3, 3e-3, 1e-2),
    "optimizer.weight_decay": (1e-4, 1e-3, 1e-2, 1e-1),
    "model.dropout": (0.0, 0.1, 0.2, 0.3),
}
SEEDS = 8
SETTINGS = list(itertools.product(*GRID.values()))
LIMITS = {"processes": 1 / 100, "usual": 1 / 20, "shared": 1 / 20, "tuned": 1 / 2}
PROGRAMS = 3

Step = Callable[..., Any]


def ours(folder: Path) -> tuple[float, str]:
    """Seconds of the command, and what its directory says of programs and waves."""
    grid = [f"{path}={','.join(map(str, values))}" for path, values in GRID.items()]
    command = [sys.executable, "-m", "research", "ablate", str(EXPERIMENT), *grid, "--seeds", str(SEEDS)]
    seconds = _timed([*command, "--ablations", str(folder / "ablations")], folder / "cache")
    directory = AblationDirectory(folder / "ablations" / EXPERIMENT.stem)
    waves, programs = directory.waves(), directory.training_programs()
    assert sum(len(wave.identities) for wave in waves) == len(SETTINGS) * SEEDS
    compiled = max(wave.outcome()["programs"]["compiled"] for wave in waves)
    ways = ", ".join(f"{len(wave.identities)} members by {wave.way}" for wave in waves)
    verdict = "met" if len(programs) <= PROGRAMS else "MISSED"
    return seconds, (
        f"{len(programs)} training programs ({ways}), at most {PROGRAMS}: {verdict}; {compiled} compiled, one a device "
        f"and those tried for their speed included"
    )


def processes(folder: Path, members: list[tuple[Any, int]]) -> float:
    """Mean seconds of `research run` for some members, after a first one that fills the cache."""
    seconds = []
    for setting, seed in [(SETTINGS[0], SEEDS), *members]:
        edits = [f"{path}={value}" for path, value in zip(GRID, setting, strict=True)]
        command = [sys.executable, "-m", "research", "run", str(EXPERIMENT), *edits, "--seed", str(seed)]
        seconds.append(_timed([*command, "--runs", str(folder / "runs")], folder / "run cache"))
    return float(np.mean(seconds[1:]))


def _timed(command: list[str], cache: Path) -> float:
    environment = os.environ | {"RESEARCH_CACHE_DIR": str(cache)}
    began = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, env=environment)
    return time.perf_counter() - began


@dataclasses.dataclass(frozen=True)
class Loop:
    """A Python loop over epochs and batches, as a researcher writes it."""

    data: dict[str, tuple[np.ndarray, np.ndarray]]
    order: Callable[[int], tuple[np.ndarray, np.ndarray]]
    widths: tuple[int, ...]
    epochs: int

    def train(self, step: Step, assess: Step, rule: Any, seed: int, *numbers: float) -> np.ndarray:
        """Probabilities for test, by the weights that were best on validation."""
        inputs, targets = self.data["train"]
        params, (rows, masks) = initial(seed, inputs.shape[1], self.widths), self.order(seed)
        per_epoch = len(rows) // self.epochs
        state, key = rule.init(params), jax.random.key(seed)
        lowest, best = np.inf, params
        for number, (row, mask) in enumerate(zip(rows, masks, strict=True)):
            params, state = step(params, state, inputs[row], targets[row], mask, key, number, *numbers)
            if (number + 1) % per_epoch == 0:
                loss = float(assess(params, *self.data["validation"])[0])
                if loss < lowest:
                    lowest, best = loss, params
        return np.asarray(assess(best, *self.data["test"])[1])


def initial(seed: int, features: int, widths: tuple[int, ...]) -> list[dict[str, Any]]:
    """He's initialisation, drawn on the host."""
    sizes, generator = (features, *widths, 2), np.random.default_rng(seed)
    return [
        {
            "kernel": (generator.standard_normal((a, b)) * (2 / a) ** 0.5).astype(np.float32),
            "bias": np.zeros(b, np.float32),
        }
        for a, b in itertools.pairwise(sizes)
    ]


def logits(params: Any, x: Any, key: Any = None, dropout: Any = None) -> Any:
    """The network; dropout where a key is given."""
    for number, layer in enumerate(params[:-1]):
        x = jax.nn.relu(x @ layer["kernel"] + layer["bias"])
        if key is not None:
            keep = jax.random.bernoulli(jax.random.fold_in(key, number), 1 - dropout, x.shape)
            x = jnp.where(keep, x / (1 - dropout), 0)
    return x @ params[-1]["kernel"] + params[-1]["bias"]


@jax.jit
def assessed(params: Any, x: Any, y: Any) -> tuple[Any, Any]:
    """Mean loss, and probabilities."""
    scores = logits(params, x)
    return optax.softmax_cross_entropy_with_integer_labels(scores, y).mean(), jax.nn.softmax(scores)


def one_step(rule: Any, dropout: Any, params: Any, state: Any, x: Any, y: Any, mask: Any, key: Any, number: Any) -> Any:
    """Parameters and state after a batch."""

    def loss(params: Any) -> Any:
        scores = logits(params, x, jax.random.fold_in(key, number), dropout)
        return (optax.softmax_cross_entropy_with_integer_labels(scores, y) * mask).sum() / mask.sum()

    updates, state = rule.update(jax.grad(loss)(params), state, params)
    return optax.apply_updates(params, updates), state


def usual(loop: Loop, settings: list[Any]) -> dict[str, float]:
    """Seconds of all members, from the first seed of some settings, whose step is compiled, and the second."""
    first, second = [], []
    for rate, decay, dropout in settings:
        rule = optax.adamw(rate, weight_decay=decay)
        step = jax.jit(functools.partial(one_step, rule, dropout))
        for seed, seconds in enumerate((first, second)):
            began = time.perf_counter()
            loop.train(step, assessed, rule, seed)
            seconds.append(time.perf_counter() - began)
    shared = np.mean(first) + (SEEDS - 1) * np.mean(second)
    return {"usual": len(SETTINGS) * SEEDS * float(np.mean(first)), "shared": len(SETTINGS) * float(shared)}


def tuned(loop: Loop, members: list[tuple[Any, int]]) -> float:
    """Seconds of all members, from the first, which is compiled, and some others."""

    def rule(rate: Any, decay: Any) -> Any:
        return optax.adamw(rate, weight_decay=decay)

    @jax.jit
    def step(*arguments: Any) -> Any:
        *rest, rate, decay, dropout = arguments
        return one_step(rule(rate, decay), dropout, *rest)

    seconds = []
    for setting, seed in [(SETTINGS[0], SEEDS), *members]:
        began = time.perf_counter()
        loop.train(step, assessed, rule(*setting[:2]), seed, *setting)
        seconds.append(time.perf_counter() - began)
    return seconds[0] + (len(SETTINGS) * SEEDS - 1) * float(np.mean(seconds[1:]))


def usual_loop() -> Loop:
    """The loop with the data and the order of the experiment."""
    experiment: Any = load_experiment(EXPERIMENT)[0]
    prepared = experiment.data.prepare()
    data = {name: (rows.inputs.astype(np.float32), rows.targets) for name, rows in prepared.splits.items()}

    def order(seed: int) -> tuple[np.ndarray, np.ndarray]:
        reading: Any = reading_of(experiment, prepared, seed)
        return reading.rows(0, experiment.epochs * reading.updates_per_epoch)

    return Loop(data, order, experiment.model.widths, experiment.epochs)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sample", type=int, default=6, help="members, or settings, of each estimate (6)")
    sample = parser.parse_args().sample
    generator = np.random.default_rng(0)
    settings = [SETTINGS[number] for number in generator.choice(len(SETTINGS), sample, replace=False)]
    members = [
        (setting, int(seed)) for setting, seed in zip(settings, generator.integers(0, SEEDS, sample), strict=True)
    ]
    print(f"{time.strftime('%Y-%m-%d')}, {machine()}; samples of {sample}\n")
    with tempfile.TemporaryDirectory() as folder:
        seconds, programs = ours(Path(folder))
        others = {"processes": len(SETTINGS) * SEEDS * processes(Path(folder), members)}
    loop = usual_loop()
    others |= usual(loop, settings) | {"tuned": tuned(loop, members)}
    print(f"research ablate: {seconds:.1f} s; {programs}\n")
    print("| against | its seconds | share | limit | verdict |")
    print("|---|---|---|---|---|")
    for name, limit in LIMITS.items():
        share = seconds / others[name]
        verdict = "met" if share <= limit else "MISSED"
        print(f"| {name} | {others[name]:,.0f} | 1/{1 / share:.0f} | 1/{1 / limit:.0f} | {verdict} |")


if __name__ == "__main__":
    main()
