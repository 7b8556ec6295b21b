"""`Model`: the spec that builds a Flax NNX module, and the call every module answers."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import jax
from flax import nnx
from jaxtyping import Array, Bool, UInt32

from research.context import Context
from research.spec import Spec
from research.task import Task

WIDE = "float32"
"""What layers call parameters that take part in float32 in any precision: ``nnx.Param(x, float32=True)``."""

SHARED = "tensor_axis"
"""What layers call the axis of a parameter along which devices may share the layer: ``nnx.Param(x, tensor_axis=1)``."""


class Hyperparameter(nnx.Variable):
    """A number from the spec, such as a dropout rate, inside a module: traced, never trained or saved."""


@dataclasses.dataclass
class Forward:
    """What one forward pass knows besides its inputs; made anew for each pass.

    Attributes:
        train: whether dropout and batch statistics behave as in training.
        keys: raw key data per example, from `research.keys.example_keys`; None where nothing is drawn.
        mask: False on padding rows; None means that all rows count.
        context: how means over the batch are taken where it is spread over programs.
        attention: filled with the attention weights of each layer by name, where a dict is given; None: not asked for,
            and nothing is computed for it.
        drawn: how many layers have drawn so far.
    """

    train: bool = False
    keys: UInt32[Array, "B 2"] | None = None
    mask: Bool[Array, " B"] | None = None
    context: Context = dataclasses.field(default_factory=Context)
    attention: dict[str, Array] | None = None
    drawn: int = 0

    def next_stream(self) -> int:
        """A number for the next layer that draws; layers draw in the order in which they are called."""
        self.drawn += 1
        return self.drawn

    def note_attention(self, weights: Array, name: str | None = None) -> None:
        """Keep the weights of the next attention layer, ``[B, heads, queries, keys]``, where they are asked for.

        Layers without a name are numbered in the order in which they are called.
        """
        if self.attention is not None:
            self.attention[name or f"layer {len(self.attention) + 1}"] = weights


class Model(Spec):
    """Base of all models: structure and numbers as a value; `build` makes the module."""

    abstract: ClassVar[bool] = True
    blocks_apart: ClassVar[bool] = False
    """Whether its blocks are called by `research.models.layers.blocks.through_block`."""

    @property
    def has_blocks(self) -> bool:
        """Whether there are blocks, one after the other, whose insides can be computed again in the backward pass."""
        return self.blocks_apart

    @property
    def recurrent(self) -> bool:
        """Whether it goes through series step by step: then a pass of few rows takes as many steps as one of many."""
        return False

    @property
    def looks_ahead(self) -> str:
        """Where an output at a step sees later steps: the setting that stops it, such as ``causal=true``; else empty.

        Asked only of models with an output at each step.
        """
        return ""

    def check_data(self, details: dict[str, Any], task: Task) -> None:
        """Raise `UserError` where the model does not fit the prepared data, as far as shapes do not tell.

        Args:
            details: as `research.data.prepare.Prepared.details` gives them.
            task: what is predicted.
        """

    def build(self, inputs: Any, outputs: int, rngs: nnx.Rngs) -> nnx.Module:
        """A new module, called as ``module(inputs, forward) -> [B, outputs]``, or ``[B, T, outputs]`` for each step.

        Args:
            inputs: pytree of `jax.ShapeDtypeStruct` of one example, without the batch axis.
            outputs: number of outputs per example, from the loss and the task.
            rngs: keys of the initialisers.

        Numbers of the spec that the module needs while it runs are kept in `Hyperparameter` variables, so that
        they may be traced. Called within a traced function as well: no values may be read on the host.
        """
        raise NotImplementedError


def features(inputs: jax.ShapeDtypeStruct) -> int:
    """Number of features of one example once flattened."""
    size = 1
    for length in inputs.shape:
        size *= length
    return size
