"""The parts of scripts/gpu_check, each a process of its own: writes what it finds into a file, as JSON.

python scripts/prove/gpu_parts.py PART CASE FOLDER
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from parallel import FAMILIES, FIRST, LAST, PLACES, UPDATES, advanced, experiment_of, trained

from research.experiment import Evaluation, Execution, Experiment, Parallel, Precision

ROOT = Path(__file__).parents[2]
FOUND = "found.json"
BATCH = 32
"""Rows of a batch of `parallel.experiment_of`."""

ROUNDED = (1e-2, 5e-2)
"""Relative limits at update 1 and update 20 for losses under TF32, bfloat16 and float16, set before any was seen."""

VARIANTS: dict[str, tuple[Precision, Execution, tuple[float, float]]] = {
    "bfloat16": (Precision(compute="bfloat16"), Execution(), ROUNDED),
    "float16": (Precision(compute="float16"), Execution(), ROUNDED),
    "remat=blocks": (Precision(), Execution(remat="blocks"), (FIRST, LAST)),
}
DEEP = ("ResNet", "transformer")
"""Families that have blocks."""

VENDORS: dict[str, tuple[Precision, tuple[float, float], str]] = {
    "LSTM": (Precision(), (FIRST, LAST), "cudnn_rnn"),
    "transformer": (Precision(compute="bfloat16"), ROUNDED, "cudnn$fmha"),
}
"""Families that `research.models.layers.cudnn` computes: in which type, limits of their losses, and what the compiled
program calls then."""

TIMED = 50
"""Updates that are timed of each."""

SHORT = {
    "synthetic_xray_cnn": ("data.source.patients=400", "epochs=4"),
    "synthetic_vitals_gru": ("data.source.patients=400", "epochs=8"),
    "synthetic_records_transformer": ("data.source.patients=800", "epochs=8"),
}
TRITON = {"XLA_FLAGS": "--xla_gpu_enable_triton_gemm=true"}
"""Matrix products by Triton's kernels where these fit, in the place of cuBLAS's."""

KINDS: dict[str, tuple[Precision, bool, dict[str, str]]] = {
    "float32": (Precision(), True, {}),
    "float32, products by Triton": (Precision(), True, TRITON),
    "float32, deterministic=false": (Precision(), False, {}),
    "bfloat16": (Precision(compute="bfloat16"), True, {}),
    "bfloat16, products by Triton": (Precision(compute="bfloat16"), True, TRITON),
    "bfloat16, deterministic=false": (Precision(compute="bfloat16"), False, {}),
}
"""What is timed of each model: types, whether the kernels are deterministic, and environment variables."""


def places(count: int) -> dict[str, tuple[int, int, Parallel]]:
    """Topologies of several devices, as `parallel.PLACES` has them; as many as share out a batch evenly."""
    if count < 2:
        return {}
    n = max(number for number in range(1, count + 1) if BATCH % number == 0)
    found = {
        f"jit data {n}": Parallel(data=n),
        f"jit fsdp {n}": Parallel(data=1, fsdp=n),
        f"jit tensor 2 x data {n // 2}": Parallel(data=n // 2, tensor=2),
        f"pmap {n}": Parallel(data=n, mode="pmap"),
    }
    return {name: (1, n, parallel) for name, parallel in found.items()}


def facts(case: str, folder: Path) -> dict[str, Any]:
    """The devices, and what drives them."""
    import jax

    from research.training.provenance import gpu_packages, version

    first = jax.devices()[0]
    packages = {name: version(name) for name in ("jax", "jaxlib", *gpu_packages())}
    return {
        "platform": first.platform,
        "kind": first.device_kind,
        "count": jax.device_count(),
        "runtime": " ".join(first.client.platform_version.split()),
        "packages": {name: found for name, found in packages.items() if found},
    }


def parity_in(case: str, folder: Path) -> dict[str, Any]:
    """Losses and predictions of all families in one topology; ``case`` is a name of `places`, or `ALONE`."""
    import jax

    PLACES.update(places(jax.device_count()))
    return {family: trained(family, case, folder / case) for family in FAMILIES}


def precision_in(case: str, folder: Path) -> dict[str, Any]:
    """Losses at update 1 and update 20 of a deep family in float32 and in each variant."""
    from research.training.setup import set_up

    def losses(precision: Precision, execution: Execution) -> list[float]:
        execution = execution.replace(parallel=Parallel(data=1))
        setup = set_up(experiment_of(case).replace(precision=precision), 0, execution)
        carry, first = advanced(setup, setup.program.initialise(), 0, 1)
        carry, _ = advanced(setup, carry, 1, UPDATES - 2)
        return [first, advanced(setup, carry, UPDATES - 1, 1)[1]]

    found = {name: losses(precision, execution) for name, (precision, execution, _) in VARIANTS.items()}
    return {"float32": losses(Precision(), Execution()), **found}


def vendor_in(case: str, folder: Path) -> dict[str, Any]:
    """Losses at update 1 and update 20 of a family, and seconds of an update: plain, and by the vendor's kernels."""
    import jax

    from research.training.lowerings import has_vendor
    from research.training.setup import set_up

    if not has_vendor(jax.devices()[0]):
        raise SystemExit("This device has no kernels of its vendor.")
    types, _, kernel = VENDORS[case]
    experiment = experiment_of(case).replace(precision=types)
    found: dict[str, Any] = {}
    for lowerings in ("fast", "vendor"):
        setup = set_up(experiment, 0, Execution(lowerings=lowerings, parallel=Parallel(data=1)))
        assert setup.feed is not None
        carry = setup.program.initialise()
        if (kernel in setup.program.text_of_advance(carry, setup.feed.window(0))) != (lowerings == "vendor"):
            raise SystemExit(f"The program by lowerings={lowerings} calls {kernel}, or should: this compares nothing.")
        carry, first = advanced(setup, carry, 0, 1)
        carry, _ = advanced(setup, carry, 1, UPDATES - 2)
        carry, last = advanced(setup, carry, UPDATES - 1, 1)
        began = time.perf_counter()
        advanced(setup, carry, UPDATES, TIMED)
        found[lowerings] = {"losses": [first, last], "seconds": (time.perf_counter() - began) / TIMED}
    return found


