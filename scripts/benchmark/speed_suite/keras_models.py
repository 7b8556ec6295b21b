"""The workloads' models as a Keras user writes them, with the parameters that all contestants are given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras  # pyright: ignore[reportMissingImports]
import numpy as np
from keras import layers, ops  # pyright: ignore[reportMissingImports]

from speed_suite.weights import Given
from speed_suite.workloads import ROTATION, TRANSLATION, Workload

KERAS_EPSILON = 1e-3
TORCH_EPSILON = 1e-5


def dense(given: Given, path: str, x: Any) -> Any:
    """A dense layer, applied."""
    kernel, bias = given(f"{path}/kernel"), given(f"{path}/bias")
    layer = layers.Dense(len(bias))
    y = layer(x)
    layer.set_weights([kernel, bias])
    return y


def convolution(given: Given, path: str, x: Any, stride: int = 1, padding: str = "same") -> Any:
    """A convolution of one or two axes, applied; with a stride zeros lie evenly on both sides, as in PyTorch."""
    kernel = given(f"{path}/kernel")
    *window, _, outputs = kernel.shape
    one = len(window) == 1
    if stride > 1 and window[0] > 1:
        x = (layers.ZeroPadding1D if one else layers.ZeroPadding2D)(window[0] // 2)(x)
        padding = "valid"
    biased = f"{path}/bias" in given
    layer = (layers.Conv1D if one else layers.Conv2D)(
        outputs, tuple(window), strides=stride, padding=padding, use_bias=biased
    )
    y = layer(x)
    layer.set_weights([kernel, *([given(f"{path}/bias")] if biased else [])])
    return y


def norm(given: Given, path: str, x: Any, epsilon: float, momentum: float) -> Any:
    """Batch normalisation, applied."""
    scale = given(f"{path}/scale")
    layer = layers.BatchNormalization(momentum=momentum, epsilon=epsilon)
    y = layer(x)
    layer.set_weights([scale, given(f"{path}/bias"), np.zeros_like(scale), np.ones_like(scale)])
    return y


def layer_norm(given: Given, path: str, x: Any) -> Any:
    """Layer normalisation, applied."""
    layer = layers.LayerNormalization(epsilon=1e-6)
    y = layer(x)
    layer.set_weights([given(f"{path}/scale"), given(f"{path}/bias")])
    return y


def relu(x: Any) -> Any:
    """The activation."""
    return layers.ReLU()(x)


def dropout(workload: Workload, x: Any) -> Any:
    """Dropout, or nothing."""
    return layers.Dropout(workload.dropout)(x) if workload.dropout else x


def inputs_of(workload: Workload) -> tuple[Any, Any]:
    """The input, and what the first layer sees of it."""
    start = keras.Input(workload.shape)
    if not workload.augmented:
        return start, start
    x = layers.RandomFlip("horizontal")(start)
    x = layers.RandomRotation(ROTATION / 360, fill_mode="nearest")(x)
    return start, layers.RandomTranslation(TRANSLATION, TRANSLATION, fill_mode="nearest")(x)


def perceptron(workload: Workload, given: Given) -> Any:
    """Dense layers."""
    start, x = inputs_of(workload)
    for number in range(given.count("hidden")):
        x = dropout(workload, relu(dense(given, f"hidden/{number}/dense", x)))
    return keras.Model(start, dense(given, "output", x))


def cnn(workload: Workload, given: Given) -> Any:
    """Convolutions and poolings, then dense layers."""
    start, x = inputs_of(workload)
    for number in range(given.count("maps")):
        x = layers.MaxPooling2D()(relu(convolution(given, f"maps/{number}/layer", x, padding="valid")))
    x = layers.Flatten()(x)
    for number in range(given.count("hidden")):
        x = dropout(workload, relu(dense(given, f"hidden/{number}/layer", x)))
    return keras.Model(start, dense(given, "output", x))


def resnet(workload: Workload, given: Given) -> Any:
    """ResNet-18, or the form for CIFAR."""

    def layer(path: str, x: Any, stride: int = 1) -> Any:
        return norm(given, f"{path}/norm", convolution(given, f"{path}/convolution", x, stride), TORCH_EPSILON, 0.9)

    start, x = inputs_of(workload)
    x = relu(layer("stem", x))
    channels = given("stem/norm/bias").size
    for number in range(given.count("blocks")):
        here, beside = f"blocks/{number}", x
        width = given(f"{here}/path/0/norm/bias").size
        stride = 1 if width == channels else 2
        if f"{here}/projection/norm/bias" in given:
            beside = layer(f"{here}/projection", x, stride)
        elif stride > 1:
            beside = ops.pad(x[:, ::stride, ::stride], [(0, 0)] * 3 + [(0, width - channels)])
        x = layer(f"{here}/path/1", relu(layer(f"{here}/path/0", x, stride)))
        x, channels = relu(layers.Add()([x, beside])), width
    return keras.Model(start, dense(given, "output", layers.GlobalAveragePooling2D()(x)))


def recurrent(workload: Workload, given: Given) -> Any:
    """One recurrent layer, its last state, an output layer."""
    cell, (width,) = workload.options["cell"], workload.options["widths"]
    start, x = inputs_of(workload)
    found = []
    for number in range(2 if workload.options["bidirectional"] else 1):
        layer = {"lstm": layers.LSTM, "gru": layers.GRU}[cell](width, go_backwards=bool(number))
        found.append(layer(x))
        path = f"layers/0/{number}"
        kernels, bias = [given(f"{path}/{name}") for name in ("input_kernel", "kernel")], given(f"{path}/bias")
        if cell == "gru":
            # Keras has z before r, and biases of its own for what the state adds.
            order = np.concatenate([np.arange(width, 2 * width), np.arange(width), np.arange(2 * width, 3 * width)])
            second = np.concatenate([np.zeros(2 * width, np.float32), given(f"{path}/candidate_bias")])
            kernels, bias = [kernel[:, order] for kernel in kernels], np.stack([bias[order], second])
        layer.set_weights([*kernels, bias])
    x = found[0] if len(found) == 1 else layers.Concatenate()(found)
    return keras.Model(start, dense(given, "output", dropout(workload, x)))


def fcn(workload: Workload, given: Given) -> Any:
    """Convolutions over time."""
    start, x = inputs_of(workload)
    for number in range(given.count("maps")):
        here = f"maps/{number}"
        x = relu(norm(given, f"{here}/norm", convolution(given, f"{here}/convolution", x), KERAS_EPSILON, 0.99))
    x = dropout(workload, layers.GlobalAveragePooling1D()(x))
    return keras.Model(start, dense(given, "output", x))


def inception(workload: Workload, given: Given) -> Any:
    """InceptionTime's network."""

    def module(path: str, x: Any) -> Any:
        narrow = convolution(given, f"{path}/bottleneck", x) if f"{path}/bottleneck/kernel" in given else x
        count = given.count(f"{path}/branches")
        found = [convolution(given, f"{path}/branches/{number}", narrow) for number in range(count)]
        found.append(convolution(given, f"{path}/pooled", layers.MaxPooling1D(3, 1, padding="same")(x)))
        return relu(norm(given, f"{path}/norm", layers.Concatenate()(found), KERAS_EPSILON, 0.99))

    start, x = inputs_of(workload)
    for number in range(given.count("blocks")):
        here, beside = f"blocks/{number}", x
        for each in range(given.count(f"{here}/layers")):
            x = module(f"{here}/layers/{each}", x)
        beside = convolution(given, f"{here}/projection/convolution", beside)
        x = relu(layers.Add()([x, norm(given, f"{here}/projection/norm", beside, KERAS_EPSILON, 0.99)]))
    x = dropout(workload, layers.GlobalAveragePooling1D()(x))
    return keras.Model(start, dense(given, "output", x))


