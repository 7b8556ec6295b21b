"""Ablations from files: a Python file that assigns ``ablation``, or an experiment file with alternatives beside it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from research.ablation.ablation import Ablation
from research.errors import UserError
from research.experiment import Experiment
from research.experiment_file import classes_of, load_module, module_name
from research.spec import apply_overrides, check
from research.spec.paths import parse_alternatives

VARIABLE = "ablation"


def load_ablation(path: Path, overrides: Sequence[str] = ()) -> tuple[Ablation, Path | None]:
    """The ablation of a file, and the file itself where its experiments use classes defined there.

    Args:
        path: a file that assigns an `Ablation` to ``ablation``, or an `Experiment` to ``experiment``.
        overrides: ``path=value`` texts, which change the baseline; ``path=value,value`` becomes part of the grid.

    Raises:
        UserError: for a file that is missing, raises or assigns neither, for a path that is given two values or two
            lists, and for overrides as `apply_overrides` does.
    """
    if not path.is_file():
        raise UserError(f"{path}: there is no such file.")
    module = load_module(path, module_name(path))
    found = getattr(module, VARIABLE, None)
    if found is None:
        experiment = getattr(module, "experiment", None)
        if not isinstance(experiment, Experiment):
            raise UserError(
                f"{path}: the file assigns nothing to 'ablation' or 'experiment'. Write ablation = Ablation(...), or "
                f"name an experiment file and alternatives, such as model.dropout=none,0.1,0.3."
            )
        found = Ablation(baseline=experiment)
    if not isinstance(found, Ablation):
        raise UserError(f"{path}: 'ablation' is a {type(found).__name__}; an Ablation is needed.")
    found.check_fields()
    baseline, grid = found.baseline, dict(found.grid)
    given: dict[tuple[str, bool], str] = {}
    for text in overrides:
        field, values = parse_alternatives(baseline, text)
        # One value and one list go together: the first is that of the baseline.
        several = len(values) > 1
        if (before := given.get((field, several))) is not None:
            advice = "Write all its values into one list" if several else "Leave one of them out"
            raise UserError(f"{field}: given twice, as {before} and as {text}. {advice}.")
        given[field, several] = text
        if several:
            grid[field] = values
        else:
            baseline = apply_overrides(baseline, [text])
    check(baseline)
    ablation = dataclasses.replace(found, baseline=baseline, grid=grid or found.grid)
    arms, _ = ablation.arms()
    own = any(classes_of(arm.experiment) for arm in arms)
    return ablation, path if own else None


def options(
    ablation: Ablation, seeds: str | None = None, folds: int | None = None, inner_folds: int | None = None
) -> Ablation:
    """The ablation with seeds and folds from the command line.

    Args:
        ablation: as the file has it.
        seeds: how many, or several with commas between them, such as ``0,1,5``; None keeps those of the file.
        folds: how many; None keeps those of the file.
        inner_folds: how many; None keeps those of the file.

    Raises:
        UserError: for text that is no number.
    """
    given = {"folds": folds, "inner_folds": inner_folds}
    changes: dict[str, Any] = {name: count for name, count in given.items() if count is not None}
    if seeds is not None:
        try:
            numbers = [int(part) for part in seeds.split(",") if part.strip()]
        except ValueError:
            numbers = []
        if not numbers:
            raise UserError(f"--seeds: a number, or numbers such as 0,1,5, are needed; {seeds!r} was given.")
        changes["seeds"] = numbers[0] if "," not in seeds else tuple(numbers)
    return dataclasses.replace(ablation, **changes)
