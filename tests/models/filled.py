"""Networks with the parameters that torch's were given, and what they put out."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import torch_order

from research.context import Context
from research.models import Forward, functional

OUTPUTS = 3
QUICK = Context(platform="gpu")
"""Convolutions lowered as for a GPU: a tenth of the time to compile. The layer's tests hold both lowerings together."""


def images(*shape: int) -> np.ndarray:
    """Images ``[B, H, W, C]`` of a shape in torch's order."""
    return torch_order.images(shape).transpose(0, 2, 3, 1)


def series(*shape: int) -> dict[str, np.ndarray]:
    """Series of full length, of a shape in torch's order, ``[B, C, T]``."""
    values = images(*shape[:2], 1, shape[2])[:, 0]
    rows, steps = values.shape[:2]
    time = np.broadcast_to(np.arange(steps, dtype=np.float32), (rows, steps))
    return {"values": values, "observed": values < 9, "time": time, "length": np.full(rows, steps, np.int32)}


def parameters(spec: Any, x: Any) -> tuple[Any, Any]:
    """Parameters and state of a model for such images or series."""
    one = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), x)
    return torch_order.ours(*jax.eval_shape(lambda: functional.initialise(spec, one, OUTPUTS, jax.random.key(0))))


def outputs(spec: Any, x: Any, train: bool) -> Any:
    """Outputs of all images or series, one after the other, in training or in evaluation."""

    @jax.jit
    def run(params: Any, state: Any, x: Any) -> Any:
        forward = Forward(train=train, context=QUICK)
        return functional.apply(spec, params, state, x, OUTPUTS, forward, jax.random.key(0))[0].ravel()

    return run(*parameters(spec, x), x)
