"""`Spec`: the base class that makes a subclass a frozen, keyword-only dataclass and a JAX pytree at once."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import inspect
from collections.abc import Iterable
from typing import Any, ClassVar, TypeVar, dataclass_transform, get_args, get_origin

import jax
import numpy as np

from research.errors import UserError, did_you_mean
from research.spec import fields as spec_fields

S = TypeVar("S", bound="Spec")

_REGISTRY: dict[str, type[Spec]] = {}


# `field` is left out of the field specifiers: type checkers see no default that is given by position.
@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(dataclasses.field,))
class Spec:
    """A value with named fields: numbers are pytree leaves, everything else is structure.

    Subclassing is enough; no decorator is needed::

        class Adam(Optimizer):
            learning_rate: float = field(1e-3, above=0)
            b1: float = field(0.9, minimum=0, below=1)

    A field annotated ``float``, ``float | None``, a spec, or a tuple of these is a leaf or a
    subtree; every other field, and ``Static[float]``, is static structure that a compiled program
    is specialised to. The constructor coerces ``int`` and NumPy scalars to Python ``float`` and
    lists to tuples; types and ranges are checked by `research.spec.check`, never on construction,
    because JAX also rebuilds specs that hold tracers.
    """

    __dataclass_fields__: ClassVar[dict[str, Any]]
    # Runtime checkers of annotations leave the constructor alone: it takes anything, and `check` says what is wrong.
    __no_type_check__: ClassVar[bool] = True

    def __new__(cls: type[S], *arguments: Any, **given: Any) -> S:
        for name in given:
            if name not in cls.__dataclass_fields__:
                known = [item.name for item in dataclasses.fields(cls)]  # pyright: ignore[reportArgumentType]
                raise UserError(
                    f"{cls.__name__} has no field {name!r}.{did_you_mean(name, known)} "
                    f"Valid fields: {', '.join(known)}."
                )
        return object.__new__(cls)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)(cls)
        # A name that is defined only later in the file is looked up at the first use instead.
        with contextlib.suppress(NameError):
            _layout(cls)
        jax.tree_util.register_pytree_with_keys(cls, _flatten_with_keys, functools.partial(_unflatten, cls), _flatten)
        _REGISTRY[type_name(cls)] = cls

    def __post_init__(self) -> None:
        for name, annotation in field_annotations(type(self)).items():
            object.__setattr__(self, name, coerce(annotation, getattr(self, name)))

    def validate(self) -> None:
        """Checks between fields; override and raise `UserError`. Called by `check` after types and ranges."""

    def replace(self: S, **changes: Any) -> S:
        """A copy in which the named fields (of this spec itself) have other values."""
        return dataclasses.replace(self, **changes)  # pyright: ignore[reportArgumentType]

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return frozen(self) == frozen(other)

    def __hash__(self) -> int:
        return hash(frozen(self))

    def __repr__(self) -> str:
        shown = []
        for item in dataclasses.fields(self):  # pyright: ignore[reportArgumentType]
            value = getattr(self, item.name)
            if not same(value, default_of(item)):
                shown.append(f"{item.name}={value!r}")
        return f"{type(self).__name__}({', '.join(shown)})"


def default_of(item: dataclasses.Field[Any]) -> Any:
    """The default of a dataclass field, or `dataclasses.MISSING` where it is required."""
    if item.default_factory is not dataclasses.MISSING:
        return item.default_factory()
    return item.default


@functools.cache
def field_annotations(cls: type[Spec]) -> dict[str, Any]:
    """Field name to resolved annotation, in the order of definition."""
    hints: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        hints |= inspect.get_annotations(base, eval_str=True)
    return {item.name: hints[item.name] for item in dataclasses.fields(cls)}  # pyright: ignore[reportArgumentType]


@functools.cache
def _layout(cls: type[Spec]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of the fields that are pytree children, and of those that are structure."""
    children = [n for n, a in field_annotations(cls).items() if spec_fields.classify(cls.__name__, n, a)]
    return tuple(children), tuple(n for n in field_annotations(cls) if n not in children)


