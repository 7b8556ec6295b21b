"""The scale of the loss: when it is halved, doubled and held, and what is told of a skipped update."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from research.loss_scale import INTERVAL, MOST, LossScale, all_finite, chosen


def after(scale: LossScale, finite: bool, loss: float = 1.0) -> tuple[LossScale, dict[str, float]]:
    new, told = scale.after(jnp.bool_(finite), jnp.float32(loss))
    return new, {name: float(value) for name, value in told.items()}


def test_it_is_doubled_after_so_many_finite_updates_in_a_row_up_to_a_greatest() -> None:
    scale = LossScale.first()
    assert float(scale.scale) == 2**15
    scale, _ = after(scale._replace(finite=jnp.int32(INTERVAL - 2)), True)
    assert (float(scale.scale), int(scale.finite)) == (2**15, INTERVAL - 1)
    scale, _ = after(scale, True)
    assert (float(scale.scale), int(scale.finite)) == (2**16, 0)
    held, _ = after(LossScale(jnp.float32(MOST), jnp.int32(INTERVAL - 1), jnp.float32(0)), True)
    assert float(held.scale) == MOST


def test_it_is_halved_and_counts_anew_where_an_update_is_skipped() -> None:
    scale, told = after(LossScale.first()._replace(finite=jnp.int32(77)), False)
    assert (float(scale.scale), int(scale.finite)) == (2**14, 0)
    assert told == {"loss": 1.0, "loss_scale": 2.0**15, "skipped": 1.0}
    assert after(scale, True)[1]["skipped"] == 0


def test_a_loss_that_is_not_finite_ends_a_run_only_where_no_smaller_scale_is_left() -> None:
    scale, told = after(LossScale.first()._replace(scale=jnp.float32(4)), True, 0.25)
    assert told["loss"] == 0.25
    shown = []
    for _ in range(3):
        scale, told = after(scale, False, np.inf)
        shown.append((told["loss_scale"], told["loss"]))
    assert shown[:2] == [(4, 0.25), (2, 0.25)] and shown[2][0] == 1 and np.isnan(shown[2][1])
    # A gradient that is not finite at that scale ends it too: no update would ever be made again.
    assert np.isnan(after(scale, False, 0.5)[1]["loss"])


def test_gradients_are_unscaled_without_rounding_and_keep_their_types() -> None:
    scale = LossScale.first()
    values = {"a": jnp.asarray([1.1, 3e-5], jnp.float32), "b": jnp.asarray([0.3], jnp.bfloat16)}
    found = scale.unscaled({name: value * scale.scale.astype(value.dtype) for name, value in values.items()})
    for name, value in values.items():
        assert found[name].dtype == value.dtype
        np.testing.assert_array_equal(found[name], value)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_one_number_that_is_not_finite_is_seen_and_the_old_values_are_taken(wrong: float) -> None:
    good, bad = {"a": jnp.ones(3), "b": jnp.zeros(())}, {"a": jnp.asarray([1, wrong, 1]), "b": jnp.zeros(())}
    assert bool(all_finite(good)) and not bool(all_finite(bad))
    np.testing.assert_array_equal(chosen(all_finite(bad), bad, good)["a"], good["a"])
    np.testing.assert_array_equal(chosen(all_finite(good), good, bad)["a"], good["a"])
