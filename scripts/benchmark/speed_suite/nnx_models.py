"""The workloads' models as Flax's documentation writes them, with the parameters that all contestants are given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from speed_suite.weights import Given
from speed_suite.workloads import ROTATION, TRANSLATION, Workload

KERAS_EPSILON = 1e-3
TORCH_EPSILON = 1e-5


def fill(leaf: Any, value: np.ndarray) -> None:
    """Set a parameter."""
    assert leaf.shape == value.shape, (leaf.shape, value.shape)
    leaf.set_value(jnp.asarray(value))


def linear(given: Given, path: str, rngs: nnx.Rngs) -> nnx.Linear:
    """A dense layer."""
    kernel = given(f"{path}/kernel")
    layer = nnx.Linear(*kernel.shape, rngs=rngs)
    fill(layer.kernel, kernel)
    fill(layer.bias, given(f"{path}/bias"))
    return layer


def convolution(given: Given, path: str, rngs: nnx.Rngs, stride: int = 1, padding: Any = "SAME") -> nnx.Conv:
    """A convolution of one or two axes, with a bias where there is one."""
    kernel = given(f"{path}/kernel")
    *window, channels, outputs = kernel.shape
    biased = f"{path}/bias" in given
    sides = padding if isinstance(padding, str) else [(padding, padding)] * len(window)
    layer = nnx.Conv(
        channels, outputs, tuple(window), strides=(stride,) * len(window), padding=sides, use_bias=biased, rngs=rngs
    )
    fill(layer.kernel, kernel)
    if biased:
        fill(layer.bias, given(f"{path}/bias"))
    return layer


def norm(given: Given, path: str, rngs: nnx.Rngs, epsilon: float, momentum: float) -> nnx.BatchNorm:
    """Batch normalisation."""
    scale = given(f"{path}/scale")
    layer = nnx.BatchNorm(len(scale), momentum=momentum, epsilon=epsilon, rngs=rngs)
    fill(layer.scale, scale)
    fill(layer.bias, given(f"{path}/bias"))
    return layer


def layer_norm(given: Given, path: str, rngs: nnx.Rngs) -> nnx.LayerNorm:
    """Layer normalisation."""
    scale = given(f"{path}/scale")
    layer = nnx.LayerNorm(len(scale), epsilon=1e-6, rngs=rngs)
    fill(layer.scale, scale)
    fill(layer.bias, given(f"{path}/bias"))
    return layer


def dropout(workload: Workload, rngs: nnx.Rngs, share: float = 1.0) -> Any:
    """Dropout, or nothing."""
    return nnx.Dropout(share * workload.dropout, rngs=rngs) if workload.dropout else lambda x: x


class Perceptron(nnx.Module):
    """Dense layers."""

    def __init__(self, workload: Workload, given: Given, rngs: nnx.Rngs) -> None:
        self.hidden = nnx.List([linear(given, f"hidden/{n}/dense", rngs) for n in range(given.count("hidden"))])
        self.dropout, self.output = dropout(workload, rngs), linear(given, "output", rngs)

    def __call__(self, x: Any) -> Any:
        for layer in self.hidden:
            x = self.dropout(nnx.relu(layer(x)))
        return self.output(x)


class CNN(nnx.Module):
    """Convolutions and poolings, then dense layers."""

    def __init__(self, workload: Workload, given: Given, rngs: nnx.Rngs) -> None:
        maps = [convolution(given, f"maps/{n}/layer", rngs, padding="VALID") for n in range(given.count("maps"))]
        self.maps = nnx.List(maps)
        self.hidden = nnx.List([linear(given, f"hidden/{n}/layer", rngs) for n in range(given.count("hidden"))])
        self.dropout, self.output = dropout(workload, rngs), linear(given, "output", rngs)

    def __call__(self, x: Any) -> Any:
        for layer in self.maps:
            x = nnx.max_pool(nnx.relu(layer(x)), (2, 2), (2, 2))
        x = x.reshape(x.shape[0], -1)
        for layer in self.hidden:
            x = self.dropout(nnx.relu(layer(x)))
        return self.output(x)


class ConvNorm(nnx.Module):
    """A convolution and its normalisation."""

    def __init__(
        self,
        given: Given,
        path: str,
        rngs: nnx.Rngs,
        stride: int = 1,
        padding: Any = None,
        epsilon: float = TORCH_EPSILON,
        momentum: float = 0.9,
    ) -> None:
        width = given(f"{path}/convolution/kernel").shape[0]
        padding = width // 2 if padding is None else padding
        self.convolution = convolution(given, f"{path}/convolution", rngs, stride, padding)
        self.norm = norm(given, f"{path}/norm", rngs, epsilon, momentum)

    def __call__(self, x: Any) -> Any:
        return self.norm(self.convolution(x))


class ResidualBlock(nnx.Module):
    """Path and shortcut, activated; without a projection missing channels are zeros (option A)."""

    def __init__(
        self, path: list[Any], projection: Any, stride: int = 1, missing: int = 0, pools: bool = False
    ) -> None:
        self.path, self.projection = nnx.List(path), projection
        self.stride, self.missing, self.pools = stride, missing, pools

    def __call__(self, x: Any) -> Any:
        beside = nnx.avg_pool(x, (2,), (2,), padding="SAME", count_include_pad=False) if self.pools else x
        if self.projection is not None:
            beside = self.projection(beside)
        elif self.missing:
            beside = x[:, :: self.stride, :: self.stride]
            beside = jnp.pad(beside, [(0, 0)] * 3 + [(0, self.missing)])
        for number, layer in enumerate(self.path):
            x = layer(nnx.relu(x) if number else x)
        return nnx.relu(x + beside)


class ResNet(nnx.Module):
    """ResNet-18, or the form for CIFAR."""

    def __init__(self, workload: Workload, given: Given, rngs: nnx.Rngs) -> None:
        self.stem, blocks = ConvNorm(given, "stem", rngs), []
        channels = given("stem/norm/bias").size
        for number in range(given.count("blocks")):
            here = f"blocks/{number}"
            width = given(f"{here}/path/0/norm/bias").size
            stride = 1 if width == channels else 2
            path = [ConvNorm(given, f"{here}/path/0", rngs, stride), ConvNorm(given, f"{here}/path/1", rngs)]
            projects = f"{here}/projection/norm/bias" in given
            projection = ConvNorm(given, f"{here}/projection", rngs, stride) if projects else None
            blocks.append(ResidualBlock(path, projection, stride, width - channels))
            channels = width
        self.blocks, self.output = nnx.List(blocks), linear(given, "output", rngs)

    def __call__(self, x: Any) -> Any:
        x = nnx.relu(self.stem(x))
        for block in self.blocks:
            x = block(x)
        return self.output(x.mean((1, 2)))


class Recurrent(nnx.Module):
    """One recurrent layer, its last state, an output layer. Flax's GRU has no bias within its candidate."""

    def __init__(self, workload: Workload, given: Given, rngs: nnx.Rngs) -> None:
        lstm = workload.options["cell"] == "lstm"
        (width,) = workload.options["widths"]
        layers = []
        for number in range(2 if workload.options["bidirectional"] else 1):
            cell = (nnx.OptimizedLSTMCell if lstm else nnx.GRUCell)(workload.shape[1], width, rngs=rngs)
            path = f"layers/0/{number}"
            fill(cell.dense_i.kernel, given(f"{path}/input_kernel"))
            fill(cell.dense_h.kernel, given(f"{path}/kernel"))
            fill(cell.dense_h.bias if lstm else cell.dense_i.bias, given(f"{path}/bias"))
            if not lstm:
                given(f"{path}/candidate_bias")
            layers.append(nnx.RNN(cell, reverse=bool(number), rngs=rngs))
        self.layers, self.dropout = nnx.List(layers), dropout(workload, rngs)
        self.output = linear(given, "output", rngs)

    def __call__(self, x: Any) -> Any:
        last = jnp.concatenate([layer(x)[:, -1] for layer in self.layers], axis=-1)
        return self.output(self.dropout(last))


