"""What each device holds of a transformer of 50 million parameters, whole and spread over eight; prints a dated table.

    python scripts/prove/sharding.py

Nothing is trained and no array is made: the programs are compiled for eight virtual devices, and tell what they need.
Asked for: with ``fsdp=8`` parameters and optimizer of at most a seventh on each device, at initialisation too.
"""

from __future__ import annotations

import sys
import time

from research.data import SeriesData, SyntheticVitals
from research.experiment import Execution, Experiment, Parallel
from research.losses import CrossEntropy
from research.models import SeriesTransformer
from research.optimizers import AdamW
from research.training.pretend import pretend_devices, spread_of
from research.training.provenance import machine
from research.training.setup import set_up

DEVICES = 8
LIMIT = 1 / 7
MIB = 2**20
EXPERIMENT = Experiment(
    data=SeriesData(source=SyntheticVitals(patients=160, stays=1)),
    model=SeriesTransformer(width=768, depth=7, heads=12),
    loss=CrossEntropy(),
    optimizer=AdamW(learning_rate=1e-4),
    steps=10,
    batch_size=8,
)


def held(parallel: Parallel) -> dict[str, float]:
    """Bytes on each device."""
    setup = set_up(EXPERIMENT, 0, Execution(device="cpu", parallel=parallel), pretended=True)
    carry = setup.program.carry_like()
    assert setup.feed is not None
    made = setup.program.initialise_memory()
    trained = setup.program.compile(carry, setup.feed.window_like(), None, False)
    arrays = spread_of(carry)
    return {
        "parameters": sum(each.bytes for each in arrays if each.name.startswith("state.params.")),
        "optimizer": sum(each.bytes for each in arrays if each.name.startswith("state.optimizer.")),
        "made by initialise": made["results"],
        "working in initialise": made["temporary"],
        "taken by an update": trained["argument_bytes"],
        "working in an update": trained["temporary_bytes"],
    }


def main() -> int:
    """Print the table; 1 where the limit is missed."""
    pretend_devices(DEVICES)
    began = time.perf_counter()
    whole, spread = held(Parallel(data=DEVICES)), held(Parallel(data=1, fsdp=DEVICES))
    count = whole["parameters"] / 4
    print(f"{time.strftime('%Y-%m-%d')}, {machine()}: {count / 1e6:.1f} million parameters, {DEVICES} devices\n")
    print("| on each device | data 8, MiB | fsdp 8, MiB | share |\n|---|---|---|---|")
    for name, size in whole.items():
        share = spread[name] / size if size else float("nan")
        print(f"| {name} | {size / MIB:.1f} | {spread[name] / MIB:.1f} | {share:.3f} |")
    kept = (spread["parameters"] + spread["optimizer"]) / (whole["parameters"] + whole["optimizer"])
    made = spread["made by initialise"] / whole["made by initialise"]
    met = max(kept, made) <= LIMIT
    print(f"\nparameters and optimizer 1/{1 / kept:.1f}, what initialise makes 1/{1 / made:.1f}; limit 1/7: ", end="")
    print(f"{'met' if met else 'MISSED'}. {time.perf_counter() - began:.0f} s")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
