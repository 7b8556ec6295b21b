"""What all convolutional models of series promise: padding changes nothing, each series is seen as if alone."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest
from filled import OUTPUTS, parameters
from flax import nnx
from signal_models import QUICK, count, evaluation, pick, ragged, shapes, training

from research.errors import UserError
from research.models import CNN, FCN, Forward, InceptionTime, ResNet1D, SeriesMLP, XResNet1D
from research.models.placement import Placement
from research.spec import check

EVERYTHING: Any = ("values", "observed", "since")
SPECS = {
    "FCN": FCN(widths=(3, 4), kernels=(8, 3), dropout=0.3, channels=EVERYTHING),
    "ResNet1D": ResNet1D(widths=(3, 3), kernels=(4, 3), dropout=0.3),
    "InceptionTime": InceptionTime(depth=3, filters=2, kernels=(12, 3), bottleneck=2, dropout=0.3),
    "SeriesMLP": SeriesMLP(widths=(5, 4), dropout=(0.2, 0.3, 0.4), channels=("values", "observed")),
    "XResNet1D": XResNet1D(depth=18, blocks=(1, 1), width=2, stem=(2, 3), dense_widths=(4,), dropout=0.4),
}
LENGTHS = (21, 9, 1, 14, 20)
STEPS = 26
"""To which series of at most 21 steps are padded besides."""
MASK = np.array([True, True, True, True, False])


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_padding_changes_nothing_in_training(spec):
    """With dropout, and statistics of the batch: neither outputs nor running statistics change."""
    short, long = ragged(LENGTHS, 21, 7.0), ragged(LENGTHS, STEPS)
    before = parameters(spec, long)
    run = jax.jit(lambda before, *values: [training(spec, *before, inputs, MASK) for inputs in values])
    left, right = run(before, short, long)
    for a, b in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)
    outputs, after = left
    assert np.isfinite(outputs).all() and len({round(float(y), 4) for y in outputs[:4].ravel()}) == 4 * OUTPUTS
    assert all((a != b).all() for a, b in zip(jax.tree.leaves(before[1]), jax.tree.leaves(after), strict=True))


@pytest.mark.parametrize("name", ["InceptionTime", "XResNet1D"])
def test_each_series_is_seen_as_if_alone(name):
    """Poolings and strides: what counts of a padded series is what there is of it without padding."""
    long = ragged(LENGTHS, STEPS)
    run = jax.jit(lambda before, *values: [evaluation(SPECS[name], *before, inputs) for inputs in values])
    everyone, alone = run(parameters(SPECS[name], long), long, pick(long, 1))
    np.testing.assert_allclose(alone[0], everyone[1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", [name for name in SPECS if name != "SeriesMLP"])
def test_maps_say_where_they_look(name):
    """For explanations: maps over time, what is made of them, and the placement of their cells."""

    def run(inputs):
        module: Any = SPECS[name].build(shapes(21, 2, 2), 2, nnx.Rngs(0))
        placements.append(module.placement)
        maps = module.features(inputs, Forward(context=QUICK))
        return maps, module.head(maps, inputs, Forward(context=QUICK))

    placements = []
    maps, outputs = jax.eval_shape(run, ragged(LENGTHS, 21))
    stride = 8 if name == "XResNet1D" else 1
    assert placements[0] == Placement(stride, {"FCN": 0.5, "ResNet1D": 1.0}.get(name, 0))
    assert maps.shape[:2] == (5, -(-21 // stride)) and outputs.shape == (5, 2)


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_inputs_that_are_no_series_are_refused(spec):
    with pytest.raises(UserError, match=r"takes series.*\(28, 28, 1\)"):
        spec.build(jax.ShapeDtypeStruct((28, 28, 1), np.float32), 2, nnx.Rngs(0))
    with pytest.raises(UserError, match="channels: one or more different channels"):
        check(spec.replace(channels=("values", "values")))
    with pytest.raises(UserError, match=r"several inputs \(values"):
        CNN().build(shapes(9, 1), 2, nnx.Rngs(0))


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (FCN(widths=(3, 4)), r"kernels: one number for each of widths.*\(3, 4\).*\(8, 5, 3\)"),
        (FCN(widths=(), kernels=()), "kernels: one number for each of widths"),
        (ResNet1D(widths=()), "widths: at least one number"),
        (InceptionTime(kernels=()), "kernels: at least one number"),
        (InceptionTime(bottleneck=0), r"bottleneck"),
        (SeriesMLP(widths=()), "widths: at least one hidden layer"),
        (SeriesMLP(widths=(5,)), r"dropout: .*1 hidden layers.*4 were given. Give 2"),
        (XResNet1D(stem=()), "stem: at least one"),
        (XResNet1D(blocks=()), "blocks: at least one stage"),
        (XResNet1D(depth=20), r"depth: one of 18, 34"),  # pyright: ignore[reportArgumentType]
    ],
)
def test_is_checked(spec, words):
    with pytest.raises(UserError, match=words):
        check(spec)


def test_static_descriptors_stand_before_the_output_layer():
    for name, rows in {"FCN": 2, "ResNet1D": 2, "InceptionTime": 2, "SeriesMLP": 2, "XResNet1D": 4}.items():
        added = count(SPECS[name], 2, 2, 21, 2) - count(SPECS[name], 2, 2, 21)
        # In XResNet1D they have a scale and a shift, and are read by four hidden units.
        assert added == (rows + 2) * 2 if name == "XResNet1D" else rows * 2
