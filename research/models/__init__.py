"""Models: specs that build Flax NNX modules."""

from research.models.cnn import CNN
from research.models.densenet import DenseNet
from research.models.fcn import FCN
from research.models.inception_time import InceptionTime
from research.models.mlp import MLP
from research.models.model import Forward, Hyperparameter, Model
from research.models.own_module import OwnModule
from research.models.record_transformer import RecordTransformer
from research.models.resnet import ResNet
from research.models.resnet1d import ResNet1D
from research.models.rnn import RNN
from research.models.series_mlp import SeriesMLP
from research.models.series_transformer import SeriesTransformer
from research.models.vit import ViT
from research.models.windowed import Windowed
from research.models.xresnet1d import XResNet1D

__all__ = [
    "CNN",
    "FCN",
    "MLP",
    "RNN",
    "DenseNet",
    "Forward",
    "Hyperparameter",
    "InceptionTime",
    "Model",
    "OwnModule",
    "RecordTransformer",
    "ResNet",
    "ResNet1D",
    "SeriesMLP",
    "SeriesTransformer",
    "ViT",
    "Windowed",
    "XResNet1D",
]
