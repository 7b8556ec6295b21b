"""The multi-layer perceptron."""

from __future__ import annotations

from typing import Any, Literal

from flax import nnx
from jaxtyping import Array, Float

from research.errors import UserError
from research.models.layers import BatchNorm, Dense, Dropout, LayerNorm, activations, initializers
from research.models.model import Forward, Model, features
from research.spec import field


class MLP(Model):
    """Dense layers with an activation between them, for inputs of fixed size, which are flattened.

    Each hidden layer is dense, normalisation, activation, dropout; the last layer is dense alone. Without hidden
    layers (``widths=()``) it is a linear model: logistic regression under cross-entropy.
    """

    widths: tuple[int, ...] = field((64, 64), minimum=1, help="units of each hidden layer")
    activation: activations.Name = field("relu", help="function between the layers")
    dropout: float | None = field(None, minimum=0, below=1, help="share of hidden units dropped in training")
    normalization: Literal["layer", "batch"] | None = field(None, help="normalisation before each activation")
    kernel_init: initializers.Name = field("he_normal", help="how kernels start")

    def build(self, inputs: Any, outputs: int, rngs: nnx.Rngs) -> nnx.Module:
        """See `Model.build`.

        Raises:
            UserError: where the inputs are not one array.
        """
        if not hasattr(inputs, "shape"):
            names = ", ".join(map(str, inputs)) if isinstance(inputs, dict) else type(inputs).__name__
            raise UserError(f"model: MLP takes one array per example, but this data has several inputs ({names}).")
        return Perceptron(self, features(inputs), outputs, rngs)


class Perceptron(nnx.Module):
    """The module that `MLP` builds."""

    def __init__(self, spec: MLP, in_features: int, outputs: int, rngs: nnx.Rngs) -> None:
        """Make the layers, from the first to the last."""
        self.activation = activations.by_name(spec.activation)
        self.hidden = nnx.List([])
        for width in spec.widths:
            self.hidden.append(HiddenLayer(spec, in_features, width, rngs))
            in_features = width
        self.output = Dense(in_features, outputs, kernel_init=spec.kernel_init, final=True, rngs=rngs)

    def __call__(self, inputs: Float[Array, "B ..."], forward: Forward) -> Float[Array, "B K"]:
        """Outputs of each example."""
        x = inputs.reshape(inputs.shape[0], -1)
        for layer in self.hidden:
            x = layer(x, self.activation, forward)
        return self.output(x, forward)


class HiddenLayer(nnx.Module):
    """Dense, normalisation, activation, dropout."""

    def __init__(self, spec: MLP, in_features: int, width: int, rngs: nnx.Rngs) -> None:
        """Make the parts that the spec asks for."""
        self.dense = Dense(in_features, width, kernel_init=spec.kernel_init, rngs=rngs)
        norms = {"layer": LayerNorm, "batch": BatchNorm}
        self.norm = None if spec.normalization is None else norms[spec.normalization](width)
        self.dropout = Dropout(spec.dropout)

    def __call__(self, x: Float[Array, "B C"], activation: Any, forward: Forward) -> Float[Array, "B D"]:
        """Hidden units of each example."""
        x = self.dense(x, forward)
        if self.norm is not None:
            x = self.norm(x, forward)
        return self.dropout(activation(x), forward)