class FCN(nnx.Module):
    """Convolutions over time."""

    def __init__(self, workload: Workload, given: Given, rngs: nnx.Rngs) -> None:
        layers = [
            ConvNorm(given, f"maps/{number}", rngs, 1, "SAME", KERAS_EPSILON, 0.99)
            for number in range(given.count("maps"))
        ]
        self.maps, self.dropout, self.output = nnx.List(layers), dropout(workload, rngs), linear(given, "output", rngs)

    def __call__(self, x: Any) -> Any:
        for layer in self.maps:
            x = nnx.relu(layer(x))
        return self.output(self.dropout(x.mean(1)))


class Inception(nnx.Module):
    """A module of InceptionTime."""

    def __init__(self, given: Given, path: str, rngs: nnx.Rngs) -> None:
        narrows = f"{path}/bottleneck/kernel" in given
        self.bottleneck = convolution(given, f"{path}/bottleneck", rngs) if narrows else None
        count = given.count(f"{path}/branches")
        self.branches = nnx.List([convolution(given, f"{path}/branches/{n}", rngs) for n in range(count)])
        self.pooled = convolution(given, f"{path}/pooled", rngs)
        self.norm = norm(given, f"{path}/norm", rngs, KERAS_EPSILON, 0.99)

    def __call__(self, x: Any) -> Any:
        narrow = x if self.bottleneck is None else self.bottleneck(x)
        found = [*(branch(narrow) for branch in self.branches)]
        found.append(self.pooled(nnx.max_pool(x, (3,), (1,), padding="SAME")))
        return nnx.relu(self.norm(jnp.concatenate(found, axis=-1)))


