"""Models: specs that build Flax NNX modules."""

from research.models.cnn import CNN
from research.models.densenet import DenseNet
from research.models.mlp import MLP
from research.models.model import Forward, Hyperparameter, Model
from research.models.own_module import OwnModule
from research.models.resnet import ResNet
from research.models.rnn import RNN

__all__ = ["CNN", "MLP", "RNN", "DenseNet", "Forward", "Hyperparameter", "Model", "OwnModule", "ResNet"]
