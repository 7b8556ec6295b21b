"""Augmentation as a whole: draws that belong to the example, strengths that are traced, and what pixels show."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from research.data.augmentation import Augmentation, Draw
from research.errors import UserError
from research.keys import example_keys
from research.spec import check, replace

RNG = np.random.default_rng(0)
IMAGES = RNG.random((6, 7, 9, 2)).astype(np.float32)
MOVES: dict[str, Any] = {"rotation": 40, "translation": 0.2, "shear": 20, "zoom": 0.3, "crop": 0.3}
SHOWS: dict[str, Any] = {"brightness": 0.3, "contrast": 0.3, "noise": 0.1, "cutout": 0.4}
FLIPS: dict[str, Any] = {"horizontal_flip": True, "vertical_flip": True}
ALL = Augmentation(**MOVES, **SHOWS, **FLIPS, fill="constant")
KEYS = [np.asarray(example_keys(jax.random.key(step), jnp.arange(800, dtype=jnp.int32))) for step in (0, 1)]
traces = 0


@jax.jit
def apply(augmentation: Augmentation, images: jax.Array, keys: jax.Array) -> jax.Array:
    global traces
    traces += 1
    return augmentation.apply(images, keys)


def augmented(augmentation: Augmentation, images: Any, examples: Any = None, step: int = 0) -> np.ndarray:
    examples = np.arange(len(images)) if examples is None else examples
    return np.asarray(apply(augmentation, images, KEYS[step][examples]))


def test_order_of_the_batch_other_rows_and_padding_change_nothing() -> None:
    expected = augmented(ALL, IMAGES)
    order = RNG.permutation(6)
    np.testing.assert_array_equal(augmented(ALL, IMAGES[order], order), expected[order])
    padded = np.concatenate([IMAGES[:4], np.zeros((2, 7, 9, 2), np.float32)])
    np.testing.assert_array_equal(augmented(ALL, padded, [0, 1, 2, 3, 0, 0])[:4], expected[:4])


def test_every_image_and_every_step_has_a_draw_of_its_own() -> None:
    same = np.broadcast_to(IMAGES[:1], IMAGES.shape)
    pictures = np.concatenate([augmented(ALL, same), augmented(ALL, same, step=1)])
    assert len(np.unique(pictures.reshape(12, -1), axis=0)) == 12
    np.testing.assert_array_equal(augmented(ALL, same), pictures[:6])


def test_strengths_of_zero_change_nothing() -> None:
    """What is left are the flips; a pixel taken to lie beyond the border would be 0."""
    none = replace(ALL, dict.fromkeys([*MOVES, *SHOWS], 0.0))
    np.testing.assert_array_equal(augmented(none, IMAGES), augmented(Augmentation(**FLIPS), IMAGES))


def test_what_is_switched_off_is_not_in_the_program() -> None:
    def program(augmentation: Augmentation) -> Any:
        return jax.make_jaxpr(augmentation.apply)(jnp.asarray(IMAGES), jnp.asarray(KEYS[0][:6]))

    assert not program(Augmentation()).eqns
    assert "gather" in str(program(Augmentation(zoom=0.1, horizontal_flip=True)))
    assert "gather" not in str(program(Augmentation(**FLIPS, **SHOWS)))


def test_many_strengths_share_one_trace() -> None:
    first, before = augmented(ALL, IMAGES), traces
    for name in [*MOVES, *SHOWS]:
        other = augmented(replace(ALL, {name: getattr(ALL, name) * 0.7}), IMAGES)
        assert not np.array_equal(other, first), name
    assert traces == before > 0


def test_strengths_may_be_mapped_as_in_an_ablation() -> None:
    images, keys = jnp.asarray(IMAGES), jnp.asarray(KEYS[0][:6])
    strengths = jnp.array([0.0, 0.2, 0.4])
    mapped = jax.jit(jax.vmap(lambda zoom: Augmentation(zoom=zoom).apply(images, keys)))(strengths)
    for strength, found in zip(strengths.tolist(), mapped, strict=True):
        np.testing.assert_allclose(found, augmented(Augmentation(zoom=strength), IMAGES), atol=1e-6)


def test_one_transform_leaves_the_draws_of_the_others_alone() -> None:
    flip, light = Augmentation(horizontal_flip=True), Augmentation(brightness=0.3)
    both = augmented(Augmentation(horizontal_flip=True, brightness=0.3), IMAGES)
    np.testing.assert_array_equal(both, augmented(light, augmented(flip, IMAGES)))
    assert len(set(Draw)) == len(Draw.__members__)


def test_half_precision_in_and_out() -> None:
    half, light = jnp.asarray(IMAGES, jnp.bfloat16), Augmentation(contrast=0.3)
    assert jax.eval_shape(ALL.apply, half, KEYS[0][:6]).dtype == jnp.bfloat16
    expected = augmented(light, half.astype(jnp.float32))
    np.testing.assert_allclose(augmented(light, half).astype(np.float32), expected, rtol=2**-8)


def test_brightness_multiplies() -> None:
    pixels = np.broadcast_to(np.array([0.1, 0.5, 0.95], np.float32), (800, 3)).reshape(800, 1, 3, 1)
    found = augmented(Augmentation(brightness=0.4), pixels)[:, 0, :, 0]
    factor = found[:, 0] / 0.1
    np.testing.assert_allclose(found, np.minimum(1, factor[:, None] * [0.1, 0.5, 0.95]), rtol=1e-5)
    assert stats.kstest(factor, stats.uniform(0.6, 0.8).cdf).pvalue > 1e-3


def test_contrast_multiplies_differences_from_the_mean_of_the_image() -> None:
    pixels = np.broadcast_to(np.array([0.2, 0.3, 0.2, 0.5], np.float32), (800, 4)).reshape(800, 1, 2, 2)
    found = augmented(Augmentation(contrast=0.4), pixels).reshape(800, 4)
    factor = (found[:, 3] - found[:, 0]) / 0.3
    np.testing.assert_allclose(found, 0.3 + factor[:, None] * [-0.1, 0, -0.1, 0.2], atol=1e-6)
    assert stats.kstest(factor, stats.uniform(0.6, 0.8).cdf).pvalue > 1e-3
    brightness = augmented(Augmentation(brightness=0.4), pixels)[:, 0, 0, 0]
    assert abs(np.corrcoef(factor, brightness)[0, 1]) * np.sqrt(800) < 4
    black_and_white = np.broadcast_to(np.array([0, 1], np.float32), (9, 2)).reshape(9, 1, 2, 1)
    beyond = augmented(Augmentation(contrast=0.4), black_and_white)
    assert beyond.min() == 0 and beyond.max() == 1


def test_noise_is_normal_of_one_strength_and_of_its_own_on_each_pixel_and_channel() -> None:
    found = augmented(Augmentation(noise=0.05), np.full((20, 20, 25, 2), 0.5, np.float32)) - 0.5
    assert stats.kstest(found.ravel() / 0.05, "norm").pvalue > 1e-3
    np.testing.assert_allclose(found.std((1, 2, 3)), 0.05, rtol=0.1)
    count = np.sqrt(found[..., 0].size)
    assert abs(np.corrcoef(found[..., 0].ravel(), found[..., 1].ravel())[0, 1]) * count < 4
    assert abs(np.corrcoef(found[:, 1:].ravel(), found[:, :-1].ravel())[0, 1]) * count < 4
    assert found.min() < -0.15 and found.max() > 0.15


def test_cutout_blackens_one_square_that_may_reach_beyond_the_border() -> None:
    erased = np.equal(augmented(Augmentation(cutout=0.5), np.ones((600, 10, 16, 2), np.float32)), 0)
    np.testing.assert_array_equal(erased[..., 0], erased[..., 1])
    sides = np.stack([erased[..., 0].any(2).sum(1), erased[..., 0].any(1).sum(1)])
    np.testing.assert_array_equal(erased[..., 0].sum((1, 2)), sides.prod(0))
    runs = np.diff(erased[..., 0].any(1).astype(int), prepend=0) == 1
    assert (runs.sum(1) == 1).all()
    assert sides.max() == 5 and sides.min() == 3
    # Rows and columns that a window of 5 covers when its middle is any of n: 3, 4, 5, ..., 5, 4, 3.
    for side, length in zip(sides, (10, 16), strict=True):
        lengths = [min(middle + 3, length) - max(middle - 2, 0) for middle in range(length)]
        assert abs(side.mean() - np.mean(lengths)) < 4 * np.std(lengths) / np.sqrt(600)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"rotation": -1}, r"rotation: a number in \[0, 180\] is needed, -1\.0 was given"),
        ({"zoom": 1}, r"zoom: a number in \[0, 1\) is needed"),
        ({"mixup": 0}, r"mixup: a number above 0 is needed"),
        ({"fill": "reflect"}, r"fill: one of 'nearest', 'constant' is needed, 'reflect'"),
        ({"horizontal_flip": 0.5}, r"horizontal_flip: true or false is needed"),
    ],
)
def test_strengths_out_of_range_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        check(Augmentation(**given))
