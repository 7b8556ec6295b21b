"""Messages between devices as the text of a compiled program tells them."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import lax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from research.context import Context
from research.models.layers import attention_blocks
from research.models.layers.attention import SelfAttention
from research.models.model import Forward
from research.training.collectives import Sent, collectives

TEXT = """HloModule jit_step, entry_computation_layout={()->f32[8]{0}}

%add (a: f32[], b: f32[]) -> f32[] {
  ROOT %sum = f32[] add(%a, %b)
}

%rounds (state: (s32[], f32[256])) -> (s32[], f32[256]) {
  %part = f32[256]{0} get-tuple-element(%state), index=1
  %all-gather.1 = f32[1024]{0} all-gather(%part), channel_id=1, replica_groups=[2,4]<=[8], dimensions={0}
}

%small (x: f32[4]) -> f32[4] {
  ROOT %all-reduce.2 = f32[4]{0} all-reduce(%x), channel_id=2, replica_groups={{0,1},{2,3}}, to_apply=%add
}

%large (x: f32[4]) -> f32[4] {
  ROOT %all-reduce.3 = (f32[100]{0}, bf16[100]{0}) all-reduce(%x, %y), channel_id=3, to_apply=%add
}

ENTRY %main (x: f32[4]) -> f32[4] {
  %while.1 = (s32[], f32[256]) while(%init), condition=%c, body=%rounds, backend_config={"known_trip_count":{"n":"10"}}
  %while.2 = (s32[], f32[256]) while(%init), condition=%c, body=%rounds
  %choice = f32[4]{0} conditional(%which, %x, %x), branch_computations={%small, %large}
  %alone = f32[4]{0} all-reduce(%x), channel_id=4, replica_groups={{0},{1}}, to_apply=%add
}
"""


def test_loops_count_as_often_as_they_go_round_and_the_largest_branch_once() -> None:
    found = collectives(TEXT, 8)
    assert found["all-gather"] == Sent(11, 11 * 4096 * 3 / 4)
    assert found["all-reduce"] == Sent(1, (400 + 200) * 2 * 7 / 8)


def test_a_program_on_one_device_sends_nothing() -> None:
    text = jax.jit(lambda x: x @ x).lower(jnp.ones((4, 4))).compile().as_text()
    assert collectives(text, 1) == {}


def test_a_mean_over_rows_that_lie_apart_is_one_message() -> None:
    mesh = Mesh(np.asarray(jax.devices()[:2]), ("data",), axis_types=(AxisType.Auto,))
    apart, whole = NamedSharding(mesh, PartitionSpec("data")), NamedSharding(mesh, PartitionSpec())
    rows = jax.ShapeDtypeStruct((8, 16), jnp.float32, sharding=apart)

    def three_times(x: jax.Array) -> jax.Array:
        return lax.fori_loop(
            0, 3, lambda _, total: total + lax.with_sharding_constraint(x * total[None], apart).sum(0), x[0]
        )

    once = jax.jit(lambda x: x.mean(0), out_shardings=whole).lower(rows).compile().as_text()
    assert collectives(once, 2) == {"all-reduce": Sent(1, 16 * 4)}
    thrice = collectives(jax.jit(three_times, out_shardings=whole).lower(rows).compile().as_text(), 2)
    assert thrice["all-reduce"].count >= 3


def test_attention_of_long_sequences_on_two_devices_gathers_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each attends to its own examples."""
    mesh = Mesh(np.asarray(jax.devices()[:2]), ("data",), axis_types=(AxisType.Auto,))
    apart, whole = NamedSharding(mesh, PartitionSpec("data")), NamedSharding(mesh, PartitionSpec())
    graph, state = nnx.split(SelfAttention(8, 2, rngs=nnx.Rngs(0)))

    def loss(state: Any, x: jax.Array) -> jax.Array:
        return jnp.square(nnx.merge(graph, state)(x, None, Forward(context=Context(spread=True)))).sum()

    rows = jax.ShapeDtypeStruct((8, 16, 8), jnp.float32, sharding=apart)
    for name in ("PAIRS_IN_CACHE", "MOST_PAIRS"):
        monkeypatch.setattr(attention_blocks, name, 8 * 2 * 16 * 16 // 4)
    monkeypatch.setattr(attention_blocks, "PAIRS_OF_BLOCK", 8 * 2 * 16 * 4)
    text = jax.jit(jax.grad(loss), out_shardings=whole).lower(state, rows).compile().as_text()
    assert "while" in text and set(collectives(text, 2)) == {"all-reduce"}
