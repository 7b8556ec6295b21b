"""Paths of the leaves of nested dicts."""

from __future__ import annotations

import jax.numpy as jnp

from research.models.functional import paths


def test_paths_name_every_leaf_and_nothing_else() -> None:
    kernel, bias = jnp.ones((2, 3)), jnp.zeros(3)
    found = paths({"hidden": {"0": {"kernel": kernel}, "empty": {}}, "bias": bias, "momentum": None})
    assert found == {"hidden/0/kernel": kernel, "bias": bias}
