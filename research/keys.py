"""Randomness is a function of (seed, stream name, step) and, where a draw belongs to an example, of the example."""

from __future__ import annotations

import functools
import math
import zlib

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int32, Key, UInt32

GENERATOR = "threefry2x32"
"""Named, so that no environment variable decides which numbers are drawn."""

ROTATIONS = (13, 15, 26, 6), (17, 29, 16, 24)


def stream(
    seed: Int32[Array, ""] | UInt32[Array, ""] | int, name: str | UInt32[Array, ""], step: Int32[Array, ""] | int
) -> Key[Array, ""]:
    """The key of one step of one named stream; nothing is split, so nothing has to be saved.

    Args:
        seed: the run's seed.
        name: of the stream, or its `number`, which may be traced.
        step: number of the step.
    """
    base = jax.random.key_data(jax.random.key(seed, impl=GENERATOR))
    for data in (number(name) if isinstance(name, str) else name, step):
        base = fold_in(base, jnp.asarray(data, jnp.uint32))
    return jax.random.wrap_key_data(_once(base), impl=GENERATOR)


def number(name: str) -> int:
    """The number by which a stream is told apart from others."""
    return zlib.crc32(name.encode())


def example_keys(key: Key[Array, ""], example: Int32[Array, " B"]) -> UInt32[Array, "B 2"]:
    """Raw key data for each example of a batch, from the step's key and the example's index."""
    return _once(fold_in(jax.random.key_data(key), example.astype(jnp.uint32)))


def _once(key: UInt32[Array, "... 2"]) -> UInt32[Array, "... 2"]:
    """The same, computed once: XLA would compute keys again in each expression that draws with them.

    Each round has the one before in it twice: of a small transformer that took minutes to compile.
    """
    return jax.lax.optimization_barrier(key)


def step_keys(keys: UInt32[Array, "B 2"], steps: int) -> UInt32[Array, "S B 2"]:
    """Keys of each example for each of some steps, for what is computed one step after the other.

    Those of a step do not depend on how many steps there are.

    Args:
        keys: from `example_keys`.
        steps: how many.
    """

    return fold_in(keys[None], jnp.arange(steps, dtype=jnp.uint32)[:, None])


@functools.partial(jax.jit, inline=True)
def fold_in(key: UInt32[Array, "... 2"], data: UInt32[Array, ...]) -> UInt32[Array, "... 2"]:
    """The bits of `jax.random.fold_in` for threefry keys, ``key`` and ``data`` broadcast against one another.

    On a CPU JAX's own goes through the rounds in a loop, which takes a quarter of a small network's step; this is one
    expression without a loop, traced once for each shape. Threefry-2x32 with 20 rounds: Salmon et al., "Parallel random
    numbers: as easy as 1, 2, 3", SC 2011.

    Args:
        key: raw key data.
        data: what is folded in.
    """
    first, second = key[..., 0], key[..., 1]
    words = (first, second, first ^ second ^ jnp.uint32(0x1BD11BDA))
    right = data + second
    left = jnp.broadcast_to(first, right.shape)
    for group in range(5):
        for turn in ROTATIONS[group % 2]:
            left = left + right
            right = left ^ ((right << turn) | (right >> (32 - turn)))
        left = left + words[(group + 1) % 3]
        right = right + words[(group + 2) % 3] + jnp.uint32(group + 1)
    return jnp.stack((left, right), -1)


def _mix(bits: UInt32[Array, ...]) -> UInt32[Array, ...]:
    """A bijection of 32 bits in which every output bit depends on every input bit (xor-shift-multiply)."""
    bits = (bits ^ (bits >> 16)) * jnp.uint32(0x21F0AAAD)
    bits = (bits ^ (bits >> 15)) * jnp.uint32(0x735A2D97)
    return bits ^ (bits >> 15)


def uniform(keys: UInt32[Array, "B 2"], stream: int, shape: tuple[int, ...]) -> Float[Array, "B ..."]:
    """Uniform numbers in [0, 1) per example, ``[B, *shape]``, as a function of (example key, stream, position).

    Threefry bits take most of a small network's step on a CPU. The keys come from threefry; the many draws of one
    example are a counter passed through two keyed rounds of a 32-bit mixing function (in the manner of
    counter-based generators: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011; the mixing
    constants are those of Wellons' hash search). Good for dropout and augmentation; not for cryptography.

    Args:
        keys: from `example_keys`.
        stream: number of the layer that draws; different streams are independent.
        shape: shape of the draws of one example.
    """
    size = math.prod(shape)
    return uniform_at(keys, stream, jnp.arange(size, dtype=jnp.uint32)).reshape(-1, *shape)


def uniform_at(keys: UInt32[Array, "B 2"], stream: int, position: UInt32[Array, " N"]) -> Float[Array, "B N"]:
    """The numbers of `uniform` at chosen positions, where the number of a position is not its place in an array.

    Args:
        keys: from `example_keys`.
        stream: number of the layer that draws.
        position: a number for each draw of an example; draws of the same number are equal.
    """
    first = _mix(keys[:, 0] + jnp.uint32(stream) * jnp.uint32(0x85EBCA6B))
    counter = position * jnp.uint32(0x9E3779B9)
    bits = _mix(_mix(first[:, None] + counter[None, :]) ^ keys[:, 1][:, None])
    return (bits >> 8).astype(jnp.float32) * jnp.float32(2.0**-24)
