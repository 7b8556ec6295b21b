"""Pictures of an ablation, made from its directory alone: differences, learning curves, profiles, grids, searches."""

from research.ablation.figures.write import write_figures

__all__ = ["write_figures"]
