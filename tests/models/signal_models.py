"""Small series of different lengths, and what a model of series makes of them."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from filled import OUTPUTS, QUICK

from research import keys
from research.models import Forward, functional


def shapes(steps: int, variables: int, static: int = 0) -> dict[str, jax.ShapeDtypeStruct]:
    """One example, as models are built for."""
    found = {
        "values": jax.ShapeDtypeStruct((steps, variables), jnp.float32),
        "observed": jax.ShapeDtypeStruct((steps, variables), jnp.bool_),
        "time": jax.ShapeDtypeStruct((steps,), jnp.float32),
        "length": jax.ShapeDtypeStruct((), jnp.int32),
    }
    return found | ({"static": jax.ShapeDtypeStruct((static,), jnp.float32)} if static else {})


def count(spec: Any, variables: int, outputs: int, steps: int = 96, static: int = 0) -> int:
    """Number of parameters."""
    shape = shapes(steps, variables, static)
    params, _ = jax.eval_shape(lambda: functional.initialise(spec, shape, outputs, jax.random.key(0)))
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def ragged(lengths: tuple[int, ...], steps: int, rubbish: float = 50.0) -> dict[str, np.ndarray]:
    """The same series however many ``steps`` there are, with rubbish behind their ends, and static descriptors."""
    draws = np.random.default_rng(0)
    length = np.array(lengths, np.int32)
    values = draws.normal(size=(len(lengths), 64, 2)).astype(np.float32)[:, :steps]
    inside = np.arange(steps)[None, :] < length[:, None]
    return {
        "values": np.where(inside[..., None], values, rubbish * values),
        "observed": values > -1,
        "time": np.broadcast_to(np.arange(steps, dtype=np.float32), inside.shape).copy(),
        "length": length,
        "static": draws.normal(size=(len(lengths), 2)).astype(np.float32),
    }


def pick(inputs: dict[str, np.ndarray], row: int) -> dict[str, np.ndarray]:
    """One series without its padding."""
    length = inputs["length"][row]
    found = {name: x[row : row + 1] for name, x in inputs.items()}
    return {name: x[:, :length] if name in ("values", "observed", "time") else x for name, x in found.items()}


def training(spec: Any, params: Any, state: Any, inputs: Any, mask: Any) -> Any:
    """Outputs of the rows that count, 0 elsewhere, and new running statistics."""
    example, mask, inputs = jnp.arange(len(mask), dtype=jnp.int32), jnp.asarray(mask), jax.tree.map(jnp.asarray, inputs)
    forward = Forward(True, keys.example_keys(jax.random.key(3), example), mask, QUICK)
    outputs, new = functional.apply(spec, params, state, inputs, OUTPUTS, forward, jax.random.key(0))
    return jnp.where(mask[:, None], outputs, 0), new


def evaluation(spec: Any, params: Any, state: Any, inputs: Any) -> Any:
    """Outputs."""
    inputs = jax.tree.map(jnp.asarray, inputs)
    return functional.apply(spec, params, state, inputs, OUTPUTS, Forward(context=QUICK), jax.random.key(0))[0]


__all__ = ["QUICK", "count", "evaluation", "pick", "ragged", "shapes", "training"]
