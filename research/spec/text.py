"""Specs as text: JSON that restores an equal value, and a fingerprint stable across processes and machines."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import json
import math
from collections.abc import Callable, Iterable
from typing import Any

from research.errors import UserError, did_you_mean
from research.spec.values import Spec, default_of, field_annotations, registered_specs, same, type_name


def to_json(spec: Spec) -> dict[str, Any]:
    """A JSON object of the spec: ``{"spec": "module:Class", field: value, ...}``; tuples become lists.

    Raises:
        UserError: if a field holds something that JSON cannot carry.
    """
    return _written(spec, field_annotations(type(spec)), _encode)


def _written(spec: Spec, names: Iterable[str], encode: Callable[[Any, str], Any]) -> dict[str, Any]:
    return {"spec": type_name(type(spec))} | {name: encode(getattr(spec, name), name) for name in names}


def _encode(value: Any, path: str) -> Any:
    if isinstance(value, Spec):
        return to_json(value)
    if isinstance(value, tuple):
        return [_encode(item, path) for item in value]
    if isinstance(value, float):
        if not math.isfinite(value):
            raise UserError(f"{path}: {value} was given, a finite number is needed.")
        # -0.0 equals 0.0, so both must be written alike.
        return value + 0.0
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, type) or callable(value):
        return {"python": f"{value.__module__}:{value.__qualname__}"}
    raise UserError(
        f"{path}: {value!r} cannot be written to JSON; a spec holds numbers, text, true/false, none, tuples, "
        f"other specs, and classes or functions by name."
    )


def encoded(value: Any, path: str = "value") -> str:
    """The JSON text of a field's value, in which ``1``, ``1.0`` and ``true`` differ."""
    return json.dumps(_encode(value, path), sort_keys=True)


def from_json(data: dict[str, Any]) -> Any:
    """The spec that `to_json` wrote, equal to the original in the sense of ``==``.

    Raises:
        UserError: if a class is not known, naming it, or a field does not exist any more.
    """
    if "spec" not in data:
        raise UserError(f"'spec' is missing beside {', '.join(data) or 'nothing'}: this is not the JSON of a spec.")
    cls = _find(str(data["spec"]))
    hints = field_annotations(cls)
    for name in data:
        if name != "spec" and name not in hints:
            raise UserError(
                f"{cls.__name__} has no field {name!r}, which this file holds: it was written by other code."
                f"{did_you_mean(name, hints)}"
            )
    return cls(**{name: _decode(value) for name, value in data.items() if name != "spec"})


def _decode(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_decode(item) for item in value)
    if isinstance(value, dict):
        if "python" in value:
            return _import(value["python"])
        return from_json(value)
    return value


def _find(name: str) -> type[Spec]:
    # What a module has only from another one counts too: a class that has moved is still found where it was.
    found = registered_specs().get(name) or _import(name)
    if not (isinstance(found, type) and issubclass(found, Spec)):
        raise UserError(f"{name} is no spec: it was written by other code.")
    return found


def _import(name: str) -> Any:
    module, _, attribute = name.partition(":")
    try:
        found: Any = importlib.import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
        return found
    except (ImportError, AttributeError):
        raise UserError(f"{name} is not known here: it was defined in a file that is not loaded.") from None


def fingerprint(spec: Spec, length: int = 12) -> str:
    """Hexadecimal identity of the value: equal specs share it, ``1``, ``1.0`` and ``True`` do not.

    It depends on class names, field names and values only, so it is the same in every process and
    on every machine. Python writes the shortest decimal form of a float, so no digits are lost.
    """
    return hashlib.sha256(canonical(spec).encode()).hexdigest()[:length]


def canonical(spec: Spec) -> str:
    """The JSON text that `fingerprint` hashes."""
    return json.dumps(_identity(spec, ""), sort_keys=True, separators=(",", ":"), allow_nan=False)


def _identity(value: Any, path: str) -> Any:
    """As `_encode`, without fields that came later and have their default; see `research.spec.field`."""
    if isinstance(value, tuple):
        return [_identity(item, path) for item in value]
    if not isinstance(value, Spec):
        return _encode(value, path)
    items = dataclasses.fields(value)  # pyright: ignore[reportArgumentType]
    kept = [i.name for i in items if not (i.metadata.get("later") and same(getattr(value, i.name), default_of(i)))]
    return _written(value, kept, _identity)
