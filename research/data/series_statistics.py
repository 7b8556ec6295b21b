"""What is taken from the training series: means and deviations, ranges, and which variables tell nothing."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Shaped

from research.data.series import Range, Series
from research.spec import Spec, field


class Statistics(Spec):
    """What is taken from the training series and their source, as numbers that the compiled step is given."""

    mean: tuple[float, ...] = field(help="of each variable over all that was observed in train, in its unit")
    deviation: tuple[float, ...] = field(above=0, help="standard deviation likewise; 1 where a variable is constant")
    static_mean: tuple[float, ...] = field((), help="of each static descriptor")
    static_deviation: tuple[float, ...] = field((), above=0, help="standard deviation likewise")
    unit: float = field(1.0, above=0, help="units of a stored number")
    interval: float = field(1.0, above=0, help="time between samples where they are evenly spaced")


def statistics_of(series: Series, train: Bool[np.ndarray, " N"]) -> Statistics:
    """Means and deviations over what was observed in the training series."""
    rows = np.repeat(train, series.lengths)
    mean, deviation = _moments(series.values, rows, series.scale)
    static: tuple[tuple[float, ...], ...] = ((), ())
    if series.static is not None:
        static = _moments(series.static, train, 1.0)
    return Statistics(
        mean=mean,
        deviation=deviation,
        static_mean=static[0],
        static_deviation=static[1],
        unit=series.scale,
        interval=series.interval,
    )


def _moments(
    values: Shaped[np.ndarray, "S C"], rows: Bool[np.ndarray, " S"], unit: float
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    means, deviations = [], []
    for column in values.T:
        known = column[rows].astype(np.float64) * unit
        known = known[~np.isnan(known)]
        means.append(float(known.mean()) if len(known) else 0.0)
        deviation = float(known.std()) if len(known) else 0.0
        # What is left of a constant is rounding: it must not be blown up to a deviation of 1.
        deviations.append(deviation if deviation > 1e-6 * abs(means[-1]) else 1.0)
    return tuple(means), tuple(deviations)


def ranges_of(values: Shaped[np.ndarray, "S C"], rows: Bool[np.ndarray, " S"], unit: float) -> tuple[Range | None, ...]:
    """Least and greatest of what was observed of each variable."""
    found: list[Range | None] = []
    for column in values.T:
        known = column[rows]
        known = known[~np.isnan(known)] if known.dtype.kind == "f" else known
        found.append((float(known.min()) * unit, float(known.max()) * unit) if len(known) else None)
    return tuple(found)


def uninformative(series: Series, train: Bool[np.ndarray, " N"]) -> Iterator[str]:
    """Variables that are never observed, or constant, in train."""
    rows = np.repeat(train, series.lengths)
    for variable, column in zip(series.variables, series.values.T, strict=True):
        known = column[rows].astype(np.float32)
        known = known[~np.isnan(known)]
        if not len(known):
            yield f"{variable.name} is never observed in train and carries no information: it is always 0."
        elif known.min() == known.max():
            yield f"{variable.name} is constant in train and carries no information."
