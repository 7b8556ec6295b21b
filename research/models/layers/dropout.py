"""Dropout whose rate may be traced and whose draws belong to the example."""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Float32, Int32, UInt32

from research import keys
from research.errors import UserError
from research.models.model import Forward, Hyperparameter

Pairs = Callable[[UInt32[Array, "N 2"], Int32[Array, " Q"]], Float32[Array, "N H Q T"]]


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
        return self._dropped(x, keys.uniform(_keys_of(forward), forward.next_stream(), x.shape[1:]))

    def on_pairs(self, heads: int, steps: int, forward: Forward) -> Pairs | None:
        """By what to multiply what belongs to pairs of steps, such as weights of attention; None without dropout.

        What is dropped for a pair does not depend on the number of steps, so here too padding changes nothing.

        Args:
            heads: of attention.
            steps: of a sequence.
            forward: what the pass knows besides.

        Returns:
            A function of some examples' keys (`Forward.keys`) and the numbers of some steps, that gives the factors of
            these steps for all steps ``[N, H, Q, T]``.

        Raises:
            UserError: in training without keys.
        """
        if self.rate is None or not forward.train:
            return None
        _keys_of(forward)  # or it is said here that there are none
        stream = forward.next_stream()

        def factor(drawn_by: UInt32[Array, "N 2"], numbers: Int32[Array, " Q"]) -> Float32[Array, "N H Q T"]:
            head = jnp.arange(heads, dtype=jnp.uint32)[:, None, None]
            position = numbers_of_pairs(numbers.astype(jnp.uint32), steps)[None] * jnp.uint32(heads) + head
            drawn = keys.uniform_at(drawn_by, stream, position.reshape(-1))
            shape = (len(drawn_by), heads, len(numbers), steps)
            return self._dropped(jnp.ones(shape, jnp.float32), drawn.reshape(shape))

        return factor

    def _dropped(self, x: Float[Array, "B ..."], drawn: Float[Array, "B ..."]) -> Float[Array, "B ..."]:
        assert self.rate is not None
        rate = self.rate[...]
        return jnp.where(drawn >= rate, x * (1 / (1 - rate)).astype(x.dtype), 0)


def numbers_of_pairs(some: UInt32[Array, " Q"], steps: int) -> UInt32[Array, "Q T"]:
    """A number for each pair of steps, different for different pairs and the same whatever the number of steps.

    Pairs are counted in shells: those in which the later step is number m are m², m² + 1, ... m² + 2m. Counted row by
    row, the number of a pair would depend on how long a row is. From 65,536 steps on numbers come again; with heads
    beside them (`Dropout.on_pairs`) from 65,536 divided by the root of their number on.
    """
    shape = len(some), steps
    row = jnp.broadcast_to(some[:, None], shape)
    column = jnp.broadcast_to(jnp.arange(steps, dtype=jnp.uint32)[None, :], shape)
    return jnp.where(row >= column, row * row + column, column * column + column + 1 + row)


def _keys_of(forward: Forward) -> UInt32[Array, "B 2"]:
    if forward.keys is None:
        raise UserError(
            "Dropout draws in training, but this forward pass has no keys. Pass "
            "Forward(train=True, keys=research.keys.example_keys(key, batch.example)), or train=False."
        )
    return forward.keys
