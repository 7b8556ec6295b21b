"""What a field of a spec may hold: annotations sorted into numbers (pytree leaves), specs and static structure."""

from __future__ import annotations

import dataclasses
import types
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

T = TypeVar("T")

STATIC = "static"
Static = Annotated[T, STATIC]
"""``Static[float]``: a float that is structure (fixes a shape or is used on the host), not a traced leaf."""


@dataclasses.dataclass(frozen=True)
class Range:
    """Allowed interval of a number, or of each number in a tuple; None leaves an end open."""

    minimum: float | None = None
    maximum: float | None = None
    above: float | None = None
    below: float | None = None

    def admits(self, value: float) -> bool:
        """Whether ``value`` lies in the range; NaN lies in none."""
        return (
            value == value
            and (self.minimum is None or value >= self.minimum)
            and (self.maximum is None or value <= self.maximum)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
        )

    def __str__(self) -> str:
        low, high = self.above if self.above is not None else self.minimum, self.below
        high = high if high is not None else self.maximum
        if low is not None and high is not None:
            left = "(" if self.above is not None else "["
            right = ")" if self.below is not None else "]"
            return f"a number in {left}{low:g}, {high:g}{right}"
        if low is not None:
            return f"a number {'above' if self.above is not None else 'of at least'} {low:g}"
        if high is not None:
            return f"a number {'below' if self.below is not None else 'of at most'} {high:g}"
        return "a finite number"


def field(
    default: Any = dataclasses.MISSING,
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    above: float | None = None,
    below: float | None = None,
    help: str = "",
    later: bool = False,
) -> Any:
    """A spec field with a range and a line of help.

    Args:
        default: value when the field is not given; left out, the field is required.
        minimum, maximum: inclusive ends of the range, for a number or each number in a tuple.
        above, below: exclusive ends of the range.
        help: one line: what the field is for, and its unit.
        later: the class was there before the field. With its default the field is no part of the fingerprint, which
            stays what it was; the default must mean what was done before.
    """
    metadata = {"range": Range(minimum, maximum, above, below), "help": help, "later": later}
    return dataclasses.field(default=default, metadata=metadata)


def is_static(annotation: Any) -> bool:
    """Whether the annotation is ``Static[...]``."""
    return get_origin(annotation) is Annotated and STATIC in get_args(annotation)[1:]


def bare(annotation: Any) -> Any:
    """The annotation without ``Annotated`` metadata."""
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation


def alternatives(annotation: Any) -> tuple[Any, ...]:
    """The members of a union, or the annotation itself; ``Annotated`` layers are removed."""
    annotation = bare(annotation)
    if get_origin(annotation) in (Union, types.UnionType):
        return tuple(bare(member) for member in get_args(annotation))
    return (annotation,)


def _holds_numbers(annotation: Any) -> bool:
    """Whether a value of this annotation is a float, a spec, or a tuple of them."""
    from research.spec.values import Spec

    if is_static(annotation):
        return False
    for member in alternatives(annotation):
        if member is float or (isinstance(member, type) and issubclass(member, Spec)):
            return True
        if get_origin(member) is tuple and any(_holds_numbers(item) for item in get_args(member) if item is not ...):
            return True
    return False


def classify(owner: str, name: str, annotation: Any) -> bool:
    """Whether a field is a pytree child (True) or static structure (False).

    Raises:
        TypeError: if the annotation mixes numbers or specs with other types, for then the
            kind of the field would depend on its value.
    """
    if not _holds_numbers(annotation):
        return False
    for member in alternatives(annotation):
        if member is not type(None) and not _holds_numbers(member):
            raise TypeError(
                f"{owner}.{name} is annotated {annotation}: a field holds either numbers and specs, or static "
                f"structure, never both. Use None to switch a thing off, Static[...] for structure."
            )
    return True


def spell(annotation: Any) -> str:
    """An annotation as a person would say it: ``a number or none``, ``one of 'a', 'b'``."""
    words = []
    for member in alternatives(annotation):
        origin = get_origin(member)
        if member is type(None):
            words.append("none")
        elif origin is Literal:
            words.append("one of " + ", ".join(repr(choice) for choice in get_args(member)))
        elif origin is tuple:
            items = get_args(member)
            inner = spell(items[0]).removeprefix("a ").removeprefix("an ") if items else "value"
            words.append(f"a tuple of {inner}s" if items[-1:] == (...,) else f"a tuple of {len(items)} values")
        else:
            names = {float: "a number", int: "a whole number", bool: "true or false", str: "text"}
            words.append(names.get(member) or getattr(member, "__name__", str(member)))
    return " or ".join(dict.fromkeys(words))
