"""Whether all holds on the GPUs of this machine: parity, precision, exact resume, the same bits twice, and how fast.

    scripts/gpu_check [--only parity precision vendor resume speed] [--device cpu] [--write]

Prints what it does, then a dated table, which on a GPU it writes into docs/gpu.md, row by row. Each part is a process
of its own, so that one that fails is a line of the table and no more. Exit codes: 0 all is as asked for; 1 something is
not; 2 there is no GPU. ``--device cpu`` tries the script itself, small, on two virtual devices of the processor.

Parity: losses of each family of scripts/prove/parallel.py against those on the processor of this machine. float32 is
computed twice: as it is by default, where matrix products round their factors to TF32 on GPUs from Ampere on, and with
JAX_DEFAULT_MATMUL_PRECISION=highest, under which the limits of scripts/prove/parallel.py hold. With several GPUs, also
on all of them. Precision: half precision and rematerialisation against float32 on the same GPU. Vendor: an LSTM and a
transformer by cuDNN's kernels against the same without them, and how long an update takes by each. Resume: short forms
of three experiments, killed twice, and once more from the beginning with nothing compiled before, bit by bit.
Speed: of `research.run`, with deterministic kernels, with these and products by Triton, and without; and of the
benchmark of a training step.
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

from gpu_parts import DEEP, FOUND, KINDS, ROOT, ROUNDED, SHORT, VARIANTS, VENDORS, places
from parallel import ALONE, FIRST, LAST, relative

PARTS = Path(__file__).with_name("gpu_parts.py")
DOCUMENT = ROOT / "docs" / "gpu.md"
MARK = "<!-- scripts/gpu_check writes below this line, the newest table first -->\n"
CHECKS = ("parity", "precision", "vendor", "resume", "speed")
PATIENCE_SECONDS = 1800
TAIL = 3000
"""Characters that are shown of what a part said that has failed."""

STEPS = ("perceptron", "perceptron-dropout")
"""Of `scripts/benchmark/speed.py`."""

CHANGES = ("git", "status", "--porcelain", "--untracked-files=no", "--", ".", ":!docs/gpu.md")
"""Says what has been changed since the commit, but for the table that is written here."""

HIGHEST = {"JAX_DEFAULT_MATMUL_PRECISION": "highest"}


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


class Failed(Exception):
    """A part ended by itself; says why."""


class NotKept(Exception):
    """The document cannot be written; says why."""


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
        command = [sys.executable, str(PARTS), part, case, str(own)]
        return json.loads(self.output(command, own / FOUND, device or self.device, variables))

    def output(self, command: list[str], file: Path, device: str, variables: dict[str, str]) -> str:
        """What a command wrote into a file, on the device that is asked for and no other."""
        flags = " ".join(where.get("XLA_FLAGS", "") for where in (os.environ, variables)).strip()
        environment = {**os.environ, "RESEARCH_CACHE_DIR": str(self.folder / "cache"), **variables}
        environment |= {"XLA_FLAGS": flags} if flags else {}
        environment["JAX_PLATFORMS"] = "cpu" if device == "cpu" else "cuda,cpu"
        environment["JAX_TRACEBACK_FILTERING"] = "off"  # or else the last line would be about that
        if self.device == "cpu":
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
            print(done.stderr[-TAIL:], file=sys.stderr, flush=True)
            lines = [line.strip() for line in done.stderr.splitlines() if line.strip()] or ["no message"]
            raise Failed(f"exit code {done.returncode}: {lines[-1][:300]}")
        return file.read_text(encoding="utf-8")


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


def vendor(machine: Machine, count: int) -> Iterator[Row]:
    """Each family by the vendor's kernels against the same without them, both on one GPU; a processor has none."""
    for family, (types, limits, _) in VENDORS.items() if machine.device == "gpu" else ():
        title = f"{family}, {types.compute}"
        try:
            found, timed = machine.run("vendor", family, **HIGHEST), machine.run("vendor", family)
        except Failed as error:
            yield Row("vendor", title, "", asked(limits), f"FAILED: {error}")
            continue
        plain, own = found["fast"], found["vendor"]
        gaps = tuple(relative(a, b) for a, b in zip(own["losses"], plain["losses"], strict=True))
        own_time, plain_time = (1e3 * timed[name]["seconds"] for name in ("vendor", "fast"))
        times = f"{own_time:.3g} ms an update, {plain_time:.3g} without"
        yield Row("vendor", title, f"{in_words(gaps)}; {times}", asked(limits), verdict(within(gaps, limits)))


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
                small = "small" if machine.device == "cpu" else ""
                found = machine.run("speed", f"{model}; {kind}; {small}", **KINDS[kind][2])
            except Failed as error:
                yield Row("speed", f"{model}, {kind}", "", "", f"FAILED: {error}")
                continue
            yield Row("speed", f"{model}, {kind}", in_words(found), "", "measured")
    machine.say("speed: a training step beside a plain one")
    file, script = machine.folder / "speed.json", ROOT / "scripts" / "benchmark" / "speed.py"
    command = [sys.executable, str(script), *STEPS, "--contestants", "research", "updates", "jit", "--json", str(file)]
    try:
        found = json.loads(machine.output(command, file, machine.device, HIGHEST))
    except Failed as error:
        yield Row("speed", "a step of a perceptron", "", "", f"FAILED: {error}")
        return
    for result in found.values():
        ours, alone, plain = (
            next(each["seconds"] for each in result["contestants"].values() if each["group"] == group)
            for group in ("research", "updates", "jit")
        )
        case = f"a step of a {result['workload']['name']}, and without events, beside plain jax.jit"
        words = f"{1e6 * ours:.1f} µs, {1e6 * alone:.1f} µs, {1e6 * plain:.1f} µs"
        yield Row("speed", case, f"{words}: {ours / plain:.3f}", "", "measured")


