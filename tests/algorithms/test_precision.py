"""Training in other types than float32, against float32: parameters, computation, and the scale of the loss."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import EXPERIMENT, QUIET

from research.algorithms import Supervised
from research.experiment import Experiment, Parallel, Precision
from research.models import MLP
from research.models.functional import paths
from research.optimizers import Momentum
from research.spec import fingerprint
from research.training.checkpoint import Checkpoints
from research.training.setup import Setup, set_up

BASE = EXPERIMENT.replace(
    model=MLP(widths=(8,), normalization="batch"),
    # Not Adam: it makes full steps of gradients that are nothing but rounding, as those of biases before batch norm.
    optimizer=Momentum(learning_rate=0.05, average=0.9, accumulate=2),
    algorithm=Supervised(l1=1e-3, l2=1e-3),
)
FLOAT16 = BASE.replace(precision=Precision(compute="float16"))
PRECISIONS = {
    "bfloat16": Precision(compute="bfloat16"),
    "bfloat16 parameters": Precision(params="bfloat16", compute="bfloat16"),
    "float16": FLOAT16.precision,
}


@functools.cache
def setup_of(experiment: Experiment, parallel: Parallel | None = None) -> Setup:
    return set_up(experiment, 0, QUIET.replace(parallel=parallel or Parallel(data=1)))


def advanced(setup: Setup, count: int, carry: Any = None, start: int = 0) -> Any:
    assert setup.feed is not None
    carry = setup.program.initialise() if carry is None else carry
    return setup.program.advance(carry, setup.feed.window(start), count)


def bits(tree: Any) -> list[bytes]:
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(tree)]


@pytest.mark.parametrize("name", PRECISIONS)
def test_twenty_updates_are_near_those_in_float32(name: str) -> None:
    precision = PRECISIONS[name]
    expected = advanced(setup_of(BASE), 20)
    carry = advanced(setup_of(BASE.replace(precision=precision)), 20)
    for scalar in ("loss", "penalty"):
        assert carry.sums[scalar].dtype == jnp.float32
        assert float(carry.sums[scalar]) == pytest.approx(float(expected.sums[scalar]), rel=1e-2)
        assert float(carry.sums[scalar]) != float(expected.sums[scalar])
    initial = paths(setup_of(BASE).program.initialise().state.params)
    for kind, tolerance in (("params", 0.02), ("average", 0.01)):
        found, reference = (
            paths(state.params if kind == "params" else state.extra[kind]) for state in (carry.state, expected.state)
        )
        assert max(np.abs(leaf - initial[path]).max() for path, leaf in reference.items()) > 5 * tolerance
        for path, leaf in found.items():
            assert np.abs(np.asarray(leaf, np.float32) - reference[path]).max() < tolerance, (kind, path)
    kept = {path.split("/")[-1]: leaf.dtype for path, leaf in paths(carry.state.params).items()}
    assert kept["kernel"] == jnp.dtype(precision.params) and kept["scale"] == jnp.float32
    moments = {leaf.dtype for leaf in jax.tree.leaves(carry.state.optimizer.inner) if leaf.ndim}
    assert moments == {jnp.dtype(precision.params), jnp.dtype("float32")}
    statistics = jax.tree.leaves((carry.state.model_state, carry.state.extra["average"]))
    assert {leaf.dtype for leaf in statistics} == {jnp.dtype("float32")}


def test_default_precision_leaves_a_run_its_name() -> None:
    # As it was when there was nothing but `compute`.
    assert fingerprint(Precision()) == "96fb4f55efab"
    assert fingerprint(Precision(compute="bfloat16")) == "5b779683bd3c"
    assert fingerprint(Precision(params="bfloat16")) != "96fb4f55efab"


# ---- float16


def rescaled(carry: Any, scale: float) -> Any:
    """The carry with another scale of the loss."""
    extra = carry.state.extra
    changed = extra["loss_scale"]._replace(scale=jnp.float32(scale))
    return dataclasses.replace(carry, state=dataclasses.replace(carry.state, extra=extra | {"loss_scale": changed}))


def test_an_update_that_overflows_is_skipped_whole_and_the_run_goes_on() -> None:
    setup = setup_of(FLOAT16)
    before = jax.device_get(advanced(setup, 5))
    after = advanced(setup, 1, rescaled(jax.device_put(before), 2.0**24), 5)
    kept = dict(after.state.extra)
    scale = kept.pop("loss_scale")
    assert float(scale.scale) == 2**23 and int(scale.finite) == 0
    assert bits((after.state.params, after.state.model_state, after.state.optimizer)) == bits(
        (before.state.params, before.state.model_state, before.state.optimizer)
    )
    assert bits(kept) == bits({name: before.state.extra[name] for name in kept})
    assert int(after.step) == 6 and int(after.failed_step) == -1
    assert float(after.sums["skipped"]) == 1 and np.isfinite(float(after.sums["loss"]))
    # Halving goes on until gradients fit again; from there on updates are made.
    later = advanced(setup, 15, after, 6)
    assert int(later.failed_step) == -1 and float(later.state.extra["loss_scale"].scale) < 2**23
    assert 1 <= float(later.sums["skipped"]) < 16
    assert bits(later.state.params) != bits(before.state.params)


def test_a_loss_that_stays_infinite_fails_once_the_scale_is_one() -> None:
    setup = setup_of(FLOAT16)
    carry = advanced(setup, 3)
    huge = jax.tree.map(lambda leaf: leaf + 1e6, carry.state.params)
    broken = dataclasses.replace(carry, state=dataclasses.replace(carry.state, params=huge))
    failed = advanced(setup, 10, rescaled(broken, 4.0), 3)
    # Skipped at 4 and at 2; at 1, the sixth update, there is nothing left to try.
    assert int(failed.failed_step) == 6 and int(failed.step) == 6


def test_interruption_and_checkpoint_change_no_bit_and_the_scale_is_logged(tmp_path: Path) -> None:
    setup = setup_of(FLOAT16)
    whole = advanced(setup, 11, rescaled(setup.program.initialise(), 2.0**24))
    carry = advanced(setup, 4, rescaled(setup.program.initialise(), 2.0**24))
    checkpoints = Checkpoints(tmp_path / "last")
    checkpoints.save(4, carry)
    checkpoints.wait()
    restored = checkpoints.restore(4, setup.program.carry_like())
    assert bits(advanced(setup, 7, restored, 4)) == bits(whole)
    _, record = setup.program.record(whole, None, False)
    assert 2**10 < float(record["train/loss_scale"]) <= 2**24 and 0 < float(record["train/skipped"]) < 1


def test_programs_side_by_side_skip_together() -> None:
    alone, setup = setup_of(FLOAT16), setup_of(FLOAT16, Parallel(data=2, mode="pmap"))
    expected, found = (advanced(each, 12, rescaled(each.program.initialise(), 2.0**24)) for each in (alone, setup))
    assert float(found.state.extra["loss_scale"].scale) == float(expected.state.extra["loss_scale"].scale)
    assert float(found.sums["skipped"]) == float(expected.sums["skipped"]) > 0
    assert float(found.sums["loss"]) == pytest.approx(float(expected.sums["loss"]), rel=5e-3)
