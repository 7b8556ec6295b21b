"""From outcomes to the numbers of an ablation's table: each variant, each difference, and what to know of them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from research.ablation.statistics.bootstrap import hierarchical_interval
from research.ablation.statistics.components import Components, components
from research.ablation.statistics.contrasts import Difference, differences
from research.ablation.statistics.crossvalidation import OverFolds, over_folds
from research.ablation.statistics.intervals import UNIT_SCALE, mean_interval
from research.ablation.statistics.measuring import Measurements, measure
from research.ablation.statistics.outcomes import Outcomes
from research.ablation.statistics.planning import Settling, seeds_needed
from research.ablation.statistics.profiles import interquartile_mean
from research.ablation.statistics.tests_over_seeds import holm, smallest_p
from research.errors import UserError, did_you_mean
from research.evaluation.intervals import Interval
from research.evaluation.report import FEW_UNITS
from research.metrics import LARGER_IS_BETTER

FEW_CARRIERS = 10
"""Where fewer patients carry the variance, intervals may hold the truth less often than 95 %."""

FEW_NEAR_BOUND = 20
"""The same for metrics within 0.02 of 1, whose differences are skewed."""


@dataclasses.dataclass(frozen=True)
class Summary:
    """One metric of one variant over its seeds.

    Attributes:
        variant: name of the variant.
        metric: name of the metric.
        seeds: number of seeds in which it is defined.
        values: of each seed of the variant; NaN where not defined.
        mean: over the seeds; of folds the mean of the means over folds.
        deviation: standard deviation over seeds; NaN for one seed.
        interquartile_mean: over the seeds.
        low: lower limit of the 95 % interval of the mean for new seeds and new patients; NaN where there is none.
        high: upper limit.
        method: how it was found.
        parts: the variance components: ``parts.seed_deviation`` stands beside ``parts.data_deviation``.
        bootstrap: interval of the hierarchical bootstrap, for comparison.
        folds: with folds, what each gave; else None.
    """

    variant: str
    metric: str
    seeds: int
    values: tuple[float, ...]
    mean: float
    deviation: float
    interquartile_mean: float
    low: float
    high: float
    method: str
    parts: Components
    bootstrap: Interval
    folds: OverFolds | None


@dataclasses.dataclass(frozen=True)
class Analysis:
    """The statistics of one ablation; the first variant is the baseline.

    Attributes:
        variants: names, the baseline first.
        metrics: names.
        summaries: of each variant and metric.
        differences: of each variant but the first, and metric.
        settling: of each metric that is tested, what would settle the largest undecided difference.
        patients: number of test patients (or series, or rows); 0 where there are no examples.
        unit_name: which of them it is; empty likewise.
        notes: what a reader must know to read the numbers.
        warnings: reasons to distrust some of them.
        selected: the variant that was chosen by its test value, empty if none was; see `mark_selected`.
        split: which split the metrics are of.
    """

    variants: tuple[str, ...]
    metrics: tuple[str, ...]
    summaries: tuple[Summary, ...]
    differences: tuple[Difference, ...]
    settling: tuple[Settling, ...]
    patients: int
    unit_name: str
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    selected: str = ""
    split: str = "test"

    @property
    def resampled(self) -> bool:
        """Whether there are intervals of the hierarchical bootstrap."""
        return any(not math.isnan(item.bootstrap.low) for item in self.summaries)

    def summary(self, variant: str, metric: str) -> Summary:
        """One of the summaries; raises `UserError` naming what there is."""
        self._check(variant, metric)
        return next(item for item in self.summaries if (item.variant, item.metric) == (variant, metric))

    def difference(self, variant: str, metric: str) -> Difference:
        """One of the differences; raises `UserError` naming what there is."""
        self._check(variant, metric)
        if variant == self.variants[0]:
            raise UserError(f"{variant!r} is the baseline, which has no difference to itself.")
        return next(item for item in self.differences if (item.variant, item.metric) == (variant, metric))

    def _check(self, variant: str, metric: str) -> None:
        for what, given, known in (("variant", variant, self.variants), ("metric", metric, self.metrics)):
            if given not in known:
                raise UserError(
                    f"this ablation has no {what} {given!r}.{did_you_mean(given, known)} It has: {', '.join(known)}."
                )


def analyse(
    outcomes: Sequence[Outcomes],
    metrics: Sequence[str] | None = None,
    tested: Sequence[str] | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> Analysis:
    """Every number of an ablation's table.

    Args:
        outcomes: of the variants, the baseline first.
        metrics: those of the table; None takes all.
        tested: those whose differences get a p-value, the others an interval only; None tests all. Holm's correction
            goes over all variants and all of these, so that naming the one or two that matter keeps it mild.
        resamples: of the hierarchical bootstrap, which is for comparison only; 0 leaves it out.
        seed: which resamples; the same seed gives the same numbers.

    Raises:
        UserError: if the variants did not predict the same, have none of the metrics, or share a name.
    """
    if resamples < 0:
        raise UserError(f"resamples: 0 or more is needed, {resamples} was given; 1000 is usual.")
    found = measure(outcomes, metrics, resamples, seed)
    names = tuple(found[0].values)
    for item in found[1:]:
        if missing := [name for name in names if name not in item.values]:
            raise UserError(f"{item.name} has no metric {missing[0]!r}, which {found[0].name} has.")
    summaries = tuple(_summary(item, name, seed) for item in found for name in names)
    of_interest = names if tested is None else tuple(tested)
    for name in of_interest:
        if name not in names:
            raise UserError(f"tested: {name!r} is not among the metrics of the table, which are {', '.join(names)}.")
    every = [item for name in names for item in differences(name, found[0], found[1:], seed)]
    contrasts = _corrected([d if d.metric in of_interest else dataclasses.replace(d, p_value=None) for d in every])
    analysis = Analysis(
        variants=tuple(item.name for item in found),
        metrics=names,
        summaries=summaries,
        differences=contrasts,
        settling=tuple(seeds_needed([d for d in contrasts if d.metric == name]) for name in of_interest if contrasts),
        patients=found[0].patients,
        unit_name=found[0].unit_name,
    )
    notes = _notes(analysis, found)
    if analysis.resampled:
        notes += (
            f"bootstrap: seeds and patients drawn anew {resamples} times (hierarchical), for comparison; its intervals "
            f"are too narrow over few seeds",
        )
    return dataclasses.replace(analysis, notes=notes, warnings=_warnings(analysis, found))


def mark_selected(
    analysis: Analysis, metric: str, variant: str | None = None, among: Sequence[str] | None = None
) -> Analysis:
    """The same table, marked: one of its rows was chosen because its test value was the best.

    The value of such a row is too good: part of it is the luck of these patients and seeds, the more so the more rows
    there were to choose from. Its interval does not know of the choice.

    Args:
        analysis: the table.
        metric: by whose mean on the test data it was chosen.
        variant: the row; the best by default, or none, with a note, where it is not known what is better.
        among: the rows of which one was chosen; None for all. What nested selection came to is none of them.

    Raises:
        UserError: if there is no such metric or variant, or nothing to choose from.
    """
    rows = {name: analysis.summary(name, metric).mean for name in (analysis.variants if among is None else among)}
    defined = {name: value for name, value in rows.items() if not math.isnan(value)}
    if not defined:
        raise UserError(f"{metric} is not defined for any variant, so none is the best.")
    if variant is not None:
        chosen = analysis.summary(variant, metric).variant
    elif (larger := LARGER_IS_BETTER.get(metric)) is not None:
        chosen = max(defined, key=lambda name: defined[name] if larger else -defined[name])
    else:
        note = f"no row is marked as the best: it is not known whether a larger {metric} is better or a smaller one"
        return dataclasses.replace(analysis, notes=(*analysis.notes, note))
    advice = "Report the test." if analysis.split == "validation" else "Choose on validation, then report the test."
    warning = (
        f"{chosen} was chosen among {len(rows)} rows by its {metric} on the {analysis.split} data: its value is too "
        f"good, and no estimate of what it will do on new patients. {advice}"
    )
    return dataclasses.replace(analysis, selected=chosen, warnings=(*analysis.warnings, warning))


def _summary(item: Measurements, metric: str, seed: int) -> Summary:
    values = item.values[metric]
    parts = components(values, item.moves.get(metric))
    interval = mean_interval(metric, parts, item.alone.get(metric))
    kept = ~np.isnan(values)
    resampled = item.resampled[metric][:, kept] if metric in item.resampled else None
    return Summary(
        variant=item.name,
        metric=metric,
        seeds=parts.seeds,
        values=tuple(values.tolist()),
        mean=parts.mean,
        deviation=parts.seed_deviation,
        interquartile_mean=interquartile_mean(values),
        low=interval.low,
        high=interval.high,
        method=interval.method,
        parts=parts,
        bootstrap=hierarchical_interval(resampled, item.unit_name, seed),
        folds=over_folds(item, metric),
    )


def _corrected(found: list[Difference]) -> tuple[Difference, ...]:
    p_values = holm([np.nan if item.p_value is None else item.p_value for item in found])
    return tuple(
        dataclasses.replace(item, p_corrected=None if math.isnan(p) else float(p))
        for item, p in zip(found, p_values, strict=True)
    )


# What to know of them ----------------------------------------------------------------------------------------------


def _notes(analysis: Analysis, found: list[Measurements]) -> tuple[str, ...]:
    plural = {"patient": "patients", "row": "rows, no patient identifiers"}.get(analysis.unit_name, "series")
    notes = []
    if analysis.patients:
        notes.append(f"95 % intervals for new seeds and new patients, by {analysis.patients} {plural}")
    else:
        notes.append("95 % intervals for new seeds")
    if max(len(item.seeds) for item in found) == 1:
        notes.append("one seed: no seed variance, no test of significance; intervals are of the patients alone")
    tested = sum(item.p_value is not None for item in analysis.differences)
    if tested:
        many = f"{tested} comparison{'s' * (tested != 1)}"
        notes.append(f"p: whether new seeds and new patients would differ; Holm's correction over {many}")
        least = smallest_p(min(len(d.seeds) for d in analysis.differences if d.p_value is not None), tested)
        notes.append(
            "exact p over seeds: whether other seeds would differ on these very patients; "
            f"with {least.seeds} seeds at least {least.p_value:.2g}"
        )
    if found[0].folds:
        notes.append(
            "folds: the mean over folds, each patient held out once; intervals take the training patients as given "
            "(LeDell et al. 2015), those of Nadeau & Bengio (N & B, 2003) allow for others"
        )
    return tuple(notes)


def _warnings(analysis: Analysis, found: list[Measurements]) -> tuple[str, ...]:
    warnings = []
    if 0 < analysis.patients < FEW_UNITS:
        what = {"row": "rows", "patient": "patients"}.get(analysis.unit_name, "series")
        warnings.append(f"only {analysis.patients} {what}: intervals are too narrow.")
    if two := [item.name for item in found if len(item.seeds) == 2]:
        warnings.append(f"{', '.join(two)}: 2 seeds say little of the seed variance; their intervals are very wide.")
    for item in found[1:]:
        both = len(set(item.seeds) & set(found[0].seeds))
        if not both:
            warnings.append(f"{item.name}: no seed in common with {found[0].name}; there is no paired difference.")
        elif both < max(len(item.seeds), len(found[0].seeds)):
            warnings.append(f"{item.name}: paired with {found[0].name} over the {both} seeds that both have.")
    for item in analysis.summaries:
        if item.seeds < len(item.values):
            warnings.append(
                f"{item.variant}: {item.metric} is defined for {item.seeds} of {len(item.values)} seeds; the others "
                f"are left out."
            )
        elif analysis.patients and item.seeds and not item.parts.has_data:
            warnings.append(
                f"{item.variant}: how {item.metric} varies with the patients is not known (one of them decides "
                f"whether it is defined); its interval is of the seeds alone."
            )
    return (*warnings, *_carried(analysis))


def few_carriers(metric: str, largest: float, part: Components) -> bool:
    """Whether so few patients carry the variance that the interval may hold the truth less often than 95 %.

    Args:
        metric: its name.
        largest: its largest value in the table.
        part: what `components` found, of the metric or of a difference.
    """
    near_bound = metric in UNIT_SCALE and largest > 0.98
    return part.patient_variance() > 0 and part.carriers < (FEW_NEAR_BOUND if near_bound else FEW_CARRIERS)


def _carried(analysis: Analysis) -> list[str]:
    """Where few patients make the difference, by metric."""
    found = []
    for metric in analysis.metrics:
        items = [item for item in (*analysis.summaries, *analysis.differences) if item.metric == metric]
        largest = max((item.parts.mean for item in analysis.summaries if item.metric == metric), default=0.0)
        few = [item for item in items if few_carriers(metric, largest, item.parts)]
        if few:
            names = list(dict.fromkeys(item.variant for item in few))
            shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
            count = max(1, round(min(item.parts.carriers for item in few)))
            found.append(
                f"{metric} of {shown}: its variance over patients rests on about {count} of them; intervals may hold "
                f"the truth less often than 95 %, those of differences most of all."
            )
    return found
