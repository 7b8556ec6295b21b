"""The checker of annotations in the tests: beartype, in which an int is a float, as in Python's own rules.

jaxtyping's decorator binds the arguments and checks them twice at every call, for the sake of shapes. Functions without
shapes in their signatures, which are most, are given to beartype alone; and all of them when they are first called, for
no process calls them all.
"""

from __future__ import annotations

import functools
import inspect
import types
import typing
import warnings
from collections.abc import Callable
from typing import Any

import jaxtyping
from beartype import BeartypeConf, beartype
from beartype.roar import BeartypeDecorHintPep585DeprecationWarning

warnings.filterwarnings("ignore", category=BeartypeDecorHintPep585DeprecationWarning)
check = beartype(conf=BeartypeConf(is_pep484_tower=True))
with_shapes = jaxtyping.jaxtyped


def checked(function: Any, *, typechecker: Any) -> Any:
    """What `jaxtyping.jaxtyped` makes of ``function``, made at its first call."""
    if isinstance(function, classmethod | staticmethod):
        return type(function)(checked(function.__func__, typechecker=typechecker))
    if isinstance(function, property):
        parts = (function.fget, function.fset, function.fdel)
        return property(*(part and checked(part, typechecker=typechecker) for part in parts))
    if not isinstance(function, types.FunctionType):
        return with_shapes(function, typechecker=typechecker)
    made: list[Callable[..., Any]] = []

    @functools.wraps(function)
    def first(*arguments: Any, **named: Any) -> Any:
        if jaxtyping.config.jaxtyping_disable:
            return function(*arguments, **named)
        if not made:
            made.append(_made(function, typechecker))
        return made[0](*arguments, **named)

    return first


def _made(function: types.FunctionType, typechecker: Any) -> Callable[..., Any]:
    hints = {name: _resolved(hint, function) for name, hint in function.__annotations__.items()}
    if any(_has_shape(hint) for hint in hints.values()):
        return with_shapes(function, typechecker=typechecker)
    twin = types.FunctionType(
        function.__code__, function.__globals__, function.__name__, function.__defaults__, function.__closure__
    )
    twin.__kwdefaults__, twin.__qualname__, twin.__module__ = (
        function.__kwdefaults__,
        function.__qualname__,
        function.__module__,
    )
    twin.__annotations__ = hints
    return check(twin)


def _resolved(hint: Any, function: types.FunctionType) -> Any:
    """What an annotation names; anything where that is known only to a type checker, as jaxtyping has it."""
    try:
        return typing.get_type_hints(
            types.SimpleNamespace(__annotations__={"it": hint}), function.__globals__, include_extras=True
        )["it"]
    except Exception:
        return Any


def _has_shape(hint: Any) -> bool:
    if inspect.isclass(hint) and issubclass(hint, jaxtyping.AbstractArray):
        return True
    return any(_has_shape(each) for each in typing.get_args(hint))


def jaxtyped(*, typechecker: Any) -> Callable[[Any], Any]:
    """In place of `jaxtyping.jaxtyped`, as jaxtyping's import hook calls it."""
    return functools.partial(checked, typechecker=typechecker)


jaxtyping.jaxtyped = jaxtyped  # type: ignore[assignment]
