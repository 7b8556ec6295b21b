"""Networks with the parameters that torch's were given, and what they put out."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
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


def parameters(spec: Any, x: np.ndarray) -> tuple[Any, Any]:
    """Parameters and state of a model for such images."""
    image = jax.ShapeDtypeStruct(x.shape[1:], jnp.float32)
    return torch_order.ours(*jax.eval_shape(lambda: functional.initialise(spec, image, OUTPUTS, jax.random.key(0))))


def outputs(spec: Any, x: np.ndarray, train: bool) -> Any:
    """Outputs of all images, one after the other, in training or in evaluation."""

    @jax.jit
    def run(params: Any, state: Any, x: Any) -> Any:
        forward = Forward(train=train, context=QUICK)
        return functional.apply(spec, params, state, x, OUTPUTS, forward, jax.random.key(0))[0].ravel()

    return run(*parameters(spec, x), x)
