"""The fully convolutional network: its count, and the outputs of torch."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from filled import outputs, series
from signal_models import count, shapes

from research.models import FCN, functional

X = series(3, 2, 19)


@pytest.mark.parametrize(
    ("spec", "variables", "expected"),
    [
        # Layer by layer as in the code of Ismail Fawaz et al., 2019 (github.com/hfawaz/dl-4-tsc, classifiers/fcn.py):
        # kernel, bias, and two numbers per channel of the normalisation.
        (FCN(), 1, (8 * 128 + 3 * 128) + (5 * 128 * 256 + 3 * 256) + (3 * 256 * 128 + 3 * 128) + 2 * 128 + 2),
        (FCN(), 12, 264_704 + 11 * 8 * 128 + 2 * 128 + 2),
        (FCN(widths=(3,), kernels=(2,), channels=("values", "since")), 5, 10 * 2 * 3 + 9 + 8),
    ],
)
def test_number_of_parameters(spec, variables, expected):
    assert count(spec, variables, 2) == expected


# PYTHONPATH=tests python scripts/prove/torch_signals.py, torch 2.13.0: outputs of three series in training.
OF_TORCH = [0.903895, -1.08174, 0.586545, 1.39541, -1.33125, 0.957678, 1.14266, -1.0167, 0.728661]


def test_training_equals_torch():
    found = outputs(FCN(widths=(3, 5, 4)), X, train=True)
    np.testing.assert_allclose(found, OF_TORCH, rtol=1e-4, atol=1e-5)


def test_kernels_start_as_in_keras():
    """Uniformly between the bounds of Glorot and Bengio, AISTATS 2010; biases at 0."""
    params, _ = jax.jit(lambda: functional.initialise(FCN(), shapes(9, 1), 2, jax.random.key(0)))()
    for layer, inputs, out in zip(params["maps"].values(), (8, 640, 768), (1024, 1280, 384), strict=True):
        kernel = np.asarray(layer["convolution"]["kernel"])
        bound = np.sqrt(6 / (inputs + out))
        assert 0.98 * bound < np.abs(kernel).max() <= bound
        np.testing.assert_allclose(kernel.std(), bound / np.sqrt(3), rtol=0.05)
        assert not np.asarray(layer["convolution"]["bias"]).any()
