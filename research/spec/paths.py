"""Fields by dotted path: replace, command-line overrides, listing and differences."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar, get_args, get_origin

from research.errors import UserError, did_you_mean
from research.spec import fields as spec_fields
from research.spec.checks import check_field
from research.spec.parse import parse_override, required_fields, split_top_level
from research.spec.text import encoded
from research.spec.values import Spec, coerce, concrete_specs, field_annotations

S = TypeVar("S", bound=Spec)


def replace(spec: S, changes: Mapping[str, Any]) -> S:
    """A copy of ``spec`` in which the fields named by dotted paths have other values.

    ``replace(experiment, {"optimizer.learning_rate": 3e-4, "model.widths.0": 128})``; a number
    in the path picks an item of a tuple.

    Raises:
        UserError: for an unknown field, with the closest name and all valid ones, or a value of
            the wrong type or out of range.
    """
    for path, value in changes.items():
        _annotation_at(spec, path, repr(value))
        spec = _replaced(spec, path.split("."), value, path)
    return spec


def _replaced(owner: Any, parts: list[str], value: Any, path: str) -> Any:
    head, rest = parts[0], parts[1:]
    if isinstance(owner, tuple):
        index = _index(owner, head, path)
        new = _replaced(owner[index], rest, value, path) if rest else value
        return (*owner[:index], new, *owner[index + 1 :])
    annotation = field_annotations(type(owner))[head]
    new = _replaced(getattr(owner, head), rest, value, path) if rest else value
    new = coerce(annotation, new)
    if not rest or isinstance(getattr(owner, head), tuple):
        limits = next(f for f in dataclasses.fields(owner) if f.name == head).metadata.get("range")
        check_field(path, annotation, new, limits or spec_fields.Range())
    return owner.replace(**{head: new})


def _index(owner: tuple[Any, ...], text: str, path: str) -> int:
    if text.isdigit() and int(text) < len(owner):
        return int(text)
    raise UserError(f"{path}: {text!r} does not pick one of the {len(owner)} items; use 0 to {len(owner) - 1}.")


def _annotation_at(spec: Spec, path: str, value: str) -> Any:
    """The annotation of the field at ``path``; ``value`` is what it shall hold, for messages."""
    owner: Any = spec
    annotation: Any = type(spec)
    parts = path.split(".")
    for depth, part in enumerate(parts):
        if isinstance(owner, tuple):
            owner = owner[_index(owner, part, path)]
            items = [get_args(m) for m in spec_fields.alternatives(annotation) if get_origin(m) is tuple]
            annotation = items[0][0] if items[0][-1:] == (...,) else items[0][int(part)]
            continue
        if not isinstance(owner, Spec):
            above = ".".join(parts[:depth])
            advice = _set_owner(annotation, part, value if depth == len(parts) - 1 else "...")
            shown = "none" if owner is None else repr(owner)
            such = f", such as {above}={advice}" if advice else ""
            raise UserError(f"{path}: {above} is {shown}, which has no fields. Set {above} itself{such}.")
        hints = field_annotations(type(owner))
        if part not in hints:
            raise UserError(
                f"{path}: {type(owner).__name__} has no field {part!r}.{did_you_mean(part, hints)} "
                f"Valid fields: {', '.join(hints)}."
            )
        annotation = hints[part]
        owner = getattr(owner, part)
    return annotation


def _set_owner(annotation: Any, name: str, value: str) -> str:
    """Text of a spec with field ``name`` that a field of this annotation can hold; empty where there is none."""
    bases = tuple(m for m in spec_fields.alternatives(annotation) if isinstance(m, type) and issubclass(m, Spec))
    fitting = [cls for _, cls in sorted(concrete_specs(*bases).items()) if name in field_annotations(cls)]
    if not fitting:
        return ""
    needed = [f"{other}=..." for other in required_fields(fitting[0]) if other != name]
    value = f"({value})" if len(split_top_level(value) or ()) > 1 else value
    return f"{fitting[0].__name__}({', '.join([*needed, f'{name}={value}'])})"


def apply_overrides(spec: S, overrides: Iterable[str]) -> S:
    """Apply ``path=value`` texts from a command line, in order.

    Values are read by the field's type, as `parse_override` says.

    Raises:
        UserError: as `replace`, and for a text that is not ``path=value``.
    """
    for text in overrides:
        path, equals, value = text.partition("=")
        if not equals or not path.strip():
            raise UserError(f"{text!r} is not an override; write path=value, such as optimizer.learning_rate=3e-4.")
        path = path.strip()
        spec = replace(spec, {path: parse_override(_annotation_at(spec, path, value.strip()), value, path)})
    return spec


def parse_alternatives(spec: Spec, text: str) -> tuple[str, list[Any]]:
    """The path and the values of ``path=value,value``; where a field holds a tuple, each stands in brackets.

    Raises:
        UserError: as `apply_overrides`.
    """
    path, equals, value = (part.strip() for part in text.partition("="))
    if not equals or not path:
        raise UserError(f"{text!r} is not an override; write path=value, such as optimizer.learning_rate=3e-4,1e-3.")
    annotation = _annotation_at(spec, path, value)
    parts = split_top_level(value)
    members = spec_fields.alternatives(annotation)
    # A field that holds nothing but a tuple takes 64,64 as one, as everywhere else.
    tuples = all(member is type(None) or get_origin(member) is tuple for member in members)
    if parts is None or len(parts) < 2 or (tuples and not all(part.startswith(("(", "[")) for part in parts)):
        parts = [value]
    return path, [parse_override(annotation, part, path) for part in parts]


def describe(spec: Spec, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every field below ``spec`` as (dotted path, value), specs opened; a spec's class stands at its own path."""
    for name in field_annotations(type(spec)):
        value = getattr(spec, name)
        here = f"{path}{name}"
        if isinstance(value, Spec):
            yield here, type(value).__name__
            yield from describe(value, f"{here}.")
        elif isinstance(value, tuple) and any(isinstance(item, Spec) for item in value):
            for index, item in enumerate(value):
                yield f"{here}.{index}", type(item).__name__
                yield from describe(item, f"{here}.{index}.")
        else:
            yield here, value


ABSENT = "(absent)"


def diff(left: Spec, right: Spec) -> dict[str, tuple[Any, Any]]:
    """Differences as ``{dotted path: (left value, right value)}``, in field order; equal specs give ``{}``.

    Classes and functions are told apart by name, so that the same file loaded twice makes no difference. A field that
    only one side has, because its owner is of another class there, shows `ABSENT` on the other.
    """
    first, second = dict(describe(left)), dict(describe(right))
    paths = [*first, *(path for path in second if path not in first)]
    if type(left) is not type(right):
        return {"": (type(left).__name__, type(right).__name__)}
    pairs = {path: (first.get(path, ABSENT), second.get(path, ABSENT)) for path in paths}
    return {path: pair for path, pair in pairs.items() if encoded(pair[0], path) != encoded(pair[1], path)}
