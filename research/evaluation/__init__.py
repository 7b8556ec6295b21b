"""Stored predictions, and the numbers that are reported from them: with n, an interval, and the patient as unit."""

from research.evaluation.aami import aami
from research.evaluation.comparison import Difference, compare_predictions, comparison_table
from research.evaluation.estimate import Estimate
from research.evaluation.predictions import Predictions, Rows, read_predictions
from research.evaluation.report import Report, evaluate
from research.evaluation.sepsis import sepsis_utility, utility_threshold
from research.evaluation.survival import Survival, kaplan_meier

__all__ = [
    "Difference",
    "Estimate",
    "Predictions",
    "Report",
    "Rows",
    "Survival",
    "aami",
    "compare_predictions",
    "comparison_table",
    "evaluate",
    "kaplan_meier",
    "read_predictions",
    "sepsis_utility",
    "utility_threshold",
]
