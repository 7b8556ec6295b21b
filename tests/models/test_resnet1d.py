"""The residual network for series: its count, and the outputs of torch."""

from __future__ import annotations

import numpy as np
import pytest
from filled import outputs, series
from signal_models import count

from research.models import ResNet1D

X = series(3, 2, 19)


def block(channels, width, kernels=(8, 5, 3)):
    """Kernel, bias, and two numbers per channel of the normalisation, for each convolution and the shortcut."""
    convolutions = sum(k * (width if n else channels) * width + 3 * width for n, k in enumerate(kernels))
    return convolutions + (channels * width + 3 * width if channels != width else 2 * width)


@pytest.mark.parametrize(
    ("spec", "variables", "expected"),
    [
        # As in the code of Ismail Fawaz et al., 2019 (github.com/hfawaz/dl-4-tsc, classifiers/resnet.py).
        (ResNet1D(), 1, block(1, 64) + block(64, 128) + block(128, 128) + 2 * 128 + 2),
        (ResNet1D(), 12, 504_000 + 11 * 9 * 64 + 2 * 128 + 2),
        (ResNet1D(widths=(4,), kernels=(3,)), 4, block(4, 4, (3,)) + 2 * 4 + 2),
    ],
)
def test_number_of_parameters(spec, variables, expected):
    assert count(spec, variables, 2) == expected


# PYTHONPATH=tests python scripts/prove/torch_signals.py, torch 2.13.0: outputs of three series in training.
OF_TORCH = [-1.31469, -0.166287, -0.743944, -0.961017, -0.489793, 0.143672, -1.05053, -0.197322, -0.428113]


def test_training_equals_torch():
    found = outputs(ResNet1D(widths=(3, 4, 4)), X, train=True)
    np.testing.assert_allclose(found, OF_TORCH, rtol=1e-4, atol=1e-5)
