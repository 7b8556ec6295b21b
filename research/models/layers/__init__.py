"""Layers: the seam in which precision, traced numbers, example-keyed draws and masks live; models use only these."""

from research.models.layers import activations, initializers, normalization, positions
from research.models.layers.attention import SelfAttention
from research.models.layers.attention_blocks import AttentionMask
from research.models.layers.blocks import through_block
from research.models.layers.convolution import Convolution
from research.models.layers.convolution_1d import Convolution1D, max_pool_1d, mean_pool_1d, strided
from research.models.layers.dense import Dense
from research.models.layers.dropout import Dropout
from research.models.layers.embedding import Embedding, NumberEmbedding
from research.models.layers.encoder import Encoder, EncoderBlock
from research.models.layers.normalization import BatchNorm, GroupNorm, LayerNorm
from research.models.layers.pooling import global_mean_pool, max_pool, mean_pool
from research.models.layers.positions import LearnedPositions, TimeEncoding
from research.models.layers.readout import AttentionPooling, last_valid, max_over_steps, mean_over_steps
from research.models.layers.recurrent import DecayRecurrent, Recurrent

__all__ = [
    "AttentionMask",
    "AttentionPooling",
    "BatchNorm",
    "Convolution",
    "Convolution1D",
    "DecayRecurrent",
    "Dense",
    "Dropout",
    "Embedding",
    "Encoder",
    "EncoderBlock",
    "GroupNorm",
    "LayerNorm",
    "LearnedPositions",
    "NumberEmbedding",
    "Recurrent",
    "SelfAttention",
    "TimeEncoding",
    "activations",
    "global_mean_pool",
    "initializers",
    "last_valid",
    "max_over_steps",
    "max_pool",
    "max_pool_1d",
    "mean_over_steps",
    "mean_pool",
    "mean_pool_1d",
    "normalization",
    "positions",
    "strided",
    "through_block",
]
