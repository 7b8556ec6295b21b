"""How many seeds would settle a difference that these do not."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import scipy.special

from research.ablation.statistics.contrasts import Difference
from research.ablation.statistics.intervals import Reference
from research.evaluation.intervals import LEVEL

MOST_SEEDS = 1000
POWER = 0.8
FINITE_SEEDS = 10**6
"""Where the degrees of freedom of unlimited seeds are as good as unlimited."""


class Settling(NamedTuple):
    """What it would take to settle one difference.

    Attributes:
        variant: name of the variant, empty where there is nothing to settle.
        metric: name of the metric.
        seeds: number of seeds in all; None where no number would do, or it cannot be known.
        more: number of seeds besides those there are; None likewise.
        patients: how many times as many test patients there would have to be, with any number of seeds, where the
            patients alone make it impossible; else None.
        text: one line that says so.
    """

    variant: str
    metric: str
    seeds: int | None
    more: int | None
    patients: float | None
    text: str


def seeds_needed(found: Sequence[Difference], power: float = POWER) -> Settling:
    """How many more seeds would settle the largest difference that is undecided, were it as large as it looks.

    With S seeds its standard error is ``sqrt(seed variance / S + shared variance)``. It is settled where the chance
    to find it significant, at the level that Holm's correction leaves for the first of the undecided, is ``power``.

    Args:
        found: differences of one metric, corrected.
        power: that chance.
    """
    open_ones = [item for item in found if not item.decided]
    undecided = [item for item in open_ones if abs(item.difference) > 0]
    if not undecided:
        return _nothing_to_settle(found, open_ones)
    item = max(undecided, key=lambda each: abs(each.difference))
    parts, size = item.parts, abs(item.difference)
    named = f"{item.variant} ({item.metric} {item.difference:+.3g})"
    if parts.seeds < 2:
        text = f"{named} is undecided; with one seed it cannot be told how many would settle it. Run 3 or more."
        return Settling(item.variant, item.metric, None, None, None, text)
    level = (1 - LEVEL) / max(1, sum(each.p_value is not None for each in open_ones))
    chance = float(scipy.special.ndtri(power))

    def settled(seeds: float) -> bool:
        error = math.sqrt(parts.seed_variance / seeds)
        patients = math.sqrt(parts.patient_variance(seeds))
        if error + patients <= 0:
            return True
        about = Reference(error, min(seeds, FINITE_SEEDS) - 1, patients, max(1.0, parts.carriers))
        return size >= about.half_width(1 - level) + chance * math.hypot(error, patients)

    unlimited = parts.shared_variance * (float(scipy.special.ndtri(1 - level / 2)) + chance) ** 2
    if not settled(math.inf):
        times = unlimited / size**2
        text = f"{named} is undecided, and no number of seeds would settle it: the patients decide."
        if times > 1:
            text += f" About {times:.1f} times as many test patients would be needed."
        return Settling(item.variant, item.metric, None, None, times if times > 1 else None, text)
    low, high = parts.seeds, MOST_SEEDS
    if not settled(high):
        text = f"{named} is undecided; more than {MOST_SEEDS} seeds would be needed: it hardly matters."
        return Settling(item.variant, item.metric, None, None, None, text)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if settled(middle) else (middle + 1, high)
    more = max(1, low - parts.seeds)
    text = (
        f"{named} is undecided; about {more} more seed{'s' * (more != 1)} ({parts.seeds + more} in all) would settle "
        f"it, if it is as large as it looks."
    )
    return Settling(item.variant, item.metric, parts.seeds + more, more, None, text)


def _nothing_to_settle(found: Sequence[Difference], open_ones: Sequence[Difference]) -> Settling:
    """Where there is no difference of a size that seeds could settle: all decided, exactly 0 or not defined."""
    if not open_ones:
        metric = found[0].metric if found else ""
        nothing = f"{metric}: every difference is decided" if found else "there are no differences"
        return Settling("", metric, 0, 0, None, f"{nothing}; no more seeds are needed.")
    metric = open_ones[0].metric
    zero = ", ".join(item.variant for item in open_ones if item.difference == 0)
    undefined = ", ".join(item.variant for item in open_ones if math.isnan(item.difference))
    what = [f"the difference of {zero} is exactly 0"] if zero else []
    what += [f"the difference of {undefined} is not defined"] if undefined else []
    text = f"{metric}: {' and '.join(what)}, so it cannot be told how many seeds would settle it."
    return Settling("", metric, None, None, None, text)
