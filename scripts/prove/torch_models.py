"""What torch's networks and layers put out: prints the values `OF_TORCH` that tests of models hold ours against.

    python3 -m venv TORCH && TORCH/bin/pip install torch==2.13.0 numpy
    PYTHONPATH=tests TORCH/bin/python scripts/prove/torch_models.py

The networks are plain `torch.nn`, tiny, and computed in float64; images, parameters and running statistics come from
the formula in `tests/torch_order.py`. Paste the lists into the tests named above them, then run `ruff format`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Literal

import torch  # pyright: ignore[reportMissingImports]
import torch_order
from torch import nn  # pyright: ignore[reportMissingImports]
from torch.nn import functional  # pyright: ignore[reportMissingImports]

OUTPUTS = 3
CHANNELS = 2
Form = Literal["cifar", "basic", "bottleneck"]
StemName = Literal["3x3", "imagenet"]


def norm(channels: int) -> nn.Module:
    """Batch normalisation; torch's momentum is the share of what is new, ours of what is kept (0.7)."""
    return nn.BatchNorm2d(channels, momentum=0.3)


def convolution_norm(channels: int, width: int, kernel: int, stride: int = 1) -> list[nn.Module]:
    """Both, without activation."""
    return [nn.Conv2d(channels, width, kernel, stride, kernel // 2, bias=False), norm(width)]


def norm_convolution(channels: int, width: int, kernel: int) -> list[nn.Module]:
    """The order of DenseNet."""
    return [norm(channels), nn.ReLU(), nn.Conv2d(channels, width, kernel, 1, kernel // 2, bias=False)]


def stem(kind: StemName, width: int) -> list[nn.Module]:
    """The first layers."""
    if kind == "3x3":
        return [*convolution_norm(CHANNELS, width, 3), nn.ReLU()]
    return [*convolution_norm(CHANNELS, width, 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]


def ending(channels: int) -> list[nn.Module]:
    """From the last maps to the outputs."""
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, OUTPUTS)]


class OptionA(nn.Module):
    """Shortcut without parameters: every ``stride``-th pixel, and zeros for missing channels."""

    def __init__(self, missing: int, stride: int) -> None:
        super().__init__()
        self.missing, self.stride = missing, stride

    def forward(self, x: Any) -> Any:
        return functional.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.missing))


class ResidualBlock(nn.Module):
    """He et al., CVPR 2016; the bottleneck has its stride in the 3x3 convolution (version 1.5)."""

    def __init__(self, form: Form, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.outputs = 4 * width if form == "bottleneck" else width
        if form == "bottleneck":
            path = [*convolution_norm(channels, width, 1), nn.ReLU(), *convolution_norm(width, width, 3, stride)]
            path += [nn.ReLU(), *convolution_norm(width, self.outputs, 1)]
        else:
            path = [*convolution_norm(channels, width, 3, stride), nn.ReLU(), *convolution_norm(width, width, 3)]
        self.path = nn.Sequential(*path)
        if stride == 1 and channels == self.outputs:
            self.shortcut = nn.Identity()
        elif form == "cifar":
            self.shortcut = OptionA(self.outputs - channels, stride)
        else:
            self.shortcut = nn.Sequential(*convolution_norm(channels, self.outputs, 1, stride))

    def forward(self, x: Any) -> Any:
        return functional.relu(self.path(x) + self.shortcut(x))


def residual_network(form: Form, first: StemName, width: int, blocks: Iterable[int] = (1, 1)) -> nn.Module:
    """ResNet with ``blocks`` in each stage."""
    layers, channels = stem(first, width), width
    for stage, count in enumerate(blocks):
        for number in range(count):
            block = ResidualBlock(form, channels, width * 2**stage, 2 if stage and number == 0 else 1)
            layers.append(block)
            channels = block.outputs
    return nn.Sequential(*layers, *ending(channels))


class DenseLayer(nn.Module):
    """Huang et al., CVPR 2017: its own maps beside those it was given."""

    def __init__(self, channels: int, growth: int) -> None:
        super().__init__()
        narrow = norm_convolution(channels, 4 * growth, 1)
        self.own = nn.Sequential(*narrow, *norm_convolution(4 * growth, growth, 3))

    def forward(self, x: Any) -> Any:
        return torch.cat([x, self.own(x)], 1)


def densely_connected_network(first: StemName, growth: int = 2, blocks: Iterable[int] = (2, 1)) -> nn.Module:
    """DenseNet-BC with ``blocks`` of so many layers."""
    layers, channels = stem(first, 2 * growth), 2 * growth
    for number, count in enumerate(blocks):
        if number:
            layers += [*norm_convolution(channels, channels // 2, 1), nn.AvgPool2d(2)]
            channels //= 2
        for _ in range(count):
            layers.append(DenseLayer(channels, growth))
            channels += growth
    return nn.Sequential(*layers, norm(channels), nn.ReLU(), *ending(channels))


class ChannelsLast(nn.Module):
    """Images as ours are, whose pixels are flattened in this order."""

    def forward(self, x: Any) -> Any:
        return x.permute(0, 2, 3, 1)


def small_network(batch: bool) -> nn.Module:
    """The CNN with ELU and max-pooling, or with zeros around the maps, batch normalisation, ReLU and mean-pooling."""
    layers: list[nn.Module] = []
    for channels, width in ((CHANNELS, 3), (3, 4)):
        layers.append(nn.Conv2d(channels, width, 3, padding="same" if batch else 0))
        layers += [norm(width), nn.ReLU(), nn.AvgPool2d(2)] if batch else [nn.ELU(), nn.MaxPool2d(2)]
    # Of images of 11x10 pixels 2x2 are left, or 1x1 where no zeros were put around them.
    layers += [ChannelsLast(), nn.Flatten(), nn.Linear(4 * (4 if batch else 1), 5)]
    layers += [nn.BatchNorm1d(5), nn.ReLU()] if batch else [nn.ELU()]
    return nn.Sequential(*layers, nn.Linear(5, OUTPUTS))


def kind(name: str, leaf: Any) -> str:
    """What we call a leaf of this name."""
    ours = {"bias": "bias", "running_mean": "mean", "running_var": "variance"}
    return ours.get(name.split(".")[-1], "kernel" if leaf.ndim > 1 else "scale")


def filled(network: nn.Module) -> nn.Module:
    """The network, in float64, with the values of the formula."""
    state = {name: leaf for name, leaf in network.state_dict().items() if not name.endswith("num_batches_tracked")}
    values = torch_order.values((kind(name, leaf), tuple(leaf.shape)) for name, leaf in state.items())
    for leaf, value in zip(state.values(), values, strict=True):
        leaf.copy_(torch.tensor(value))
    return network.double()


def images(*shape: int) -> Any:
    """Images ``[B, C, H, W]``."""
    return torch.tensor(torch_order.images(shape)).double()


def show(name: str, numbers: Any) -> None:
    """Print one line of a dict."""
    print(f'    "{name}": [{", ".join(f"{float(number):.6g}" for number in numbers)}],')


def show_outputs(name: str, network: nn.Module, x: Any, train: bool = False) -> None:
    """Print the outputs of a network."""
    show(name, filled(network).train(train)(x).detach().flatten())


def show_training(network: nn.Module, x: Any) -> None:
    """Print outputs of two images, a digest of each parameter's gradient, and of each running mean after the pass."""
    filled(network).train()
    outputs = network(x)
    ((outputs - 1) ** 2).sum(1).mean().backward()
    show("outputs", outputs[:2].detach().flatten())
    for which in ("kernel", "scale", "bias"):
        leaves = [leaf for name, leaf in network.named_parameters() if kind(name, leaf) == which]
        show(which, (torch_order.digest(leaf.grad.numpy()) for leaf in leaves))
    means = [leaf for name, leaf in network.named_buffers() if kind(name, leaf) == "mean"]
    show("mean", (torch_order.digest(leaf.numpy()) for leaf in means))


def show_digests(name: str, y: Any) -> None:
    """Print a digest of what a layer made of each image."""
    show(name, (torch_order.digest(image.numpy()) for image in y))


def pooling_gradient(pool: Callable[[Any], Any]) -> Any:
    """Gradient to the images of a digest of all that is pooled."""
    x = images(2, 3, 7, 8).requires_grad_()
    y = pool(x)
    weight = torch.tensor(torch_order.formula(0, (y.numel(),)))
    return torch.autograd.grad((y.reshape(-1) * weight).sum(), x)[0]


def show_encoder_layer(norm: str, activation: str, causal: bool) -> None:
    """Print a digest of each of three sequences of 5, 3 and 1 steps after an encoder layer."""
    function = {"relu": "relu", "gelu": lambda x: functional.gelu(x, approximate="tanh")}[activation]
    layer = nn.TransformerEncoderLayer(
        8, 2, 12, 0.0, function, layer_norm_eps=1e-6, batch_first=True, norm_first=norm == "pre"
    )
    shapes = [(name, leaf.shape) for name, leaf in layer.named_parameters()]
    kinds = ["bias" if "bias" in name else "scale" if "norm" in name else "kernel" for name, _ in shapes]
    values = torch_order.values((kind, tuple(shape)) for kind, (_, shape) in zip(kinds, shapes, strict=True))
    for leaf, value in zip(layer.state_dict().values(), values, strict=True):
        leaf.copy_(torch.tensor(value))
    valid = torch.arange(5)[None] < torch.tensor([5, 3, 1])[:, None]
    future = torch.ones(5, 5, dtype=torch.bool).triu(1) if causal else None
    y = layer.double()(images(3, 5, 8), src_mask=future, src_key_padding_mask=~valid)
    show_digests(f"{norm} {activation}{' causal' if causal else ''}", (y * valid[..., None]).detach())


def main() -> None:
    """Print the values, test by test."""
    print(f"torch {torch.__version__}\n\n# tests/models/test_resnet.py")
    for form in ("cifar", "basic", "bottleneck"):
        for first in ("3x3",) if form == "cifar" else ("3x3", "imagenet"):
            width = 2 if form == "bottleneck" else 3
            show_outputs(f"{form}, {first}", residual_network(form, first, width), images(2, CHANNELS, 17, 18))
    print("\n# the same file, in training")
    show_training(residual_network("basic", "imagenet", 4), images(4, CHANNELS, 17, 18))

    print("\n# tests/models/test_densenet.py")
    x = images(2, CHANNELS, 19, 18)
    show_outputs("imagenet", densely_connected_network("imagenet"), x)
    show_outputs("3x3, training", densely_connected_network("3x3"), x, train=True)

    print("\n# tests/models/test_cnn.py")
    x = images(3, CHANNELS, 11, 10)
    show_outputs("elu", small_network(batch=False), x)
    show_outputs("batch", small_network(batch=True), x)
    show_outputs("batch, training", small_network(batch=True), x, train=True)

    print("\n# tests/models/layers/test_normalization.py")
    scale, bias = (torch.tensor(value).double() for value in torch_order.values([("scale", (4,)), ("bias", (4,))]))
    x = images(3, 4, 5)
    show_digests("layer", functional.layer_norm(x.mT, (4,), scale, bias).mT)
    for groups in (1, 2):
        show_digests(f"group {groups}", functional.group_norm(x, groups, scale, bias))

    print("\n# tests/models/layers/test_pooling.py")
    for case in ((2, 2, 0), (3, 2, 1)):
        show_digests(f"max {case}", pooling_gradient(lambda x, c=case: functional.max_pool2d(x, *c)))
        average = pooling_gradient(lambda x, c=case: functional.avg_pool2d(x, *c, count_include_pad=False))
        show_digests(f"mean {case}", average)

    print("\n# tests/models/layers/test_encoder.py")
    for norm in ("pre", "post"):
        show_encoder_layer(norm, "relu", causal=False)
        show_encoder_layer(norm, "gelu", causal=True)


if __name__ == "__main__":
    main()
