"""The members of an ablation in the program that ``research ablate`` trains them with, in the way that it chooses."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

# As `research.ablation.commands` has it: a device for each core.
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={os.cpu_count()}"

import jax

from research.ablation import Ablation
from research.ablation.choice import choose_way
from research.ablation.groups import Stock, group
from research.ablation.program import GroupProgram
from research.experiment import Execution
from speed_suite.made_data import experiment_of
from speed_suite.workloads import Workload

UPDATES = 1200
"""Of each member, as in wisconsin_mlp: how long a training is decides how much measuring of ways is worth."""


class Contestant:
    """Updates of all members; evaluations, logs and checkpoints left out."""

    def __init__(self, workload: Workload, mode: str, given: Path, options: dict[str, Any]) -> None:
        self.workload = workload

    def prepare(self) -> dict[str, Any]:
        """See `speed_suite.protocol`."""
        began = time.perf_counter()
        baseline = experiment_of(self.workload).replace(steps=UPDATES)
        members = Ablation(baseline=baseline, seeds=self.workload.members).members()
        (its,) = group(members, Stock(), Execution())
        choice = choose_way(its, its.members, jax.devices(), "auto", False, {})
        self.program = GroupProgram(its.members, its.outline, choice.way, jax.devices())
        self.carry, self.step = self.program.initialise(), 0
        parameters = sum(leaf.size for part in self.carry for leaf in jax.tree.leaves(part.state.params))
        self.run(1)
        told = {"first_step_seconds": time.perf_counter() - began, "way": str(choice.way), "tried": choice.measured}
        told = {
            name: {str(k): v for k, v in each.items()} if isinstance(each, dict) else each
            for name, each in told.items()
        }
        return told | {"parameters": parameters // len(its.members), "losses": None, "epoch": 1}

    def run(self, updates: int) -> float:
        """Seconds that so many updates take, by the number of members."""
        began, end = time.perf_counter(), self.step + updates
        while self.step < end:
            windows, left = self.program.window(self.step)
            count = min(left, end - self.step)
            self.carry = self.program.advance(self.carry, windows, count)
            self.step += count
        jax.block_until_ready(self.carry)
        return (time.perf_counter() - began) / self.workload.members
