"""Residual networks: published counts, outputs and gradients of torch, blind to padding."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch_order
from filled import QUICK, images, outputs, parameters
from flax import nnx

from research.errors import UserError
from research.models import Forward, ResNet, functional
from research.spec import apply_overrides, check

X = images(4, 2, 17, 18)


def shapes(spec, shape, outputs):
    image = jax.ShapeDtypeStruct(shape, jnp.float32)
    return jax.eval_shape(lambda: functional.initialise(spec, image, outputs, jax.random.key(0)))


@pytest.mark.parametrize(
    ("depth", "expected"),
    [
        (18, 11_689_512),
        (34, 21_797_672),
        (50, 25_557_032),
        (20, 269_722),
        (32, 464_154),
        (44, 658_586),
        (56, 853_018),
        (110, 1_727_962),
    ],
)
def test_number_of_parameters_is_the_published_one(depth, expected):
    shape, outputs = ((224, 224, 3), 1000) if depth in (18, 34, 50) else ((32, 32, 3), 10)
    params, _ = shapes(ResNet(depth=depth), shape, outputs)
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == expected


def test_stem_fits_the_size_of_the_images():
    def kernel(spec, side):
        return shapes(spec, (side, 80, 1), 2)[0]["stem"]["convolution"]["kernel"].shape

    assert kernel(ResNet(), 63) == (3, 3, 1, 64)
    assert kernel(ResNet(), 64) == (7, 7, 1, 64)
    assert kernel(ResNet(stem="imagenet"), 32) == (7, 7, 1, 64)
    assert kernel(ResNet(stem="3x3", width=5), 80) == (3, 3, 1, 5)
    assert kernel(ResNet(depth=20), 80) == (3, 3, 1, 16)


@pytest.mark.parametrize(
    ("depth", "shape", "maps"),
    [(18, (28, 28, 1), (4, 4, 24)), (50, (64, 70, 1), (2, 3, 96)), (20, (32, 30, 3), (8, 8, 12))],
)
def test_shape_of_the_last_maps(depth, shape, maps):
    def run(x):
        module = ResNet(depth=depth, width=3).build(jax.ShapeDtypeStruct(shape, x.dtype), 2, nnx.Rngs(0))
        features = module.features(x, Forward())
        return features, module.head(features, Forward())

    features, outputs = jax.eval_shape(run, jax.ShapeDtypeStruct((2, *shape), jnp.float32))
    assert features.shape == (2, *maps) and outputs.shape == (2, 2)


BASIC = ResNet(blocks=(1, 1), width=4, stem="imagenet", momentum=0.7)
CIFAR = ResNet(blocks=(1, 1), width=3, depth=20)
BOTTLENECK = ResNet(blocks=(1, 1), width=2, depth=50)
ROWS = len(X)
IMAGE = jax.ShapeDtypeStruct(X.shape[1:], jnp.float32)


@jax.jit
def trained(spec, params, state, x, mask):
    """Outputs and new running statistics, and gradients of the parameters."""

    def total(params):
        forward = Forward(train=True, mask=mask, context=QUICK)
        outputs, new = functional.apply(spec, params, state, x, 3, forward, jax.random.key(0))
        weight = mask.astype(jnp.float32) / ROWS
        return (jnp.square(outputs - 1).sum(1) * weight).sum(), (outputs[:ROWS], new)

    (_, results), gradients = jax.value_and_grad(total, has_aux=True)(params)
    return results, gradients


@pytest.fixture(scope="module")
def masked():
    """The network trained on the images and as many rows of padding."""
    padded = np.concatenate([X, 40 - 3 * X])
    return trained(BASIC, *parameters(BASIC, X), padded, np.arange(2 * ROWS) < ROWS)


def agree(left, right):
    """Equal but for rounding, on the scale of each array."""
    scale = np.abs(right).max() + 1e-6
    np.testing.assert_allclose(left / scale, right / scale, atol=1e-4)


def test_padding_changes_nothing(masked):
    """Rows that the mask leaves out touch neither outputs nor gradients nor running statistics.

    Every image twice has the statistics and the mean gradient of every image once.
    """
    results, gradients = trained(BASIC, *parameters(BASIC, X), np.concatenate([X, X]), np.ones(2 * ROWS, bool))
    jax.tree.map(agree, masked, (results, jax.tree.map(lambda leaf: leaf / 2, gradients)))
    before, after = (jax.tree.leaves(state) for state in (parameters(BASIC, X)[1], masked[0][1]))
    assert len(after) == 2 * 6 and all((left != right).any() for left, right in zip(before, after, strict=True))


# PYTHONPATH=tests python scripts/prove/torch_models.py, torch 2.13.0: outputs of two images.
OF_TORCH = {
    "cifar, 3x3": [-0.794302, 5.58828, 4.35346, -1.52054, 6.90252, 5.08138],
    "basic, 3x3": [-15.0629, -17.0299, 4.68289, -17.914, -19.5511, 4.53915],
    "basic, imagenet": [0.714611, -1.03191, 1.43725, -1.29013, -3.04194, 3.719],
    "bottleneck, 3x3": [-0.769163, 1.32716, 0.456528, -0.793875, 1.28849, 0.389254],
    "bottleneck, imagenet": [1.52319, 0.451129, -1.71285, 1.98715, 0.0658413, -2.15756],
}


@pytest.mark.parametrize(
    ("name", "spec"),
    [
        ("cifar, 3x3", CIFAR),
        ("basic, 3x3", BASIC.replace(width=3, stem="3x3")),
        ("basic, imagenet", BASIC.replace(width=3)),
        ("bottleneck, 3x3", BOTTLENECK),
        ("bottleneck, imagenet", BOTTLENECK.replace(stem="imagenet")),
    ],
)
def test_equals_torch(name, spec):
    np.testing.assert_allclose(outputs(spec, X[:2], train=False), OF_TORCH[name], rtol=1e-4, atol=1e-5)


# The same of `BASIC` in training, and a digest of each parameter's gradient and of each running mean.
OF_TORCH_IN_TRAINING = {
    "outputs": [-0.111059, 0.263053, 0.564548, 0.0420156, 0.382468, 0.651815],
    "kernel": [-0.560962, -0.324589, 0.252855, 0.526725, -0.755637, 0.0339616, 2.55145],
    "scale": [-0.129134, 0.0175815, 0.0272603, 0.0994305, 0.442591, 0.940878],
    "bias": [-0.137284, -0.0158619, -0.0509486, 0.0814351, 1.87921, 1.87921, 0.0158962],
    "mean": [-0.180728, 0.461527, 0.108423, 1.27272, -0.626645, -0.61913],
}


def test_training_equals_torch(masked):
    (results, state), gradients = jax.tree.map(np.asarray, masked)

    def digests(tree, kind):
        leaves = [leaf for path, leaf in torch_order.leaves(tree).items() if path[-1] == kind]
        return [torch_order.digest(torch_order.torch_axes(leaf)) for leaf in leaves]

    found = {kind: digests(gradients, kind) for kind in ("kernel", "scale", "bias")}
    found |= {"outputs": results[:2].ravel(), "mean": digests(state, "mean")}
    for name, numbers in found.items():
        np.testing.assert_allclose(numbers, OF_TORCH_IN_TRAINING[name], rtol=1e-4, atol=1e-5, err_msg=name)


def test_zero_initial_residual_starts_the_last_scale_of_each_block_at_zero():
    def scales(spec):
        def run():
            module = spec.build(IMAGE, 3, nnx.Rngs(0))
            return [[layer.norm.scale[...].sum() for layer in block.path] for block in module.blocks]

        return jax.jit(run)()

    assert scales(CIFAR.replace(zero_init_residual=True)) == [[3, 0], [6, 0]]
    assert scales(CIFAR) == [[3, 3], [6, 6]]


def test_group_normalisation_keeps_no_state():
    params, state = shapes(ResNet(depth=20, normalization="group"), (32, 32, 3), 10)
    assert state == {}
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == 269_722


@pytest.mark.parametrize(
    ("spec", "shape", "words"),
    [
        (ResNet(), (30,), r"ResNet-18 takes images"),
        (ResNet(), (28, 7, 1), r"28x7 pixels.*at least 8x8"),
        (ResNet(stem="imagenet"), (28, 28, 1), r"at least 32x32.*stem='3x3'"),
        (ResNet(depth=110), (3, 28, 1), r"ResNet-110.*at least 4x4"),
        (BASIC, (7, 28, 1), r"at least 8x8"),
    ],
)
def test_images_that_do_not_fit_are_refused(spec, shape, words):
    with pytest.raises(UserError, match=words):
        spec.build(jax.ShapeDtypeStruct(shape, jnp.float32), 2, nnx.Rngs(0))


def test_is_checked():
    with pytest.raises(UserError, match=r"depth: one of 18, 20"):
        check(ResNet(depth=19))  # pyright: ignore[reportArgumentType]
    with pytest.raises(UserError, match=r"stem: ResNet-56 is the form for CIFAR"):
        check(ResNet(depth=56, stem="imagenet"))
    with pytest.raises(UserError, match=r"blocks: at least one stage"):
        check(ResNet(blocks=()))
    with pytest.raises(UserError, match=r"momentum: a number in \[0, 1\]"):
        check(ResNet(momentum=1.5))
    assert apply_overrides(ResNet(), ["depth=50", "width=8", "stem=3x3"]) == ResNet(depth=50, width=8, stem="3x3")
