"""Dropout whose rate may be traced and whose draws belong to the example."""

from __future__ import annotations

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from research import keys
from research.errors import UserError
from research.models.model import Forward, Hyperparameter


class Dropout(nnx.Module):
    """In training, set each value to 0 with probability ``rate`` and divide the others by ``1 - rate``.

    Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting", JMLR 2014. What is dropped
    is a function of (seed, step, example, layer, position), so the other rows of the batch, padding and the number of
    devices change nothing.
    """

    def __init__(self, rate: float | Array | None) -> None:
        """Keep the rate, a number in [0, 1) that may be traced; None leaves dropout out of the program."""
        self.rate = None if rate is None else Hyperparameter(jnp.asarray(rate, jnp.float32))

    def __call__(self, x: Float[Array, "B ..."], forward: Forward) -> Float[Array, "B ..."]:
        """``x`` with dropout in training, ``x`` itself otherwise.

        Raises:
            UserError: in training without keys.
        """
        if self.rate is None or not forward.train:
            return x
        if forward.keys is None:
            raise UserError(
                "Dropout draws in training, but this forward pass has no keys. Pass "
                "Forward(train=True, keys=research.keys.example_keys(key, batch.example)), or train=False."
            )
        rate = self.rate[...]
        kept = keys.uniform(forward.keys, forward.next_stream(), x.shape[1:]) >= rate
        return jnp.where(kept, x * (1 / (1 - rate)).astype(x.dtype), 0)
