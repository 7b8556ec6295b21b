"""Recurrent layers against the equations in plain NumPy, against torch, and over padding."""

from __future__ import annotations

import functools
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch_order
from flax import nnx

from research.models.layers import DecayRecurrent, Recurrent, recurrent
from research.models.layers.recurrent import GATES, CellName
from research.models.layers.recurrent_gru import gru_over_time
from research.models.layers.recurrent_lstm import lstm_over_time
from research.models.model import Forward
from research.training.collectives import collectives

B, T, C, H = 3, 6, 4, 5
RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(B, T, C)).astype(np.float32)
LENGTHS = np.asarray([6, 1, 4])
VALID = np.arange(T)[None, :] < LENGTHS[:, None]
OBSERVED = RANDOM.random((B, T, C)) < 0.6
SINCE = RANDOM.random((B, T, C)).astype(np.float32)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def layer(cell: CellName, backwards: bool = False) -> Recurrent:
    made = Recurrent(C, H, cell=cell, backwards=backwards, rngs=nnx.Rngs(1))
    made.bias.set_value(jnp.asarray(RANDOM.normal(size=made.bias.shape), jnp.float32))
    if made.candidate_bias is not None:
        made.candidate_bias.set_value(jnp.asarray(RANDOM.normal(size=H), jnp.float32))
    return made


