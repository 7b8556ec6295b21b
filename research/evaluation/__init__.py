"""Stored predictions, and the numbers that are reported from them: with n, an interval, and the patient as unit."""

from research.evaluation.comparison import Difference, compare_predictions, comparison_table
from research.evaluation.predictions import Predictions, Rows, read_predictions
from research.evaluation.report import Estimate, Report, evaluate

__all__ = [
    "Difference",
    "Estimate",
    "Predictions",
    "Report",
    "Rows",
    "compare_predictions",
    "comparison_table",
    "evaluate",
    "read_predictions",
]
