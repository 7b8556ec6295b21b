"""Where augmentation moves pixels: as Keras's matrices, SciPy's interpolation and Pillow's resizing do."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from scipy import ndimage, stats

from research.data.augmentation import Augmentation, Draw, affine, rectangles, warp
from research.keys import example_keys, uniform

COUNT, HEIGHT, WIDTH = 40, 12, 9
SIDES = np.array([HEIGHT, WIDTH])
IMAGES = np.random.default_rng(0).random((COUNT, HEIGHT, WIDTH, 2)).astype(np.float32)
KEYS = example_keys(jax.random.key(5), jnp.arange(COUNT, dtype=jnp.int32))
apply = jax.jit(lambda augmentation, images, keys: augmentation.apply(images, keys))


def keras_matrix(theta: float, shift: Any, shear: float, zoom: Any) -> np.ndarray:
    """As ``ImageDataGenerator.apply_affine_transform`` makes it, about the centre, in double precision."""
    theta, shear = np.deg2rad(theta), np.deg2rad(shear)
    turn = np.array([[np.cos(theta), -np.sin(theta), 0], [np.sin(theta), np.cos(theta), 0], [0, 0, 1]])
    slant = np.array([[1, -np.sin(shear), 0], [0, np.cos(shear), 0], [0, 0, 1]])
    matrix = turn @ translation(shift) @ slant @ np.diag([*zoom, 1])
    return about_the_centre(matrix)


def translation(shift: Any) -> np.ndarray:
    return np.array([[1, 0, shift[0]], [0, 1, shift[1]], [0, 0, 1]])


def about_the_centre(matrix: np.ndarray) -> np.ndarray:
    offset = SIDES / 2 - 0.5
    return translation(offset) @ matrix @ translation(-offset)


def by_scipy(image: np.ndarray, matrix: np.ndarray, fill: str) -> np.ndarray:
    channels = np.moveaxis(image.astype(np.float64), -1, 0)
    linear, offset = matrix[:2, :2], tuple(matrix[:2, 2])
    shown = [ndimage.affine_transform(c, linear, offset, order=1, mode=fill) for c in channels]  # pyright: ignore
    return np.stack(shown, axis=-1)


@pytest.mark.parametrize("fill", ["nearest", "constant"])
def test_known_parameters_give_what_keras_and_scipy_give(fill: Any) -> None:
    rng = np.random.default_rng(1)
    degrees, shear = rng.uniform(-180, 180, COUNT), rng.uniform(-40, 40, COUNT)
    shift, zoom = rng.uniform(-4, 4, (COUNT, 2)), rng.uniform(0.5, 1.8, (COUNT, 2))

    def ours(*parameters: jax.Array) -> jax.Array:
        matrices = affine(**dict(zip(("rotation", "translation", "shear", "zoom"), parameters, strict=True)))
        return warp(jnp.asarray(IMAGES), matrices, fill)

    found = jax.jit(ours)(*(jnp.asarray(x, jnp.float32) for x in (degrees, shift, shear, zoom)))
    beyond = 0
    for index in range(COUNT):
        matrix = keras_matrix(degrees[index], shift[index], shear[index], zoom[index])
        np.testing.assert_allclose(found[index], by_scipy(IMAGES[index], matrix, fill), atol=1e-5)
        beyond += (by_scipy(np.ones_like(IMAGES[0]), matrix, "constant") == 0).any()
    assert beyond > COUNT / 2


def test_drawn_parameters_are_put_together_in_kerass_order_then_crop_then_flips() -> None:
    flips: Any = {"horizontal_flip": True, "vertical_flip": True, "fill": "constant"}
    found = apply(Augmentation(rotation=30, translation=0.2, shear=25, zoom=0.3, crop=0.5, **flips), IMAGES, KEYS)

    def drawn(draw: Draw, *shape: int) -> np.ndarray:
        return np.asarray(uniform(KEYS, draw, shape), np.float64)

    degrees, shear = 30 * (2 * drawn(Draw.ROTATION) - 1), 25 * (2 * drawn(Draw.SHEAR) - 1)
    shift = 0.2 * (2 * drawn(Draw.TRANSLATION, 2) - 1) * SIDES
    zoom = 0.7 + 0.6 * drawn(Draw.ZOOM, 2)
    cut, place = 0.5 * drawn(Draw.CROP_SIZE)[:, None], drawn(Draw.CROP_PLACE, 2)
    turned = {0: drawn(Draw.VERTICAL_FLIP) < 0.5, 1: drawn(Draw.HORIZONTAL_FLIP) < 0.5}
    for index in range(COUNT):
        # Pixel i is shown from (i + 1/2) kept + start - 1/2, where the start is anywhere in what is cut away.
        kept, start = 1 - cut[index], place[index] * cut[index] * SIDES
        window = np.diag([*np.repeat(kept, 2), 1])
        window[:2, 2] = kept / 2 + start - 0.5
        matrix = keras_matrix(degrees[index], shift[index], shear[index], zoom[index]) @ window
        expected = by_scipy(IMAGES[index], matrix, "constant")
        for axis, flip in turned.items():
            expected = np.flip(expected, axis) if flip[index] else expected
        np.testing.assert_allclose(found[index], expected, atol=1e-5)


def test_crop_is_pillows_resizing_of_a_box() -> None:
    found = np.asarray(apply(Augmentation(crop=0.6), IMAGES, KEYS))
    cut = 0.6 * np.asarray(uniform(KEYS, Draw.CROP_SIZE, ()), np.float64)
    start = np.asarray(uniform(KEYS, Draw.CROP_PLACE, (2,)), np.float64) * cut[:, None] * SIDES
    assert stats.kstest(cut, stats.uniform(0, 0.6).cdf).pvalue > 1e-3
    for index in range(COUNT):
        end = start[index] + (1 - cut[index]) * SIDES
        box = (*start[index, ::-1], *np.minimum(end, SIDES)[::-1])
        for channel in range(2):
            picture = Image.fromarray(IMAGES[index, ..., channel])
            expected = picture.resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR, box=box)
            np.testing.assert_allclose(found[index, ..., channel], np.asarray(expected), atol=2e-5)


def test_moves_by_whole_pixels_are_exact() -> None:
    image = IMAGES[0, :9]
    shift, turn = np.array([[-1, 2], [0, 0]], np.float32), np.array([0, 90], np.float32)
    move = jax.jit(lambda images: warp(images, affine(translation=jnp.asarray(shift), rotation=jnp.asarray(turn))))
    down, turned = np.asarray(move(np.stack([image, image])))
    np.testing.assert_array_equal(down[1:, :-2], image[:-1, 2:])
    np.testing.assert_array_equal(down[0, :-2], image[0, 2:])
    np.testing.assert_array_equal(down[1:, -1], image[:-1, -1])
    np.testing.assert_allclose(turned, np.rot90(image, -1), atol=1e-5)


def test_a_shear_of_a_fifth_of_a_degree_is_hardly_seen() -> None:
    """Keras's ``shear_range=0.2`` is in degrees: a grey ramp of 28 pixels moves by less than a tenth of a step."""
    ramp = jnp.broadcast_to(jnp.arange(28.0)[None, :, None, None], (8, 28, 28, 1))
    keys = KEYS[:8]
    moved = np.abs(np.asarray(apply(Augmentation(shear=0.2), ramp, keys)) - ramp)
    assert 0 < moved.max() < 0.1


