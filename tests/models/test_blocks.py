"""Rematerialisation of blocks: the same numbers, draws and statistics in less memory, for every model with blocks."""

from __future__ import annotations

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
    RecordTransformer,
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
from research.training.compiling import compiled
from research.training.setup import remat_of

PICTURES = np.random.default_rng(0).normal(size=(3, 8, 8, 1)).astype(np.float32)
SERIES = series()

MODELS: dict[str, tuple[Model, Any, int]] = {
    "resnet": (ResNet(depth=20, blocks=(1, 1), width=4), PICTURES, 2),
    "densenet": (DenseNet(blocks=(1, 1), growth=4, dropout=0.3), PICTURES, 2),
    "vit": (ViT(patch=4, depth=2, width=8, heads=2, dropout=0.3, attention_dropout=0.3), PICTURES, 2),
    "transformer": (SeriesTransformer(width=8, heads=2, depth=1, dropout=0.3, position="rotary"), SERIES, 1),
    "resnet1d": (ResNet1D(widths=(4, 4), kernels=(3,), dropout=0.3), SERIES, 2),
    "inception": (InceptionTime(filters=2, kernels=(3,), depth=3, bottleneck=2), SERIES, 1),
    "xresnet1d": (XResNet1D(depth=18, blocks=(1, 1), width=4, stem=(4, 4, 4), dense_widths=()), SERIES, 2),
}


def step(model: Model, inputs: Any, remat: bool, platform: str = "cpu") -> tuple[Any, tuple[Any, ...]]:
    """A function of parameters, state, inputs and length of training that gives loss, gradient and new state."""
    rows = len(jax.tree.leaves(inputs)[0])
    like = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), inputs)
    shapes = jax.eval_shape(lambda: functional.initialise(model, like, 2, jax.random.key(0)))
    random = np.random.default_rng(0)
    params, state = jax.tree.map(lambda x: jnp.asarray(random.uniform(0.1, 0.6, x.shape), x.dtype), shapes)

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


@pytest.mark.parametrize("name", ["resnet", "vit"])
def test_numbers_draws_and_statistics_are_the_same_in_less_memory(name: str) -> None:
    model = {
        "resnet": ResNet(depth=20, blocks=(6,), width=8),
        "vit": ViT(patch=4, depth=3, width=8, heads=2, attention_dropout=0.3),
    }[name]
    programs = []
    for remat in (False, True):
        run, given = step(model, np.tile(PICTURES, (4, 2, 2, 1)), remat)
        programs.append(compiled(jax.jit(run).lower(*given), "cpu"))
    (expected, state), gradient = programs[0](*given)
    (loss, new), found = programs[1](*given)
    assert float(loss) == pytest.approx(float(expected), rel=1e-5)
    largest = max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(gradient))
    assert largest > 1e-3
    for path, leaf in paths(gradient).items():
        np.testing.assert_allclose(paths(found)[path], leaf, rtol=1e-4, atol=1e-5 * largest, err_msg=path)
    moved, again = paths(state), paths(new)
    assert set(moved) == set(again) and bool(moved) == (name == "resnet")
    for path, leaf in moved.items():
        np.testing.assert_allclose(again[path], leaf, rtol=1e-4, atol=1e-6, err_msg=path)
        assert np.abs(leaf - paths(given[1])[path]).max() > 1e-3
    before, after = (program.memory_analysis().temp_size_in_bytes for program in programs)
    assert after < 0.6 * before


def evaluation(model: Model, inputs: Any) -> tuple[Any, tuple[Any, ...]]:
    """A function of parameters, state, inputs and a number that gives outputs, and its arguments."""
    _, given = step(model, inputs, False)

    def run(params: Any, state: Any, inputs: Any, _: Any) -> Any:
        forward = Forward(context=Context(platform="cpu"))
        return functional.apply(model, params, state, inputs, 2, forward, jax.random.key(2))[0]

    return run, given


@pytest.mark.parametrize("kind", ["training", "rematerialised", "evaluation"])
def test_no_block_computes_again_what_came_before_it(kind: str) -> None:
    """The longest loop of the compiled program is hardly longer for nine blocks than for three."""
    longest = []
    for blocks in (3, 9):
        model = XResNet1D(depth=18, blocks=(blocks,), width=4, stem=(4,), dense_widths=())
        made = evaluation(model, SERIES) if kind == "evaluation" else step(model, SERIES, kind != "training")
        text = compiled(jax.jit(made[0]).lower(*made[1]), "cpu").as_text()
        longest.append(max(part.count("\n") for part in text.split("\n\n") if "fused_computation" in part[:40]))
    assert longest[1] <= longest[0] + 8, longest


@pytest.mark.parametrize("name", MODELS)
def test_every_model_with_blocks_computes_each_of_them_again(name: str) -> None:
    """Each block is in a part that JAX marks as computed again."""
    model, inputs, blocks = MODELS[name]
    assert model.has_blocks
    for platform in ("gpu", "cpu"):
        run, given = step(model, inputs, remat=True, platform=platform)
        assert str(jax.make_jaxpr(run)(*given)).count("prevent_cse=True") >= blocks


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
    assert not MLP().has_blocks and {type(model) for model, *_ in MODELS.values()} == _with_blocks() - {
        RecordTransformer
    }


def _with_blocks() -> set[type]:
    return {cls for cls in concrete_specs(Model).values() if issubclass(cls, Model) and cls.blocks_apart}


def test_attention_that_is_asked_for_is_noted_all_the_same() -> None:
    model, inputs, blocks = MODELS["vit"]
    like = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), inputs)

    def noted(inputs: Any) -> Any:
        forward = Forward(context=Context(remat=True), attention={})
        params, state = functional.initialise(model, like, 2, jax.random.key(0))
        functional.apply(model, params, state, inputs, 2, forward, jax.random.key(0))
        return forward.attention

    assert set(jax.eval_shape(noted, inputs)) == {f"layer {number + 1}" for number in range(blocks)}
