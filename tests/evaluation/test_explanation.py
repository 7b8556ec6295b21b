"""Grad-CAM and input gradients: known answers of a model whose maps and weights are known."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from research.algorithms.algorithm import State
from research.errors import UserError
from research.evaluation.explanation import explain
from research.models import CNN, MLP, functional
from research.task import Task

BINARY = Task("binary", ("plain", "dotted"))
PICTURES = jnp.asarray(np.random.default_rng(0).random((3, 8, 8, 1)), jnp.float32)


def state_of(model: Any, inputs: jax.Array, outputs: int) -> State:
    shape = jax.ShapeDtypeStruct(inputs.shape[1:], inputs.dtype)
    params, model_state = functional.initialise(model, shape, outputs, jax.random.key(0))
    return State(params, model_state, (), {})


def scores(model: CNN, state: State, pictures: jax.Array, outputs: int) -> jax.Array:
    from research.models.model import Forward

    return functional.apply(model, state.params, state.model_state, pictures, outputs, Forward(), jax.random.key(0))[0]


@pytest.mark.parametrize("outputs", [1, 2])
def test_input_gradients_are_those_of_the_margin(outputs: int) -> None:
    model = CNN(widths=(3,), dense_widths=(4,))
    state = state_of(model, PICTURES, outputs)
    found = explain(model, state, PICTURES, outputs, BINARY)

    def margin(picture: np.ndarray) -> float:
        logits = np.asarray(scores(model, state, jnp.asarray(picture[None]), outputs), np.float64)[0]
        return logits[0] if outputs == 1 else logits[1] - logits[0]

    picture = np.asarray(PICTURES[1])
    for row, column in ((0, 0), (4, 5)):
        up, down = picture.copy(), picture.copy()
        up[row, column] += 1e-2
        down[row, column] -= 1e-2
        slope = (margin(up) - margin(down)) / 2e-2
        assert abs(slope) == pytest.approx(float(found.gradients[1, row, column]), abs=2e-3)


def test_cams_light_up_where_the_maps_speak_for_the_answer() -> None:
    """One map, whose kernel copies the picture; the head's mean is positive, so the map is the CAM."""
    model = CNN(widths=(1,), kernel=1, head="mean", dense_widths=(), padding="same", pool=1)
    state = state_of(model, PICTURES, 1)
    ones = jax.tree.map(jnp.ones_like, state.params)
    kept = jax.tree_util.tree_map_with_path(
        lambda path, one: jnp.zeros_like(one) if "bias" in jax.tree_util.keystr(path) else one, ones
    )
    found = explain(model, State(kept, {}, (), {}), PICTURES, 1, BINARY)
    expected = PICTURES[..., 0] / PICTURES.max((1, 2, 3), keepdims=True)[..., 0]
    np.testing.assert_allclose(found.cams, expected, rtol=1e-5)
    opposite = jax.tree.map(lambda leaf: -leaf, kept)
    first = next(iter(kept))
    opposite[first] = kept[first]
    assert float(explain(model, State(opposite, {}, (), {}), PICTURES, 1, BINARY).cams.max()) == 0


def test_of_several_classes_the_likeliest_is_explained() -> None:
    model = CNN(widths=(3,), dense_widths=(4,))
    state = state_of(model, PICTURES, 4)
    task = Task("multiclass", ("a", "b", "c", "d"))
    found = explain(model, state, PICTURES, 4, task)
    assert found.answer.tolist() == scores(model, state, PICTURES, 4).argmax(1).tolist()
    assert found.cams.shape[0] == 3 and found.gradients.shape == (3, 8, 8)


def test_a_model_without_maps_is_told_what_it_lacks() -> None:
    model = MLP(widths=(4,))
    with pytest.raises(UserError, match=r"MLP has no feature maps .* features\(inputs, forward\)"):
        explain(model, state_of(model, PICTURES, 1), PICTURES, 1, BINARY)
