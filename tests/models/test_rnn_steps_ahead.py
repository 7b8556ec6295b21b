"""Autoregressive forecasts: the recurrence in plain NumPy, no look ahead, draws of each step, and what is refused."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sequences import parameters, series, shapes

from research import keys
from research.errors import UserError
from research.losses import Quantile
from research.models import RNN, Forward, functional
from research.models.rnn import Cell
from research.task import Task
from research.training.flops import flops

LENGTHS = (7, 4, 1)
INPUTS = series()
TASK = Task("regression", ("5 min", "10 min", "15 min"))
STEPS, EACH = 3, 2
"""Steps ahead, and outputs of each of them."""


@functools.partial(jax.jit, static_argnames=("outputs", "train", "dtype"))
def _run(spec: RNN, params: Any, inputs: Any, example: Any, outputs: int, train: bool, dtype: Any) -> Any:
    forward = Forward(train=train, keys=keys.example_keys(jax.random.key(7), example) if train else None)
    return functional.apply(spec, params, {}, inputs, outputs, forward, jax.random.key(0), dtype)[0]


def run(
    spec: RNN, params: Any, outputs: int, train: bool = False, rows: Any = slice(None), dtype: Any = jnp.float32
) -> np.ndarray:
    """Outputs of some rows, the draws belonging to the rows."""
    example = np.arange(len(LENGTHS), dtype=np.int32)[rows]
    inputs = {name: value[rows] for name, value in INPUTS.items()}
    return np.asarray(_run(spec, params, inputs, example, outputs, train, dtype))


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def cell_step(name: str, p: Any, state: tuple[np.ndarray, ...], x: np.ndarray) -> tuple[np.ndarray, ...]:
    """The equations of the cells once more, gate by gate."""
    gates = {"lstm": 4, "gru": 3}[name]
    y = np.split(x @ p["input_kernel"] + p["bias"], gates)
    r = np.split(state[0] @ p["kernel"], gates)
    if name == "lstm":
        i, f, g, o = (a + b for a, b in zip(y, r, strict=True))
        c = sigmoid(f) * state[1] + sigmoid(i) * np.tanh(g)
        return sigmoid(o) * np.tanh(c), c
    n = np.tanh(y[2] + sigmoid(y[0] + r[0]) * (r[2] + p["candidate_bias"]))
    z = sigmoid(y[1] + r[1])
    return ((1 - z) * n + z * state[0],)


def by_hand(spec: RNN, params: Any, row: int) -> np.ndarray:
    """Encoder, decoder and head of one series, a step at a time, in float64."""
    params = jax.tree.map(lambda p: np.asarray(p, np.float64), params)
    x = np.asarray(INPUTS["values"][row, : LENGTHS[row]], np.float64)
    states = []
    for number, width in enumerate(spec.widths):
        state: tuple[np.ndarray, ...] = (np.zeros(width),) * (2 if spec.cell == "lstm" else 1)
        hidden = []
        for now in x:
            state = cell_step(spec.cell, params["layers"][number][0], state, now)
            hidden.append(state[0])
        x = np.stack(hidden)
        states.append(state)

    def said(hidden: np.ndarray) -> np.ndarray:
        beside = np.concatenate([hidden, INPUTS["static"][row].astype(np.float64)])
        layer, output = params["dense"][0], params["output"]
        return np.maximum(beside @ layer["kernel"] + layer["bias"], 0) @ output["kernel"] + output["bias"]

    found = [said(states[-1][0])]
    for _ in range(STEPS - 1):
        now = found[-1]
        for number in range(len(spec.widths)):
            states[number] = cell_step(spec.cell, params["decoder"][number], states[number], now)
            now = states[number][0]
        found.append(said(now))
    return np.concatenate(found)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_each_forecast_is_the_input_of_the_next(cell: Cell) -> None:
    spec = RNN(cell=cell, widths=(4, 3), steps_ahead=STEPS, dense_widths=(5,))
    params = parameters(spec, INPUTS, STEPS * EACH)
    found = run(spec, params, STEPS * EACH)
    for row in range(len(LENGTHS)):
        np.testing.assert_allclose(found[row], by_hand(spec, params, row), atol=2e-5)
    half = run(spec, params, STEPS * EACH, dtype=jnp.bfloat16)
    assert half.dtype == np.float32 and 0 < np.abs(half - found).max() < 0.2


def test_later_steps_change_no_earlier_one() -> None:
    """In training, the first steps are those of a model of fewer steps, and the very first that of a direct model."""
    spec = RNN(cell="gru", widths=(4, 3), steps_ahead=4, dropout=0.5)
    params = parameters(spec, INPUTS, 4 * EACH)
    every = run(spec, params, 4 * EACH, train=True)
    fewer = run(spec.replace(steps_ahead=2), params, 2 * EACH, train=True)
    np.testing.assert_allclose(fewer, every[:, : 2 * EACH], atol=1e-6)
    direct = {name: part for name, part in params.items() if name != "decoder"}
    np.testing.assert_allclose(run(spec.replace(steps_ahead=None), direct, EACH, True), every[:, :EACH], atol=1e-6)


def test_what_is_dropped_belongs_to_the_example_and_differs_from_step_to_step() -> None:
    spec = RNN(cell="gru", widths=(64,), steps_ahead=STEPS, dropout=0.5)
    params = parameters(spec, INPUTS, STEPS * EACH)
    every = run(spec, params, STEPS * EACH, train=True)
    np.testing.assert_allclose(run(spec, params, STEPS * EACH, True, np.asarray([2, 0])), every[[2, 0]], atol=1e-6)
    # An output is the sum of the units, each of which is 1 after any step: so it tells how many were kept.
    params = jax.tree.map(np.zeros_like, params)
    params["output"]["kernel"][:64] = 1
    for layer in (params["layers"][0][0], params["decoder"][0]):
        layer["bias"][64:128], layer["bias"][128:] = -50, 50
    kept = run(spec, params, STEPS * EACH, train=True)[:, ::EACH] / 2
    assert len(np.unique(kept)) > 4 and (kept > 20).all() and (kept < 44).all()
    assert (np.ptp(kept, axis=1) > 0).all()


def test_parameters_and_arithmetic_are_those_of_the_equations() -> None:
    spec = RNN(cell="gru", widths=(4, 3), steps_ahead=STEPS)
    params = parameters(spec, INPUTS, STEPS * EACH)
    direct = parameters(spec.replace(steps_ahead=None), INPUTS, EACH)
    more = sum(p.size for p in jax.tree.leaves(params)) - sum(p.size for p in jax.tree.leaves(direct))
    assert more == 3 * 4 * (EACH + 4 + 1) + 4 + 3 * 3 * (4 + 3 + 1) + 3

    def forward(params: Any) -> Any:
        inputs = jax.tree.map(jnp.asarray, INPUTS)
        return functional.apply(spec, params, {}, inputs, STEPS * EACH, Forward(), jax.random.key(0))[0]

    rows, steps = INPUTS["values"].shape[:2]
    encoder = steps * 2 * rows * 3 * (2 * 4 + 4 * 4 + 4 * 3 + 3 * 3)
    decoder = (STEPS - 1) * 2 * rows * 3 * (EACH * 4 + 4 * 4 + 4 * 3 + 3 * 3)
    head = STEPS * 2 * rows * (3 + 3) * EACH
    assert flops(jax.jit(forward).trace(params).jaxpr) == encoder + decoder + head


def test_outputs_lie_as_the_loss_of_quantiles_takes_them() -> None:
    """Those of a horizon, which a step says, are its quantiles."""
    loss = Quantile(quantiles=(0.25, 0.5))
    outputs = jnp.asarray([[0.0, 1.0, 10.0, 11.0, 20.0, 21.0]])
    assert loss.outputs(TASK) == 6
    np.testing.assert_array_equal(loss.predict_quantiles(outputs, TASK)[0], [[0, 1], [10, 11], [20, 21]])


def test_steps_that_do_not_fit_the_targets_are_refused() -> None:
    spec = RNN(steps_ahead=2)
    with pytest.raises(UserError, match=r"2 steps do not fit the 3 quantities of the data: 5 min.*steps_ahead=3"):
        spec.check_data({}, TASK)
    with pytest.raises(UserError, match=r"the data has binary targets. Set model.steps_ahead=none"):
        spec.check_data({}, Task("binary", ("no", "yes")))
    spec.replace(steps_ahead=3).check_data({}, TASK)
    with pytest.raises(UserError, match="5 outputs do not divide into 2 steps"):
        functional.initialise(spec, shapes(INPUTS), 5, jax.random.key(0))
