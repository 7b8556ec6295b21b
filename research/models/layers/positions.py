"""Encodings of positions: sinusoidal, learned, rotary, and of real-valued times."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from research.errors import UserError
from research.models.layers import initializers

Rotation = tuple[Float[Array, "B T F"], Float[Array, "B T F"]]
"""Cosines and sines of the angles by which the F pairs of features of a head are turned at each step."""

BASE = 10_000.0
"""Ratio of the longest to the shortest period, nearly; that of Vaswani et al."""


def frequencies(width: int) -> Float[np.ndarray, " F"]:
    """Angular frequencies ``10000 ** (-2 i / width)``, one for each pair of features, from 1 downwards."""
    return BASE ** (-np.arange(0, width, 2) / width)


def angles(place: Float[Array, "B T"], width: int) -> Float[Array, "B T F"]:
    """Angle of each pair of features at each position, float32."""
    place = place.astype(jnp.float32)[..., None]
    return place * jnp.asarray(frequencies(width), jnp.float32)[None, None, :]


def sinusoidal(place: Float[Array, "B T"], width: int) -> Float[Array, "B T D"]:
    """``sin(w t), cos(w t)`` side by side for falling frequencies ``w``, of positions ``t`` that may be any numbers.

    Vaswani et al., "Attention is all you need", NeurIPS 2017, section 3.5.
    """
    turned = angles(place, width)
    pairs = jnp.stack([jnp.sin(turned), jnp.cos(turned)], axis=-1)
    return pairs.reshape(*place.shape, -1)[..., :width]


def rotation(place: Float[Array, "B T"], head_width: int) -> Rotation:
    """What turns the features of a head of even width at each position; see `rotated`."""
    turned = angles(place, head_width)
    return jnp.cos(turned), jnp.sin(turned)


def rotated(x: Float[Array, "B T H d"], rotation: Rotation) -> Float[Array, "B T H d"]:
    """Queries or keys of all heads with each pair of features turned by the angle of their position.

    So the product of a query and a key depends on their positions by the difference alone: Su et al., "RoFormer:
    enhanced transformer with rotary position embedding", 2021. A pair is here feature i and feature i + d / 2.
    """
    first, second = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    cos, sin = (jnp.broadcast_to(part[:, :, None], first.shape) for part in rotation)
    return jnp.concatenate([first * cos - second * sin, first * sin + second * cos], axis=-1).astype(x.dtype)


class LearnedPositions(nnx.Module):
    """A trained vector for each number of a step, up to a greatest one (Gehring et al., ICML 2017)."""

    def __init__(self, longest: int, width: int, *, rngs: nnx.Rngs) -> None:
        """Draw the table: a normal of standard deviation 0.02, cut off at two of them.

        Args:
            longest: most steps of a sequence.
            width: length of the vectors.
            rngs: keys of the initialisers.
        """
        initial = initializers.by_name("truncated_normal")(rngs.params(), (longest, width), jnp.float32)
        self.table = nnx.Param(initial)

    def __call__(self, steps: int) -> Float[Array, "T D"]:
        """The vectors of the first ``steps`` numbers.

        Raises:
            UserError: where there are not so many.
        """
        require_positions(self.table.shape[0], steps)
        return self.table[...][:steps]


def require_positions(longest: int, steps: int) -> None:
    """Raise `UserError` where sequences have more steps than there are learned positions."""
    if steps > longest:
        raise UserError(
            f"longest: the sequences have {steps} steps, but learned positions end at {longest}. Set "
            f"longest={steps} or more, cut the sequences, or use another position (sinusoidal, rotary, continuous)."
        )


class TimeEncoding(nnx.Module):
    """``w t + b`` in the first feature and ``sin(w t + b)`` in the others, of real-valued times, all learnt.

    Kazemi et al., "Time2Vec: learning a vector representation of time", 2019; the same form is the time embedding of
    Shukla and Marlin, "Multi-time attention networks for irregularly sampled time series", ICLR 2021.
    """

    def __init__(self, width: int) -> None:
        """Start as `sinusoidal`, with a linear part of 0.

        Args:
            width: number of features.
        """
        waves = frequencies(width - 1).repeat(2)[: width - 1]
        phases = np.arange(width - 1) % 2 * (np.pi / 2)
        self.frequency = nnx.Param(jnp.asarray(np.concatenate([[0.0], waves]), jnp.float32), float32=True)
        self.phase = nnx.Param(jnp.asarray(np.concatenate([[0.0], phases]), jnp.float32), float32=True)

    def __call__(self, time: Float[Array, "B T"]) -> Float[Array, "B T D"]:
        """Features of each time, float32."""
        shape = (*time.shape, self.frequency.shape[0])
        frequency, phase = (jnp.broadcast_to(p[...].astype(jnp.float32), shape) for p in (self.frequency, self.phase))
        turned = frequency * time.astype(jnp.float32)[..., None] + phase
        return jnp.concatenate([turned[..., :1], jnp.sin(turned[..., 1:])], axis=-1)
