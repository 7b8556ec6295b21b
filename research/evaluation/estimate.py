"""`Estimate`: one number of a report."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Estimate:
    """One number of a report.

    Attributes:
        name: the metric, as in `research.metrics.LARGER_IS_BETTER`, or the column of `Rows`.
        value: over all rows that count; NaN where not defined.
        low: lower limit of the 95 % interval; NaN where there is none.
        high: upper limit.
        n: rows the metric rests on (for a sensitivity the cases, for a label those where it is known).
        patients: patients among these rows, or None where the data has no patient identifiers.
        method: how the interval was found.
    """

    name: str
    value: float
    low: float
    high: float
    n: int
    patients: int | None
    method: str
