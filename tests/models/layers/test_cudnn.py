"""LSTMs and attention by NVIDIA's kernels compute what the layers compute without them.

There is no GPU here, so what JAX offers on a processor with the same arguments takes the kernels' place: its reference
of cuDNN's LSTM (`jax.experimental.rnn.lstm_ref`), and its own form of attention. What this cannot show is that the
kernels themselves agree with these; ``scripts/gpu_check --only vendor`` compares them where there is a GPU.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.experimental import rnn
from tiny import EXPERIMENT, QUIET

from research import keys
from research.ablation import Ablation
from research.ablation.run import ablate, plan_only
from research.context import Context
from research.errors import UserError
from research.experiment import Parallel
from research.models.layers import cudnn
from research.models.layers.attention import SelfAttention
from research.models.layers.attention_blocks import AttentionMask
from research.models.layers.recurrent import Recurrent
from research.models.model import Forward
from research.runner import run
from research.training.layout import layout_of
from research.training.steps import Outline, Run, _context

VENDOR, PLAIN = Context(platform="cudnn"), Context(platform="gpu")
LENGTHS = (7, 1, 4, 0)


def by_reference(x, h, c, weights, lengths, inputs, width, layers, dropout, bidirectional, precision):
    """`rnn.lstm` by its own reference; a processor has no other."""
    parts = rnn.unpack_lstm_weights(weights, inputs, width, layers, bidirectional)
    return rnn.lstm_ref(x, h, c, *parts, lengths, inputs, width, layers, dropout, bidirectional)


@pytest.fixture(autouse=True)
def promoting():
    """What JAX offers relies on its promotion of types."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


@pytest.fixture
def called(monkeypatch):
    """How often the kernels were asked for."""
    found = []

    def lstm(*given):
        found.append("lstm")
        return by_reference(*given)

    def attention(*given, implementation, **named):
        assert implementation == "cudnn"
        found.append("attention")
        return offered(*given, implementation="xla", **named)

    offered = jax.nn.dot_product_attention
    monkeypatch.setattr(cudnn, "_generation", lambda: 8)
    monkeypatch.setattr(rnn, "lstm", lstm)
    monkeypatch.setattr(jax.nn, "dot_product_attention", attention)
    return found


def valid_of(lengths, steps):
    return jnp.arange(steps)[None, :] < jnp.asarray(lengths)[:, None]


def value_and_gradients(layer, context, x, *given):
    """Of all that a layer gives, weighted at random, and of its parameters and inputs."""
    graph, params = nnx.split(layer)

    def run(params, x):
        found = nnx.merge(graph, params)(x, *given, Forward(context=context))
        leaves = [each.astype(jnp.float32) for each in jax.tree.leaves(found)]
        weights = [jax.random.normal(jax.random.key(i), each.shape) for i, each in enumerate(leaves)]
        return sum((a * b).sum() for a, b in zip(leaves, weights, strict=True)), found

    (_, found), gradients = jax.value_and_grad(run, argnums=(0, 1), has_aux=True)(params, x)
    return jax.tree.leaves((found, gradients))


def agree(one, other, within):
    for found, asked in zip(one, other, strict=True):
        found, asked = np.asarray(found, np.float32), np.asarray(asked, np.float32)
        np.testing.assert_allclose(found, asked, rtol=0, atol=within * max(float(np.abs(asked).max()), 0.1))


@pytest.mark.parametrize("backwards", [False, True])
def test_an_lstm_of_padded_series_agrees_in_value_and_gradients(called, backwards):
    layer = Recurrent(3, 5, cell="lstm", backwards=backwards, rngs=nnx.Rngs(0))
    x = jax.random.normal(jax.random.key(1), (len(LENGTHS), 7, 3))
    valid = valid_of(LENGTHS, 7)
    agree(*(value_and_gradients(layer, context, x, valid) for context in (VENDOR, PLAIN)), 1e-5)
    assert called == ["lstm"]


@pytest.mark.parametrize("steps", [6, 7])
@pytest.mark.parametrize("causal", [False, True, None])
def test_attention_agrees_in_value_and_gradients(called, steps, causal):
    layer = SelfAttention(32, 4, rngs=nnx.Rngs(0))
    x = jax.random.normal(jax.random.key(1), (3, steps, 32), jnp.bfloat16)
    mask = None if causal is None else AttentionMask(valid_of((steps, 2, 5), steps), causal)
    agree(*(value_and_gradients(layer, context, x, mask) for context in (VENDOR, PLAIN)), 2e-2)
    assert called == ["attention"]


