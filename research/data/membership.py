"""Which examples have a class, label or event, whatever the kind of task."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Shaped

from research.task import Task

Members = Bool[np.ndarray, " N"]


def sides(targets: Shaped[np.ndarray, "N ..."], task: Task, number: int) -> tuple[tuple[str, Members], ...]:
    """What an example can be with regard to a class, label or event, and which examples are.

    A class has one side, for every example has some class; with a class at each step an example has all that occur in
    it. A label and an event have two. Quantities have none.

    Args:
        targets: as `research.task.Task` says.
        task: what they mean.
        number: of the class or label.
    """
    name = task.names[number]
    if task.is_classes:
        member = targets == number
        return ((f"of class {name!r}", member.any(1) if task.per_step else member),)
    if task.kind == "multilabel":
        return ((f"with {name!r}", targets[:, number] == 1), (f"without {name!r}", targets[:, number] == 0))
    if task.kind == "survival":
        return ((f"with {name!r}", targets[:, 1] == 1), (f"without {name!r}", targets[:, 1] == 0))
    return ()


def prevalence(targets: Shaped[np.ndarray, "N ..."], task: Task, number: int) -> float:
    """Share of the targets that are known which have a class, label or event; NaN where none is known."""
    if task.is_classes:
        known, present = targets >= 0, targets == number
    else:
        column = targets[:, 1 if task.kind == "survival" else number]
        known, present = ~np.isnan(column), column == 1
    return float(present.sum() / known.sum()) if known.any() else float("nan")
