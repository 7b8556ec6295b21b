"""Mixed images: who is mixed with whom, by how much, and that the label's share is the image's."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from research.data.augmentation import Augmentation, Draw, Mixed, partners
from research.data.augmentation.draws import beta
from research.keys import example_keys

COUNT, HEIGHT, WIDTH = 500, 10, 6
EVERY = np.ones(COUNT, bool)
RNG = np.random.default_rng(0)
IMAGES = RNG.random((COUNT, HEIGHT, WIDTH, 2)).astype(np.float32)
BOTH = Augmentation(mixup=0.8, cutmix=1.0)
KEYS = np.asarray(example_keys(jax.random.key(3), jnp.arange(4000, dtype=jnp.int32)))
traces = 0


@jax.jit
def traced(augmentation: Augmentation, images: jax.Array, mask: jax.Array, keys: jax.Array) -> Mixed:
    global traces
    traces += 1
    return augmentation.mix(images, mask, keys)


def mix(augmentation: Augmentation, images: Any = IMAGES, mask: Any = EVERY, examples: Any = None) -> Any:
    examples = np.arange(len(images)) if examples is None else examples
    return jax.tree.map(np.asarray, traced(augmentation, images, mask, KEYS[examples]))


@pytest.mark.parametrize("alpha", [0.05, 0.2, 1.0, 8.0])
def test_symmetric_beta_draws_have_scipys_distribution(alpha: float) -> None:
    drawn = np.asarray(jax.jit(lambda a: beta(jnp.asarray(KEYS), Draw.MIXUP, a))(alpha))
    assert (drawn >= 0).all() and (drawn <= 1).all()
    # Single precision cannot tell the numbers next to 1 apart, so both sides are compared in steps of 1e-4.
    grid = np.linspace(0, 1, 10001)[1:-1]
    empirical = np.searchsorted(np.sort(drawn), grid, side="right") / len(drawn)
    distance = np.abs(empirical - stats.beta(alpha, alpha).cdf(grid)).max()
    assert stats.kstwobign.sf(distance * np.sqrt(len(drawn))) > 1e-3


@pytest.mark.parametrize("mask", [[1, 1, 1, 1, 1], [1, 1, 0, 1, 0], [0, 1, 0, 1, 0], [0, 1, 0, 0, 0], [0] * 5])
def test_partners_make_one_circle_of_the_rows_that_count(mask: list[int]) -> None:
    found = jax.jit(partners)(np.array(mask, bool), KEYS[:5]).tolist()
    rows = [row for row in range(5) if mask[row]]
    assert all(found[row] == row for row in range(5) if not mask[row])
    if rows:
        circle = [rows[0]]
        while found[circle[-1]] != rows[0]:
            circle.append(found[circle[-1]])
        assert sorted(circle) == rows


def test_partners_are_random_and_belong_to_the_examples() -> None:
    everyone = jnp.ones(200, bool)
    partner = np.asarray(partners(everyone, jnp.asarray(KEYS[:200])))
    # Whatever stands beside a row: every distance is as likely.
    assert stats.kstest(((partner - np.arange(200)) % 200) / 200, "uniform").pvalue > 1e-3
    order = RNG.permutation(200)
    np.testing.assert_array_equal(order[np.asarray(partners(everyone, jnp.asarray(KEYS[order])))], partner[order])


def test_mixup_is_the_weighted_mean_of_two_images() -> None:
    images, partner, share = mix(Augmentation(mixup=0.8))
    assert (partner != np.arange(COUNT)).all()
    weight = share[:, None, None, None]
    np.testing.assert_allclose(images, weight * IMAGES + (1 - weight) * IMAGES[partner], atol=1e-6)
    assert stats.kstest(share, stats.beta(0.8, 0.8).cdf).pvalue > 1e-3


def test_cutmix_replaces_a_rectangle_and_the_share_is_the_area_kept() -> None:
    images, partner, share = mix(Augmentation(cutmix=1.0))
    own, other = (images == IMAGES).all(-1), (images == IMAGES[partner]).all(-1)
    assert (own ^ other).all()
    np.testing.assert_allclose(share, own.mean((1, 2)), atol=1e-6)
    rows, columns = other.any(2).sum(1), other.any(1).sum(1)
    np.testing.assert_array_equal(other.sum((1, 2)), rows * columns)
    # By simulation: sides sqrt(1 - U) of the image's, a middle anywhere, cut away at the borders.
    rng, draws = np.random.default_rng(1), 20000
    side = np.sqrt(1 - rng.random(draws))
    expected = np.ones(draws)
    for length in (HEIGHT, WIDTH):
        size = np.round(length * side)
        first = rng.integers(0, length, draws) - size // 2
        expected *= (np.minimum(first + size, length) - np.maximum(first, 0)) / length
    assert abs((1 - share).mean() - expected.mean()) < 4 * expected.std() / np.sqrt(COUNT)


def test_with_both_on_each_image_undergoes_one_of_them() -> None:
    images, partner, share = mix(BOTH)
    alone = {name: mix(BOTH.replace(**{name: None})) for name in ("mixup", "cutmix")}
    is_cutmix = (images == alone["mixup"].images).all((1, 2, 3))
    is_mixup = (images == alone["cutmix"].images).all((1, 2, 3))
    assert (is_cutmix | is_mixup).all()
    assert stats.binomtest(int(is_mixup.sum()), COUNT).pvalue > 1e-3
    np.testing.assert_array_equal(share[is_mixup], alone["cutmix"].share[is_mixup])
    np.testing.assert_array_equal(share[~is_mixup], alone["mixup"].share[~is_mixup])
    # A loss weighs two labels: averaged over the image, so are the pixels.
    labels = np.arange(COUNT, dtype=np.float32) % 7
    pixels = mix(BOTH, np.broadcast_to(labels[:, None, None, None], IMAGES.shape)).images.mean((1, 2, 3))
    np.testing.assert_allclose(pixels, share * labels + (1 - share) * labels[partner], atol=1e-5)


def test_padding_rows_are_left_alone_and_mixed_into_no_other() -> None:
    whole = jax.tree.map(lambda rows: rows[:6], mix(BOTH, IMAGES[:9], np.arange(9) < 6))
    order = np.array([0, 6, 1, 2, 3, 4, 7, 5, 8])
    examples = np.where(order < 6, order, 0)
    images = np.where((order < 6)[:, None, None, None], IMAGES[examples], np.float32(9))
    padded = mix(BOTH, images, order < 6, examples)
    counting = order < 6
    np.testing.assert_array_equal(padded.images[counting], whole.images)
    np.testing.assert_array_equal(padded.share[counting], whole.share)
    np.testing.assert_array_equal(order[padded.partner[counting]], whole.partner)
    np.testing.assert_array_equal(padded.images[~counting], images[~counting])
    np.testing.assert_array_equal(padded.share[~counting], 1)


def test_shares_belong_to_the_example_and_a_single_row_stays_itself() -> None:
    whole, order = mix(BOTH, IMAGES[:9], EVERY[:9]), RNG.permutation(9)
    shuffled = mix(BOTH, IMAGES[order], EVERY[:9], order)
    np.testing.assert_array_equal(shuffled.share, whole.share[order])
    single = mix(BOTH, IMAGES[:9], np.arange(9) == 4)
    np.testing.assert_array_equal(single.images, IMAGES[:9])
    assert single.share.tolist() == [1.0] * 9


def test_other_strengths_share_the_program() -> None:
    first, before = mix(BOTH, IMAGES[:9], EVERY[:9]), traces
    for other in (BOTH.replace(mixup=0.3), BOTH.replace(cutmix=0.3)):
        assert not np.array_equal(mix(other, IMAGES[:9], EVERY[:9]).images, first.images)
    assert traces == before > 0


def test_mixes_says_whether_labels_are_to_be_weighed() -> None:
    assert not Augmentation(zoom=0.2, cutout=0.1).mixes
    assert Augmentation(mixup=0.2).mixes and Augmentation(cutmix=1).mixes


def test_half_precision_in_and_out() -> None:
    images = jnp.asarray(IMAGES[:6], jnp.bfloat16)
    found = jax.eval_shape(BOTH.mix, images, jnp.ones(6, bool), KEYS[:6])
    assert found.images.dtype == jnp.bfloat16 and found.share.dtype == jnp.float32
