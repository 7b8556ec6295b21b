"""Densely connected networks: published counts, and the outputs of torch."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from filled import images, outputs, parameters
from flax import nnx

from research import keys
from research.errors import UserError
from research.models import DenseNet, Forward, functional
from research.spec import apply_overrides, check

X = images(4, 2, 19, 18)
IMAGE = jax.ShapeDtypeStruct(X.shape[1:], jnp.float32)
SMALL = DenseNet(growth=2, blocks=(2, 1), stem="imagenet")


@pytest.mark.parametrize(("depth", "expected"), [(121, 7_978_856), (201, 20_013_928)])
def test_number_of_parameters_is_the_published_one(depth, expected):
    image = jax.ShapeDtypeStruct((224, 224, 3), jnp.float32)
    spec = DenseNet(depth=depth)
    params, _ = jax.eval_shape(lambda: functional.initialise(spec, image, 1000, jax.random.key(0)))
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == expected


# PYTHONPATH=tests python scripts/prove/torch_models.py, torch 2.13.0: outputs of two images.
OF_TORCH = {
    "imagenet": [-0.84091, -0.250453, -3.14784, 0.0762252, 0.378678, -3.78257],
    "3x3, training": [-1.31311, -1.27495, 0.0337357, -1.16158, -1.23241, -0.115089],
}


@pytest.mark.parametrize(("name", "stem", "train"), [("imagenet", "imagenet", False), ("3x3, training", "3x3", True)])
def test_equals_torch(name, stem, train):
    found = outputs(SMALL.replace(stem=stem), X[:2], train)
    np.testing.assert_allclose(found, OF_TORCH[name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("stem", "maps"), [("imagenet", (2, 2, 6)), ("auto", (9, 9, 6))])
def test_shape_of_the_last_maps(stem, maps):
    """The stem has 4 maps, the first block adds 2 x 2, the transition keeps half, the second block adds 2."""

    def run(x):
        module = SMALL.replace(stem=stem).build(IMAGE, 3, nnx.Rngs(0))
        features = module.features(x, Forward())
        return features, module.head(features, Forward())

    features, outputs = jax.eval_shape(run, X)
    assert features.shape == (4, *maps) and outputs.shape == (4, 3)


def test_dropout_is_a_number_and_for_training_only():
    spec = DenseNet(growth=2, blocks=(1,), normalization="group")
    params, state = parameters(spec, X)

    @jax.jit
    def run(spec, params, x):
        forward = Forward(train=True, keys=keys.example_keys(jax.random.key(0), jnp.arange(4, dtype=jnp.int32)))
        both = (functional.apply(spec, params, state, x, 3, f, jax.random.key(0)) for f in (forward, Forward()))
        return [outputs for outputs, _ in both]

    (dropped, evaluated), (plain, same) = (run(spec.replace(dropout=rate), params, X) for rate in (0.5, 0.0))
    np.testing.assert_array_equal(evaluated, same)
    np.testing.assert_allclose(plain, same, rtol=1e-3, atol=1e-4)
    assert (np.abs(dropped - plain) > 1e-2).any()


@pytest.mark.parametrize(
    ("spec", "shape", "words"),
    [
        (DenseNet(), (30,), r"DenseNet-121 takes images"),
        (DenseNet(), (7, 28, 1), r"7x28 pixels.*at least 8x8"),
        (DenseNet(stem="imagenet"), (28, 28, 1), r"at least 32x32.*stem='3x3'"),
        (SMALL, (1, 28, 1), r"DenseNet halves.*at least 8x8"),
    ],
)
def test_images_that_do_not_fit_are_refused(spec, shape, words):
    with pytest.raises(UserError, match=words):
        spec.build(jax.ShapeDtypeStruct(shape, jnp.float32), 2, nnx.Rngs(0))


def test_is_checked():
    with pytest.raises(UserError, match=r"depth: one of 121, 169, 201"):
        check(DenseNet(depth=100))  # pyright: ignore[reportArgumentType]
    with pytest.raises(UserError, match=r"blocks: at least one"):
        check(DenseNet(blocks=()))
    assert apply_overrides(DenseNet(), ["blocks=2,3", "growth=12"]) == DenseNet(blocks=(2, 3), growth=12)
