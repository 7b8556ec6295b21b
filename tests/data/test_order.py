"""The order of the data is a function of (seed, epoch, example)."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from research.data import batches, epoch_order
from research.data.order import balanced_order

MASK = (1 << 64) - 1


def _splitmix_finaliser(bits: int) -> int:
    bits &= MASK
    bits = ((bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    bits = ((bits ^ (bits >> 27)) * 0x94D049BB133111EB) & MASK
    return bits ^ (bits >> 31)


def test_order_is_the_sort_by_a_splitmix_hash() -> None:
    golden = 0x9E3779B97F4A7C15
    key = _splitmix_finaliser(_splitmix_finaliser(7 + golden) + (3 + 1) * golden)
    expected = sorted(range(50), key=lambda e: _splitmix_finaliser(key + (e + 1) * golden))
    assert epoch_order(7, 3, np.arange(50)).tolist() == expected


def test_finaliser_gives_the_published_stream_of_splitmix64() -> None:
    # The first outputs of SplitMix64 from seed 1234567, as published with its reference implementation.
    published = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    golden = 0x9E3779B97F4A7C15
    assert [_splitmix_finaliser(1234567 + (i + 1) * golden) for i in range(3)] == published


@given(st.integers(0, 2**32), st.integers(0, 1000), st.sets(st.integers(0, 10**6), min_size=2, max_size=60))
def test_removing_examples_leaves_the_order_of_the_others(seed: int, epoch: int, examples: set[int]) -> None:
    everything = np.asarray(sorted(examples))
    kept = everything[::2]
    order = epoch_order(seed, epoch, everything)
    assert epoch_order(seed, epoch, kept).tolist() == [e for e in order if e in set(kept.tolist())]


def test_seed_and_epoch_change_the_order() -> None:
    orders = {tuple(epoch_order(s, e, np.arange(100))) for s in range(5) for e in range(5)}
    assert len(orders) == 25


def test_every_place_is_equally_likely() -> None:
    places = np.asarray([np.argsort(epoch_order(0, epoch, np.arange(10)))[:3] for epoch in range(4000)])
    for example in range(3):
        counts = np.bincount(places[:, example], minlength=10)
        # Chi-square with 9 degrees of freedom: 33.7 is exceeded once in 10,000.
        assert ((counts - 400) ** 2 / 400).sum() < 33.7


@given(st.integers(1, 40), st.integers(1, 17), st.integers(0, 30), st.lists(st.integers(0, 12), min_size=1, max_size=5))
def test_any_slicing_gives_the_same_rows(count: int, size: int, first: int, lengths: list[int]) -> None:
    whole_index, whole_mask = batches(5, first, sum(lengths), count, size)
    starts = first + np.cumsum([0, *lengths[:-1]])
    parts = [batches(5, int(start), length, count, size) for start, length in zip(starts, lengths, strict=True)]
    np.testing.assert_array_equal(np.concatenate([index for index, _ in parts]), whole_index)
    np.testing.assert_array_equal(np.concatenate([mask for _, mask in parts]), whole_mask)
    assert whole_index.shape == (sum(lengths), size)


def test_each_example_is_visited_once_per_epoch_in_epoch_order() -> None:
    index, mask = batches(1, 0, 4 * 3, 10, 3)
    for epoch in range(3):
        rows = slice(4 * epoch, 4 * epoch + 4)
        visited = index[rows][mask[rows]]
        assert visited.tolist() == epoch_order(1, epoch, np.arange(10)).tolist()
        assert mask[rows].sum(axis=1).tolist() == [3, 3, 3, 1]
    assert (index[~mask] == 0).all()


def test_rows_can_follow_the_source_instead_of_the_split() -> None:
    rows = np.asarray([3, 8, 12, 40, 41])
    index, _ = batches(2, 0, 5, rows, 1)
    assert rows[index[:, 0]].tolist() == epoch_order(2, 0, rows).tolist()


def test_large_and_small_epochs_take_the_same_order() -> None:
    count = (1 << 19) + 1  # above the size at which epochs are ordered one by one
    index, mask = batches(0, 0, 2 * -(-count // 4096), count, 4096)
    visited = index[mask]
    np.testing.assert_array_equal(visited[:count], epoch_order(0, 0, np.arange(count)))
    np.testing.assert_array_equal(visited[count:], epoch_order(0, 1, np.arange(count)))


def test_speed() -> None:
    best_small = best_large = np.inf
    for attempt in range(3):
        start = time.perf_counter()
        batches(attempt, 17, 2000, 364, 32)
        middle = time.perf_counter()
        batches(attempt, 0, 100, 10**6, 32)
        best_small = min(best_small, middle - start)
        best_large = min(best_large, time.perf_counter() - middle)
    assert best_small < 0.05
    assert best_large < 1.0  # 0.1 s on an idle core


def test_no_examples_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one example"):
        batches(0, 0, 1, 0, 4)


def test_balanced_order_has_every_class_equally_often_and_evenly_spread() -> None:
    classes = np.asarray([0] * 80 + [1] * 15 + [2] * 5)
    order = balanced_order(3, 0, classes)
    assert len(order) == 100
    counts = np.bincount(classes[order])
    assert counts.tolist() == [34, 33, 33]
    for first in range(0, 90, 30):
        assert (np.abs(np.bincount(classes[order[first : first + 30]], minlength=3) - 10) <= 2).all()
    # The rarest class is gone through whole before any of its rows comes another time.
    rare = [row for row in order if classes[row] == 2]
    for first in range(0, 30, 5):
        assert len(set(rare[first : first + 5])) == 5
    assert len({tuple(rare[first : first + 5]) for first in range(0, 30, 5)}) > 1
    # Of the most frequent class each row comes once at most, others in another epoch.
    often = [row for row in order if classes[row] == 0]
    assert len(set(often)) == 34
    assert set(often) != {row for row in balanced_order(3, 1, classes) if classes[row] == 0}


def test_balanced_batches_do_not_depend_on_how_they_are_cut() -> None:
    classes = np.asarray([0] * 30 + [1] * 7)
    whole, mask = batches(1, 0, 20, 37, 8, classes=classes)
    parts = [batches(1, first, 4, 37, 8, classes=classes)[0] for first in range(0, 20, 4)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    assert mask.sum() == 4 * 37
