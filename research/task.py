"""What is predicted: the one value that data, losses and evaluation agree on."""

from __future__ import annotations

import dataclasses
from typing import Literal

Kind = Literal["binary", "multiclass", "multilabel", "regression"]


@dataclasses.dataclass(frozen=True)
class Task:
    """Kind and names of the targets.

    Attributes:
        kind: ``binary`` and ``multiclass`` targets are int32 ``[N]`` class numbers; ``multilabel`` targets are
            float32 ``[N, L]`` of 0, 1 and NaN where the label is missing; ``regression`` targets are float32
            ``[N, L]``.
        names: the class names (two or more, in the order of the class numbers; for ``binary`` the second is the
            positive one), the label names, or the names of the predicted quantities.
        unit: unit of the predicted quantities, for ``regression``; empty otherwise.
        ordinal: whether ``multiclass`` classes have an order, that of their numbers, such as grades of a disease.
    """

    kind: Kind
    names: tuple[str, ...]
    unit: str = ""
    ordinal: bool = False

    @property
    def is_classes(self) -> bool:
        """Whether every example has exactly one class."""
        return self.kind in ("binary", "multiclass")
