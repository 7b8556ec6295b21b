"""FLOPs of programs that can be counted by hand."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import pytest

from research.training.flops import flops

A, B = jnp.ones((3, 4)), jnp.ones((4, 5))
PRODUCT = 2 * 3 * 4 * 5


def of(function: Any, *arguments: Any) -> float:
    return flops(jax.jit(function).trace(*arguments).jaxpr)


def test_a_product_and_its_gradients() -> None:
    assert of(jnp.matmul, A, B) == PRODUCT
    gradients = of(jax.grad(lambda a, b: jnp.square(a @ b).sum(), argnums=(0, 1)), A, B)
    assert gradients == 3 * PRODUCT


def test_a_scan_counts_each_round_and_a_choice_its_largest_branch() -> None:
    def rounds(a: Any, b: Any) -> Any:
        return jax.lax.scan(lambda total, _: (total + (a @ b).sum(), None), jnp.float32(0), None, length=7)[0]

    assert of(rounds, A, B) == 7 * PRODUCT
    branches = [lambda a, b: (a @ b).sum(), lambda a, b: (a @ b @ b.T @ b).sum(), lambda a, b: a.sum()]
    assert of(lambda k, a, b: jax.lax.switch(k, branches, a, b), jnp.int32(0), A, B) == 2 * PRODUCT + 2 * 3 * 5 * 4


def test_what_devices_do_is_added_up() -> None:
    mesh = jax.make_mesh((2,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    row = jax.sharding.PartitionSpec("data")
    beside = jax.shard_map(jnp.matmul, mesh=mesh, in_specs=(row, jax.sharding.PartitionSpec()), out_specs=row)
    assert of(beside, jnp.ones((6, 4)), B) == of(jnp.matmul, jnp.ones((6, 4)), B)


def test_a_convolution() -> None:
    images, kernel = jnp.ones((2, 8, 8, 3)), jnp.ones((3, 3, 3, 5))

    def convolve(x: Any, k: Any) -> Any:
        return jax.lax.conv_general_dilated(x, k, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"))

    assert of(convolve, images, kernel) == pytest.approx(2 * (2 * 6 * 6 * 5) * (3 * 3 * 3))
