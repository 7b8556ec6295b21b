"""Convolution and pooling of series, which see nothing of the padding behind them."""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from research.models.layers import initializers
from research.models.layers.pooling import max_pool
from research.models.model import Forward

TWO_GOES = 10
"""Width of a kernel from which on patches are put together in two goes."""


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
        y = _convolved(x, self.kernel[...].astype(x.dtype), self.stride, forward.context.platform)
        return y if self.bias is None else y + jnp.broadcast_to(self.bias[...].astype(x.dtype), y.shape)


def _convolved(
    x: Float[Array, "B T C"], kernel: Float[Array, "W C D"], stride: int, platform: str
) -> Float[Array, "B t D"]:
    """Lowered as suits the kind of device."""
    if platform == "cpu":
        return _by_patches(x, kernel, stride)
    around = [_around(x.shape[1], kernel.shape[0], stride)]
    return jax.lax.conv_general_dilated(x, kernel, (stride,), around, dimension_numbers=("NWC", "WIO", "NWC"))


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


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _by_patches(x: Float[Array, "B T C"], kernel: Float[Array, "W C D"], stride: int) -> Float[Array, "B t D"]:
    """Correlation as one matrix product of patches, for CPUs, with a gradient of the same form.

    Within a compiled loop on a CPU, XLA's own convolution runs on one thread (twenty times slower in a trial), and the
    gradient that JAX derives for patches adds up ``W`` padded arrays: with that of the form below a training step took
    a third less time.
    """
    return _correlated(x, kernel, stride, _around(x.shape[1], kernel.shape[0], stride))


def _forward(x: Array, kernel: Array, stride: int) -> tuple[Array, tuple[Array, Array]]:
    return _by_patches(x, kernel, stride), (x, kernel)


def _backward(stride: int, kept: tuple[Array, Array], gradient: Array) -> tuple[Array, Array]:
    x, kernel = kept
    steps, width = x.shape[1], kernel.shape[0]
    before, behind = _around(steps, width, stride)
    # Each step was seen by the outputs around it through the kernel read backwards. With a stride, zeros stand for the
    # outputs that were not computed.
    ends = (width - 1 - before, steps + before - (gradient.shape[1] - 1) * stride - 1, stride - 1)
    spread = jax.lax.pad(gradient, jnp.zeros((), gradient.dtype), ((0, 0, 0), ends, (0, 0, 0)))
    to_x = _correlated(spread, kernel[::-1].swapaxes(1, 2), 1, (0, 0))
    patches = _patches(jnp.pad(x, ((0, 0), (before, behind), (0, 0))), width, stride)
    to_kernel = jax.lax.dot_general(patches, gradient, (((0, 1), (0, 1)), ((), ())))
    return to_x, to_kernel.reshape(kernel.shape)


_by_patches.defvjp(_forward, _backward)


def _correlated(x: Array, kernel: Array, stride: int, around: tuple[int, int]) -> Array:
    width, channels, outputs = kernel.shape
    patches = _patches(jnp.pad(x, ((0, 0), around, (0, 0))), width, stride)
    return jax.lax.dot_general(patches, kernel.reshape(width * channels, outputs), (((2,), (0,)), ((), ())))


def _patches(padded: Float[Array, "B S C"], width: int, stride: int) -> Float[Array, "B t E"]:
    """All steps of each window side by side.

    Wide ones are put together in two goes, of 8 patches of 5 steps for 40: the compiler takes a third of the time for
    13 slices that it takes for 40.
    """
    positions = (padded.shape[1] - width) // stride + 1
    part = max(size for size in range(1, math.isqrt(width) + 1) if width % size == 0)
    if width < TWO_GOES or stride > 1 or part == 1:
        return jnp.concatenate(_views(padded, width, stride, positions), axis=-1)
    parts = jnp.concatenate(_views(padded, part, 1, padded.shape[1] - part + 1), axis=-1)
    views = [jax.lax.slice_in_dim(parts, i, i + positions, axis=1) for i in range(0, width, part)]
    return jnp.concatenate(views, axis=-1)
