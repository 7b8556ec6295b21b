"""Measures the contestants of one workload in turns, and checks that they do the same."""

from __future__ import annotations

import contextlib
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from speed_suite.protocol import Failed, Worker
from speed_suite.workloads import Entry, Workload, entries

FIRST = 1e-4
"""Largest relative difference of the first losses, and of outputs outside training.

That of the last losses is said with the workload.
"""

NEAR = 1.1
"""PyTorch's settings that a trial finds within this factor of the best one are measured in the rounds as well."""

FEWEST = 2
"""Updates in a measurement at least."""

WARM = 0.1
"""Work before each measurement, as a share of it; at least one update."""

EXTRA_PARAMETERS: dict[tuple[str, str], str] = {
    ("torch", "gru"): "torch's second biases of r and z, which stay 0",
    ("keras", "gru"): "Keras's second biases of z and r",
    ("nnx", "gru"): "Flax's GRU has no bias within its candidate",
}
"""Why some contestants have more or fewer parameters."""

Say = Callable[[str], None]


class Running:
    """A contestant that is prepared, how many updates make a turn, and the seconds per update found so far.

    Of ``loop`` also which share of a turn was none of its updates.
    """

    def __init__(self, entry: Entry, workload: str, mode: str, given: Path, seconds: float) -> None:
        self.entry, self.times, self.loop_shares = entry, [], []
        self.worker = Worker(entry, workload, mode, given)
        try:
            self.told = self.worker.ask("prepare")
            self.epoch, self.whole = self.told["epoch"], self.told.get("whole", False)
            self.updates, self.trial = self._calibrated(seconds)
        except Failed:
            self.worker.close()
            raise

    def _calibrated(self, seconds: float) -> tuple[int, float]:
        """Updates that take about so many seconds, and the seconds of one."""
        count = self.epoch if self.whole else 1
        self.worker.ask("run", updates=count)  # Whatever is compiled or opened on first use.
        while True:
            found = self.worker.ask("run", updates=count)
            # Of the members of an ablation seconds are those of one of them.
            took = found["wall"]
            if took >= seconds / 4:
                break
            count *= max(2, min(16, int(seconds / 2 / max(took, 1e-4))))
        fitting = max(self.told.get("fewest", FEWEST), round(seconds * count / took))
        if fitting >= self.epoch or self.whole:
            fitting = max(1, fitting // self.epoch) * self.epoch
        return fitting, found["seconds"] / count

    def turn(self) -> None:
        """One measurement, after a little work: caches are others', and the system may have taken idle memory."""
        unit = self.epoch if self.whole else 1
        self.worker.ask("run", updates=max(1, int(WARM * self.updates / unit)) * unit)
        # By turns, for what comes second has other caches and other memory.
        found = self.worker.ask("run", updates=self.updates, alone_first=len(self.times) % 2 == 1)
        self.times.append(found["seconds"] / self.updates)
        if "alone" in found:
            self.loop_shares.append(1 - found["alone"] / found["seconds"])

    def found(self) -> dict[str, Any]:
        """What it came to; the process ends."""
        memory = self.worker.ask("memory")
        self.worker.close()
        low, middle, high = quartiles(self.times)
        return {
            "seconds": middle,
            "quartiles": [low, high],
            "rounds": self.times,
            "updates": self.updates,
            "memory_peak": memory["peak"],
            **({"loop_shares": self.loop_shares} if self.loop_shares else {}),
            **self.told,
        }


def quartiles(times: list[float]) -> tuple[float, float, float]:
    """Lower quartile, median, upper quartile."""
    if len(times) < 2:
        return times[0], times[0], times[0]
    low, middle, high = statistics.quantiles(times, n=4, method="inclusive")
    return low, middle, high


def measure(
    workload: Workload, names: tuple[str, ...], mode: str, rounds: int, seconds: float, say: Say
) -> dict[str, Any]:
    """All that was found of a workload.

    Args:
        workload: the workload.
        names: of contestants.
        mode: ``train``, or the number of examples per forward pass.
        rounds: measurements of each contestant.
        seconds: that one takes, about.
        say: told of progress.
    """
    running: list[Running] = []
    skipped: dict[str, str] = {}
    trials: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="speed-") as folder, contextlib.ExitStack() as stack:
        given = Path(folder) / "given.npz"
        facts = _facts(workload, given)

        def start(entry: Entry) -> Running | None:
            try:
                made = Running(entry, workload.name, mode, given, seconds)
            except Failed as error:
                skipped[entry.name] = str(error)
                say(f"{workload.name}: {error}")
                return None
            stack.callback(made.worker.close)
            say(f"{workload.name} {mode}: {entry.name} {1e3 * made.trial:.4g} ms in a trial")
            return made

        for entry in entries(workload, names, mode != "train"):
            if entry.module != "pytorch" and (made := start(entry)) is not None:
                running.append(made)
        running += _best_torch(workload, names, mode, start, trials)
        for _ in range(rounds):
            for each in running:
                each.turn()
        contestants = {each.entry.name: {"group": group_of(each.entry)} | each.found() for each in running}
    batch = workload.batch if mode == "train" else int(mode)
    found = {"workload": workload.to_json(), "mode": mode, "batch": batch, "facts": facts, "trials": trials}
    found |= {"skipped": skipped, "contestants": contestants}
    for name, told in contestants.items():
        told["agreement"], told["agrees"] = agreement(workload, mode, told, facts, contestants)
        if not told["agrees"]:
            say(f"{workload.name}: {name} does not agree: {told['agreement']}")
    return found


