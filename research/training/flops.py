"""How much arithmetic a traced function does: multiplications and additions of its matrix products and convolutions."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from jax.extend import core

from research.models.layers.correlation import has_channels_last

Asked = Callable[[Any], bool]


def _every(equation: Any) -> bool:
    return True


def flops(jaxpr: Any, asked: Asked = _every) -> float:
    """Floating-point operations of the matrix products and convolutions of a program, from its jaxpr.

    A scan counts as often as it goes round, which the compiler's own count leaves out; of the branches of a choice the
    largest counts; a loop whose rounds are not known counts once. What each of several devices does is added up. A
    convolution of each channel by itself is no product on a processor, and counts nothing there.

    Args:
        jaxpr: of the program.
        asked: tells of a product or convolution whether it counts.
    """
    jaxpr = jaxpr.jaxpr if isinstance(jaxpr, core.ClosedJaxpr) else jaxpr
    return sum(_of_equation(equation, asked) for equation in jaxpr.eqns)


def turned_flops(jaxpr: Any) -> float:
    """The same of convolutions in another form than channels last, such as those that JAX derives for gradients.

    On a processor these are slow within a loop over updates: the gradient of a kernel of 3 x 3 pixels, 64 channels to
    64, took 2,150 ms in place of 13, that of the maps 55 in place of 11, a convolution with its channels first 437 in
    place of 13 (AMD EPYC, 2 cores, jax 0.10.2, 2026-11-27). See `research.models.layers.correlation`.
    """
    return flops(jaxpr, _is_turned)


def recomputes(jaxpr: Any) -> bool:
    """Whether a program makes something again for the backward pass, by `jax.checkpoint`."""
    jaxpr = jaxpr.jaxpr if isinstance(jaxpr, core.ClosedJaxpr) else jaxpr
    return any(
        equation.primitive.name in ("remat2", "checkpoint")  # by version of JAX
        or any(recomputes(part) for value in equation.params.values() for part in _programs(value))
        for equation in jaxpr.eqns
    )


def _is_turned(equation: Any) -> bool:
    is_convolution = equation.primitive.name == "conv_general_dilated"
    return is_convolution and not has_channels_last(equation.params["dimension_numbers"])


def _of_equation(equation: Any, asked: Asked) -> float:
    name, params = equation.primitive.name, equation.params
    if name in ("dot_general", "conv_general_dilated") and not asked(equation):
        return 0.0
    if name == "dot_general":
        (contracted, _), _ = params["dimension_numbers"]
        inner = math.prod(equation.invars[0].aval.shape[axis] for axis in contracted)
        return 2.0 * inner * math.prod(equation.outvars[0].aval.shape)
    if name == "conv_general_dilated":
        kernel = equation.invars[1].aval.shape
        outputs = kernel[params["dimension_numbers"].rhs_spec[0]]
        return 2.0 * math.prod(kernel) / outputs * math.prod(equation.outvars[0].aval.shape)
    if params.get("name") == "neighbours_at_once":
        return _of_neighbours(*equation.invars, *equation.outvars) if asked is _every else 0.0
    if name == "cond":
        return max(flops(branch, asked) for branch in params["branches"])
    inner = sum(flops(part, asked) for value in params.values() for part in _programs(value))
    if name == "shard_map":
        return inner * params["mesh"].size  # of each device
    return inner * params["length"] if name == "scan" else inner


def _of_neighbours(x: Any, kernel: Any, outputs: Any) -> float:
    """Of `research.models.layers.correlation.neighbours_at_once`, without the products with zeros."""
    return 2.0 * math.prod(kernel.aval.shape[-4:-1]) * math.prod(outputs.aval.shape)


def _programs(value: Any) -> list[Any]:
    """The programs within a parameter of an equation."""
    if isinstance(value, core.Jaxpr | core.ClosedJaxpr):
        return [value]
    if isinstance(value, list | tuple):
        return [part for each in value for part in _programs(each)]
    return []
