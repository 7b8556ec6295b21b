"""Schedules: equal to optax's, at any length, with every number traced."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from research.errors import UserError
from research.schedules import ExponentialDecay, Milestones, OneCycle, Schedule, StepDecay, WarmupCosine
from research.spec import check

TOTAL = 200

PAIRS = [
    (
        WarmupCosine(peak=3e-3, warmup=0.1, floor=1e-5),
        lambda n: optax.warmup_cosine_decay_schedule(0.0, 3e-3, n // 10, n, 1e-5),
    ),
    (WarmupCosine(peak=1.0, warmup=0.0), lambda n: optax.cosine_decay_schedule(1.0, n)),
    (OneCycle(peak=0.5, warmup=0.25), lambda n: optax.cosine_onecycle_schedule(n, 0.5, 0.25)),
    (
        OneCycle(peak=0.5, warmup=0.5, start_division=10, final_division=100),
        lambda n: optax.cosine_onecycle_schedule(n, 0.5, 0.5, 10, 100),
    ),
    (
        StepDecay(initial=0.1, factor=0.5, every=0.25),
        lambda n: optax.exponential_decay(0.1, n // 4, 0.5, staircase=True),
    ),
    (
        Milestones(initial=0.1, factor=0.1, at=(0.5, 0.75)),
        lambda n: optax.piecewise_constant_schedule(0.1, {n // 2: 0.1, n * 3 // 4: 0.1}),
    ),
    (ExponentialDecay(initial=0.1, final=1e-4), lambda n: optax.exponential_decay(0.1, n, 1e-3)),
]
NAMES = [type(schedule).__name__ for schedule, _ in PAIRS]


@jax.jit
def values_at(schedule: Schedule, steps, total):
    return jax.vmap(lambda step: schedule.value(step, total))(steps)


def curve(schedule: Schedule, total: int, steps: int) -> np.ndarray:
    padded = np.arange(2 * TOTAL, dtype=np.int32)
    return np.asarray(values_at(schedule, padded, total))[:steps]


@pytest.mark.parametrize(("schedule", "reference"), PAIRS, ids=NAMES)
def test_equal_to_optax(schedule, reference):
    long, short = reference(TOTAL), reference(20)
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        curves = jax.jit(lambda steps: (jax.vmap(long)(steps), jax.vmap(short)(steps[:21])))(np.arange(TOTAL + 1))
    for total, expected in zip((TOTAL, 20), map(np.asarray, curves), strict=True):
        peak = expected.max()
        np.testing.assert_allclose(curve(schedule, total, total + 1) / peak, expected / peak, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("schedule", "reference"), PAIRS, ids=NAMES)
def test_keeps_its_last_value_after_the_end(schedule, reference):
    values = curve(schedule, TOTAL, TOTAL + 50)
    np.testing.assert_array_equal(values[TOTAL:], values[TOTAL])


@pytest.mark.parametrize(("schedule", "reference"), PAIRS, ids=NAMES)
def test_tiny_trainings_have_finite_rates(schedule, reference):
    for total in (0, 1, 2):
        values = curve(schedule, total, 4)
        assert np.isfinite(values).all() and (values >= 0).all()


@pytest.mark.parametrize(("schedule", "reference"), PAIRS, ids=NAMES)
def test_every_number_and_the_length_are_traced(schedule, reference):
    traces = []

    @jax.jit
    def compiled(schedule, step, total):
        traces.append(step)
        return schedule.value(step, total)

    leaves, structure = jax.tree.flatten(schedule)
    expected = [(schedule, 7, 30), (schedule, 15, 60)]
    for index in range(len(leaves)):
        changed = structure.unflatten([leaf * 0.9 if i == index else leaf for i, leaf in enumerate(leaves)])
        expected.append((changed, 15, 20))
    for changed, step, total in expected:
        alone = curve(changed, total, step + 1)[step]
        assert float(compiled(changed, jnp.int32(step), jnp.int32(total))) == pytest.approx(alone, rel=1e-5)
    assert len(traces) == 1


def test_a_stack_of_schedules_gives_each_its_own_curve():
    others = [OneCycle(peak=peak, start_division=divisor) for peak, divisor in ((0.1, 25), (0.2, 10), (0.3, 5))]
    stack = jax.tree.map(lambda *values: np.array(values, np.float32), *others)
    rates = jax.jit(jax.vmap(lambda schedule: schedule.value(7, 40)))(stack)
    np.testing.assert_allclose(rates, [curve(other, 40, 8)[7] for other in others], rtol=1e-5)


def test_one_cycle_equals_its_definition():
    """Smith and Topin 2018: peak / 25 at the start, the peak at its share, nearly nothing at the end."""
    schedule = OneCycle(peak=0.5)
    values = curve(schedule, 100, 101)
    assert values[0] == pytest.approx(0.5 / 25)
    assert values.argmax() == 30 and values[30] == pytest.approx(0.5)
    assert values[100] == pytest.approx(0.5 / 25 / 1e4, rel=1e-3)


@pytest.mark.parametrize(
    ("schedule", "words"),
    [
        (Milestones(at=(0.75, 0.5)), "rising"),
        (Milestones(at=()), "one or more"),
        (Milestones(at=(0.5, 1.5)), r"at\.1"),
        (WarmupCosine(peak=1e-3, floor=1e-2), "floor"),
        (WarmupCosine(warmup=1.0), "warmup"),
        (StepDecay(every=0.0), "every"),
        (ExponentialDecay(final=0.0), "final"),
    ],
)
def test_mistakes_are_named(schedule, words):
    with pytest.raises(UserError, match=words):
        check(schedule)
