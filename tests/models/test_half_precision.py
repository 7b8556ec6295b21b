"""Models in half precision: what is computed in float32 all the same, and how outputs are rounded."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sequences import VOCABULARY, records, series

from research import keys
from research.models import (
    CNN,
    MLP,
    RNN,
    DenseNet,
    Forward,
    InceptionTime,
    Model,
    RecordTransformer,
    ResNet,
    SeriesTransformer,
    ViT,
    XResNet1D,
    functional,
)

PICTURES = np.ones((2, 8, 8, 1), np.float32)
SERIES = series()
RECORDS = records()
FAMILIES: dict[str, tuple[Model, Any]] = {
    "mlp": (MLP(widths=(4,), normalization="layer"), np.ones((2, 5), np.float32)),
    "cnn": (CNN(widths=(4,), normalization="group", head="mean", pooling="mean"), PICTURES),
    "resnet": (ResNet(blocks=(1, 1), width=4), PICTURES),
    "densenet": (DenseNet(blocks=(1, 1), growth=4), PICTURES),
    "vit": (ViT(patch=4, depth=1, width=8, heads=2, readout="mean"), PICTURES),
    "lstm": (RNN(widths=(4,), bidirectional=True, readout="mean"), SERIES),
    "gru": (RNN(cell="gru", widths=(4,), readout="attention"), SERIES),
    "gru-d": (RNN(cell="grud", widths=(4,)), SERIES),
    "steps ahead": (RNN(cell="lstm", widths=(4,), steps_ahead=2), SERIES),
    "transformer": (SeriesTransformer(width=8, heads=2, position="rotary", readout="attention"), SERIES),
    "records": (RecordTransformer(vocabulary=VOCABULARY, width=8, heads=2, readout="mean"), RECORDS),
    "inception": (InceptionTime(filters=2, kernels=(3,), depth=3), SERIES),
    "xresnet1d": (XResNet1D(depth=18, blocks=(1, 1), width=4, stem=(4, 4, 4)), SERIES),
}
DELICATE = {"exp", "log", "log1p", "rsqrt", "logistic", "sin", "cos", "reduce_sum", "cumsum", "cumlogsumexp"}


def applied(name: str, compute: str, output: str = "float32") -> Any:
    """Fresh parameters of a model, and its outputs of its inputs."""
    model, inputs = FAMILIES[name]
    like = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), inputs)
    rows = len(jax.tree.leaves(inputs)[0])

    def outputs(inputs: Any) -> Any:
        params, state = functional.initialise(model, like, 2, jax.random.key(0))
        drawn = keys.example_keys(jax.random.key(1), jnp.arange(rows, dtype=jnp.int32))
        forward = Forward(train=True, keys=drawn, mask=jnp.ones(rows, bool))
        types = jnp.dtype(compute), jnp.dtype(output)
        return functional.apply(model, params, state, inputs, 2, forward, jax.random.key(2), *types)[0]

    return outputs, inputs


def equations(jaxpr: Any) -> Any:
    """All equations of a program and of the programs within it."""
    for equation in jaxpr.eqns:
        yield equation
        for part in jax.tree.leaves(list(equation.params.values()), is_leaf=lambda x: hasattr(x, "eqns")):
            inner = getattr(part, "jaxpr", part)
            if hasattr(inner, "eqns"):
                yield from equations(inner)


@pytest.mark.parametrize("name", FAMILIES)
def test_normalisation_softmax_gates_and_sums_are_float32(name: str) -> None:
    outputs, inputs = applied(name, "bfloat16")
    found = list(equations(jax.make_jaxpr(outputs)(inputs).jaxpr))
    narrow, seen = [], set()
    for equation in found:
        operation, types = equation.primitive.name, {str(v.aval.dtype) for v in equation.invars if hasattr(v, "aval")}
        seen |= {operation} if "bfloat16" in types else set()
        if operation in DELICATE and "bfloat16" in types:
            narrow.append(str(equation))
    assert not narrow
    # The heavy work is in the precision asked for.
    assert "dot_general" in seen


def test_outputs_are_rounded_to_their_type_and_by_default_not_at_all() -> None:
    (outputs, inputs), (rounded, _), (wide, _) = (
        applied("mlp", *types) for types in (("bfloat16",), ("bfloat16", "bfloat16"), ("float32",))
    )
    found, half, whole = jax.jit(lambda inputs: (outputs(inputs), rounded(inputs), wide(inputs)))(inputs)
    assert found.dtype == half.dtype == jnp.float32
    assert (found != found.astype(jnp.bfloat16).astype(jnp.float32)).any()
    np.testing.assert_array_equal(half, found.astype(jnp.bfloat16).astype(jnp.float32))
    np.testing.assert_allclose(found, whole, atol=0.05)


def test_a_state_that_moves_slowly_moves_in_half_precision_too() -> None:
    """A gate that keeps 0.999 of a state, over 400 steps: rounded to 8 bits it would keep all of it."""
    model = RNN(cell="gru", widths=(1,))
    steps = 400
    inputs = {
        "values": np.zeros((1, steps, 1), np.float32),
        "observed": np.ones((1, steps, 1), bool),
        "time": np.zeros((1, steps), np.float32),
        "length": np.full(1, steps, np.int32),
    }
    layer = {
        "input_kernel": np.zeros((1, 3), np.float32),
        "kernel": np.zeros((1, 3), np.float32),
        # Kept: sigmoid(6.9) = 0.99899; new: tanh(20) = 1.
        "bias": np.asarray([0, 6.9, 20], np.float32),
        "candidate_bias": np.zeros(1, np.float32),
    }
    params = {
        "layers": {0: {0: layer}},
        "output": {"kernel": np.ones((1, 1), np.float32), "bias": np.zeros(1, np.float32)},
    }
    keep = 1 / (1 + np.exp(-float(jnp.bfloat16(6.9))))

    @jax.jit
    def last(params: Any, inputs: Any) -> Any:
        return functional.apply(model, params, {}, inputs, 1, Forward(), jax.random.key(0), jnp.bfloat16)[0]

    found = last(params, inputs)
    assert float(found[0, 0]) == pytest.approx(1 - keep**steps, rel=0.01)
