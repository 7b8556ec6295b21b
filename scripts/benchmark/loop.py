"""What one training step of wisconsin_mlp costs: this framework, a plain jax.jit step in a Python loop, PyTorch eager.

Same network, batch size, optimizer and loss; the others get their batches ready-made on the device, while ours
gathers them by index, checks the loss and keeps the sums of the log. Measured in turns in one process; medians.

    .venv/bin/python scripts/benchmark/loop.py [--rounds 15] [--updates 1000]
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from research.experiment import Execution, Experiment
from research.experiment_file import load_experiment
from research.spec import replace
from research.training.provenance import machine
from research.training.setup import Setup, set_up

EXPERIMENT = Path(__file__).parents[2] / "experiments" / "wisconsin_mlp.py"
DROPOUT = 0.1
LIMITS = {"jit": {None: 0.5, DROPOUT: 0.7}, "torch": {None: 1 / 8, DROPOUT: 1 / 8}}

Run = Callable[[int], None]


def ours(setup: Setup) -> Run:
    """Updates in one compiled loop, as `research run` makes them between two events."""
    carry = setup.program.initialise()
    assert setup.feed is not None
    window = setup.feed.window(0)

    def run(updates: int) -> None:
        nonlocal carry
        while updates:
            count = min(updates, window.left)
            carry = setup.program.advance(carry, window, count)
            updates -= count
        jax.block_until_ready(carry)

    return run


def batches(setup: Setup) -> list[tuple[np.ndarray, np.ndarray]]:
    """The batches of the first epochs, as arrays."""
    assert setup.prepared is not None and setup.feed is not None
    train = setup.prepared.splits["train"]
    _, index, mask, _, _ = setup.feed.window(0)
    full = [row for row, valid in zip(np.asarray(index), np.asarray(mask), strict=True) if valid.all()]
    return [(train.inputs[row], train.targets[row]) for row in full[:100]]


def plain_jit(setup: Setup, widths: tuple[int, ...], dropout: float | None, optimizer: Any) -> Run:
    """The usual way: one jitted step per batch, called from Python."""
    sizes = (30, *widths, 2)
    keys = jax.random.split(jax.random.key(0), len(sizes))
    params = [
        {"kernel": jax.random.normal(k, (a, b)) * (2 / a) ** 0.5, "bias": jnp.zeros(b)}
        for k, a, b in zip(keys, sizes, sizes[1:], strict=False)
    ]
    rule = optax.adamw(optimizer.learning_rate, weight_decay=optimizer.weight_decay)

    def loss(params: Any, x: Any, y: Any, key: Any) -> Any:
        for number, layer in enumerate(params[:-1]):
            x = jax.nn.relu(x @ layer["kernel"] + layer["bias"])
            if dropout is not None:
                keep = jax.random.bernoulli(jax.random.fold_in(key, number), 1 - dropout, x.shape)
                x = jnp.where(keep, x / (1 - dropout), 0)
        logits = x @ params[-1]["kernel"] + params[-1]["bias"]
        return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()

    @jax.jit
    def step(params: Any, state: Any, x: Any, y: Any, key: Any, number: Any) -> Any:
        value, gradient = jax.value_and_grad(loss)(params, x, y, jax.random.fold_in(key, number))
        updates, state = rule.update(gradient, state, params)
        return optax.apply_updates(params, updates), state, value

    ready = jax.device_put(batches(setup))
    key, state = jax.random.key(1), rule.init(params)

    def run(updates: int) -> None:
        nonlocal params, state
        for number in range(updates):
            x, y = ready[number % len(ready)]
            params, state, _ = step(params, state, x, y, key, number)
        jax.block_until_ready(params)

    return run


def torch_eager(setup: Setup, widths: tuple[int, ...], dropout: float | None, optimizer: Any) -> Run:
    """The usual way in PyTorch."""
    import torch  # pyright: ignore[reportMissingImports]

    torch.set_num_threads(1)  # faster than more at this size
    sizes = (30, *widths)
    layers: list[Any] = []
    for a, b in itertools.pairwise(sizes):
        layers += [torch.nn.Linear(a, b), torch.nn.ReLU(), *([torch.nn.Dropout(dropout)] if dropout else [])]
    network = torch.nn.Sequential(*layers, torch.nn.Linear(sizes[-1], 2))
    rule = torch.optim.AdamW(
        network.parameters(), lr=optimizer.learning_rate, weight_decay=optimizer.weight_decay or 0.0
    )
    cost = torch.nn.CrossEntropyLoss()
    ready = [(torch.from_numpy(x), torch.from_numpy(y).long()) for x, y in batches(setup)]

    def run(updates: int) -> None:
        for number in range(updates):
            x, y = ready[number % len(ready)]
            rule.zero_grad()
            cost(network(x), y).backward()
            rule.step()

    return run


def measure(runs: dict[str, Run], rounds: int, updates: int) -> dict[str, float]:
    """Median microseconds per update of each, measured in turns."""
    for run in runs.values():
        run(50)
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            began = time.perf_counter()
            run(updates)
            seconds[name].append((time.perf_counter() - began) / updates)
    return {name: 1e6 * statistics.median(times) for name, times in seconds.items()}


def compare(experiment: Experiment, dropout: float | None, rounds: int, updates: int) -> list[str]:
    """Table rows for one value of dropout."""
    experiment = replace(experiment, {"model.dropout": dropout})
    setup = set_up(experiment, 0, Execution())
    model: Any = experiment.model
    runs = {"research": ours(setup), "jit": plain_jit(setup, model.widths, dropout, experiment.optimizer)}
    if importlib.util.find_spec("torch"):
        runs["torch"] = torch_eager(setup, model.widths, dropout, experiment.optimizer)
    times = measure(runs, rounds, updates)
    rows = []
    for name, limits in LIMITS.items():
        if name in times:
            share, limit = times["research"] / times[name], limits[dropout]
            verdict = "met" if share <= limit else "MISSED"
            rows.append(
                f"| {dropout or 'none'} | {name} | {times['research']:.1f} | {times[name]:.1f} | {share:.3f} | "
                f"{limit:.3f} | {verdict} |"
            )
    return rows


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--updates", type=int, default=1000)
    options = parser.parse_args()
    experiment, _ = load_experiment(EXPERIMENT)
    print(f"{time.strftime('%Y-%m-%d')}, {machine()}; {options.rounds} rounds of {options.updates} updates\n")
    print("| dropout | against | research, µs per update | other, µs | share | limit | verdict |")
    print("|---|---|---|---|---|---|---|")
    for dropout in (None, DROPOUT):
        for row in compare(experiment, dropout, options.rounds, options.updates):
            print(row, flush=True)


if __name__ == "__main__":
    main()
