"""Names of the rows of a grid or search: short, and different where the rows are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from research.spec import Spec, describe, diff
from research.spec.values import frozen

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
        having = iter(_texts([row[path] for row in rows if path in row]))
        texts[path] = [next(having) if path in row else "" for row in rows]
    return [", ".join(f"{short[path]}={texts[path][place]}" for path in row) for place, row in enumerate(rows)]


def short_names(paths: Iterable[str]) -> dict[str, str]:
    """Of each dotted path its last part, or all of it where that is the last part of another too."""
    ends = {path: path.rsplit(".", 1)[-1] for path in paths}
    return {path: end if list(ends.values()).count(end) == 1 else path for path, end in ends.items()}


def _texts(values: Sequence[Any]) -> list[str]:
    """A text of each value; equal ones have the same, and others another."""
    values = [_plain(value) for value in values]
    keys = [_key(value) for value in values]
    different = dict(zip(keys, values, strict=True))
    numbers = number_texts([value for value in different.values() if isinstance(value, float)])
    texts: dict[Any, str] = {}
    times: Counter[str] = Counter()
    for key, value in different.items():
        if isinstance(value, Spec):
            text = _part_text(value, [other for other in different.values() if type(other) is type(value)])
        else:
            text = numbers[value] if isinstance(value, float) else _text(value)
        times[text] += 1
        texts[key] = text if times[text] == 1 else f"{text} ({times[text]})"
    return [texts[key] for key in keys]


def _plain(value: Any) -> Any:
    """A value without NumPy's types, and lists as the tuples that they become."""
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    return tuple(map(_plain, value)) if isinstance(value, list | tuple) else value


def _key(value: Any) -> Any:
    key = frozen(value)
    try:
        hash(key)
    except TypeError:
        return repr(value)
    return key


def number_texts(numbers: Sequence[float]) -> dict[float, str]:
    """Each number in the fewest digits in which no other reads like it."""
    texts: dict[float, str] = {}
    for digits in range(FEWEST_DIGITS, MOST_DIGITS + 1):
        left = [number for number in numbers if number not in texts]
        written = {number: f"{number:.{digits}g}" for number in left}
        times = Counter(f"{number:.{digits}g}" for number in numbers) if left else Counter()
        texts |= {number: text for number, text in written.items() if times[text] == 1 or digits == MOST_DIGITS}
    return texts


def _text(value: Any) -> str:
    if isinstance(value, type) or callable(value):
        value = getattr(value, "__qualname__", value)
    return "none" if value is None else str(value).replace("/", "|")


def _part_text(part: Spec, alike: Sequence[Any]) -> str:
    """The class of a part, and the fields in which it and others of its class differ."""
    name = type(part).__name__
    fields = list(dict.fromkeys(field for other in alike for field in diff(alike[0], other)))
    if not fields:
        return name
    short = short_names(fields)
    held = [dict(describe(other)) for other in alike]
    place = next(place for place, other in enumerate(alike) if other is part)
    shown = []
    for field in fields:
        if field in held[place]:
            having = [at for at, values in enumerate(held) if field in values]
            texts = _texts([held[at][field] for at in having])
            shown.append(f"{short[field]}={texts[having.index(place)]}")
    return f"{name}({', '.join(shown)})"
