"""Intervals of means over seeds: SciPy's t, published quantiles, the report of a single run, coverage."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
from ablation_members import predicted, scores, variant

from research.ablation.statistics import Outcomes, analyse, components
from research.ablation.statistics.bootstrap import hierarchical_interval
from research.ablation.statistics.components import Components
from research.ablation.statistics.intervals import Reference, mean_interval, reference
from research.evaluation import evaluate


def test_without_patients_it_is_the_interval_of_student():
    values = np.array([3.1, 2.7, 3.3, 2.9])
    found = mean_interval("return", components(values, None))
    expected = scipy.stats.ttest_1samp(values, 0).confidence_interval()
    assert (found.low, found.high) == pytest.approx(tuple(expected), rel=1e-5)
    assert found.method == "t, 4 seeds"


@pytest.mark.parametrize(("degrees", "quantile"), [(0, 2.447), (15, 2.440), (30, 2.435), (45, 2.435)])
def test_behrens_fisher_has_the_quantiles_of_sukhatme(degrees, quantile):
    """5 % points for 6 and 6 degrees of freedom (Fisher & Yates, Statistical Tables, table VI)."""
    angle = math.radians(degrees)
    about = Reference(math.sin(angle), 6, math.cos(angle), 6)
    if degrees:
        assert about.behrens_fisher(quantile) == pytest.approx(0.05, abs=2e-4)
    else:
        assert about.half_width() == pytest.approx(quantile, abs=6e-4)


@pytest.mark.parametrize("errors", [(1, 0.05), (0.05, 1), (1, 1)])
def test_tail_areas_lie_between_satterthwaite_and_a_simulated_sum(errors):
    random = np.random.default_rng(0)
    about = Reference(errors[0], 2, errors[1], 12)
    drawn = np.abs(errors[0] * random.standard_t(2, 400_000) + errors[1] * random.standard_t(12, 400_000))
    squares = np.square(errors)
    freedom = squares.sum() ** 2 / (squares[0] ** 2 / 2 + squares[1] ** 2 / 12)
    for distance in (1.0, 2.0, 4.0):
        satterthwaite = 2 * scipy.stats.t.sf(distance / np.sqrt(squares.sum()), freedom)
        expected = (satterthwaite + (drawn >= distance).mean()) / 2
        assert about.p_value(distance) == pytest.approx(expected, abs=0.002)


def test_half_width_and_p_value_answer_each_other():
    for about in (Reference(1, 1, 0.3, 5), Reference(0.1, 19, 3, 200), Reference(0, 2, 0.01, 7), Reference(2, 3, 0, 1)):
        for level in (0.8, 0.95, 0.999):
            assert about.p_value(about.half_width(level)) == pytest.approx(1 - level, rel=1e-3)
    assert math.isnan(Reference(0, 2, 0, 5).half_width())


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_three_seeds_are_covered(share):
    """Of a normal estimate, with the seeds' variance estimated from three and that of the patients known."""
    random = np.random.default_rng(3)
    variances = share * random.chisquare(2, 1500) / 2
    errors = random.normal(size=1500)
    held = [
        Reference(v**0.5, 2, (1 - share) ** 0.5, 1e6).p_value(e) > 0.05 for v, e in zip(variances, errors, strict=True)
    ]
    assert 0.93 <= np.mean(held) <= 0.98


def test_one_seed_has_the_interval_of_its_report():
    logits, targets = scores(150, 1)
    member = predicted(logits[0], targets)
    report = evaluate(member, None, 10)
    analysis = analyse([Outcomes("only", (3,), [(member,)])], ("auroc", "accuracy", "sensitivity"), resamples=0)
    for item in analysis.summaries:
        expected = report[item.metric]
        assert (item.mean, item.low, item.high, item.method) == pytest.approx(
            (expected.value, expected.low, expected.high, expected.method)
        )
        assert math.isnan(item.deviation)
    assert any("one seed" in note for note in analysis.notes)


def test_limits_stay_within_the_scale():
    for metric, mean, low, high in (("auroc", 0.98, 0, 1), ("brier", 0.02, 0, math.inf)):
        found = mean_interval(metric, Components(mean, 3, 1e-3, 1e-3, 1e-3, 20))
        assert low < found.low < mean < found.high < high
    found = mean_interval("r2", Components(0.98, 3, 1e-3, 1e-3, 1e-3, 20))
    assert found.high > 1


def test_seeds_that_all_reach_a_bound_have_the_interval_of_one():
    logits, targets = scores(60, 3)
    certain = [(predicted(9.0 * (2 * targets - 1), targets),) for _ in logits]
    item = analyse([Outcomes("perfect", (0, 1, 2), certain)], ("accuracy", "auroc"), resamples=0).summaries[0]
    assert item.mean == 1 and item.method == "Wilson" and 0.9 < item.low < 1


def test_more_seeds_shrink_the_part_of_the_seeds_only():
    few, many = (analyse([variant("a", tuple(range(s)))], ("auroc",), resamples=0).summaries[0] for s in (3, 30))
    assert many.high - many.low < few.high - few.low
    assert many.parts.shared_variance == pytest.approx(few.parts.shared_variance, rel=0.3)
    assert reference(many.parts).data_error > reference(many.parts).seed_error


def test_hierarchical_bootstrap_has_the_variance_of_both():
    """Without seeds that vary it is the percentile interval of the patients; with them it is wider."""
    random = np.random.default_rng(4)
    patients = random.normal(size=(4000, 1))
    alone = hierarchical_interval(np.repeat(patients, 10, axis=1), "patient")
    assert (alone.high - alone.low) / 2 == pytest.approx(1.96, rel=0.05)
    both = hierarchical_interval(patients + 3 * random.normal(size=(1, 10)), "patient")
    assert both.high - both.low > 1.2 * (alone.high - alone.low)
    assert hierarchical_interval(None, "patient").method == "none: no resamples"
