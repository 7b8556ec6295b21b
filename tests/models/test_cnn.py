"""The small convolutional network: the article's count, the outputs of torch, its options, and mistakes in words."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from filled import images, outputs, parameters
from flax import nnx

from research import keys
from research.errors import UserError
from research.models import CNN, Forward, functional
from research.spec import apply_overrides, check

IMAGE = jax.ShapeDtypeStruct((11, 10, 2), jnp.float32)
X = images(3, 2, 11, 10)
SMALL = CNN(widths=(3, 4), dense_widths=(5,))


def count(spec, shape, outputs):
    image = jax.ShapeDtypeStruct(shape, jnp.float32)
    params, _ = jax.eval_shape(lambda: functional.initialise(spec, image, outputs, jax.random.key(0)))
    return sum(leaf.size for leaf in jax.tree.leaves(params))


@pytest.mark.parametrize(
    ("spec", "shape", "outputs", "expected"),
    [
        (CNN(), (32, 32, 3), 10, 896 + 18496 + 147520 + 650),
        (CNN(padding="same"), (32, 32, 3), 10, 896 + 18496 + 8 * 8 * 64 * 64 + 64 + 650),
        (CNN(head="mean", dense_widths=()), (32, 32, 3), 10, 896 + 18496 + 650),
        (CNN(widths=(4,), kernel=5, pool=3, dense_widths=()), (28, 20, 1), 2, 104 + 8 * 5 * 4 * 2 + 2),
        (CNN(widths=(4,), normalization="batch", dense_widths=(6,)), (6, 6, 1), 2, 40 + 8 + 16 * 6 + 6 + 12 + 14),
    ],
)
def test_number_of_parameters(spec, shape, outputs, expected):
    assert count(spec, shape, outputs) == expected


# PYTHONPATH=tests python scripts/prove/torch_models.py, torch 2.13.0: outputs of three images.
OF_TORCH = {
    "elu": [-5.79927, 4.63756, 2.4894, -3.60357, 2.63689, 2.01319, -3.62781, 2.87999, 1.54531],
    "batch": [-0.589392, -1.69712, -0.414501, -0.0952443, -1.76909, -0.0150585, -0.109017, -1.73235, -0.0320442],
    "batch, training": [-1.14051, -1.90933, -0.810713, 1.03591, -1.34579, 0.98114, 1.55178, -2.2871, 2.89966],
}
BATCH = {"padding": "same", "pooling": "mean", "normalization": "batch"}


@pytest.mark.parametrize(
    ("name", "changes", "train"),
    [("elu", {"activation": "elu"}, False), ("batch", BATCH, False), ("batch, training", BATCH, True)],
)
def test_equals_torch(name, changes, train):
    found = outputs(SMALL.replace(**changes), X, train)
    np.testing.assert_allclose(found, OF_TORCH[name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "maps"),
    [
        ({}, (2, 2, 4)),
        ({"padding": "same"}, (5, 5, 4)),
        ({"pool": 1, "kernel": 2, "normalization": "layer"}, (9, 8, 4)),
        ({"pool": 3, "padding": "same", "normalization": "group", "head": "mean"}, (3, 3, 4)),
        ({"widths": (3,), "dense_widths": (), "normalization": "batch", "head": "mean"}, (9, 8, 3)),
    ],
)
def test_shape_of_the_last_maps(changes, maps):
    """Head and features are there for Grad-CAM: maps before the last pooling, outputs from the maps alone."""

    def run(x):
        module = SMALL.replace(**changes).build(IMAGE, 2, nnx.Rngs(0))
        features = module.features(x, Forward())
        return features, module.head(features, Forward())

    features, outputs = jax.eval_shape(run, X)
    assert features.shape == (3, *maps) and outputs.shape == (3, 2)


def test_dropout_is_a_number_spares_maps_and_evaluation():
    params, _ = parameters(SMALL, X)

    @jax.jit
    def run(spec, params, x):
        forward = Forward(train=True, keys=keys.example_keys(jax.random.key(0), jnp.arange(3, dtype=jnp.int32)))
        module = spec.build(IMAGE, 3, nnx.Rngs(0))
        nnx.update(module, params)
        maps = module.features(x, forward)
        return maps, module.head(maps, forward), module(x, Forward())

    (maps, dropped, evaluated), (same_maps, plain, same) = (
        run(SMALL.replace(dropout=rate), params, X) for rate in (0.9, 0.0)
    )
    np.testing.assert_array_equal(maps, same_maps)
    np.testing.assert_array_equal(evaluated, same)
    np.testing.assert_allclose(plain, same, rtol=1e-4, atol=1e-5)
    assert (np.abs(dropped - plain) > 1e-3).any()


@pytest.mark.parametrize(
    ("spec", "inputs", "words"),
    [
        (CNN(), jax.ShapeDtypeStruct((30,), jnp.float32), r"CNN takes images.*\(30,\).*Use MLP"),
        (CNN(), jax.ShapeDtypeStruct((28, 28), jnp.float32), r"\(28, 28\).*grey images have one channel"),
        (CNN(), {"front": IMAGE, "side": IMAGE}, r"several inputs \(front, side\)"),
        (CNN(), jax.ShapeDtypeStruct((9, 40, 1), jnp.float32), r"9x40 pixels.*pooling 2 of 2.*padding='same'"),
        (CNN(kernel=5), jax.ShapeDtypeStruct((4, 4, 1), jnp.float32), r"pooling 1 of 2.*kernel \(now 5\)"),
    ],
)
def test_images_that_do_not_fit_are_refused(spec, inputs, words):
    with pytest.raises(UserError, match=words):
        spec.build(inputs, 2, nnx.Rngs(0))


def test_the_smallest_image_that_fits():
    spec = CNN()
    assert count(spec, (10, 10, 1), 2) == 320 + 18496 + 64 * 64 + 64 + 130


def test_is_checked():
    with pytest.raises(UserError, match=r"widths: at least one convolution.*MLP"):
        check(CNN(widths=()))
    with pytest.raises(UserError, match="normalization"):
        check(CNN(normalization="instance"))  # pyright: ignore[reportArgumentType]
    spec = apply_overrides(CNN(), ["widths=8,16,16", "padding=same", "pooling=mean", "dropout=0.2", "pool=3"])
    assert spec == CNN(widths=(8, 16, 16), padding="same", pooling="mean", dropout=0.2, pool=3)
