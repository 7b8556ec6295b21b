"""Rematerialisation of blocks: the same numbers, draws and statistics in less memory, for every model with blocks."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sequences import series
from tiny import EXPERIMENT

from research import keys
from research.context import Context
from research.errors import UserError
from research.experiment import Execution
from research.models import (
    MLP,
    RNN,
    DenseNet,
    Forward,
    InceptionTime,
    Model,
    ResNet,
    ResNet1D,
    SeriesTransformer,
    ViT,
    Windowed,
    XResNet1D,
    functional,
)
from research.models.functional import paths
from research.spec.values import concrete_specs
from research.training.setup import remat_of

PICTURES = np.random.default_rng(0).normal(size=(3, 8, 8, 1)).astype(np.float32)
SERIES = series()

MODELS: dict[str, tuple[Model, Any]] = {
    "resnet": (ResNet(depth=20, blocks=(1, 1), width=4), PICTURES),
    "densenet": (DenseNet(blocks=(1, 1), growth=4, dropout=0.3), PICTURES),
    "vit": (ViT(patch=4, depth=2, width=8, heads=2, dropout=0.3, attention_dropout=0.3), PICTURES),
    "transformer": (SeriesTransformer(width=8, heads=2, depth=1, dropout=0.3, position="rotary"), SERIES),
    "resnet1d": (ResNet1D(widths=(4, 4), kernels=(3,), dropout=0.3), SERIES),
    "inception": (InceptionTime(filters=2, kernels=(3,), depth=3, bottleneck=2), SERIES),
    "xresnet1d": (XResNet1D(depth=18, blocks=(1, 1), width=4, stem=(4, 4, 4), dense_widths=()), SERIES),
}


def step(model: Model, inputs: Any, remat: bool, platform: str = "cpu") -> tuple[Any, tuple[Any, ...]]:
    """A function of parameters, state, inputs and length of training that gives loss, gradient and new state."""
    rows = len(jax.tree.leaves(inputs)[0])
    like = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), inputs)
    params, state = jax.jit(lambda key: functional.initialise(model, like, 2, key))(jax.random.key(0))

    def run(params: Any, state: Any, inputs: Any, total: Any) -> Any:
        def objective(params: Any) -> Any:
            forward = Forward(
                train=True,
                keys=keys.example_keys(jax.random.key(1), jnp.arange(rows, dtype=jnp.int32)),
                mask=jnp.arange(rows) < rows - 1,
                context=Context(total_updates=total, platform=platform, remat=remat),
            )
            outputs, new = functional.apply(model, params, state, inputs, 2, forward, jax.random.key(2))
            return jnp.square(outputs[:-1]).sum(), new

        return jax.value_and_grad(objective, has_aux=True)(params)

    return run, (params, state, inputs, np.int32(5))


@pytest.mark.parametrize("name", MODELS)
def test_numbers_draws_and_statistics_are_the_same(name: str) -> None:
    model, inputs = MODELS[name]
    assert model.has_blocks
    plain, given = step(model, inputs, remat=False)
    (expected, state), gradient = jax.jit(plain)(*given)
    (loss, new), found = jax.jit(step(model, inputs, remat=True)[0])(*given)
    assert float(loss) == pytest.approx(float(expected), rel=1e-6)
    largest = max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(gradient))
    assert largest > 1e-4
    for path, leaf in paths(gradient).items():
        np.testing.assert_allclose(paths(found)[path], leaf, rtol=1e-4, atol=1e-5 * largest, err_msg=path)
    moved = paths(state)
    assert set(moved) == set(paths(new))
    for path, leaf in moved.items():
        np.testing.assert_allclose(paths(new)[path], leaf, rtol=1e-6, err_msg=path)
    if moved:
        assert any(np.abs(leaf - paths(given[1])[path]).max() > 1e-3 for path, leaf in moved.items())


@pytest.mark.parametrize(
    "model",
    [ResNet(depth=20, blocks=(6,), width=8), ViT(patch=4, depth=6, width=16, heads=2)],
    ids=["resnet", "vit"],
)
def test_a_deep_network_takes_less_memory(model: Model) -> None:
    pictures = np.zeros((16, 16, 16, 1), np.float32)
    sizes = []
    for remat in (False, True):
        run, given = step(model, pictures, remat)
        sizes.append(jax.jit(run).lower(*given).compile().memory_analysis().temp_size_in_bytes)
    assert sizes[1] < 0.5 * sizes[0]


def test_other_devices_take_the_checkpoints_of_jax() -> None:
    """What a GPU is given: each block once in a program that JAX computes again, and no conditions."""
    model = ResNet(depth=20, blocks=(2,), width=4)
    run, given = step(model, PICTURES, remat=True, platform="gpu")
    program = str(jax.make_jaxpr(run)(*given))
    assert program.count("prevent_cse=True") >= 2 and " cond[" not in program
    plain = str(jax.make_jaxpr(step(model, PICTURES, remat=False, platform="gpu")[0])(*given))
    assert "prevent_cse" not in plain


def test_models_without_blocks_say_so() -> None:
    asked = Execution(remat="blocks")
    assert not remat_of(EXPERIMENT, Execution())
    with pytest.raises(UserError, match=r"execution.remat: MLP has no blocks.*remat=none.*ResNet, ResNet1D.*ViT"):
        remat_of(EXPERIMENT, asked)
    for model in (Windowed(model=RNN(), length=4), RNN()):
        with pytest.raises(UserError, match=r"has no blocks"):
            remat_of(EXPERIMENT.replace(model=model), asked)
    for model in (Windowed(model=XResNet1D(), length=4), ViT()):
        assert remat_of(EXPERIMENT.replace(model=model), asked)
    assert not MLP().has_blocks and {type(model) for model, _ in MODELS.values()} <= _with_blocks()


def _with_blocks() -> set[type]:
    return {cls for cls in concrete_specs(Model).values() if issubclass(cls, Model) and cls.blocks_apart}


def test_attention_that_is_asked_for_is_noted_all_the_same() -> None:
    model, inputs = MODELS["vit"]
    like = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), inputs)
    params, _ = jax.jit(lambda key: functional.initialise(model, like, 2, key))(jax.random.key(0))
    forward = Forward(context=Context(remat=True), attention={})
    functional.apply(model, params, {}, inputs, 2, forward, jax.random.key(0))
    assert set(forward.attention or {}) == {"layer 1", "layer 2"}
    assert dataclasses.asdict(forward)["drawn"] == 0
