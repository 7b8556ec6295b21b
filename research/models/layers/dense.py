"""Dense: an affine map of the last axis."""

from __future__ import annotations

from typing import Literal

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from research.models.layers import initializers
from research.models.layers.products import product, with_bias
from research.models.model import Forward


class Dense(nnx.Module):
    """``x @ kernel + bias`` over the last axis; computed in the precision of ``x``.

    A ``final`` layer, whose results are outputs of a model, adds up in float32 and gives float32: half of a precision
    would give examples that differ a little the same score.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        kernel_init: str = "lecun_normal",
        bias: bool = True,
        shared: Literal["outputs", "inputs"] = "outputs",
        final: bool = False,
        rngs: nnx.Rngs,
    ) -> None:
        """Draw the kernel; the bias starts at 0.

        Args:
            in_features: length of the last axis of the input.
            out_features: length of the last axis of the output.
            kernel_init: name of an initialiser, see `initializers.by_name`.
            bias: whether a bias is added; without it ``self.bias`` is None.
            shared: what devices that share the layer share out; ``inputs`` after a layer that shares out its outputs.
            final: whether the results are outputs of the model.
            rngs: keys of the initialisers.
        """
        self.final = final
        initial = initializers.by_name(kernel_init)(rngs.params(), (in_features, out_features), jnp.float32)
        by_outputs = shared == "outputs"
        self.kernel = nnx.Param(initial, tensor_axis=1 if by_outputs else 0)
        start = jnp.zeros(out_features, jnp.float32)
        self.bias = nnx.Param(start, tensor_axis=0 if by_outputs else None) if bias else None

    def __call__(self, x: Float[Array, "B ... C"], forward: Forward) -> Float[Array, "B ... D"]:
        """The affine map of every vector along the last axis."""
        kernel = self.kernel[...].astype(x.dtype)
        if self.final and x.dtype != jnp.float32:
            y = jnp.matmul(x, kernel, preferred_element_type=jnp.float32)
        else:
            y = product(x, kernel, forward.context.platform)
        return y if self.bias is None else with_bias(y, self.bias[...], forward.context.platform)
