"""All pictures of an ablation, written beside its table."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from research.ablation.design import read_design
from research.ablation.directory import AblationDirectory
from research.ablation.figures.forest import forest
from research.ablation.figures.heat_map import heat_map
from research.ablation.figures.learning import learning_curves
from research.ablation.figures.parallel import parallel
from research.ablation.figures.profiles import FEWEST_SEEDS, profiles
from research.ablation.result import AblationResult
from research.ablation.statistics import Analysis
from research.errors import UserError
from research.reporting import style
from research.reporting.style import Figures

FOLDER = "figures"
NAMES = ("forest.png", "learning_curves.png", "profiles.png", "heat_map.png", "parallel.png")
"""Every picture that `write_figures` may write."""


def write_figures(result: AblationResult, analysis: Analysis) -> Figures:
    """Write the pictures that fit the ablation to its folder ``figures``, in place of older ones.

    ``forest.png`` where there are variants, ``learning_curves.png``, ``profiles.png`` of five seeds or more,
    ``heat_map.png`` of a grid of two fields or more, ``parallel.png`` of a search. Those that no longer fit are
    removed. The same directory gives the same bytes.

    Args:
        result: of the ablation, as `research.ablation.result.load_result` reads it.
        analysis: its table; of several metrics the forest plot has the first few, other figures the first alone.

    Returns:
        The files, and what was left out and why.

    Raises:
        RunError: if a file cannot be written.
    """
    folder, title = result.directory / FOLDER, f"{result.name}, {result.split}"
    drawn: dict[str, Any] = {}
    notes: list[str] = []
    if len(analysis.variants) > 1:
        drawn["forest.png"] = forest(analysis, title)
    else:
        notes.append("forest.png is left out: there is no variant beside the baseline.")
    if (curves := learning_curves(result, analysis, result.name)) is not None:
        drawn["learning_curves.png"] = curves
    else:
        notes.append("learning_curves.png is left out: nothing was logged while training.")
    if (found := profiles(analysis, title)) is not None:
        drawn["profiles.png"] = found
    else:
        notes.append(f"profiles.png is left out: it takes {FEWEST_SEEDS} seeds or more.")
    try:
        design = read_design(AblationDirectory(result.directory).read_plan())
    except UserError as error:
        notes.append(f"heat_map.png and parallel.png are left out: {error}")
    else:
        for name, draw in (("heat_map.png", heat_map), ("parallel.png", parallel)):
            if (made := draw(design, analysis, title)) is not None:
                drawn[name] = made[0]
                notes += made[1]
    for name in NAMES:
        if name not in drawn:
            with contextlib.suppress(OSError):
                (folder / name).unlink(missing_ok=True)
    return Figures(tuple(style.save(drawn[name], Path(folder) / name) for name in NAMES if name in drawn), tuple(notes))
