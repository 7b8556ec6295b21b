"""Recurrent networks: padding changes nothing, the readouts read what they say, and what is refused."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from research import keys
from research.errors import UserError
from research.models import MLP, RNN, functional
from research.models.model import Forward
from research.models.series import channels_of, time_since_observed
from research.spec import check
from research.task import Task

B, T, C = 4, 7, 3


def series(
    padding: int = 0, static: bool = False, seed: int = 0, lengths: Any = None, junk: int | None = None
) -> dict[str, jax.Array]:
    """Inputs with ``padding`` further steps.

    What lies beyond the lengths is 0, as data gives it, or numbers drawn from ``junk``, which must not count.
    """
    random = np.random.default_rng(seed)
    drawn = random.integers(1, T + 1, B)
    lengths = np.asarray(drawn if lengths is None else lengths, np.int32)
    found: dict[str, Any] = {
        "values": random.normal(size=(B, T, C)).astype(np.float32),
        "observed": random.random((B, T, C)) < 0.6,
        "time": np.cumsum(random.random((B, T)), axis=1).astype(np.float32),
    }
    beyond = np.arange(T + padding)[None, :] >= lengths[:, None]
    other = np.random.default_rng(junk)
    for name, array in found.items():
        padded = np.pad(array, ((0, 0), (0, padding), *[(0, 0)] * (array.ndim - 2)))
        numbers = np.zeros(padded.shape) if junk is None else other.uniform(-100, 100, padded.shape)
        padded[beyond] = (numbers > 0 if name == "observed" else numbers)[beyond]
        found[name] = padded
    found["length"] = lengths
    if static:
        found["static"] = random.normal(size=(B, 2)).astype(np.float32)
    return {name: jnp.asarray(array) for name, array in found.items()}


def outputs(model: RNN, inputs: dict[str, jax.Array], train: bool = True, attention: Any = None) -> np.ndarray:
    """Outputs with dropout; the weights do not depend on the number of steps."""
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), inputs)

    params, state = functional.initialise(model, shapes, 2, jax.random.key(0))

    def run(inputs: Any) -> Any:
        draws = keys.example_keys(jax.random.key(1), jnp.arange(B, dtype=jnp.int32))
        forward = Forward(train=train, keys=draws, attention={} if attention is not None else None)
        found = functional.apply(model, params, state, inputs, 2, forward, jax.random.key(2))[0]
        return found, forward.attention

    found, weights = jax.device_get(jax.jit(run)(inputs))
    if attention is not None:
        attention |= weights
    return found


MODELS = {
    "simple, last": RNN(cell="simple", widths=(4,), dropout=0.5, dense_widths=(3,)),
    "lstm, both ways, two layers": RNN(cell="lstm", widths=(4, 3), bidirectional=True, dropout=0.5),
    "gru, mean, all channels": RNN(cell="gru", widths=(4,), readout="mean", channels=("values", "observed", "since")),
    "gru, max": RNN(cell="gru", widths=(4,), readout="max", dropout=0.5),
    "lstm, attention": RNN(cell="lstm", widths=(4,), readout="attention"),
    "gru-d": RNN(cell="grud", widths=(4, 3), dropout=0.5),
    "lstm, steps ahead": RNN(cell="lstm", widths=(4, 3), steps_ahead=2, dropout=0.5, dense_widths=(3,)),
    "gru-d, steps ahead": RNN(cell="grud", widths=(4,), steps_ahead=2, dropout=0.5),
    "each": RNN(cell="gru", widths=(4,), bidirectional=True, readout="each", dropout=0.5),
}


@functools.cache
def in_training(name: str) -> Any:
    """A compiled pass with dropout, whose weights do not depend on the number of steps."""
    model = MODELS[name]
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), series(static=True))
    params, state = functional.initialise(model, shapes, 2, jax.random.key(0))

    def run(inputs: Any) -> Any:
        forward = Forward(train=True, keys=keys.example_keys(jax.random.key(1), jnp.arange(B, dtype=jnp.int32)))
        return functional.apply(model, params, state, inputs, 2, forward, jax.random.key(2))[0]

    return jax.jit(run)


@pytest.mark.parametrize("name", MODELS)
@settings(max_examples=8, deadline=None, derandomize=True)
@given(
    lengths=st.lists(st.integers(1, T), min_size=B, max_size=B),
    seed=st.integers(0, 2**31),
    junk=st.tuples(st.integers(0, 2**31), st.one_of(st.none(), st.integers(0, 2**31))),
)
def test_padding_changes_nothing_with_dropout(name: str, lengths: list[int], seed: int, junk: tuple[int, Any]) -> None:
    run, valid = in_training(name), np.arange(T)[None, :] < np.asarray(lengths)[:, None]
    paddings = ((0, None), (0, junk[0]), (3, junk[1]))
    plain, other, longer = (
        np.asarray(run(series(more, static=True, seed=seed, lengths=lengths, junk=numbers)))
        for more, numbers in paddings
    )
    if name == "each":
        plain, other, longer = plain[valid], other[valid], longer[:, :T][valid]
    assert np.isfinite(plain).all()
    np.testing.assert_array_equal(other, plain)
    np.testing.assert_allclose(longer, plain, atol=1e-6)


@pytest.mark.parametrize("cell", ["lstm", "grud"])
def test_later_steps_change_no_earlier_output(cell: Any) -> None:
    model, inputs = RNN(cell=cell, widths=(4,), readout="each", dropout=0.5), series()
    changed = inputs | {"values": inputs["values"].at[:, 4:].add(1.0)}
    before, after = (outputs(model, given) for given in (inputs, changed))
    np.testing.assert_array_equal(before[:, :4], after[:, :4])
    assert (before != after).any()


def test_order_of_the_rows_changes_nothing() -> None:
    inputs, order = series(static=True), np.asarray([2, 0, 3, 1])
    model = RNN(cell="gru", widths=(4,), readout="attention")
    found = outputs(model, inputs, train=False)
    moved = outputs(model, jax.tree.map(lambda x: x[order], inputs), train=False)
    np.testing.assert_allclose(moved, found[order], atol=1e-6)


def test_attention_is_given_when_asked_for_and_changes_no_bit() -> None:
    model, inputs, weights = RNN(widths=(4,), readout="attention"), series(padding=2), {}
    asked = outputs(model, inputs, attention=weights)
    np.testing.assert_array_equal(asked, outputs(model, inputs))
    (found,) = weights.values()
    assert found.shape == (B, 1, 1, T + 2)
    np.testing.assert_allclose(found.sum(-1), 1, atol=1e-6)
    beyond = np.arange(T + 2)[None, :] >= np.asarray(inputs["length"])[:, None]
    assert not found[:, 0, 0][beyond].any() and (found[:, 0, 0][~beyond] > 0).all()


def test_time_since_the_last_measurement() -> None:
    """The worked example of Che et al. 2018, figure 2."""
    time = jnp.asarray([[0.0, 0.1, 0.6, 1.6, 2.2, 2.5, 3.1]])
    observed = jnp.asarray([[[1, 0], [0, 1], [0, 0], [1, 0], [0, 0], [1, 1], [0, 0]]], bool)
    expected = [[0, 0], [0.1, 0.1], [0.6, 0.5], [1.6, 1.5], [0.6, 2.1], [0.9, 2.4], [0.6, 0.6]]
    np.testing.assert_allclose(time_since_observed(observed, time)[0], expected, atol=1e-6)


def test_channels_stand_side_by_side_and_padding_is_zero() -> None:
    inputs = series(padding=2)
    found = np.asarray(channels_of(inputs, ("values", "observed", "since")))
    assert found.shape == (B, T + 2, 3 * C)
    np.testing.assert_array_equal(found[..., :C], inputs["values"])
    np.testing.assert_array_equal(found[..., C : 2 * C], inputs["observed"])
    beyond = np.arange(T + 2)[None, :] >= np.asarray(inputs["length"])[:, None]
    assert not found[beyond].any() and (found[..., 2 * C :] >= 0).all()


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (RNN(widths=()), "widths: at least one recurrent layer"),
        (RNN(channels=()), "channels: one or more different channels"),
        (RNN(cell="grud", bidirectional=True), "bidirectional: GRU-D decays forwards"),
        (RNN(cell="grud", channels=("values", "observed")), "channels: GRU-D reads values, mask and times by itself"),
        (RNN(steps_ahead=2, bidirectional=True), "bidirectional: with steps_ahead the forecast goes on from the last"),
        (RNN(steps_ahead=2, readout="mean"), "readout: with steps_ahead .* readout=mean was given"),
        (RNN(steps_ahead=1), "steps_ahead"),
    ],
)
def test_what_does_not_go_together_is_said(model: RNN, message: str) -> None:
    with pytest.raises(UserError, match=message):
        check(model)


def test_gru_d_needs_values_carried_forward_and_means_of_zero() -> None:
    model, task = RNN(cell="grud"), Task("binary", ("low", "high"))

    def details(gaps: bool = True, impute: str = "forward", scaling: str = "train") -> dict[str, Any]:
        return {"series": {"gaps": gaps, "impute": impute, "scaling": scaling}}

    model.check_data(details(), task)
    model.check_data(details(gaps=False, impute="none", scaling="none"), task)
    RNN().check_data(details(impute="mean", scaling="none"), task)
    with pytest.raises(UserError, match=r"data\.impute: GRU-D .* mean was given. Set data\.impute=forward"):
        model.check_data(details(impute="mean"), task)
    with pytest.raises(UserError, match=r"data\.scaling: GRU-D .* none was given. Set data\.scaling=train"):
        model.check_data(details(scaling="none"), task)


def test_other_inputs_are_refused_in_words() -> None:
    with pytest.raises(UserError, match=r"RNN takes series .* one example is an array of \(3,\). Use SeriesData"):
        functional.initialise(RNN(), jax.ShapeDtypeStruct((3,), jnp.float32), 2, jax.random.key(0))
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), series())
    with pytest.raises(UserError, match="MLP takes one array per example"):
        functional.initialise(MLP(), shapes, 2, jax.random.key(0))
