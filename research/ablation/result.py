"""`AblationResult`: what every member of an ablation came to, read from its directory alone."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from research.ablation.directory import AblationDirectory, Wave
from research.ablation.progress import counted
from research.ablation.statistics import Outcomes
from research.errors import RunError, UserError, did_you_mean
from research.evaluation.predictions import Predictions, Rows, read_members
from research.metrics import LARGER_IS_BETTER

CHOSEN = "chosen in inner folds"
"""Name of the row for what nested selection takes."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What one member came to.

    Attributes:
        name: such as ``wider/seed=3``.
        arm: name of the arm.
        seed: its seed.
        fold: its fold, or None.
        inner: its inner fold, or None.
        wave: where it was trained.
        number: its place in the wave.
        results: updates, early stopping, failure, the step reported, and the metrics of the split that is reported.
    """

    name: str
    arm: str
    seed: int
    fold: int | None
    inner: int | None
    wave: Wave
    number: int
    results: dict[str, Any]

    @property
    def failed(self) -> bool:
        """Whether its loss was not finite at some update."""
        return self.results["failed_step"] is not None


@dataclasses.dataclass(frozen=True)
class AblationResult:
    """What an ablation found.

    Attributes:
        directory: its folder.
        name: what it is called.
        arms: names of the baseline and its variants.
        outcomes: what each member came to, arm by arm, seed by seed, fold by fold.
        inner: what each member of the inner folds came to, in which variants are chosen; none without nested selection.
        split: which split the metrics are of.
        notes: what a reader must know, such as what was left out.
        searched: whether the arms are trials of a search, of which one is to be chosen.
        trained: how many members the call that made this has trained.
    """

    directory: Path
    name: str
    arms: tuple[str, ...]
    outcomes: tuple[Outcome, ...]
    inner: tuple[Outcome, ...]
    split: str
    notes: tuple[str, ...]
    searched: bool = False
    trained: int = 0

    def predictions(self, split: str | None = None) -> dict[str, Predictions | Rows]:
        """Predictions of each member that did not fail, by its name.

        Args:
            split: ``validation`` or ``test``; the one reported by default.
        """
        files: dict[Path, dict[int, Predictions | Rows]] = {}
        found = {}
        for outcome in self.outcomes:
            file = outcome.wave.predictions / f"{split or self.split}.parquet"
            if file not in files:
                files[file] = read_members(file) if file.exists() else {}
            if outcome.number in files[file]:
                found[outcome.name] = files[file][outcome.number]
        return found

    def chosen(self, metric: str) -> dict[int, str]:
        """By fold, the arm whose mean over seeds and inner folds is the best; empty without nested selection.

        Arms of which a member failed are not chosen.

        Raises:
            UserError: for a metric that there is not, or of which it is not known what is better.
        """
        if metric not in LARGER_IS_BETTER:
            there = sorted({name for outcome in self.inner for name in outcome.results["metrics"]})
            usable = ", ".join(name for name in there if name in LARGER_IS_BETTER)
            advice = f"Name another with --metric: {usable}." if usable else "No metric of these members can choose."
            if metric not in there:
                meant = did_you_mean(metric, there)
                raise UserError(f"metric {metric!r} is not among those of these members.{meant} {advice}")
            raise UserError(
                f"metric {metric!r} cannot choose in inner folds, for it is not known whether a larger one is better "
                f"or a smaller one. {advice}"
            )
        larger = LARGER_IS_BETTER[metric]
        found = {}
        for fold in sorted({outcome.fold for outcome in self.inner if outcome.fold is not None}):
            means: dict[str, float] = {}
            for arm in self.arms:
                members = [o for o in self.inner if (o.arm, o.fold) == (arm, fold)]
                values = [np.nan if o.failed else o.results["metrics"].get(metric, np.nan) for o in members]
                # An arm that failed once must not win by the seeds in which it did not.
                if not np.isnan(values).any():
                    means[arm] = float(np.mean(values))
            if not means:
                raise UserError(
                    f"metric {metric!r} is not defined in every inner fold and seed of fold {fold} for any variant, so "
                    f"none can be chosen. Name another with --metric."
                )
            found[fold] = max(means, key=lambda arm: means[arm] if larger else -means[arm])
        return found

    def for_statistics(self, metric: str = "") -> list[Outcomes]:
        """The arms as `research.ablation.statistics` takes them, and what was chosen in inner folds as a further one.

        Seeds with a member that failed are left out, and arms in which all did.

        Args:
            metric: by which is chosen in inner folds; empty leaves what is chosen out.

        Raises:
            RunError: if no seed of the baseline is left.
        """
        test = self.predictions()
        validation = self.predictions("validation") if self.split != "validation" else {}
        arms = {arm: [outcome for outcome in self.outcomes if outcome.arm == arm] for arm in self.arms}
        if self.inner and metric:
            chosen = self.chosen(metric)
            arms[CHOSEN] = [outcome for outcome in self.outcomes if chosen[outcome.fold or 0] == outcome.arm]
        found = [self._of_arm(name, outcomes, test, validation) for name, outcomes in arms.items()]
        if found[0] is None:
            raise RunError(f"{self.arms[0]}: no loss was finite: there is nothing to compare with.")
        return [outcomes for outcomes in found if outcomes is not None]

    def _of_arm(
        self,
        arm: str,
        outcomes: list[Outcome],
        test: dict[str, Predictions | Rows],
        validation: dict[str, Predictions | Rows],
    ) -> Outcomes | None:
        members: dict[int, list[Outcome]] = {}
        for outcome in sorted(outcomes, key=lambda one: (one.seed, one.fold or 0)):
            members.setdefault(outcome.seed, []).append(outcome)
        whole = {seed: each for seed, each in members.items() if not any(one.failed for one in each)}
        if not whole:
            return None
        first = test[next(iter(whole.values()))[0].name]
        if isinstance(first, Rows):
            names = list(first.columns)
            values = {
                name: [np.mean([one.results["metrics"][name] for one in each]) for each in whole.values()]
                for name in names
            }
            return Outcomes(arm, tuple(whole), values=values)
        said: list[Any] = [[test[one.name] for one in each] for each in whole.values()]
        chosen: list[Any] = [[validation.get(one.name) for one in each] for each in whole.values()]
        known = all(rows is not None for each in chosen for rows in each)
        return Outcomes(arm, tuple(whole), said, chosen if known else None)


def load_result(path: Path) -> AblationResult:
    """The result of a finished ablation.

    Raises:
        UserError: if this is no ablation directory, or members are missing.
    """
    directory = AblationDirectory(path)
    plan = directory.read_plan()
    where = directory.finished()
    missing = [member["name"] for member in plan["members"] if member["identity"] not in where]
    if missing:
        raise UserError(
            f"{path}: {len(missing)} of {len(plan['members'])} members are not trained yet, such as {missing[0]}. Run "
            f"the same research ablate again to go on."
        )
    used = {wave.path: wave for wave, _ in where.values()}
    said = {path: wave.outcome() for path, wave in used.items()}
    every = []
    for member in plan["members"]:
        wave, number = where[member["identity"]]
        place = {name: member.get(name) for name in ("name", "arm", "seed", "fold", "inner")}
        every.append(Outcome(**place, wave=wave, number=number, results=said[wave.path]["members"][number]))
    split = said[every[0].wave.path]["split"]
    notes = list(plan["notes"])
    codes = sorted({code for outcome in every for code in outcome.wave.codes})
    if len(codes) > 1:
        notes.append(f"members were trained by {len(codes)} versions of the code ({', '.join(codes)})")
    if failed := [outcome.name for outcome in every if outcome.failed]:
        shown = ", ".join(failed[:5]) + (f" and {len(failed) - 5} more" if len(failed) > 5 else "")
        notes.append(f"left out, for the loss was not finite: {counted(len(failed), 'member')}, {shown}")
    arms = tuple(dict.fromkeys(outcome.arm for outcome in every))
    outcomes = tuple(outcome for outcome in every if outcome.inner is None)
    inner = tuple(outcome for outcome in every if outcome.inner is not None)
    searched = plan.get("design", {}).get("search") is not None
    return AblationResult(path, plan["name"], arms, outcomes, inner, split, tuple(notes), searched)
