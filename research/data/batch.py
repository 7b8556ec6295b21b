"""The batch contract: what every feed yields and every algorithm takes."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax

from research.task import Task


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Batch:
    """Rows of one split; every array has the batch axis first.

    JAX rebuilds pytrees with placeholders and shapes in place of arrays, so the fields are not typed more narrowly.

    Attributes:
        inputs: array, or dict of arrays, ``[B, ...]``.
        targets: array ``[B]`` or ``[B, L]``, as the task says.
        mask: bool ``[B]``, False on padding rows, which count for nothing anywhere.
        example: int32 ``[B]``, index of the row in its split; keys every per-example draw.
        patient: int32 ``[B]``, number of the patient within the dataset; a number of its own for every row where the
            data has no patient identifiers.
        task: what the targets mean; structure, not an array.
        other_targets: like ``targets``: those of the row that was mixed into each; None where nothing was.
        share: float32 ``[B]``, weight of a row's own targets beside ``other_targets``; None where nothing was mixed.
    """

    inputs: Any
    targets: Any
    mask: Any
    example: Any
    patient: Any
    task: Task = dataclasses.field(metadata={"static": True})
    other_targets: Any = None
    share: Any = None
