"""`Origins`: where forecasts begin."""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Float32, Float64, Int32, Shaped


@dataclasses.dataclass(frozen=True, eq=False)
class Origins:
    """For each row of forecasts, the last reading of the history that they are made from.

    Attributes:
        series: number of the series that the history is cut from, ``[N]``.
        time: when the reading was, in that series, in the task's unit of time.
        value: what was read of the variable that is forecast, in the task's unit; persistence forecasts just this.
    """

    series: Int32[np.ndarray, " N"]
    time: Float64[np.ndarray, " N"]
    value: Float32[np.ndarray, " N"]

    def __len__(self) -> int:
        return len(self.time)

    def of(self, rows: Shaped[np.ndarray, " n"]) -> Origins:
        """Those of some rows."""
        return Origins(self.series[rows], self.time[rows], self.value[rows])
