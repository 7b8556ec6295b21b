"""Whether a run spread over several devices gives the numbers of one device, and goes on on any other number of them.

    python scripts/prove/parallel.py [--only MLP CNN ResNet LSTM transformer] [--places 'jit data 8' 'pmap 8']

Each family is trained for 20 updates, with dropout, and for pictures with augmentation, on virtual devices of this
machine in each topology: on one device, on eight in four ways, and by two processes of four devices each in two.
The learning rate is 1e-3 from the first update on. First table: by how much the loss of update 1 and of update 20, the
loss on validation, and the predictions for test differ from those of one device, and whether rows and their order were
the same. Asked for: losses within 1e-5 at update 1 and within 1e-3 at update 20, relative.

Second table: a checkpoint of each topology is restored on each other one, and trains on for five updates: whether what
was restored is saved again to the bit, and by how much the loss of these updates differs at most, by topology from and
to.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np

from research.data import Augmentation, ImageData, SeriesData, SyntheticTable, SyntheticVitals, SyntheticXray, TableData
from research.experiment import Evaluation, Execution, Experiment, Parallel
from research.losses import CrossEntropy
from research.models import CNN, MLP, RNN, ResNet, SeriesTransformer
from research.optimizers import AdamW
from research.processes import current, find_place, join
from research.training.checkpoint import Checkpoints
from research.training.provenance import machine
from research.training.setup import Setup, set_up

LAUNCH = Path(__file__).parents[1] / "launch_local"
FILMS = ImageData(
    source=SyntheticXray(patients=160, films=1, size=32), augmentation=Augmentation(horizontal_flip=True, rotation=10.0)
)
VITALS = SeriesData(source=SyntheticVitals(patients=160, stays=1))
FAMILIES: dict[str, tuple[Any, Any]] = {
    "MLP": (TableData(source=SyntheticTable(patients=160)), MLP(widths=(64, 64), dropout=0.2)),
    "CNN": (FILMS, CNN(widths=(16, 32), dense_widths=(64,), dropout=0.2)),
    "ResNet": (FILMS, ResNet(depth=18, width=16, blocks=(1, 1))),
    "LSTM": (VITALS, RNN(cell="lstm", widths=(32,), dropout=0.2)),
    "transformer": (VITALS, SeriesTransformer(width=64, depth=2, heads=4, dropout=0.2)),
}
ALONE = "1 device"
PLACES: dict[str, tuple[int, int, Parallel]] = {
    ALONE: (1, 1, Parallel(data=1)),
    "jit data 8": (1, 8, Parallel(data=8)),
    "jit fsdp 8": (1, 8, Parallel(data=1, fsdp=8)),
    "jit tensor 2 x data 4": (1, 8, Parallel(data=4, tensor=2)),
    "pmap 8": (1, 8, Parallel(data=8, mode="pmap")),
    "2 processes x 4": (2, 4, Parallel(data=8)),
    "2 processes x 4, pmap": (2, 4, Parallel(data=8, mode="pmap")),
}
"""By name: processes, devices of each, and how they are used."""

FIRST, LAST, MORE = 1e-5, 1e-3, 5
UPDATES = 20


def experiment_of(family: str) -> Experiment:
    """A small experiment of a family; a batch is 32 rows."""
    data, model = FAMILIES[family]
    return Experiment(
        data=data,
        model=model,
        loss=CrossEntropy(),
        optimizer=AdamW(learning_rate=1e-3, clip_norm=1.0, average=0.9),
        steps=100,
        batch_size=32,
        evaluation=Evaluation(every_steps=20, batch_size=32),
    )


def set_up_in(family: str, place: str) -> Setup:
    """A run in a topology."""
    return set_up(experiment_of(family), 0, Execution(parallel=PLACES[place][2]))


def advanced(setup: Setup, carry: Any, first: int, count: int) -> tuple[Any, float]:
    """The carry after some updates more, and their mean loss."""
    assert setup.feed is not None
    carry = setup.program.advance(carry, setup.feed.window(first), count)
    carry, record = setup.program.record(carry, None, False)
    return carry, float(record["train/loss"])


def trained(family: str, place: str, folder: Path) -> dict[str, Any]:
    """What is compared between topologies; the checkpoint of update 20 is in the folder."""
    setup = set_up_in(family, place)
    carry, first = advanced(setup, setup.program.initialise(), 0, 1)
    carry, _ = advanced(setup, carry, 1, UPDATES - 2)
    carry, last = advanced(setup, carry, UPDATES - 1, 1)
    kept = Checkpoints(folder / "checkpoints" / family / place)
    kept.save(UPDATES, carry)
    kept.wait()
    kept.close()
    carry, record = setup.program.record(carry, setup.splits["validation"], True)
    state = setup.experiment.algorithm.deployed(setup.experiment, carry.state)
    rows = setup.program.predict(state, setup.splits["test"])
    assert setup.reading is not None
    return {
        "first": first,
        "last": last,
        "validation": float(record["validation/loss"]),
        "prediction": np.asarray(jax.device_get(rows["prediction"])).tolist(),
        "example": np.asarray(setup.reading.rows(0, UPDATES)[0]).tolist(),
        "devices": len(jax.tree.leaves(carry.state.params)[0].sharding.device_set),
    }


def moved(family: str, place: str, folder: Path) -> dict[str, Any]:
    """For each topology: its checkpoint is restored here and saved again, and the loss of the updates after it."""
    found: dict[str, Any] = {}
    setup = set_up_in(family, place)
    for source in sorted((folder / "checkpoints" / family).iterdir()):
        kept = Checkpoints(source)
        carry = kept.restore(UPDATES, setup.program.carry_like())
        kept.close()
        again = Checkpoints(folder / "again" / family / place / source.name)
        again.save(UPDATES, carry)
        again.wait()
        again.close()
        _, loss = advanced(setup, carry, UPDATES, MORE)
        found[source.name] = {"loss": loss}
    return found


def same_bits(first: Path, second: Path) -> bool:
    """Whether two checkpoints hold the same arrays, read by this process alone."""
    trees = []
    for folder in (first, second):
        kept = Checkpoints(folder, writable=False)
        trees.append(on_host(kept.restore_free(UPDATES)))
        kept.close()
    return len(trees[0]) == len(trees[1]) and all(map(np.array_equal, *trees))


def on_host(tree: Any) -> list[np.ndarray]:
    """Leaves as arrays of the host, in the order of their paths."""
    leaves = jax.tree_util.tree_leaves_with_path(jax.device_get(tree))
    texts = {jax.tree_util.keystr(path, simple=True, separator="."): np.asarray(leaf) for path, leaf in leaves}
    return [texts[name] for name in sorted(texts)]


def work(stage: str, place: str, folder: Path, families: list[str]) -> None:
    """What each process of a topology does; process 0 writes what was found."""
    if where := find_place():
        join(where)
    does = {"train": trained, "move": moved}[stage]
    found = {family: does(family, place, folder) for family in families}
    if current().leads:
        (folder / f"{stage} {place}.json").write_text(json.dumps(found), encoding="utf-8")
    current().close()


def launched(stage: str, place: str, folder: Path, families: list[str]) -> dict[str, Any]:
    """What the processes of a topology found."""
    processes, devices, _ = PLACES[place]
    command = [sys.executable, str(LAUNCH), f"{processes}", "--devices", f"{devices}", "--"]
    command += [sys.executable, __file__, "--stage", stage, "--places", place, "--folder", str(folder)]
    done = subprocess.run([*command, "--only", *families], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{place}: {done.stdout[-3000:]}{done.stderr[-3000:]}")
    return json.loads((folder / f"{stage} {place}.json").read_text(encoding="utf-8"))


def relative(value: float, other: float) -> float:
    """How far two losses differ."""
    return abs(value - other) / abs(other)


def parity(families: list[str], places: list[str], folder: Path) -> bool:
    """Print the first table; whether all is within the limits."""
    print("| family | topology | devices | loss at 1 | loss at 20 | on validation | predictions | rows | within |")
    print("|---|---|---|---|---|---|---|---|---|")
    found, right = {place: launched("train", place, folder, families) for place in places}, True
    for family in families:
        alone = found[ALONE][family]
        for place in places:
            own = found[place][family]
            gaps = [relative(own[name], alone[name]) for name in ("first", "last", "validation")]
            apart = float(np.abs(np.subtract(own["prediction"], alone["prediction"])).max())
            same = own["example"] == alone["example"] and len(own["prediction"]) == len(alone["prediction"])
            within = gaps[0] <= FIRST and gaps[1] <= LAST and same
            right = right and within
            cells = [f"{gap:.1e}" if gap else "0" for gap in (*gaps, apart)]
            cells += ["the same" if same else "OTHERS", "yes" if within else "NO"]
            print(f"| {family} | {place} | {own['devices']} | {' | '.join(cells)} |", flush=True)
    return right


def moves(families: list[str], places: list[str], folder: Path) -> bool:
    """Print the second table; whether all is within the limits."""
    print("\n| from | to | restored | loss of the next five, worst family |\n|---|---|---|---|")
    found, right = {place: launched("move", place, folder, families) for place in places}, True
    for source in places:
        for place in places:
            each = {family: found[place][family][source] for family in families}
            gaps = {family: relative(own["loss"], found[ALONE][family][ALONE]["loss"]) for family, own in each.items()}
            worst = max(gaps, key=lambda family: gaps[family])
            same = all(
                same_bits(folder / "checkpoints" / family / source, folder / "again" / family / place / source)
                for family in families
            )
            right = right and gaps[worst] <= LAST and same
            verdict = "to the bit" if same else "NOT to the bit"
            print(f"| {source} | {place} | {verdict} | {gaps[worst]:.1e} ({worst}) |", flush=True)
    return right


def main() -> int:
    """Print both tables; 1 where something is not within the limits."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=[*FAMILIES], choices=[*FAMILIES], help="these families")
    parser.add_argument("--places", nargs="+", default=[*PLACES], choices=[*PLACES], help="these topologies")
    parser.add_argument("--stage", choices=("train", "move"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.stage:
        work(options.stage, options.places[0], options.folder, options.only)
        return 0
    began = time.perf_counter()
    places = [ALONE, *(place for place in options.places if place != ALONE)]
    with tempfile.TemporaryDirectory() as folder:
        right = parity(options.only, places, Path(folder))
        right = moves(options.only, places, Path(folder)) and right
    print(f"\n{time.strftime('%Y-%m-%d')}, {machine()}, {time.perf_counter() - began:.0f} s")
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
