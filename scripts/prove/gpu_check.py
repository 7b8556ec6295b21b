"""Whether all holds on the GPUs of this machine: parity, precision, exact resume, the same bits twice, and how fast.

    scripts/gpu_check [--only parity precision resume speed] [--device cpu] [--write]

Prints what it does, then a dated table, which on a GPU it also writes into docs/gpu.md. Each part is a process of its
own, so that one that fails is a line of the table and no more. Exit codes: 0 all is as asked for; 1 something is not;
2 there is no GPU. ``--device cpu`` tries the script itself, small, on two virtual devices of the processor.

Parity: losses of each family of scripts/prove/parallel.py against those on the processor of this machine. float32 is
computed twice: as it is by default, where matrix products round their factors to TF32 on GPUs from Ampere on, and with
JAX_DEFAULT_MATMUL_PRECISION=highest, under which the limits of scripts/prove/parallel.py hold. With several GPUs, also
on all of them. Precision: half precision and rematerialisation against float32 on the same GPU. Resume: short forms of
three experiments, killed twice, and once more from the beginning with nothing compiled before, bit by bit.
Speed: of `research.run`, with and without deterministic kernels, and of the benchmark of a training step.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from parallel import ALONE, FAMILIES, FIRST, LAST, PLACES, UPDATES, advanced, experiment_of, relative, trained

from research.experiment import Evaluation, Execution, Experiment, Parallel, Precision

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "gpu.md"
MARK = "<!-- scripts/gpu_check writes below this line, the newest table first -->\n"
NONE_YET = "None yet: nobody has run it on a GPU.\n"
CHECKS = ("parity", "precision", "resume", "speed")
BATCH = 32
PATIENCE_SECONDS = 1800
HIGHEST = {"JAX_DEFAULT_MATMUL_PRECISION": "highest"}

ROUNDED = (1e-2, 5e-2)
"""Relative limits at update 1 and update 20 for losses under TF32, bfloat16 and float16, set before any was seen."""

VARIANTS: dict[str, tuple[Precision, Execution, tuple[float, float]]] = {
    "bfloat16": (Precision(compute="bfloat16"), Execution(), ROUNDED),
    "float16": (Precision(compute="float16"), Execution(), ROUNDED),
    "remat=blocks": (Precision(), Execution(remat="blocks"), (FIRST, LAST)),
}
DEEP = ("ResNet", "transformer")
"""Families that have blocks."""

SHORT = {
    "synthetic_xray_cnn": ("data.source.patients=400", "epochs=4"),
    "synthetic_vitals_gru": ("data.source.patients=400", "epochs=8"),
    "synthetic_records_transformer": ("data.source.patients=800", "epochs=8"),
}
KINDS: dict[str, tuple[Precision, bool]] = {
    "float32": (Precision(), True),
    "bfloat16": (Precision(compute="bfloat16"), True),
    "bfloat16, deterministic=false": (Precision(compute="bfloat16"), False),
}
"""What is timed of each model: types, and whether the kernels are deterministic."""


class Row(NamedTuple):
    """A line of the table; ``verdict`` is met, MISSED, measured, or FAILED and why."""

    check: str
    case: str
    found: str
    asked: str
    verdict: str

    @property
    def wrong(self) -> bool:
        """Whether the check as a whole has failed."""
        return not self.verdict.startswith(("met", "measured"))


# ---- parts, each in a process of its own; what they return is written as JSON


def facts(case: str, folder: Path) -> dict[str, Any]:
    """The devices, and what drives them."""
    import jax

    from research.training.provenance import GPU_PACKAGES, version

    first = jax.devices()[0]
    packages = {name: version(name) for name in ("jax", "jaxlib", *GPU_PACKAGES)}
    return {
        "platform": first.platform,
        "kind": first.device_kind,
        "count": jax.device_count(),
        "runtime": first.client.platform_version.splitlines()[0],
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
    types, deterministic = KINDS[kind]
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
    "resume": resume_in,
    "speed": speed_in,
}


# ---- what starts them and judges what they found


class Failed(Exception):
    """A part ended by itself; says why."""


class Machine:
    """Where parts are run, and where what they leave lies.

    Args:
        device: ``gpu`` or ``cpu``.
        folder: an empty one.
    """

    def __init__(self, device: str, folder: Path) -> None:
        self.device, self.folder, self.began, self.parts = device, folder, time.perf_counter(), 0

    def say(self, text: str) -> None:
        """A line about what is done now."""
        print(f"[{time.perf_counter() - self.began:4.0f} s] {text}", flush=True)

    def run(self, part: str, case: str = "", device: str = "", **variables: str) -> Any:
        """What a part found; raises `Failed` where it found nothing."""
        where = ", on the processor" if device == "cpu" else ""
        products = ", products highest" if HIGHEST.items() <= variables.items() else ""
        self.say(f"{part} {case}{where}{products}".rstrip())
        self.parts += 1
        own = self.folder / f"{self.parts}"
        own.mkdir()
        command = [sys.executable, __file__, "--part", part, "--case", case, "--folder", str(own)]
        return json.loads(self.output(command, own / "found.json", device or self.device, variables))

    def output(self, command: list[str], file: Path, device: str, variables: dict[str, str]) -> str:
        """What a command wrote into a file, on the device that is asked for and no other."""
        environment = {**os.environ, "RESEARCH_CACHE_DIR": str(self.folder / "cache"), **variables}
        environment["JAX_PLATFORMS"] = "cpu" if device == "cpu" else "cuda,cpu"
        if self.device == "cpu":
            flags = environment.get("XLA_FLAGS", "")
            environment["XLA_FLAGS"] = f"{flags} --xla_force_host_platform_device_count=2".strip()
        try:
            done = subprocess.run(
                command,
                env=environment,
                cwd=ROOT,
                stderr=subprocess.PIPE,
                text=True,
                timeout=PATIENCE_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise Failed(f"no end within {PATIENCE_SECONDS} s") from None
        if done.returncode or not file.exists():
            lines = [line for line in done.stderr.strip().splitlines() if line.strip()] or ["no message"]
            raise Failed(f"exit code {done.returncode}: {lines[-1].strip()}")
        return file.read_text(encoding="utf-8")


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


def parity(machine: Machine, count: int) -> Iterator[Row]:
    """Each family in each topology against the processor."""
    reference = machine.run("parity", ALONE, device="cpu")
    cases: list[tuple[str, str, dict[str, str], tuple[float, float]]] = [
        (ALONE, "default", {}, ROUNDED if machine.device == "gpu" else (FIRST, LAST)),
        (ALONE, "highest", HIGHEST, (FIRST, LAST)),
        *((place, "highest", HIGHEST, (FIRST, LAST)) for place in places(count)),
    ]
    for place, products, variables, limits in cases:
        title = f"{place}, products {products}"
        try:
            found = machine.run("parity", place, **variables)
        except Failed as error:
            yield Row("parity", title, "", asked(limits), f"FAILED: {error}")
            continue
        for family, own in found.items():
            alone = reference[family]
            same = own["example"] == alone["example"] and len(own["prediction"]) == len(alone["prediction"])
            gaps = tuple(relative(own[name], alone[name]) for name in ("first", "last"))
            told = f"{in_words(gaps)}{'' if same else '; OTHER ROWS'}"
            yield Row("parity", f"{family}, {title}", told, asked(limits), verdict(within(gaps, limits) and same))


def precision(machine: Machine, count: int) -> Iterator[Row]:
    """Each variant of each deep family against float32, both on the same device."""
    for family in DEEP:
        try:
            found = machine.run("precision", family, **HIGHEST)
        except Failed as error:
            yield Row("precision", family, "", "", f"FAILED: {error}")
            continue
        for name, (_, _, limits) in VARIANTS.items():
            gaps = tuple(relative(own, full) for own, full in zip(found[name], found["float32"], strict=True))
            yield Row("precision", f"{family}, {name}", in_words(gaps), asked(limits), verdict(within(gaps, limits)))


def resume(machine: Machine, count: int) -> Iterator[Row]:
    """Each experiment, killed and gone on with; and run twice."""
    for name in SHORT:
        try:
            found = machine.run("resume", name)
        except Failed as error:
            yield Row("resume", name, "", "every bit", f"FAILED: {error}")
            continue
        kills, told = found["kills"], f"{found['updates']} updates, {found['kills']} kills"
        right = kills > 0 and not found["resumed"]
        yield Row("resume", name, "; ".join([told, *found["resumed"][:1]]), "every bit", verdict(right))
        differs = found["twice"][:1] or ["equal, each compiled anew"]
        yield Row("twice the same", name, differs[0], "every bit", verdict(not found["twice"]))


def speed(machine: Machine, count: int) -> Iterator[Row]:
    """Throughput of a run on one device, and what a step costs beside a plain one; nothing is asked for."""
    from research.training.profiling import in_words

    for model in DEEP:
        for kind in KINDS if machine.device == "gpu" else ("float32",):
            try:
                found = machine.run("speed", f"{model}; {kind}; {'small' if machine.device == 'cpu' else ''}")
            except Failed as error:
                yield Row("speed", f"{model}, {kind}", "", "", f"FAILED: {error}")
                continue
            yield Row("speed", f"{model}, {kind}", in_words(found), "", "measured")
    machine.say("speed: a training step beside a plain one")
    file = machine.folder / "loop.md"
    script = ROOT / "scripts" / "benchmark" / "loop.py"
    command = f'"$0" "{script}" --rounds 5 --updates 500 > "{file}"'
    try:
        lines = machine.output(["sh", "-c", command, sys.executable], file, machine.device, {}).splitlines()
    except Failed as error:
        yield Row("speed", "a step of wisconsin_mlp", "", "", f"FAILED: {error}")
        return
    for dropout, against, ours, other, share, *_ in (line.strip("| ").split(" | ") for line in lines[4:]):
        case = f"a step of wisconsin_mlp, dropout {dropout}, beside {against}"
        yield Row("speed", case, f"{ours} µs, {other} µs: {share}", "", "measured")


RUN: dict[str, Callable[[Machine, int], Iterator[Row]]] = {
    "parity": parity,
    "precision": precision,
    "resume": resume,
    "speed": speed,
}


def within(gaps: tuple[float, ...], limits: tuple[float, float]) -> bool:
    """Whether the losses at update 1 and update 20 are near enough; never where one is not a number."""
    return all(gap <= limit for gap, limit in zip(gaps, limits, strict=True))


def in_words(gaps: tuple[float, ...]) -> str:
    """How far the losses at update 1 and update 20 are off."""
    return ", ".join(f"{gap:.1e}" if gap else "0" for gap in gaps)


def asked(limits: tuple[float, float]) -> str:
    """The limits, in the form of `in_words`."""
    return in_words(limits)


def verdict(right: bool) -> str:
    """For the last column."""
    return "met" if right else "MISSED"


def checked(machine: Machine, checks: list[str], count: int) -> list[Row]:
    """All rows of the checks; what goes wrong in one is a row of its own."""
    rows: list[Row] = []
    for name in checks:
        try:
            for row in RUN[name](machine, count):
                rows.append(row)
                machine.say(f"    {row.case}: {row.found} {row.verdict}")
        except Exception as error:
            kind = "" if isinstance(error, Failed) else f"{type(error).__name__}: "
            rows.append(Row(name, "", "", "", f"FAILED: {kind}{error}"))
            machine.say(f"    {rows[-1].verdict}")
    return rows


def table(rows: list[Row], title: str, about: str) -> str:
    """The Markdown of one run of this script."""
    lines = [f"### {title}", "", about, "", "| check | case | found | asked for | verdict |", "|---|---|---|---|---|"]
    lines += [f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in rows]
    return "\n".join(lines) + "\n"


def written(document: str, text: str) -> str:
    """The document with a table put first of all; raises ValueError where its place is not marked."""
    before, mark, after = document.partition(MARK)
    if not mark:
        raise ValueError(f"{DOCUMENT}: the line {MARK.strip()!r} is missing.")
    return f"{before}{mark}\n{text}{after.replace(NONE_YET, '')}".rstrip() + "\n"


def described(found: dict[str, Any], seconds: float) -> str:
    """Versions, driver, commit and time taken."""
    from research.training.provenance import machine

    said = _said("nvidia-smi", "--query-gpu=driver_version,memory.total", "--format=csv,noheader").splitlines()
    driver = f", driver and memory {said[0]}" if said and found["platform"] == "gpu" else ""
    packages = ", ".join(f"{name} {number}" for name, number in found["packages"].items())
    changed = " with changes" if _said("git", "status", "--porcelain", "--untracked-files=no") else ""
    commit = f"commit {_said('git', 'rev-parse', '--short=10', 'HEAD') or 'not known'}{changed}"
    chips = f"{found['count']} x {found['kind']}{driver}, {found['runtime']}"
    return f"{chips}; {machine()}; {packages}; {commit}; {seconds:.0f} s"


def _said(*command: str) -> str:
    try:
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def main(arguments: list[str] | None = None) -> int:
    """Run the checks; exit codes as at the top of this file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=list(CHECKS), choices=CHECKS, help="these checks")
    parser.add_argument("--device", default="gpu", choices=("gpu", "cpu"), help="cpu: try the script itself (gpu)")
    parser.add_argument("--write", action="store_true", help="write docs/gpu.md on a processor as well")
    for hidden in ("--part", "--case"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.part:
        found = PARTS[options.part](options.case, options.folder)
        (options.folder / "found.json").write_text(json.dumps(found), encoding="utf-8")
        return 0
    with tempfile.TemporaryDirectory(prefix="gpu-check-") as folder:
        machine = Machine(options.device, Path(folder))
        try:
            found = machine.run("facts")
            if found["platform"] != options.device:
                raise Failed(f"it finds {found['count']} x {found['kind']}")
        except Failed as error:
            print(
                f"There is no GPU here that JAX can use: {error}.\nRun scripts/gpu_check on a machine with an NVIDIA "
                f"GPU, its driver, and the packages of the extra 'cuda'; --device cpu tries the script itself.",
                file=sys.stderr,
            )
            return 2
        rows = checked(machine, options.only, found["count"])
        title = f"{time.strftime('%Y-%m-%d')}, {found['kind']}"
        text = table(rows, title, described(found, time.perf_counter() - machine.began))
    print(f"\n{text}")
    if found["platform"] == "gpu" or options.write:
        DOCUMENT.write_text(written(DOCUMENT.read_text(encoding="utf-8"), text), encoding="utf-8")
        print(f"written into {DOCUMENT}")
    return int(any(row.wrong for row in rows))


if __name__ == "__main__":
    sys.exit(main())
