"""Fields by dotted path: replace, command-line overrides, listing and differences."""

from __future__ import annotations

import ast
import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, TypeVar, get_args, get_origin

from research.errors import UserError, did_you_mean
from research.spec import fields as spec_fields
from research.spec.checks import check_field
from research.spec.text import encoded
from research.spec.values import Spec, coerce, field_annotations, registered_specs

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
        spec = _replaced(spec, path.split("."), value, path)
    return spec


def _replaced(owner: Any, parts: list[str], value: Any, path: str) -> Any:
    head, rest = parts[0], parts[1:]
    if isinstance(owner, tuple):
        index = _index(owner, head, path)
        new = _replaced(owner[index], rest, value, path) if rest else value
        return (*owner[:index], new, *owner[index + 1 :])
    annotation = field_annotation(owner, head, path)
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


def field_annotation(owner: Any, name: str, path: str) -> Any:
    """The annotation of a field of ``owner``; raises `UserError` listing the valid names where there is none."""
    if not isinstance(owner, Spec):
        above = path.rsplit(".", 1)[0]
        raise UserError(f"{path}: {above} is {owner!r}, which has no fields. Set {above} itself.")
    hints = field_annotations(type(owner))
    if name not in hints:
        raise UserError(
            f"{path}: {type(owner).__name__} has no field {name!r}.{did_you_mean(name, hints)} "
            f"Valid fields: {', '.join(hints)}."
        )
    return hints[name]


def apply_overrides(spec: S, overrides: Iterable[str]) -> S:
    """Apply ``path=value`` texts from a command line, in order.

    Values are read by the field's type: numbers, ``true``/``false``, ``none``, text, tuples as
    ``64,64`` or ``(64, 64)``, specs as ``Adam`` or ``Adam(learning_rate=1e-3)``.

    Raises:
        UserError: as `replace`, and for a text that is not ``path=value``.
    """
    for text in overrides:
        path, equals, value = text.partition("=")
        if not equals or not path.strip():
            raise UserError(f"{text!r} is not an override; write path=value, such as optimizer.learning_rate=3e-4.")
        path = path.strip()
        spec = replace(spec, {path: parse_override(_annotation_at(spec, path), value.strip(), path)})
    return spec


def _annotation_at(spec: Spec, path: str) -> Any:
    owner: Any = spec
    annotation: Any = type(spec)
    for part in path.split("."):
        if isinstance(owner, tuple):
            owner = owner[_index(owner, part, path)]
            items = [get_args(m) for m in spec_fields.alternatives(annotation) if get_origin(m) is tuple]
            annotation = items[0][0] if items[0][-1:] == (...,) else items[0][int(part)]
        else:
            annotation = field_annotation(owner, part, path)
            owner = getattr(owner, part)
    return annotation


def parse_override(annotation: Any, text: str, path: str = "value") -> Any:
    """The value that ``text`` means for a field of this annotation; see `apply_overrides`."""
    members = spec_fields.alternatives(annotation)
    folded = text.lower()
    if type(None) in members and folded in ("none", "null", "off"):
        return None
    if bool in members and folded in ("true", "false"):
        return folded == "true"
    for member in members:
        if get_origin(member) is Literal:
            for choice in get_args(member):
                if folded == str(choice).lower():
                    return choice
    specs = tuple(m for m in members if isinstance(m, type) and issubclass(m, Spec))
    if specs and not _is_number(text):
        others = [spec_fields.spell(m) for m in members if m not in specs]
        return _parse_spec(specs, text, path, others)
    scalars = [m for m in members if m in (int, float, str)]
    if any(get_origin(m) is tuple for m in members) and not (scalars and not any(sign in text for sign in ",([")):
        item = next(get_args(m)[0] for m in members if get_origin(m) is tuple)
        inner = text.strip("()[] ")
        return tuple(parse_override(item, part.strip(), path) for part in inner.split(",") if part.strip())
    if int in members or float in members:
        number = _number(text)
        if number is not None:
            return number
    return text


def _is_number(text: str) -> bool:
    return _number(text) is not None


def _number(text: str) -> int | float | None:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return None


def _parse_spec(bases: tuple[type[Spec], ...], text: str, path: str, others: list[str]) -> Spec:
    """``Adam`` or ``Adam(learning_rate=1e-3, b1=0.8)`` as a spec that is a subclass of one of ``bases``.

    ``others`` are the words for what else the field may hold, for messages.
    """
    name, _, arguments = text.partition("(")
    classes = {c.__name__: c for c in registered_specs().values() if issubclass(c, bases) and not _is_base(c)}
    cls = {key.lower(): c for key, c in classes.items()}.get(name.strip().lower())
    if cls is None:
        known = ", ".join([*others, *sorted(classes)])
        raise UserError(f"{path}: {name.strip()!r} is not known here.{did_you_mean(name, classes)} Known: {known}.")
    given: dict[str, Any] = {}
    if arguments:
        try:
            call = ast.parse(f"f({arguments}", mode="eval").body
        except SyntaxError:
            call = None
        if not isinstance(call, ast.Call) or call.args or any(k.arg is None for k in call.keywords):
            raise UserError(f"{path}: {text!r} is not readable; write {cls.__name__}(field=value, ...).")
        given = {str(k.arg): ast.unparse(k.value).strip("'\"") for k in call.keywords}
    required = [
        f.name
        for f in dataclasses.fields(cls)  # pyright: ignore[reportArgumentType]
        if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING and f.name not in given
    ]
    if required:
        raise UserError(f"{path}: {cls.__name__} needs {', '.join(required)}: write {cls.__name__}({required[0]}=...).")
    hints = field_annotations(cls)
    values = {}
    for key, value in given.items():
        if key not in hints:
            raise UserError(
                f"{path}: {cls.__name__} has no field {key!r}.{did_you_mean(key, hints)} "
                f"Valid fields: {', '.join(hints)}."
            )
        values[key] = parse_override(hints[key], value, f"{path}.{key}")
    return cls(**values)


def _is_base(cls: type[Spec]) -> bool:
    """A class that only stands for its kind (``Loss``, ``Optimizer``) has subclasses and says ``abstract``."""
    return bool(cls.__dict__.get("abstract", False))


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
