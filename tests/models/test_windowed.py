"""Windows: which there are, what is made of their outputs, and training on pieces."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from filled import parameters
from flax import nnx
from signal_models import evaluation, pick, ragged, shapes, training

from research.errors import UserError
from research.models import FCN, RNN, Forward, SeriesMLP, Windowed, functional
from research.models.windowed import windows
from research.spec import apply_overrides, check

INNER = FCN(widths=(3,), kernels=(3,))
LENGTHS = (20, 13, 8, 5, 9)


def starts(length, window, stride):
    """By definition: one after another, the last flush with the end."""
    if length <= window:
        return [0]
    found = list(range(0, length - window, stride))
    return [*found, length - window]


@pytest.mark.parametrize(("combine", "stride"), [("max", None), ("mean", 5)])
def test_equals_its_definition(combine, stride):
    """And what a series is padded with changes nothing."""
    spec = Windowed(model=INNER, length=8, stride=stride, combine=combine)
    inputs = ragged(LENGTHS, 20)

    def piece(row, start):
        alone = pick(inputs, row)
        cut = {name: x[:, start : start + 8] for name, x in alone.items() if name in ("values", "observed", "time")}
        size = cut["values"].shape[1]
        filled = {name: np.pad(x, ((0, 0), (0, 8 - size), *[(0, 0)] * (x.ndim - 2))) for name, x in cut.items()}
        return filled | {"length": np.array([size], np.int32), "static": alone["static"]}

    begins = [starts(length, 8, stride or 4) for length in LENGTHS]
    pieces = [piece(row, start) for row, found in enumerate(begins) for start in found]
    together = {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}

    @jax.jit
    def run(params, state, inputs, longer, together):
        whole = [evaluation(spec, {"inner": params}, {"inner": state}, x) for x in (inputs, longer)]
        return *whole, evaluation(INNER, params, state, together)

    values = parameters(INNER, inputs)
    found, padded, by_window = (np.asarray(part) for part in run(*values, inputs, ragged(LENGTHS, 26), together))
    ends = np.cumsum([len(found) for found in begins])
    assert [len(found) for found in begins] == ([4, 2, 1, 1, 2] if stride else [4, 3, 1, 1, 2])
    reduce = np.max if combine == "max" else np.mean
    expected = [reduce(windows, axis=0) for windows in np.split(by_window, ends[:-1])]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(padded, expected, rtol=1e-4, atol=1e-5)


def test_ten_seconds_have_the_windows_of_the_benchmark():
    """1000 samples in windows of 250: seven, of which neighbours share half."""
    begin, counts = windows(jnp.array([1000, 999, 376, 375, 250, 1], jnp.int32), 1000, 250, 125)
    np.testing.assert_array_equal(begin[:, 0], np.arange(0, 751, 125))
    np.testing.assert_array_equal(counts.sum(0), [7, 7, 3, 2, 1, 1])
    np.testing.assert_array_equal(begin[:3, 2], [0, 125, 126])


def test_training_passes_pieces_on():
    spec = Windowed(model=INNER.replace(dropout=0.3), length=8)
    inputs = ragged((8, 8, 5, 8), 8)
    mask = np.ones(4, bool)

    @jax.jit
    def run(params, state, inputs):
        whole = training(spec, {"inner": params}, {"inner": state}, inputs, mask)
        return whole, training(spec.model, params, state, inputs, mask)

    (outputs, state), (expected, inner_state) = run(*parameters(INNER, inputs), inputs)
    np.testing.assert_array_equal(outputs, expected)
    jax.tree.map(np.testing.assert_array_equal, state["inner"], inner_state)


def test_a_model_of_one_length_is_made_for_a_window():
    spec = Windowed(model=SeriesMLP(widths=(3,), dropout=None), length=8)
    params, _ = jax.eval_shape(lambda: functional.initialise(spec, shapes(20, 2), 2, jax.random.key(0)))
    assert params["inner"]["hidden"][0]["kernel"].shape == (16, 3)


def test_mistakes_are_named():
    module = Windowed(model=INNER, length=8).build(shapes(20, 2, 2), 2, nnx.Rngs(0))
    inputs = jax.tree.map(jnp.asarray, ragged(LENGTHS, 20))
    with pytest.raises(UserError, match=r"windows of 8 steps, but these series have 20.*SeriesAugmentation\(crop=8\)"):
        module(inputs, Forward(train=True))
    each = Windowed(model=RNN(cell="simple", widths=(2,), readout="each"), length=8)
    with pytest.raises(UserError, match=r"outputs for each step.*'each'"):
        jax.eval_shape(lambda x: each.build(shapes(20, 2, 2), 2, nnx.Rngs(0))(x, Forward()), inputs)
    with pytest.raises(UserError, match=r"stride: with 9 steps.*at most 8"):
        check(Windowed(model=INNER, length=8, stride=9))
    with pytest.raises(UserError, match=r"takes series"):
        Windowed(model=INNER, length=8).build(jax.ShapeDtypeStruct((3,), jnp.float32), 2, nnx.Rngs(0))
    assert apply_overrides(Windowed(model=INNER, length=8), ["stride=3", "model.dropout=0.1"]) == Windowed(
        model=INNER.replace(dropout=0.1), length=8, stride=3
    )
