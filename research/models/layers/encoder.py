"""The encoder of a transformer: blocks of self-attention and a perceptron, each added to what it was given."""

from __future__ import annotations

from typing import Any, Literal

from flax import nnx
from jaxtyping import Array, Bool, Float

from research.models.layers import activations
from research.models.layers.attention import SelfAttention
from research.models.layers.attention_blocks import AttentionMask
from research.models.layers.blocks import through_block
from research.models.layers.dense import Dense
from research.models.layers.dropout import Dropout
from research.models.layers.normalization import LayerNorm
from research.models.layers.positions import Rotation
from research.models.model import Forward

NormPlace = Literal["pre", "post"]


class EncoderBlock(nnx.Module):
    """Self-attention, then a perceptron at each step.

    ``post``: ``x = norm(x + layer(x))``, as in Vaswani et al., NeurIPS 2017. ``pre``: ``x = x + layer(norm(x))``, which
    trains without warm-up: Xiong et al., "On layer normalization in the transformer architecture", ICML 2020. In
    training, dropout acts on what each layer adds, on the hidden units of the perceptron and on the weights of
    attention; all draws belong to example and step, so padding changes nothing.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        mlp_width: int,
        *,
        norm: NormPlace = "pre",
        activation: activations.Name = "gelu",
        dropout: float | Array | None = None,
        attention_dropout: float | Array | None = None,
        rngs: nnx.Rngs,
    ) -> None:
        """Make the layers.

        Args:
            width: length of the last axis, a multiple of ``heads``.
            heads: heads of attention.
            mlp_width: hidden units of the perceptron.
            norm: whether layers see normalised inputs, or sums are normalised.
            activation: of the perceptron.
            dropout: share of what is added, and of hidden units, that is dropped.
            attention_dropout: share of the weights of attention that is dropped.
            rngs: keys of the initialisers.
        """
        self.norm, self.activation = norm, activations.by_name(activation)
        self.attention = SelfAttention(width, heads, dropout=attention_dropout, rngs=rngs)
        self.hidden = Dense(width, mlp_width, kernel_init="glorot_uniform", rngs=rngs)
        self.output = Dense(mlp_width, width, kernel_init="glorot_uniform", shared="inputs", rngs=rngs)
        self.norms = nnx.List([LayerNorm(width), LayerNorm(width)])
        self.dropout = Dropout(dropout)

    def __call__(
        self,
        x: Float[Array, "B T D"],
        mask: AttentionMask | None,
        forward: Forward,
        rotation: Rotation | None = None,
    ) -> Float[Array, "B T D"]:
        """The sequences after both layers; see `SelfAttention` for the arguments."""
        x = self._added(0, x, lambda x: self.attention(x, mask, forward, rotation), forward)
        return self._added(1, x, lambda x: self._perceptron(x, forward), forward)

    def _added(self, number: int, x: Float[Array, "B T D"], layer: Any, forward: Forward) -> Float[Array, "B T D"]:
        norm = self.norms[number]
        if self.norm == "pre":
            return x + self.dropout(layer(norm(x, forward)), forward)
        return norm(x + self.dropout(layer(x), forward), forward)

    def _perceptron(self, x: Float[Array, "B T D"], forward: Forward) -> Float[Array, "B T D"]:
        return self.output(self.dropout(self.activation(self.hidden(x, forward)), forward), forward)


class Encoder(nnx.Module):
    """Blocks, one after the other, and where they are ``pre``, a normalisation of their sum."""

    def __init__(self, depth: int, width: int, heads: int, mlp_width: int, **options: Any) -> None:
        """Make ``depth`` blocks; see `EncoderBlock` for the other arguments."""
        self.blocks = nnx.List([EncoderBlock(width, heads, mlp_width, **options) for _ in range(depth)])
        self.last = LayerNorm(width) if options.get("norm", "pre") == "pre" else None

    def __call__(
        self,
        x: Float[Array, "B T D"],
        valid: Bool[Array, "B T"] | None,
        forward: Forward,
        *,
        causal: bool = False,
        rotation: Rotation | None = None,
    ) -> Float[Array, "B T D"]:
        """The sequences after all blocks; what stands on steps that do not count has no meaning.

        Args:
            x: sequences.
            valid: which steps count; the others come last. None: all.
            forward: what the pass knows besides.
            causal: whether each step sees those up to it alone; needs ``valid``.
            rotation: see `SelfAttention`.
        """
        assert valid is not None or not causal
        mask = None if valid is None else AttentionMask(valid, causal)
        for block in self.blocks:
            x = through_block(block, forward, x, mask, rotation=rotation)
        return x if self.last is None else self.last(x, forward)
