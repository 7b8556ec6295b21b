"""The small convolutional network: the article's count, its definition, its options, and mistakes in words."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from research import keys
from research.errors import UserError
from research.models import CNN, Forward, functional
from research.spec import apply_overrides, check

IMAGE = jax.ShapeDtypeStruct((11, 10, 2), jnp.float32)
X = np.random.default_rng(0).normal(size=(3, 11, 10, 2)).astype(np.float32)
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


def parameters(spec):
    """Random values for all parameters."""
    draw = np.random.default_rng(1)
    params, _ = jax.eval_shape(lambda: functional.initialise(spec, IMAGE, 2, jax.random.key(0)))
    return jax.tree.map(lambda leaf: jnp.asarray(draw.normal(0.1, 0.5, leaf.shape), jnp.float32), params)


def test_equals_torch():
    torch = pytest.importorskip("torch")
    net = torch.nn.functional
    specs = [SMALL.replace(pooling=pooling, activation="elu") for pooling in ("max", "mean")]
    params = parameters(SMALL)

    @jax.jit
    def run(params, x):
        return [functional.apply(spec, params, {}, x, 2, Forward(), jax.random.key(0))[0] for spec in specs]

    def layer(layer):
        kernel = np.asarray(layer["kernel"])
        kernel = kernel.transpose(3, 2, 0, 1) if kernel.ndim == 4 else kernel.T
        return torch.tensor(kernel.copy()), torch.tensor(np.array(layer["bias"]))

    for found, pool in zip(run(params, X), (net.max_pool2d, net.avg_pool2d), strict=True):
        x = torch.tensor(X).permute(0, 3, 1, 2)
        for number in range(2):
            x = pool(net.elu(net.conv2d(x, *layer(params["maps"][number]["layer"]))), 2)
        x = x.permute(0, 2, 3, 1).flatten(1)
        x = net.elu(net.linear(x, *layer(params["hidden"][0]["layer"])))
        expected = net.linear(x, *layer(params["output"]))
        np.testing.assert_allclose(found, expected.numpy(), rtol=1e-4, atol=1e-4)


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
    params = parameters(SMALL)

    @jax.jit
    def run(spec, params, x):
        forward = Forward(train=True, keys=keys.example_keys(jax.random.key(0), jnp.arange(3, dtype=jnp.int32)))
        module = spec.build(IMAGE, 2, nnx.Rngs(0))
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
