"""Kill a run again and again at random moments, on one and on two processes, and compare it with one left in peace.

    .venv/bin/python scripts/prove/kills.py [--kills 100] [--processes 1 2] [--file FILE] [path=value ...]

SIGKILL, or a fifth of the time SIGTERM, strikes one process between two updates, or at a random time after the writing
of a checkpoint has begun; the others must end by themselves. Each kill must leave every checkpoint that was complete,
and so the one before the last that was begun, for a save waits for the one before; the next process must say that it
goes on from the newest. At the end all that the run leaves is compared bit by bit. Prints a row for each number of
processes, and fails where anything differs or is lost.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import signal
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "processes"))

from launched import came, ended, launch, processes_of

from research.errors import REQUEUE
from research.training.provenance import machine
from research.training.run_directory import RunDirectory
from research.training.verify_resume import CHECKPOINTS, Interruption, compare_directories

TINY = "from tiny import EXPERIMENT\n\nexperiment = EXPERIMENT.replace(steps=600)\n"
QUIET = ["execution.tensorboard=false", "execution.figures=false"]


def moments(kills: int, seed: int) -> tuple[Interruption, ...]:
    """Random interruptions in the order of the run, so that every process gets a little further."""
    draw = random.Random(seed)
    found = []
    for fraction in sorted(draw.uniform(0, 0.98) for _ in range(kills)):
        number = signal.SIGTERM if draw.random() < 0.2 else signal.SIGKILL
        moment = draw.choice(("update", "save"))
        found.append(Interruption(moment, fraction, number, draw.uniform(0, 0.06) if moment == "save" else 0.0))
    return tuple(found)


class Kills:
    """One run, struck again and again.

    Args:
        processes: how many.
        arguments: of ``research run``, without ``--runs``.
        folder: an empty folder.
        seed: of the choice of whom to strike.
        kills: how many there will be.
    """

    def __init__(self, processes: int, arguments: list[str], folder: Path, seed: int, kills: int) -> None:
        self.processes, self.folder = processes, folder
        self.whole, self.struck = folder / "whole", folder / "struck"
        self.came, self.lost, self.most = 0, [], 0
        self._draw = random.Random(seed)
        self._arguments = arguments
        self.finish(self.whole)
        self.updates = int(self.directory(self.whole).read("results")["updates"])
        # So many checkpoints that a kill while one is written leaves room for those that come after it.
        self.interval = max(1, self.updates // max(CHECKPOINTS, kills))
        self._arguments = [*arguments, f"execution.checkpoint_every={self.interval}"]

    @staticmethod
    def directory(runs: Path) -> RunDirectory:
        """The only run below a folder."""
        (found,) = runs.glob("*/*")
        return RunDirectory(found)

    def newest(self) -> int:
        """The newest complete checkpoint of the run that is struck; 0 for none."""
        return max((int(p.name) for p in self.struck.glob("*/*/checkpoints/last/*") if p.name.isdigit()), default=0)

    def finish(self, runs: Path) -> str:
        """Run to the end; what was said."""
        code, said = ended(launch(self.processes, [*self._arguments, "--runs", str(runs)]))
        if code != 0:
            raise RuntimeError(f"exit code {code}:\n{said[-3000:]}")
        return said

    def finish_struck(self) -> None:
        """Run to the end what was struck, if it has not come there."""
        if not self.directory(self.struck).results.exists():
            newest = self.newest()
            self._check_begun(newest, self.finish(self.struck), "the last process")

    def _check_begun(self, newest: int, said: str, when: str) -> None:
        told = re.search(r"resuming\s+after update ([\d,]+)", said)
        begun = int(told[1].replace(",", "")) if told else 0
        if re.search(r"resuming\s+not needed", said):
            begun = self.updates
        if begun != newest:
            self.lost.append(f"{when}: went on after update {begun}, {newest} is the newest checkpoint")

    def _surely_complete(self, resumed: int, moment: str, step: int) -> int:
        """The last checkpoint but one that was begun at ``step``: a save waits for the end of the one before it."""
        last = step if moment == "save" else step - 1  # the moment is before the save of the same step
        begun = [resumed, *(save for save in range(self.interval, last + 1, self.interval) if save > resumed)]
        return begun[-2:][0]

    def strike(self, number: int, interruption: Interruption) -> None:
        """One kill, and what must hold after it."""
        resumed, file = self.newest(), self.folder / f"moment{number}"
        # A moment that an earlier process has gone beyond comes at once.
        step = max(resumed + 1, int(interruption.fraction * self.updates))
        arguments = [*self._arguments, "--runs", str(self.struck)]
        launched = launch(self.processes, arguments, f"{interruption.moment}:{step}:{file}")
        there = came(launched, file)
        victims = processes_of(launched)
        if there is None or not victims:
            ended(launched)
            return
        first, step = there
        # Whoever waits between updates waits to be struck; a save goes on, whoever is.
        victim = first if interruption.moment == "update" else self._draw.choice(victims)
        time.sleep(interruption.delay)
        before = max(self.newest(), self._surely_complete(resumed, interruption.moment, step))
        try:
            os.kill(victim, interruption.signal)
        except ProcessLookupError:
            ended(launched)
            return
        code, said = ended(launched)
        self.came += 1
        self._check_begun(resumed, said, f"{interruption}")
        after = self.newest()
        if after < before:
            self.lost.append(f"{interruption}: {before} was complete, {after} is the newest")
        expected = (REQUEUE, 0) if interruption.signal == signal.SIGTERM else (128 + signal.SIGKILL, 0)
        if self.processes > 1 and interruption.signal == signal.SIGKILL:
            expected = (*expected, REQUEUE)  # of the other, which ends because of it
        if code not in expected:
            self.lost.append(f"{interruption}: exit code {code}: {said.strip()[-300:]}")
        if interruption.signal == signal.SIGKILL:
            self.most = max(self.most, step - after)


def main() -> None:
    """Print a row for each number of processes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="*", metavar="path=value", help="such as steps=60")
    parser.add_argument("--file", type=Path, help="experiment file (a tiny experiment of 600 updates)")
    parser.add_argument("--kills", type=int, default=100, help="for each number of processes (100)")
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2], help="numbers of processes (1 2)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the moments (0)")
    options = parser.parse_args()
    print(f"{time.strftime('%Y-%m-%d')}, {machine()}\n")
    print(
        "| processes | updates | checkpoint every | kills | moments that came | most updates lost | unequal | faults |"
    )
    print("|---|---|---|---|---|---|---|---|")
    failed = False
    for processes in options.processes:
        with tempfile.TemporaryDirectory() as name:
            file = options.file
            if file is None:
                file = Path(name) / "tiny_run.py"
                file.write_text(TINY)
            share = f"execution.parallel.data={processes}"
            trial = Kills(
                processes, [str(file), share, *QUIET, *options.overrides], Path(name), options.seed, options.kills
            )
            for number, interruption in enumerate(moments(options.kills, options.seed)):
                trial.strike(number, interruption)
            trial.finish_struck()
            compared = list(compare_directories(trial.directory(trial.whole), trial.directory(trial.struck)))
        unequal = "; ".join(f"{each.what}: {each.difference}" for each in compared if each.difference)
        failed |= bool(unequal or trial.lost) or trial.came == 0
        row = (processes, trial.updates, trial.interval, options.kills, trial.came, trial.most)
        print(f"| {' | '.join(map(str, row))} | {unequal or 'none'} | {'; '.join(trial.lost) or 'none'} |", flush=True)
    sys.exit(failed)


if __name__ == "__main__":
    main()
