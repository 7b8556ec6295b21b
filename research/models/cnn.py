"""The small convolutional network: convolutions and poolings, then dense layers."""

from __future__ import annotations

from typing import Any, Literal

from flax import nnx
from jaxtyping import Array, Float

from research.errors import UserError
from research.models.images import image_shape
from research.models.layers import (
    Convolution,
    Dense,
    Dropout,
    activations,
    global_mean_pool,
    initializers,
    max_pool,
    mean_pool,
    normalization,
)
from research.models.layers.convolution import output_size
from research.models.model import Forward, Model
from research.models.placement import Placement
from research.spec import field


class CNN(Model):
    """Convolutions with a pooling after each, then dense layers, for images ``[H, W, C]``.

    Each convolution is followed by normalisation, activation and pooling; each hidden dense layer by normalisation,
    activation and dropout; the last layer is dense alone. As it stands: convolution of 32, pooling, convolution of 64,
    pooling, dense 64, in the manner of LeCun et al., "Gradient-based learning applied to document recognition", 1998.
    """

    widths: tuple[int, ...] = field((32, 64), minimum=1, help="channels of each convolution")
    kernel: int = field(3, minimum=1, help="height and width of the convolutions' kernels, pixels")
    padding: Literal["same", "valid"] = field("valid", help="same: zeros keep the size of the maps; valid: no zeros")
    pool: int = field(2, minimum=1, help="height and width of each pooling, pixels; 1: no pooling")
    pooling: Literal["max", "mean"] = field("max", help="what is kept of each pooling window")
    head: Literal["flatten", "mean"] = field("flatten", help="what dense layers see: every pixel, or each map's mean")
    dense_widths: tuple[int, ...] = field((64,), minimum=1, help="units of each hidden dense layer")
    activation: activations.Name = field("relu", help="function between the layers")
    dropout: float | None = field(None, minimum=0, below=1, help="share of dense units dropped in training")
    normalization: Literal["batch", "group", "layer"] | None = field(None, help="normalisation before each activation")
    kernel_init: initializers.Name = field("he_normal", help="how kernels start")

    def validate(self) -> None:
        """Raises `UserError` where there is no convolution."""
        if not self.widths:
            raise UserError("widths: at least one convolution is needed, () was given. Use MLP for a model without.")

    def build(self, inputs: Any, outputs: int, rngs: nnx.Rngs) -> nnx.Module:
        """See `Model.build`.

        Raises:
            UserError: where the inputs are not one image, or one too small.
        """
        shape = image_shape(inputs, "CNN")
        return ConvolutionalNetwork(self, shape, self._sizes(shape), outputs, rngs)

    def _sizes(self, shape: tuple[int, int, int]) -> tuple[int, int]:
        """Height and width of the maps after the last pooling."""
        height, width = shape[:2]
        for number, _ in enumerate(self.widths, start=1):
            height, width = (output_size(size, self.kernel, 1, self.padding) // self.pool for size in (height, width))
            if min(height, width) < 1:
                raise UserError(
                    f"model: CNN leaves nothing of images of {shape[0]}x{shape[1]} pixels after convolution and "
                    f"pooling {number} of {len(self.widths)}. Use fewer widths, pool=1, padding='same' (now "
                    f"{self.padding!r}), a smaller kernel (now {self.kernel}) or larger images."
                )
        return height, width


class ConvolutionalNetwork(nnx.Module):
    """The module that `CNN` builds."""

    def __init__(
        self, spec: CNN, shape: tuple[int, int, int], last: tuple[int, int], outputs: int, rngs: nnx.Rngs
    ) -> None:
        """Make the layers, from the first to the last; the last maps are of ``last`` pixels."""
        self.activation = activations.by_name(spec.activation)
        self.pool = (spec.pool, spec.pool)
        self.reduce = max_pool if spec.pooling == "max" else mean_pool
        self.flatten = spec.head == "flatten"
        self.maps, self.hidden = nnx.List([]), nnx.List([])
        channels, placement = shape[2], Placement()
        zeros = (spec.kernel - 1) // 2 if spec.padding == "same" else 0
        for number, width in enumerate(spec.widths):
            placement = placement.through(spec.pool, spec.pool) if number else placement
            placement = placement.through(spec.kernel, 1, zeros)
            convolution = Convolution(
                channels,
                width,
                kernel=(spec.kernel, spec.kernel),
                padding=spec.padding,
                kernel_init=spec.kernel_init,
                rngs=rngs,
            )
            self.maps.append(Normalized(convolution, spec.normalization, width))
            channels = width
        self.placement = placement
        features = channels * last[0] * last[1] if self.flatten else channels
        for width in spec.dense_widths:
            dense = Dense(features, width, kernel_init=spec.kernel_init, rngs=rngs)
            self.hidden.append(Normalized(dense, spec.normalization, width))
            features = width
        self.dropout = Dropout(spec.dropout)
        self.output = Dense(features, outputs, kernel_init=spec.kernel_init, final=True, rngs=rngs)

    def features(self, inputs: Float[Array, "B H W C"], forward: Forward) -> Float[Array, "B h w D"]:
        """Maps of the last convolution after their activation, before they are pooled."""
        x = inputs
        for number, layer in enumerate(self.maps):
            x = self.activation(layer(self.reduce(x, self.pool) if number else x, forward))
        return x

    def head(self, maps: Float[Array, "B h w D"], forward: Forward) -> Float[Array, "B K"]:
        """Outputs from what `features` gave."""
        x = self.reduce(maps, self.pool)
        x = x.reshape(x.shape[0], -1) if self.flatten else global_mean_pool(x)
        for layer in self.hidden:
            x = self.dropout(self.activation(layer(x, forward)), forward)
        return self.output(x, forward)

    def __call__(self, inputs: Float[Array, "B H W C"], forward: Forward) -> Float[Array, "B K"]:
        """Outputs of each example."""
        return self.head(self.features(inputs, forward), forward)


class Normalized(nnx.Module):
    """A convolution or dense layer and the normalisation that may follow."""

    def __init__(self, layer: Convolution | Dense, norm: normalization.Name | None, width: int) -> None:
        """Keep the layer and make the normalisation."""
        self.layer = layer
        self.norm = None if norm is None else normalization.by_name(norm, width)

    def __call__(self, x: Float[Array, "B ... C"], forward: Forward) -> Float[Array, "B ... D"]:
        """The layer's output, normalised."""
        x = self.layer(x, forward)
        return x if self.norm is None else self.norm(x, forward)
