"""On a processor XLA computes matrix products by one library and convolutions by another, and barriers hold."""

import jax
import jax.numpy as jnp

from research.training import compiling
from research.training.compiling import compiled


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


def test_an_option_that_xla_does_not_know_is_left_out(monkeypatch):
    monkeypatch.setattr(compiling, "PROCESSOR", {"xla_cpu_of_another_version": True})
    compiling._options.cache_clear()
    try:
        assert compiling._options("cpu") == ()
    finally:
        compiling._options.cache_clear()


def test_accelerators_get_no_options():
    assert compiling._options("gpu") == compiling._options("tpu") == ()
