"""Made-up records: probabilities that are exact, a known best AUROC and a known best forecast of the next code."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from research.data import Events, SyntheticRecords
from research.data.catalog.known_risk import expected_auroc
from research.data.catalog.records_process import (
    CONDITIONS,
    LONGEST,
    NEW_VISIT,
    PROCESS,
    SHARES,
    SHORTEST,
    VISITS,
    VOCABULARY,
    belief,
    next_code,
)
from research.errors import UserError
from research.spec import check
from research.task import NO_LABEL

SMALL = SyntheticRecords(patients=3000, seed=5)
NEXT = SMALL.replace(task="next_code")
PLACE = {code: number for number, code in enumerate(VOCABULARY)}


@pytest.fixture(scope="module")
def drawn() -> Events:
    return SMALL.load()


def _counts(events: Events) -> np.ndarray:
    """How often each code is in each record, the sum of its numbers, and the last age."""
    row = np.repeat(np.arange(len(events)), events.lengths)
    count, total = (np.zeros((len(events), len(VOCABULARY))) for _ in range(2))
    usual, spread = PROCESS.mean[0, events.codes], PROCESS.deviation[events.codes]
    np.add.at(count, (row, events.codes), 1)
    np.add.at(total, (row, events.codes), np.nan_to_num((events.number - usual) / spread))
    found = np.concatenate([count, total, events.age[events.starts + events.lengths - 1][:, None]], axis=1)
    return (found - found.mean(axis=0)) / (found.std(axis=0) + 1e-6)


def _oracle(source: SyntheticRecords) -> float:
    """AUROC of a logistic regression of counts on the last third of the patients."""
    events, inputs = source.load(), _counts(source.load())
    model = LogisticRegression(C=0.02, max_iter=300).fit(inputs[:2000], events.targets[:2000])
    return expected_auroc(model.decision_function(inputs[2000:]), source.risk()[2000:])


def test_transitions_are_probabilities() -> None:
    transitions = PROCESS.transitions()
    assert (transitions >= 0).all()
    np.testing.assert_allclose(transitions.sum(axis=2), 1, atol=1e-12)
    np.testing.assert_allclose(transitions[:, len(VISITS) :, : len(VISITS)].sum(axis=2), NEW_VISIT, atol=1e-12)
    assert not transitions[:, : len(VISITS), : len(VISITS)].any()
    assert SHARES.sum() == pytest.approx(1)


def test_records_follow_the_process(drawn: Events) -> None:
    condition = SMALL.condition()
    np.testing.assert_allclose(np.bincount(condition) / len(condition), SHARES, atol=0.03)
    assert drawn.lengths.min() == SHORTEST and drawn.lengths.max() == LONGEST
    assert np.bincount(drawn.lengths)[SHORTEST:].std() < 20
    inside = np.ones(len(drawn.codes) - 1, bool)
    inside[drawn.starts[1:] - 1] = False
    for number in (0, 3):
        member = np.repeat(condition == number, drawn.lengths)[:-1] & inside
        last, following = drawn.codes[:-1][member], drawn.codes[1:][member]
        for code in ("VISIT//clinic", "ICD10//I10", "ATC//C09"):
            found = np.bincount(following[last == PLACE[code]], minlength=len(VOCABULARY)) / (last == PLACE[code]).sum()
            np.testing.assert_allclose(found, PROCESS.transitions()[number, PLACE[code]], atol=0.035)
    with_kidney = np.repeat(condition == CONDITIONS.index("kidney disease"), drawn.lengths)
    creatinine = drawn.codes == PLACE["LAB//creatinine"]
    assert np.mean(drawn.number[creatinine & with_kidney]) == pytest.approx(1.5, abs=0.03)
    assert np.mean(drawn.number[creatinine & ~with_kidney]) == pytest.approx(0.9, abs=0.03)
    assert np.isnan(drawn.number[drawn.codes == PLACE["ICD10//I10"]]).all()


def test_times_visits_and_ages_belong_together(drawn: Events) -> None:
    first, begins = np.zeros(len(drawn.codes), bool), drawn.codes < len(VISITS)
    first[drawn.starts] = True
    assert begins[first].all() and not drawn.time[first].any() and not drawn.visit[first].any()
    same = ~first[1:]
    assert ((np.diff(drawn.visit) == begins[1:]) | ~same).all()
    assert ((np.diff(drawn.time) > 0) == begins[1:])[same].all()
    assert np.diff(drawn.time)[same & begins[1:]].mean() == pytest.approx(45.5, rel=0.05)
    start = np.repeat(drawn.age[drawn.starts], drawn.lengths)
    np.testing.assert_allclose(drawn.age - start, drawn.time / 365.25, atol=1e-3)


def test_belief_is_bayes_rule_and_calibrated() -> None:
    sample, matrix = NEXT._sample(0), PROCESS.transitions()
    believed = belief(sample)
    for row in range(3):
        weight = SHARES.copy()
        for step in range(12):
            code, number = sample.codes[row, step], sample.number[row, step]
            before = sample.codes[row, step - 1]
            weight = weight * (PROCESS.kind[:, code] if step == 0 else matrix[:, before, code])
            if not np.isnan(number):
                weight = weight * np.exp(-0.5 * ((number - PROCESS.mean[:, code]) / PROCESS.deviation[code]) ** 2)
            np.testing.assert_allclose(believed[row, step], weight / weight.sum(), rtol=1e-9)
    for step in (3, 12):
        highest = believed[:, step].max(axis=1)
        right = believed[:, step].argmax(axis=1) == sample.condition
        assert right.mean() == pytest.approx(highest.mean(), abs=0.025)
    np.testing.assert_allclose(next_code(sample)[:50].sum(axis=2), 1, atol=1e-9)


def test_bayes_auroc_is_that_of_the_best_risk_on_labels() -> None:
    samples = [SyntheticRecords(patients=4000, seed=seed) for seed in range(3)]
    estimates, ceiling = [], []
    for sample in samples:
        best, risk = sample.best_risk(), sample.risk()
        label = np.random.default_rng(sample.seed).random(len(risk)) < risk
        assert label.mean() == pytest.approx(best.mean(), abs=0.015)
        estimates.append(roc_auc_score(label, best))
        ceiling.append(expected_auroc(risk, risk))
    assert abs(SMALL.bayes_auroc() - np.mean(estimates)) < 0.006
    # What the events leave open costs something: the condition itself would do better.
    assert SMALL.bayes_auroc() < np.mean(ceiling) - 0.002
    assert SMALL.bayes_auroc() == pytest.approx(0.90, abs=0.01)
    assert SMALL.replace(strength=0).bayes_auroc() == pytest.approx(0.5, abs=1e-9)


def test_counts_of_codes_come_close_and_nothing_in_the_control(drawn: Events) -> None:
    control = SMALL.replace(visible=False)
    assert control.bayes_auroc() == 0.5
    assert (control.load().targets == drawn.targets).all() and len(control.load().codes) != len(drawn.codes)
    best = expected_auroc(SMALL.best_risk()[2000:], SMALL.risk()[2000:])
    assert best - 0.04 < _oracle(SMALL) < best
    assert abs(_oracle(control) - 0.5) < 0.05


def test_no_other_forecast_of_the_next_code_is_better() -> None:
    events, probability = NEXT.load(), NEXT.best_next_code()
    there = events.targets != NO_LABEL
    np.testing.assert_array_equal(there.sum(axis=1), events.lengths - 1)
    for row in (0, 7):
        codes = events.codes[events.span(row)]
        assert events.targets[row, : len(codes) - 1].tolist() == codes[1:].tolist()
    truth, forecast, last = events.targets[there], probability[there], NEXT._sample(0).codes[there]
    assert np.mean(forecast.argmax(axis=1) == truth) == pytest.approx(NEXT.best_accuracy(), abs=0.006)
    loss = -np.log(forecast[np.arange(len(truth)), truth])
    assert loss.mean() == pytest.approx(NEXT.best_log_loss(), abs=0.02)
    # By the last code alone, counted on the first half: well above chance, and worse.
    half = len(truth) // 2
    table = np.ones((len(VOCABULARY), len(VOCABULARY)))
    np.add.at(table, (last[:half], truth[:half]), 1)
    table /= table.sum(axis=1, keepdims=True)
    chain = table[last[half:]]
    assert np.bincount(truth).max() / len(truth) + 0.1 < np.mean(chain.argmax(axis=1) == truth[half:])
    assert np.mean(chain.argmax(axis=1) == truth[half:]) < NEXT.best_accuracy() - 0.01
    assert -np.log(chain[np.arange(len(truth) - half), truth[half:]]).mean() > NEXT.best_log_loss() + 0.05


def test_the_same_fields_give_the_same_and_more_patients_leave_the_first_as_they_were(drawn: Events) -> None:
    few = SMALL.replace(patients=50).load()
    end = int(few.lengths.sum())
    for name in ("codes", "time", "visit", "age", "number"):
        np.testing.assert_array_equal(getattr(drawn, name)[:end], getattr(few, name))
    assert (few.targets == drawn.targets[:50]).all()
    assert (SMALL.replace(seed=6).load().targets != drawn.targets).any()
    assert drawn.patient is not None and len(set(drawn.patient)) == 3000
    assert len(set(drawn.hashes())) == 3000


def test_what_is_not_known_is_refused() -> None:
    with pytest.raises(UserError, match="visible: task=next_code has no control"):
        check(NEXT.replace(visible=False))
    with pytest.raises(UserError, match="task: next_code has no AUROC"):
        NEXT.bayes_auroc()
    for ask in (SMALL.best_accuracy, SMALL.best_log_loss):
        with pytest.raises(UserError, match="task: risk asks for no next code"):
            ask()
