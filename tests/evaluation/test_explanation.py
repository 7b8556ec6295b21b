"""Grad-CAM and input gradients: known answers of a model whose maps and weights are known."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from research.algorithms.algorithm import State
from research.context import Context
from research.evaluation import explanation
from research.evaluation.explanation import Explanation
from research.evaluation.predictions import Predictions
from research.models import CNN, MLP, DenseNet, OwnModule, ResNet, functional
from research.models.model import Forward
from research.reporting.run_pictures import chosen_examples
from research.task import Task

BINARY = Task("binary", ("plain", "dotted"))
PICTURES = jnp.asarray(np.random.default_rng(0).random((3, 8, 8, 1)), jnp.float32)


def explain(
    model: Any, state: State, pictures: jax.Array, outputs: int, task: Task, answer: jax.Array | None = None
) -> Explanation:
    """Lowered as for a GPU, which XLA compiles in a tenth of the time; `test_convolution` holds both together."""

    def maps(state: State, pictures: jax.Array, answer: jax.Array | None) -> Explanation:
        return explanation.explain(model, state, pictures, outputs, task, answer, platform="gpu")

    return jax.jit(maps)(state, pictures, answer)


def state_of(model: Any, inputs: jax.Array, outputs: int) -> State:
    shape = jax.ShapeDtypeStruct(inputs.shape[1:], inputs.dtype)
    params, model_state = jax.jit(lambda key: functional.initialise(model, shape, outputs, key))(jax.random.key(0))
    return State(params, model_state, (), {})


@functools.partial(jax.jit, static_argnames="outputs")
def scores(model: CNN, state: State, pictures: jax.Array, outputs: int) -> jax.Array:
    forward = Forward(context=Context(platform="gpu"))
    return functional.apply(model, state.params, state.model_state, pictures, outputs, forward, jax.random.key(0))[0]


@pytest.mark.parametrize("outputs", [1, 2])
def test_input_gradients_are_those_of_the_margin(outputs: int) -> None:
    model = CNN(widths=(3,), dense_widths=(4,))
    state = state_of(model, PICTURES, outputs)
    found = explain(model, state, PICTURES, outputs, BINARY)

    def margin(picture: np.ndarray) -> float:
        logits = np.asarray(scores(model, state, picture[None], outputs), np.float64)[0]
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


MODELS = {
    "valid": CNN(widths=(2, 2, 2), dense_widths=(), head="mean"),
    "same": CNN(widths=(2, 2), padding="same", dense_widths=(), head="mean", pooling="mean"),
    "even": CNN(widths=(2, 2), kernel=4, padding="same", pool=3, dense_widths=(), head="mean"),
    "resnet": ResNet(depth=18, width=2, blocks=(1, 1), stem="imagenet"),
    "densenet": DenseNet(growth=2, blocks=(1, 1, 1), stem="3x3"),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_bright_dot_is_marked_where_it_is(name: str) -> None:
    """With weights that are all alike, what is marked lies around the dot; maps may be of any number of pixels."""
    model, places = MODELS[name], [(28, 58), (43, 30), (58, 41)]
    pictures = np.zeros((len(places), 88, 88, 1), np.float32)
    for picture, place in zip(pictures, places, strict=True):
        picture[place] = 1
    state = state_of(model, jnp.asarray(pictures), 1)

    def alike(path: Any, leaf: jax.Array) -> jax.Array:
        return jnp.full_like(leaf, 0 if "bias" in jax.tree_util.keystr(path) else 0.5)

    state = State(jax.tree_util.tree_map_with_path(alike, state.params), state.model_state, (), {})
    cams = np.asarray(explain(model, state, jnp.asarray(pictures), 1, BINARY).cams, np.float64)
    pixels = np.arange(88)
    for cam, (row, column) in zip(cams, places, strict=True):
        middle = (cam.sum(1) @ pixels / cam.sum(), cam.sum(0) @ pixels / cam.sum())
        np.testing.assert_allclose(middle, (row, column), atol=1.5)


def test_of_several_classes_the_likeliest_is_explained_unless_another_is_asked_for() -> None:
    model = CNN(widths=(3,), dense_widths=(4,))
    state = state_of(model, PICTURES, 4)
    task = Task("multiclass", ("a", "b", "c", "d"))
    found = explain(model, state, PICTURES, 4, task)
    likeliest = scores(model, state, PICTURES, 4).argmax(1)
    assert found.answer.tolist() == likeliest.tolist()
    assert found.cams is not None and found.cams.shape == found.gradients.shape == (3, 8, 8)
    other = (likeliest + 1).astype(jnp.int32) % 4
    asked = explain(model, state, PICTURES, 4, task, other)
    assert asked.answer.tolist() == other.tolist()

    def logit(pictures: jax.Array) -> jax.Array:
        return jnp.take_along_axis(scores(model, state, pictures, 4), other[:, None], 1).sum()

    np.testing.assert_allclose(asked.gradients, jnp.abs(jax.grad(logit)(PICTURES)).sum(3), atol=1e-6)
    assert float(jnp.abs(asked.gradients - found.gradients).max()) > 1e-4


def test_a_wrong_label_is_the_one_that_is_explained() -> None:
    task = Task("multilabel", ("edema", "effusion", "hernia"))
    said = np.array([[0.9, 0.5, 0.02], [0.9, 0.2, 0.01], [0.3, 0.6, 0.1]])
    truth = np.array([[1, 1, 1], [1, 0, 0], [np.nan, 1, 0]], np.float32)
    chosen, answer = chosen_examples(Predictions(task, "test", np.arange(3), said, truth), 3)
    assert chosen[0] == 0 and answer[0] == 2
    assert dict(zip(chosen.tolist(), answer.tolist(), strict=True)) == {0: 2, 1: 0, 2: 1}


def test_a_model_without_maps_has_input_gradients_alone() -> None:
    model = MLP(widths=(4,))
    found = explain(model, state_of(model, PICTURES, 1), PICTURES, 1, BINARY)
    assert found.cams is None and float(found.gradients.max()) > 0


class Net(nnx.Module):
    """A user's network, which says which are its maps."""

    def __init__(self, in_features: int, outputs: int, *, rngs: nnx.Rngs) -> None:
        self.convolution = nnx.Conv(in_features, 2, (2, 2), (2, 2), rngs=rngs)
        self.output = nnx.Linear(2, outputs, rngs=rngs)

    def features(self, x: jax.Array) -> jax.Array:
        return nnx.relu(self.convolution(x))

    def head(self, maps: jax.Array) -> jax.Array:
        return self.output(maps.mean((1, 2)))

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.head(self.features(x))


def test_a_users_own_module_is_explained_by_its_maps() -> None:
    model = OwnModule(module=Net)
    state = state_of(model, PICTURES, 1)
    found = explain(model, state, PICTURES, 1, BINARY)
    assert found.cams is not None and found.cams.shape == (3, 8, 8)
    maps = Net(1, 1, rngs=nnx.Rngs(0))
    nnx.update(maps, nnx.State(state.params["net"]))
    weighed = jax.nn.relu(jnp.einsum("bhwc,c->bhw", maps.features(PICTURES), maps.output.kernel[:, 0]))
    # The middle of two pixels, where they differ, is the value of the cell between them.
    cells = np.asarray(found.cams).reshape(3, 4, 2, 4, 2).mean((2, 4))[:, 1:-1, 1:-1]
    share = weighed / weighed.max((1, 2), keepdims=True)
    assert np.corrcoef(cells.ravel(), np.asarray(share)[:, 1:-1, 1:-1].ravel())[0, 1] > 0.9