def test_flips_are_mirror_images_of_half_of_the_images_each_way() -> None:
    count = 800
    image = IMAGES[0]
    keys = example_keys(jax.random.key(7), jnp.arange(count, dtype=jnp.int32))
    images = jnp.broadcast_to(image[None], (count, *image.shape))
    found = np.asarray(apply(Augmentation(horizontal_flip=True, vertical_flip=True), images, keys))
    views = [image, image[::-1], image[:, ::-1], image[::-1, ::-1]]
    counts = [int((found == view).all((1, 2, 3)).sum()) for view in views]
    assert sum(counts) == count
    assert stats.chisquare(counts).pvalue > 1e-3
    for option, view in ((Augmentation(vertical_flip=True), views[1]), (Augmentation(horizontal_flip=True), views[2])):
        found = np.asarray(apply(option, images, keys))
        flipped = (found == view).all((1, 2, 3))
        assert (flipped | (found == image).all((1, 2, 3))).all()
        assert stats.binomtest(int(flipped.sum()), count).pvalue > 1e-3


def test_rectangles_are_cut_away_at_the_borders() -> None:
    cases = [
        ((3, 5), (0.5, 0.5), (5, 8), (2, 7)),
        ((3, 5), (0.0, 0.0), (0, 2), (0, 3)),
        ((4, 4), (0.999, 0.999), (9, 12), (6, 9)),
        ((0, 5), (0.5, 0.5), (0, 0), (0, 0)),
        ((50, 50), (0.2, 0.8), (0, 12), (0, 9)),
        ((2.4, 2.6), (0.5, 0.5), (5, 7), (3, 6)),
    ]
    expected = np.zeros((len(cases), HEIGHT, WIDTH), bool)
    for image, (_, _, rows, columns) in zip(expected, cases, strict=True):
        image[slice(*rows), slice(*columns)] = True
    sides, middle = (jnp.array([case[part] for case in cases], jnp.float32) for part in (0, 1))
    np.testing.assert_array_equal(jax.jit(rectangles, static_argnums=(0, 1))(HEIGHT, WIDTH, sides, middle), expected)
