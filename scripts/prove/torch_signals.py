"""What torch's networks and layers of series put out: prints the values `OF_TORCH` that tests hold ours against.

    PYTHONPATH=tests TORCH/bin/python scripts/prove/torch_signals.py

See `torch_models.py` for the environment. Paste the lists into the tests named above them, then run `ruff format`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch  # pyright: ignore[reportMissingImports]
import torch_order
from torch import nn  # pyright: ignore[reportMissingImports]
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence  # pyright: ignore[reportMissingImports]
from torch_models import OUTPUTS, images, show, show_outputs

CHANNELS = 2
KERAS = 1e-3
TORCH = 1e-5


def norm(channels: int, epsilon: float) -> nn.Module:
    """Batch normalisation; torch's momentum is the share of what is new."""
    return nn.BatchNorm1d(channels, eps=epsilon, momentum=0.3)


def convolution_norm(channels: int, width: int, kernel: int, bias: bool, epsilon: float, stride: int = 1) -> list[Any]:
    """Both, without activation. Even kernels look one step further ahead than back, as in Keras."""
    padding = "same" if stride == 1 else kernel // 2
    return [nn.Conv1d(channels, width, kernel, stride, padding, bias=bias), norm(width, epsilon)]


class Mean(nn.Module):
    """Over time."""

    def forward(self, x: Any) -> Any:
        return x.mean(2)


class MaxAndMean(nn.Module):
    """Over time."""

    def forward(self, x: Any) -> Any:
        return torch.cat([x.amax(2), x.mean(2)], 1)


class Sum(nn.Module):
    """Path and shortcut, activated."""

    def __init__(self, path: nn.Module, shortcut: nn.Module) -> None:
        super().__init__()
        self.path, self.shortcut = path, shortcut

    def forward(self, x: Any) -> Any:
        return torch.relu(self.path(x) + self.shortcut(x))


def fully_convolutional(widths: Iterable[int] = (3, 5, 4)) -> nn.Module:
    """Wang et al., IJCNN 2017."""
    layers, channels = [], CHANNELS
    for width, kernel in zip(widths, (8, 5, 3), strict=True):
        layers += [*convolution_norm(channels, width, kernel, True, KERAS), nn.ReLU()]
        channels = width
    return nn.Sequential(*layers, Mean(), nn.Linear(channels, OUTPUTS))


def residual(widths: Iterable[int] = (3, 4, 4)) -> nn.Module:
    """Wang et al., IJCNN 2017, as Ismail Fawaz et al., 2019, have it."""
    blocks, channels = [], CHANNELS
    for width in widths:
        path = [*convolution_norm(channels, width, 8, True, KERAS), nn.ReLU()]
        path += [*convolution_norm(width, width, 5, True, KERAS), nn.ReLU()]
        path += convolution_norm(width, width, 3, True, KERAS)
        changes = channels != width
        shortcut = convolution_norm(channels, width, 1, True, KERAS) if changes else [norm(width, KERAS)]
        blocks.append(Sum(nn.Sequential(*path), nn.Sequential(*shortcut)))
        channels = width
    return nn.Sequential(*blocks, Mean(), nn.Linear(channels, OUTPUTS))


class Inception(nn.Module):
    """Ismail Fawaz et al., 2020."""

    def __init__(self, channels: int, filters: int, narrow: int, kernels: Iterable[int]) -> None:
        super().__init__()
        self.bottleneck = nn.Conv1d(channels, narrow, 1, bias=False)
        self.branches = nn.ModuleList([nn.Conv1d(narrow, filters, k, padding="same", bias=False) for k in kernels])
        self.pooled = nn.Sequential(nn.MaxPool1d(3, 1, 1), nn.Conv1d(channels, filters, 1, bias=False))
        self.norm = norm(filters * (len(self.branches) + 1), KERAS)

    def forward(self, x: Any) -> Any:
        narrow = self.bottleneck(x)
        return torch.relu(self.norm(torch.cat([*(branch(narrow) for branch in self.branches), self.pooled(x)], 1)))


