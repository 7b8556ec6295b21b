"""Convolution and pooling of series, which see nothing of the padding behind them."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from research.models.layers import initializers
from research.models.layers.correlation import correlate
from research.models.layers.pooling import max_pool
from research.models.layers.products import with_bias
from research.models.model import Forward


class Convolution1D(nnx.Module):
    """Cross-correlation of series ``[B, T, C]`` with a learnt kernel; computed in the precision of ``x``.

    Output ``j`` looks at the ``(width - 1) // 2`` steps before step ``j * stride``, at this step, and at those behind
    it that make up the width; beyond both ends of a series there are zeros. So where an output looks does not depend
    on how far a series is padded; a series of ``n`` steps has ``ceil(n / stride)`` outputs that count, see `strided`.
    These are the positions of ``same`` in Keras where the stride is 1, and those of a padding of ``width // 2`` in
    PyTorch where the width is odd.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        width: int,
        stride: int = 1,
        bias: bool = True,
        kernel_init: str = "he_normal",
        rngs: nnx.Rngs,
    ) -> None:
        """Draw the kernel ``[width, in_channels, out_channels]``; the bias starts at 0.

        Args:
            in_channels: channels of the input.
            out_channels: channels of the output.
            width: steps that the kernel sees.
            stride: steps between neighbouring positions of the kernel.
            bias: whether a bias is added; without it ``self.bias`` is None.
            kernel_init: name of an initialiser, see `initializers.by_name`.
            rngs: keys of the initialisers.
        """
        self.stride = stride
        initial = initializers.by_name(kernel_init)
        self.kernel = nnx.Param(
            initial(initializers.next_key(rngs.params), (width, in_channels, out_channels), jnp.float32), tensor_axis=2
        )
        self.bias = nnx.Param(jnp.zeros(out_channels, jnp.float32), tensor_axis=0) if bias else None

    def __call__(self, x: Float[Array, "B T C"], valid: Bool[Array, "B T"], forward: Forward) -> Float[Array, "B t D"]:
        """The convolved series; what stands on steps that do not count is of no meaning.

        Args:
            x: series.
            valid: which steps count; the others come last, and zeros take their place.
            forward: what the pass knows besides.
        """
        x = jnp.where(valid[..., None], x, 0)
        kernel = self.kernel[...].astype(x.dtype)
        around = _around(x.shape[1], kernel.shape[0], self.stride)
        # A series is a map of one row.
        y = correlate(x[:, None], kernel[None], (1, self.stride), ((0, 0), around), forward.context)[:, 0]
        return y if self.bias is None else with_bias(y, self.bias[...], forward.context.platform)


def strided(valid: Bool[Array, "B T"], stride: int) -> Bool[Array, "B t"]:
    """Which outputs of a layer of this stride count: those centred on a step that counts."""
    return jax.lax.slice_in_dim(valid, 0, valid.shape[1], stride, axis=1)


def max_pool_1d(x: Float[Array, "B T C"], valid: Bool[Array, "B T"], width: int, stride: int) -> Float[Array, "B t C"]:
    """Greatest value within each window, per channel; windows lie as the kernels of `Convolution1D`.

    Args:
        x: series.
        valid: which steps count; the others, and what lies beyond the ends, are never the greatest.
        width: steps of a window.
        stride: steps between neighbouring windows.
    """
    x = jnp.where(valid[..., None], x, -jnp.inf)
    x = jnp.pad(x, ((0, 0), _around(x.shape[1], width, stride), (0, 0)), constant_values=-jnp.inf)
    greatest = max_pool(x[:, None], (1, width), (1, stride))[:, 0]
    return jnp.where(strided(valid, stride)[..., None], greatest, 0)


def mean_pool_1d(x: Float[Array, "B T C"], valid: Bool[Array, "B T"], width: int, stride: int) -> Float[Array, "B t C"]:
    """Mean over the steps of each window that count, per channel, summed in float32; see `max_pool_1d`."""

    def total(values: Array) -> Array:
        padded = jnp.pad(values, ((0, 0), _around(x.shape[1], width, stride), (0, 0)))
        return functools.reduce(jnp.add, _views(padded, width, stride, -(-x.shape[1] // stride)))

    counts = total(valid[..., None].astype(jnp.float32)).clip(1)
    sums = total(jnp.where(valid[..., None], x.astype(jnp.float32), 0))
    return (sums / jnp.broadcast_to(counts, sums.shape)).astype(x.dtype)


def _around(steps: int, width: int, stride: int) -> tuple[int, int]:
    """Steps to add before and behind a series."""
    before = (width - 1) // 2
    last = (-(-steps // stride) - 1) * stride
    return before, max(last + width - before - steps, 0)


def _views(padded: Float[Array, "B S C"], width: int, stride: int, positions: int) -> list[Float[Array, "B t C"]]:
    """For each step of a window what it sees as the window moves along."""
    end = (positions - 1) * stride + 1
    return [jax.lax.slice_in_dim(padded, i, i + end, stride, axis=1) for i in range(width)]
