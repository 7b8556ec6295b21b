"""Normalisation over features (layer), over groups of channels (group) or over the rows that count (batch).

It is computed in float32 whatever the input; scales and shifts take part in float32 too.
"""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Float32

from research.context import Context
from research.models.layers.batch_statistics import batch_norm
from research.models.layers.reductions import layer_norm
from research.models.model import Forward, Hyperparameter

Name = Literal["batch", "group", "layer"]


class LayerNorm(nnx.Module):
    """Each vector along the last axis brought to mean 0 and variance 1, then scaled and shifted.

    Ba, Kiros and Hinton, "Layer normalization", 2016. Statistics are taken in float32 whatever the input.
    """

    def __init__(self, features: int, *, epsilon: float = 1e-6) -> None:
        """Scale starts at 1 and bias at 0.

        Args:
            features: length of the last axis.
            epsilon: added to the variance.
        """
        self.epsilon = epsilon
        self.scale = nnx.Param(jnp.ones(features, jnp.float32), float32=True)
        self.bias = nnx.Param(jnp.zeros(features, jnp.float32), float32=True)

    def __call__(self, x: Float[Array, "B ... C"], forward: Forward) -> Float[Array, "B ... C"]:
        """The normalised input, in its own precision."""
        wide = x.astype(jnp.float32)
        if forward.context.platform == "cpu":
            normal: Array = layer_norm(wide, self.scale[...], self.bias[...], self.epsilon)
            return normal.astype(x.dtype)
        centred = wide - wide.mean(-1, keepdims=True)
        inverse = jax.lax.rsqrt(jnp.square(centred).mean(-1, keepdims=True) + self.epsilon)
        return _affine(centred * inverse, self.scale[...], self.bias[...]).astype(x.dtype)