class InceptionTime(nnx.Module):
    """InceptionTime's network."""

    def __init__(self, workload: Workload, given: Given, rngs: nnx.Rngs) -> None:
        blocks, projections = [], []
        for number in range(given.count("blocks")):
            here = f"blocks/{number}"
            count = given.count(f"{here}/layers")
            blocks.append(nnx.List([Inception(given, f"{here}/layers/{each}", rngs) for each in range(count)]))
            projections.append(ConvNorm(given, f"{here}/projection", rngs, 1, "SAME", KERAS_EPSILON, 0.99))
        self.blocks, self.projections = nnx.List(blocks), nnx.List(projections)
        self.dropout, self.output = dropout(workload, rngs), linear(given, "output", rngs)

    def __call__(self, x: Any) -> Any:
        for block, projection in zip(self.blocks, self.projections, strict=True):
            start = x
            for layer in block:
                x = layer(x)
            x = nnx.relu(x + projection(start))
        return self.output(self.dropout(x.mean(1)))


class NormDense(nnx.Module):
    """Batch normalisation, dropout, dense."""

    def __init__(self, workload: Workload, given: Given, path: str, rngs: nnx.Rngs, share: float) -> None:
        self.norm = norm(given, f"{path}/norm", rngs, TORCH_EPSILON, 0.9)
        self.dropout, self.dense = dropout(workload, rngs, share), linear(given, f"{path}/dense", rngs)

    def __call__(self, x: Any) -> Any:
        return self.dense(self.dropout(self.norm(x)))


class XResNet(nnx.Module):
    """The xresnet1d of the PTB-XL benchmark."""

    def __init__(self, workload: Workload, given: Given, rngs: nnx.Rngs) -> None:
        stem = [ConvNorm(given, f"stem/{n}", rngs, 1 if n else 2) for n in range(given.count("stem"))]
        blocks, first = [], {3, 7, 30}  # Of the stages but the first: blocks (3, 4, 23, 3).
        for number in range(given.count("blocks")):
            here, stride = f"blocks/{number}", 2 if number in first else 1
            path = [ConvNorm(given, f"{here}/path/{n}", rngs, stride if n == 1 else 1) for n in range(3)]
            projects = f"{here}/projection/norm/bias" in given
            projection = ConvNorm(given, f"{here}/projection", rngs) if projects else None
            blocks.append(ResidualBlock(path, projection, pools=stride == 2))
        self.stem, self.blocks = nnx.List(stem), nnx.List(blocks)
        hidden = [NormDense(workload, given, f"hidden/{n}", rngs, 0.5) for n in range(given.count("hidden"))]
        self.hidden, self.output = nnx.List(hidden), NormDense(workload, given, "output", rngs, 1.0)

    def __call__(self, x: Any) -> Any:
        for layer in self.stem:
            x = nnx.relu(layer(x))
        sides: Any = ((1, 1),)
        x = nnx.max_pool(x, (3,), (2,), padding=sides)
        for block in self.blocks:
            x = block(x)
        x = jnp.concatenate([x.max(1), x.mean(1)], axis=-1)
        for layer in self.hidden:
            x = nnx.relu(layer(x))
        return self.output(x)


