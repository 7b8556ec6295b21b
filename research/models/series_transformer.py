"""The transformer for series."""

from __future__ import annotations

from typing import Any

from flax import nnx
from jaxtyping import Array, Float

from research.errors import UserError
from research.models.layers import Dense
from research.models.model import Forward
from research.models.series import Channel, channels_of, check_channels, series_shape, valid_steps
from research.models.transformer import SequenceNetwork, SequenceTransformer
from research.spec import field


class SeriesTransformer(SequenceTransformer):
    """A transformer encoder over a series: each step is a linear map of its channels and an encoding of its place.

    Vaswani et al., NeurIPS 2017, on multivariate series as in Zerveas et al., "A transformer-based framework for
    multivariate time series representation learning", KDD 2021. Places are numbers of steps or times, encoded by sines,
    by trained vectors, by rotation of queries and keys (RoFormer) or by learnt waves (Time2Vec). The readout is a class
    token, the ``mean`` over steps, a mean with learnt weights (``attention``) or the ``last`` step; with ``each`` there
    are outputs for each step. Static descriptors are laid beside that vector. Padding changes nothing.
    """

    channels: tuple[Channel, ...] = field(
        ("values",), help="what is seen of each variable: values, observed (the mask), since (time since it was)"
    )

    def validate(self) -> None:
        """There is a channel, and series have no visits."""
        super().validate()
        check_channels(self.channels)
        if self.clock == "visit":
            raise UserError("clock: series have no visits; use clock=time or clock=number.")

    def build(self, inputs: Any, outputs: int, rngs: nnx.Rngs) -> nnx.Module:
        """See `Model.build`.

        Raises:
            UserError: where the inputs are no series, or longer than learned positions reach.
        """
        steps, variables, static = series_shape(inputs, "SeriesTransformer")
        return SeriesTransformerNetwork(self, steps, variables, static, outputs, rngs)


class SeriesTransformerNetwork(nnx.Module):
    """The module that `SeriesTransformer` builds."""

    def __init__(
        self, spec: SeriesTransformer, steps: int, variables: int, static: int, outputs: int, rngs: nnx.Rngs
    ) -> None:
        """Make the layers."""
        self.channels = spec.channels
        self.embedding = Dense(variables * len(spec.channels), spec.width, rngs=rngs)
        self.network = SequenceNetwork(spec, steps, static, outputs, rngs)

    def __call__(self, inputs: dict[str, Array], forward: Forward) -> Float[Array, "B ..."]:
        """Outputs of each example, ``[B, K]``, or of each step, ``[B, T, K]``."""
        x = self.embedding(channels_of(inputs, self.channels), forward)
        return self.network(x, valid_steps(inputs), inputs, forward)