class GroupNorm(nnx.Module):
    """Each group of channels of an example brought to mean 0 and variance 1 over space, then scaled and shifted.

    Wu and He, "Group normalization", ECCV 2018. Nothing depends on the other rows of the batch. Statistics are taken
    in float32 whatever the input.
    """

    def __init__(self, features: int, *, groups: int = 32, epsilon: float = 1e-5) -> None:
        """Scale starts at 1 and bias at 0.

        Args:
            features: length of the last axis.
            groups: the most groups there may be. Taken is the largest number up to it that divides ``features`` and
                leaves at least two channels to a group, for a group of one value would always be 0.
            epsilon: added to the variance.
        """
        fitting = (count for count in range(min(groups, features // 2), 0, -1) if features % count == 0)
        self.groups = next(fitting, 1)
        self.epsilon = epsilon
        self.scale = nnx.Param(jnp.ones(features, jnp.float32), float32=True)
        self.bias = nnx.Param(jnp.zeros(features, jnp.float32), float32=True)

    def __call__(self, x: Float[Array, "B ... C"], forward: Forward) -> Float[Array, "B ... C"]:
        """The normalised input, in its own precision."""
        wide = x.astype(jnp.float32).reshape(x.shape[0], -1, self.groups, x.shape[-1] // self.groups)
        centred = wide - wide.mean((1, 3), keepdims=True)
        inverse = jax.lax.rsqrt(jnp.square(centred).mean((1, 3), keepdims=True) + self.epsilon)
        return _affine((centred * inverse).reshape(x.shape), self.scale[...], self.bias[...]).astype(x.dtype)


class BatchNorm(nnx.Module):
    """Each feature brought to mean 0 and variance 1 over the batch, then scaled and shifted.

    Ioffe and Szegedy, "Batch normalization", ICML 2015. Rows that the mask leaves out, and steps of series that do not
    count, take no part in the statistics, and where the batch is spread over programs the statistics are those of the
    whole. Outside training the running statistics are used; their variance is the biased one, as in Flax.
    """

    def __init__(self, features: int, *, momentum: float | Array = 0.9, epsilon: float = 1e-5) -> None:
        """Scale starts at 1, bias at 0, running mean at 0 and running variance at 1.

        Args:
            features: length of the last axis.
            momentum: share of the running statistics kept at each step, in [0, 1]; may be traced.
            epsilon: added to the variance.
        """
        self.epsilon = epsilon
        self.momentum = Hyperparameter(jnp.asarray(momentum, jnp.float32))
        self.scale = nnx.Param(jnp.ones(features, jnp.float32), float32=True)
        self.bias = nnx.Param(jnp.zeros(features, jnp.float32), float32=True)
        self.mean = nnx.BatchStat(jnp.zeros(features, jnp.float32))
        self.variance = nnx.BatchStat(jnp.ones(features, jnp.float32))

    def __call__(
        self, x: Float[Array, "B ... C"], forward: Forward, valid: Bool[Array, "B T"] | None = None
    ) -> Float[Array, "B ... C"]:
        """The normalised input, in its own precision; in training the running statistics move.

        Args:
            x: the input.
            forward: what the pass knows besides.
            valid: of series ``[B, T, C]`` the steps that count; None: all of them.
        """
        places = x.astype(jnp.float32).reshape(x.shape[0], -1, x.shape[-1])
        scale, bias = (param[...].astype(jnp.float32) for param in (self.scale, self.bias))
        if forward.train and forward.context.platform == "cpu" and forward.context.alone:
            made: tuple[Array, Array, Array] = batch_norm(places, _counting(forward, valid), scale, bias, self.epsilon)
            normal, mean, variance = made
        else:
            mean, variance = self.mean[...], self.variance[...]
            if forward.train:
                counts = jnp.broadcast_to(_counting(forward, valid), (*places.shape[:2], 1))
                mean = _mean_of_places(places, counts, forward.context)
                square = jnp.square(places - jnp.broadcast_to(mean, places.shape))
                variance = _mean_of_places(square, counts, forward.context)
            gain = scale * jax.lax.rsqrt(variance + self.epsilon)
            normal = _affine(places - jnp.broadcast_to(mean, places.shape), gain, bias)
        if forward.train:
            self._move(jax.lax.stop_gradient(mean), jax.lax.stop_gradient(variance))
        return normal.reshape(x.shape).astype(x.dtype)

    def _move(self, mean: Float32[Array, " C"], variance: Float32[Array, " C"]) -> None:
        # Not `self.mean[...] = `: in a deep network Flax then spends minutes of tracing on asking for shardings.
        momentum = self.momentum[...]
        self.mean.set_value(momentum * self.mean[...] + (1 - momentum) * mean)
        self.variance.set_value(momentum * self.variance[...] + (1 - momentum) * variance)


def by_name(name: Name, features: int, *, momentum: float | Array = 0.9) -> BatchNorm | GroupNorm | LayerNorm:
    """A normalisation of ``features`` channels; only ``batch`` has a momentum."""
    if name == "batch":
        return BatchNorm(features, momentum=momentum)
    return GroupNorm(features) if name == "group" else LayerNorm(features)


def _counting(forward: Forward, valid: Bool[Array, "B T"] | None) -> Float32[Array, "#B #T 1"]:
    """1 on the rows and steps that count, 0 on padding."""
    counts = forward.mask
    if valid is not None:
        counts = valid if counts is None else valid & counts[:, None]
    if counts is None:
        return jnp.ones((1, 1, 1))
    return counts.astype(jnp.float32).reshape(counts.shape[0], -1, 1)


def _mean_of_places(
    x: Float32[Array, "B S C"], counts: Float32[Array, "B S 1"], context: Context
) -> Float32[Array, " C"]:
    """Weighted mean per feature over batch, space and programs."""
    total, count = context.mean(((x * jnp.broadcast_to(counts, x.shape)).sum((0, 1)), counts.sum()))
    return total / count.clip(1e-12)


def _affine(
    x: Float32[Array, "B ... C"], scale: Float[Array, " C"], bias: Float[Array, " C"]
) -> Float32[Array, "B ... C"]:
    scale, bias = scale.astype(x.dtype), bias.astype(x.dtype)
    return x * jnp.broadcast_to(scale, x.shape) + jnp.broadcast_to(bias, x.shape)
