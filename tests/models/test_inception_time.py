"""The network of InceptionTime: its count, and the outputs of torch."""

from __future__ import annotations

import numpy as np
import pytest
from filled import outputs, series
from signal_models import count

from research.models import InceptionTime

X = series(3, 2, 19)


def module(channels, narrow=32):
    """Bottleneck where there is more than one channel, three convolutions, the pooled one, and the normalisation."""
    seen = channels if channels == 1 else narrow
    return (channels * narrow if channels > 1 else 0) + 70 * seen * 32 + channels * 32 + 2 * 128


def shortcut(channels):
    return channels * 128 + 2 * 128


@pytest.mark.parametrize(
    ("spec", "variables", "expected"),
    [
        # As in the authors' code (github.com/hfawaz/InceptionTime, classifiers/inception.py).
        (InceptionTime(), 1, module(1) + 5 * module(128) + shortcut(1) + shortcut(128)),
        (InceptionTime(), 12, module(12) + 5 * module(128) + shortcut(12) + shortcut(128)),
        (InceptionTime(residual=False), 1, module(1) + 5 * module(128)),
        (InceptionTime(depth=4), 1, module(1) + 3 * module(128) + shortcut(1)),
        (InceptionTime(depth=1, bottleneck=None), 3, 70 * 3 * 32 + 3 * 32 + 256),
    ],
)
def test_number_of_parameters(spec, variables, expected):
    assert count(spec, variables, 2) == expected + 2 * 128 + 2


def test_number_of_parameters_is_the_published_one():
    """LITE, of 9,814, has 2.34 % of them (Ismail-Fawaz et al., DSAA 2023, abstract), without the output layer."""
    assert round(100 * 9_814 / (count(InceptionTime(), 1, 2) - 258), 2) == 2.34


# PYTHONPATH=tests python scripts/prove/torch_signals.py, torch 2.13.0: outputs of three series in training.
OF_TORCH = [-0.152329, -0.753982, -0.152378, 0.235397, -0.79239, -0.549215, -0.182204, -0.837882, -0.172633]


def test_training_equals_torch():
    """With a shortcut past three modules, and a fourth module beyond it."""
    spec = InceptionTime(depth=4, filters=2, bottleneck=3, kernels=(12, 6, 3))
    np.testing.assert_allclose(outputs(spec, X, train=True), OF_TORCH, rtol=1e-4, atol=1e-5)
