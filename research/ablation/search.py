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
        """Raises `UserError` for a range without values, or a number of trials below 1."""
        if not self.ranges:
            raise UserError("search.ranges: empty; name at least one field and its range.")
        if self.trials < 1:
            raise UserError(f"search.trials: a whole number of at least 1 is needed, {self.trials!r} was given.")
        if self.sampler not in ("sobol", "halton", "random"):
            raise UserError(f"search.sampler: {self.sampler!r} is not known. Allowed: sobol, halton, random.")
        for path, values in self.ranges.items():
            if isinstance(values, Uniform | LogUniform | Integers):
                if not values.low < values.high:
                    raise UserError(f"search.ranges: {path} goes from {values.low!r} to {values.high!r}; low < high.")
                if isinstance(values, LogUniform) and values.low <= 0:
                    raise UserError(f"search.ranges: {path} is LogUniform from {values.low!r}; it must be positive.")
            elif isinstance(values, str) or not len(values):
                raise UserError(f"search.ranges: {path} has no values; give a range or a list of values.")

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


def _value(values: Range, place: float) -> Any:
    if isinstance(values, Uniform | LogUniform | Integers):
        return values.at(place)
    return values[min(len(values) - 1, int(place * len(values)))]
