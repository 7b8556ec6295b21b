"""The transformer for series: blind to padding and to the future, aware of place, and no more than its parts."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from sequences import LENGTHS, LONGEST, OUTPUTS, ROWS, parameters, run, run_with_attention, series, shapes

from research.errors import UserError
from research.models import Forward, SeriesTransformer, functional
from research.spec import apply_overrides, check

TINY = SeriesTransformer(width=8, depth=1, heads=2, mlp_ratio=1.5, activation="relu")
DROPPING = TINY.replace(dropout=0.3, attention_dropout=0.3)
VALID = np.arange(LONGEST) < np.asarray(LENGTHS)[:, None]
NUMBERS = np.arange(ROWS, dtype=np.int32)

FORMS = [
    DROPPING.replace(channels=("values", "observed", "since"), position="continuous"),
    DROPPING.replace(readout="attention", position="rotary", clock="time"),
    DROPPING.replace(readout="last", position="learned", longest=10, norm="post", causal=True),
    DROPPING.replace(readout="each", position="sinusoidal", clock="time", causal=True),
]
NAMES = [f"{form.readout} {form.position}" for form in FORMS]


@pytest.mark.parametrize("spec", FORMS, ids=NAMES)
def test_padding_and_order_of_rows_change_nothing(spec):
    params = parameters(spec, series())
    expected = run(spec, series(), params)
    assert expected.shape == ((ROWS, LONGEST, OUTPUTS) if spec.readout == "each" else (ROWS, OUTPUTS))
    order = np.array([2, 0, 1])
    shuffled = {name: values[order] for name, values in series().items()}
    np.testing.assert_allclose(run(spec, shuffled, params, NUMBERS[order]), expected[order], rtol=1e-4, atol=1e-5)
    longer = series(10)
    for name in ("values", "time"):
        beyond = np.arange(10) >= np.asarray(LENGTHS)[:, None]
        longer[name][beyond] = 5
    found = run(spec, longer, params)
    if spec.readout == "each":
        found, expected = found[:, :LONGEST][VALID], expected[VALID]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    assert np.abs(expected).max() > 1e-2 and np.std(expected) > 1e-2


def test_causal_outputs_see_nothing_later():
    spec, inputs = FORMS[-1], series()
    params = parameters(spec, inputs)
    before = run(spec, inputs, params)
    later = series()
    for name in ("values", "observed"):
        later[name][:, 4:] = later[name][:, 4:] == 0
    later["time"][:, 4:] += 3
    after = run(spec, later, params)
    np.testing.assert_array_equal(after[:, :4], before[:, :4])
    assert np.abs(after - before)[0, 4:].max() > 1e-3


def shuffled_steps(inputs):
    """The longest series with its values and masks in another order, at the same times."""
    order = np.array([3, 1, 6, 0, 2, 5, 4])
    return inputs | {name: inputs[name][:, order] for name in ("values", "observed")}


@pytest.mark.parametrize("position", ["none", "sinusoidal", "learned", "rotary", "continuous"])
def test_order_of_steps_is_seen_through_positions_alone(position):
    spec = TINY.replace(position=position, readout="mean", longest=LONGEST if position == "learned" else None)
    inputs = series(lengths=(LONGEST,) * ROWS)
    params = parameters(spec, inputs)
    difference = run(spec, inputs, params) - run(spec, shuffled_steps(inputs), params)
    assert np.abs(difference).max() < 1e-5 if position == "none" else np.abs(difference).max() > 1e-3


def test_rotary_sees_time_by_difference_alone():
    spec = TINY.replace(position="rotary", clock="time", readout="mean")
    params = parameters(spec, series())
    expected = run(spec, series(), params)
    later, slower = series(), series()
    later["time"] += 8
    slower["time"] *= 3
    np.testing.assert_allclose(run(spec, later, params), expected, rtol=1e-4, atol=1e-5)
    assert np.abs(run(spec, slower, params) - expected).max() > 1e-3
    np.testing.assert_allclose(run(spec.replace(time_scale=3), slower, params), expected, rtol=1e-4, atol=1e-5)


def test_attention_is_noted_for_each_layer_and_changes_no_bit_and_half_precision_is_near():
    spec = TINY.replace(depth=2, readout="attention", norm="post")
    params = parameters(spec, series())
    outputs, noted = run_with_attention(spec, series(), params)
    np.testing.assert_array_equal(outputs, run(spec, series(), params, train=False))
    half = run(spec, series(), params, train=False, dtype=jnp.bfloat16)
    assert 0 < np.abs(half - outputs).max() < 0.2 * np.abs(outputs).max()
    assert [w.shape for w in noted.values()] == [(ROWS, 2, LONGEST, LONGEST)] * 2 + [(ROWS, 1, 1, LONGEST)]
    for weights in noted.values():
        seen = np.broadcast_to(VALID[:, None, None, :], weights.shape)
        assert (weights[~seen] == 0).all()
    np.testing.assert_allclose(weights.sum(-1), 1, rtol=1e-6)

    _, noted = run_with_attention(TINY, series(), parameters(TINY, series()))
    weights = noted["layer 1"]
    assert weights.shape == (ROWS, 2, 1 + LONGEST, 1 + LONGEST)  # with a class token, which is seen and sees
    np.testing.assert_allclose(weights[:, :, 0].sum(-1), 1, rtol=1e-6)
    assert (weights[:, :, 0, 0] > 0).all() and (
        weights[:, :, :, 1:][~np.broadcast_to(VALID[:, None, None], (ROWS, 2, 8, 7))] == 0
    ).all()


def test_number_of_parameters():
    def count(spec, **options):
        return sum(leaf.size for leaf in jax.tree.leaves(parameters(spec, series(**options))))

    block = 4 * 8 * 8 + 4 * 8 + 2 * 8 * 12 + 12 + 8 + 4 * 8
    assert count(TINY) == 2 * 8 + 8 + 8 + block + 2 * 8 + (8 + 3) * 2 + 2
    assert count(TINY, static=False) == count(TINY) - 3 * 2
    assert count(TINY.replace(readout="mean")) == count(TINY) - 8
    assert count(TINY.replace(norm="post")) == count(TINY) - 2 * 8
    assert count(TINY.replace(position="learned", longest=9)) == count(TINY) + 9 * 8
    assert count(TINY.replace(position="sinusoidal", longest=9)) == count(TINY)
    assert count(TINY.replace(position="continuous", depth=3)) == count(TINY) + 2 * 8 + 2 * block
    assert count(TINY.replace(channels=("values", "observed", "since"))) == count(TINY) + 4 * 8


def test_a_series_without_a_step_gives_numbers_and_gradients():
    spec, inputs = TINY.replace(readout="attention", position="rotary"), series(lengths=(0, 3, 0))

    @jax.jit
    def gradient(params, inputs):
        def total(params):
            outputs, _ = functional.apply(spec, params, {}, inputs, OUTPUTS, Forward(), jax.random.key(0))
            return jnp.square(outputs).sum()

        return jax.value_and_grad(total)(params)

    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(gradient(parameters(spec, inputs), inputs))]
    assert all(np.isfinite(leaf).all() for leaf in leaves)
    assert leaves[0] > 0 and sum(np.abs(leaf).max() > 0 for leaf in leaves) > len(leaves) / 2


def test_learned_positions_that_end_too_early_are_refused():
    with pytest.raises(UserError, match=r"longest: the sequences have 7 steps.*end at 6"):
        TINY.replace(position="learned", longest=6).build(shapes(series()), 2, nnx.Rngs(0))


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["heads=3"], r"heads: 3 heads do not divide a width of 8.*width=6 or 9"),
        (["heads=12"], r"heads: 12 heads.*width=12\."),
        (["position=learned"], r"longest: learned positions need the most steps"),
        (["position=learned", "longest=9", "clock=time"], r"clock: learned positions are numbers"),
        (["position=rotary", "width=6"], r"heads: rotary.*width 6 / 2.*multiple of 4"),
        (["causal=true"], r"readout: the class token comes first"),
        (["channels=()"], r"channels: one or more"),
        (["channels=values,values"], r"channels: one or more different"),
        (["clock=visit"], r"clock: series have no visits"),
        (["time_scale=0"], r"time_scale: a number above 0"),
    ],
)
def test_is_checked(overrides, words):
    with pytest.raises(UserError, match=words):
        check(apply_overrides(TINY, overrides))


def test_inputs_that_are_no_series_are_refused():
    with pytest.raises(UserError, match=r"SeriesTransformer takes series.*array of \(5,\)"):
        TINY.build(jax.ShapeDtypeStruct((5,), jnp.float32), 2, nnx.Rngs(0))
