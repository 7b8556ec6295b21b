"""Pictures of an evaluation: curves with bands, calibration, confusion, mistakes and explanations."""

from research.reporting.contact_sheet import contact_sheet
from research.reporting.explanation import explanation_sheet
from research.reporting.figures import write_figures
from research.reporting.mistakes import mistakes_sheet
from research.reporting.style import Figures

__all__ = ["Figures", "contact_sheet", "explanation_sheet", "mistakes_sheet", "write_figures"]
