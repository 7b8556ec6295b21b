"""Medical machine-learning experiments in JAX: values that train, evaluate and resume to the bit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from research.allocator import keep_memory

if TYPE_CHECKING:
    from research.experiment import Execution, Experiment
    from research.results import Result, load
    from research.runner import run

__version__ = "0.1.0"
__all__ = ["Execution", "Experiment", "Result", "load", "run"]

_HOMES = {
    "Execution": "research.experiment",
    "Experiment": "research.experiment",
    "Result": "research.results",
    "load": "research.results",
    "run": "research.runner",
}


keep_memory()


def __getattr__(name: str) -> Any:
    """Import the public names when they are first used, so that ``import research`` costs next to nothing."""
    import importlib

    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'research' has no attribute {name!r}")
