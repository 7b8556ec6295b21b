"""The blocks of deep models, and the seam in which what they keep for the backward pass is decided."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool

from research.models.model import Forward


def through_block(block: nnx.Module, forward: Forward, *arguments: Any, **options: Any) -> Array:
    """``block(*arguments, forward=forward, **options)``, in the way that `research.context.Context.remat` asks for.

    Rematerialisation: of a block only its inputs are kept in training, and the backward pass computes the rest again
    from them (Chen et al., "Training deep nets with sublinear memory cost", 2016). A network of n equal blocks then
    keeps n inputs and the insides of one block. What is drawn is the same, for draws are a function of the layer and
    the example, and batch statistics move once.

    Args:
        block: a module with one array as its result; it may move batch statistics.
        forward: what the pass knows besides.
        arguments: arrays, or None.
        options: further arguments by name, which may hold arrays.
    """
    called: Any = block
    # Attention weights are noted for evaluation, where nothing is kept anyway.
    if not (forward.train and forward.context.remat) or forward.attention is not None:
        return called(*arguments, forward=forward, **options)
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
    given = values, arguments, options, known
    again = jax.checkpoint(once) if context.platform != "cpu" else _in_a_branch(once, known[2] > 0, given)
    result, moved = again(*given)
    nnx.update(block, moved)
    return result


def _in_a_branch(function: Callable[..., Any], always: Bool[Array, ""], given: Any) -> Callable[..., Any]:
    """As `jax.checkpoint`, for CPUs: the backward pass computes everything within a branch of a condition.

    There the compiler takes no notice of JAX's barriers. It would find that all is computed twice and keep it after
    all; but into a branch it does not look.

    Args:
        function: of ``given``.
        always: a condition that holds, which the compiler cannot know.
        given: pytree of the arguments.
    """
    leaves, structure = jax.tree.flatten(given)
    learns = [jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in leaves]

    def of_leaves(smooth: list[Array], others: list[Array]) -> Any:
        parts = iter(smooth), iter(others)
        return function(*structure.unflatten([next(parts[0] if learn else parts[1]) for learn in learns]))

    @jax.custom_vjp
    def call(smooth: list[Array], others: list[Array], always: Array) -> Any:
        return of_leaves(smooth, others)

    def forwards(smooth: list[Array], others: list[Array], always: Array) -> Any:
        return of_leaves(smooth, others), (smooth, others, always)

    def backwards(kept: Any, gradient: Any) -> Any:
        smooth, others, always = kept

        def differentiate(smooth: list[Array], others: list[Array], gradient: Any) -> list[Array]:
            return jax.vjp(lambda smooth: of_leaves(smooth, others), smooth)[1](gradient)[0]

        def never(smooth: list[Array], others: list[Array], gradient: Any) -> list[Array]:
            return [jnp.zeros_like(leaf) for leaf in smooth]

        found = jax.lax.cond(always, differentiate, never, smooth, others, gradient)
        return found, [_no_gradient(leaf) for leaf in others], _no_gradient(always)

    call.defvjp(forwards, backwards)

    def checkpointed(*given: Any) -> Any:
        leaves = jax.tree.leaves(given)
        smooth, others = (
            [leaf for leaf, is_in in zip(leaves, learns, strict=True) if is_in == k] for k in (True, False)
        )
        return call(smooth, others, always)

    return checkpointed


def _no_gradient(leaf: Array) -> np.ndarray:
    return np.zeros(leaf.shape, jax.dtypes.float0)
