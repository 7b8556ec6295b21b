"""The residual networks of the PTB-XL benchmark: their counts, and the outputs of torch."""

from __future__ import annotations

import numpy as np
import pytest
from filled import outputs, series
from signal_models import count

from research.models import XResNet1D

X = series(3, 2, 37)


def convolution(channels, width, kernel):
    """Without bias, and two numbers per channel of the normalisation."""
    return kernel * channels * width + 2 * width


def bottleneck(channels):
    path = convolution(channels, 64, 1) + convolution(64, 64, 5) + convolution(64, 256, 1)
    return path + (convolution(channels, 256, 1) if channels != 256 else 0)


def basic(channels):
    return convolution(channels, 64, 5) + convolution(64, 64, 5)


STEM = convolution(12, 32, 5) + convolution(32, 32, 5) + convolution(32, 64, 5)


def head(features, outputs):
    """Of pooled maps twice, with a hidden layer of 128 units; each layer is normalised before it."""
    return 2 * 2 * features + 2 * features * 128 + 128 + 2 * 128 + 128 * outputs + outputs


@pytest.mark.parametrize(
    ("depth", "outputs", "expected"),
    [
        # As in the benchmark's code (github.com/helme/ecg_ptbxl_benchmarking, code/models/xresnet1d.py and
        # basic_conv1d.py, with the head of fastai_model.py): all 71 statements, or the 5 superclasses.
        (101, 71, STEM + bottleneck(64) + 32 * bottleneck(256) + head(256, 71)),
        (50, 5, STEM + bottleneck(64) + 15 * bottleneck(256) + head(256, 5)),
        (18, 5, STEM + 8 * basic(64) + head(64, 5)),
    ],
)
def test_number_of_parameters(depth, outputs, expected):
    assert count(XResNet1D(depth=depth), 12, outputs, steps=250) == expected


# PYTHONPATH=tests python scripts/prove/torch_signals.py, torch 2.13.0: outputs of three series.
OF_TORCH = {
    "18, evaluation": [34.4242, -31.084, 12.482, 70.9434, -65.9752, 27.8109, 13.7637, -11.3446, 3.80981],
    "50, training": [-1.41682, 2.89769, 0.247394, 2.33732, -3.30517, 3.01827, -2.48341, 1.24735, -0.546026],
}


@pytest.mark.parametrize("name", OF_TORCH)
def test_equals_torch(name):
    """Of 37 steps 19, 10 and 5 are left: the mean of the shortcut's last window is that of one step."""
    spec = XResNet1D(
        depth=int(name[:2]),  # pyright: ignore[reportArgumentType]
        blocks=(1, 2),
        width=2,
        stem=(2, 3),
        dense_widths=(5,),
        dropout=None,
    )
    np.testing.assert_allclose(outputs(spec, X, "training" in name), OF_TORCH[name], rtol=1e-4, atol=1e-4)
