"""Types and ranges of a spec, checked once, before anything is traced."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Literal, get_args, get_origin

from research.errors import UserError, did_you_mean
from research.spec import fields as spec_fields
from research.spec.values import Spec, concrete_specs, field_annotations, is_abstract


def check(value: Spec, path: str = "") -> None:
    """Check every field of ``value`` and of the specs below it: type, range, then each spec's own `Spec.validate`.

    Args:
        value: the spec to check; it must hold plain values, not tracers.
        path: dotted path of ``value`` within its owner, used in messages.

    Raises:
        UserError: naming the field by its dotted path, what was given and what is allowed. An instance of a class that
            only stands for its kind, such as ``Optimizer``, is refused as well.
    """
    if is_abstract(type(value)):
        name = type(value).__name__
        choices = ", ".join(sorted(concrete_specs(type(value)))) or "none is defined yet"
        raise UserError(
            f"{path.rstrip('.') or name}: {name}() only stands for its kind. Use one of its kinds: {choices}."
        )
    for item in dataclasses.fields(value):  # pyright: ignore[reportArgumentType]
        annotation = field_annotations(type(value))[item.name]
        limits = item.metadata.get("range", spec_fields.Range())
        check_field(f"{path}{item.name}", annotation, getattr(value, item.name), limits)
    try:
        value.validate()
    except UserError as error:
        if path and not str(error).startswith(path):
            raise UserError(f"{path.rstrip('.')}: {error}") from None
        raise


def check_field(path: str, annotation: Any, value: Any, limits: spec_fields.Range) -> None:
    """Check one value against its annotation and range; specs are checked all the way down."""
    member = _match(annotation, value)
    if member is None:
        raise UserError(
            f"{path}: {spec_fields.spell(annotation)} is needed, {_show(value)} was given.{_hint(annotation, value)}"
        )
    if isinstance(value, Spec):
        check(value, f"{path}.")
    elif isinstance(value, tuple):
        items = get_args(member)
        for index, entry in enumerate(value):
            item = items[0] if items[-1:] == (...,) else items[index]
            check_field(f"{path}.{index}", item, entry, limits)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        _check_number(path, value, limits)


def _check_number(path: str, value: float, limits: spec_fields.Range) -> None:
    if not math.isfinite(value) or not limits.admits(value):
        raise UserError(f"{path}: {limits} is needed, {value!r} was given.")


def _match(annotation: Any, value: Any) -> Any:
    """The member of the annotation that ``value`` is an instance of, or None."""
    for member in spec_fields.alternatives(annotation):
        origin = get_origin(member)
        if member is Any:
            return member
        if member is type(None) and value is None:
            return member
        if origin is Literal and any(value == c and type(value) is type(c) for c in get_args(member)):
            return member
        if origin is tuple and isinstance(value, tuple):
            items = get_args(member)
            if items[-1:] == (...,) or len(items) == len(value):
                return member
        if isinstance(member, type) and isinstance(value, member) and not _bool_as_number(member, value):
            return member
        if origin is type and isinstance(value, type):
            return member
        if origin is None and callable(value) and getattr(member, "__name__", "") == "Callable":
            return member
    return None


def _bool_as_number(member: type, value: Any) -> bool:
    return isinstance(value, bool) and member is not bool and member is not object


def _show(value: Any) -> str:
    if isinstance(value, Spec):
        return type(value).__name__
    return f"{value!r} ({type(value).__name__})" if not isinstance(value, str) else repr(value)


def _hint(annotation: Any, value: Any) -> str:
    choices = [c for m in spec_fields.alternatives(annotation) if get_origin(m) is Literal for c in get_args(m)]
    if isinstance(value, str) and choices:
        return did_you_mean(value, [str(choice) for choice in choices])
    return ""
