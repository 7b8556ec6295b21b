"""A whole analysis: pairing, kinds of tasks, one seed, failed seeds, warnings, mistakes."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import scipy.stats
from ablation_members import predicted, scores, variant

from research.ablation.statistics import (
    Components,
    Outcomes,
    analyse,
    components,
    holm,
    interquartile_mean,
    mark_selected,
    performance_profile,
    seeds_needed,
)
from research.ablation.statistics.contrasts import Difference
from research.ablation.statistics.planning import MOST_SEEDS
from research.errors import UserError
from research.evaluation import Predictions, delong
from research.task import Task


def test_difference_without_examples_is_scipys_paired_test():
    random = np.random.default_rng(0)
    a, b = random.normal(10, 1, 6), random.normal(11, 1, 6)
    analysis = analyse([Outcomes("a", range(6), values={"return": a}), Outcomes("b", range(6), values={"return": b})])
    item, expected = analysis.differences[0], scipy.stats.ttest_rel(b, a)
    assert item.p_value == pytest.approx(expected.pvalue) and item.p_corrected == item.p_value
    assert (item.low, item.high) == pytest.approx(tuple(expected.confidence_interval()), rel=1e-4)
    assert analysis.patients == 0


def test_difference_of_one_seed_is_delongs_without_a_p_value():
    analysis = analyse([variant("a", (0,)), variant("b", (0,), gain=0.8, seed=5)], ("auroc",), resamples=0)
    item = analysis.differences[0]
    logits = [scores(200, 1)[0][0], scores(200, 1, 0.8, seed=5)[0][0]]
    parts = [delong.influence(member, scores(200, 1)[1]) for member in logits]
    unit = np.arange(200)
    expected = sum(delong.covariance(part, part, unit) for part in parts) - 2 * delong.covariance(*parts, unit)
    assert item.parts.shared_variance == pytest.approx(expected)
    assert item.low < item.difference < item.high
    assert item.p_value is None and item.p_corrected is None and item.p_seeds is None and not item.decided
    assert "one seed" in item.method and "cannot be told" in analysis.settling[0].text


def test_a_large_gain_is_decided_and_a_twin_is_not():
    analysis = analyse(
        [variant("a"), variant("twin", seed=7), variant("better", gain=2.0, seed=8)], ("auroc", "brier"), resamples=200
    )
    better, twin = analysis.difference("better", "auroc"), analysis.difference("twin", "auroc")
    assert better.decided and better.low > 0 and better.p_seeds == 0.0625
    assert better.p_value is not None and better.p_corrected is not None and not twin.decided
    assert 2 * better.p_value <= better.p_corrected <= 4 * better.p_value
    assert twin.low < 0 < twin.high
    assert analysis.difference("better", "brier").high < 0  # lower is better there
    assert better.bootstrap.low < better.difference < better.bootstrap.high
    assert analysis.summary("a", "auroc").deviation == pytest.approx(
        np.std(analysis.summary("a", "auroc").values, ddof=1)
    )


def test_holm_goes_over_what_is_tested():
    variants = [variant("a"), variant("b", gain=0.6, seed=2), variant("c", gain=0.9, seed=3)]
    every = analyse(variants, ("auroc", "brier"), resamples=0)
    one = analyse(variants, ("auroc", "brier"), ("auroc",), resamples=0)
    p_values = [one.difference(name, "auroc").p_value or 1.0 for name in "bc"]
    assert one.difference("c", "auroc").p_corrected == pytest.approx(holm(p_values)[1])
    assert (one.difference("c", "auroc").p_corrected or 1) < (every.difference("c", "auroc").p_corrected or 0)
    brier = one.difference("c", "brier")
    assert brier.p_value is None and brier.p_corrected is None and brier.low == every.difference("c", "brier").low
    assert [item.metric for item in one.settling] == ["auroc"] and any("over 2 comparisons" in n for n in one.notes)
    with pytest.raises(UserError, match="tested"):
        analyse(variants, ("auroc",), ("brier",), resamples=0)


def test_interval_and_p_value_are_of_one_opinion():
    for gain in np.linspace(0, 1, 5):
        item = analyse([variant("a"), variant("b", gain=gain, seed=3)], ("auroc",), resamples=0).differences[0]
        assert item.p_value is not None and (item.p_value <= 0.05) == (not item.low < 0 < item.high)


def test_the_same_predictions_do_not_differ():
    item = analyse([variant("a"), dataclasses.replace(variant("a"), name="copy")], ("auroc",), resamples=0).differences[
        0
    ]
    assert item.difference == 0 and item.p_value == 1 and math.isnan(item.low) and item.method == "none: no variation"


def test_seeds_that_agree_by_chance_leave_the_variance_over_patients():
    """Members with the scores of the positives in another order have the same area, and other influences."""
    logits, targets = scores(60, 1)
    other, positives = logits[0].copy(), np.flatnonzero(targets)
    other[positives] = other[np.roll(positives, 1)]
    members = [(predicted(member, targets),) for member in (logits[0], other)]
    arms = [Outcomes("a", (0, 1), members), Outcomes("b", (0, 1), members[::-1])]
    item = analyse(arms, ("auroc",), resamples=0).differences[0]
    parts, unit = [delong.influence(member, targets) for member in (logits[0], other)], np.arange(60)
    expected = sum(delong.covariance(part, part, unit) for part in parts) - 2 * delong.covariance(
        parts[0], parts[1], unit
    )
    assert (item.parts.seed_variance, item.parts.shared_variance) == (0, 0)
    assert item.parts.variance() == pytest.approx(expected / 2)
    error = math.sqrt(expected / 2)
    assert item.high == pytest.approx(scipy.stats.t.ppf(0.975, item.parts.carriers) * error, rel=1e-4)
    assert (item.low, item.p_value) == (pytest.approx(-item.high), 1) and item.method.endswith("2 seeds agree")


def test_pairing_goes_over_the_seeds_that_both_have():
    whole, part = variant("a", (0, 1, 2, 3)), variant("b", (0, 1, 2, 3), gain=0.5, seed=2)
    failed = Outcomes("b", (3, 1), [part.members[3], part.members[1]])
    analysis = analyse([whole, failed], ("auroc",), resamples=50)
    item = analysis.differences[0]
    values = {v: analyse([v], ("auroc",), resamples=0).summaries[0].values for v in (whole, part)}
    assert item.seeds == (1, 3)
    assert item.difference == pytest.approx(np.mean([values[part][s] - values[whole][s] for s in (1, 3)]))
    assert any("paired with a over the 2 seeds" in line for line in analysis.warnings)
    other = analyse([whole, dataclasses.replace(failed, seeds=(8, 9))], ("auroc",), resamples=50).differences[0]
    assert other.method == "none: no seed in common" and math.isnan(other.difference) and other.p_value is None


def test_the_order_of_rows_and_of_variants_does_not_matter():
    a, b = variant("a"), variant("b", gain=0.5, seed=2)
    order = np.random.default_rng(0).permutation(200)
    columns = ("example", "prediction", "targets")
    turned = [
        dataclasses.replace(member[0], **{name: getattr(member[0], name)[order] for name in columns})
        for member in b.members
    ]
    straight = analyse([a, b], ("auroc", "f1"), resamples=50)
    assert analyse([a, Outcomes("b", b.seeds, turned)], ("auroc", "f1"), resamples=50) == straight
    other = analyse([b, a], ("auroc",), resamples=50).differences[0]
    item = straight.difference("b", "auroc")
    assert (other.difference, other.low, other.high) == pytest.approx((-item.difference, -item.high, -item.low))


def _others() -> dict[str, tuple[Task, object, object]]:
    random = np.random.default_rng(0)
    classes = random.integers(0, 3, 90)
    logits = 1.5 * np.eye(3)[classes] + random.normal(size=(90, 3))
    labels = (random.random((90, 2)) < 0.4).astype(np.float32)
    labels[:5, 0] = np.nan
    time = np.stack([random.exponential(size=90), random.random(90) < 0.6], axis=-1).astype(np.float32)
    quantity = random.normal(size=(90, 1)).astype(np.float32)
    chance = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return {
        "multiclass": (Task("multiclass", ("a", "b", "c")), chance, classes.astype(np.int32)),
        "multilabel": (Task("multilabel", ("x", "y")), 1 / (1 + np.exp(-random.normal(size=(90, 2)))), labels),
        "regression": (Task("regression", ("mass",)), quantity + 0.3 * random.normal(size=(90, 1)), quantity),
        "survival": (Task("survival", ("death",)), -time[:, :1] + random.normal(size=(90, 1)), time),
    }


@pytest.mark.parametrize("kind", ["multiclass", "multilabel", "regression", "survival"])
def test_every_kind_of_task(kind):
    task, prediction, targets = _others()[kind]
    random = np.random.default_rng(1)

    def member() -> Predictions:
        moved = np.asarray(prediction) * (1 + 0.1 * random.normal(size=np.shape(prediction)))
        if kind == "multiclass":
            moved = np.abs(moved) / np.abs(moved).sum(1, keepdims=True)
        if kind == "multilabel":
            moved = np.clip(moved, 0, 1)
        return Predictions(task, "test", np.arange(90), moved, targets, np.arange(90) // 2)

    analysis = analyse([Outcomes(name, range(3), [(member(),) for _ in range(3)]) for name in "ab"], resamples=100)
    assert analysis.unit_name == "patient" and analysis.patients == 45
    for item in (*analysis.summaries, *analysis.differences):
        assert item.low < item.parts.mean < item.high, item
        assert item.parts.has_data


def test_thresholds_are_each_members_own():
    logits, targets = scores(200, 2)
    test = [(predicted(member, targets),) for member in logits]
    validation = [(predicted(member - shift, targets),) for member, shift in zip(logits, (0.0, 2.0), strict=True)]
    values = analyse([Outcomes("a", (0, 1), test, validation)], ("sensitivity",), resamples=0).summaries[0].values
    # The second's validation looks less probable by far, and so its threshold is lower.
    assert values[1] > values[0]


def test_metrics_that_some_seeds_do_not_have():
    values = {"reward": np.array([1.0, np.nan, 3.0])}
    analysis = analyse([Outcomes("a", (0, 1, 2), values=values)])
    assert analysis.summaries[0].seeds == 2 and analysis.summaries[0].mean == 2
    assert any("2 of 3 seeds" in line for line in analysis.warnings)


def test_few_patients_who_carry_the_variance_are_warned_of():
    logits, targets = scores(60, 3)
    nearly = 6.0 * targets + 0.05 * logits
    nearly[:, np.flatnonzero(targets)[0]] = -1 + logits[:, 0]
    found = analyse([Outcomes("a", (0, 1, 2), [(predicted(m, targets),) for m in nearly])], ("auroc",), resamples=0)
    assert any("rests on about" in line for line in found.warnings)
    few = analyse([variant("a", count=18)], ("auroc",), resamples=0)
    assert any("only 18 rows" in line for line in few.warnings)


def test_interquartile_mean_and_profile():
    assert interquartile_mean(np.array([0.0, 1, 2, 3, 4, 5, 6, 100])) == pytest.approx(3.5)
    assert interquartile_mean(np.array([1.0, np.nan, 4.0])) == 2.5 and math.isnan(
        interquartile_mean(np.array([np.nan]))
    )
    values = np.array([0.7, 0.8, 0.9, np.nan])
    profile = performance_profile("auroc", values, np.array([0.75, 0.8, 0.95]))
    assert profile.share.tolist() == [0.5, 0.5, 0] and (profile.low <= profile.share).all()
    assert performance_profile("brier", values, np.array([0.75])).share.tolist() == [0.25]


def test_seeds_that_would_settle_a_difference():
    random = np.random.default_rng(0)
    noise = random.normal(size=4)
    change = 1 + 2 * (noise - noise.mean()) / noise.std(ddof=1)
    values = [
        Outcomes("a", range(4), values={"return": np.zeros(4)}),
        Outcomes("b", range(4), values={"return": change}),
    ]
    found = analyse(values).settling[0]
    # t test of one sample, 5 %, power 80 %, effect of half a standard deviation: 34 (Cohen 1988).
    assert found.seeds is not None and abs(found.seeds - 34) <= 1 and found.more == found.seeds - 4
    decided = analyse([values[0], Outcomes("c", range(4), values={"return": change / 50 + 1})]).settling[0]
    assert decided.more == 0
    assert seeds_needed([]).more == 0


def test_no_number_of_seeds_makes_up_for_patients():
    """Members that hardly vary, on few patients: the patients decide."""
    a = Outcomes("a", range(4), [(predicted(m, scores(60, 4)[1]),) for m in scores(60, 4, noise=0.02)[0]])
    random = np.random.default_rng(0)
    shift = random.normal(size=60)
    b = Outcomes("b", range(4), [(predicted(m + shift, scores(60, 4)[1]),) for m in scores(60, 4, noise=0.02)[0]])
    found = analyse([a, b], ("auroc",), resamples=0).settling[0]
    assert found.seeds is None and found.patients is not None and found.patients > 1
    assert "no number of seeds" in found.text


def test_differences_of_no_size_are_not_called_decided():
    values = np.arange(4.0)
    arms = [Outcomes(name, range(4), values={"return": values}) for name in ("a", "twin")]
    found = analyse(arms).settling[0]
    assert found.seeds is None and found.more is None
    assert "twin is exactly 0" in found.text and "no more seeds" not in found.text
    other = Outcomes("other", (8, 9), values={"return": values[:2]})
    found = analyse([*arms, other]).settling[0]
    assert "twin is exactly 0 and the difference of other is not defined" in found.text
    far = Outcomes("far", range(4), values={"return": values + 9 + 1e-3 * np.array([0, 1, 0, 1])})
    assert analyse([arms[0], far]).settling[0].more == 0
    assert "other is not defined" in analyse([arms[0], far, other]).settling[0].text


def undecided(parts: Components) -> Difference:
    """A difference of 0.1 that is not significant."""
    (found,) = analyse([variant("a"), variant("b", seed=2)], ("auroc",), resamples=0).differences
    return dataclasses.replace(found, difference=0.1, p_value=0.9, p_corrected=0.9, parts=parts)


def test_seeds_settle_a_difference_in_which_they_agree_by_chance():
    moves = 0.1 * np.random.default_rng(0).normal(size=(30, 1)) * np.array([[1, -1]])
    parts = components(np.array([0.1, 0.1]), moves)
    assert parts.agree_by_chance and parts.carriers == pytest.approx((moves**2).sum() ** 2 / (moves**4).sum() / 2)
    found = seeds_needed([undecided(parts)])
    # A standard error of the difference over 2.8, as of any test of 5 % with a power of 80 %.
    assert found.seeds is not None
    assert math.sqrt(parts.data_variance / found.seeds) == pytest.approx(0.1 / 2.8, rel=0.15)


@pytest.mark.parametrize(("shared", "patients_decide"), [(1e-10, False), (1e-4, False), (0.2, True)])
def test_patients_decide_only_where_unlimited_seeds_do_not_settle_it(shared: float, patients_decide: bool):
    parts = Components(0.1, 4, 25.0, 25.0 + shared, shared, 30.0)
    found = seeds_needed([undecided(parts)])
    assert found.seeds is None and ("no number of seeds" in found.text) == patients_decide
    assert (f"more than {MOST_SEEDS} seeds" in found.text) != patients_decide


def test_a_row_chosen_on_test_data_is_marked():
    analysis = analyse([variant("a"), variant("b", gain=1.0, seed=2)], ("auroc", "brier"), resamples=0)
    assert analysis.selected == ""
    for metric in ("auroc", "brier"):
        marked = mark_selected(analysis, metric)
        assert marked.selected == "b" and "chosen among 2 rows" in marked.warnings[-1]
    assert mark_selected(analysis, "auroc", "a").selected == "a"
    with pytest.raises(UserError, match="no variant 'c'"):
        mark_selected(analysis, "auroc", "c")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: analyse([]), "no finished variant"),
        (lambda: analyse([variant("a"), variant("a")]), "same name"),
        (lambda: analyse([variant("a"), variant("b", count=100)]), "other examples"),
        (lambda: analyse([variant("a")], ("aurok",)), "Did you mean 'auroc'"),
        (lambda: analyse([variant("a")], resamples=-1), "resamples"),
        (lambda: analyse([variant("a"), Outcomes("b", (0,), values={"auroc": [0.5]})]), "seeds alone"),
        (lambda: analyse([variant("a")], ("auroc",), resamples=0).difference("a", "auroc"), "baseline"),
        (lambda: Outcomes("a", (0, 0), values={"x": np.zeros(2)}), "different seeds"),
        (lambda: Outcomes("a", (0, 1)), "either predictions"),
        (lambda: Outcomes("a", (0, 1), values={"x": np.zeros(3)}), "2 numbers"),
        (lambda: Outcomes("a", (0, 1), variant("a").test), "each of 2 seeds"),
    ],
)
def test_mistakes_are_named(make, message):
    with pytest.raises(UserError, match=message):
        make()
