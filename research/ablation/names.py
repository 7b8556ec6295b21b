"""Names of the rows of a grid or search, and of values: short, and different where the rows and values are."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from research.spec import Spec, to_json
from research.training.provenance import differences

FEWEST_DIGITS = 4
MOST_DIGITS = 17
"""Significant digits that tell any two numbers apart."""


def distinct_names(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """A short name of the edits of each row, such as ``learning_rate=0.001, dropout=none``.

    Paths are cut to what tells them apart, numbers to four digits or to as many as tell them apart, and of parts the
    class is named, with the fields that differ where there are several of one class.
    """
    paths = list(dict.fromkeys(path for row in rows for path in row))
    short = short_names(paths)
    texts: dict[str, list[str]] = {}
    for path in paths:
        having = iter(value_texts([as_json(row[path]) for row in rows if path in row], names=True))
        texts[path] = [next(having) if path in row else "" for row in rows]
    return [", ".join(f"{short[path]}={texts[path][place]}" for path in row) for place, row in enumerate(rows)]


def short_names(paths: Iterable[str]) -> dict[str, str]:
    """Of each dotted path its last part, or all of it where that is the last part of another too."""
    ends = {path: path.rsplit(".", 1)[-1] for path in paths}
    return {path: end if list(ends.values()).count(end) == 1 else path for path, end in ends.items()}


def value_texts(values: Sequence[Any], names: bool = False) -> list[str]:
    """A text of each value of a field, different where the values are.

    Numbers have as many digits, and parts of one class those fields, as tell them apart.

    Args:
        values: as JSON has them; what JSON has not stands for itself.
        names: the texts are parts of names of members, in which a slash ends the name of an arm.
    """
    keys = [json.dumps(value, sort_keys=True, default=repr) for value in values]
    different = dict(zip(keys, values, strict=True))
    numbers = number_texts([value for value in different.values() if isinstance(value, float)])
    texts: dict[str, str] = {}
    times: Counter[str] = Counter()
    for key, value in different.items():
        alike = [
            other for other in different.values() if isinstance(other, dict) and _class_of(other) == _class_of(value)
        ]
        text = numbers[value] if isinstance(value, float) else _text(value, alike)
        text = text.replace("/", "|") if names else text
        times[text] += 1
        texts[key] = text if times[text] == 1 else f"{text} ({times[text]})"
    return [texts[key] for key in keys]


def _text(value: Any, alike: Sequence[Mapping[str, Any]] = ()) -> str:
    """One value; of a part those fields in which others of its class differ from it."""
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, list):
        return f"({', '.join(map(_text, value))}{',' if len(value) == 1 else ''})"
    if not isinstance(value, dict):
        return "none" if value is None else str(value)
    fields = {path: None for other in alike for path in differences(alike[0], other)}
    short = short_names(fields)
    held = []
    for path in fields:
        there = [value_at(other, path) for other in alike]
        held.append(f"{short[path]}={value_texts(there)[list(alike).index(value)]}")
    return _class_of(value) + (f"({', '.join(held)})" if held else "")


def _class_of(value: Any) -> str:
    """The name of the class of a part, or of a class or function; empty for others."""
    return str(value.get("spec", value.get("python", ""))).rsplit(":", 1)[-1] if isinstance(value, dict) else ""


def value_at(part: Any, path: str) -> Any:
    """The value at a dotted path of the JSON of an experiment, or of a part of one.

    None where there is nothing: below what is switched off, or where another class stands that has no such field.
    """
    for name in path.split("."):
        if isinstance(part, list):
            part = part[int(name)] if name.isdigit() and int(name) < len(part) else None
        else:
            part = part.get(name) if isinstance(part, Mapping) else None
    return part


def as_json(value: Any) -> Any:
    """A value as the JSON of an experiment has it."""
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    if isinstance(value, Spec):
        return to_json(value)
    if isinstance(value, list | tuple):
        return [as_json(item) for item in value]
    if isinstance(value, type) or callable(value):
        return {"python": f"{value.__module__}:{value.__qualname__}"}
    return value


def number_texts(numbers: Sequence[float]) -> dict[float, str]:
    """Each number in the fewest digits in which no other reads like it."""
    texts: dict[float, str] = {}
    for digits in range(FEWEST_DIGITS, MOST_DIGITS + 1):
        left = [number for number in numbers if number not in texts]
        written = {number: f"{number:.{digits}g}" for number in left}
        times = Counter(f"{number:.{digits}g}" for number in numbers) if left else Counter()
        texts |= {number: text for number, text in written.items() if times[text] == 1 or digits == MOST_DIGITS}
    return texts
