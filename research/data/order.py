"""The order of the data: one host function of (seed, epoch, example), whatever the number of hosts and devices."""

from __future__ import annotations

import functools
import hashlib

import numpy as np
from jaxtyping import Bool, Int, Int32, UInt64

MASK = (1 << 64) - 1
GOLDEN = 0x9E3779B97F4A7C15
# Epochs are ordered together while they are small, one by one (and remembered) once they are large.
BLOCK = 1 << 20


def epoch_order(seed: int, epoch: int, examples: Int[np.ndarray, " N"]) -> Int[np.ndarray, " N"]:
    """``examples`` in the order in which the given epoch visits them.

    Examples are sorted by a 64-bit hash of (seed, epoch, example), the finaliser of SplitMix64 (Steele, Lea & Flood,
    "Fast splittable pseudorandom number generators", OOPSLA 2014), which is a bijection: different examples never
    tie. Removing examples therefore leaves the order of the others as it was.

    Args:
        seed: seed of the run.
        epoch: number of the epoch, from 0.
        examples: numbers of the examples, none negative.
    """
    return examples[np.argsort(_hashes(seed, np.asarray([epoch]), examples)[0])]


def balanced_order(seed: int, epoch: int, classes: Int[np.ndarray, " N"]) -> Int[np.ndarray, " N"]:
    """Rows of one epoch in which every class comes equally often, evenly spread; ``[N]`` positions.

    A class with fewer rows than its share is gone through again and again, in a new order each time, before any of
    its rows comes another time; of a class with more rows each epoch has another random part. Like `epoch_order`, the
    result is a function of (seed, epoch, row).

    Args:
        seed: seed of the run.
        epoch: number of the epoch, from 0.
        classes: class of each row.
    """
    count, labels = len(classes), np.unique(classes)
    chosen, place = [], []
    for number, label in enumerate(labels):
        members = np.flatnonzero(classes == label)
        share = count // len(labels) + (number < count % len(labels))
        passes = -(-share // len(members))
        # Passes are numbered beyond any epoch that `epoch_order` may be asked for.
        order = [members[np.argsort(h)] for h in _hashes(seed, _passes(epoch, passes), members)]
        chosen.append(np.concatenate(order)[:share])
        jitter = _hashes(seed, _passes(epoch, 1), np.arange(share) + number * count)[0] / 2.0**64
        place.append((np.arange(share) + jitter) / share)
    return np.concatenate(chosen)[np.argsort(np.concatenate(place), kind="stable")]


def _passes(epoch: int, passes: int) -> Int[np.ndarray, " P"]:
    return (1 << 40) + (epoch << 20) + np.arange(passes)


def batches(
    seed: int,
    first_step: int,
    steps: int,
    examples: int | Int[np.ndarray, " N"],
    batch_size: int,
    classes: Int[np.ndarray, " N"] | None = None,
    groups: Int[np.ndarray, " N"] | None = None,
) -> tuple[Int32[np.ndarray, "S B"], Bool[np.ndarray, "S B"]]:
    """Rows of the batches of ``steps`` steps, counted over the whole training.

    An epoch has ``ceil(N / batch_size)`` steps and visits each example exactly once; its last batch is padded with
    row 0 and mask False. Cutting a range of steps in any way gives the same rows.

    Args:
        seed: seed of the run.
        first_step: number of the first step, from 0 at the start of the training.
        steps: how many steps.
        examples: number N of examples, or their numbers ``[N]`` where the order is to follow something other than
            the position in the split (the row in the source, so that folds of one dataset agree).
        batch_size: rows in a batch.
        classes: class of each example where every class is to come equally often, as in `balanced_order`; an epoch
            then still has N rows, but not every example.
        groups: group of each example where a batch is to hold examples of one group only. An epoch then has
            ``ceil(n / batch_size)`` steps for each group of n examples, in random order.

    Returns:
        index: positions in the split, ``[steps, batch_size]``.
        mask: False where the row is padding, ``[steps, batch_size]``.
    """
    count = examples if isinstance(examples, int) else len(examples)
    if count < 1 or batch_size < 1:
        raise ValueError(f"at least one example and one row per batch are needed, not {count} and {batch_size}")
    if groups is not None:
        return _grouped(seed, first_step, steps, groups, batch_size)
    per_epoch = -(-count // batch_size)
    width = per_epoch * batch_size
    first_epoch, last_epoch = first_step // per_epoch, (first_step + max(steps, 1) - 1) // per_epoch
    index = np.zeros((last_epoch - first_epoch + 1, width), dtype=np.int32)
    if classes is None:
        index[:, :count] = _positions(seed, first_epoch, len(index), examples)
    else:
        for epoch in range(len(index)):
            index[epoch, :count] = _remembered_balanced(seed, first_epoch + epoch, _Numbers(classes))
    mask = np.broadcast_to(np.arange(width) < count, index.shape)
    rows = slice(first_step - first_epoch * per_epoch, first_step - first_epoch * per_epoch + steps)
    return index.reshape(-1, batch_size)[rows], mask.reshape(-1, batch_size)[rows]


def _grouped(
    seed: int, first_step: int, steps: int, groups: Int[np.ndarray, " N"], batch_size: int
) -> tuple[Int32[np.ndarray, "S B"], Bool[np.ndarray, "S B"]]:
    """As `batches`, for groups."""
    key = _Numbers(groups)
    per_epoch = len(_remembered_groups(seed, 0, key, batch_size)[0])
    first_epoch, last_epoch = first_step // per_epoch, (first_step + max(steps, 1) - 1) // per_epoch
    epochs = [_remembered_groups(seed, epoch, key, batch_size) for epoch in range(first_epoch, last_epoch + 1)]
    rows = slice(first_step - first_epoch * per_epoch, first_step - first_epoch * per_epoch + steps)
    index, mask = (np.concatenate(parts)[rows] for parts in zip(*epochs, strict=True))
    return index, mask


def grouped_epoch(
    seed: int, epoch: int, groups: Int[np.ndarray, " N"], batch_size: int
) -> tuple[Int32[np.ndarray, "S B"], Bool[np.ndarray, "S B"]]:
    """All batches of one epoch, each of one group; a group's last one is padded with its first row and mask False.

    Each group is gone through in the order of `epoch_order`; then the batches are put in the order of a hash of (seed,
    epoch, batch).
    """
    index, mask = [], []
    for group in np.unique(groups):
        members = epoch_order(seed, epoch, np.flatnonzero(groups == group))
        filled = -(-len(members) // batch_size) * batch_size
        index.append(np.append(members, np.full(filled - len(members), members[0])).reshape(-1, batch_size))
        mask.append((np.arange(filled) < len(members)).reshape(-1, batch_size))
    order = np.argsort(_hashes(seed, _passes(epoch, 1), np.arange(sum(map(len, index))))[0])
    return np.concatenate(index).astype(np.int32)[order], np.concatenate(mask)[order]


class _Numbers:
    """Example numbers as the key of a cache: equal where the content is."""

    def __init__(self, examples: int | Int[np.ndarray, " N"]) -> None:
        self._given = examples
        self._key = examples if isinstance(examples, int) else hashlib.sha256(examples.tobytes()).digest()

    @property
    def values(self) -> Int[np.ndarray, " N"]:
        return np.arange(self._given, dtype=np.int64) if isinstance(self._given, int) else self._given

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Numbers) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)


def _positions(seed: int, first: int, epochs: int, examples: int | Int[np.ndarray, " N"]) -> Int[np.ndarray, "E N"]:
    """Positions in visiting order for consecutive epochs."""
    numbers = _Numbers(examples)
    block = BLOCK // (examples if isinstance(examples, int) else len(examples))
    if block < 2 or epochs < 2:
        return np.stack([_remembered(seed, first + epoch, numbers) for epoch in range(epochs)])
    starts = range(first, first + epochs, block)
    parts = [np.arange(start, min(start + block, first + epochs)) for start in starts]
    return np.concatenate([np.argsort(_hashes(seed, part, numbers.values), axis=1) for part in parts])


@functools.lru_cache(maxsize=4)
def _remembered_balanced(seed: int, epoch: int, classes: _Numbers) -> Int[np.ndarray, " N"]:
    return balanced_order(seed, epoch, classes.values)


@functools.lru_cache(maxsize=4)
def _remembered_groups(
    seed: int, epoch: int, groups: _Numbers, batch_size: int
) -> tuple[Int32[np.ndarray, "S B"], Bool[np.ndarray, "S B"]]:
    return grouped_epoch(seed, epoch, groups.values, batch_size)


@functools.lru_cache(maxsize=4)
def _remembered(seed: int, epoch: int, numbers: _Numbers) -> Int32[np.ndarray, " N"]:
    return np.argsort(_hashes(seed, np.asarray([epoch]), numbers.values)[0]).astype(np.int32)


def _hashes(seed: int, epochs: Int[np.ndarray, " E"], examples: Int[np.ndarray, " N"]) -> UInt64[np.ndarray, "E N"]:
    keys = np.asarray([_mix_int(_mix_int(seed + GOLDEN) + (int(e) + 1) * GOLDEN) for e in epochs], dtype=np.uint64)
    bits = keys[:, None] + (examples.astype(np.uint64) + np.uint64(1)) * np.uint64(GOLDEN)
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))


def _mix_int(bits: int) -> int:
    """The finaliser of `_hashes` on one Python integer, which NumPy scalars would warn about overflowing."""
    bits &= MASK
    bits = ((bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    bits = ((bits ^ (bits >> 27)) * 0x94D049BB133111EB) & MASK
    return bits ^ (bits >> 31)
