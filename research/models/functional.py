"""Modules as pure functions: arrays in, arrays out, nothing hidden.

A module is rebuilt from its spec inside every traced function. Its structure is a function of the spec, so only
arrays are ever saved; its initial values are dead code there, which the compiler drops.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Key

from research.context import Context
from research.keys import GENERATOR
from research.models.layers.flax_convolution import lower_convolutions
from research.models.model import SHARED, WIDE, Forward, Hyperparameter, Model
from research.models.placement import Placement

Tree = dict[Any, Any]

Axes = tuple[tuple[tuple[str, ...], int], ...]
"""Paths of parameters, and of each the axis along which devices may share its layer."""

TIMES = ("time", "age")
"""Inputs of sequences that are never brought to a shorter type."""


def initialise(
    model: Model, inputs: Any, outputs: int, key: Key[Array, ""], dtype: Any = jnp.float32
) -> tuple[Tree, Tree]:
    """Initial values of a model: ``(params, model_state)`` as nested dicts of arrays.

    Args:
        model: the model's spec.
        inputs: `jax.ShapeDtypeStruct` of one example, without the batch axis, or a pytree of them.
        outputs: number of outputs per example.
        key: key of the initialisers.
        dtype: type of the parameters, but of those that layers keep in float32, such as the scales of normalisation.
            They are drawn in float32 and rounded.
    """
    _, params, _, _, model_state = _split(model, inputs, outputs, key, key)
    _bring(params, dtype)
    return nnx.to_pure_dict(params), nnx.to_pure_dict(model_state)


def apply(
    model: Model,
    params: Tree,
    model_state: Tree,
    inputs: Any,
    outputs: int,
    forward: Forward,
    key: Key[Array, ""],
    dtype: Any = jnp.float32,
    output: Any = jnp.float32,
) -> tuple[Array, Tree]:
    """One forward pass: ``(outputs [B, K] float32, new model_state)``.

    Args:
        model: the model's spec; its numbers may be traced.
        params, model_state: as from `initialise`.
        inputs: arrays ``[B, ...]``.
        outputs: number of outputs per example.
        forward: what the pass knows besides its inputs.
        key: key for modules that draw by themselves (a user's own ``nnx.Dropout``).
        dtype: floating-point type of the computation; parameters are cast to it on the fly, but those that layers
            keep in float32.
        output: type to which the outputs are rounded.
    """
    module = _rebuilt(model, params, model_state, inputs, outputs, key, dtype, forward.context)
    result = module(_cast_inputs(inputs, dtype), forward).astype(output).astype(jnp.float32)
    new_state = nnx.state(module, _is_model_state)
    return result, nnx.to_pure_dict(new_state)


def axes(model: Model, inputs: Any, outputs: int) -> Axes:
    """Which axis of which parameter is shared out where devices share a layer, as the layers name it.

    Args:
        model, inputs, outputs: as for `initialise`.
    """
    module = nnx.eval_shape(lambda: model.build(inputs, outputs, nnx.Rngs(0)))
    named = nnx.state(module, nnx.Param).flat_state()
    found = ((path, variable.get_metadata().get(SHARED)) for path, variable in named)
    return tuple((tuple(map(str, path)), axis) for path, axis in found if axis is not None)


class Parts(NamedTuple):
    """A model of pictures for evaluation, whole and in two halves.

    Attributes:
        whole: inputs to outputs ``[B, K]``.
        features: inputs to the last feature maps ``[B, h, w, C]``; None where the module does not say which they are.
        head: these maps to outputs.
        placement: where the cells of the maps look; None where the module does not say.
    """

    whole: Callable[[Any], Array]
    features: Callable[[Any], Array] | None
    head: Callable[[Array], Array] | None
    placement: Placement | None


def parts(model: Model, params: Tree, model_state: Tree, inputs: Any, outputs: int, platform: str) -> Parts:
    """The parts of a model, for evaluation on the kind of device named ``platform``.

    Args:
        model, params, model_state, outputs: as for `apply`.
        inputs: arrays ``[B, ...]``, for their shapes.
        platform: as in `research.context.Context`.
    """
    context, key = Context(platform=platform), jax.random.key(0, impl=GENERATOR)
    module = _rebuilt(model, params, model_state, inputs, outputs, key, jnp.float32, context)

    def forward() -> Forward:
        return Forward(context=context)

    def whole(x: Any) -> Array:
        return module(x, forward())

    if not (hasattr(module, "features") and hasattr(module, "head")):
        return Parts(whole, None, None, None)
    return Parts(
        whole,
        lambda x: module.features(x, forward()),
        lambda maps: module.head(maps, forward()),
        getattr(module, "placement", None),
    )


def _rebuilt(
    model: Model,
    params: Tree,
    model_state: Tree,
    inputs: Any,
    outputs: int,
    key: Key[Array, ""],
    dtype: Any,
    context: Context,
) -> Any:
    """The module, with the given values in place of initial ones, and its convolutions as suits the device."""
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), inputs)
    graph, param_like, numbers, draws, state_like = _split(
        model, shapes, outputs, jax.random.key(0, impl=GENERATOR), key
    )
    nnx.replace_by_pure_dict(param_like, params)
    _bring(param_like, dtype)
    nnx.replace_by_pure_dict(state_like, model_state)
    module = nnx.merge(graph, param_like, numbers, draws, state_like, copy=True)
    lower_convolutions(module, context)
    return module


def _split(model: Model, inputs: Any, outputs: int, key: Key[Array, ""], draws: Key[Array, ""]) -> Any:
    module = model.build(inputs, outputs, nnx.Rngs(params=key, default=draws))
    return nnx.split(module, nnx.Param, Hyperparameter, nnx.RngState, ...)


def _is_model_state(path: Any, value: Any) -> bool:
    kind = getattr(value, "type", type(value))
    return not (isinstance(kind, type) and issubclass(kind, nnx.Param | Hyperparameter | nnx.RngState))


def _bring(params: Any, dtype: Any) -> None:
    """Parameters to another type, those that take part in float32 to that, in place."""
    for _, variable in params.flat_state():
        variable.set_value(_cast(variable.get_value(), jnp.float32 if variable.get_metadata().get(WIDE) else dtype))


def _cast(tree: Any, dtype: Any) -> Any:
    return jax.tree.map(lambda x: x.astype(dtype) if jnp.issubdtype(x.dtype, jnp.floating) else x, tree)


def wide(tree: Tree) -> Tree:
    """A copy in float32, of parameters that may be kept in less."""
    return jax.tree.map(lambda x: x.astype(jnp.float32, copy=True), tree)


def _cast_inputs(inputs: Any, dtype: Any) -> Any:
    """As `_cast`; times and ages keep their precision, for of a long stay half of it would leave no minutes."""
    if not isinstance(inputs, dict):
        return _cast(inputs, dtype)
    return {name: value if name in TIMES else _cast(value, dtype) for name, value in inputs.items()}


def paths(tree: Tree, prefix: str = "") -> dict[str, Array]:
    """Leaves of a nested dict by path: ``{"hidden/0/kernel": array, ...}``; None is no leaf."""
    found: dict[str, Array] = {}
    for name, value in tree.items():
        here = f"{prefix}{name}"
        if value is not None:
            found |= paths(value, f"{here}/") if isinstance(value, dict) else {here: value}
    return found


def lies_below(path: str, prefixes: tuple[str, ...]) -> bool:
    """Whether ``path`` is one of the prefixes or lies below one: ``hidden/0`` holds ``hidden/0/kernel``."""
    return any(path == prefix or path.startswith(f"{prefix}/") for prefix in prefixes)


def select(tree: Tree, prefixes: tuple[str, ...], chosen: Tree) -> Tree:
    """``tree`` with the leaves below ``prefixes`` taken from ``chosen``; both have the same structure."""
    if not prefixes:
        return tree

    def visit(here: Tree, there: Tree, prefix: str) -> Tree:
        return {
            name: visit(value, there[name], f"{prefix}{name}/")
            if isinstance(value, dict)
            else (there[name] if lies_below(f"{prefix}{name}", prefixes) else value)
            for name, value in here.items()
        }

    return visit(tree, chosen, "")
