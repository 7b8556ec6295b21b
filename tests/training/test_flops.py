"""FLOPs of programs that can be counted by hand."""

from __future__ import annotations

import re
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from tiny import EXPERIMENT, QUIET

from research.context import Context
from research.data import SeriesData, SyntheticVitals
from research.models import SeriesTransformer
from research.models.layers import attention_blocks
from research.models.layers.correlation import correlate
from research.spec import replace
from research.training import program, steps
from research.training.flops import flops, turned_flops
from research.training.setup import set_up

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


def test_zeros_of_a_wider_kernel_do_not_count() -> None:
    """Neighbouring outputs are computed at once, and so are neighbours in the gradient of the maps."""
    images, kernel = jnp.ones((2, 8, 8, 3)), jnp.ones((3, 3, 3, 5))

    def of_platform(platform: str) -> tuple[float, float, int]:
        def loss(x: Any, k: Any) -> Any:
            return correlate(x, k, (1, 1), ((1, 1), (1, 1)), Context(platform=platform)).sum()

        forward, both = (jax.make_jaxpr(each)(images, kernel) for each in (loss, jax.grad(loss, (0, 1))))
        return flops(forward), flops(both), str(both).count("name=neighbours_at_once")

    *found, times = of_platform("cpu")
    assert times == 2
    assert found == list(of_platform("gpu")[:2]) == [2 * (2 * 8 * 8 * 5) * (3 * 3 * 3) * passes for passes in (1, 3)]


@pytest.mark.parametrize("space", [1, 2, 3])
def test_turned_convolutions(space: int) -> None:
    """Both gradients are, and whatever has not its channels last; a convolution dilated or in groups is not."""
    letters = "DHW"[3 - space :]
    last = f"N{letters}C", f"{letters}IO", f"N{letters}C"
    images, kernel = jnp.ones((2, *(8,) * space, 6)), jnp.ones((*(3,) * space, 6, 6))

    def convolve(x: Any, k: Any, numbers: Any = last, **more: Any) -> Any:
        return jax.lax.conv_general_dilated(x, k, (1,) * space, "SAME", dimension_numbers=numbers, **more)

    def turned(function: Any, *arguments: Any) -> float:
        return turned_flops(jax.jit(function).trace(*arguments).jaxpr)

    assert turned(convolve, images, kernel) == 0 < of(convolve, images, kernel)
    gradients = jax.grad(lambda x, k: convolve(x, k).sum(), argnums=(0, 1))
    found = turned(gradients, images, kernel)
    assert found > 0
    assert found == pytest.approx(of(gradients, images, kernel) - of(convolve, images, kernel))
    first = f"NC{letters}", f"OI{letters}", f"NC{letters}"
    assert turned(lambda x, k: convolve(x, k, first), jnp.moveaxis(images, -1, 1), jnp.ones((6, 6, *(3,) * space))) > 0
    assert turned(lambda x, k: convolve(x, k, rhs_dilation=(2,) * space), images, kernel) == 0
    assert turned(lambda x, k: convolve(x, k, feature_group_count=6), images, kernel[..., :1, :]) == 0
    assert turned(jnp.matmul, A, B) == 0


def test_attention_by_blocks_counts_as_all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What blocks compute again for the gradient is no arithmetic of the model."""
    data = SeriesData(source=SyntheticVitals(patients=30))
    experiment = replace(EXPERIMENT, {"data": data, "model": SeriesTransformer(width=8, depth=1, heads=2)})

    def counted() -> tuple[float, list[str]]:
        monkeypatch.setattr(program, "_EXECUTABLES", {})
        steps._update.clear_cache()  # it does not know what is patched here
        setup = set_up(experiment, 0, QUIET)
        assert setup.feed is not None
        given = setup.program.initialise(), setup.feed.window(0)
        lines = setup.program.text_of_advance(*given).splitlines()
        operations = [re.sub(r"metadata=\{[^}]*\}", "", line) for line in lines if " = " in line]
        return setup.program.compile(*given, None, False)["flops_per_update"], operations

    whole, operations = counted()
    assert counted() == (whole, operations)
    monkeypatch.setattr(attention_blocks, "PAIRS_IN_CACHE", 2)
    parts, of_parts = counted()
    assert of_parts != operations
    assert parts == whole
