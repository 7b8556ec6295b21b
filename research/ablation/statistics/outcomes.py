"""`Outcomes`: what the members of one variant left behind."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from research.errors import UserError
from research.evaluation import Predictions
from research.evaluation.comparison import in_order, same_examples
from research.origins import Origins

Folds = tuple[Predictions, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class Outcomes:
    """The finished members of one variant, one a seed (with folds: one a seed and fold).

    A member that stopped early counts; one that failed is left out, with its seed. The constructor accepts one
    `Predictions` a seed, or a sequence of them, one a fold; it keeps sequences, in the order of the examples.

    Attributes:
        name: of the variant.
        seeds: of the members, ``[S]``.
        test: of each seed, the predictions for the test split, or those for each held-out fold; None where the
            algorithm has no examples.
        validation: of each seed and fold, the predictions on which its thresholds are chosen; None where there are
            none, and 0.5 is then the threshold.
        values: metrics of each seed, each ``[S]``, where there are no predictions; NaN where not defined.

    Raises:
        UserError: if the parts do not fit each other, or a patient or an example is in two folds.
    """

    name: str
    seeds: Sequence[int]
    test: Sequence[Predictions | Sequence[Predictions]] | None = None
    validation: Sequence[Predictions | Sequence[Predictions]] | None = None
    values: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        seeds = tuple(int(seed) for seed in self.seeds)
        if not seeds or len(set(seeds)) != len(seeds):
            raise UserError(f"{self.name}: one or more different seeds are needed; {list(seeds)} were given.")
        if (self.test is None) != bool(self.values):
            raise UserError(f"{self.name}: give either predictions (`test`) or metrics of each seed (`values`).")
        object.__setattr__(self, "seeds", seeds)
        for part in ("test", "validation"):
            if (given := getattr(self, part)) is not None:
                object.__setattr__(self, part, self._sequences(part, given))
        object.__setattr__(self, "values", self._columns())
        if self.members:
            self._check_folds()

    @property
    def members(self) -> tuple[Folds, ...]:
        """The test predictions of each seed, one set a fold; none where the algorithm has no examples."""
        return self.test or ()  # pyright: ignore[reportReturnType]

    @property
    def chosen_on(self) -> tuple[tuple[Predictions | None, ...], ...]:
        """The validation predictions of each seed and fold, None where there are none."""
        return self.validation or ((None,) * self.folds,) * len(self.seeds)  # pyright: ignore[reportReturnType]

    @property
    def folds(self) -> int:
        """Number of folds; 1 without cross-validation."""
        return len(self.members[0]) if self.members else 1

    def _sequences(self, part: str, given: Any) -> tuple[Folds, ...]:
        members = tuple((item,) if isinstance(item, Predictions) else tuple(item) for item in given)
        counts = {len(member) for member in members}
        if len(members) != len(self.seeds) or len(counts) != 1 or 0 in counts:
            raise UserError(
                f"{self.name}: {part}: one set of predictions is needed for each of {len(self.seeds)} seeds and for "
                f"each fold, of which all seeds have the same number; {[len(member) for member in members]} were given."
            )
        return tuple(tuple(in_order(fold) for fold in member) for member in members)

    def _columns(self) -> dict[str, np.ndarray]:
        columns = {name: np.asarray(column, np.float64) for name, column in self.values.items()}
        for name, column in columns.items():
            if column.shape != (len(self.seeds),) or np.isinf(column).any():
                raise UserError(
                    f"{self.name}: values of {name!r}: {len(self.seeds)} numbers are needed, one a seed, finite or "
                    f"NaN; shape {column.shape} was given."
                )
        return columns

    def _check_folds(self) -> None:
        if len(self.chosen_on[0]) != self.folds:
            raise UserError(
                f"{self.name}: validation: predictions of {self.folds} folds are needed, as for the test; "
                f"{len(self.chosen_on[0])} were given."
            )
        first = self.members[0]
        if any(fold.targets is None for fold in first):
            raise UserError(f"{self.name}: the predictions have no targets, so there is nothing to compare them with.")
        for seed, member in zip(self.seeds, self.members, strict=True):
            check_same(f"{self.name}, seed {self.seeds[0]}", first, f"{self.name}, seed {seed}", member)
        for what, column in (("patient", [fold.patient for fold in first]), ("example", [f.example for f in first])):
            if column[0] is None:
                continue
            each = np.concatenate([np.unique(np.asarray(values)) for values in column])
            names, counts = np.unique(each, return_counts=True)
            if (counts > 1).any():
                raise UserError(
                    f"{self.name}: {what} {names[counts > 1][0]} is in {counts.max()} folds; each {what} must be held "
                    f"out once. Make folds by patient, and number the examples over all of them."
                )


def check_same(name: str, first: Folds, other_name: str, other: Folds) -> None:
    """Whether two members predicted the same; raises `UserError` naming both if not."""
    if len(first) != len(other):
        raise UserError(f"{name} has {len(first)} folds and {other_name} {len(other)}; only equal folds are paired.")
    for fold, (a, b) in enumerate(zip(first, other, strict=True)):
        if a.task != b.task or not same_examples(a, b):
            where = f" in fold {fold}" if len(first) > 1 else ""
            raise UserError(
                f"{name} and {other_name} hold other examples, patients, targets or tasks{where}; members of an "
                f"ablation are compared on the same test examples. Run both on the same data."
            )


def pooled(folds: Folds) -> Predictions:
    """The predictions of all folds as one set, in which every example is predicted once, out of its fold.

    Scores of several models stand side by side there; a metric that ranks them suffers where their scales differ
    (Airola et al., Computational Statistics & Data Analysis 2011).
    """

    def joined(name: str) -> np.ndarray | None:
        columns = [getattr(fold, name) for fold in folds]
        return None if any(column is None for column in columns) else np.concatenate(columns)

    starts = [fold.origins for fold in folds if fold.origins is not None]
    origins = None
    if len(starts) == len(folds):
        origins = Origins(*(np.concatenate([getattr(s, n) for s in starts]) for n in ("series", "time", "value")))
    columns = ("example", "prediction", "targets", "patient", "loss", "weight", "step", "quantiles")
    held: dict[str, Any] = {name: joined(name) for name in columns}
    return dataclasses.replace(folds[0], origins=origins, **held)
