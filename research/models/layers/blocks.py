"""The blocks of deep models, and the seam that decides what they keep and what is not computed again."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array

from research.models.model import Forward


def through_block(block: nnx.Module, forward: Forward, *arguments: Any, **options: Any) -> Array:
    """``block(*arguments, forward=forward, **options)``, in the way that `research.context.Context.remat` asks for.

    Rematerialisation: of a block only its inputs are kept in training, and the backward pass computes the rest again
    from them (Chen et al., "Training deep nets with sublinear memory cost", 2016). A network of n equal blocks then
    keeps n inputs and the insides of one block. What is drawn is the same, for draws are a function of the layer and
    the example, and batch statistics move once.

    On a processor what a block gives is laid down in memory. Where a block reads its input twice, the compiler would
    compute each input anew from the one before, from the first block on: of the 33 blocks of an xresnet1d-101 that took
    three quarters of prediction and half of training.

    Args:
        block: a module with one array as its result; it may move batch statistics.
        forward: what the pass knows besides.
        arguments: arrays, or None.
        options: further arguments by name, which may hold arrays.
    """
    called: Any = block
    # Attention weights are noted for evaluation, where nothing is kept anyway.
    if not (forward.train and forward.context.remat) or forward.attention is not None:
        return _laid_down(called(*arguments, forward=forward, **options), forward)
    graph, values = nnx.split(block)
    context = forward.context
    known = forward.keys, forward.mask, jnp.asarray(context.total_updates)

    def once(values: Any, arguments: Any, options: Any, known: Any) -> tuple[Array, Any]:
        # Arrays come as arguments, and the draws of layers are counted anew, for this is traced more than once.
        keys, mask, total = known
        own = dataclasses.replace(
            forward, keys=keys, mask=mask, context=dataclasses.replace(context, total_updates=total), drawn=before
        )
        module: Any = nnx.merge(graph, values)
        result = module(*arguments, forward=own, **options)
        forward.drawn = own.drawn
        return result, nnx.state(module, nnx.BatchStat)

    before = forward.drawn
    result, moved = jax.checkpoint(once)(values, arguments, options, known)
    nnx.update(block, moved)
    return _laid_down(result, forward)


def _laid_down(result: Array, forward: Forward) -> Array:
    # As in JAX's checkpoint, the barrier holds because of an option of the compiler: `research.training.compiling`.
    return jax.lax.optimization_barrier(result) if forward.context.platform == "cpu" else result
