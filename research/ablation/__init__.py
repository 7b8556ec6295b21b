"""Ablations: many variants and seeds of one experiment, trained in few compiled programs, compared with intervals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from research.ablation.ablation import Ablation
    from research.ablation.cluster.cluster import Cluster
    from research.ablation.run import ablate
    from research.ablation.search import Integers, LogUniform, Search, Uniform

__all__ = ["Ablation", "Cluster", "Integers", "LogUniform", "Search", "Uniform", "ablate"]

_HOMES = {"Ablation": "ablation", "Cluster": "cluster.cluster", "ablate": "run"}


def __getattr__(name: str) -> Any:
    """Import the public names when they are first used, so that the command line starts at once."""
    import importlib

    if name in __all__:
        return getattr(importlib.import_module(f"research.ablation.{_HOMES.get(name, 'search')}"), name)
    raise AttributeError(f"module 'research.ablation' has no attribute {name!r}")
