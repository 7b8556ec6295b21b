"""Folds: means over folds by hand, pooled predictions, the correction of Nadeau & Bengio, patients in two folds."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from ablation_members import predicted, scores, variant

from research import metrics
from research.ablation.statistics import Outcomes, analyse, pooled
from research.ablation.statistics.crossvalidation import corrected_interval
from research.errors import UserError

FOLDS = [np.arange(240) % 4 == fold for fold in range(4)]


def folded(name: str, gain: float = 0.0, seed: int = 0, patient=None, shifts=(0.0, 0.0, 0.0, 0.0), validated=False):
    """Three seeds and four folds; the validation is the held-out fold itself, which is enough for thresholds."""
    logits, targets = scores(240, 3, gain, seed=seed)
    members = [
        tuple(
            predicted(m[rows] + shift, targets[rows], None if patient is None else patient[rows], np.flatnonzero(rows))
            for rows, shift in zip(FOLDS, shifts, strict=True)
        )
        for m in logits
    ]
    return Outcomes(name, (0, 1, 2), members, members if validated else None)


def test_the_mean_over_folds_and_its_parts():
    item = folded("a")
    found = analyse([item], ("auroc", "accuracy"), resamples=100).summary("a", "auroc")
    each = np.array([[metrics.auroc(f.prediction, np.asarray(f.targets)) for f in member] for member in item.members])
    assert found.values == pytest.approx(each.mean(1).tolist())
    assert found.folds is not None and found.folds.each == pytest.approx(each.mean(0).tolist())
    together = [metrics.auroc(p.prediction, np.asarray(p.targets)) for p in map(pooled, item.members)]
    assert found.folds.pooled == pytest.approx(np.mean(together))
    assert found.low < found.mean < found.high and found.bootstrap.low < found.mean < found.bootstrap.high


def test_folds_of_one_scale_are_as_good_as_one_set():
    """The models of all folds are alike here, so that the data variance is that of the pooled set."""
    whole = analyse([variant("a", (0, 1, 2), count=240)], ("auroc", "brier"), resamples=0)
    parts = analyse([folded("a")], ("auroc", "brier"), resamples=0)
    for name in ("auroc", "brier"):
        a, b = whole.summary("a", name).parts, parts.summary("a", name).parts
        assert b.data_variance == pytest.approx(a.data_variance, rel=0.15)
    assert parts.patients == 240 and any("LeDell" in note for note in parts.notes)


def test_pooling_suffers_where_scales_differ_and_thresholds_of_folds_do_not():
    shifted = folded("a", shifts=(0.0, 3.0, -3.0, 1.0), validated=True)
    plain = folded("a", validated=True)
    a, b = (analyse([item], ("auroc", "sensitivity"), resamples=0) for item in (shifted, plain))
    for name in ("auroc", "sensitivity"):
        assert a.summary("a", name).mean == pytest.approx(b.summary("a", name).mean, abs=1e-6)
    first, second = (item.summary("a", "auroc").folds for item in (a, b))
    assert first is not None and second is not None and first.pooled < second.pooled - 0.02
    # Each decision is made at the threshold of its own fold.
    first, second = (item.summary("a", "sensitivity").folds for item in (a, b))
    assert first is not None and second is not None and first.pooled == pytest.approx(second.pooled, abs=1e-6)


def test_differences_over_folds():
    analysis = analyse([folded("a"), folded("b", gain=2.0, seed=3)], ("auroc",), resamples=0)
    item = analysis.differences[0]
    assert item.decided and item.corrected is not None
    assert item.corrected.low < item.difference < item.corrected.high


def test_nadeau_and_bengio_by_hand():
    values = np.array([0.02, 0.05, 0.01, 0.04, 0.03])
    variance = (1 / 5 + 1 / 4) * values.var(ddof=1)
    half = scipy.stats.t.ppf(0.975, 4) * np.sqrt(variance)
    found = corrected_interval(values)
    assert (found.low, found.high) == pytest.approx((0.03 - half, 0.03 + half))
    assert corrected_interval(np.full(5, 0.1)).method == "none: no variation"


def test_patients_stay_together():
    patient = np.arange(240) // 8 * 4 + np.arange(240) % 4  # two rows each, in one fold
    analysis = analyse([folded("a", patient=patient)], ("auroc", "accuracy"), resamples=50)
    assert analysis.unit_name == "patient" and analysis.patients == 120
    with pytest.raises(UserError, match="is in 2 folds"):
        folded("a", patient=np.arange(240) // 2)


def test_folds_must_agree():
    item = folded("a")
    with pytest.raises(UserError, match="folds"):
        analyse([item, Outcomes("b", (0, 1, 2), [member[:3] for member in item.members])])
    with pytest.raises(UserError, match="same number"):
        Outcomes("b", (0, 1), [item.members[0], item.members[1][:2]])
    with pytest.raises(UserError, match="validation"):
        Outcomes("b", (0, 1, 2), item.members, [member[:2] for member in item.members])
