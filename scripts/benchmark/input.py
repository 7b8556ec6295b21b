"""The input pipeline alone, beside what training takes: decoded and augmented images a second by each feed.

    python scripts/benchmark/input.py [--images 3200] [--rounds 3]

PNG files of 32x32 pixels in colour are read once ("decoding": files to arrays, leakage checks included; "records":
files to the records that the streaming feed reads). Then the feeds give batches of 32: "resident" gathers them on the
device, "streaming" reads and decodes records in threads while the device works. "augmented": scaled, turned, shifted
and flipped too, inside compiled steps, as training does it. Each is compared with the images that the article's CNN,
trained on them without augmentation, takes a second: below 1 the input would be what bounds the training. Medians of
the rounds.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image
from speed_suite.made_data import experiment_of
from speed_suite.updates import advanced
from speed_suite.workloads import WORKLOADS

from research.data import ImageData, ImageFolder
from research.data.split import Split
from research.experiment import Execution, Experiment
from research.training.provenance import machine
from research.training.setup import Setup, set_up
from research.training.steps import _of_update

BATCH = WORKLOADS["cnn"].batch


def pictures(folder: Path, count: int) -> None:
    """PNG files in a folder for each of two classes."""
    draw = np.random.default_rng(0)
    for label in ("no", "yes"):
        (folder / label).mkdir(parents=True)
    for number in range(count):
        # Smooth, as pictures are: noise would be slower to decode than any of them.
        coarse = draw.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        image = Image.fromarray(coarse).resize((32, 32), Image.Resampling.BICUBIC)
        image.save(folder / ("no", "yes")[number % 2] / f"{number:06d}.png")


def experiment(folder: Path, augmented: bool) -> Experiment:
    """The CNN on these files."""
    made = experiment_of(WORKLOADS["cnn-augmented" if augmented else "cnn"], batch=BATCH)
    assert isinstance(made.data, ImageData)
    return made.replace(data=made.data.replace(source=ImageFolder(path=str(folder)), split=Split()))


def consumed(setup: Setup) -> Callable[[], int]:
    """Updates of an epoch; gives the number of images."""
    assert setup.feed is not None and setup.reading is not None
    carry = setup.program.initialise()
    epoch, step = setup.reading.updates_per_epoch, 0

    def run() -> int:
        nonlocal carry, step
        carry, step = advanced(setup, carry, step, epoch), step + epoch
        return epoch * BATCH

    return run


def given(setup: Setup) -> Callable[[], int]:
    """An epoch of batches as the model would see them, none of which is used; gives the number of images."""
    assert setup.feed is not None and setup.reading is not None
    feed, data, outline = setup.feed, setup.program.spec.data, setup.program.outline
    epoch, step = setup.reading.updates_per_epoch, 0
    assert data is not None

    @jax.jit
    def several(rows: Any, order: Any, offset: Any, count: Any) -> Any:
        def one(number: Any, total: Any) -> Any:
            batch = _of_update(outline, rows, order, offset + number)
            return total + data.transform(batch, jax.random.fold_in(jax.random.key(0), number)).inputs.sum()

        return jax.lax.fori_loop(0, count, one, jnp.float32(0))

    def run() -> int:
        nonlocal step
        end, found = step + epoch, []
        while step < end:
            window = feed.window(step)
            count = min(end - step, window.left)
            order = None if window.index is None else (window.index, window.mask)
            found.append(several(window.rows, order, np.int32(window.offset), np.int32(count)))
            step += count
        jax.block_until_ready(found)
        return epoch * BATCH

    return run


def rate(run: Callable[[], int]) -> float:
    """Images a second."""
    began = time.perf_counter()
    count = run()
    return count / (time.perf_counter() - began)


def once(folder: Path, count: int, stored: bool) -> float:
    """Images a second of preparing the data."""
    data = experiment(folder, False).data
    assert data is not None
    began = time.perf_counter()
    data.prepare(stored)
    return count / (time.perf_counter() - began)


def main() -> int:
    """Print the table; 1 where a feed would be what bounds the training."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=3200, help="files (3200)")
    parser.add_argument("--rounds", type=int, default=3, help="epochs of each (3)")
    options = parser.parse_args()
    rows: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="input-") as name:
        folder = Path(name) / "files"
        os.environ["RESEARCH_CACHE_DIR"] = str(Path(name) / "cache")
        pictures(folder, options.images)
        rows["decoding, once"] = once(folder, options.images, False)
        rows["records, once"] = once(folder, options.images, True)
        runs: dict[str, Callable[[], int]] = {"training": consumed(set_up(experiment(folder, False), 0, Execution()))}
        for augmented in (False, True):
            for feed in ("resident", "streaming"):
                setup = set_up(experiment(folder, augmented), 0, Execution(feed=feed))
                runs[f"{feed}, {'augmented' if augmented else 'as they are'}"] = given(setup)
        for run in runs.values():
            run()
        found = [{each: rate(run) for each, run in runs.items()} for _ in range(options.rounds)]
    rows |= {each: statistics.median(one[each] for one in found) for each in runs}
    print(f"{time.strftime('%Y-%m-%d')}, {machine()}; {options.images:,} images, {options.rounds} rounds\n")
    print("| what | images/s | times what training takes |\n|---|---|---|")
    for each, value in rows.items():
        print(f"| {each} | {value:,.0f} | {value / rows['training']:.1f} |")
    return int(any(rows[each] < rows["training"] for each in runs))


if __name__ == "__main__":
    sys.exit(main())
