"""The workloads' models as a PyTorch user writes them, with the parameters that all contestants are given."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch  # pyright: ignore[reportMissingImports]
from torch import nn  # pyright: ignore[reportMissingImports]
from torch.nn import functional  # pyright: ignore[reportMissingImports]

from speed_suite.weights import Given
from speed_suite.workloads import ROTATION, TRANSLATION, Workload

KERAS_EPSILON = 1e-3
TORCH_EPSILON = 1e-5
GELU = functools.partial(functional.gelu, approximate="tanh")


def fill(leaf: Any, value: np.ndarray) -> None:
    """Set a parameter."""
    assert tuple(leaf.shape) == value.shape, (tuple(leaf.shape), value.shape)
    leaf.data.copy_(torch.from_numpy(np.ascontiguousarray(value)))


def linear(given: Given, path: str, order: Callable[[np.ndarray], np.ndarray] = lambda kernel: kernel) -> nn.Module:
    """A dense layer; ``order`` rearranges the inputs of the kernel."""
    kernel = order(given(f"{path}/kernel"))
    made = nn.Linear(*kernel.shape)
    fill(made.weight, kernel.T)
    fill(made.bias, given(f"{path}/bias"))
    return made


def convolution(given: Given, path: str, stride: int = 1, padding: Any = 0) -> nn.Module:
    """A convolution of one or two axes, with a bias where there is one."""
    kernel = given(f"{path}/kernel")
    made = nn.Conv1d if kernel.ndim == 3 else nn.Conv2d
    *window, channels, outputs = kernel.shape
    biased = f"{path}/bias" in given
    layer = made(channels, outputs, tuple(window), stride, padding, bias=biased)
    fill(layer.weight, kernel.transpose(2, 1, 0) if kernel.ndim == 3 else kernel.transpose(3, 2, 0, 1))
    if biased:
        fill(layer.bias, given(f"{path}/bias"))
    return layer


def norm(given: Given, path: str, axes: int, epsilon: float, kept: float) -> nn.Module:
    """Batch normalisation; torch's momentum is the share of what is new."""
    scale = given(f"{path}/scale")
    made = {0: nn.BatchNorm1d, 1: nn.BatchNorm1d, 2: nn.BatchNorm2d}[axes](len(scale), epsilon, 1 - kept)
    fill(made.weight, scale)
    fill(made.bias, given(f"{path}/bias"))
    return made


def layer_norm(given: Given, path: str) -> nn.Module:
    """Layer normalisation."""
    scale = given(f"{path}/scale")
    made = nn.LayerNorm(len(scale), eps=1e-6)
    fill(made.weight, scale)
    fill(made.bias, given(f"{path}/bias"))
    return made


def perceptron(workload: Workload, given: Given, options: dict[str, Any]) -> nn.Module:
    """Dense layers."""
    layers: list[nn.Module] = []
    for number in range(given.count("hidden")):
        layers += [linear(given, f"hidden/{number}/dense"), nn.ReLU(), *_dropout(workload)]
    return nn.Sequential(*layers, linear(given, "output"))


def cnn(workload: Workload, given: Given, options: dict[str, Any]) -> nn.Module:
    """Convolutions and poolings, then dense layers."""
    layers: list[nn.Module] = []
    for number in range(given.count("maps")):
        layers += [convolution(given, f"maps/{number}/layer"), nn.ReLU(), nn.MaxPool2d(2)]
    channels = given(f"maps/{given.count('maps') - 1}/layer/bias").size

    def channels_first(kernel: np.ndarray) -> np.ndarray:
        side = round((kernel.shape[0] / channels) ** 0.5)
        return kernel.reshape(side, side, channels, -1).transpose(2, 0, 1, 3).reshape(kernel.shape)

    layers.append(nn.Flatten())
    for number in range(given.count("hidden")):
        layers += [linear(given, f"hidden/{number}/layer", channels_first), nn.ReLU(), *_dropout(workload)]
    return nn.Sequential(*layers, linear(given, "output"))


class Block(nn.Module):
    """Path and shortcut, activated; without a projection missing channels are zeros (option A)."""

    def __init__(self, path: nn.Module, shortcut: nn.Module | None, stride: int, missing: int) -> None:
        super().__init__()
        self.path, self.shortcut, self.stride, self.missing = path, shortcut, stride, missing

    def forward(self, x: Any) -> Any:
        if self.shortcut is not None:
            beside = self.shortcut(x)
        elif self.stride > 1:
            beside = functional.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.missing))
        else:
            beside = x
        return functional.relu(self.path(x) + beside)


