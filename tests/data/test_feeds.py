"""Both feeds give the same batches to the bit, wherever they start, whatever they feed."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from pictures import Dots

from research.data import Data, ImageData, SyntheticTable, TableData
from research.data.feed import Block, Feed, Orders, Reading, block_rows
from research.data.placing import own_part
from research.data.prepare import Examples, Prepared
from research.data.resident import ResidentFeed, put, take
from research.data.streaming import (
    CHUNK_BYTES,
    CHUNK_UPDATES,
    StreamedSplit,
    StreamingFeed,
    _ReadChunk,
    chunk_updates,
)
from research.errors import RunError
from research.experiment import Parallel
from research.training.layout import layout_of

PICTURES = ImageData(source=Dots(count=80))
TABLE = TableData(source=SyntheticTable(patients=60, visits=2))
TOTAL = 20


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESEARCH_CACHE_DIR", str(tmp_path / "cache"))


def batches_of(feed: Feed, steps: Iterator[int] | range, order: int | None = None) -> list[list[bytes]]:
    """Everything in the batch of each update, as bytes; of one of several orders."""
    found = []
    for step in steps:
        window = feed.window(step)
        assert window.left >= 1
        place = (window.offset,) if order is None else (order, window.offset)
        index, mask = np.asarray(window.index)[place], np.asarray(window.mask)[place]
        rows: list[Any] = jax.tree.leaves(take(window.rows, jnp.asarray(index.ravel()), jnp.asarray(mask.ravel())))
        # What fills up a short batch is arbitrary; only rows that count are compared.
        found.append([np.asarray(part)[mask.ravel()].tobytes() for part in rows] + [mask.tobytes()])
    feed.close()
    return found


def feeds(data: Data, monkeypatch: pytest.MonkeyPatch, **options: Any) -> tuple[ResidentFeed, StreamingFeed]:
    memory, disk = data.prepare(), data.prepare(stored=True)
    train = memory.splits["train"]
    classes = train.targets if data.balanced else None
    workers = options.pop("workers", 0)
    reading = Reading(5, len(train), 8, classes=classes, **options)
    monkeypatch.setattr("research.data.streaming.CHUNK_UPDATES", 3)
    streaming = StreamingFeed(reading, disk.splits["train"], disk.task, TOTAL, workers)
    return ResidentFeed(reading, put(train, memory.task)), streaming


@pytest.mark.parametrize(
    "data", [PICTURES, TABLE, PICTURES.replace(balanced=True)], ids=["pictures", "table", "balanced"]
)
@pytest.mark.parametrize("batches_per_update", [1, 2])
def test_both_feeds_give_equal_batches(data: Data, batches_per_update: int, monkeypatch: pytest.MonkeyPatch) -> None:
    resident, streaming = feeds(data, monkeypatch, batches_per_update=batches_per_update)
    assert streaming.length == 3
    whole = batches_of(resident, range(TOTAL))
    assert batches_of(streaming, range(TOTAL)) == whole
    assert len({repr(batch) for batch in whole}) == TOTAL


def test_a_stream_may_begin_anywhere_and_go_back(monkeypatch: pytest.MonkeyPatch) -> None:
    resident, streaming = feeds(PICTURES, monkeypatch)
    steps = [7, 8, 9, 10, 2, 3, 19]
    assert batches_of(streaming, iter(steps)) == batches_of(resident, iter(steps))


def test_worker_processes_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    resident, streaming = feeds(TABLE, monkeypatch, workers=2)
    assert batches_of(streaming, range(10)) == batches_of(resident, range(10))


def test_what_a_worker_process_stumbles_over_is_told_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def chunks(error: Exception) -> Iterator[Any]:
        yield from ()
        raise error

    streaming = feeds(TABLE, monkeypatch, workers=1)[1]
    with pytest.raises(RunError, match=r"^records are damaged$"):
        streaming._take(chunks(RunError("records are damaged")))
    with pytest.raises(RunError, match=r"a process that reads has ended \(worker died\)\. A script"):
        streaming._take(chunks(RuntimeError("worker died")))


def test_orders_are_fed_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    resident, streaming = feeds(PICTURES, monkeypatch)
    assert isinstance(resident.reading, Reading)
    readings = [dataclasses.replace(resident.reading, seed=seed) for seed in (5, 6)]
    alone = [batches_of(ResidentFeed(reading, resident.split), range(TOTAL)) for reading in readings]
    orders = Orders(tuple(readings))
    both = StreamingFeed(orders, streaming.examples, streaming.task, TOTAL), ResidentFeed(orders, resident.split)
    for feed in both:
        window = feed.window(0)
        assert jax.tree.map(jax.typeof, window[:3]) == jax.tree.map(jax.typeof, feed.window_like()[:3])
        for number, batches in enumerate(alone):
            assert batches_of(feed, range(TOTAL), number) == batches


@pytest.mark.parametrize("batches_per_update", [1, 2])
def test_batches_that_are_spread_over_devices_are_the_same(
    batches_per_update: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    resident, streaming = feeds(PICTURES, monkeypatch, batches_per_update=batches_per_update)
    layout = layout_of(Parallel(data=2), jax.devices(), 8)
    assert layout is not None
    spread = StreamingFeed(streaming.reading, streaming.examples, streaming.task, TOTAL, spread=layout.rows)
    found = []
    for step in range(TOTAL):
        window = spread.window(step)
        assert window.index is None and window.rows.inputs.addressable_shards[0].data.shape[-4] == 4
        assert jax.tree.map(jax.typeof, window.rows) == jax.tree.map(jax.typeof, spread.window_like().rows)
        mask = np.asarray(window.rows.mask[window.offset]).ravel()
        rows = [np.asarray(part[window.offset]) for part in jax.tree.leaves(window.rows)]
        flat = [part.reshape(-1, *part.shape[batches_per_update:])[mask].tobytes() for part in rows]
        found.append([*flat, mask.tobytes()])
    spread.close()
    assert found == batches_of(resident, range(TOTAL))


def test_a_process_reads_the_rows_of_its_own_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of eight rows each of two processes has four, the second one those in the middle."""
    streaming = feeds(PICTURES, monkeypatch)[1]
    read: list[int] = []
    whole = streaming.examples.read
    monkeypatch.setattr(Examples, "read", lambda self, rows: read.extend(rows.tolist()) or whole(rows))
    part = own_part(Some([slice(4, 6), slice(2, 4), slice(2, 4)]), 8, 1)
    assert part.tolist() == [2, 3, 4, 5]
    chunk = _ReadChunk(streaming.reading, streaming.examples, 3, part)(1)
    index, mask = streaming.reading.rows(3, 3)
    assert read == index[:, 2:6].ravel().tolist() == chunk["example"].tolist()
    assert (chunk["mask"] == mask[:, 2:6]).all()


