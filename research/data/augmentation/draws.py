"""What augmentation draws for each image or series, as functions of the example's key."""

from __future__ import annotations

import enum

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Float32, UInt32

from research.keys import uniform

Strength = float | Float[Array, ""]
"""A number of the spec, which is traced within a compiled program."""


class Draw(enum.IntEnum):
    """One stream of draws per purpose, so that switching one transform on leaves the draws of the others alone.

    The numbers lie far above those of a model's layers, which may draw from the same keys. They are part of every
    result: never renumber.
    """

    ROTATION = 1 << 16
    TRANSLATION = ROTATION + 1
    SHEAR = ROTATION + 2
    ZOOM = ROTATION + 3
    HORIZONTAL_FLIP = ROTATION + 4
    VERTICAL_FLIP = ROTATION + 5
    CROP_SIZE = ROTATION + 6
    CROP_PLACE = ROTATION + 7
    BRIGHTNESS = ROTATION + 8
    CONTRAST = ROTATION + 9
    NOISE = ROTATION + 10
    CUTOUT = ROTATION + 11
    MIXUP = ROTATION + 12
    CUTMIX_SHARE = ROTATION + 13
    CUTMIX_PLACE = ROTATION + 14
    MIXUP_OR_CUTMIX = ROTATION + 15
    PARTNER = ROTATION + 16
    JITTER = ROTATION + 17
    AMPLITUDE = ROTATION + 18
    TIME_WARP = ROTATION + 19
    TIME_CROP = ROTATION + 20
    VARIABLE_DROPOUT = ROTATION + 21
    BASELINE = ROTATION + 22
    TIME_MASK = ROTATION + 23


def within(
    keys: UInt32[Array, "B 2"], draw: Draw, strength: Strength, shape: tuple[int, ...] = ()
) -> Float32[Array, "B ..."]:
    """Uniform between ``-strength`` and ``strength``, ``[B, *shape]``."""
    return strength * (2 * uniform(keys, draw, shape) - 1)


def coin(keys: UInt32[Array, "B 2"], draw: Draw) -> Bool[Array, " B"]:
    """True for half of the images."""
    return uniform(keys, draw, ()) < 0.5


def normal(keys: UInt32[Array, "B 2"], draw: Draw, shape: tuple[int, ...]) -> Float32[Array, "B ..."]:
    """Standard normal, ``[B, *shape]``, by the inverse of the distribution function; no number exceeds 5.5."""
    # A uniform number of 0 would become minus infinity.
    centred = jnp.maximum(2 * uniform(keys, draw, shape) - 1, -1 + 2.0**-24)
    return jnp.sqrt(jnp.float32(2)) * jax.lax.erf_inv(centred)


def beta(keys: UInt32[Array, "B 2"], draw: Draw, alpha: Strength) -> Float32[Array, " B"]:
    """Beta(alpha, alpha), from two uniform numbers per image and without rejection, so that ``alpha`` may be traced.

    With T of Student's t distribution with ``2 alpha`` degrees of freedom, ``1/2 + T / (2 sqrt(2 alpha + T^2))`` is
    Beta(alpha, alpha), and T has a polar form (Bailey, "Polar generation of random variates with the t-distribution",
    Mathematics of Computation 1994; Devroye, "Random variate generation in one line of code", WSC 1996).
    """
    radius, angle = jnp.split(uniform(keys, draw, (2,)), 2, axis=1)
    cosine = jnp.cos(2 * jnp.pi * angle[:, 0])
    # T^2 / (2 alpha) is (radius^(-1 / alpha) - 1) cosine^2. Its logarithm overflows for no alpha.
    spread = -jnp.log(jnp.maximum(radius[:, 0], 2.0**-25)) / alpha
    log_square = spread + jnp.log(-jnp.expm1(-spread)) + 2 * jnp.log(jnp.abs(cosine))
    return 0.5 + 0.5 * jnp.sign(cosine) * jnp.sqrt(jax.nn.sigmoid(log_square))