def by_hand(made: Recurrent, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Hidden states and last state of one series, step by step, gate by gate, in float64."""
    gates = {"simple": 1, "lstm": 4, "gru": 3}[made.cell]
    w, u, b = (
        np.split(np.asarray(p[...], np.float64), gates, axis=-1) for p in (made.input_kernel, made.kernel, made.bias)
    )
    h, c, found = np.zeros(H), np.zeros(H), []
    for now in x.astype(np.float64):
        from_input, from_hidden = [now @ k + o for k, o in zip(w, b, strict=True)], [h @ k for k in u]
        if made.cell == "simple":
            h = np.tanh(from_input[0] + from_hidden[0])
        elif made.cell == "lstm":
            i, f, g, o = (p + q for p, q in zip(from_input, from_hidden, strict=True))
            c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
            h = sigmoid(o) * np.tanh(c)
        else:
            assert made.candidate_bias is not None
            r, z = (sigmoid(from_input[k] + from_hidden[k]) for k in (0, 1))
            n = np.tanh(from_input[2] + r * (from_hidden[2] + np.asarray(made.candidate_bias[...], np.float64)))
            h = (1 - z) * n + z * h
        found.append(h)
    return np.stack(found), h


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("cell", ["simple", "lstm", "gru"])
def test_each_series_is_that_of_its_true_steps(cell: CellName, backwards: bool) -> None:
    made = layer(cell, backwards)
    run = jax.jit(lambda x, valid: made(x, valid, Forward()))
    hidden, last = jax.device_get(run(jnp.asarray(X), jnp.asarray(VALID)))
    for row, length in enumerate(LENGTHS):
        x = X[row, :length]
        expected, end = by_hand(made, x[::-1] if backwards else x)
        np.testing.assert_allclose(hidden[row, :length], expected[::-1] if backwards else expected, atol=1e-5)
        np.testing.assert_allclose(last[0][row], end, atol=1e-5)
        assert not hidden[row, length:].any()


def step_by_step(
    step: Any, maps: Any, initial: Any, arrived: Any, valid: Any, backwards: bool = False
) -> tuple[Any, Any]:
    """As `over_time`, one step after the other, differentiated by JAX as it stands."""
    state, found = initial, [jnp.zeros_like(initial[0])] * T
    for now in reversed(range(T)) if backwards else range(T):
        new = step(state, jax.tree.map(lambda each, now=now: each[:, now], arrived), lambda number, x: maps[number](x))
        counts = valid[:, now, None]
        state = tuple(jnp.where(counts, moved, old) for moved, old in zip(new, state, strict=True))
        found[now] = jnp.where(counts, state[0], 0)
    return jnp.stack(found, 1), state


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("cell", ["simple", "lstm", "gru", "gru backwards", "grud"])
def test_gradients_are_those_taken_step_by_step(cell: Any, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made = DecayRecurrent(C, H, rngs=nnx.Rngs(2)) if cell == "grud" else layer(cell.split()[0], cell.endswith("s"))
    graph, params = nnx.split(made)
    weights = jnp.asarray(RANDOM.normal(size=(B, T, H)), jnp.float32)

    def loss(params: Any, x: Any) -> Any:
        own = nnx.merge(graph, params)
        given: tuple[Any, ...] = (x.astype(dtype),)
        if cell == "grud":
            given = (*given, jnp.asarray(OBSERVED), jnp.asarray(SINCE))
        hidden, last = own(*given, jnp.asarray(VALID), Forward())
        return (weights * hidden.astype(jnp.float32)).sum() + sum((part**2).sum() for part in last)

    differentiate = jax.jit(jax.value_and_grad(loss, (0, 1)))
    found = differentiate(params, jnp.asarray(X))
    monkeypatch.setattr(recurrent, "over_time", step_by_step)
    expected = jax.jit(jax.value_and_grad(loss, (0, 1)))(params, jnp.asarray(X))
    tolerance = 1e-5 if dtype == "float32" else 0.03
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance * max(1.0, float(jnp.abs(other).max())))
    assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(found))


def one_step(cell: str, gates: Any, inner: Any, states: Any) -> Any:
    """The plain equations, from what input and state add to the gates."""
    split = 4 if cell == "lstm" else 3
    own, through = (jnp.split(part, split, axis=1) for part in gates)
    if cell == "lstm":
        i, f, g, o = (p + q for p, q in zip(own, through, strict=True))
        moved = jax.nn.sigmoid(f) * states[1] + jax.nn.sigmoid(i) * jnp.tanh(g)
        return jax.nn.sigmoid(o) * jnp.tanh(moved), moved
    r, z = (jax.nn.sigmoid(own[k] + through[k]) for k in (0, 1))
    return ((1 - z) * jnp.tanh(own[2] + r * (through[2] + inner)) + z * states[0],)


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_derivatives_are_those_of_the_equations(cell: str, backwards: bool) -> None:
    """In float64, over any masks and initial states, against JAX's own derivative of the plain equations."""
    random, (rows, steps, features, width) = np.random.default_rng(3), (3, 5, 2, 4)
    parts, gates = (2, 4) if cell == "lstm" else (1, 3)

    def draw(*sizes: int) -> Any:
        return jnp.asarray(random.normal(size=sizes))

    with jax.enable_x64(True):
        inner = draw(width)
        kernels = draw(features, gates * width), draw(width, gates * width), draw(gates * width)
        initial, x = tuple(draw(rows, width) for _ in range(parts)), draw(steps, rows, features)
        valid = jnp.asarray(random.random((steps, rows)) < 0.7)
        weights = draw(steps, rows, width), *(draw(rows, width) for _ in range(parts))

        def plain(x: Any, kernels: Any, inner: Any, initial: Any) -> Any:
            states, found = initial, [initial[0]] * steps
            for now in reversed(range(steps)) if backwards else range(steps):
                added = x[now] @ kernels[0] + kernels[2][None], states[0] @ kernels[1]
                new = one_step(cell, added, inner[None], states)
                counts = valid[now][:, None]
                states = tuple(jnp.where(counts, moved, old) for moved, old in zip(new, states, strict=True))
                found[now] = states[0]
            return jnp.stack(found), states

        def own(x: Any, kernels: Any, inner: Any, initial: Any) -> Any:
            if cell == "lstm":
                return lstm_over_time(x, kernels, initial, valid, backwards)
            hidden, last = gru_over_time(x, (*kernels, inner), initial[0], valid, backwards)
            return hidden, (last,)

        def differentiated(function: Any) -> Any:
            def weighted(*given: Any) -> Any:
                hidden, last = function(*given)
                return sum((weight * part).sum() for weight, part in zip(weights, (hidden, *last), strict=True))

            return jax.jit(jax.value_and_grad(weighted, (0, 1, 2, 3)))(x, kernels, inner, initial)

        for one, other in zip(*(jax.tree.leaves(differentiated(each)) for each in (own, plain)), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_a_step_copies_no_series(cell: CellName) -> None:
    """The gates of all steps are written in place: a copy of them in each step would cost five times the update."""
    graph, params = nnx.split(layer(cell))

    def loss(params: Any) -> Any:
        return nnx.merge(graph, params)(jnp.asarray(X), jnp.asarray(VALID), Forward())[0].sum()

    text = jax.jit(jax.grad(loss)).lower(params).compile().as_text() or ""
    bodies = [part for part in text.split("\n}\n") if "dynamic-update-slice" in part and "parameter(0)" in part]
    assert bodies
    assert not [line for part in bodies for line in part.splitlines() if re.search(rf"copy\S* = f32\[{T},{B},", line)]


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_the_gradient_of_a_kernel_is_one_message_between_devices(cell: CellName) -> None:
    """Rows on two devices: not one message for each step."""
    mesh = jax.make_mesh((2,), ("rows",), axis_types=(jax.sharding.AxisType.Auto,))
    rows, whole = (jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(*axes)) for axes in (("rows",), ()))
    graph, params = nnx.split(layer(cell))

    def loss(params: Any, x: Any, valid: Any) -> Any:
        return nnx.merge(graph, params)(x, valid, Forward())[0].sum()

    like = [jax.ShapeDtypeStruct((4, *given.shape[1:]), given.dtype, sharding=rows) for given in (X, VALID)]
    params = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=whole), params)
    sent = collectives(jax.jit(jax.grad(loss)).lower(params, *like).compile().as_text(), 2)
    assert set(sent) == {"all-reduce"} and sent["all-reduce"].count <= len(jax.tree.leaves(params))


