"""Residual networks: published counts, equal to torch block by block, blind to padding."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from research.errors import UserError
from research.models import Forward, ResNet, functional
from research.spec import apply_overrides, check

X = np.random.default_rng(0).normal(size=(4, 17, 18, 2)).astype(np.float32)


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
BOTTLENECK = ResNet(blocks=(1, 1), width=2, depth=50)
CIFAR = ResNet(blocks=(1, 1), width=4, depth=20)
ROWS = len(X)
IMAGE = jax.ShapeDtypeStruct(X.shape[1:], jnp.float32)


def parameters(spec):
    """Random values for all parameters, and a state of zeros."""
    draw = np.random.default_rng(1)
    params, state = shapes(spec, X.shape[1:], 3)
    params = jax.tree.map(lambda leaf: jnp.asarray(draw.normal(0.1, 0.6, leaf.shape), jnp.float32), params)
    return params, jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), state)


@jax.jit
def trained(spec, params, state, x, mask):
    """Outputs and new running statistics, and gradients of the parameters."""

    def total(params):
        forward = Forward(train=True, mask=mask)
        outputs, new = functional.apply(spec, params, state, x, 3, forward, jax.random.key(0))
        weight = mask.astype(jnp.float32) / ROWS
        return (jnp.square(outputs - 1).sum(1) * weight).sum(), (outputs[:ROWS], new)

    (_, results), gradients = jax.value_and_grad(total, has_aux=True)(params)
    return results, gradients


@pytest.fixture(scope="module")
def masked():
    """The network trained on the images and as many rows of padding."""
    padded = np.concatenate([X, 40 - 3 * X])
    return trained(BASIC, *parameters(BASIC), padded, np.arange(2 * ROWS) < ROWS)


def agree(left, right):
    """Equal but for rounding, on the scale of each array."""
    scale = np.abs(right).max() + 1e-6
    np.testing.assert_allclose(left / scale, right / scale, atol=1e-4)


def test_padding_changes_nothing(masked):
    """Rows that the mask leaves out touch neither outputs nor gradients nor running statistics.

    Every image twice has the statistics and the mean gradient of every image once.
    """
    results, gradients = trained(BASIC, *parameters(BASIC), np.concatenate([X, X]), np.ones(2 * ROWS, bool))
    jax.tree.map(agree, masked, (results, jax.tree.map(lambda leaf: leaf / 2, gradients)))
    moved = jax.tree.leaves(masked[0][1])
    assert len(moved) == 2 * 6 and all((leaf != 0).any() for leaf in moved)


def in_torch(spec, params, torch):
    """The same network out of torch's functions, in training: outputs, and a function for the gradient of a leaf."""
    net = torch.nn.functional
    leaves = {
        path: torch.tensor(np.array(leaf.transpose(3, 2, 0, 1) if leaf.ndim == 4 else leaf), requires_grad=True)
        for path, leaf in functional.paths(params).items()
    }

    def convolve(x, path, stride, convolution="convolution"):
        kernel = leaves[f"{path}/{convolution}/kernel"]
        x = net.conv2d(x, kernel, None, stride, kernel.shape[-1] // 2)
        return net.batch_norm(x, None, None, leaves[f"{path}/norm/scale"], leaves[f"{path}/norm/bias"], training=True)

    x = torch.tensor(X).permute(0, 3, 1, 2)
    x = net.relu(convolve(x, "stem", 2 if spec.stem == "imagenet" else 1))
    x = net.max_pool2d(x, 3, 2, 1) if spec.stem == "imagenet" else x
    for number, stride in enumerate((1, 2)):
        block = f"blocks/{number}"
        if spec.depth == 50:
            y = net.relu(convolve(x, f"{block}/path/0", 1))
            y = convolve(net.relu(convolve(y, f"{block}/path/1", stride)), f"{block}/path/2", 1)
        else:
            y = convolve(net.relu(convolve(x, f"{block}/path/0", stride)), f"{block}/path/1", 1)
        if f"{block}/projection/convolution/kernel" in leaves:
            x = convolve(x, f"{block}/projection", stride)
        elif stride == 2:
            x = torch.cat([x[:, :, ::2, ::2], torch.zeros_like(x[:, :, ::2, ::2])], 1)
        x = net.relu(x + y)
    return x.mean((2, 3)) @ leaves["output/kernel"] + leaves["output/bias"], leaves


def test_basic_blocks_equal_torch(masked):
    torch = pytest.importorskip("torch")
    params, _ = parameters(BASIC)
    outputs, leaves = in_torch(BASIC, params, torch)
    ((outputs - 1) ** 2).sum(1).mean().backward()
    agree(masked[0][0], outputs.detach().numpy())
    for path, gradient in functional.paths(masked[1]).items():
        theirs = leaves[path].grad.numpy()
        agree(gradient, theirs.transpose(2, 3, 1, 0) if theirs.ndim == 4 else theirs)


@pytest.mark.parametrize(("spec", "projections"), [(BOTTLENECK, 2), (CIFAR, 0)], ids=["bottleneck", "cifar"])
def test_other_blocks_equal_torch(spec, projections):
    torch = pytest.importorskip("torch")
    params, state = parameters(spec)
    assert sum("projection/convolution" in path for path in functional.paths(params)) == projections

    @jax.jit
    def run(params, x):
        return functional.apply(spec, params, state, x, 3, Forward(train=True), jax.random.key(0))[0]

    agree(run(params, X), in_torch(spec, params, torch)[0].detach().numpy())


def test_zero_initial_residual_starts_the_last_scale_of_each_block_at_zero():
    def scales(spec):
        def run():
            module = spec.build(IMAGE, 3, nnx.Rngs(0))
            return [[layer.norm.scale[...].sum() for layer in block.path] for block in module.blocks]

        return jax.jit(run)()

    assert scales(CIFAR.replace(zero_init_residual=True)) == [[4, 0], [8, 0]]
    assert scales(CIFAR) == [[4, 4], [8, 8]]


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
