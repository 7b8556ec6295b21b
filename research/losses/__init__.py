"""Losses: what a model's outputs mean for a task, and how far they are from the targets.

A loss says how many outputs a task needs, what it costs per example, and how outputs become predictions. The loss of
a batch is ``sum(total) / sum(weight)`` over the rows that count, so that class weights and missing labels normalise as
in torch, and padding changes nothing.
"""

from research.losses.base import Loss, PerExample, Targets
from research.losses.classification import BinaryCrossEntropy, CrossEntropy, Focal, balanced_weights
from research.losses.regression import MAE, MSE, Huber, Quantile
from research.losses.survival import CoxPH, DiscreteTimeHazard

__all__ = [
    "MAE",
    "MSE",
    "BinaryCrossEntropy",
    "CoxPH",
    "CrossEntropy",
    "DiscreteTimeHazard",
    "Focal",
    "Huber",
    "Loss",
    "PerExample",
    "Quantile",
    "Targets",
    "balanced_weights",
]
