"""`Forecast`: windows of the past with what came after them, cut from series whose readings may be irregular."""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Float32, Float64, Int32, Int64

from research.errors import UserError
from research.origins import Origins
from research.spec import Spec, Static, field


@dataclasses.dataclass(frozen=True)
class Windows:
    """Windows of all series, in the order of the series and of time.

    Attributes:
        values: ``[W, T, C]``, the last step at the window's last reading; NaN where there was no reading.
        targets: ``[W, L]``, the target at each horizon after the last reading.
        series: number of the series that each window is cut from.
        time: when the last reading of each window was, in the series.
        candidate: number of each window among all, those that are left out included.
        gappy: windows that are left out because too many readings of the target are absent from their history.
        unanswered: windows that are left out because the target has no reading at one of the horizons.
    """

    values: Float32[np.ndarray, "W T C"]
    targets: Float32[np.ndarray, "W L"]
    series: Int32[np.ndarray, " W"]
    time: Float64[np.ndarray, " W"]
    candidate: Int32[np.ndarray, " W"]
    gappy: int
    unanswered: int

    def __len__(self) -> int:
        return len(self.series)

    def origins(self, target: int) -> Origins:
        """The last reading of each window, which is one of the variable number ``target``."""
        return Origins(self.series, self.time, self.values[:, -1, target])

    def notes(self) -> tuple[str, ...]:
        """How many windows are left out, where there are any, and why."""
        total = len(self) + self.gappy + self.unanswered
        return tuple(
            f"{count} of {total} windows are left out: {why}"
            for count, why in (
                (self.gappy, "too many readings are absent from their history"),
                (self.unanswered, "there is no reading at a horizon"),
            )
            if count
        )


class Forecast(Spec):
    """What is forecast from what: the last ``history`` readings, and the same variable at the ``horizons`` after them.

    Each reading of the target is the end of a window. Steps lie on a grid back from it, ``interval`` apart; at each
    step the nearest reading of a variable within half an interval counts, and none later than the window's end. So it
    does at the horizons: a window is left out where there is none, and where more than ``gaps`` of the readings of the
    target are absent from the history. Nothing is filled in.
    """

    history: int = field(24, minimum=1, help="steps that are looked back on, that of the last reading included")
    horizons: Static[tuple[float, ...]] = field(
        (30.0, 60.0), above=0, help="how long after the last reading, in the unit of time of the series"
    )
    interval: Static[float] = field(5.0, above=0, help="time between steps, in the unit of time of the series")
    gaps: int = field(0, minimum=0, help="most steps of the history at which the target may be absent")
    stride: int = field(1, minimum=1, help="every how many readings a window ends")

    def validate(self) -> None:
        """Horizons ascend and lie beyond what counts as now; gaps leave something."""
        if not self.horizons or list(self.horizons) != sorted(set(self.horizons)):
            raise UserError(f"forecast.horizons: one or more ascending times are needed, {self.horizons} was given.")
        if self.horizons[0] < self.interval:
            raise UserError(
                f"forecast.horizons: the first, {self.horizons[0]:g}, is nearer than forecast.interval, "
                f"{self.interval:g}. Forecast at least one interval ahead."
            )
        if self.gaps >= self.history:
            raise UserError(
                f"forecast.gaps: {self.gaps} of {self.history} steps may be absent, which leaves none. Set it lower."
            )

    def cut(
        self,
        values: Float32[np.ndarray, "S C"],
        time: Float64[np.ndarray, " S"],
        lengths: Int64[np.ndarray, " N"],
        target: int,
        latest: bool = False,
    ) -> Windows:
        """All windows of series laid end to end.

        Args:
            values: NaN where there was no reading.
            time: of each sample, ascending within each series.
            lengths: samples of each series.
            target: which of the variables is forecast.
            latest: only the window of each series that ends at its last reading; nothing need come after it.
        """
        found: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        for first, length in zip(np.cumsum(lengths) - lengths, lengths, strict=True):
            place = slice(int(first), int(first + length))
            found.append(self._of_one(values[place], time[place], target, latest))
        steps, targets, ends = (np.concatenate(parts) for parts in zip(*found, strict=True))
        series = np.repeat(np.arange(len(found), dtype=np.int32), [len(part[2]) for part in found])
        gappy = np.isnan(steps[:, :, target]).sum(axis=1) > self.gaps
        unanswered = np.isnan(targets).any(axis=1) & ~gappy & (not latest)
        keep = ~gappy & ~unanswered
        return Windows(
            values=steps[keep],
            targets=targets[keep],
            series=series[keep],
            time=ends[keep],
            candidate=np.flatnonzero(keep).astype(np.int32),
            gappy=int(gappy.sum()),
            unanswered=int(unanswered.sum()),
        )

    def _of_one(
        self, values: Float32[np.ndarray, "S C"], time: Float64[np.ndarray, " S"], target: int, latest: bool
    ) -> tuple[Float32[np.ndarray, "W T C"], Float32[np.ndarray, "W L"], Float64[np.ndarray, " W"]]:
        """Steps, targets and ends of the windows of one series, complete or not."""
        there = ~np.isnan(values)
        ends = time[there[:, target]][-1:] if latest else time[there[:, target]][:: self.stride]
        grid = ends[:, None] - self.interval * np.arange(self.history - 1, -1, -1)[None, :]
        steps = np.empty((*grid.shape, values.shape[1]), np.float32)
        for column, known in enumerate(there.T):
            steps[:, :, column] = self._nearest(time[known], values[known, column], grid, ends)
        known = there[:, target]
        ahead = ends[:, None] + np.asarray(self.horizons)[None, :]
        targets = self._nearest(time[known], values[known, target], ahead, np.full(len(ends), np.inf))
        return steps, targets, ends

    def _nearest(
        self,
        time: Float64[np.ndarray, " R"],
        values: Float32[np.ndarray, " R"],
        wanted: Float64[np.ndarray, "W K"],
        latest: Float64[np.ndarray, " W"],
    ) -> Float32[np.ndarray, "W K"]:
        """The reading nearest to each time, none after ``latest``; NaN where none is within half an interval."""
        bounded = np.concatenate([[-np.inf], time, [np.inf]])
        after = np.searchsorted(time, wanted)
        later = bounded[after + 1]
        later = np.where(later > latest[:, None], np.inf, later)
        use_later = later - wanted < wanted - bounded[after]
        distance = np.minimum(later - wanted, wanted - bounded[after])
        # The last bit of a time that was computed must not decide.
        close = distance <= self.interval / 2 * (1 + 1e-9)
        number = np.where(use_later, after, after - 1)
        padded = np.concatenate([values, np.full(1, np.nan, np.float32)])
        return np.where(close, padded[np.where(close, number, -1)], np.float32(np.nan))
