"""On a processor XLA computes matrix products by one library and convolutions by another, and barriers hold."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import EXPERIMENT, QUIET

from research import keys
from research.training import compiling, preflight
from research.training.compiling import barriers_hold, compiled, options
from research.training.setup import set_up


def _text(function, *arguments):
    return compiled(jax.jit(function).lower(*arguments), "cpu").as_text()


def test_products_go_to_the_newer_library_and_convolutions_do_not():
    x = jnp.ones((4, 8, 8, 16))
    assert "ynn_fusion" in _text(lambda a: a @ a, jnp.ones((64, 64)))
    convolution = _text(
        lambda x, k: jax.lax.conv(x, k, (1, 1), "SAME"), x.transpose(0, 3, 1, 2), jnp.ones((8, 16, 3, 3))
    )
    assert " convolution(" in convolution and "ynn_fusion" not in convolution


def test_what_is_behind_a_barrier_is_not_computed_again():
    def turned(x):
        made = jax.lax.optimization_barrier(jnp.maximum(2 * x, 0))
        return made, jnp.cumsum(made.transpose(2, 1, 0), 0)

    text = _text(turned, jnp.ones((16, 32, 8)))
    assert "opt-barrier" in text
    assert text.count("maximum(") == 1


@pytest.mark.parametrize("count", [1, 2])
def test_a_loop_over_a_few_numbers_may_have_a_barrier(count):
    def walk(seed, steps):
        def onward(carry):
            step, place = carry
            return step + 1, place + jax.random.normal(keys.stream(seed, "update", step), (count,))

        return jax.lax.while_loop(lambda carry: carry[0] < steps, onward, (jnp.int32(0), jnp.zeros(count)))[1]

    lowered = jax.jit(walk).lower(jnp.uint32(3), jnp.int32(5))
    with pytest.raises(jax.errors.JaxRuntimeError, match="opt-barrier"):
        lowered.compile(compiler_options=options("cpu"))
    walked = sum(jax.random.normal(keys.stream(3, "update", step), (count,)) for step in range(5))
    np.testing.assert_allclose(compiled(lowered, "cpu")(jnp.uint32(3), jnp.int32(5)), walked, rtol=1e-6)


@pytest.fixture
def asked_anew(monkeypatch):
    compiling._known.cache_clear()
    yield monkeypatch
    compiling._known.cache_clear()


def test_an_option_that_xla_does_not_know_is_left_out_and_the_others_stay(asked_anew):
    assert barriers_hold()
    asked_anew.setattr(compiling, "LIBRARIES", ("xla_cpu_of_another_version", True))
    compiling._known.cache_clear()
    assert options("cpu") == {"xla_disable_hlo_passes": "cse_barrier_expander"}
    asked_anew.setattr(compiling, "BARRIERS", ("xla_passes_of_another_version", "none"))
    compiling._known.cache_clear()
    assert options("cpu") == {} and not barriers_hold()


def test_the_card_says_where_blocks_may_not_be_computed_again(monkeypatch, tmp_path):
    setup = dataclasses.replace(set_up(EXPERIMENT, 0, QUIET), execution=QUIET.replace(remat="blocks"))
    carry, doubt = setup.program.initialise(), "may undo execution.remat on a processor"
    assert not any(doubt in note for note in preflight.preflight(setup, carry, tmp_path).notes)
    monkeypatch.setattr(preflight, "barriers_hold", lambda: False)
    assert any(doubt in note for note in preflight.preflight(setup, carry, tmp_path).notes)


def test_passes_that_the_user_has_disabled_stay_disabled(asked_anew):
    asked_anew.setenv("XLA_FLAGS", "--xla_dump_to=/tmp --xla_disable_hlo_passes=algsimp,dce")
    assert options("cpu")["xla_disable_hlo_passes"] == "algsimp,dce,cse_barrier_expander"


def test_accelerators_get_no_options():
    assert options("gpu") == options("tpu") == {}
