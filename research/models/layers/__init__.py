"""Layers: the seam in which precision, traced numbers, example-keyed draws and masks live; models use only these."""

from research.models.layers import activations, initializers
from research.models.layers.dense import Dense
from research.models.layers.dropout import Dropout
from research.models.layers.normalization import BatchNorm, LayerNorm

__all__ = ["BatchNorm", "Dense", "Dropout", "LayerNorm", "activations", "initializers"]
