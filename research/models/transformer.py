"""What transformers have in common: the stack of blocks, and what leads from embedded sequences to outputs."""

from __future__ import annotations

from typing import ClassVar, Literal

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from research.errors import UserError
from research.models.layers import (
    AttentionPooling,
    Dense,
    Dropout,
    Encoder,
    LearnedPositions,
    TimeEncoding,
    activations,
    initializers,
    last_valid,
    mean_over_steps,
    positions,
)
from research.models.layers.encoder import NormPlace
from research.models.layers.positions import require_positions
from research.models.model import Forward, Hyperparameter, Model
from research.models.series import beside_static
from research.spec import Static, field

Position = Literal["none", "sinusoidal", "learned", "rotary", "continuous"]
Clock = Literal["number", "visit", "time"]
Readout = Literal["class_token", "mean", "attention", "last", "each"]


class Transformer(Model):
    """Base of models over a stack of encoder blocks; see `research.models.layers.EncoderBlock`."""

    abstract: ClassVar[bool] = True
    blocks_apart: ClassVar[bool] = True

    width: int = field(64, minimum=1, help="features of each step")
    depth: int = field(2, minimum=1, help="blocks of attention and perceptron")
    heads: int = field(4, minimum=1, help="heads of attention; they divide the width")
    mlp_ratio: Static[float] = field(4.0, above=0, help="hidden units of the perceptrons, as a multiple of the width")
    norm: NormPlace = field("pre", help="layer normalisation before each layer, or after each sum (post)")
    activation: activations.Name = field("gelu", help="function of the perceptrons")
    dropout: float | None = field(None, minimum=0, below=1, help="share of units dropped in training")
    attention_dropout: float | None = field(
        None, minimum=0, below=1, help="share of the weights of attention dropped in training"
    )

    def validate(self) -> None:
        """Raises `UserError` where the heads do not divide the width."""
        if self.width % self.heads:
            lower = self.width // self.heads * self.heads
            near = [width for width in (lower, lower + self.heads) if width]
            raise UserError(
                f"heads: {self.heads} heads do not divide a width of {self.width}. Use another number of heads, or "
                f"width={' or '.join(map(str, near))}."
            )

    def encoder(self, rngs: nnx.Rngs) -> Encoder:
        """The blocks."""
        return Encoder(
            self.depth,
            self.width,
            self.heads,
            max(1, round(self.mlp_ratio * self.width)),
            norm=self.norm,
            activation=self.activation,
            dropout=self.dropout,
            attention_dropout=self.attention_dropout,
            rngs=rngs,
        )


class SequenceTransformer(Transformer):
    """Base of transformers over padded sequences."""

    abstract: ClassVar[bool] = True

    position: Position = field("sinusoidal", help="how steps know where they are; continuous: Time2Vec, learnt")
    clock: Clock | None = field(
        None, help="what positions are taken from; none: time where position=continuous, else the number of the step"
    )
    time_scale: float = field(1.0, above=0, help="times are divided by it before they are encoded, in their unit")
    longest: int | None = field(None, minimum=1, help="most steps that learned positions know")
    readout: Readout = field("class_token", help="how steps become one vector; each: outputs for each step")
    causal: bool = field(False, help="each step sees those up to it alone")

    def validate(self) -> None:
        """Positions have what they need, and a class token, which comes first, can see."""
        super().validate()
        if self.position == "learned" and self.longest is None:
            raise UserError("longest: learned positions need the most steps there may be; give it, as data.longest.")
        if self.position == "learned" and self.clock not in (None, "number"):
            raise UserError(
                f"clock: learned positions are numbers of steps, but {self.clock} was given. Leave clock out, or use "
                f"position=sinusoidal, rotary or continuous."
            )
        if self.position == "rotary" and self.width // self.heads % 2:
            raise UserError(
                f"heads: rotary positions turn pairs of features, but a head of width {self.width} / {self.heads} has "
                f"an odd number. Use a width that is a multiple of {2 * self.heads}."
            )
        if self.causal and self.readout == "class_token":
            raise UserError(
                "readout: the class token comes first, and sees nothing in a causal model. Use readout=last, mean, "
                "attention or each."
            )

    @property
    def looks_ahead(self) -> str:
        """See `Model.looks_ahead`: attention sees all steps unless it is causal."""
        return "" if self.causal else "causal=true"

    @property
    def used_clock(self) -> Clock:
        """What positions are taken from."""
        return self.clock or ("time" if self.position == "continuous" else "number")


