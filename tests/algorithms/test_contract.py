"""What every algorithm must keep: the same test for supervised learning, a GAN and a bandit."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
import pytest
from members import alone, as_group, furthest, one_group
from tiny import QUIET
from toy_bandit import ARMS, ToyBandit
from toy_gan import Players, ToyGAN, TwoOptimizers

import research
from research.ablation.program import Way
from research.data import SyntheticTable, TableData
from research.errors import UserError
from research.evaluation import Rows
from research.experiment import Evaluation, Execution, Experiment, Parallel, Selection
from research.losses import BinaryCrossEntropy, CrossEntropy
from research.models import MLP
from research.optimizers import AdamW, Momentum
from research.schedules import WarmupCosine
from research.training.setup import Setup, set_up

DATA = TableData(source=SyntheticTable(patients=150))
SMALL = MLP(widths=(8,), dropout=0.2)

EXPERIMENTS = {
    "supervised": Experiment(
        data=DATA,
        model=SMALL,
        loss=CrossEntropy(label_smoothing=0.1),
        optimizer=AdamW(
            learning_rate=WarmupCosine(peak=1e-2), clip_norm=1.0, accumulate=2, average=0.9, weight_decay=1e-2
        ),
        epochs=6,
        evaluation=Evaluation(select=Selection(metric="auroc", patience=3), resamples=100),
    ),
    "batch norm": Experiment(
        data=DATA,
        model=MLP(widths=(8,), normalization="batch"),
        loss=BinaryCrossEntropy(),
        optimizer=Momentum(learning_rate=0.01),
        steps=20,
        evaluation=Evaluation(resamples=100),
    ),
    "gan": Experiment(
        data=DATA,
        model=Players(generator=MLP(widths=(8,)), discriminator=MLP(widths=(8,))),
        algorithm=ToyGAN(),
        optimizer=TwoOptimizers(),
        epochs=3,
        evaluation=Evaluation(resamples=100),
    ),
    "bandit": Experiment(
        algorithm=ToyBandit(step_size=0.2),
        steps=300,
        evaluation=Evaluation(every_steps=100, select=Selection(metric="loss"), resamples=100),
    ),
}

PATHS: dict[str, tuple[Any, ...]] = {
    "supervised": ("optimizer.clip_norm", 0.5, 1.0),
    "batch norm": ("optimizer.learning_rate", 0.01, 0.02),
    "gan": ("optimizer.generator.learning_rate", 1e-3, 2e-3),
    "bandit": ("algorithm.step_size", 0.1, 0.2),
}
"""A number of each, by its path, and two values."""

EVERY = pytest.mark.parametrize("name", EXPERIMENTS)


@pytest.fixture(scope="module")
def setups() -> dict[str, Setup]:
    return {name: set_up(experiment, 3, Execution()) for name, experiment in EXPERIMENTS.items()}


def advanced(setup: Setup, chunks: tuple[int, ...]) -> Any:
    """The carry after the given numbers of updates, one dispatch each."""
    carry = setup.program.initialise()
    step = 0
    for count in chunks:
        window = None if setup.feed is None else setup.feed.window(step)
        carry = setup.program.advance(carry, window, count)
        step += count
    return carry


def bits(tree: Any) -> list[bytes]:
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(tree)]


def journey(setup: Setup) -> tuple[Any, list[float]]:
    """The carry after 20 updates; mean loss of the first, and of all; and means of what the rows of test have."""
    assert setup.feed is not None
    carry, found = setup.program.initialise(), []
    for step, count in ((0, 1), (1, 19)):
        carry = setup.program.advance(carry, setup.feed.window(step), count)
        found.append(float(carry.sums["loss"]) / (step + count))
    deployed = setup.experiment.algorithm.deployed(setup.experiment, carry.state)
    rows = setup.program.predict(deployed, setup.splits["test"])
    return carry, [*found, *(float(row.mean()) for row in rows.values() if row.ndim == 1)]


@pytest.mark.parametrize("mode", ["jit", "pmap"])
@pytest.mark.parametrize("name", [name for name, its in EXPERIMENTS.items() if its.algorithm.uses_data])
def test_two_devices_give_the_numbers_of_one_and_have_the_same_state(
    setups: dict[str, Setup], name: str, mode: Literal["jit", "pmap"]
) -> None:
    execution = Execution(parallel=Parallel(data=2, mode=mode))
    carry, found = journey(set_up(EXPERIMENTS[name], 3, execution))
    expected = journey(setups[name])[1]
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-5)
    np.testing.assert_allclose(found, expected, rtol=1e-3)
    for leaf in jax.tree.leaves(carry):
        one, other = (np.asarray(shard.data) for shard in leaf.addressable_shards)
        np.testing.assert_array_equal(one, other)


@EVERY
def test_any_chunking_gives_the_same_bits(setups: dict[str, Setup], name: str) -> None:
    whole = advanced(setups[name], (11,))
    assert int(whole.step) == 11
    for chunks in ((4, 7), (1,) * 11, (10, 1)):
        assert bits(advanced(setups[name], chunks)) == bits(whole)


@EVERY
def test_members_of_an_ablation_nearly_equal_runs_of_their_own(name: str) -> None:
    """The way that takes sums in another order; those that are equal to the bit are compared in test_program."""
    found = one_group(EXPERIMENTS[name], PATHS[name][0], PATHS[name][1:], seeds=1)
    for member, run in zip(as_group(found, Way("vmap"), 7), alone(found, 7), strict=True):
        assert furthest(member, run) < 1e-4


@EVERY
def test_state_has_named_parts_and_changes(setups: dict[str, Setup], name: str) -> None:
    before, after = advanced(setups[name], ()), advanced(setups[name], (11,))
    assert {field.name for field in dataclasses.fields(after.state)} == {"params", "model_state", "optimizer", "extra"}
    assert jax.tree.structure(before) == jax.tree.structure(after)
    assert bits(before.state.params) != bits(after.state.params)
    assert np.isfinite(float(after.sums["loss"])) and int(after.count) == 11


@EVERY
def test_seed_decides_everything(setups: dict[str, Setup], name: str) -> None:
    other = set_up(EXPERIMENTS[name], 4, Execution())
    assert bits(advanced(other, (11,)).state) != bits(advanced(setups[name], (11,)).state)
    again = set_up(EXPERIMENTS[name], 3, Execution())
    assert bits(advanced(again, (11,))) == bits(advanced(setups[name], (11,)))


@EVERY
def test_rows_have_one_length_and_padding_counts_for_nothing(setups: dict[str, Setup], name: str) -> None:
    setup = setups[name]
    carry = advanced(setup, (5,))
    deployed = setup.experiment.algorithm.deployed(setup.experiment, carry.state)
    split = setup.splits.get("validation")
    rows = setup.program.predict(deployed, split)
    lengths = {len(row) for row in rows.values()}
    assert lengths == ({len(split.example)} if split is not None else {32})
    if setup.experiment.algorithm.rows == "example":
        # 7 does not divide the split: the last of these batches is padded.
        small = setup.experiment.replace(evaluation=setup.experiment.evaluation.replace(batch_size=7))
        padded = set_up(small, 3, Execution()).program.predict(deployed, split)
        for column, row in rows.items():
            np.testing.assert_allclose(padded[column], row, rtol=2e-5, atol=1e-6)


@EVERY
def test_numbers_share_one_program(setups: dict[str, Setup], name: str, compiles: Any) -> None:
    advanced(setups[name], (3,))
    leaves, structure = jax.tree.flatten(EXPERIMENTS[name])
    before = compiles()
    for factor in (0.5, 0.9):
        other = set_up(structure.unflatten([leaf * factor for leaf in leaves]), 5, Execution())
        advanced(other, (3,))
    assert compiles() == before


@EVERY
def test_a_run_resumes_finishes_and_reports(name: str, tmp_path: Path) -> None:
    result = research.run(EXPERIMENTS[name], seed=1, name=name, runs=tmp_path)
    assert result.fresh and result.report.estimates
    for estimate in result.report.estimates:
        assert estimate.low <= estimate.value <= estimate.high
    again = research.run(EXPERIMENTS[name], seed=1, name=name, runs=tmp_path)
    assert not again.fresh and again.summary == result.summary
    if name in ("gan", "bandit"):
        assert all(isinstance(rows, Rows) for rows in result.predictions.values())


def test_an_algorithm_without_data_has_no_rows_to_share_out(monkeypatch: pytest.MonkeyPatch) -> None:
    experiment = EXPERIMENTS["bandit"]
    for parallel in (Parallel(data=64), Parallel(fsdp=4), Parallel(data=1, tensor=2)):
        with pytest.raises(UserError, match=r"^execution\.parallel: data .*ToyBandit reads no data .*Leave execution"):
            set_up(experiment, 0, QUIET.replace(parallel=parallel))
    set_up(experiment, 0, QUIET.replace(parallel=Parallel(data=1)))
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    with pytest.raises(UserError, match=r"ToyBandit reads no data .* processes .* 2 were started .* Start one"):
        set_up(experiment, 0, QUIET)


def test_the_bandit_learns(tmp_path: Path) -> None:
    experiment = EXPERIMENTS["bandit"].replace(steps=2000)
    regret = research.run(experiment, name="bandit", runs=tmp_path, execution=QUIET).metrics["regret"].value
    random_choice = max(ARMS) - np.mean(ARMS)
    assert regret < random_choice / 2
