"""From predictions to arrays: each metric of each member, what each patient moves it by, and its resamples."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from research import metrics
from research.ablation.statistics.outcomes import Folds, Outcomes, check_same, pooled
from research.errors import UserError, did_you_mean
from research.evaluation import delong
from research.evaluation.intervals import Interval, bootstrap_weights
from research.evaluation.measures import Measured
from research.evaluation.thresholds import choose_own_thresholds, choose_thresholds

MOST_GROUPS = 1000
"""With more patients than these, the jackknife leaves out groups of them."""

_CHUNK_BYTES = 4 * 2**20


@dataclasses.dataclass(frozen=True, eq=False)
class Measurements:
    """The metrics of the members of one variant.

    Attributes:
        name: of the variant.
        seeds: of the members, ``[S]``.
        values: each metric of each seed, ``[S]``; with folds the mean over them.
        moves: what each patient moves it by, ``[K, S]``, as `components` takes it; no entry where not known.
        resampled: its values over bootstrap resamples of the patients, ``[R, S]``; no entry where not made.
        alone: interval of the first seed's value in closed form, where there is one.
        folds: each metric of each seed and fold, ``[S, K]``, with several folds only.
        pooled: each metric of each seed on the pooled predictions of all folds, ``[S]``, likewise.
        patients: number of patients (or series, or rows), 0 where not known.
        unit_name: which of them it is.
    """

    name: str
    seeds: tuple[int, ...]
    values: dict[str, np.ndarray]
    moves: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    resampled: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    alone: dict[str, Interval] = dataclasses.field(default_factory=dict)
    folds: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    pooled: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    patients: int = 0
    unit_name: str = ""


def measure(
    outcomes: Sequence[Outcomes], names: Sequence[str] | None = None, resamples: int = 1000, seed: int = 0
) -> list[Measurements]:
    """The measurements of every variant, all on the same resamples.

    Args:
        outcomes: of the variants, the baseline first.
        names: the metrics that are wanted; None takes all.
        resamples: bootstrap resamples of the patients; 0 makes none.
        seed: which resamples.

    Raises:
        UserError: if the variants did not predict the same, have none of the metrics, or share a name.
    """
    _check(outcomes)
    if not outcomes[0].members:
        return [_without_examples(item, names) for item in outcomes]
    members = [[_measured(item, place) for place in range(len(item.seeds))] for item in outcomes]
    first = members[0][0]
    known = [name for part, name in first[0](np.ones(len(first[0].unit))) if not part]
    wanted = _wanted(known, names)
    points = [np.array([[_points(fold, wanted) for fold in member] for member in row]) for row in members]
    moves, resampled = _moves(members, wanted), _resampled(members, wanted, resamples, seed)
    several = outcomes[0].folds > 1
    found = []
    for place, (item, row) in enumerate(zip(outcomes, members, strict=True)):
        values = points[place].mean(1)  # [S, M], of [S, K, M]
        alone = {} if several else {name: _alone(row[0][0], name, values[0, m]) for m, name in enumerate(wanted)}
        together = np.array([_pooled_points(item, s, wanted) for s in range(len(row))]) if several else None
        found.append(
            Measurements(
                name=item.name,
                seeds=tuple(item.seeds),
                values={name: values[:, m] for m, name in enumerate(wanted)},
                moves={name: np.stack([column[name] for column in moves[place]], axis=1) for name in wanted},
                resampled={name: np.stack([r[name] for r in resampled[place]], axis=1) for name in wanted}
                if resamples
                else {},
                alone={name: interval for name, interval in alone.items() if interval is not None},
                folds={name: points[place][:, :, m] for m, name in enumerate(wanted)} if several else {},
                pooled={} if together is None else {name: together[:, m] for m, name in enumerate(wanted)},
                patients=sum(int(fold.unit.max()) + 1 for fold in first),
                unit_name=first[0].unit_name,
            )
        )
    return found


def _check(outcomes: Sequence[Outcomes]) -> None:
    if not outcomes:
        raise UserError("the ablation has no finished variant; there is nothing to compare.")
    names = [item.name for item in outcomes]
    if len(set(names)) != len(names):
        raise UserError(f"two variants have the same name; those given are {', '.join(names)}. Name each differently.")
    first = outcomes[0]
    for item in outcomes[1:]:
        if bool(item.members) != bool(first.members):
            raise UserError(f"{first.name} and {item.name}: predictions cannot be compared with values of seeds alone.")
        if first.members:
            check_same(first.name, first.members[0], item.name, item.members[0])


def _wanted(known: Sequence[str], names: Sequence[str] | None) -> list[str]:
    for name in names or ():
        if name not in known:
            raise UserError(
                f"metric {name!r} is not among those of these members.{did_you_mean(name, known)} "
                f"They have: {', '.join(known)}."
            )
    return list(dict.fromkeys(names)) if names else list(known)


def _without_examples(item: Outcomes, names: Sequence[str] | None) -> Measurements:
    values = {name: item.values[name] for name in _wanted(list(item.values), names)}
    return Measurements(item.name, tuple(item.seeds), values)


# Points ------------------------------------------------------------------------------------------------------------


def _measured(item: Outcomes, place: int) -> list[Measured]:
    """Of one seed, the folds with their thresholds."""
    return [
        Measured(fold, choose_thresholds(fold, chosen_on)[0], choose_own_thresholds(fold, chosen_on))
        for fold, chosen_on in zip(item.members[place], item.chosen_on[place], strict=True)
    ]


def _points(measured: Measured, wanted: Sequence[str]) -> list[float]:
    found = measured(np.ones(len(measured.unit)), {("", name) for name in wanted})
    return [float(found.get(("", name), np.nan)) for name in wanted]


def _pooled_points(item: Outcomes, place: int, wanted: Sequence[str]) -> list[float]:
    """On the pooled predictions of one seed; decisions are made at the threshold of the fold of each row."""
    folds: Folds = item.members[place]
    pairs = list(zip(folds, item.chosen_on[place], strict=True))
    each = [choose_thresholds(*pair)[0] for pair in pairs], [choose_own_thresholds(*pair) for pair in pairs]
    by_row = [
        {
            name: np.concatenate([np.full(len(f), t[name]) for f, t in zip(folds, found, strict=True)])
            for name in found[0]
        }
        for found in each
    ]
    return _points(Measured(pooled(folds), *by_row), wanted)


def _alone(measured: Measured, name: str, value: float) -> Interval | None:
    return None if np.isnan(value) else measured.closed_interval("", name, value)


# What patients move ------------------------------------------------------------------------------------------------


def _moves(members: list[list[list[Measured]]], wanted: Sequence[str]) -> list[list[dict[str, np.ndarray]]]:
    """Of each variant and seed, the moves of each metric, ``[K]``; those of folds stand below each other."""
    closed = {name for name in wanted if _closed(members[0][0][0], name) is not None}
    found: list[list[dict[str, np.ndarray]]] = [[{} for _ in row] for row in members]
    for fold in range(len(members[0][0])):
        open_names = [name for name in wanted if name not in closed]
        left_out = _left_out(members, fold, open_names) if open_names else None
        for place, row in enumerate(members):
            for s, member in enumerate(row):
                for name in wanted:
                    if name in closed:
                        part = _closed(member[fold], name)
                    else:
                        assert left_out is not None
                        part = _from_jackknife(left_out[place][s][name])
                    earlier = [found[place][s][name]] if fold else []
                    found[place][s][name] = np.concatenate([*earlier, part / len(member)])
    return found


def _closed(measured: Measured, name: str) -> Any:
    """Moves in closed form: of an area under the ROC curve in two classes, and of the concordance."""
    if name == "concordance":
        _, rows = metrics.concordance_moves(measured.prediction[:, 0], measured.targets)
        units = int(measured.unit.max()) + 1
        scale = np.sqrt(units / (units - 1)) if units > 1 else np.nan
        return scale * np.bincount(measured.unit, weights=rows, minlength=units)
    part = measured.areas.get(("", name))
    return None if part is None else area_moves(part, measured.unit)


def area_moves(part: delong.Influence, unit: Int[np.ndarray, " N"]) -> Float[np.ndarray, " K"]:
    """What each unit moves an area under the ROC curve by: products of these sum to `delong.covariance`.

    Where units have several rows, the sums of `delong.covariance` over the classes are one square of everything and
    one more of each class, so that there are three entries a unit.
    """
    units = int(unit.max()) + 1
    sides = (part.positive, ~part.positive)
    if min(int(side.sum()) for side in sides) < 2:
        return np.full(units, np.nan)
    if units == len(unit):
        scales = [np.sqrt(count / (count - 1)) for count in (int(side.sum()) for side in sides)]
        return np.where(part.positive, *scales) * part.moves
    counts = [len(np.unique(unit[side])) for side in sides]
    if min(counts) < 2:
        return np.full(3 * units, np.nan)
    each = [np.bincount(unit, weights=np.where(side, part.moves, 0), minlength=units) for side in sides]
    all_units = units / (units - 1)
    more = [np.sqrt(count / (count - 1) - all_units) * column for count, column in zip(counts, each, strict=True)]
    return np.concatenate([np.sqrt(all_units) * (each[0] + each[1]), *more])


def _left_out(members: list[list[list[Measured]]], fold: int, names: list[str]) -> list[list[dict[str, np.ndarray]]]:
    """Of each variant and seed, each metric with each patient (or group of patients) left out, ``[G]``."""
    return _over_weights(members, fold, names, jackknife_weights(members[0][0][fold].unit))


def jackknife_weights(unit: Int[np.ndarray, " N"], most: int = MOST_GROUPS) -> Iterator[Float[np.ndarray, "g N"]]:
    """Weights that leave out each unit in turn, or each of ``most`` random groups of almost equal numbers of units."""
    units = int(unit.max()) + 1
    groups = min(units, most)
    group = np.random.default_rng(0).permutation(units) % groups if units > groups else np.arange(units)
    chunk = max(1, _CHUNK_BYTES // (8 * len(unit)))
    for first in range(0, groups, chunk):
        left_out = np.arange(first, min(groups, first + chunk))
        yield (group[unit][None, :] != left_out[:, None]).astype(np.float64)


def _from_jackknife(left_out: Float[np.ndarray, " G"]) -> Float[np.ndarray, " G"]:
    """Moves whose squares sum to the jackknife's variance (Efron & Tibshirani 1993, chapter 11)."""
    groups = len(left_out)
    return np.sqrt((groups - 1) / groups) * (left_out.mean() - left_out)