RUN: dict[str, Callable[[Machine, int], Iterator[Row]]] = {
    "parity": parity,
    "precision": precision,
    "vendor": vendor,
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


def checked(
    machine: Machine, checks: list[str], count: int, keep: Callable[[list[Row]], object] = lambda rows: None
) -> list[Row]:
    """All rows of the checks, given to ``keep`` whenever there is one more; what goes wrong in one is a row."""
    rows: list[Row] = []
    for name in checks:
        try:
            for row in RUN[name](machine, count):
                rows.append(row)
                machine.say(f"    {row.case}: {row.found} {row.verdict}")
                keep(rows)
        except NotKept:
            raise
        except Exception as error:
            kind = "" if isinstance(error, Failed) else f"{type(error).__name__}: "
            rows.append(Row(name, "", "", "", f"FAILED: {kind}{error}"))
            machine.say(f"    {rows[-1].verdict}")
            keep(rows)
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
    return f"{before}{mark}\n{text}{after}".rstrip() + "\n"


def replace_table(before: str, text: str) -> None:
    """Write a table into the document, in the place of what this run has written of it before; whole, or not at all.

    Raises:
        NotKept: where the document has no place for it or cannot be written.
    """
    try:
        document = DOCUMENT.read_text(encoding="utf-8")
        if before and before.strip() in document:
            document = document.replace(before.strip(), text.strip())
        else:
            document = written(document, text)
        beside = DOCUMENT.with_suffix(".new")
        beside.write_text(document, encoding="utf-8")
        os.replace(beside, DOCUMENT)
    except (OSError, ValueError) as error:
        raise NotKept(str(error)) from error


def described(found: dict[str, Any], seconds: float) -> str:
    """Versions, driver, commit and time taken."""
    from research.training.provenance import machine

    said = _said("nvidia-smi", "--query-gpu=driver_version,memory.total", "--format=csv,noheader").splitlines()
    driver = f", driver and memory {said[0]}" if said and found["platform"] == "gpu" else ""
    packages = ", ".join(f"{name} {number}" for name, number in found["packages"].items())
    changed = " with changes" if _said(*CHANGES) else ""
    commit = f"commit {_said('git', 'rev-parse', '--short=10', 'HEAD') or 'not known'}{changed}"
    chips = f"{found['count']} x {found['kind']}{driver}, {found['runtime']}"
    own = "".join(f"; {name}={os.environ[name]}" for name in (*HIGHEST, "XLA_FLAGS") if os.environ.get(name))
    return f"{chips}; {machine()}; {packages}; {commit}{own}; {seconds:.0f} s"


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
    options = parser.parse_args(arguments)
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
        title, writes = f"{time.strftime('%Y-%m-%d')}, {found['kind']}", found["platform"] == "gpu" or options.write
        before = ""

        def keep(rows: list[Row], state: str = "; not ended") -> str:
            """The table so far, written too: nothing is lost where a job's time is over before all is done."""
            nonlocal before
            text = table(rows, title, described(found, time.perf_counter() - machine.began) + state)
            if writes:
                replace_table(before, text)
                before = text
            return text

        try:
            keep([])
            rows = checked(machine, options.only, found["count"], keep)
            text = keep(rows, "")
        except NotKept as error:
            print(f"The table cannot be written: {error}", file=sys.stderr)
            return 1
    print(f"\n{text}")
    if writes:
        print(f"written into {DOCUMENT}")
    return int(any(row.wrong for row in rows))


if __name__ == "__main__":
    sys.exit(main())
