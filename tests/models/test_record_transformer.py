"""The transformer for records: what it embeds, blind to padding and to later events, and learns what comes next."""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from sequences import (
    LENGTHS,
    LONGEST,
    OUTPUTS,
    ROWS,
    VOCABULARY,
    parameters,
    records,
    run,
    run_with_attention,
    shapes,
)

import research
from research.data import EventData, SyntheticRecords
from research.errors import UserError
from research.experiment import Experiment
from research.losses import CrossEntropy
from research.models import Forward, RecordTransformer, functional
from research.optimizers import AdamW
from research.spec import apply_overrides, check
from research.task import Task

TINY = RecordTransformer(vocabulary=VOCABULARY, width=8, depth=1, heads=2, mlp_ratio=1, activation="relu")
BEHRT = TINY.replace(position="sinusoidal", clock="visit", age="bins", norm="post")
DECODER = TINY.replace(readout="each", causal=True, dropout=0.2, attention_dropout=0.2)
VALID = np.arange(LONGEST) < np.asarray(LENGTHS)[:, None]


@pytest.mark.parametrize("spec", [BEHRT.replace(dropout=0.2, attention_dropout=0.2), DECODER], ids=["BEHRT", "decoder"])
def test_padding_changes_nothing(spec):
    params = parameters(spec, records())
    expected, longer = run(spec, records(), params), records(10)
    beyond = np.arange(10) >= np.asarray(LENGTHS)[:, None]
    longer["codes"][beyond], longer["age"][beyond], longer["visit"][beyond] = 999, np.nan, 5
    found = run(spec, longer, params)
    if spec.readout == "each":
        found, expected = found[:, :LONGEST][VALID], expected[VALID]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    assert np.std(expected) > 1e-2


def test_the_decoder_sees_no_later_event():
    params = parameters(DECODER, records())
    before, later = run(DECODER, records(), params), records()
    later["codes"][:, 3:] = np.where(later["codes"][:, 3:] > 0, VOCABULARY - later["codes"][:, 3:], 0)
    for name in ("time", "age", "number"):
        later[name][:, 3:] += 1
    later["visit"][:, 3:] += 1
    after = run(DECODER, later, params)
    np.testing.assert_array_equal(after[:, :3], before[:, :3])
    assert np.abs(after - before)[0, 3:].max() > 1e-3
    outputs, noted = run_with_attention(DECODER, records(), params)
    half = run(DECODER, records(), params, train=False, dtype=jnp.bfloat16)
    assert 0 < np.abs(half - outputs)[VALID].max() < 0.2 * np.abs(outputs).max()
    allowed = np.tri(LONGEST, dtype=bool) & VALID[:, None, :] & VALID[:, :, None]
    for weights in noted.values():
        assert (weights[~np.broadcast_to(allowed[:, None], weights.shape)] == 0).all()
        np.testing.assert_allclose(weights.sum(-1).swapaxes(1, 2)[VALID], 1, rtol=1e-6)


@pytest.mark.parametrize(
    ("off", "names"),
    [
        ({}, {"codes", "time", "visit", "age", "number"}),
        ({"age": "bins"}, {"codes", "time", "visit", "age", "number"}),
        ({"age": "none"}, {"codes", "time", "visit", "number"}),
        ({"visits": False}, {"codes", "time", "age", "number"}),
        ({"visits": False, "position": "sinusoidal", "clock": "visit"}, {"codes", "visit", "age", "number"}),
        ({"position": "none"}, {"codes", "visit", "age", "number"}),
    ],
)
def test_sees_what_it_embeds_and_nothing_else(off, names):
    spec = TINY.replace(**off)
    params = parameters(spec, records())
    expected = run(spec, records(), params)
    for name in ("codes", "time", "visit", "age", "number"):
        changed = records()
        changed[name] = np.where(VALID, 1 + changed[name][:, ::-1] % 9, changed[name]).astype(changed[name].dtype)
        seen = np.abs(run(spec, changed, params) - expected).max() > 1e-4
        assert seen == (name in names), name


def test_what_is_not_known_adds_nothing():
    params = parameters(TINY, records())
    unknown, other = records(), records()
    unknown["number"][~unknown["number_known"]] = np.nan
    np.testing.assert_array_equal(run(TINY, unknown, params), run(TINY, records(), params))
    other["age"][:] = np.nan
    without = run(TINY, other, params)
    assert np.isfinite(without).all()
    np.testing.assert_allclose(without, run(TINY.replace(age="none"), records(), without_ages(params)), rtol=1e-5)


def without_ages(params):
    return {name: below for name, below in params.items() if name != "ages"}


def test_bins_of_age_are_years():
    spec = TINY.replace(age="bins", age_bin=10, position="none")
    params = parameters(spec, records())
    assert params["age_bins"]["table"].shape == (12, 8)

    def of_age(age):
        return run(spec, records() | {"age": np.full((ROWS, LONGEST), age, np.float32)}, params)

    np.testing.assert_array_equal(of_age(40), of_age(49.9))
    np.testing.assert_array_equal(of_age(119), of_age(300))
    assert np.abs(of_age(40) - of_age(50)).max() > 1e-4


