"""Dynamic loss scaling: what keeps gradients in float16 from vanishing, and what happens where they overflow."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float32, Int32

FIRST = 2.0**15
LEAST = 1.0
MOST = 2.0**24
INTERVAL = 2000
"""Finite updates in a row after which the scale is doubled."""


class LossScale(NamedTuple):
    """The factor by which the loss is multiplied before gradients are taken, part of the state of training.

    Micikevicius et al., "Mixed precision training", ICLR 2018. Numbers below 6e-8 are 0 in float16, and many gradients
    are; those of a larger loss are not. The scale starts at 2^15. Where a gradient is not finite the update is skipped
    and the scale halved, down to 1; after 2000 finite updates in a row it is doubled, up to 2^24. It is a power of two,
    so scaling rounds nothing.

    Attributes:
        scale: the factor.
        finite: updates since it changed last, all of them finite.
        loss: of the last update that was made, 0 before the first; stands in for a loss that is not finite.
    """

    scale: Float32[Array, ""]
    finite: Int32[Array, ""]
    loss: Float32[Array, ""]

    @classmethod
    def first(cls) -> LossScale:
        """Before the first update."""
        return cls(jnp.float32(FIRST), jnp.int32(0), jnp.float32(0))

    def unscaled(self, gradients: Any) -> Any:
        """Gradients of the loss from those of the scaled loss."""
        return jax.tree.map(lambda leaf: leaf / self.scale.astype(leaf.dtype), gradients)

    def after(self, finite: Bool[Array, ""], loss: Float32[Array, ""]) -> tuple[LossScale, dict[str, Array]]:
        """The scale for the next update, and scalars of this one for the log.

        A run stops at a ``loss`` that is not finite. So that of a skipped update is replaced by the last one before
        it, for a smaller scale may help; at a scale of 1 nothing will, and the loss is NaN.

        Args:
            finite: whether all gradients of this update were finite.
            loss: its loss, which was not multiplied.

        Returns:
            The next scale; and ``loss``, ``loss_scale``, the factor of this update, and ``skipped``, 1 where it was
            skipped and 0 where it was made, whose mean in the log is a share of the updates.
        """
        grown = finite & (self.finite + 1 >= INTERVAL)
        up, down = jnp.minimum(self.scale * 2, MOST), jnp.maximum(self.scale / 2, LEAST)
        scale = jnp.where(finite, jnp.where(grown, up, self.scale), down)
        count = jnp.where(finite & ~grown, self.finite + 1, 0)
        hopeless = ~finite & (self.scale <= LEAST)
        shown = jnp.where(jnp.isfinite(loss), loss, self.loss)
        scalars = {
            "loss": jnp.where(hopeless, jnp.nan, shown),
            "loss_scale": self.scale,
            "skipped": 1 - finite.astype(jnp.float32),
        }
        return LossScale(scale, count, jnp.where(finite, loss, self.loss)), scalars


def all_finite(tree: Any) -> Bool[Array, ""]:
    """Whether all numbers of a pytree of arrays are finite."""
    return jnp.stack([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(tree)]).all()


def chosen(made: Bool[Array, ""], new: Any, old: Any) -> Any:
    """``new`` where an update is made, ``old`` where it is skipped; both are pytrees of the same structure."""
    return jax.tree.map(lambda after, before: jnp.where(made, after, before), new, old)
