"""The vision transformer: published counts, patches in their places, and the reference blocks over them."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from sequences import parameters, run, run_with_attention, shapes

from research.errors import UserError
from research.models import ViT
from research.models.vit import patches
from research.spec import apply_overrides, check

TINY = ViT(patch=4, width=8, depth=1, heads=2, mlp_ratio=1)
X = np.random.default_rng(0).random((3, 12, 8, 2)).astype(np.float32)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (ViT(), 5_717_416),
        (ViT(width=384, heads=6), 22_050_664),
        (ViT(width=768, heads=12), 86_567_656),
    ],
)
def test_number_of_parameters_is_the_published_one(spec, expected):
    """Ti/16, S/16 and B/16 at 224 pixels with 1000 classes, as timm counts them."""
    image = jax.ShapeDtypeStruct((224, 224, 3), jnp.float32)
    params = jax.eval_shape(lambda: nnx.state(spec.build(image, 1000, nnx.Rngs(0)), nnx.Param))
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == expected


def test_the_mean_needs_no_class_token():
    count = {r: sum(leaf.size for leaf in jax.tree.leaves(parameters(TINY.replace(readout=r), X))) for r in READOUTS}
    assert count["class_token"] - count["mean"] == 2 * 8


READOUTS = ("class_token", "mean")


def test_patches_are_squares_row_by_row():
    found = np.asarray(patches(jnp.asarray(X), 4))
    assert found.shape == (3, 6, 32)
    for number, (row, column) in enumerate((r, c) for r in (0, 4, 8) for c in (0, 4)):
        np.testing.assert_array_equal(found[:, number], X[:, row : row + 4, column : column + 4].reshape(3, -1))


def swapped(x):
    """The upper two patches in each other's place."""
    return np.concatenate([np.roll(x[:, :4], 4, axis=2), x[:, 4:]], axis=1)


@pytest.mark.parametrize("readout", READOUTS)
def test_places_are_known_by_their_trained_vectors_alone(readout):
    spec = TINY.replace(readout=readout, dropout=0.2, attention_dropout=0.2)
    params = parameters(spec, X)
    expected = run(spec, X, params, train=False)
    assert expected.shape == (3, 2)
    assert np.abs(run(spec, swapped(X), params, train=False) - expected).max() > 1e-3
    blind = params | {"positions": {"table": np.zeros_like(params["positions"]["table"])}}
    left, right = (run(spec, x, blind, train=False) for x in (X, swapped(X)))
    np.testing.assert_allclose(left, right, rtol=1e-4, atol=1e-5)
    # Draws of dropout belong to the example.
    order, trained = np.array([2, 0, 1], np.int32), run(spec, X, params)
    np.testing.assert_allclose(run(spec, X[order], params, order), trained[order], rtol=1e-4, atol=1e-5)
    assert np.abs(trained - expected).max() > 1e-3


def test_attention_is_over_all_patches():
    params = parameters(TINY, X)
    outputs, noted = run_with_attention(TINY, X, params)
    np.testing.assert_array_equal(outputs, run(TINY, X, params, train=False))
    assert {name: w.shape for name, w in noted.items()} == {"layer 1": (3, 2, 7, 7)}
    np.testing.assert_allclose(noted["layer 1"].sum(-1), 1, rtol=1e-6)
    half = run(TINY, X, params, train=False, dtype=jnp.bfloat16)
    assert np.abs(half - outputs).max() < 0.2 * np.abs(outputs).max()


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((30,), r"ViT takes images"),
        ((28, 28, 1), r"patch: ViT.*16x16.*28x28 pixels. Use patch=2 or 4 or 7 or 14 or 28,"),
        ((29, 31, 1), r"patch: ViT.*a common divisor"),
    ],
)
def test_images_that_do_not_fit_are_refused(shape, words):
    with pytest.raises(UserError, match=words):
        ViT().build(jax.ShapeDtypeStruct(shape, jnp.float32), 2, nnx.Rngs(0))


def test_is_checked():
    with pytest.raises(UserError, match=r"heads: 5 heads"):
        check(ViT(heads=5))
    with pytest.raises(UserError, match=r"patch"):
        check(ViT(patch=0))
    assert apply_overrides(ViT(), ["patch=4", "readout=mean"]) == ViT(patch=4, readout="mean")
    assert shapes(X).shape == (12, 8, 2)
