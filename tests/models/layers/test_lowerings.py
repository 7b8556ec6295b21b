"""On a processor, products, convolutions, attention and normalisation are lowered in forms of their own.

Each has to agree with the form that accelerators run, which is JAX's own, in value and gradients, over random shapes.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.test_util import check_grads

from research import keys
from research.context import Context
from research.models.layers import attention_blocks
from research.models.layers.attended import attended
from research.models.layers.attention import SelfAttention
from research.models.layers.attention_blocks import AttentionMask
from research.models.layers.batch_statistics import batch_norm, sum_of_channels
from research.models.layers.correlation import correlate
from research.models.layers.normalization import BatchNorm, LayerNorm
from research.models.layers.products import product, with_bias
from research.models.layers.reductions import MANY_ROWS, greatest_feature, layer_norm, sum_of_features
from research.models.model import Forward
from research.training.compiling import compiled

CPU, OTHER = Context(platform="cpu"), Context(platform="gpu")
PATCHES = Context(platform="cpu", stacked=True)
FEW = settings(max_examples=8, deadline=None)
SIZES = st.integers(1, 9)


def drawn(seed, *shapes):
    return [
        jax.random.normal(key, shape)
        for key, shape in zip(jax.random.split(jax.random.key(seed), 9), shapes, strict=False)
    ]


def agree(one, other, *arguments, within=1e-5):
    """Values and gradients of two functions, relative to the largest value; of what vanishes, such as the gradient of
    two normalised numbers, only rounding is left, so nothing less than a tenth of what goes in is a measure."""

    def both(function):
        def run(*arguments):
            value, back = jax.vjp(function, *arguments)
            return value, back(jax.random.normal(jax.random.key(9), value.shape))

        return jax.jit(run)(*arguments)

    for found, asked in zip(jax.tree.leaves(both(one)), jax.tree.leaves(both(other)), strict=True):
        np.testing.assert_allclose(found, asked, rtol=0, atol=within * max(float(jnp.abs(asked).max()), 0.1))


@FEW
@given(
    batch=st.integers(1, 3),
    image=st.tuples(SIZES, SIZES),
    window=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    channels=st.sampled_from([1, 3, 5, 8]),
    outputs=st.integers(1, 6),
    data=st.data(),
)
def test_correlation_agrees_with_products_of_patches(batch, image, window, channels, outputs, data):
    strides = data.draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    ends = [
        data.draw(st.tuples(st.integers(max(0, r - n), r), st.integers(0, r)))
        for r, n in zip(window, image, strict=True)
    ]
    x, kernel = drawn(0, (batch, *image, channels), (*window, channels, outputs))
    # Not the convolution of JAX: of its gradient for some of these shapes XLA aborts.
    forms = [functools.partial(_correlated, tuple(strides), tuple(ends), context) for context in (CPU, PATCHES)]
    agree(*forms, x, kernel)


@pytest.mark.parametrize("outputs", [2, 3, 30])  # the gradient goes by patches, or as a convolution
@pytest.mark.parametrize("channels", [3, 8])
def test_more_padding_than_the_kernel_sees(channels, outputs):
    """XLA's own convolution, and JAX's gradient of it, read numbers from before the array there."""
    for seed in range(5):
        x, kernel = drawn(seed, (1, 1, 2, channels), (4, 1, channels, outputs))
        agree(*(functools.partial(_correlated, (1, 1), ((4, 2), (0, 0)), form) for form in (CPU, PATCHES)), x, kernel)


@pytest.mark.parametrize(("row", "count"), [(8, 2), (9, 3), (7, 1)])
@pytest.mark.parametrize("ends", [(1, 1), (4, -2)])
def test_neighbouring_outputs_computed_at_once(row, count, ends):
    """As one by one, also under `jax.vmap`, where no row is left, and in the gradient of the gradient."""
    forms = [functools.partial(_correlated, (1, 1), ((1, 1), ends), context) for context in (CPU, PATCHES)]
    x, kernel = drawn(row, (2, 4, row, 3), (3, 3, 3, 5))
    assert str(jax.make_jaxpr(forms[0])(x, kernel)).count("name=neighbours_at_once") == (count > 1)
    agree(*forms, x, kernel)
    agree(*(jax.vmap(form) for form in forms), jnp.stack([x, 2 * x]), jnp.stack([kernel, -kernel]))
    agree(*(jax.grad(lambda x, k, form=form: jnp.sin(form(x, k)).sum(), 1) for form in forms), x, kernel, within=1e-4)
    assert forms[0](x[:0], kernel).shape == (0, 4, row, 5)


def _correlated(strides, around, context, x, kernel):
    return correlate(x, kernel, strides, around, context)


@pytest.mark.parametrize("strides", [(1, 1), (2, 2)])
@pytest.mark.parametrize("context", [CPU, PATCHES])
def test_correlation_agrees_with_the_convolution_of_jax(context, strides):
    x, kernel = drawn(1, (2, 7, 8, 6), (3, 3, 6, 4))
    agree(*(functools.partial(_correlated, strides, ((1, 1), (0, 1)), form) for form in (context, OTHER)), x, kernel)


@FEW
@given(st.sampled_from([3, MANY_ROWS, MANY_ROWS + 9]), st.integers(1, 40), st.integers(1, 40))
def test_products_and_biases_agree(rows, features, outputs):
    x, kernel, bias = drawn(2, (rows, features), (features, outputs), (outputs,))
    forms = [lambda x, k, b, p=p: with_bias(product(x, k, p), b, p) for p in ("cpu", "gpu")]
    agree(*forms, x, kernel, bias)


@FEW
@given(st.integers(4, 70), st.sampled_from([2, MANY_ROWS]))  # fewer may be alike, and differ by rounding alone
def test_layer_norm_agrees(features, rows):
    (x,) = drawn(3, (rows, features))
    norm = LayerNorm(features)

    def form(context):
        def run(x, scale, bias):
            graph, _ = nnx.split(norm)
            state = nnx.State({"scale": nnx.Param(scale), "bias": nnx.Param(bias)})
            return nnx.merge(graph, state)(x, Forward(train=True, context=context))

        return run

    agree(form(CPU), form(OTHER), 3 * x + 1, *drawn(4, (features,), (features,)), within=3e-5)


@FEW
@given(
    rows=st.integers(2, 4), places=st.lists(st.integers(1, 12), max_size=2), features=st.integers(1, 5), data=st.data()
)
def test_batch_norm_agrees(rows, places, features, data):
    graph, _, moving = nnx.split(BatchNorm(features), nnx.Param, ...)
    drawn_mask = data.draw(st.sampled_from([None, [True] * rows, [True] * (rows - 1) + [False]]))
    mask = None if drawn_mask is None else jnp.asarray(drawn_mask)
    steps = len(places) == 1 and data.draw(st.booleans())
    valid = jnp.asarray([[step <= row for step in range(places[0])] for row in range(rows)]) if steps else None

    def form(context):
        def run(x, scale, bias):
            parameters = nnx.State({"scale": nnx.Param(scale), "bias": nnx.Param(bias)})
            layer = nnx.merge(graph, parameters, jax.tree.map(jnp.asarray, moving))
            y = layer(x, Forward(train=True, mask=mask, context=context), valid)
            return jnp.concatenate([y.ravel(), layer.mean[...], layer.variance[...]])

        return run

    (x,) = drawn(6, (rows, *places, features))
    agree(form(CPU), form(OTHER), 3 * x + 1, *drawn(7, (features,), (features,)), within=3e-5)


@pytest.mark.parametrize("places", [1, 8, 13, 140, 196, 784])
def test_sums_of_channels_agree(places):
    (x,) = drawn(8, (5, places, 3))
    np.testing.assert_allclose(sum_of_channels(x), np.asarray(x, np.float64).sum((0, 1)), atol=1e-4)


@FEW
@given(st.lists(SIZES, min_size=1, max_size=2), st.integers(1, 50))
def test_reductions_agree(rows, features):
    (x,) = drawn(5, (*rows, features))
    np.testing.assert_array_equal(greatest_feature(x), x.max(-1, keepdims=True))
    np.testing.assert_allclose(sum_of_features(x), x.sum(-1, keepdims=True), atol=1e-5)


@pytest.mark.parametrize(
    ("rows", "steps", "padded", "causal", "dropout"),
    [(1, 1, False, False, None), (3, 12, False, False, 0.3), (2, 11, True, False, None), (3, 24, True, True, 0.3)],
)
def test_attention_agrees_with_that_by_weights(rows, steps, padded, causal, dropout):
    layer = SelfAttention(8, 2, dropout=dropout, rngs=nnx.Rngs(0))
    graph, state = nnx.split(layer)
    lengths = jnp.arange(1, rows + 1) if padded else jnp.full(rows, steps)
    valid = jnp.asarray(np.arange(steps) < np.asarray(lengths)[:, None])
    allowed = AttentionMask(valid, causal) if padded or causal else None
    drawing = keys.example_keys(jax.random.key(3), jnp.arange(rows))

    def form(context):
        def run(x, state):
            return nnx.merge(graph, state)(x, allowed, Forward(train=True, keys=drawing, context=context))

        return run

    agree(form(CPU), form(OTHER), drawn(6, (rows, steps, 8))[0], state)


SPREAD = Context(platform="cpu", spread=True)


@pytest.mark.parametrize(
    ("context", "limits", "size"),
    [
        (CPU, {"PAIRS_IN_CACHE": 2 * 2 * 10 * 10}, (2, 10)),
        (CPU, {"PAIRS_IN_CACHE": 2 * 10 * 4}, (1, 4)),
        (SPREAD, {"MOST_PAIRS": 1, "PAIRS_OF_BLOCK": 3 * 2 * 10 * 4}, (3, 4)),
        (OTHER, {"MOST_PAIRS": 1, "PAIRS_OF_BLOCK": 3 * 2 * 10 * 4}, (3, 4)),
    ],
)
@pytest.mark.parametrize(("causal", "rate"), [(False, None), (True, 0.3)])
def test_attention_of_long_sequences_goes_by_blocks(monkeypatch, context, limits, size, causal, rate):
    """Of examples, of queries of one, of queries of all; padding of the last block included, and what is dropped."""
    attention = SelfAttention(6, 2, dropout=rate, rngs=nnx.Rngs(0))
    (x,) = drawn(10, (3, 10, 6))
    mask = AttentionMask(jnp.arange(10)[None] < jnp.array([[10], [7], [4]]), causal)
    drawing = keys.example_keys(jax.random.key(0), jnp.arange(3, dtype=jnp.int32))
    graph, state = nnx.split(attention)

    def run(x):
        return nnx.merge(graph, state)(x, mask, Forward(train=True, keys=drawing, context=context))

    def in_blocks(x):
        with monkeypatch.context() as patch:
            for name, limit in limits.items():
                patch.setattr(attention_blocks, name, limit)
            assert attention_blocks.blocks(3, 2, 10, context) == size
            return run(x)

    assert attention_blocks.blocks(3, 2, 10, context) is None
    agree(in_blocks, run, x)


def test_memory_of_attention_grows_with_the_number_of_steps():
    attention = SelfAttention(8, 2, dropout=0.1, rngs=nnx.Rngs(0))
    graph, state = nnx.split(attention)
    drawing = keys.example_keys(jax.random.key(0), jnp.arange(2, dtype=jnp.int32))

    def needed(steps):
        def loss(state, x):
            mask = AttentionMask(jnp.ones((2, steps), bool))
            forward = Forward(train=True, keys=drawing, context=CPU)
            return jnp.square(nnx.merge(graph, state)(x, mask, forward)).sum()

        x = jax.ShapeDtypeStruct((2, steps, 8), jnp.float32)
        return compiled(jax.jit(jax.grad(loss)).lower(state, x), "cpu").memory_analysis().temp_size_in_bytes

    few, many = needed(4096), needed(16384)
    assert many < 5 * few
    assert many < 0.5 * 4 * 2 * 2 * 16384**2 / 4


def test_gradients_agree_with_differences_in_double_precision():
    with jax.enable_x64(True):
        key = jax.random.key(0)
        draw = lambda *shape: jax.random.normal(jax.random.fold_in(key, sum(shape)), shape, jnp.float64)  # noqa: E731

        def checked(function, arguments):
            check_grads(jax.jit(function), arguments, order=1, modes=["rev"], atol=1e-7, rtol=1e-7)

        around = ((1, 2), (0, 1))
        checked(functools.partial(_correlated, (1, 1), around, CPU), (draw(2, 5, 6, 5), draw(3, 2, 5, 3)))
        checked(functools.partial(_correlated, (2, 3), around, CPU), (draw(2, 5, 6, 5), draw(3, 2, 5, 3)))
        checked(lambda x, k: product(x, k, "cpu"), (draw(MANY_ROWS, 3), draw(3, 2)))
        checked(lambda y, b: with_bias(y, b, "cpu"), (draw(9, 2), draw(2)))
        checked(lambda x, s, b: layer_norm(x, s, b, 1e-6), (draw(3, 24), draw(24), draw(24)))
        weight = jnp.asarray([1.0, 1.0, 0.0])[:, None, None]
        checked(lambda x, s, b: batch_norm(x, weight, s, b, 1e-6)[0], (draw(3, 14, 4), draw(4), draw(4)))
        allowed = jnp.broadcast_to(jnp.tril(jnp.ones((4, 4), bool)), (2, 4, 4))
        factor = jnp.where(draw(2, 4, 4) > 0, 2.0, 0.0)
        checked(lambda q, k, v: attended(q, k, v, allowed, factor), (draw(2, 4, 3), draw(2, 4, 3), draw(2, 4, 3)))


@pytest.mark.parametrize("strides", [(1, 1), (2, 2)])
def test_no_convolution_of_a_loop_falls_back(strides):
    """Which forms XLA has a fast convolution for is its own affair; the text of the program shows what it was given."""
    x, kernel = drawn(7, (4, 8, 8, 8), (3, 3, 8, 8))

    def loop(count, x, kernel):
        def step(_, kernel):
            return kernel - jax.grad(lambda k: correlate(x, k, strides, ((1, 1), (1, 1)), CPU).sum())(kernel)

        return jax.lax.fori_loop(0, count, step, kernel)

    text = jax.jit(loop).lower(jnp.int32(2), x, kernel).compile().as_text()
    found = [line for line in text.splitlines() if " convolution(" in line]
    assert found
    for line in found:
        assert "dim_labels=b01f_01io->b01f" in line
        assert "reversal" not in line and "lhs_dilate" not in line
