"""The statistics of an ablation: means over seeds and differences to a baseline that respect seeds and patients."""

from research.ablation.statistics.analysis import Analysis, Summary, analyse, mark_selected
from research.ablation.statistics.components import Components, components
from research.ablation.statistics.contrasts import Difference
from research.ablation.statistics.crossvalidation import OverFolds
from research.ablation.statistics.outcomes import Outcomes, pooled
from research.ablation.statistics.planning import Settling, seeds_needed
from research.ablation.statistics.profiles import Profile, interquartile_mean, performance_profile
from research.ablation.statistics.tests_over_seeds import SmallestP, holm, sign_flip_p_values, smallest_p

__all__ = [
    "Analysis",
    "Components",
    "Difference",
    "Outcomes",
    "OverFolds",
    "Profile",
    "Settling",
    "SmallestP",
    "Summary",
    "analyse",
    "components",
    "holm",
    "interquartile_mean",
    "mark_selected",
    "performance_profile",
    "pooled",
    "seeds_needed",
    "sign_flip_p_values",
    "smallest_p",
]
