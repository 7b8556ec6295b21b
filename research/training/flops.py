"""How much arithmetic a traced function does: multiplications and additions of its matrix products and convolutions."""

from __future__ import annotations

import math
from typing import Any

from jax.extend import core


def flops(jaxpr: Any) -> float:
    """Floating-point operations of the matrix products and convolutions of a program, from its jaxpr.

    A scan counts as often as it goes round, which the compiler's own count leaves out; of the branches of a choice the
    largest counts; a loop whose rounds are not known counts once. What each of several devices does is added up.
    """
    jaxpr = jaxpr.jaxpr if isinstance(jaxpr, core.ClosedJaxpr) else jaxpr
    return sum(_of_equation(equation) for equation in jaxpr.eqns)


def _of_equation(equation: Any) -> float:
    name, params = equation.primitive.name, equation.params
    if name == "dot_general":
        (contracted, _), _ = params["dimension_numbers"]
        inner = math.prod(equation.invars[0].aval.shape[axis] for axis in contracted)
        return 2.0 * inner * math.prod(equation.outvars[0].aval.shape)
    if name == "conv_general_dilated":
        kernel = equation.invars[1].aval.shape
        outputs = kernel[params["dimension_numbers"].rhs_spec[0]]
        return 2.0 * math.prod(kernel) / outputs * math.prod(equation.outvars[0].aval.shape)
    if name == "cond":
        return max(flops(branch) for branch in params["branches"])
    inner = sum(flops(part) for value in params.values() for part in _programs(value))
    if name == "shard_map":
        return inner * params["mesh"].size  # of each device
    return inner * params["length"] if name == "scan" else inner


def _programs(value: Any) -> list[Any]:
    """The programs within a parameter of an equation."""
    if isinstance(value, core.Jaxpr | core.ClosedJaxpr):
        return [value]
    if isinstance(value, list | tuple):
        return [part for each in value for part in _programs(each)]
    return []