def resume_in(case: str, folder: Path) -> dict[str, Any]:
    """What differs after two kills, and between two runs that are each compiled anew; ``case`` is an experiment."""
    from research.training.run_directory import RunDirectory
    from research.training.verify_resume import INTERRUPTIONS, compare_directories, run_through, verify_resume

    command = [str(ROOT / "experiments" / f"{case}.py"), *SHORT[case], "execution.figures=false"]
    # Before anything here uses a GPU: JAX would take most of its memory from the runs.
    again = run_through(command, folder / "twice", {"RESEARCH_CACHE_DIR": str(folder / "another cache")})
    kinds = (INTERRUPTIONS[1], INTERRUPTIONS[3])
    verdict = verify_resume(command, folder / "kills", lambda text: print(f"    {text}", flush=True), kinds)
    (first,) = (path.parent for path in (folder / "kills" / "uninterrupted").rglob("results.json"))
    twice = [each.difference for each in compare_directories(RunDirectory(first), again) if each.difference]
    resumed = [each.difference for each in verdict.comparisons if each.difference]
    return {"updates": verdict.updates, "kills": verdict.reached, "resumed": resumed, "twice": twice}


def speed_in(case: str, folder: Path) -> dict[str, Any]:
    """Throughput, as `research.run` says it; ``case`` is a model, a kind of `KINDS`, and whether it is small."""
    import research

    model, kind, small = case.split("; ")
    types, deterministic, _ = KINDS[kind]
    experiment = speed_experiment(model, bool(small)).replace(precision=types)
    execution = Execution(deterministic=deterministic, tensorboard=False, figures=False, parallel=Parallel(data=1))
    return research.run(experiment, runs=folder, execution=execution).summary["throughput"]


def speed_experiment(model: str, small: bool) -> Experiment:
    """What is timed: a ResNet-18 on films of 64 pixels, or a transformer of 50 million parameters on vital signs."""
    from research.data import ImageData, SeriesData, SyntheticVitals, SyntheticXray
    from research.losses import CrossEntropy
    from research.models import ResNet, SeriesTransformer
    from research.optimizers import AdamW

    patients, steps, batch = (160, 20, 32) if small else (800, 200, 128)
    if model == "ResNet":
        data = ImageData(source=SyntheticXray(patients=patients, films=1, size=32 if small else 64))
        network = ResNet(width=8, blocks=(1, 1)) if small else ResNet(depth=18, stem="3x3")
    else:
        data = SeriesData(source=SyntheticVitals(patients=patients, stays=1))
        width, depth, heads = (32, 1, 4) if small else (768, 7, 12)
        network = SeriesTransformer(width=width, depth=depth, heads=heads)
    return Experiment(
        data=data,
        model=network,
        loss=CrossEntropy(),
        optimizer=AdamW(learning_rate=1e-4),
        steps=steps,
        batch_size=batch,
        evaluation=Evaluation(every_steps=steps, resamples=100),
    )


PARTS: dict[str, Callable[[str, Path], Any]] = {
    "facts": facts,
    "parity": parity_in,
    "precision": precision_in,
    "vendor": vendor_in,
    "resume": resume_in,
    "speed": speed_in,
}


def main() -> None:
    """Do the part that the arguments name."""
    part, case, folder = sys.argv[1:]
    found = PARTS[part](case, Path(folder))
    (Path(folder) / FOUND).write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()
