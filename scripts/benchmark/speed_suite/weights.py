"""The initial parameters and the batches that all contestants are given, as arrays by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np


class Given:
    """The file that the module ``given`` wrote, with a note of what was taken out of it.

    Attributes:
        inputs: ``[n, B, ...]`` float32, as the models see them.
        targets: ``[n, B]`` int32.
        outputs: ``[B, K]`` of this framework's model, outside training, for the first batch.
        positions: ``[T, width]``, the encoding of places of an encoder; None elsewhere.
    """

    def __init__(self, path: Path) -> None:
        with np.load(path) as found:
            arrays = {name: found[name] for name in found.files}
        self.inputs, self.targets = arrays.pop("inputs"), arrays.pop("targets")
        self.positions: Any = arrays.pop("positions", None)
        self.outputs = arrays.pop("outputs")
        self._params = arrays
        self._left = set(arrays)

    def __call__(self, name: str) -> np.ndarray:
        """A parameter by its path in this framework's model."""
        self._left.discard(name)
        return self._params[name]

    def __contains__(self, name: str) -> bool:
        return name in self._params

    def count(self, prefix: str) -> int:
        """How many numbered parts there are below a path, such as blocks."""
        depth = prefix.count("/") + 1
        return len({name.split("/")[depth] for name in self._params if name.startswith(f"{prefix}/")})

    def batches(self, size: int) -> tuple[np.ndarray, np.ndarray]:
        """Inputs and targets in batches of another size; rows are repeated where they are too few for one."""
        rows = self.inputs.reshape(-1, *self.inputs.shape[2:])
        targets = self.targets.reshape(-1)
        if len(rows) < size:
            rows, targets = (np.concatenate([each] * -(-size // len(each)))[:size] for each in (rows, targets))
        count = len(rows) // size
        rows, targets = rows[: count * size], targets[: count * size]
        return rows.reshape(count, size, *rows.shape[1:]), targets.reshape(count, size)

    def gap(self, outputs: np.ndarray) -> float:
        """Largest difference to the outputs of this framework's model, beside the largest of these."""
        return float(np.abs(outputs - self.outputs).max() / np.abs(self.outputs).max())

    def check(self) -> None:
        """Raise `ValueError` unless every parameter was taken."""
        if self._left:
            raise ValueError(
                f"parameters that the contestant's model has no place for: {', '.join(sorted(self._left))}"
            )