def test_what_the_kernels_do_not_offer_is_computed_without_them(called, monkeypatch):
    x, valid = jnp.ones((2, 4, 32)), valid_of((4, 2), 4)
    recurrent = Recurrent(32, 8, cell="lstm", rngs=nnx.Rngs(0))
    gru = Recurrent(32, 8, cell="gru", rngs=nnx.Rngs(0))
    attention = SelfAttention(32, 4, rngs=nnx.Rngs(0))
    dropping = SelfAttention(32, 4, dropout=0.5, rngs=nnx.Rngs(0))
    narrow = SelfAttention(16, 4, rngs=nnx.Rngs(0))
    half = x.astype(jnp.bfloat16)
    for changes in ({"stacked": True}, {"spread": True}, {"platform": "gpu"}, {"platform": "reference"}):
        recurrent(x, valid, Forward(context=dataclasses.replace(VENDOR, **changes)))
    for changes in ({"stacked": True}, {"spread": True}, {"platform": "gpu"}):
        attention(half, None, Forward(context=dataclasses.replace(VENDOR, **changes)))
    recurrent(half, valid, Forward(context=VENDOR))
    gru(x, valid, Forward(context=VENDOR))
    attention(x, None, Forward(context=VENDOR))
    narrow(half[..., :16], None, Forward(context=VENDOR))
    attention(half, None, Forward(context=VENDOR, attention={}))
    monkeypatch.setattr(cudnn, "_generation", lambda: 7)
    attention(half, None, Forward(context=VENDOR))
    monkeypatch.setattr(cudnn, "_generation", lambda: 9)
    drawn = keys.example_keys(keys.stream(0, "update", 0), jnp.arange(2))
    dropping(half, None, Forward(train=True, keys=drawn, context=VENDOR))
    assert not called
    attention(half, None, Forward(context=VENDOR))
    dropping(half, None, Forward(context=VENDOR))
    assert called == ["attention"] * 2


def test_programs_over_several_devices_say_so_unless_each_has_its_own():
    layouts = {mode: layout_of(Parallel(data=2, mode=mode), jax.devices(), 8) for mode in ("jit", "pmap")}
    spread = {mode: _context(Outline(8, None, "gpu", each), Run(0, 1)).spread for mode, each in layouts.items()}
    assert spread == {"jit": True, "pmap": False} and not _context(Outline(8, None, "gpu"), Run(0, 1)).spread


def test_series_are_turned_round_without_scattering():
    x, valid = jnp.ones((2, 4, 3)), valid_of((4, 2), 4)
    turned = jax.make_jaxpr(jax.grad(lambda x: cudnn._turned(x, valid.sum(1, dtype=jnp.int32)).sum()))(x)
    assert "scatter" not in str(turned) and "gather" in str(turned)


def test_factors_are_rounded_to_tf32_unless_jax_is_told_otherwise(monkeypatch):
    asked = []

    def lstm(*given):
        asked.append(given[-1])
        return by_reference(*given)

    monkeypatch.setattr(rnn, "lstm", lstm)
    layer = Recurrent(3, 5, cell="lstm", rngs=nnx.Rngs(0))
    for precision in (None, "float32", "bfloat16"):
        with jax.default_matmul_precision(precision):
            layer(jnp.ones((1, 2, 3)), jnp.ones((1, 2), bool), Forward(context=VENDOR))
    assert asked == [jax.lax.Precision.HIGH, jax.lax.Precision.HIGHEST, jax.lax.Precision.HIGH]


def test_only_a_gpu_has_them():
    outlines = {platform: Outline(1, None, platform, lowerings="vendor") for platform in ("cpu", "gpu", "tpu")}
    assert {name: each.context_platform for name, each in outlines.items()} == {
        "cpu": "cpu",
        "gpu": "cudnn",
        "tpu": "tpu",
    }


def test_asking_for_them_elsewhere_is_a_mistake_that_is_named(tmp_path):
    execution = QUIET.replace(lowerings="vendor")
    with pytest.raises(UserError, match=r"execution.lowerings: vendor .*Allowed here: auto, fast, reference"):
        run(EXPERIMENT, runs=tmp_path, execution=execution)
    assert not list(tmp_path.iterdir())
    with pytest.raises(UserError, match=r"execution.lowerings: vendor"):
        ablate(Ablation(baseline=EXPERIMENT, seeds=2), ablations=tmp_path, execution=execution)
    with pytest.raises(UserError, match=r"execution.lowerings: vendor"):
        plan_only(Ablation(baseline=EXPERIMENT, seeds=2), ablations=tmp_path, execution=execution)
    assert not list(tmp_path.rglob("waves"))
