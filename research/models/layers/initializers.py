"""Initial values of kernels, by name."""

from __future__ import annotations

from typing import Literal

import jax
from flax import nnx
from flax.typing import Initializer
from jax.nn import initializers
from jaxtyping import Array, Key

from research.errors import UserError, did_you_mean

Name = Literal[
    "glorot_normal",
    "glorot_uniform",
    "he_normal",
    "he_uniform",
    "lecun_normal",
    "lecun_uniform",
    "normal",
    "ones",
    "orthogonal",
    "truncated_normal",
    "zeros",
]

_BY_NAME: dict[str, Initializer] = {
    "glorot_normal": initializers.glorot_normal(),
    "glorot_uniform": initializers.glorot_uniform(),
    "he_normal": initializers.he_normal(),
    "he_uniform": initializers.he_uniform(),
    "lecun_normal": initializers.lecun_normal(),
    "lecun_uniform": initializers.lecun_uniform(),
    "normal": initializers.normal(stddev=0.02),
    "ones": initializers.ones,
    "orthogonal": initializers.orthogonal(),
    "truncated_normal": initializers.truncated_normal(stddev=0.02),
    "zeros": initializers.zeros,
}


def by_name(name: str) -> Initializer:
    """The initialiser ``(key, shape, dtype) -> array`` of this name.

    The variance of a value is, with ``n`` inputs and ``m`` outputs: ``glorot_*`` 2 / (n + m) (Glorot and Bengio,
    AISTATS 2010), ``he_*`` 2 / n (He et al., ICCV 2015), ``lecun_*`` 1 / n (LeCun et al., 1998); ``normal`` and
    ``truncated_normal`` have a standard deviation of 0.02 (before truncation at two of them); ``orthogonal`` is
    Saxe et al., ICLR 2014.

    Raises:
        UserError: for an unknown name, with the closest and all valid ones.
    """
    if name not in _BY_NAME:
        raise UserError(
            f"initialiser {name!r} is not known.{did_you_mean(name, _BY_NAME)} Known: {', '.join(_BY_NAME)}."
        )
    return _BY_NAME[name]


def next_key(stream: nnx.RngStream) -> Key[Array, ""]:
    """What ``stream()`` returns. Flax itself counts with ``count[...] += 1``, whose cost in tracing is quadratic."""
    key = jax.random.fold_in(stream.key[...], stream.count[...])
    stream.count.set_value(stream.count[...] + 1)
    return key
