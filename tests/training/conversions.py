"""A hook that counts conversions from the device to the host; the transfer guard does not see them on a CPU."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any
from unittest import mock

import jax
import numpy as np

ArrayImpl = type(jax.numpy.zeros(1))
METHODS = ("item", "copy_to_host_async", "__array__", "__dlpack__")
CONVERTERS = ("array", "asarray", "asanyarray", "ascontiguousarray", "frombuffer", "from_dlpack")


class Counter:
    """How many conversions have been seen, by the way they went."""

    def __init__(self) -> None:
        self.seen: dict[str, int] = {}

    def add(self, way: str) -> None:
        """Count one."""
        self.seen[way] = self.seen.get(way, 0) + 1

    @property
    def total(self) -> int:
        """All of them; one conversion may pass several ways."""
        return sum(self.seen.values())


@contextlib.contextmanager
def counted() -> Iterator[Counter]:
    """Count while the block runs.

    ``float``, ``int``, ``bool``, formatting, iteration and `jax.device_get` all read ``_value``; NumPy reads the
    buffer of an array directly, so its converters are watched as well.
    """
    counter = Counter()
    value = ArrayImpl.__dict__["_value"]

    def watched(self: Any) -> Any:
        counter.add("_value")
        return value.fget(self)

    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.object(ArrayImpl, "_value", property(watched)))
        for name in METHODS:
            stack.enter_context(mock.patch.object(ArrayImpl, name, _method(getattr(ArrayImpl, name), name, counter)))
        for name in CONVERTERS:
            stack.enter_context(mock.patch.object(np, name, _converter(getattr(np, name), name, counter)))
        yield counter


def _method(original: Any, name: str, counter: Counter) -> Any:
    def watched(self: Any, *arguments: Any, **options: Any) -> Any:
        counter.add(name)
        return original(self, *arguments, **options)

    return watched


def _converter(original: Any, name: str, counter: Counter) -> Any:
    def watched(*arguments: Any, **options: Any) -> Any:
        if arguments and isinstance(arguments[0], jax.Array):
            counter.add(name)
        return original(*arguments, **options)

    return watched