# PYTHONPATH=tests python scripts/prove/torch_signals.py, torch 2.13.0: of three series the hidden states, then the end.
OF_TORCH = {
    "simple forwards": [4.43183, 0.437087, 1.3941, 0.565727, 1.85016, 1.3941],
    "simple backwards": [-2.4361, 2.206, 0.238694, -1.40984, 0.474541, 0.238694],
    "lstm forwards": [0.873143, 0.158856, -0.0794059, 0.365649, -0.0806726, -0.999159],
    "lstm backwards": [0.216172, 0.665544, 0.307224, 0.868088, 1.33963, 0.654441],
    "gru forwards": [-0.118397, -1.6281, -0.211072, -0.670797, -0.7195, -0.211072],
    "gru backwards": [0.613905, -1.35636, -0.793403, 0.149868, -0.0876013, -0.793403],
}


@functools.cache
def as_in_torch(cell: CellName) -> list[np.ndarray]:
    """Kernels and biases of one direction after the other, in the order and the axes of torch."""
    gates = GATES[cell]
    shapes = (("kernel", (gates * H, C)), ("kernel", (gates * H, H)), *[("bias", (gates * H,))] * 2)
    return torch_order.values(shapes * 2)


@pytest.mark.parametrize("name", OF_TORCH)
def test_layers_equal_torch_by_its_values(name: str) -> None:
    """Of torch's bidirectional layers on packed sequences, so each direction begins where the series does."""
    cell, _, direction = name.partition(" ")
    made = Recurrent(C, H, cell=cell, backwards=direction == "backwards", rngs=nnx.Rngs(1))
    kernel, recurrent, bias, other = as_in_torch(cell)[4 * made.backwards :][:4]
    if made.candidate_bias is not None:
        made.candidate_bias.set_value(jnp.asarray(other[2 * H :]))
        other = np.r_[other[: 2 * H], np.zeros(H, np.float32)]
    for parameter, value in ((made.input_kernel, kernel.T), (made.kernel, recurrent.T), (made.bias, bias + other)):
        assert parameter.shape == value.shape
        parameter.set_value(jnp.asarray(value))
    x, valid = torch_order.images((3, 5, C)), np.arange(5) < np.asarray([5, 3, 1])[:, None]
    hidden, last = made(jnp.asarray(x), jnp.asarray(valid), Forward())
    found = [torch_order.digest(row) for row in (*np.asarray(hidden), *np.concatenate(last, axis=1))]
    np.testing.assert_allclose(found, OF_TORCH[name], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("cell", ["simple", "lstm", "gru"])
def test_layers_agree_with_torch_on_shared_weights(cell: CellName) -> None:
    torch = pytest.importorskip("torch")
    made = layer(cell)
    theirs = {"simple": torch.nn.RNN, "lstm": torch.nn.LSTM, "gru": torch.nn.GRU}[cell](C, H, batch_first=True)
    candidate = np.zeros(made.kernel.shape[1], np.float32)
    if made.candidate_bias is not None:
        candidate[2 * H :] = np.asarray(made.candidate_bias[...])
    weights = (made.input_kernel[...].T, made.kernel[...].T, made.bias[...], candidate)
    with torch.no_grad():
        for name, value in zip(("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"), weights, strict=True):
            getattr(theirs, name).copy_(torch.tensor(np.asarray(value)))
        expected = theirs(torch.tensor(X))[0].numpy()
    hidden, _ = made(jnp.asarray(X), jnp.ones((B, T), bool), Forward())
    np.testing.assert_allclose(hidden, expected, atol=1e-5)


def test_gru_d_is_that_of_the_paper() -> None:
    """Equations 10 to 17 of Che et al. 2018, step by step."""
    made = DecayRecurrent(C, H, rngs=nnx.Rngs(2))
    for name in ("bias", "input_decay_bias", "hidden_decay_bias", "hidden_decay", "input_decay"):
        parameter = getattr(made, name)
        parameter.set_value(jnp.asarray(RANDOM.normal(size=parameter.shape), jnp.float32))
    mask = RANDOM.random((B, T, C)) < 0.4
    since = RANDOM.random((B, T, C)).astype(np.float32) * 3
    run = jax.jit(lambda *given: made(*given, Forward()))
    hidden, last = jax.device_get(run(*map(jnp.asarray, (X, mask, since, VALID))))

    def of(name: str, parts: int = 1) -> Any:
        value = np.asarray(getattr(made, name)[...], np.float64)
        return np.split(value, parts, axis=-1) if parts > 1 else value

    (wr, wz, w), (vr, vz, v), (br, bz, b) = (of(name, 3) for name in ("input_kernel", "mask_kernel", "bias"))
    (ur, uz), u = of("gate_kernel", 2), of("candidate_kernel")
    for row, length in enumerate(LENGTHS):
        h = np.zeros(H)
        for t in range(length):
            m, x, d = mask[row, t].astype(np.float64), X[row, t].astype(np.float64), since[row, t].astype(np.float64)
            input_decay = np.exp(-np.maximum(0, of("input_decay") * d + of("input_decay_bias")))
            hidden_decay = np.exp(-np.maximum(0, d @ of("hidden_decay") + of("hidden_decay_bias")))
            x = m * x + (1 - m) * input_decay * x
            h = hidden_decay * h
            r = sigmoid(x @ wr + h @ ur + m @ vr + br)
            z = sigmoid(x @ wz + h @ uz + m @ vz + bz)
            h = (1 - z) * h + z * np.tanh(x @ w + (r * h) @ u + m @ v + b)
            np.testing.assert_allclose(hidden[row, t], h, atol=1e-5)
        np.testing.assert_allclose(last[0][row], h, atol=1e-5)