def _facts(workload: Workload, given: Path) -> dict[str, Any]:
    worker = Worker(Entry("given", "given"), workload.name, "train", given)
    try:
        return worker.ask("prepare")
    finally:
        worker.close()


def _best_torch(
    workload: Workload,
    names: tuple[str, ...],
    mode: str,
    start: Callable[[Entry], Running | None],
    trials: dict[str, float],
) -> list[Running]:
    """PyTorch's best settings by a trial, and the very best with the tuned allocator as well."""
    tried: list[Running] = []
    for entry in entries(workload, names, mode != "train"):
        if entry.module == "pytorch" and (made := start(entry)) is not None:
            trials[entry.name] = made.trial
            tried.append(made)
            best = min(each.trial for each in tried)
            for other in [each for each in tried if each.trial > NEAR * best]:
                other.worker.close()
                tried.remove(other)
    if tried:
        best = min(tried, key=lambda each: each.trial).entry
        made = start(Entry(f"{best.name} tuned", best.module, best.options, tuned=True))
        tried += [] if made is None else [made]
    return tried


def group_of(entry: Entry) -> str:
    """Whose setting it is."""
    if entry.module == "pytorch":
        return "torch tuned" if entry.tuned else "torch"
    if entry.options.get("functional"):
        return "jit"
    groups = {
        "ours": "research",
        "members": "research",
        "nnx_idiom": "nnx",
        "keras_jax": "keras",
        "lightning_loop": "lightning",
    }
    return entry.options.get("part", groups[entry.module])


def agreement(
    workload: Workload, mode: str, told: dict[str, Any], facts: dict[str, Any], contestants: dict[str, Any]
) -> tuple[str, bool]:
    """What is said of a contestant's parameters and losses beside this framework's, and whether they agree."""
    words, agrees = "", True
    extra = told["parameters"] - facts["parameters"]
    if extra:
        reason = EXTRA_PARAMETERS.get((told["group"].split()[0], workload.options.get("cell", "")))
        words, agrees = f"{extra:+d} parameters ({reason or 'UNEXPLAINED'}); ", reason is not None
    ours = next((each["losses"] for each in contestants.values() if each["group"] == "research"), None)
    if "gap" in told:
        near = told["gap"] <= FIRST
        return f"{words}outputs {told['gap']:.0e}{'' if near else ' MISMATCH'}", agrees and near
    if told["losses"] is None or ours is None:
        return words + "losses not compared", agrees
    if workload.draws:
        return words + "losses drawn at random", agrees
    gaps = [abs(theirs / own - 1) for theirs, own in zip(told["losses"], ours, strict=True)]
    near = gaps[0] <= FIRST and gaps[-1] <= workload.tolerance
    return f"{words}{gaps[0]:.0e}, {gaps[-1]:.0e}{'' if near else ' MISMATCH'}", agrees and near
