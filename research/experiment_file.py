"""Experiment files: short Python files that assign an `Experiment` to the name ``experiment``."""

from __future__ import annotations

import importlib.util
import sys
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from research.errors import UserError
from research.experiment import Execution, Experiment, check_experiment
from research.outlines import VARIABLE
from research.spec import apply_overrides, check, to_json

PACKAGE = "experiment_file"
EXECUTION = "execution."


def load_experiment(path: Path) -> tuple[Experiment, Path | None]:
    """The experiment of a file, checked, and the file itself where it uses classes defined there or beside it.

    Raises:
        UserError: if the file is missing, raises, or assigns no `Experiment` to ``experiment``.
    """
    if path.suffix != ".py" and path.exists():
        raise UserError(f"{path}: an experiment file is Python and ends in .py.")
    if not path.is_file():
        near = sorted(str(p) for p in path.parent.glob("*.py")) if path.parent.is_dir() else []
        there = f" Files there: {', '.join(near[:8])}." if near else ""
        raise UserError(f"{path}: there is no such experiment file.{there}")
    name = module_name(path)
    module = load_module(path, name)
    if not hasattr(module, VARIABLE):
        others = [key for key, value in vars(module).items() if isinstance(value, Experiment)]
        hint = f" It has one named {others[0]!r}; rename it." if others else ""
        raise UserError(f"{path}: the file assigns nothing to {VARIABLE!r}. Write {VARIABLE} = Experiment(...).{hint}")
    experiment = check_experiment(getattr(module, VARIABLE), str(path))
    return experiment, path if classes_of(experiment) else None


def classes_of(experiment: Experiment) -> list[str]:
    """Classes and functions of the user's own that the experiment is made of, as ``module:name``."""
    return [name for name in _names(to_json(experiment)) if not name.startswith("research.")]


def _names(data: Any) -> Iterator[str]:
    """The classes and functions that the JSON of an experiment names."""
    if isinstance(data, list):
        for item in data:
            yield from _names(item)
    elif isinstance(data, dict):
        yield from (data[key] for key in ("spec", "python") if key in data)
        for value in data.values():
            yield from _names(value)


def module_name(path: Path) -> str:
    """The name under which a file's classes are known, in fingerprints too: the file's name, not its place."""
    return f"{PACKAGE}.{path.stem}"


def is_loaded(path: Path, name: str) -> bool:
    """Whether module ``name`` has been executed from the same text as ``path``, so that its classes can serve."""
    loaded = sys.modules.get(name)
    if loaded is None or loaded.__file__ is None:
        return False
    try:
        return Path(loaded.__file__).read_bytes() == path.read_bytes()
    except OSError:
        return False


def load_module(path: Path, name: str) -> ModuleType:
    """Execute a Python file as module ``name``; it can import its neighbours, as a script can.

    Raises:
        UserError: if it raises anything, naming the line and the error.
    """
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UserError(f"{path}: not a Python file; the name must end in .py.")
    add_to_path(path.resolve().parent)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        del sys.modules[name]
        raise UserError(_where(path, error)) from error
    return module


def add_to_path(folder: Path) -> None:
    """Let files in ``folder`` be imported, before all others."""
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


def _where(path: Path, error: BaseException) -> str:
    if isinstance(error, SyntaxError):
        return f"{path}, line {error.lineno}: {error.msg}."
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    place = f"{path}, line {lines[-1]}" if lines else str(path)
    kind = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
    return f"{place}: {kind}{error}"


def read_experiment(file: Path, overrides: Sequence[str]) -> tuple[Experiment, Execution, Path | None]:
    """The experiment and execution that file and overrides mean, and the file where classes are defined in it."""
    experiment, source = load_experiment(file)
    experiment = apply_overrides(experiment, [text for text in overrides if not text.startswith(EXECUTION)])
    check(experiment)
    return experiment, execution_of(overrides), source


def execution_of(overrides: Sequence[str]) -> Execution:
    """The execution that those of the overrides mean which begin with ``execution.``."""
    own = [text.removeprefix(EXECUTION) for text in overrides if text.startswith(EXECUTION)]
    try:
        execution = apply_overrides(Execution(), own)
    except UserError as error:
        raise UserError(f"{EXECUTION}{error}") from None
    check(execution, EXECUTION)
    return execution
