"""Values as text on a command line: numbers, text with or without quotes, tuples in brackets, specs as calls."""

from __future__ import annotations

import dataclasses
import re
from typing import Any, Literal, get_args, get_origin

from research.errors import UserError, did_you_mean
from research.spec import fields as spec_fields
from research.spec.values import Spec, concrete_specs, default_of, field_annotations

CLOSING = {")": "(", "]": "["}
QUOTES = "'\""
NONE = ("none", "null", "off")
TRUTH = {"true": True, "false": False}
CALL = re.compile(r"\s*(\w+)\s*(?:\((.*)\)\s*)?", re.DOTALL)


def parse_override(annotation: Any, text: str, path: str = "value") -> Any:
    """The value that ``text`` means for a field of this annotation.

    Numbers, ``true``/``false``, ``none`` and the choices of a field are read without regard to case; tuples are
    ``64,64`` or ``(64, 64)``, and nest; specs are ``Adam`` or ``Adam(learning_rate=1e-3)``. All other text is taken as
    it stands: it needs quotes only where it holds commas or brackets that separate nothing, or where ``'3'`` or
    ``'none'`` is meant as text. Where a spec class names a field as its ``shorthand``, text that is no class name sets
    that field.

    Args:
        annotation: annotation of the field.
        text: what stands after ``=``.
        path: dotted path of the field, for messages.

    Raises:
        UserError: for an unknown class or field, with the closest one, and for brackets or quotes left open. Types and
            ranges are left to `research.spec.check`.
    """
    members = spec_fields.alternatives(annotation)
    text = text.strip()
    plain = _unquoted(text)
    if plain != text and (str in members or Any in members):
        return plain
    folded = plain.lower()
    if folded in NONE and (type(None) in members or Any in members):
        return None
    if folded in TRUTH and (bool in members or Any in members):
        return TRUTH[folded]
    for member in members:
        if get_origin(member) is Literal:
            for choice in get_args(member):
                if folded == str(choice).lower():
                    return choice
    number = _number(plain) if {int, float, Any} & set(members) else None
    tuples = [member for member in members if get_origin(member) is tuple]
    if tuples and _is_tuple(text, alone=set(members) <= {*tuples, type(None)}):
        return _parse_tuple(get_args(tuples[0]), text, path)
    specs = tuple(m for m in members if isinstance(m, type) and issubclass(m, Spec))
    if specs and number is None:
        return _parse_spec(specs, text, path, [spec_fields.spell(m) for m in members if m not in specs])
    return plain if number is None else number


def _number(text: str) -> int | float | None:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return None


def split_top_level(text: str) -> list[str] | None:
    """The parts between commas that stand in no bracket and no quotes, without padding; None if one is left open.

    Quotes count where a value begins, so that an apostrophe within a word is a letter like any other. Empty parts are
    left out.
    """
    parts, start, open_brackets, quote, begins = [], 0, [], "", True
    for place, sign in enumerate(text):
        if quote:
            quote = "" if sign == quote else quote
        elif begins and sign in QUOTES:
            quote = sign
        elif sign in CLOSING:
            if not open_brackets or open_brackets.pop() != CLOSING[sign]:
                return None
        elif sign in CLOSING.values():
            open_brackets.append(sign)
        elif sign == "," and not open_brackets:
            parts.append(text[start:place].strip())
            start = place + 1
        begins = sign in "=,([" or (begins and sign.isspace())
    parts.append(text[start:].strip())
    return None if quote or open_brackets else [part for part in parts if part]


def _unquoted(text: str) -> str:
    """Text without the quotes around all of it."""
    quoted = len(text) > 1 and text[0] in QUOTES and text.find(text[0], 1) == len(text) - 1
    return text[1:-1] if quoted else text


def _unbracketed(text: str) -> str | None:
    """What stands in the brackets around all of the text; None where there are none."""
    if not text or CLOSING.get(text[-1]) != text[0]:
        return None
    # In "(1), (2)" the first bracket closes before the end.
    inner = text[1:-1]
    return inner if split_top_level(inner) is not None else None


def _is_tuple(text: str, alone: bool) -> bool:
    """Whether text means a tuple: always where the field holds nothing else (``alone``), else by its form."""
    return alone or _unbracketed(text) is not None or len(split_top_level(text) or ()) > 1


def _parse_tuple(items: tuple[Any, ...], text: str, path: str) -> tuple[Any, ...]:
    inner = _unbracketed(text)
    parts = split_top_level(text if inner is None else inner)
    if parts is None:
        raise UserError(
            f"{path}: in {text!r} a bracket or a quotation mark is left open. Put text that holds them in quotes."
        )
    # A tuple of the wrong length is parsed as far as it goes; `check` says what is needed.
    kinds = [items[0] if items[-1:] == (...,) else items[min(n, len(items) - 1)] for n in range(len(parts))]
    return tuple(parse_override(kind, part, path) for kind, part in zip(kinds, parts, strict=True))


def _parse_spec(bases: tuple[type[Spec], ...], text: str, path: str, others: list[str]) -> Spec:
    """``Adam`` or ``Adam(learning_rate=1e-3, b1=0.8)`` as a spec that is a subclass of one of ``bases``.

    ``others`` are the words for what else the field may hold, for messages.
    """
    classes = concrete_specs(*bases)
    plain = _unquoted(text)
    call = CALL.fullmatch(plain)
    name = call[1] if call else plain.partition("(")[0].strip()
    cls = {key.lower(): c for key, c in classes.items()}.get(name.lower())
    if cls is None:
        hint = did_you_mean(name, classes)
        short = [(c, getattr(c, "shorthand", "")) for c in bases if c in classes.values()]
        short = [(c, field) for c, field in short if field]
        # A word alone may be a class name with a typing error; anything else, such as a path, is none.
        if len(short) == 1 and plain and not (call and (hint or call[2] is not None)):
            owner, field = short[0]
            return _with_fields(owner, {field: text}, path)
        known = ", ".join([*others, *sorted(classes)])
        raise UserError(f"{path}: {name!r} is not known here.{hint} Known: {known}.")
    parts = split_top_level(call[2] or "") if call else None
    pairs = [part.partition("=") for part in parts or ()]
    given = {key.strip(): value.strip() for key, _, value in pairs}
    if parts is None or len(given) < len(pairs) or not all(e and key.strip().isidentifier() for key, e, _ in pairs):
        raise UserError(
            f"{path}: {text!r} is not readable; write {cls.__name__}(field=value, ...), tuples in brackets, and text "
            f"that holds commas or brackets in quotes."
        )
    return _with_fields(cls, given, path)


def _with_fields(cls: type[Spec], given: dict[str, str], path: str) -> Spec:
    hints = field_annotations(cls)
    values = {}
    for key, value in given.items():
        if key not in hints:
            raise UserError(
                f"{path}: {cls.__name__} has no field {key!r}.{did_you_mean(key, hints)} "
                f"Valid fields: {', '.join(hints)}."
            )
        values[key] = parse_override(hints[key], value, f"{path}.{key}")
    required = [name for name in required_fields(cls) if name not in given]
    if required:
        raise UserError(f"{path}: {cls.__name__} needs {', '.join(required)}: write {cls.__name__}({required[0]}=...).")
    return cls(**values)


def required_fields(cls: type[Spec]) -> list[str]:
    """Names of the fields that have no default."""
    items = dataclasses.fields(cls)  # pyright: ignore[reportArgumentType]
    return [item.name for item in items if default_of(item) is dataclasses.MISSING]
