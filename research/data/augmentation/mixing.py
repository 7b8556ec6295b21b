"""Two images in one, and how much each of the two labels weighs."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Float32, Int32, UInt32

from research.data.augmentation.draws import Draw, Strength, beta
from research.data.augmentation.geometry import rectangles
from research.keys import uniform


class Mixed(NamedTuple):
    """A batch whose images were mixed with one another.

    The loss of a row is ``share * loss(own target) + (1 - share) * loss(target of the partner)``.
    """

    images: Float[Array, "B H W C"]
    """The mixed images; rows that do not count are as they were."""
    partner: Int32[Array, " B"]
    """Row of the batch that holds the other image; the row itself where nothing was mixed in."""
    share: Float32[Array, " B"]
    """Weight of the row's own label, in [0, 1]; 1 where nothing was mixed in."""


def partners(mask: Bool[Array, " B"], keys: UInt32[Array, "B 2"]) -> Int32[Array, " B"]:
    """For each row that counts another one at random, for the others themselves.

    Rows that count are put into a circle in the order of a number drawn for each, and each has the next one as its
    partner: so every row is the partner of exactly one other, whatever the order in which the batch came.
    """
    rows = jnp.arange(mask.shape[0], dtype=jnp.int32)
    # Rows that do not count come after all others.
    circle = jnp.argsort(jnp.where(mask, uniform(keys, Draw.PARTNER, ()), 2)).astype(jnp.int32)
    count = mask.sum(dtype=jnp.int32)
    following = circle[jnp.where(rows + 1 < count, rows + 1, 0)]
    return jnp.where(mask, jnp.zeros_like(rows).at[circle].set(following), rows)


def mixup(
    keys: UInt32[Array, "B 2"], alpha: Strength, height: int, width: int
) -> tuple[Float32[Array, " B"], Float32[Array, "B H W"]]:
    """Weight of each image's label and, the same all over, of its pixels: Beta(alpha, alpha).

    Zhang et al., "mixup: beyond empirical risk minimization", ICLR 2018.
    """
    share = beta(keys, Draw.MIXUP, alpha)
    return share, jnp.broadcast_to(share[:, None, None], (share.shape[0], height, width))


def cutmix(
    keys: UInt32[Array, "B 2"], alpha: Strength, height: int, width: int
) -> tuple[Float32[Array, " B"], Float32[Array, "B H W"]]:
    """Weight of each image's label, and of its pixels: 0 in a rectangle that comes from the other image, else 1.

    The rectangle has the proportions of the image, a share of its area drawn as ``1 - Beta(alpha, alpha)`` and a middle
    anywhere; what lies beyond the borders is cut away, and the label's weight is the area that is really kept. Yun et
    al., "CutMix: regularization strategy to train strong classifiers with localizable features", ICCV 2019.
    """
    share = beta(keys, Draw.CUTMIX_SHARE, alpha)
    sides = jnp.sqrt(1 - share)[:, None] * jnp.array([[height, width]], jnp.float32)
    taken = rectangles(height, width, sides, uniform(keys, Draw.CUTMIX_PLACE, (2,)))
    kept = 1 - taken.astype(jnp.float32)
    return kept.mean((1, 2)), kept
