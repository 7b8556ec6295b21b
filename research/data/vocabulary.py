"""`Vocabulary`: codes of training patients become numbers; what was never seen in training becomes one of them."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Int32, Int64

PADDING, UNKNOWN = 0, 1
"""Numbers that stand for no event, and for a code that is not in the vocabulary."""

FIRST = 2
"""Number of the first code."""


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """Codes of a training split, the most frequent first, with how their numeric values are cut or scaled.

    A code whose values are cut into bins has a number of its own for each bin, and one for events without a value.

    Attributes:
        codes: code number ``FIRST + i`` is the i-th entry: ``(code, bin)``, with bin -1 for events without a value, or
            all events where values are not cut.
        edges: per code the inner edges between its bins; only codes that are cut are in it.
        moments: per code mean and deviation of its values in train; only codes with values are in it.
    """

    codes: tuple[tuple[str, int], ...]
    edges: dict[str, tuple[float, ...]]
    moments: dict[str, tuple[float, float]]

    def __len__(self) -> int:
        """How many numbers there are, padding and unknown among them."""
        return FIRST + len(self.codes)

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return {
            "codes": [list(entry) for entry in self.codes],
            "edges": {code: list(edges) for code, edges in self.edges.items()},
            "moments": {code: list(pair) for code, pair in self.moments.items()},
        }

    @classmethod
    def from_json(cls, source: dict[str, Any]) -> Vocabulary:
        """What `to_json` wrote."""
        return cls(
            tuple((code, int(place)) for code, place in source["codes"]),
            {code: tuple(edges) for code, edges in source["edges"].items()},
            {code: (float(mean), float(deviation)) for code, (mean, deviation) in source["moments"].items()},
        )

    def numbered(
        self, codes: Int32[np.ndarray, " S"], names: tuple[str, ...], values: Float32[np.ndarray, " S"]
    ) -> Int32[np.ndarray, " S"]:
        """The number of each event.

        Args:
            codes: numbers into ``names``.
            names: codes as the source writes them.
            values: numeric value of each event; NaN where it has none.
        """
        number = {entry: FIRST + place for place, entry in enumerate(self.codes)}
        bins = self._bins(codes, names, values)
        most = max((len(edges) for edges in self.edges.values()), default=0) + 1
        table = np.full((len(names), most + 1), UNKNOWN, np.int32)
        for place, name in enumerate(names):
            for which in range(-1, len(self.edges.get(name, ())) + 1 if name in self.edges else 0):
                table[place, which + 1] = number.get((name, which), UNKNOWN)
        return table[codes, bins + 1]

    def scaled(
        self, codes: Int32[np.ndarray, " S"], names: tuple[str, ...], values: Float32[np.ndarray, " S"]
    ) -> Float32[np.ndarray, " S"]:
        """Values less the mean of their code in train, over its deviation; NaN where there is none."""
        pairs = np.asarray([self.moments.get(name, (np.nan, 1.0)) for name in names]).reshape(-1, 2)
        return ((values - pairs[codes, 0]) / pairs[codes, 1]).astype(np.float32)

    def _bins(
        self, codes: Int32[np.ndarray, " S"], names: tuple[str, ...], values: Float32[np.ndarray, " S"]
    ) -> Int32[np.ndarray, " S"]:
        bins = np.full(len(codes), -1, np.int32)
        order, ends = _by_code(codes, len(names))
        for place, name in enumerate(names):
            if name in self.edges:
                events = order[ends[place] : ends[place + 1]]
                events = events[~np.isnan(values[events])]
                bins[events] = np.searchsorted(np.asarray(self.edges[name]), values[events], side="right")
        return bins


def build_vocabulary(
    codes: Int32[np.ndarray, " S"],
    names: tuple[str, ...],
    values: Float32[np.ndarray, " S"],
    train: Bool[np.ndarray, " S"],
    size: int,
    fewest: int,
    bins: int | None,
) -> Vocabulary:
    """The vocabulary of the training events.

    Args:
        codes: numbers into ``names``, of all events.
        names: codes as the source writes them.
        values: numeric value of each event; NaN where it has none.
        train: which events are of training patients; no other is looked at.
        size: most numbers, padding and unknown among them; rarer codes are left out.
        fewest: events in train that a code needs.
        bins: into how many quantiles the values of a code are cut; None: not at all.
    """
    seen, numbers = codes[train], values[train]
    edges: dict[str, tuple[float, ...]] = {}
    moments: dict[str, tuple[float, float]] = {}
    order, ends = _by_code(seen, len(names))
    for place, name in enumerate(names):
        known = numbers[order[ends[place] : ends[place + 1]]].astype(np.float64)
        known = known[~np.isnan(known)]
        if not len(known):
            continue
        deviation = float(known.std())
        moments[name] = (float(known.mean()), deviation if deviation > 1e-6 * abs(float(known.mean())) else 1.0)
        if bins is not None:
            found = np.unique(np.quantile(known, np.linspace(0, 1, bins + 1)[1:-1]))
            edges[name] = tuple(float(edge) for edge in found if edge > known.min())
    whole = Vocabulary((), edges, moments)
    which = whole._bins(seen, names, numbers)
    pairs, counts = np.unique(np.stack([seen, which]), axis=1, return_counts=True)
    # The most frequent first; of equally frequent ones the first by name, so that nothing hangs on the source's order.
    entries = sorted(
        ((-int(count), names[code], int(place)) for (code, place), count in zip(pairs.T, counts, strict=True))
    )
    kept = [(name, place) for count, name, place in entries if -count >= fewest][: max(size - FIRST, 0)]
    return Vocabulary(tuple(kept), edges, moments)


def _by_code(codes: Int32[np.ndarray, " S"], count: int) -> tuple[Int64[np.ndarray, " S"], Int64[np.ndarray, " ends"]]:
    """Events in the order of their codes, and where each code begins among them, and the end."""
    order = np.argsort(codes, kind="stable")
    return order, np.searchsorted(codes[order], np.arange(count + 1))