def inception(depth: int, filters: int = 2, narrow: int = 3, kernels: tuple[int, ...] = (12, 6, 3)) -> nn.Module:
    """A shortcut past every three modules; the last ones have none where they are fewer."""
    parts: list[nn.Module] = []
    channels, wide = CHANNELS, filters * (len(kernels) + 1)
    for first in range(0, depth, 3):
        count = min(3, depth - first)
        modules = [Inception(wide if n else channels, filters, narrow, kernels) for n in range(count)]
        path = nn.Sequential(*modules)
        parts.append(
            Sum(path, nn.Sequential(*convolution_norm(channels, wide, 1, False, KERAS))) if count == 3 else path
        )
        channels = wide
    return nn.Sequential(*parts, Mean(), nn.Linear(channels, OUTPUTS))


def extended(expansion: int, width: int = 2, blocks: Iterable[int] = (1, 2)) -> nn.Module:
    """The xresnet1d of the PTB-XL benchmark, with a stem of 2 and 3 channels and a hidden layer of 5 units."""
    layers: list[Any] = [*convolution_norm(CHANNELS, 2, 5, False, TORCH, 2), nn.ReLU()]
    layers += [*convolution_norm(2, 3, 5, False, TORCH), nn.ReLU(), nn.MaxPool1d(3, 2, 1)]
    channels = 3
    for stage, count in enumerate(blocks):
        for number in range(count):
            stride, wide = 2 if stage and number == 0 else 1, width * expansion
            path = [*convolution_norm(channels, width, 1, False, TORCH), nn.ReLU()] if expansion > 1 else []
            path += convolution_norm(width if path else channels, width, 5, False, TORCH, stride)
            path += [nn.ReLU(), *convolution_norm(width, wide, 1 if expansion > 1 else 5, False, TORCH)]
            shortcut: list[Any] = [nn.AvgPool1d(2, ceil_mode=True)] if stride == 2 else []
            shortcut += convolution_norm(channels, wide, 1, False, TORCH) if channels != wide else []
            layers.append(Sum(nn.Sequential(*path), nn.Sequential(*shortcut)))
            channels = wide
    layers += [MaxAndMean(), norm(2 * channels, TORCH), nn.Linear(2 * channels, 5), nn.ReLU(), norm(5, TORCH)]
    return nn.Sequential(*layers, nn.Linear(5, OUTPUTS))


def show_recurrent_layer(cell: str) -> None:
    """Print digests of the hidden states and of the state at the end of three series of 5, 3 and 1 steps, each way."""
    made = {"simple": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}[cell](4, 5, batch_first=True, bidirectional=True)
    kinds = [("bias" if "bias" in name else "kernel", tuple(leaf.shape)) for name, leaf in made.named_parameters()]
    for leaf, value in zip(made.state_dict().values(), torch_order.values(kinds), strict=True):
        leaf.copy_(torch.tensor(value))
    packed = pack_padded_sequence(images(3, 5, 4), torch.tensor([5, 3, 1]), batch_first=True)
    hidden, last = made.double()(packed)
    hidden, _ = pad_packed_sequence(hidden, batch_first=True)
    # Of an LSTM the hidden state and the cell's, [direction, B, H] each.
    last = torch.cat(last, dim=-1) if cell == "lstm" else last
    for number, direction in enumerate(("forwards", "backwards")):
        states = hidden[..., 5 * number :][..., :5].detach()
        show(f"{cell} {direction}", (torch_order.digest(x.numpy()) for x in (*states, *last[number].detach())))


def main() -> None:
    """Print the values, test by test."""
    print(f"torch {torch.__version__}, outputs in training\n")
    x = images(3, CHANNELS, 19)
    show_outputs("tests/models/test_fcn.py", fully_convolutional(), x, train=True)
    show_outputs("tests/models/test_resnet1d.py", residual(), x, train=True)
    show_outputs("tests/models/test_inception_time.py", inception(4), x, train=True)
    print("\n# tests/models/test_xresnet1d.py")
    x = images(3, CHANNELS, 37)
    for depth, expansion, train in ((18, 1, False), (50, 4, True)):
        name = f"{depth}, {'training' if train else 'evaluation'}"
        show_outputs(name, extended(expansion), x, train)
    print("\n# tests/models/layers/test_recurrent.py")
    for cell in ("simple", "lstm", "gru"):
        show_recurrent_layer(cell)


if __name__ == "__main__":
    main()