def registered_specs() -> dict[str, type[Spec]]:
    """Every spec class defined so far, by its stable name ``module:Class``."""
    return dict(_REGISTRY)


def concrete_specs(*bases: type[Spec]) -> dict[str, type[Spec]]:
    """The classes, by name, of which a field annotated with one of ``bases`` can hold an instance.

    A class that only stands for its kind (``Loss``, ``Optimizer``) sets ``abstract`` itself and is left out.
    """
    return {c.__name__: c for c in _REGISTRY.values() if issubclass(c, bases) and not is_abstract(c)}


def is_abstract(cls: type[Spec]) -> bool:
    """Whether a class only stands for its kind; its subclasses do not inherit that."""
    return bool(cls.__dict__.get("abstract", False))


def type_name(cls: type[Spec]) -> str:
    """The stable name of a spec class, used in JSON and fingerprints."""
    return f"{cls.__module__}:{cls.__qualname__}"


def frozen(value: Any) -> Any:
    """A hashable form in which equal means interchangeable: types count, so ``1``, ``1.0`` and ``True`` differ."""
    if isinstance(value, Spec):
        return type(value), tuple(frozen(getattr(value, name)) for name in field_annotations(type(value)))
    if isinstance(value, tuple):
        return tuple, tuple(frozen(item) for item in value)
    return type(value), value


def same(left: Any, right: Any) -> bool:
    """Equality in the sense of `frozen`; values that cannot be compared (tracers) are the same only by identity."""
    try:
        return left is right or bool(frozen(left) == frozen(right))
    except Exception:
        return False


def coerce(annotation: Any, value: Any) -> Any:
    """``value`` as the Python type the annotation asks for, where that loses nothing; else ``value`` unchanged."""
    members = spec_fields.alternatives(annotation)
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, int) and not isinstance(value, bool) and float in members and int not in members:
        return float(value)
    if isinstance(value, list | tuple):
        for member in members:
            if get_origin(member) is tuple:
                return _coerce_items(get_args(member), value)
    return value


def _coerce_items(items: tuple[Any, ...], value: list[Any] | tuple[Any, ...]) -> tuple[Any, ...]:
    if len(items) == 2 and items[1] is ...:
        return tuple(coerce(items[0], entry) for entry in value)
    if len(items) == len(value):
        return tuple(coerce(item, entry) for item, entry in zip(items, value, strict=True))
    return tuple(value)


class Structure:
    """The static fields of a spec, compared with types, so that ``1`` and ``True`` never share a program."""

    __slots__ = ("_key", "values")

    def __init__(self, values: tuple[Any, ...]) -> None:
        self.values = values
        self._key = frozen(values)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Structure) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)

    def __repr__(self) -> str:
        return repr(self.values)


def _flatten(value: Spec) -> tuple[tuple[Any, ...], Structure]:
    children, structure = _layout(type(value))
    return (
        tuple(getattr(value, name) for name in children),
        Structure(tuple(getattr(value, name) for name in structure)),
    )


def _flatten_with_keys(value: Spec) -> tuple[tuple[tuple[Any, Any], ...], Structure]:
    children, structure = _flatten(value)
    keys = (jax.tree_util.GetAttrKey(name) for name in _layout(type(value))[0])
    return tuple(zip(keys, children, strict=True)), structure


def _unflatten(cls: type[Spec], structure: Structure, children: Iterable[Any]) -> Spec:
    # The constructor is bypassed: children may be tracers, arrays or JAX's own placeholders.
    value = object.__new__(cls)
    names, static_names = _layout(cls)
    for name, child in zip(names, children, strict=True):
        object.__setattr__(value, name, child)
    for name, entry in zip(static_names, structure.values, strict=True):
        object.__setattr__(value, name, entry)
    return value
