"""A run spread over several devices gives the numbers of one device, and goes on on any other number of them."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
import pytest
from tiny import EXPERIMENT, QUIET

from research.errors import UserError
from research.experiment import Experiment, Parallel
from research.models import MLP
from research.optimizers import SGD, AdamW
from research.spec import check
from research.training.checkpoint import Checkpoints
from research.training.layout import fitting, mesh_shape
from research.training.setup import Setup, set_up

Feeds = Literal["resident", "streaming"]
LAYOUTS = {
    "data": Parallel(data=2),
    "fsdp": Parallel(data=1, fsdp=2),
    "tensor": Parallel(data=1, tensor=2),
    "pmap": Parallel(data=2, mode="pmap"),
}
STREAMED = ("data", "pmap")
# Adam makes full steps of a gradient that is nothing but rounding, such as that of a bias before a normalisation.
TABLE = EXPERIMENT.replace(
    model=MLP(widths=(64, 64), dropout=0.2, normalization="batch"),
    optimizer=SGD(learning_rate=0.1, average=0.8, accumulate=2),
)


def spread(parallel: Parallel, experiment: Experiment = TABLE, feed: Feeds = "resident") -> Setup:
    return set_up(experiment, 0, QUIET.replace(parallel=parallel, feed=feed))


def trained(setup: Setup, updates: int) -> tuple[Any, dict[str, Any]]:
    assert setup.feed is not None
    carry = setup.program.advance(setup.program.initialise(), setup.feed.window(0), updates)
    carry, record = setup.program.record(carry, setup.splits["validation"], True)
    return carry, jax.device_get(record)


@pytest.fixture(scope="module")
def alone() -> dict[int, Any]:
    setup = spread(Parallel(data=1))
    return {updates: trained(setup, updates) for updates in (1, 20)}


@pytest.mark.parametrize(
    ("name", "feed"), [*((name, "resident") for name in LAYOUTS), *((name, "streaming") for name in STREAMED)]
)
def test_numbers_are_those_of_one_device(name: str, feed: Feeds, alone: dict[int, Any]) -> None:
    setup = spread(LAYOUTS[name], feed=feed)
    for updates, tolerance in ((1, 1e-5), (20, 1e-3)):
        carry, found = trained(setup, updates)
        expected = alone[updates][1]
        assert found["train/loss"] == pytest.approx(expected["train/loss"], rel=tolerance)
        assert found["validation/loss"] == pytest.approx(expected["validation/loss"], rel=tolerance)
    rows = setup.program.predict(
        setup.experiment.algorithm.deployed(setup.experiment, carry.state), setup.splits["test"]
    )
    one = spread(Parallel(data=1))
    state = one.experiment.algorithm.deployed(one.experiment, alone[20][0].state)
    np.testing.assert_allclose(
        rows["prediction"], one.program.predict(state, one.splits["test"])["prediction"], atol=1e-4
    )


def ten_more(setup: Setup, carry: Any) -> float:
    """Loss of the ten updates after the first twenty."""
    assert setup.feed is not None
    kept = jax.tree.map(lambda leaf: leaf.copy(), carry)
    return float(setup.program.advance(kept, setup.feed.window(20), 10).sums["loss"])


def test_checkpoints_move_between_layouts(alone: dict[int, Any], tmp_path: Path) -> None:
    """Saved on one layout and restored on the next, round all of them: each bit, and the training goes on."""
    carry = alone[20][0]
    expected = ten_more(spread(Parallel(data=1)), carry)
    for name, parallel in LAYOUTS.items():
        setup = spread(parallel)
        with contextlib.closing(Checkpoints(tmp_path / name)) as kept:
            kept.save(20, carry)
            kept.wait()
            carry = kept.restore(20, setup.program.carry_like())
        jax.tree.map(np.testing.assert_array_equal, jax.device_get(carry), jax.device_get(alone[20][0]))
        assert ten_more(setup, carry) == pytest.approx(expected, rel=1e-3)


def test_parameters_and_what_the_optimizer_keeps_of_them_lie_apart() -> None:
    experiment = TABLE.replace(model=MLP(widths=(64, 256)), optimizer=AdamW(learning_rate=1e-3))
    for name in ("fsdp", "tensor"):
        carry = spread(LAYOUTS[name], experiment).program.initialise()
        adam = carry.state.optimizer[0]
        for tree in (carry.state.params, adam.mu, adam.nu):
            kernel = tree["hidden"][1]["dense"]["kernel"]
            assert kernel.shape == (64, 256)
            assert kernel.addressable_shards[0].data.shape == (64, 128)
        small = carry.state.params["hidden"][0]["dense"]["bias"].addressable_shards[0].data.shape
        assert small == ((64,) if name == "fsdp" else (32,))


@pytest.mark.parametrize(
    ("parallel", "devices", "batch", "said"),
    [
        (Parallel(data=3), 8, 32, r"batch_size: 32 rows .* among 3 devices .*batch_size=30 or 33, .* 1, 2, 4, 8\."),
        (Parallel(data=16), 8, 32, r"take 16 devices, and 8 gpu are here\. Set execution\.parallel\.data=8, or less"),
        (Parallel(data=8, fsdp=2), 8, 32, r"take 16 devices, and 8 gpu are here\. Set execution\.parallel\.data=4"),
        (Parallel(fsdp=4, tensor=4), 8, 32, r"fsdp 4 times tensor 4 takes 16 devices, and 8 gpu are here"),
        (Parallel(data=2), 1, 32, r"take 2 devices, and 1 gpu is here"),
    ],
)
def test_what_does_not_fit_is_told(parallel: Parallel, devices: int, batch: int, said: str) -> None:
    with pytest.raises(UserError, match=said):
        mesh_shape(parallel, devices, "gpu", batch)


@pytest.mark.parametrize(
    ("parallel", "devices", "platform", "batch", "shape"),
    [
        (Parallel(), 8, "gpu", 32, (8, 1, 1)),
        (Parallel(), 8, "gpu", 36, (6, 1, 1)),
        (Parallel(), 8, "cpu", 32, (1, 1, 1)),
        (Parallel(data=2), 8, "cpu", 32, (2, 1, 1)),
        (Parallel(fsdp=4), 8, "gpu", 32, (2, 4, 1)),
        (Parallel(fsdp=2, tensor=2), 8, "tpu", 32, (2, 2, 2)),
    ],
)
def test_all_devices_that_divide_the_batch_are_used(
    parallel: Parallel, devices: int, platform: str, batch: int, shape: tuple[int, int, int]
) -> None:
    assert mesh_shape(parallel, devices, platform, batch) == shape


def test_what_was_trained_on_more_devices_is_evaluated_on_those_there_are() -> None:
    many = Parallel(data=2, fsdp=4)
    assert fitting(many, 8) == many and fitting(many, 7) == Parallel()
    assert fitting(Parallel(fsdp=8), 8) == Parallel(fsdp=8)


def test_a_hint_for_processors() -> None:
    with pytest.raises(UserError, match="force_host_platform_device_count"):
        mesh_shape(Parallel(data=4), 1, "cpu", 32)


def test_programs_side_by_side_share_rows_alone() -> None:
    with pytest.raises(UserError, match=r"parallel\.mode: pmap keeps all parameters"):
        check(Parallel(fsdp=2, mode="pmap"), "execution.parallel.")
