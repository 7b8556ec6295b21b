"""Random and quasi-random search: trials drawn from ranges of fields."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from research.errors import UserError

Sampler = Literal["sobol", "halton", "random"]


@dataclasses.dataclass(frozen=True)
class Uniform:
    """Numbers between two limits."""

    low: float
    high: float

    def at(self, place: float) -> float:
        """The value at ``place`` of the way, 0 to 1."""
        return self.low + place * (self.high - self.low)


@dataclasses.dataclass(frozen=True)
class LogUniform:
    """Numbers between two positive limits, whose logarithms are evenly spread: for rates and strengths."""

    low: float
    high: float

    def at(self, place: float) -> float:
        """The value at ``place`` of the way, 0 to 1."""
        return math.exp(math.log(self.low) + place * (math.log(self.high) - math.log(self.low)))


@dataclasses.dataclass(frozen=True)
class Integers:
    """Whole numbers from ``low`` to ``high``, both included."""

    low: int
    high: int

    def at(self, place: float) -> int:
        """The value at ``place`` of the way, 0 to 1."""
        return min(self.high, self.low + int(place * (self.high - self.low + 1)))


Range = Uniform | LogUniform | Integers | Sequence[Any]
"""A range of numbers, or the values themselves."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Search:
    """Trials drawn from ranges, each a variant of the baseline.

    Attributes:
        ranges: what each field may be, by dotted path.
        trials: how many variants.
        sampler: ``sobol`` or ``halton`` (SciPy's scrambled sequences, which cover the ranges evenly), or ``random``.
        seed: which trials.
    """

    ranges: Mapping[str, Range]
    trials: int
    sampler: Sampler = "sobol"
    seed: int = 0

    def check(self) -> None:
        """Raises `UserError` for a range without values or limits, or a number of trials below 1."""
        if not isinstance(self.ranges, Mapping) or not self.ranges:
            raise UserError(
                f"search.ranges: a dictionary with at least one field and its range is needed, such as "
                f"{{'optimizer.learning_rate': LogUniform(1e-4, 1e-1)}}; {self.ranges!r} was given."
            )
        for name, least in (("trials", 1), ("seed", 0)):
            given = getattr(self, name)
            if not _is_number(given, int) or given < least:
                raise UserError(f"search.{name}: a whole number of at least {least} is needed, {given!r} was given.")
        if self.sampler not in ("sobol", "halton", "random"):
            raise UserError(f"search.sampler: {self.sampler!r} is not known. Allowed: sobol, halton, random.")
        for path, values in self.ranges.items():
            if not isinstance(path, str):
                raise UserError(f"search.ranges: {path!r} is no field; name it by a text such as 'batch_size'.")
            if isinstance(values, Uniform | LogUniform | Integers):
                _check_range(path, values)
            else:
                check_values("search.ranges", path, values)

    def draw(self) -> list[dict[str, Any]]:
        """The edits of each trial."""
        return [
            {path: _value(self.ranges[path], float(x)) for path, x in zip(self.ranges, row, strict=True)}
            for row in self._places()
        ]

    def _places(self) -> Float[np.ndarray, "T D"]:
        """Places in the unit cube."""
        dimensions = len(self.ranges)
        if self.sampler == "random":
            return np.random.default_rng(self.seed).random((self.trials, dimensions))
        from scipy.stats import qmc

        if self.sampler == "halton":
            return qmc.Halton(dimensions, rng=self.seed).random(self.trials)
        # Sobol points are balanced in powers of two only; the first of the next power serve for any number.
        power = math.ceil(math.log2(self.trials)) if self.trials > 1 else 0
        return qmc.Sobol(dimensions, rng=self.seed).random_base2(power)[: self.trials]


def check_values(field: str, path: str, values: Any) -> None:
    """Raises `UserError`, headed by the field of the ablation, where these are no values to choose from."""
    several = isinstance(values, Sequence) and not isinstance(values, str | bytes)
    several = several or (isinstance(values, np.ndarray) and values.ndim > 0)
    if not several or not len(values):
        ranges = "a range such as LogUniform(1e-4, 1e-1), or " if field == "search.ranges" else ""
        what = "has no values" if several else f"is {values!r}"
        raise UserError(f"{field}: {path} {what}; give {ranges}a list of values, such as [1e-4, 1e-3].")


def _check_range(path: str, values: Uniform | LogUniform | Integers) -> None:
    kind = int if isinstance(values, Integers) else int | float
    for limit in (values.low, values.high):
        if not _is_number(limit, kind) or not math.isfinite(limit):
            name = "whole number" if kind is int else "finite number"
            raise UserError(f"search.ranges: {path} has the limit {limit!r}; a {name} is needed.")
    if not values.low < values.high:
        raise UserError(f"search.ranges: {path} goes from {values.low!r} to {values.high!r}; low < high.")
    if isinstance(values, LogUniform) and values.low <= 0:
        raise UserError(f"search.ranges: {path} is LogUniform from {values.low!r}; it must be positive.")


def _is_number(value: Any, kind: Any) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)


def _value(values: Range, place: float) -> Any:
    if isinstance(values, Uniform | LogUniform | Integers):
        return values.at(place)
    return values[min(len(values) - 1, int(place * len(values)))]