class SequenceNetwork(nnx.Module):
    """From embedded steps to outputs: positions, blocks, readout, output layer.

    The class token stands before the first step, at place 0 and without an encoding of its own.
    """

    def __init__(self, spec: SequenceTransformer, steps: int, static: int, outputs: int, rngs: nnx.Rngs) -> None:
        """Make the layers.

        Args:
            spec: the model's spec.
            steps: of the sequences.
            static: number of static descriptors.
            outputs: number of outputs.
            rngs: keys of the initialisers.

        Raises:
            UserError: where there are more steps than learned positions.
        """
        self.position, self.clock, self.readout, self.causal = spec.position, spec.used_clock, spec.readout, spec.causal
        self.width, self.head_width = spec.width, spec.width // spec.heads
        self.time_scale = Hyperparameter(jnp.asarray(spec.time_scale, jnp.float32))
        longest = spec.longest if spec.position == "learned" else None
        if longest is not None:
            require_positions(longest, steps)
        self.learned = LearnedPositions(longest, spec.width, rngs=rngs) if longest is not None else None
        self.continuous = TimeEncoding(spec.width) if spec.position == "continuous" else None
        self.token = class_token(spec.width, rngs) if spec.readout == "class_token" else None
        self.encoder = spec.encoder(rngs)
        self.pooling = AttentionPooling(spec.width, rngs=rngs) if spec.readout == "attention" else None
        self.dropout = Dropout(spec.dropout)
        self.output = Dense(spec.width + static, outputs, final=True, rngs=rngs)

    def __call__(
        self, x: Float[Array, "B T D"], valid: Bool[Array, "B T"], inputs: dict[str, Array], forward: Forward
    ) -> Float[Array, "B ..."]:
        """Outputs of each example, ``[B, K]``, or of each step, ``[B, T, K]``.

        Args:
            x: embedded steps.
            valid: which of them count.
            inputs: of the model, for times and static descriptors.
            forward: what the pass knows besides.
        """
        place = self._place(inputs, valid)
        x = x + self._encoded(place).astype(x.dtype) if self.position not in ("none", "rotary") else x
        if self.token is not None:
            x, first = with_token(self.token[...], x), ((0, 0), (1, 0))
            valid, place = jnp.pad(valid, first, constant_values=True), jnp.pad(place, first)
        x = self.dropout(x, forward)
        rotation = positions.rotation(place, self.head_width) if self.position == "rotary" else None
        x = self.encoder(x, valid, forward, causal=self.causal, rotation=rotation)
        x = self.dropout(beside_static(self._read(x, valid, forward), inputs), forward)
        return self.output(x, forward)

    def _place(self, inputs: dict[str, Array], valid: Bool[Array, "B T"]) -> Float[Array, "B T"]:
        """Where each step stands; 0 on padding."""
        if self.clock == "time":
            place = inputs["time"].astype(jnp.float32) / self.time_scale[...]
        elif self.clock == "visit":
            place = inputs["visit"].astype(jnp.float32)
        else:
            place = jnp.broadcast_to(jnp.arange(valid.shape[1], dtype=jnp.float32), valid.shape)
        return jnp.where(valid, place, 0)

    def _encoded(self, place: Float[Array, "B T"]) -> Float[Array, "B T D"]:
        if self.continuous is not None:
            return self.continuous(place)
        if self.learned is not None:
            return jnp.broadcast_to(self.learned(place.shape[1]), (*place.shape, self.width))
        return positions.sinusoidal(place, self.width)

    def _read(self, x: Float[Array, "B T D"], valid: Bool[Array, "B T"], forward: Forward) -> Float[Array, "B ..."]:
        if self.readout == "class_token":
            return x[:, 0]
        if self.pooling is not None:
            return self.pooling(x, valid, forward)
        if self.readout == "each":
            return jnp.where(valid[..., None], x, 0)
        return last_valid(x, valid) if self.readout == "last" else mean_over_steps(x, valid)


def class_token(width: int, rngs: nnx.Rngs) -> nnx.Param:
    """The trained vector that stands before a sequence, to be read out: Devlin et al. (BERT), NAACL 2019."""
    return nnx.Param(initializers.by_name("truncated_normal")(rngs.params(), (width,), jnp.float32))


def with_token(token: Float[Array, " D"], x: Float[Array, "B T D"]) -> Float[Array, "B S D"]:
    """The sequences with the token before each."""
    first = jnp.broadcast_to(token.astype(x.dtype), (x.shape[0], 1, x.shape[2]))
    return jnp.concatenate([first, x], axis=1)