class EncoderBlock(nnx.Module):
    """Attention, then a perceptron, each after a normalisation."""

    def __init__(self, workload: Workload, given: Given, path: str, rngs: nnx.Rngs) -> None:
        width, heads = workload.options["width"], workload.options["heads"]
        self.attention = nnx.MultiHeadAttention(
            heads, width, dropout_rate=workload.dropout or 0.0, decode=False, rngs=rngs
        )
        kernel = given(f"{path}/attention/projection/kernel").reshape(width, 3, heads, -1)
        bias = given(f"{path}/attention/projection/bias").reshape(3, heads, -1)
        for number, part in enumerate((self.attention.query, self.attention.key, self.attention.value)):
            fill(part.kernel, kernel[:, number])
            fill(part.bias, bias[number])
        fill(self.attention.out.kernel, given(f"{path}/attention/output/kernel").reshape(heads, -1, width))
        fill(self.attention.out.bias, given(f"{path}/attention/output/bias"))
        self.norms = nnx.List([layer_norm(given, f"{path}/norms/{number}", rngs) for number in range(2)])
        self.hidden, self.output = linear(given, f"{path}/hidden", rngs), linear(given, f"{path}/output", rngs)
        self.dropout = dropout(workload, rngs)

    def __call__(self, x: Any) -> Any:
        x = x + self.dropout(self.attention(self.norms[0](x)))
        hidden = self.dropout(nnx.gelu(self.hidden(self.norms[1](x))))
        return x + self.dropout(self.output(hidden))


class Transformer(nnx.Module):
    """Embedding, places, blocks, the mean of the steps or the class token, output layer."""

    def __init__(self, workload: Workload, given: Given, rngs: nnx.Rngs) -> None:
        image = workload.family == "ViT"
        inside = "" if image else "network/"
        self.patch = workload.options["patch"] if image else None
        self.embedding = linear(given, "embedding", rngs)
        if image:
            self.token = nnx.Param(jnp.asarray(given("token")))
            self.places: Any = nnx.Param(jnp.asarray(given("positions/table")))
        else:
            self.places = nnx.Variable(jnp.asarray(given.positions))
        count = given.count(f"{inside}encoder/blocks")
        blocks = [EncoderBlock(workload, given, f"{inside}encoder/blocks/{n}", rngs) for n in range(count)]
        self.blocks, self.last = nnx.List(blocks), layer_norm(given, f"{inside}encoder/last", rngs)
        self.dropout, self.output = dropout(workload, rngs), linear(given, f"{inside}output", rngs)

    def __call__(self, x: Any) -> Any:
        if self.patch is not None:
            # Patches row by row, each with its rows, columns and channels in this order.
            batch, height, width, channels = x.shape
            x = x.reshape(batch, height // self.patch, self.patch, width // self.patch, self.patch, channels)
            x = self.embedding(x.swapaxes(2, 3).reshape(batch, -1, self.patch**2 * channels))
            first = jnp.broadcast_to(self.token[...], (batch, 1, x.shape[2]))
            x = jnp.concatenate([first, x], axis=1) + self.places[...]
        else:
            x = self.embedding(x) + self.places[...]
        x = self.dropout(x)
        for block in self.blocks:
            x = block(x)
        x = self.last(x)
        return self.output(x[:, 0]) if self.patch is not None else self.output(self.dropout(x.mean(1)))


BUILDERS: dict[str, Callable[[Workload, Given, nnx.Rngs], nnx.Module]] = {
    "MLP": Perceptron,
    "CNN": CNN,
    "ResNet": ResNet,
    "RNN": Recurrent,
    "FCN": FCN,
    "InceptionTime": InceptionTime,
    "XResNet1D": XResNet,
    "SeriesTransformer": Transformer,
    "ViT": Transformer,
}


def augment(images: Any, key: Any) -> Any:
    """Images ``[B, H, W, C]`` turned, shifted and flipped, each in its own way, in one bilinear look-up."""
    height, width, channels = images.shape[1:]
    rows, columns = jnp.meshgrid(
        jnp.arange(height) - (height - 1) / 2, jnp.arange(width) - (width - 1) / 2, indexing="ij"
    )

    def one(image: Any, key: Any) -> Any:
        draws = jax.random.uniform(key, (4,))
        angle = (2 * draws[0] - 1) * (ROTATION * jnp.pi / 180)
        flip = jnp.where(draws[3] < 0.5, -1.0, 1.0)
        down, across = (2 * draws[1] - 1) * TRANSLATION * height, (2 * draws[2] - 1) * TRANSLATION * width
        cos, sin = jnp.cos(angle), jnp.sin(angle)
        row = cos * rows + sin * flip * columns + down + (height - 1) / 2
        column = cos * flip * columns - sin * rows + across + (width - 1) / 2
        looked = [
            jax.scipy.ndimage.map_coordinates(image[..., channel], [row, column], order=1, mode="nearest")
            for channel in range(channels)
        ]
        return jnp.stack(looked, axis=-1)

    return jax.vmap(one)(images, jax.random.split(key, len(images)))
