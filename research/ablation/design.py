"""What an ablation varies, as its directory records it: fields of its grid or search, and the place of each arm."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from research.ablation.ablation import Ablation, Arm
from research.ablation.names import number_texts, short_names
from research.ablation.search import Integers, LogUniform, Range, Uniform
from research.errors import UserError
from research.spec import Spec, to_json
from research.training.provenance import differences

Scale = Literal["linear", "log", "categories"]


@dataclasses.dataclass(frozen=True)
class Axis:
    """One field that an ablation varies.

    Attributes:
        path: of the field.
        name: short, as in the names of the arms.
        scale: how its values are spread; those of a grid are categories.
        values: of categories, as JSON has them: none first, numbers in ascending order, others as they were given.
        low: lower end of a range; NaN for categories.
        high: upper end.
    """

    path: str
    name: str
    scale: Scale
    values: tuple[Any, ...] = ()
    low: float = float("nan")
    high: float = float("nan")


@dataclasses.dataclass(frozen=True)
class Design:
    """What an ablation varies.

    Attributes:
        experiments: JSON of the experiment of each arm, by name.
        edited: paths that are edited in each arm, by name; none in the baseline.
        grid: fields of its grid.
        search: fields of its search.
    """

    experiments: Mapping[str, dict[str, Any]]
    edited: Mapping[str, tuple[str, ...]]
    grid: tuple[Axis, ...]
    search: tuple[Axis, ...]

    def place(self, arm: str, axis: Axis) -> Any:
        """What the field of an axis is in an arm, as JSON has it."""
        return value_at(self.experiments[arm], axis.path)

    def on(self, axes: Sequence[Axis]) -> tuple[str, ...]:
        """The arms that differ from the baseline in these fields only, and there have values of the axes.

        The baseline is one of them where its own values are among those of the axes, and so is a variant by name.
        """
        paths = {axis.path for axis in axes}
        return tuple(
            arm
            for arm, edited in self.edited.items()
            if set(edited) <= paths and all(_within(self.place(arm, axis), axis) for axis in axes)
        )


def describe_design(ablation: Ablation) -> dict[str, Any]:
    """What ``ablation.json`` holds of the fields that are varied; `read_design` reads it."""
    search = None
    if ablation.search is not None:
        ranges = {path: _described(values) for path, values in ablation.search.ranges.items()}
        search = {"ranges": ranges, "trials": ablation.search.trials, "sampler": ablation.search.sampler}
        search["seed"] = ablation.search.seed
    lists = {"grid": ablation.grid, "together": ablation.together}
    return {
        name: {path: [_plain(value) for value in values] for path, values in fields.items()}
        for name, fields in lists.items()
    } | {"search": search}


def describe_arm(arm: Arm) -> dict[str, Any]:
    """What ``ablation.json`` holds of an arm."""
    experiment = to_json(arm.experiment)
    edits = {path: value_at(experiment, path) for path in arm.edits}
    return {"name": arm.name, "edits": edits, "experiment": experiment}


def read_design(plan: Mapping[str, Any]) -> Design:
    """What an ablation varies, from what ``ablation.json`` holds.

    Raises:
        UserError: if it was written before designs were recorded.
    """
    if "design" not in plan:
        raise UserError(
            "ablation.json does not record the grid or search, for it was written by older code. Run the same "
            "research ablate again; with --accept-changes it trains nothing and records them."
        )
    design, search = plan["design"], plan["design"]["search"]
    short = short_names(design["grid"])
    grid = tuple(Axis(path, short[path], "categories", _in_order(values)) for path, values in design["grid"].items())
    ranges = {} if search is None else search["ranges"]
    short = short_names(ranges)
    return Design(
        {arm["name"]: arm["experiment"] for arm in plan["arms"]},
        {arm["name"]: tuple(arm["edits"]) for arm in plan["arms"]},
        grid,
        tuple(_axis(path, short[path], about) for path, about in ranges.items()),
    )


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


def value_texts(values: Sequence[Any]) -> list[str]:
    """A text of each value of a field, much as in the names of the arms: different where the values are.

    Numbers have as many digits, and parts of one class those fields, as tell them apart.

    Args:
        values: as JSON has them.
    """
    keys = [json.dumps(value, sort_keys=True) for value in values]
    different = dict(zip(keys, values, strict=True))
    numbers = number_texts([value for value in different.values() if isinstance(value, float)])
    texts: dict[str, str] = {}
    times: Counter[str] = Counter()
    for key, value in different.items():
        alike = [
            other for other in different.values() if isinstance(other, dict) and _class_of(other) == _class_of(value)
        ]
        text = numbers[value] if isinstance(value, float) else _text(value, alike)
        times[text] += 1
        texts[key] = text if times[text] == 1 else f"{text} ({times[text]})"
    return [texts[key] for key in keys]


def _text(value: Any, alike: Sequence[Mapping[str, Any]] = ()) -> str:
    """One value; of a part those fields in which others of its class differ from it."""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        return f"({', '.join(map(_text, value))})"
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


def _described(values: Range) -> dict[str, Any]:
    if isinstance(values, Uniform | LogUniform | Integers):
        return {"kind": type(values).__name__, "low": _plain(values.low), "high": _plain(values.high)}
    return {"kind": "values", "values": [_plain(value) for value in values]}


def _axis(path: str, name: str, about: Mapping[str, Any]) -> Axis:
    if about["kind"] == "values":
        return Axis(path, name, "categories", _in_order(about["values"]))
    scale: Scale = "log" if about["kind"] == LogUniform.__name__ else "linear"
    return Axis(path, name, scale, (), about["low"], about["high"])


def _plain(value: Any) -> Any:
    """A value as the JSON of an experiment has it."""
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    if isinstance(value, Spec):
        return to_json(value)
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, type) or callable(value):
        return {"python": f"{value.__module__}:{value.__qualname__}"}
    return value


def _in_order(values: Sequence[Any]) -> tuple[Any, ...]:
    """None first, and numbers in ascending order; each once."""
    different = [value for place, value in enumerate(values) if value not in values[:place]]
    rest = [value for value in different if value is not None]
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in rest):
        rest.sort()
    return (*([None] if None in different else []), *rest)


def _within(value: Any, axis: Axis) -> bool:
    """Whether a value is one of an axis."""
    if axis.scale == "categories":
        return value in axis.values
    margin = 1e-9 * abs(axis.high - axis.low)  # ends of a range are reached through logarithms, which round
    return isinstance(value, int | float) and axis.low - margin <= value <= axis.high + margin
