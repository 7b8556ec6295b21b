"""Series and records for tests of models, and networks with parameters from NumPy run on them."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from research import keys
from research.models import Forward, functional

Inputs = dict[str, np.ndarray]

ROWS, LONGEST, VARIABLES, OUTPUTS, VOCABULARY = 3, 7, 2, 2, 11
LENGTHS = (7, 4, 1)


def series(steps: int = LONGEST, lengths: tuple[int, ...] = LENGTHS, static: bool = True) -> Inputs:
    """Series that do not depend on how many steps of padding follow them."""
    rng = np.random.default_rng(0)
    shape = (len(lengths), LONGEST, VARIABLES)
    found = {
        "values": rng.normal(size=shape),
        "observed": rng.random(shape) < 0.6,
        "time": np.cumsum(rng.exponential(size=shape[:2]), axis=1),
    }
    found = _cut(found, steps, lengths)
    return found | ({"static": rng.normal(size=(len(lengths), 3)).astype(np.float32)} if static else {})


def records(steps: int = LONGEST, lengths: tuple[int, ...] = LENGTHS) -> Inputs:
    """Records likewise."""
    rng = np.random.default_rng(1)
    shape = (len(lengths), LONGEST)
    time = np.cumsum(rng.exponential(size=shape), axis=1)
    found = {
        "codes": rng.integers(1, VOCABULARY, size=shape).astype(np.int32),
        "time": time,
        "visit": np.cumsum(rng.random(shape) < 0.5, axis=1).astype(np.int32),
        "age": 40 + time,
        "number": rng.normal(size=shape),
        "number_known": rng.random(shape) < 0.5,
    }
    return _cut(found, steps, lengths)


def _cut(found: Inputs, steps: int, lengths: tuple[int, ...]) -> Inputs:
    """Zeros from the length of each on, cut or filled up to ``steps``."""
    cut = {}
    for name, values in found.items():
        values = values.astype(np.float32) if values.dtype == np.float64 else values
        beyond = np.arange(values.shape[1]) >= np.asarray(lengths)[:, None]
        values = np.where(beyond.reshape(*beyond.shape, *[1] * (values.ndim - 2)), values.dtype.type(0), values)
        filling = [(0, 0), (0, max(0, steps - values.shape[1]))] + [(0, 0)] * (values.ndim - 2)
        cut[name] = np.pad(values, filling)[:, :steps]
    return cut | {"length": np.asarray(lengths, np.int32)}


def shapes(inputs: Any) -> Any:
    """Of one example."""
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), inputs)


def parameters(spec: Any, inputs: Any, outputs: int = OUTPUTS) -> Any:
    """Random parameters, without compiling what draws the initial ones."""
    rng = np.random.default_rng(2)
    like, _ = jax.eval_shape(lambda: functional.initialise(spec, shapes(inputs), outputs, jax.random.key(0)))
    return jax.tree.map(lambda leaf: rng.normal(leaf.ndim == 1, 0.3, leaf.shape).astype(np.float32), like)


@functools.partial(jax.jit, static_argnames=("train", "ask", "dtype"))
def _run(spec: Any, params: Any, inputs: Any, example: Any, train: bool, ask: bool, dtype: Any) -> Any:
    drawn = keys.example_keys(jax.random.key(7), example)
    forward = Forward(train=train, keys=drawn if train else None, attention={} if ask else None)
    outputs, _ = functional.apply(spec, params, {}, inputs, OUTPUTS, forward, jax.random.key(0), dtype)
    return outputs, forward.attention


def run(
    spec: Any, inputs: Inputs, params: Any, example: Any = None, train: bool = True, dtype: Any = jnp.float32
) -> np.ndarray:
    """Outputs in training, or in evaluation."""
    example = np.arange(ROWS, dtype=np.int32) if example is None else example
    return np.asarray(_run(spec, params, inputs, example, train, False, dtype)[0])


def run_with_attention(spec: Any, inputs: Inputs, params: Any) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Outputs in evaluation, and weights of attention."""
    return jax.tree.map(np.asarray, _run(spec, params, inputs, np.arange(ROWS), False, True, jnp.float32))
