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


def jaxtyped(*, typechecker: Any) -> Callable[[Any], Any]:
    """In place of `jaxtyping.jaxtyped`, as jaxtyping's import hook calls it."""
    return functools.partial(checked, typechecker=typechecker)


def checked(function: Any, *, typechecker: Any) -> Any:
    """What `jaxtyping.jaxtyped` makes of ``function``, made at its first call."""
    if isinstance(function, classmethod | staticmethod):
        return type(function)(checked(function.__func__, typechecker=typechecker))
    if isinstance(function, property):
        parts = (function.fget, function.fset, function.fdel)
        return property(*(part and checked(part, typechecker=typechecker) for part in parts))
    if not isinstance(function, types.FunctionType):
        return with_shapes(function, typechecker=typechecker)
    # Looked up now: by the time of the first call a test may have put something else in the place of a class.
    hints = {name: _resolved(hint, function.__globals__) for name, hint in function.__annotations__.items()}
    made: list[Callable[..., Any]] = []

    @functools.wraps(function)
    def first(*arguments: Any, **named: Any) -> Any:
        if jaxtyping.config.jaxtyping_disable:
            return function(*arguments, **named)
        if not made:
            made.append(_made(function, hints, typechecker))
        return made[0](*arguments, **named)

    return first


def _made(function: types.FunctionType, hints: dict[str, Any], typechecker: Any) -> Callable[..., Any]:
    """The checked function; ``function`` itself keeps its annotations."""
    twin = types.FunctionType(
        function.__code__, function.__globals__, function.__name__, function.__defaults__, function.__closure__
    )
    functools.update_wrapper(twin, function)
    del vars(twin)["__wrapped__"]
    twin.__kwdefaults__, twin.__annotations__ = function.__kwdefaults__, hints
    return with_shapes(twin, typechecker=typechecker) if any(map(_has_shape, hints.values())) else check(twin)


_KNOWN: dict[tuple[str, int], Any] = {}
"""Annotations by their text and the module that they stand in: most occur again and again."""


def _resolved(hint: Any, module: dict[str, Any]) -> Any:
    """What an annotation names; anything where that is known only to a type checker or later, as jaxtyping has it."""
    if not isinstance(hint, str):
        return hint
    key = hint, id(module)
    if key not in _KNOWN:
        try:
            _KNOWN[key] = eval(hint, module)
        except Exception:
            return Any
    return _KNOWN[key]


def _has_shape(hint: Any) -> bool:
    if inspect.isclass(hint) and issubclass(hint, jaxtyping.AbstractArray):
        return True
    return any(_has_shape(each) for each in typing.get_args(hint))


jaxtyping.jaxtyped = jaxtyped  # type: ignore[assignment]
