"""`SeriesInputs`: inputs of one split, put together from series laid end to end when they are asked for."""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Bool, Float32, Int32, Int64, Shaped

from research.data.series import Series


@dataclasses.dataclass(frozen=True, eq=False)
class SeriesInputs:
    """Inputs of one split, put together from series laid end to end when they are asked for.

    Attributes:
        values: ``[S, C]`` of all splits, gaps filled as far as they are.
        observed: ``[S, C]``; None where that is where ``values`` is not NaN.
        time: ``[S]``; None where samples are evenly spaced.
        static: ``[n, D]`` of the split; None where there is nothing of the kind.
        starts: where each series of the split begins.
        lengths: samples of each.
        longest: steps of what is read.
    """

    values: Shaped[np.ndarray, "S C"]
    observed: Bool[np.ndarray, "S C"] | None
    time: Float32[np.ndarray, " S"] | None
    static: Float32[np.ndarray, "n D"] | None
    starts: Int64[np.ndarray, " n"]
    lengths: Int32[np.ndarray, " n"]
    longest: int

    @classmethod
    def of(
        cls, series: Series, imputed: Shaped[np.ndarray, "S C"], longest: int, rows: Shaped[np.ndarray, " n"]
    ) -> SeriesInputs:
        """Inputs of the series ``rows``."""
        carried = imputed is not series.values
        static = None if series.static is None else series.static[rows]
        return cls(
            imputed,
            series.observed() if carried else None,
            series.time,
            static,
            series.starts[rows],
            series.lengths[rows],
            longest,
        )

    def __len__(self) -> int:
        return len(self.lengths)

    def read(self, positions: Shaped[np.ndarray, " B"]) -> dict[str, np.ndarray]:
        """Inputs of the series at ``positions``, filled up with zeros to ``longest`` steps."""
        positions = np.asarray(positions)
        lengths, steps = self.lengths[positions], np.arange(self.longest)
        beyond = steps[None, :] >= lengths[:, None]
        place = np.minimum(self.starts[positions][:, None] + steps[None, :], len(self.values) - 1)

        def gathered(samples: np.ndarray) -> np.ndarray:
            found = samples[place]
            found[beyond] = 0
            return found

        found = {"values": gathered(self.values), "length": lengths}
        if self.observed is not None:
            found["observed"] = gathered(self.observed)
        if self.time is not None:
            found["time"] = gathered(self.time)
        if self.static is not None:
            found["static"] = self.static[positions]
        return found
