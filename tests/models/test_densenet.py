"""Densely connected networks: published counts, equal to torch layer by layer."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from research import keys
from research.errors import UserError
from research.models import DenseNet, Forward, functional
from research.spec import apply_overrides, check

X = np.random.default_rng(0).normal(size=(4, 19, 18, 2)).astype(np.float32)
IMAGE = jax.ShapeDtypeStruct(X.shape[1:], jnp.float32)
SMALL = DenseNet(growth=2, blocks=(2, 1), stem="imagenet")


@pytest.mark.parametrize(("depth", "expected"), [(121, 7_978_856), (201, 20_013_928)])
def test_number_of_parameters_is_the_published_one(depth, expected):
    image = jax.ShapeDtypeStruct((224, 224, 3), jnp.float32)
    spec = DenseNet(depth=depth)
    params, _ = jax.eval_shape(lambda: functional.initialise(spec, image, 1000, jax.random.key(0)))
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == expected


def in_torch(params, torch):
    """The small network out of torch's functions, in training."""
    net = torch.nn.functional
    leaves = {
        path: torch.tensor(np.array(leaf.transpose(3, 2, 0, 1) if leaf.ndim == 4 else leaf))
        for path, leaf in functional.paths(params).items()
    }

    def normalised(x, path):
        scale, bias = leaves[f"{path}/norm/scale"], leaves[f"{path}/norm/bias"]
        return net.relu(net.batch_norm(x, None, None, scale, bias, training=True))

    def convolve(x, path, stride=1):
        kernel = leaves[f"{path}/convolution/kernel"]
        return net.conv2d(x, kernel, None, stride, kernel.shape[-1] // 2)

    x = torch.tensor(X).permute(0, 3, 1, 2)
    x = net.max_pool2d(normalised(convolve(x, "stem", 2), "stem"), 3, 2, 1)
    for number in range(4):
        layer = f"layers/{number}"
        y = convolve(normalised(x, f"{layer}/narrow"), f"{layer}/narrow")
        if number == 2:
            x = net.avg_pool2d(y, 2)
        else:
            x = torch.cat([x, convolve(normalised(y, f"{layer}/convolve"), f"{layer}/convolve")], 1)
    x = net.relu(net.batch_norm(x, None, None, leaves["norm/scale"], leaves["norm/bias"], training=True))
    return (x.mean((2, 3)) @ leaves["output/kernel"] + leaves["output/bias"]).numpy()


def parameters(spec):
    """Random values for all parameters, and a state of zeros."""
    draw = np.random.default_rng(1)
    params, state = jax.eval_shape(lambda: functional.initialise(spec, IMAGE, 3, jax.random.key(0)))
    params = jax.tree.map(lambda leaf: jnp.asarray(draw.normal(0.1, 0.6, leaf.shape), jnp.float32), params)
    return params, jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), state)


def test_equals_torch():
    torch = pytest.importorskip("torch")
    params, state = parameters(SMALL)

    @jax.jit
    def run(params, x):
        return functional.apply(SMALL, params, state, x, 3, Forward(train=True), jax.random.key(0))[0]

    np.testing.assert_allclose(run(params, X), in_torch(params, torch), rtol=2e-3, atol=1e-3)


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
    params, state = parameters(spec)

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
