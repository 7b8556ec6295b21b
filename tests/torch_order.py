"""Values for images and parameters by a formula, in torch's order and torch's axes, for outputs known from torch.

`scripts/prove/torch_models.py` fills torch's networks with them and prints what comes out; the tests fill ours and
expect the same. So this file needs neither torch nor JAX.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

Shape = tuple[int, ...]
Tree = dict[Any, Any]
Path = tuple[Any, ...]

IMAGES = 1_000_000
"""Index of the first pixel, beyond those of all parameters."""
PARTS = (
    *("stem", "maps", "blocks", "layers", "hidden"),
    *("path", "projection", "narrow", "convolve", "bottleneck", "branches", "pooled"),
    *("convolution", "layer", "norm", "dense", "output"),
    *("kernel", "scale", "bias", "mean", "variance"),
)
"""Names in our trees, in the order in which torch's networks hold what they stand for."""


def torch_order(path: Path) -> Path:
    """What leaves of our trees are sorted by."""
    ranks = {part: rank for rank, part in enumerate(PARTS)}
    if path[0] == "layers":
        ranks["norm"] = -1  # DenseNet's layers normalise before they convolve.
    return tuple(part if isinstance(part, int) else ranks[part] for part in path)


def leaves(*trees: Tree) -> dict[Path, Any]:
    """Leaves of our trees by path, in torch's order."""
    found: dict[Path, Any] = {}

    def visit(tree: Any, path: Path) -> None:
        if isinstance(tree, dict):
            for name, below in tree.items():
                visit(below, (*path, name))
        else:
            found[path] = tree

    for tree in trees:
        visit(tree, ())
    return {path: found[path] for path in sorted(found, key=torch_order)}


def torch_axes(leaf: Any) -> Any:
    """Kernels ``[height, width, in, out]`` as ``[out, in, height, width]``, and those of less axes turned around."""
    return leaf.transpose(3, 2, 0, 1) if leaf.ndim == 4 else leaf.T


def our_axes(leaf: Any) -> Any:
    """The inverse of `torch_axes`."""
    return leaf.transpose(2, 3, 1, 0) if leaf.ndim == 4 else leaf.T


def formula(start: int, shape: Shape) -> np.ndarray:
    """``sin(k²)`` for ``k`` from ``start``, float64: unlike ``sin(k)`` it makes kernels of full rank."""
    index = np.arange(start, start + np.prod(shape, dtype=int), dtype=np.float64)
    return np.sin(index**2).reshape(shape)


def images(shape: Shape) -> np.ndarray:
    """Images ``[B, C, H, W]``."""
    return 1.5 * formula(IMAGES, shape).astype(np.float32)


def values(kinds: Iterable[tuple[str, Shape]]) -> list[np.ndarray]:
    """Values of leaves, each given by its kind (the last line of `PARTS`) and its shape in torch.

    Kernels shrink with the number of inputs, as initial ones do; scales and variances lie around 1.
    """
    found, start = [], 1
    for kind, shape in kinds:
        wave = formula(start, shape)
        start += wave.size
        if kind == "kernel":
            wave = 2 * wave / np.sqrt(np.prod(shape[1:]))
        else:
            wave = wave / 2 + (1 if kind in ("scale", "variance") else 0)
        found.append(wave.astype(np.float32))
    return found


def ours(params: Tree, state: Tree) -> tuple[Tree, Tree]:
    """The same trees with the values of the formula; ``state`` are running statistics."""
    shapes = {path: torch_axes(np.empty(leaf.shape)).shape for path, leaf in leaves(params, state).items()}
    filled = values((path[-1], shape) for path, shape in shapes.items())
    found = {path: our_axes(value) for path, value in zip(shapes, filled, strict=True)}

    def placed(tree: Any, path: Path) -> Any:
        return {k: placed(v, (*path, k)) for k, v in tree.items()} if isinstance(tree, dict) else found[path]

    return placed(params, ()), placed(state, ())


def digest(array: Any) -> Any:
    """One number for a whole array in torch's axes: its sum, weighted by the formula."""
    return (array.reshape(-1) * formula(0, (array.size,)).astype(array.dtype)).sum()