def test_an_event_without_a_code_is_not_there():
    params = parameters(TINY.replace(position="none", readout="mean"), records())
    holes = records()
    holes["codes"][0, 2] = 0
    kept = {name: np.delete(x, 2, axis=1) if x.ndim > 1 else x - (np.arange(ROWS) == 0) for name, x in holes.items()}
    spec = TINY.replace(position="none", readout="mean")
    kept = {name: x.astype(holes[name].dtype) for name, x in kept.items()}
    np.testing.assert_allclose(run(spec, holes, params)[0], run(spec, kept, params)[0], rtol=1e-4, atol=1e-5)


def test_learns_which_code_comes_next():
    """Codes that count up: the next one is certain from the last."""
    start = np.arange(8)[:, None] % 6
    codes = 1 + (start + np.arange(6)) % 6
    zeros = np.zeros(codes.shape, np.float32)
    inputs = {"codes": codes[:, :-1].astype(np.int32), "length": np.full(8, 5, np.int32), "time": zeros[:, :-1]}
    spec = RecordTransformer(
        vocabulary=7, width=16, depth=1, heads=2, age="none", visits=False, readout="each", causal=True
    )
    optimizer = AdamW(learning_rate=1e-2).build(60)

    @jax.jit
    def train(key, inputs):
        params, _ = functional.initialise(spec, shapes(inputs), 7, key)

        def loss(params):
            logits, _ = functional.apply(spec, params, {}, inputs, 7, Forward(train=True), key)
            return optax.softmax_cross_entropy_with_integer_labels(logits, codes[:, 1:]).mean()

        def step(carry, _):
            value, gradient = jax.value_and_grad(loss)(carry[0])
            updates, state = optimizer.update(gradient, carry[1], carry[0])
            return (optax.apply_updates(carry[0], updates), state), value

        return jax.lax.scan(step, (params, optimizer.init(params)), length=60)[1]

    losses = np.asarray(train(jax.random.key(0), inputs))
    assert losses[0] > 1.5 and losses[-1] < 0.1


def test_number_of_parameters():
    def count(spec, inputs):
        return sum(leaf.size for leaf in jax.tree.leaves(parameters(spec, inputs)))

    inputs = records()
    block = 4 * 8 * 8 + 4 * 8 + 2 * 8 * 8 + 8 + 8 + 4 * 8
    number = 2 + 2 + 2 * 8
    base = (VOCABULARY - 1) * 8 + 2 * 8 + 2 * 8 + number + 2 * 8 + 8 + block + 2 * 8 + 8 * OUTPUTS + OUTPUTS
    assert count(TINY, inputs) == base
    assert count(TINY.replace(age="bins"), inputs) == base - 2 * 8 + 120 * 8
    assert count(TINY, {name: x for name, x in inputs.items() if "number" not in name}) == base - number
    assert count(TINY, inputs | {"static": np.zeros((ROWS, 3), np.float32)}) == base + 3 * OUTPUTS


def test_mistakes_are_named():
    def build(spec, inputs):
        return spec.build(shapes(inputs), 2, nnx.Rngs(0))

    inputs = records()
    with pytest.raises(UserError, match=r"takes records \(age, codes.*array of \(7,\)"):
        build(TINY, inputs["codes"])
    with pytest.raises(UserError, match=r"takes records.*visit.*a dict of age, codes, length, time\..*visits=false"):
        build(TINY, {name: inputs[name] for name in ("codes", "time", "age", "length")})
    with pytest.raises(UserError, match=r"number_known"):
        build(TINY, {name: x for name, x in inputs.items() if name != "number_known"})
    with pytest.raises(UserError, match=r"longest: the sequences have 7 steps"):
        build(TINY.replace(position="learned", longest=3), inputs)
    with pytest.raises(UserError, match=r"vocabulary"):
        check(TINY.replace(vocabulary=1))
    assert apply_overrides(TINY, ["clock=visit", "age=bins"]) == TINY.replace(clock="visit", age="bins")


def test_a_vocabulary_that_is_too_small_is_told() -> None:
    model, task = RecordTransformer(vocabulary=5), Task("binary", ("no", "yes"))
    model.check_data({"events": {"numbers": 5}}, task)
    with pytest.raises(UserError, match=r"model.vocabulary: 5 numbers for codes do not suffice, the data has 9"):
        model.check_data({"events": {"numbers": 9}}, task)


def test_a_run_whose_codes_do_not_fit_the_model_does_not_begin(tmp_path: Path) -> None:
    data = EventData(source=SyntheticRecords(patients=60), vocabulary=20)
    experiment = Experiment(data=data, model=RecordTransformer(vocabulary=8), loss=CrossEntropy(), steps=1)
    numbers = data.prepare().details()["events"]["numbers"]
    assert 8 < numbers <= 20
    message = rf"^model\.vocabulary: 8 numbers .* the data has {numbers}\. Set model\.vocabulary={numbers}, or"
    with pytest.raises(UserError, match=message + r" data\.vocabulary=8 to keep fewer codes\.$"):
        research.run(experiment, runs=tmp_path)
    assert not list(tmp_path.rglob("checkpoints"))
    assert data.replace(vocabulary=8).prepare().details()["events"]["numbers"] == 8