class Some(jax.sharding.Sharding):
    """Devices of a process that hold some parts of the second axis."""

    def __init__(self, parts: list[slice]) -> None:
        self.parts = parts

    def addressable_devices_indices_map(self, global_shape: Any) -> Any:
        assert global_shape == (1, 8)
        return {number: (slice(None), part) for number, part in enumerate(self.parts)}


def test_blocks_that_are_spread_over_devices_are_the_same() -> None:
    prepared = PICTURES.prepare(stored=True)
    layout = layout_of(Parallel(data=2), jax.devices(), 8)
    assert layout is not None
    train, block = prepared.splits["train"], Block(20, 20)
    one, two = (StreamedSplit(train, prepared.task, block, None, rows) for rows in (None, layout.rows))
    for whole, spread in zip(one.blocks(), two.blocks(), strict=True):
        assert spread.inputs.addressable_shards[0].data.shape == (10, 12, 12, 1)
        jax.tree.map(np.testing.assert_array_equal, whole, spread)


def test_blocks_of_rows_that_are_compared_are_those_of_one_device_filled_up() -> None:
    picture = jax.ShapeDtypeStruct((224, 224, 3), np.uint8)
    assert [block_rows(256, 1000, picture, devices, True) for devices in (1, 2, 8)] == [(13, 13), (13, 14), (13, 16)]
    assert [block_rows(256, 1000, picture, devices) for devices in (1, 2, 8)] == [(13, 13), (26, 26), (104, 104)]
    prepared = PICTURES.prepare(stored=True)
    layout = layout_of(Parallel(data=2), jax.devices(), 8)
    assert layout is not None
    train = prepared.splits["train"]
    split = StreamedSplit(train, prepared.task, Block(13, 14), None, layout.rows)
    blocks = list(split.blocks())
    assert all(block.inputs.addressable_shards[0].data.shape == (7, 12, 12, 1) for block in blocks)
    assert all(jax.tree.map(jax.typeof, block) == jax.tree.map(jax.typeof, split.block_like()) for block in blocks)
    masks = [np.asarray(block.mask) for block in blocks]
    assert masks[0].tolist() == [True] * 13 + [False]
    examples = [np.asarray(block.example)[mask] for block, mask in zip(blocks, masks, strict=True)]
    assert np.concatenate(examples).tolist() == list(range(len(train)))
    assert split.joined([block.example for block in blocks]).tolist() == list(range(len(train)))


def test_an_epoch_has_every_example_once() -> None:
    prepared: Prepared = PICTURES.prepare()
    count = len(prepared.splits["train"])
    reading = Reading(0, count, 8)
    index, mask = reading.rows(0, reading.updates_per_epoch)
    assert sorted(index[mask].tolist()) == list(range(count))


def test_a_split_streams_in_blocks_of_one_shape() -> None:
    prepared = PICTURES.prepare(stored=True)
    examples = prepared.splits["train"]
    split = StreamedSplit(examples, prepared.task, Block(20, 20))
    blocks = list(split.blocks())
    assert {block.inputs.shape for block in blocks} == {(20, 12, 12, 1)}
    masks = np.concatenate([np.asarray(block.mask) for block in blocks])
    example = np.concatenate([np.asarray(block.example) for block in blocks])[masks]
    assert example.tolist() == list(range(len(examples)))
    rows = np.concatenate([np.asarray(block.inputs) for block in blocks])[masks]
    np.testing.assert_array_equal(rows, examples.read(np.arange(len(examples))))
    assert split.targets().inputs is None and len(split.targets().targets) == len(examples)


def test_chunks_are_bounded_in_bytes_and_updates() -> None:
    assert chunk_updates(1) == CHUNK_UPDATES
    assert chunk_updates(CHUNK_BYTES // 4) == 4
    assert chunk_updates(10 * CHUNK_BYTES) == 1


def test_forward_passes_on_a_processor_stay_in_its_caches_unless_rows_are_compared() -> None:
    row = {size: np.zeros(size) for size in (3, 30, 3000, 300_000)}
    # A power of two, 64 at least, on each device; no more than asked for, than there are, and than fit in any case.
    assert [block_rows(1024, 9999, each, cached=True).rows for each in row.values()] == [1024, 1024, 64, 6]
    assert [block_rows(1024, 9999, row[3000], devices, cached=True).rows for devices in (1, 2, 8)] == [64, 128, 512]
    assert block_rows(10, 9999, row[3000], cached=True).rows == 10 and block_rows(99, 5, row[30], cached=True).rows == 5
    # What comes out of a row must not depend on where it is computed.
    assert block_rows(1024, 9999, row[3000], 1, True, True) == block_rows(1024, 9999, row[3000], 1, True, False)