class Mean(nn.Module):
    """Over space or time."""

    def forward(self, x: Any) -> Any:
        return x.flatten(2).mean(2)


def resnet(workload: Workload, given: Given, options: dict[str, Any]) -> nn.Module:
    """ResNet-18, or the form for CIFAR."""

    def layer(path: str, stride: int = 1) -> list[nn.Module]:
        width = given(f"{path}/convolution/kernel").shape[0]
        made = convolution(given, f"{path}/convolution", stride, width // 2)
        return [made, norm(given, f"{path}/norm", 2, TORCH_EPSILON, 0.9)]

    layers: list[nn.Module] = [*layer("stem"), nn.ReLU()]
    channels = given("stem/norm/bias").size
    for number in range(given.count("blocks")):
        here = f"blocks/{number}"
        width = given(f"{here}/path/0/norm/bias").size
        stride = 1 if width == channels else 2
        path = nn.Sequential(*layer(f"{here}/path/0", stride), nn.ReLU(), *layer(f"{here}/path/1"))
        projects = f"{here}/projection/norm/bias" in given
        shortcut = nn.Sequential(*layer(f"{here}/projection", stride)) if projects else None
        layers.append(Block(path, shortcut, stride, width - channels))
        channels = width
    return nn.Sequential(*layers, Mean(), linear(given, "output"))


class Recurrent(nn.Module):
    """One recurrent layer, its last state, an output layer.

    torch has two biases where one does: the second is kept at 0, but for that of the GRU's candidate.
    """

    def __init__(self, workload: Workload, given: Given) -> None:
        super().__init__()
        cell, both = workload.options["cell"], workload.options["bidirectional"]
        (width,) = workload.options["widths"]
        made = {"lstm": nn.LSTM, "gru": nn.GRU}[cell]
        self.layer = made(workload.shape[1], width, batch_first=True, bidirectional=both)
        self.lstm = cell == "lstm"
        for number, suffix in enumerate(("", "_reverse") if both else ("",)):
            path = f"layers/0/{number}"
            fill(getattr(self.layer, f"weight_ih_l0{suffix}"), given(f"{path}/input_kernel").T)
            fill(getattr(self.layer, f"weight_hh_l0{suffix}"), given(f"{path}/kernel").T)
            fill(getattr(self.layer, f"bias_ih_l0{suffix}"), given(f"{path}/bias"))
            second = getattr(self.layer, f"bias_hh_l0{suffix}")
            second.data.zero_()
            if self.lstm:
                second.requires_grad_(False)
            else:
                second.data[2 * width :] = torch.from_numpy(given(f"{path}/candidate_bias"))
                kept = torch.cat([torch.zeros(2 * width), torch.ones(width)])
                second.register_hook(functools.partial(torch.mul, kept))
        self.dropout = nn.Dropout(workload.dropout) if workload.dropout else nn.Identity()
        self.output = linear(given, "output")

    def forward(self, x: Any) -> Any:
        _, last = self.layer(x)
        last = last[0] if self.lstm else last
        return self.output(self.dropout(last.transpose(0, 1).flatten(1)))


class Steps(nn.Module):
    """Layers that want ``[B, C, T]``, given ``[B, T, C]``."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Any) -> Any:
        return self.layers(x.transpose(1, 2))


def fcn(workload: Workload, given: Given, options: dict[str, Any]) -> nn.Module:
    """Convolutions over time."""
    layers: list[nn.Module] = []
    for number in range(given.count("maps")):
        layers += [convolution(given, f"maps/{number}/convolution", padding="same")]
        layers += [norm(given, f"maps/{number}/norm", 1, KERAS_EPSILON, 0.99), nn.ReLU()]
    return Steps(*layers, Mean(), *_dropout(workload), linear(given, "output"))


class Inception(nn.Module):
    """A module of InceptionTime."""

    def __init__(self, given: Given, path: str) -> None:
        super().__init__()
        narrows = f"{path}/bottleneck/kernel" in given
        self.bottleneck = convolution(given, f"{path}/bottleneck") if narrows else nn.Identity()
        branches = [
            convolution(given, f"{path}/branches/{number}", padding="same")
            for number in range(given.count(f"{path}/branches"))
        ]
        self.branches = nn.ModuleList(branches)
        self.pooled = nn.Sequential(nn.MaxPool1d(3, 1, 1), convolution(given, f"{path}/pooled"))
        self.norm = norm(given, f"{path}/norm", 1, KERAS_EPSILON, 0.99)

    def forward(self, x: Any) -> Any:
        narrow = self.bottleneck(x)
        found = [*(branch(narrow) for branch in self.branches), self.pooled(x)]
        return functional.relu(self.norm(torch.cat(found, 1)))


def inception(workload: Workload, given: Given, options: dict[str, Any]) -> nn.Module:
    """InceptionTime's network."""
    layers: list[nn.Module] = []
    for number in range(given.count("blocks")):
        here = f"blocks/{number}"
        count = given.count(f"{here}/layers")
        path = nn.Sequential(*(Inception(given, f"{here}/layers/{each}") for each in range(count)))
        if f"{here}/projection/norm/bias" in given:
            projection = convolution(given, f"{here}/projection/convolution")
            shortcut = nn.Sequential(projection, norm(given, f"{here}/projection/norm", 1, KERAS_EPSILON, 0.99))
            layers.append(Block(path, shortcut, 1, 0))
        else:
            layers.append(path)
    return Steps(*layers, Mean(), *_dropout(workload), linear(given, "output"))


class MaxAndMean(nn.Module):
    """Over time."""

    def forward(self, x: Any) -> Any:
        return torch.cat([x.amax(2), x.mean(2)], 1)


def xresnet(workload: Workload, given: Given, options: dict[str, Any]) -> nn.Module:
    """The xresnet1d of the PTB-XL benchmark."""

    def layer(path: str, stride: int = 1) -> list[nn.Module]:
        width = given(f"{path}/convolution/kernel").shape[0]
        made = convolution(given, f"{path}/convolution", stride, width // 2)
        return [made, norm(given, f"{path}/norm", 1, TORCH_EPSILON, 0.9)]

    layers: list[nn.Module] = []
    for number in range(given.count("stem")):
        layers += [*layer(f"stem/{number}", 1 if number else 2), nn.ReLU()]
    layers.append(nn.MaxPool1d(3, 2, 1))
    first = {3, 7, 30}  # Of the stages but the first: blocks (3, 4, 23, 3).
    for number in range(given.count("blocks")):
        here, stride = f"blocks/{number}", 2 if number in first else 1
        path = [*layer(f"{here}/path/0"), nn.ReLU(), *layer(f"{here}/path/1", stride), nn.ReLU()]
        path += layer(f"{here}/path/2")
        shortcut: list[nn.Module] = [nn.AvgPool1d(2, ceil_mode=True)] if stride == 2 else []
        shortcut += layer(f"{here}/projection") if f"{here}/projection/norm/bias" in given else []
        layers.append(Block(nn.Sequential(*path), nn.Sequential(*shortcut), 1, 0))
    layers.append(MaxAndMean())
    for number in range(given.count("hidden")):
        here = f"hidden/{number}"
        layers += [norm(given, f"{here}/norm", 0, TORCH_EPSILON, 0.9), *_dropout(workload, 0.5)]
        layers += [linear(given, f"{here}/dense"), nn.ReLU()]
    layers += [norm(given, "output/norm", 0, TORCH_EPSILON, 0.9), *_dropout(workload)]
    return Steps(*layers, linear(given, "output/dense"))


class EncoderBlock(nn.Module):
    """Attention by ``scaled_dot_product_attention``, then a perceptron, each after a normalisation."""

    def __init__(self, workload: Workload, given: Given, path: str) -> None:
        super().__init__()
        self.heads, self.rate = workload.options["heads"], workload.dropout or 0.0
        self.projection = linear(given, f"{path}/attention/projection")
        self.mix = linear(given, f"{path}/attention/output")
        self.norms = nn.ModuleList([layer_norm(given, f"{path}/norms/{number}") for number in range(2)])
        self.hidden, self.output = linear(given, f"{path}/hidden"), linear(given, f"{path}/output")
        self.dropout = nn.Dropout(self.rate) if self.rate else nn.Identity()

    def forward(self, x: Any) -> Any:
        batch, steps, width = x.shape
        parts = self.projection(self.norms[0](x)).view(batch, steps, 3, self.heads, width // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4).unbind(0)
        rate = self.rate if self.training else 0.0
        mixed = functional.scaled_dot_product_attention(query, key, value, dropout_p=rate)
        x = x + self.dropout(self.mix(mixed.transpose(1, 2).reshape(batch, steps, width)))
        hidden = self.dropout(GELU(self.hidden(self.norms[1](x))))
        return x + self.dropout(self.output(hidden))


def torch_block(workload: Workload, given: Given, path: str) -> nn.Module:
    """The same by torch's own layer."""
    width, heads = workload.options["width"], workload.options["heads"]
    made = nn.TransformerEncoderLayer(
        *(width, heads, round(workload.options["mlp_ratio"] * width), workload.dropout or 0.0),
        activation=GELU,
        layer_norm_eps=1e-6,
        batch_first=True,
        norm_first=True,
    )
    fill(made.self_attn.in_proj_weight, given(f"{path}/attention/projection/kernel").T)
    fill(made.self_attn.in_proj_bias, given(f"{path}/attention/projection/bias"))
    made.self_attn.out_proj = _filled_like(made.self_attn.out_proj, given, f"{path}/attention/output")
    made.linear1, made.linear2 = linear(given, f"{path}/hidden"), linear(given, f"{path}/output")
    made.norm1, made.norm2 = layer_norm(given, f"{path}/norms/0"), layer_norm(given, f"{path}/norms/1")
    return made


class Transformer(nn.Module):
    """Embedding, places, blocks, the mean of the steps or the class token, output layer."""

    def __init__(self, workload: Workload, given: Given, options: dict[str, Any]) -> None:
        super().__init__()
        image = workload.family == "ViT"
        inside = "" if image else "network/"
        self.patch = workload.options["patch"] if image else None
        self.embedding = linear(given, "embedding")
        if image:
            self.token = nn.Parameter(torch.from_numpy(given("token").copy()))
            self.positions = nn.Parameter(torch.from_numpy(given("positions/table").copy()))
        else:
            self.register_buffer("positions", torch.from_numpy(given.positions.copy()))
        made = torch_block if options["attention"] == "layer" else EncoderBlock
        count = given.count(f"{inside}encoder/blocks")
        blocks = [made(workload, given, f"{inside}encoder/blocks/{number}") for number in range(count)]
        self.blocks, self.last = nn.Sequential(*blocks), layer_norm(given, f"{inside}encoder/last")
        self.dropout = nn.Dropout(workload.dropout) if workload.dropout else nn.Identity()
        self.output = linear(given, f"{inside}output")

    def forward(self, x: Any) -> Any:
        if self.patch is not None:
            # Patches row by row, each with its rows, columns and channels in this order.
            batch, channels, height, width = x.shape
            x = x.view(batch, channels, height // self.patch, self.patch, width // self.patch, self.patch)
            x = self.embedding(x.permute(0, 2, 4, 3, 5, 1).reshape(batch, -1, self.patch**2 * channels))
            x = torch.cat([self.token.expand(batch, 1, -1), x], 1)
            x = self.last(self.blocks(self.dropout(x + self.positions)))[:, 0]
            return self.output(x)
        x = self.last(self.blocks(self.dropout(self.embedding(x) + self.positions)))
        return self.output(self.dropout(x.mean(1)))


def _filled_like(layer: Any, given: Given, path: str) -> Any:
    fill(layer.weight, given(f"{path}/kernel").T)
    fill(layer.bias, given(f"{path}/bias"))
    return layer


def _dropout(workload: Workload, share: float = 1.0) -> list[nn.Module]:
    return [nn.Dropout(share * workload.dropout)] if workload.dropout else []


BUILDERS: dict[str, Callable[[Workload, Given, dict[str, Any]], nn.Module]] = {
    "MLP": perceptron,
    "CNN": cnn,
    "ResNet": resnet,
    "RNN": lambda workload, given, options: Recurrent(workload, given),
    "FCN": fcn,
    "InceptionTime": inception,
    "XResNet1D": xresnet,
    "SeriesTransformer": Transformer,
    "ViT": Transformer,
}


def augment(images: Any) -> Any:
    """Images ``[B, C, H, W]`` turned, shifted and flipped, each in its own way, in one bilinear look-up."""
    count = len(images)
    angle = (2 * torch.rand(count) - 1) * (ROTATION * torch.pi / 180)
    shift = (2 * torch.rand(2, count) - 1) * (2 * TRANSLATION)
    flip = torch.where(torch.rand(count) < 0.5, -1.0, 1.0)
    cos, sin = torch.cos(angle), torch.sin(angle)
    matrix = torch.stack([torch.stack([cos * flip, -sin, shift[0]], 1), torch.stack([sin * flip, cos, shift[1]], 1)], 1)
    grid = functional.affine_grid(matrix, list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, padding_mode="border", align_corners=False)
