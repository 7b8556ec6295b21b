"""Rows that several folds share: in memory and on a device once, and the same inputs as without."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import UInt8

from research.ablation.ablation import Ablation
from research.ablation.groups import Group, Stock, group
from research.ablation.memory import size_of
from research.ablation.sources import source_of
from research.data import ImageData, Split, SyntheticTable, SyntheticXray, TableData
from research.data.images import Images
from research.data.pool import Pooled, inputs_at, one_of, pool_of, same_bits
from research.data.resident import put, put_pooled, take
from research.experiment import Execution, Experiment
from research.losses import CrossEntropy
from research.models import CNN, MLP
from research.optimizers import AdamW

FOLDS = 5
FILMS = ImageData(source=SyntheticXray(patients=43, films=2, size=32))


def folds_of(data: Any, model: Any) -> tuple[Group, ...]:
    baseline = Experiment(
        data=data, model=model, loss=CrossEntropy(), optimizer=AdamW(learning_rate=1e-3), steps=4, batch_size=8
    )
    ablation = Ablation(baseline=baseline, grid={"optimizer.learning_rate": [1e-3, 2e-3]}, seeds=1, folds=FOLDS)
    return group(ablation.members(), Stock(), Execution())


@pytest.fixture(scope="module")
def films() -> Group:
    (found,) = folds_of(FILMS, CNN(widths=(4,)))
    return found


def test_folds_of_different_sizes_are_one_group(films: Group) -> None:
    splits = [ready.prepared.splits for ready in films.members if ready.prepared is not None]
    sizes = {len(each["test"]) for each in splits}
    assert len(splits) == 2 * FOLDS and len(sizes) == 2
    assert {each["test"].room for each in splits} == {max(sizes)}


def test_all_folds_of_pictures_hold_each_once(films: Group) -> None:
    device = jax.devices()[0]
    source = source_of(films.members, device, 1)
    pictures = {id(array) for split in source.splits.values() for array in jax.tree.leaves(split.inputs.pool)}
    assert source.several and len(pictures) == 1
    inputs = 43 * 2 * 32 * 32
    assert size_of([split.inputs.pool for split in source.splits.values()]) == inputs
    index, mask = jnp.asarray([3, 0, 5], jnp.int32), jnp.ones(3, bool)
    for ready, number in zip(films.members, source.data, strict=True):
        assert ready.prepared is not None
        for name, examples in ready.prepared.splits.items():
            own, alone = one_of(source.splits[name], number), put(examples, ready.prepared.task)
            for one, other in ((take(own, index, mask), take(alone, index, mask)), (own, alone)):
                one, other = (dataclasses.replace(each, inputs=inputs_of(each)) for each in (one, other))
                assert all(map(same_bits, *(map(np.asarray, jax.tree.leaves(each)) for each in (one, other))))


def inputs_of(split: Any) -> Any:
    return split.inputs.whole() if isinstance(split.inputs, Pooled) else split.inputs


def test_folds_with_statistics_of_their_own_in_the_inputs_are_not_pooled() -> None:
    (found,) = folds_of(TableData(source=SyntheticTable(patients=103)), MLP(widths=(4,)))
    source = source_of(found.members, jax.devices()[0], 1)
    assert not isinstance(source.splits["train"].inputs, Pooled)
    assert source.splits["train"].inputs.shape[0] == FOLDS


def test_pictures_are_read_once_for_all_folds(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    picture = Images.picture

    def counted(self: Images, position: int) -> UInt8[np.ndarray, "H W C"]:
        read.append(position)
        return picture(self, position)

    monkeypatch.setattr(Images, "picture", counted)
    (found,) = folds_of(FILMS, CNN(widths=(4,)))
    assert sorted(read) == list(range(86))
    held = {id(ready.prepared.splits["train"].inputs.pictures) for ready in found.members if ready.prepared is not None}
    assert len(held) == 1


def test_rows_with_missing_values_are_alike_by_their_bits() -> None:
    first = TableData(source=SyntheticTable(patients=40), split=Split(folds=2)).prepare().splits
    gap = {name: dataclasses.replace(each, inputs=np.full_like(each.inputs, np.nan)) for name, each in first.items()}
    pooled = put_pooled([gap, gap], TableData(source=SyntheticTable()).prepare().task, jax.devices()[0])
    assert pooled is not None and np.isnan(inputs_at(pooled[0]["test"], jnp.zeros(1, jnp.int32))).all()
    assert pool_of([first["test"], gap["test"]]) is None
    assert pool_of([first["test"], dataclasses.replace(first["test"], inputs={"a": first["test"].inputs})]) is None


def test_rows_that_share_a_number_are_not_pooled() -> None:
    """Which of them a split has could not be told."""
    split = TableData(source=SyntheticTable(patients=40)).prepare().splits["train"]
    assert pool_of([split]) is not None
    twice = dataclasses.replace(split, example=np.zeros_like(split.example))
    assert pool_of([twice]) is None


def test_the_most_rows_of_any_fold_count_inner_folds_too() -> None:
    table = SyntheticTable(patients=103).load()
    split = Split(folds=4, inner_folds=3, validation=0.3)
    most = split.largest(table)
    for fold in range(4):
        for inner in range(3):
            names = split.replace(fold=fold, inner_fold=inner).assign(table)
            assert all((names == name).sum() <= count for name, count in most.items())
    assert most != split.replace(inner_folds=None).largest(table) and Split().largest(table) == {}
