"""Layers: the seam in which precision, traced numbers, example-keyed draws and masks live; models use only these."""

from research.models.layers import activations, initializers, normalization
from research.models.layers.convolution import Convolution
from research.models.layers.dense import Dense
from research.models.layers.dropout import Dropout
from research.models.layers.normalization import BatchNorm, GroupNorm, LayerNorm
from research.models.layers.pooling import global_mean_pool, max_pool, mean_pool

__all__ = [
    "BatchNorm",
    "Convolution",
    "Dense",
    "Dropout",
    "GroupNorm",
    "LayerNorm",
    "activations",
    "global_mean_pool",
    "initializers",
    "max_pool",
    "mean_pool",
    "normalization",
]
