"""Models: specs that build Flax NNX modules."""

from research.models.mlp import MLP
from research.models.model import Forward, Hyperparameter, Model
from research.models.own_module import OwnModule

__all__ = ["MLP", "Forward", "Hyperparameter", "Model", "OwnModule"]
