"""What an ablation varies, as its directory records it: fields of its grid or search, and the place of each arm."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from research.ablation.ablation import Ablation, Arm
from research.ablation.names import as_json, short_names, value_at
from research.ablation.search import Integers, LogUniform, Range, Uniform
from research.errors import UserError
from research.spec import to_json

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
        name: {path: [as_json(value) for value in values] for path, values in fields.items()}
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


def _described(values: Range) -> dict[str, Any]:
    if isinstance(values, Uniform | LogUniform | Integers):
        return {"kind": type(values).__name__, "low": as_json(values.low), "high": as_json(values.high)}
    return {"kind": "values", "values": [as_json(value) for value in values]}


def _axis(path: str, name: str, about: Mapping[str, Any]) -> Axis:
    if about["kind"] == "values":
        return Axis(path, name, "categories", _in_order(about["values"]))
    scale: Scale = "log" if about["kind"] == LogUniform.__name__ else "linear"
    return Axis(path, name, scale, (), about["low"], about["high"])


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