# Resamples ---------------------------------------------------------------------------------------------------------


def _resampled(
    members: list[list[list[Measured]]], wanted: Sequence[str], resamples: int, seed: int
) -> list[list[dict[str, np.ndarray]]]:
    """Of each variant and seed, each metric in each resample of the patients, ``[R]``; with folds within each."""
    if not resamples:
        return []
    found: Any = None
    folds = len(members[0][0])
    for fold in range(folds):
        # Folds hold different patients, whose draws must not be the same ones.
        weights = bootstrap_weights(members[0][0][fold].unit, resamples, seed + 2**20 * fold)
        part = _over_weights(members, fold, list(wanted), weights)
        if found is None:
            found = part
            continue
        for row, more in zip(found, part, strict=True):
            for member, other in zip(row, more, strict=True):
                for name in wanted:
                    member[name] = member[name] + other[name]
    return [[{name: values / folds for name, values in member.items()} for member in row] for row in found]


def _over_weights(
    members: list[list[list[Measured]]], fold: int, names: list[str], chunks: Iterator[np.ndarray]
) -> list[list[dict[str, np.ndarray]]]:
    """Each metric of each member of one fold under each row of weights, which all share."""
    keys = {("", name) for name in names}
    found: list[list[list[dict[str, np.ndarray]]]] = [[[] for _ in row] for row in members]
    for weights in chunks:
        absent = np.full(len(weights), np.nan)
        for row, kept in zip(members, found, strict=True):
            for member, parts in zip(row, kept, strict=True):
                values = member[fold](weights, keys)
                parts.append({name: values.get(("", name), absent) for name in names})
    return [[{n: np.concatenate([part[n] for part in parts]) for n in names} for parts in kept] for kept in found]


def of_seeds(found: Mapping[str, np.ndarray], name: str, chosen: Bool[np.ndarray, " S"] | Int[np.ndarray, " s"]) -> Any:
    """The columns of some seeds, or None where there are none."""
    return found[name][:, chosen] if name in found else None
