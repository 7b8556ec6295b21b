"""How well a risk ranks the times to an event, where follow-up may end before it."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from jaxtyping import Float, Int, Num, Shaped

from research.metrics.arrays import prepare, ratio, running


def concordance(
    risk: Float[Any, " N"], targets: Num[Any, "N 2"], weights: Shaped[Any, "*batch N"] | None = None
) -> Float[Any, "*batch"]:
    """Chance that of two patients the one whose event is known to come first has the higher risk, ties one half.

    Harrell et al., "Evaluating the yield of medical tests", JAMA 1982. Two patients are compared where the one followed
    for less time had the event; of two with the same time, where one had it and the other was censored, who counts as
    the later; not where both had it at once. So do scikit-survival and lifelines. NaN where no two can be compared or a
    risk that counts is NaN.

    Args:
        risk: larger means an earlier event; any scale.
        targets: time, and 1 for the event or 0 for censored.
        weights: see the module.
    """
    xp, counted, risk, targets = prepare(weights, risk, targets)
    moment, event = _moments(xp, targets), targets[:, 1]
    first = counted * xp.broadcast_to(event, counted.shape)
    below = _later_and_lower(xp, moment, _ranks(xp, risk), counted)
    area = ratio(xp, (first * below).sum(-1), (first * _later(xp, moment, counted)).sum(-1))
    return xp.where(xp.isnan(risk).any(), xp.nan, area)


def concordance_moves(
    risk: Float[np.ndarray, " N"], targets: Num[np.ndarray, "N 2"]
) -> tuple[float, Float[np.ndarray, " N"]]:
    """The concordance, and its influence function: how far it moves with the weight of each row, in sum 0.

    It is a ratio of two sums over pairs; the squares of its derivatives give its variance (the infinitesimal jackknife;
    of such a pair of U-statistics the same as Kang et al., Statistics in Medicine 2015). All zero where it is not
    defined.
    """
    _, _, risk, targets = prepare(None, risk, targets)
    moment, event, rank = _moments(np, targets), targets[:, 1], _ranks(np, risk)
    everyone = np.ones(len(risk))
    # Each row as the earlier of a pair, and as the later one: the same sums with time and risk turned round.
    agreeing = event * _later_and_lower(np, moment, rank, everyone)
    agreeing = agreeing + _later_and_lower(np, moment.max() - moment, rank.max() - rank, event)
    pairs = event * _later(np, moment, everyone) + _later(np, moment.max() - moment, event)
    if not pairs.any():
        return np.nan, np.zeros(len(risk))
    area = agreeing.sum() / pairs.sum()
    return float(area), (agreeing - area * pairs) / (pairs.sum() / 2)


def _moments(xp: Any, targets: Any) -> Int[Any, " N"]:
    """Numbers in the order in which things happened: of one time, first the events and then the censored."""
    time, censored = targets[:, 0], targets[:, 1] != 1
    order = xp.lexsort((censored, time))
    new = (xp.diff(time[order]) != 0) | (xp.diff(censored[order].astype(np.int32)) != 0)
    return _numbered(xp, new)[xp.argsort(order)]


def _ranks(xp: Any, values: Any) -> Int[Any, " N"]:
    """Numbers in ascending order, equal for equal values."""
    order = xp.argsort(values)
    return _numbered(xp, xp.diff(values[order]) != 0)[xp.argsort(order)]


def _numbered(xp: Any, new: Any) -> Int[Any, " N"]:
    """Number of each run, where ``new`` says of every entry but the first whether it begins one."""
    return xp.concatenate([xp.zeros(1, np.int32), xp.cumsum(new.astype(np.int32)).astype(np.int32)])


def _later(xp: Any, moment: Any, weights: Any) -> Float[Any, "*batch N"]:
    """Weight of the rows of later moments than that of each row."""
    order = xp.argsort(moment)
    ordered = moment[order]
    sums = running(xp, xp.take(weights, order, axis=-1))
    return sums[..., -1:] - xp.take(sums, xp.searchsorted(ordered, moment, side="right"), axis=-1)


def _later_and_lower(xp: Any, moment: Any, rank: Any, weights: Any) -> Float[Any, "*batch N"]:
    """Weight of the rows of later moments and lower ranks than those of each row, equal ranks counting one half.

    O(N log N): a moment is later where, at the highest binary digit in which the two differ, it has the 1. Digit by
    digit, rows that agree in all higher ones are put in order of rank, and running sums over those with a 1 tell each
    row with a 0 what lies below it.
    """
    by_rank = xp.argsort(rank)
    moment, rank = moment[by_rank], rank[by_rank]
    weights = xp.take(weights, by_rank, axis=-1)

    def add(digit: Any, found: Any) -> Any:
        higher = moment >> (digit + 1)
        order = xp.argsort(higher, stable=True)
        group, place = higher[order], rank[order]
        one = ((moment[order] >> digit) & 1).astype(weights.dtype)
        ties = _numbered(xp, (xp.diff(group) != 0) | (xp.diff(place) != 0))
        sums = running(xp, xp.take(weights, order, axis=-1) * xp.broadcast_to(one, weights.shape))
        start = xp.take(sums, xp.searchsorted(group, group, side="left"), axis=-1)
        lower, upper = (xp.take(sums, xp.searchsorted(ties, ties, side=side), axis=-1) for side in ("left", "right"))
        below = ((lower + upper) / 2 - start) * xp.broadcast_to(1 - one, weights.shape)
        return found + xp.take(below, xp.argsort(order), axis=-1)

    digits = max(1, (len(moment) - 1).bit_length())
    found = xp.zeros_like(weights)
    if xp is np:
        for digit in range(digits):
            found = add(digit, found)
    else:
        # One digit is compiled and the program goes through them.
        found = jax.lax.fori_loop(0, digits, add, found)
    return xp.take(found, xp.argsort(by_rank), axis=-1)
