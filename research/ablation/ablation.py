"""`Ablation`: a baseline, what is changed in it, and how often each is repeated."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from research.ablation.names import distinct_names
from research.ablation.search import Search, check_values
from research.errors import UserError
from research.experiment import Experiment
from research.spec import check, fingerprint, replace

BASELINE = "baseline"
SEEDS = 8
FOLD = "data.split.fold"
FOLDS = "data.split.folds"
INNER_FOLD = "data.split.inner_fold"
INNER_FOLDS = "data.split.inner_folds"
LARGEST_SEED = 2**32 - 1
EDITS = "{'model.dropout': None}"
EXAMPLES = {
    "variants": f"{{'no dropout': {EDITS}}}",
    "grid": "{'optimizer.learning_rate': [1e-4, 1e-3]}",
    "together": "{'model.dropout': [0.1, 0.3], 'batch_size': [16, 32]}",
}


class NotGiven(dict):
    """Stands for variants, a grid and the like that nobody has given; one that is given must not be empty."""


@dataclasses.dataclass(frozen=True)
class Arm:
    """The baseline or one variant of it.

    Attributes:
        name: what it is called in tables.
        edits: what is changed in the baseline, by dotted path.
        experiment: the baseline with these edits.
    """

    name: str
    edits: Mapping[str, Any]
    experiment: Experiment


@dataclasses.dataclass(frozen=True)
class Member:
    """One training of an ablation: an arm, a seed and, in cross-validation, a fold.

    Attributes:
        arm: name of the arm.
        seed: the run's seed.
        fold: number of the fold that is the test split; None without folds.
        experiment: what is trained, the folds set.
        inner: number of the inner fold that is the test split, its fold being left out; None for what is reported.
    """

    arm: str
    seed: int
    fold: int | None
    experiment: Experiment
    inner: int | None = None

    @property
    def name(self) -> str:
        """As on the command line, such as ``wider/seed=3``, ``wider/seed=3/fold=0`` or ``.../fold=0/inner=1``."""
        fold = "" if self.fold is None else f"/fold={self.fold}"
        return f"{self.arm}/seed={self.seed}{fold}" + ("" if self.inner is None else f"/inner={self.inner}")

    @property
    def identity(self) -> str:
        """What it trains, whatever it is called: fingerprint of the experiment and seed."""
        return f"{fingerprint(self.experiment)}-s{self.seed}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ablation:
    """Variants of one experiment, each trained with several seeds::

        ablation = Ablation(
            baseline=experiment,
            variants={"no dropout": {"model.dropout": None}, "wider": {"model.widths": (128, 128)}},
            grid={"optimizer.learning_rate": [3e-4, 1e-3, 3e-3]},
        )

    Attributes:
        baseline: what everything is compared with.
        variants: by name, edits of the baseline: ``{dotted path: value}``.
        grid: values by dotted path; every combination is a variant of the baseline, and the one that equals it is it.
        together: values by dotted path, all of one length; the first of each make a variant, the second another.
        search: trials drawn from ranges, each a variant.
        seeds: how many (0, 1, 2 ...), or which. Members of one seed have the same order of the data and the same draws.
        folds: number of folds by patient, each of which is the test split once; None keeps the baseline's split.
        inner_folds: nested selection. The training patients of each fold are divided into so many folds, in which one
            variant is chosen; what is chosen so is scored on the fold, as a row of its own. None: nothing is chosen.
    """

    baseline: Experiment
    variants: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=NotGiven)
    grid: Mapping[str, Sequence[Any]] = dataclasses.field(default_factory=NotGiven)
    together: Mapping[str, Sequence[Any]] = dataclasses.field(default_factory=NotGiven)
    search: Search | None = None
    seeds: int | Sequence[int] = SEEDS
    folds: int | None = None
    inner_folds: int | None = None

    def seed_numbers(self) -> tuple[int, ...]:
        """The seeds.

        Raises:
            UserError: if there is none, or one comes twice or is no seed.
        """
        given: Any = self.seeds
        if isinstance(given, bool | str | bytes | Mapping) or not isinstance(given, int | Iterable):
            raise UserError(
                f"seeds: a whole number, or a list of them such as (0, 1, 5), is needed; {given!r} was given."
            )
        seeds = tuple(range(given)) if isinstance(given, int) else tuple(given)
        if not seeds:
            raise UserError(f"seeds: at least one is needed, {given!r} was given.")
        wrong = [s for s in seeds if not isinstance(s, int) or isinstance(s, bool) or not 0 <= s <= LARGEST_SEED]
        if wrong or len(set(seeds)) < len(seeds):
            raise UserError(f"seeds: different whole numbers from 0 to {LARGEST_SEED} are needed, {seeds} were given.")
        return seeds

    def arms(self) -> tuple[tuple[Arm, ...], tuple[str, ...]]:
        """The baseline and its variants, and notes on what was left out because it is there already.

        The baseline alone, with seeds or folds, is noted too: nothing is compared then.

        Raises:
            UserError: for a variant that names an unknown field or a wrong value, two variants that are the same
                experiment, or variants or a grid without anything in them.
        """
        self.check_fields()
        check(self.baseline)
        found = {fingerprint(self.baseline): Arm(BASELINE, {}, self.baseline)}
        notes = []
        for name, edits, given in self._edits():
            try:
                experiment = replace(self.baseline, edits)
                check(experiment)
            except UserError as error:
                raise UserError(f"variant {name!r}: {error}") from None
            there = found.get(identity := fingerprint(experiment))
            if there is None:
                if name in {arm.name for arm in found.values()}:
                    raise UserError(
                        f"variants: {name!r} is the name of a row of the grid or search too; give the variant another."
                    )
                found[identity] = Arm(name, dict(edits), experiment)
            elif there.name == BASELINE:
                notes.append(f"{name} is the baseline itself")
            elif given:
                raise UserError(
                    f"variants: {there.name!r} and {name!r} are the same experiment "
                    f"({_shown(edits)}). Leave one of them out."
                )
            else:
                notes.append(f"{name} is {there.name}")
        if len(found) == 1:
            notes.append("there is only the baseline: nothing is compared; give variants, or path=value,value")
        return tuple(found.values()), tuple(notes)

    def members(self) -> tuple[Member, ...]:
        """Every training: arm by arm, seed by seed, fold by fold, and in it inner fold by inner fold.

        Raises:
            UserError: as `arms` and `seed_numbers`, and for folds of data that cannot have any.
        """
        seeds, (arms, _) = self.seed_numbers(), self.arms()
        self._check_folds(len(arms))
        folds = (None,) if self.folds is None else tuple(range(self.folds))
        inner_folds = (None, *range(self.inner_folds or 0))
        return tuple(
            Member(arm.name, seed, fold, self._in_fold(arm.experiment, fold, inner), inner)
            for arm, seed, fold, inner in itertools.product(arms, seeds, folds, inner_folds)
        )

    def check_fields(self) -> None:
        """Raises `UserError` where variants, grid, together or search are not of the kind that they must be."""
        for field in ("variants", "grid", "together"):
            example = EXAMPLES[field]
            if not isinstance(given := getattr(self, field), Mapping):
                raise UserError(f"{field}: a dictionary such as {example} is needed; {given!r} was given.")
            if not given and not isinstance(given, NotGiven):
                raise UserError(
                    f"{field}: it is empty, so there is nothing to compare. Write some, such as {example}, "
                    f"or leave it out."
                )
            if wrong := [name for name in given if not isinstance(name, str)]:
                raise UserError(f"{field}: {wrong[0]!r} is no text; a dictionary such as {example} is needed.")
        from research.ablation.result import CHOSEN  # which comes to this module itself

        taken = (BASELINE, CHOSEN)
        for name, edits in self.variants.items():
            if name in taken or "/" in name or not name.strip():
                raise UserError(
                    f"variants: {name!r} cannot be a name; it must not be empty, hold '/', or be "
                    f"{' or '.join(map(repr, taken))}."
                )
            if not isinstance(edits, Mapping) or not all(isinstance(path, str) for path in edits):
                raise UserError(
                    f"variant {name!r}: a dictionary of edits such as {EDITS} is needed; {edits!r} was given."
                )
        for field, lists in (("grid", self.grid), ("together", self.together)):
            for path, values in lists.items():
                check_values(field, path, values)
        if self.search is not None:
            if not isinstance(self.search, Search):
                raise UserError(
                    f"search: a Search, such as Search(ranges=..., trials=20), is needed; {self.search!r} was given."
                )
            self.search.check()

    def _check_folds(self, arms: int) -> None:
        for name, count in (("folds", self.folds), ("inner_folds", self.inner_folds)):
            if count is not None and (isinstance(count, bool) or not isinstance(count, int) or count < 2):
                raise UserError(f"{name}: a whole number of at least 2 is needed, {count!r} was given.")
        if self.folds is not None and self.baseline.data is None:
            raise UserError("folds: this experiment has no data to divide; leave folds out.")
        if self.inner_folds is None:
            return
        if self.folds is None:
            raise UserError("inner_folds: nested selection is scored on folds. Set folds as well, such as folds=5.")
        if arms < 2:
            raise UserError("inner_folds: there is nothing to choose from but the baseline. Add variants or a grid.")

    def _in_fold(self, experiment: Experiment, fold: int | None, inner: int | None = None) -> Experiment:
        if fold is None:
            return experiment
        edits: dict[str, Any] = {FOLDS: self.folds, FOLD: fold}
        if inner is not None:
            edits |= {INNER_FOLDS: self.inner_folds, INNER_FOLD: inner}
        return replace(experiment, edits)

    def _edits(self) -> Iterator[tuple[str, Mapping[str, Any], bool]]:
        """Name and edits of each variant, and whether the user wrote it out."""
        for name, edits in self.variants.items():
            yield name, edits, True
        rows: list[dict[str, Any]] = []
        if self.grid:
            rows += [dict(zip(self.grid, row, strict=True)) for row in itertools.product(*self.grid.values())]
        if self.together:
            lengths = {path: len(values) for path, values in self.together.items()}
            if len(set(lengths.values())) > 1:
                counts = ", ".join(f"{path} has {count}" for path, count in lengths.items())
                raise UserError(f"together: lists of one length are needed; {counts}.")
            rows += [dict(zip(self.together, row, strict=True)) for row in zip(*self.together.values(), strict=True)]
        if self.search is not None:
            rows += self.search.draw()
        for name, edits in zip(distinct_names(rows), rows, strict=True):
            yield name, edits, False


def _shown(edits: Mapping[str, Any]) -> str:
    return ", ".join(f"{path}={value!r}" for path, value in edits.items()) or "no edits"