def encoder_block(workload: Workload, given: Given, path: str, x: Any) -> Any:
    """Attention, then a perceptron, each after a normalisation."""
    width, heads = workload.options["width"], workload.options["heads"]
    attention = layers.MultiHeadAttention(heads, width // heads, dropout=workload.dropout or 0.0)
    seen = layer_norm(given, f"{path}/norms/0", x)
    mixed = attention(seen, seen)
    kernel = given(f"{path}/attention/projection/kernel").reshape(width, 3, heads, -1)
    bias = given(f"{path}/attention/projection/bias").reshape(3, heads, -1)
    parts = {"query": 0, "key": 1, "value": 2}
    values = {f"{name}/kernel": kernel[:, number] for name, number in parts.items()}
    values |= {f"{name}/bias": bias[number] for name, number in parts.items()}
    values["attention_output/kernel"] = given(f"{path}/attention/output/kernel").reshape(heads, -1, width)
    values["attention_output/bias"] = given(f"{path}/attention/output/bias")
    for leaf in attention.trainable_variables:
        leaf.assign(values.pop("/".join(leaf.path.split("/")[-2:])))
    assert not values
    x = layers.Add()([x, dropout(workload, mixed)])
    hidden = dense(given, f"{path}/hidden", layer_norm(given, f"{path}/norms/1", x))
    hidden = dropout(workload, layers.Activation(lambda y: keras.activations.gelu(y, approximate=True))(hidden))
    return layers.Add()([x, dropout(workload, dense(given, f"{path}/output", hidden))])


class Places(layers.Layer):
    """Adds a vector to each step; trained ones come with a class token before the first step."""

    def __init__(self, table: np.ndarray, token: np.ndarray | None) -> None:
        super().__init__()
        self.table = self.add_weight(shape=table.shape, trainable=token is not None)
        self.table.assign(table)
        self.token = None
        if token is not None:
            self.token = self.add_weight(shape=token.shape)
            self.token.assign(token)

    def call(self, x: Any) -> Any:
        """The steps with their places."""
        if self.token is not None:
            first = ops.broadcast_to(self.token, (ops.shape(x)[0], 1, x.shape[2]))
            x = ops.concatenate([first, x], axis=1)
        return x + self.table


def transformer(workload: Workload, given: Given) -> Any:
    """Embedding, places, blocks, the mean of the steps or the class token, output layer."""
    image = workload.family == "ViT"
    inside = "" if image else "network/"
    start, x = inputs_of(workload)
    if image:
        patch, (height, width, channels) = workload.options["patch"], workload.shape
        x = ops.reshape(x, (-1, height // patch, patch, width // patch, patch, channels))
        x = ops.reshape(ops.swapaxes(x, 2, 3), (-1, height * width // patch**2, patch**2 * channels))
    x = dense(given, "embedding", x)
    x = Places(given("positions/table") if image else given.positions, given("token") if image else None)(x)
    x = dropout(workload, x)
    for number in range(given.count(f"{inside}encoder/blocks")):
        x = encoder_block(workload, given, f"{inside}encoder/blocks/{number}", x)
    x = layer_norm(given, f"{inside}encoder/last", x)
    x = x[:, 0] if image else dropout(workload, layers.GlobalAveragePooling1D()(x))
    return keras.Model(start, dense(given, f"{inside}output", x))


BUILDERS: dict[str, Callable[[Workload, Given], Any]] = {
    "MLP": perceptron,
    "CNN": cnn,
    "ResNet": resnet,
    "RNN": recurrent,
    "FCN": fcn,
    "InceptionTime": inception,
    "SeriesTransformer": transformer,
    "ViT": transformer,
}
