"""Attention and encoder blocks: the published equations in NumPy, torch's modules, blind to padding and the future."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch_order
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

from research import keys
from research.models import Forward
from research.models.layers import AttentionMask, Encoder, EncoderBlock, SelfAttention, positions

ROWS, STEPS, WIDTH, HEADS, HIDDEN = 3, 5, 8, 2, 12
LENGTHS = np.array([5, 3, 1])
VALID = np.arange(STEPS) < LENGTHS[:, None]
X = torch_order.images((ROWS, STEPS, WIDTH))

# In the order of torch's module.
PARAMETERS = {
    "attention/projection/kernel": (3 * WIDTH, WIDTH),
    "attention/projection/bias": (3 * WIDTH,),
    "attention/output/kernel": (WIDTH, WIDTH),
    "attention/output/bias": (WIDTH,),
    "hidden/kernel": (HIDDEN, WIDTH),
    "hidden/bias": (HIDDEN,),
    "output/kernel": (WIDTH, HIDDEN),
    "output/bias": (WIDTH,),
    "norms/0/scale": (WIDTH,),
    "norms/0/bias": (WIDTH,),
    "norms/1/scale": (WIDTH,),
    "norms/1/bias": (WIDTH,),
}
VALUES = torch_order.values((path.rpartition("/")[2], shape) for path, shape in PARAMETERS.items())
NAMED = {path: value.T for path, value in zip(PARAMETERS, VALUES, strict=True)}


def filled(module, named=NAMED):
    """The module with the given values at the paths that it has."""
    state = nnx.state(module, nnx.Param)
    found = {"/".join(map(str, path)): leaf for path, leaf in nnx.to_flat_state(state)}
    for path, leaf in found.items():
        assert leaf.shape == named[path].shape
        leaf.set_value(jnp.asarray(named[path]))
    nnx.update(module, state)
    return module


@functools.partial(jax.jit, static_argnames=("norm", "activation", "causal", "ask"))
def block(x, valid, norm="pre", activation="relu", causal=False, ask=False):
    """Outputs of a block and its weights where they are asked for."""
    forward = Forward(attention={} if ask else None)
    module = EncoderBlock(WIDTH, HEADS, HIDDEN, norm=norm, activation=activation, rngs=nnx.Rngs(0))
    return filled(module)(x, AttentionMask(valid, causal), forward), forward.attention


def attention_by_hand(x, allowed, named):
    """Vaswani et al., step by step and head by head; outputs and weights."""
    projected = x @ named["attention/projection/kernel"] + named["attention/projection/bias"]
    size = WIDTH // HEADS
    mixed, weights = np.zeros_like(x), np.zeros((len(x), HEADS, *allowed.shape[1:]))
    for row, head, step in np.ndindex(len(x), HEADS, x.shape[1]):
        query, key, value = (projected[row, :, part + head * size :][:, :size] for part in (0, WIDTH, 2 * WIDTH))
        seen = np.flatnonzero(allowed[row, step])
        if len(seen):
            raised = np.exp(key[seen] @ query[step] / np.sqrt(size))
            weights[row, head, step, seen] = raised / raised.sum()
        mixed[row, step, head * size :][:size] = weights[row, head, step] @ value
    return mixed @ named["attention/output/kernel"] + named["attention/output/bias"], weights


def block_by_hand(x, allowed, norm, named=NAMED):
    named = {path: value.astype(np.float64) for path, value in named.items()}

    def normalised(x, number):
        centred = x - x.mean(-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-6)
        return scaled * named[f"norms/{number}/scale"] + named[f"norms/{number}/bias"]

    def perceptron(x):
        hidden = np.maximum(x @ named["hidden/kernel"] + named["hidden/bias"], 0)
        return hidden @ named["output/kernel"] + named["output/bias"]

    x = x.astype(np.float64)
    attended, weights = attention_by_hand(normalised(x, 0) if norm == "pre" else x, allowed, named)
    if norm == "pre":
        x = x + attended
        return x + perceptron(normalised(x, 1)), weights
    x = normalised(x + attended, 0)
    return normalised(x + perceptron(x), 1), weights


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("norm", ["pre", "post"])
def test_block_equals_its_equations(norm, causal):
    outputs, noted = block(X, VALID, norm=norm, causal=causal, ask=True)
    allowed = VALID[:, :, None] & VALID[:, None, :]
    allowed &= np.tri(STEPS, dtype=bool) if causal else True
    expected, weights = block_by_hand(X, allowed, norm)
    np.testing.assert_allclose(outputs, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(noted["layer 1"], weights, rtol=1e-5, atol=1e-6)


def digests(x):
    """Of each row in its valid steps."""
    return [torch_order.digest(row) for row in np.asarray(x) * VALID[..., None]]


# PYTHONPATH=tests python scripts/prove/torch_models.py, torch 2.13.0.
OF_TORCH = {
    "pre relu": [-0.0663193, -9.23527, -0.785484],
    "pre gelu causal": [-4.24378, -9.16168, -0.43053],
    "post relu": [4.46554, -2.44524, 2.7209],
    "post gelu causal": [2.42655, -1.63344, 3.02503],
}


@pytest.mark.parametrize("name", OF_TORCH)
def test_block_equals_torch_by_its_values(name):
    norm, activation, causal = (*name.split(), "")[:3]
    outputs, _ = block(X, VALID, norm=norm, activation=activation, causal=bool(causal))
    np.testing.assert_allclose(digests(outputs), OF_TORCH[name], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_block_and_attention_equal_torch_side_by_side(norm):
    torch = pytest.importorskip("torch")
    layer = torch.nn.TransformerEncoderLayer(
        WIDTH, HEADS, HIDDEN, 0.0, "relu", layer_norm_eps=1e-6, batch_first=True, norm_first=norm == "pre"
    )
    with torch.no_grad():
        for leaf, value in zip(layer.state_dict().values(), VALUES, strict=True):
            leaf.copy_(torch.tensor(value))
        expected = layer(torch.tensor(X), src_key_padding_mask=torch.tensor(~VALID)).numpy()
        attended, weights = layer.self_attn(
            *[torch.tensor(X)] * 3, key_padding_mask=torch.tensor(~VALID), average_attn_weights=False
        )
    outputs, _ = block(X, VALID, norm=norm)
    np.testing.assert_allclose(np.asarray(outputs)[VALID], expected[VALID], rtol=1e-5, atol=1e-5)

    named = {path.removeprefix("attention/"): v for path, v in NAMED.items() if path.startswith("attention/")}
    forward = Forward(attention={})
    module = filled(SelfAttention(WIDTH, HEADS, rngs=nnx.Rngs(0)), named)
    ours = module(jnp.asarray(X), AttentionMask(jnp.asarray(VALID)), forward)
    np.testing.assert_allclose(np.asarray(ours)[VALID], attended.numpy()[VALID], rtol=1e-5, atol=1e-5)
    found = np.asarray(forward.attention["layer 1"]).swapaxes(1, 2)[VALID]
    np.testing.assert_allclose(found, weights.numpy().swapaxes(1, 2)[VALID], rtol=1e-5, atol=1e-6)


LONGEST = 9


def drawn(module):
    """The module with parameters from NumPy: what draws the initial ones is then not even compiled."""
    rng = np.random.default_rng(3)
    state = nnx.state(module, nnx.Param)
    for _, leaf in nnx.to_flat_state(state):
        leaf.set_value(jnp.asarray(rng.normal(1 if leaf.ndim == 1 else 0, 0.3, leaf.shape), jnp.float32))
    nnx.update(module, state)
    return module


@functools.partial(jax.jit, static_argnames=("causal", "ask", "rotary"))
def encoder(x, valid, example, causal=False, ask=False, rotary=False, step=0):
    """Outputs of two blocks in training, with dropout of every kind, and their weights."""
    key = jax.random.fold_in(jax.random.key(1), step)
    forward = Forward(train=True, keys=keys.example_keys(key, example), attention={} if ask else None)
    module = drawn(Encoder(2, WIDTH, HEADS, HIDDEN, dropout=0.3, attention_dropout=0.3, rngs=nnx.Rngs(0)))
    place = jnp.broadcast_to(jnp.arange(x.shape[1], dtype=jnp.float32), x.shape[:2])
    rotation = positions.rotation(place, WIDTH // HEADS) if rotary else None
    return module(x, valid, forward, causal=causal, rotation=rotation), forward.attention


def sequences(lengths, steps, seed=0, beyond=0.0):
    """Random sequences, the same whatever the number of steps, and which of them count."""
    x = np.random.default_rng(seed).normal(size=(len(lengths), LONGEST, WIDTH)).astype(np.float32)
    valid = np.arange(steps) < np.asarray(lengths)[:, None]
    x = np.pad(x, ((0, 0), (0, max(0, steps - LONGEST)), (0, 0)))[:, :steps]
    return np.where(valid[..., None], x, np.float32(beyond)), valid


@settings(max_examples=12, deadline=None, derandomize=True)
@given(
    lengths=st.lists(st.integers(0, 4), min_size=ROWS, max_size=ROWS),
    steps=st.sampled_from([LONGEST, 12]),
    beyond=st.sampled_from([0.0, 7.0]),
)
def test_padding_changes_nothing_with_dropout(lengths, steps, beyond):
    x, valid = sequences(lengths, 4)
    expected, _ = encoder(x, valid, np.arange(ROWS, dtype=np.int32))
    x, longer = sequences(lengths, steps, beyond=beyond)
    found, _ = encoder(x, longer, np.arange(ROWS, dtype=np.int32))
    np.testing.assert_allclose(np.asarray(found)[longer], np.asarray(expected)[valid], rtol=1e-4, atol=1e-5)
    assert np.isfinite(found).all()


def test_no_step_sees_a_later_one():
    x, valid = sequences([9, 6, 2], LONGEST)
    example = np.arange(ROWS, dtype=np.int32)
    before, _ = encoder(x, valid, example, causal=True)
    for step in range(1, LONGEST):
        later = np.arange(LONGEST)[None, :, None] >= step
        after, _ = encoder(np.where(later, -2 * x[:, ::-1], x), valid, example, causal=True)
        np.testing.assert_array_equal(np.asarray(after)[:, :step], np.asarray(before)[:, :step])
    # The same change is seen where steps look both ways.
    before, _ = encoder(x, valid, example)
    after, _ = encoder(np.where(later, -2 * x[:, ::-1], x), valid, example)
    assert np.abs(np.asarray(after - before))[0, 0].max() > 1e-3


def test_rows_go_with_their_examples():
    x, valid = sequences([9, 6, 2], LONGEST)
    order = np.array([2, 0, 1])
    expected, _ = encoder(x, valid, np.arange(ROWS, dtype=np.int32))
    found, _ = encoder(x[order], valid[order], order.astype(np.int32))
    np.testing.assert_allclose(found, np.asarray(expected)[order], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("causal", [False, True])
def test_weights_can_be_asked_for_and_change_no_bit(causal):
    x, valid = sequences([9, 4, 0], LONGEST)
    example = np.arange(ROWS, dtype=np.int32)
    outputs, noted = encoder(x, valid, example, causal=causal, ask=True)
    silent, nothing = encoder(x, valid, example, causal=causal)
    np.testing.assert_array_equal(outputs, silent)
    assert nothing is None and list(noted) == ["layer 1", "layer 2"]
    allowed = np.broadcast_to(valid[:, None, :], (ROWS, LONGEST, LONGEST)) & valid[:, :, None]
    allowed = allowed & np.tri(LONGEST, dtype=bool) if causal else allowed
    for weights in noted.values():
        weights = np.asarray(weights)
        assert weights.shape == (ROWS, HEADS, LONGEST, LONGEST) and weights.dtype == np.float32
        np.testing.assert_allclose(weights.sum(-1).swapaxes(1, 2)[valid], 1, rtol=1e-6)
        assert (weights[~np.broadcast_to(allowed[:, None], weights.shape)] == 0).all()
        assert (weights[np.broadcast_to(allowed[:, None], weights.shape)] > 0).all()


def test_without_a_mask_every_step_counts():
    @jax.jit
    def both(x):
        module = drawn(SelfAttention(WIDTH, HEADS, rngs=nnx.Rngs(0)))
        return module(x, None, Forward()), module(x, AttentionMask(jnp.ones(x.shape[:2], bool)), Forward())

    np.testing.assert_allclose(*both(X), rtol=1e-5, atol=1e-6)


def test_gradients_are_finite_where_nothing_counts():
    x, valid = sequences([0, 4, 0], 4)

    @jax.jit
    def gradients(x, valid):
        module = drawn(Encoder(1, WIDTH, HEADS, HIDDEN, rngs=nnx.Rngs(0)))
        graph, params = nnx.split(module)

        def total(params, x):
            return jnp.square(nnx.merge(graph, params)(x, valid, Forward())).sum()

        return jax.grad(total, (0, 1))(params, x)

    found = [np.asarray(leaf) for leaf in jax.tree.leaves(gradients(x, valid))]
    assert all(np.isfinite(leaf).all() for leaf in found) and sum(np.abs(leaf).sum() for leaf in found) > 0


def test_half_precision_stays_and_is_near():
    x, valid = sequences([9, 4, 1], LONGEST)

    @jax.jit
    def run(x):
        forward = Forward(attention={})
        module = drawn(Encoder(1, WIDTH, HEADS, HIDDEN, norm="post", rngs=nnx.Rngs(0)))
        return module(x, jnp.asarray(valid), forward, causal=True), forward.attention["layer 1"]

    half, weights = run(jnp.asarray(x, jnp.bfloat16))
    whole, _ = run(x)
    assert half.dtype == jnp.bfloat16 and weights.dtype == jnp.float32
    assert np.abs(np.asarray(half, np.float32) - np.asarray(whole))[valid].max() < 0.1
