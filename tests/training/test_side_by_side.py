"""What programs side by side, each with rows of its own, would do in another way is refused, or noticed."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import numpy as np
import pytest
from flax import nnx
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from pictures import Dots
from tiny import EXPERIMENT, QUIET

from research.algorithms import State, Supervised
from research.context import Context
from research.data import Augmentation, ImageData
from research.errors import RunError, UserError
from research.experiment import Experiment, Parallel
from research.models import CNN, OwnModule
from research.training.replicas import parted
from research.training.setup import Setup, set_up

TWO = QUIET.replace(parallel=Parallel(data=2, mode="pmap"))


class Normalised(nnx.Module):
    def __init__(self, in_features, outputs, *, rngs):
        self.normalise = nnx.BatchNorm(in_features, rngs=rngs)
        self.last = nnx.Linear(in_features, outputs, rngs=rngs)

    def __call__(self, x):
        return self.last(self.normalise(x))


class Dropped(Normalised):
    def __init__(self, in_features, outputs, *, rngs):
        super().__init__(in_features, outputs, rngs=rngs)
        self.normalise = nnx.Dropout(0.5, rngs=rngs)


class RowByRow(Normalised):
    def __init__(self, in_features, outputs, *, rngs):
        super().__init__(in_features, outputs, rngs=rngs)
        self.normalise = nnx.LayerNorm(in_features, rngs=rngs)


def compiled(setup: Setup) -> None:
    """Compile the updates, as the card before a run does."""
    assert setup.feed is not None
    setup.program.text_of_advance(setup.program.carry_like(), setup.feed.window_like())


@pytest.mark.parametrize("name", ["mixup", "cutmix"])
def test_rows_that_are_mixed_with_others_of_the_batch_are_refused(name: str) -> None:
    experiment = Experiment(
        data=ImageData(source=Dots(), augmentation=Augmentation(**{name: 0.5, "rotation": 10.0})),
        model=CNN(widths=(4,)),
        loss=EXPERIMENT.loss,
        steps=2,
        batch_size=16,
    )
    with pytest.raises(UserError, match=rf"^execution\.parallel\.mode: pmap .* data\.augmentation\.{name}, .*mode=jit"):
        set_up(experiment, 0, TWO)
    set_up(experiment, 0, QUIET.replace(parallel=Parallel(data=2)))


@pytest.mark.parametrize(("module", "said"), [(Normalised, "takes statistics"), (Dropped, "draws by itself")])
def test_own_layers_that_look_at_the_whole_batch_are_refused(module: type[nnx.Module], said: str) -> None:
    experiment = EXPERIMENT.replace(model=OwnModule(module=module))
    with pytest.raises(UserError, match=rf"mode: pmap .*{module.__name__}, which {said}.*research\.models\.layers"):
        compiled(set_up(experiment, 0, TWO))


def test_own_layers_that_look_at_one_row_are_welcome() -> None:
    compiled(set_up(EXPERIMENT.replace(model=OwnModule(module=RowByRow)), 0, TWO))


class EachItsOwn(Supervised):
    """Takes no gradient through the context: what users may forget."""

    def update(self, spec: Any, state: State, batch: Any, key: Any, context: Context) -> Any:
        return super().update(spec, state, batch, key, dataclasses.replace(context, mean=lambda value: value))


def test_devices_that_part_end_the_run() -> None:
    """At once, though the weights change with every second update alone."""
    setup = set_up(EXPERIMENT.replace(algorithm=EachItsOwn()), 0, TWO)
    assert setup.feed is not None
    said = r"^EachItsOwn: .*another state \(state\.\S+, .* more\)\. .*through context\.mean"
    with pytest.raises(RunError, match=said):
        setup.program.advance(setup.program.initialise(), setup.feed.window(0), 1)


def test_arrays_that_part_are_named_beyond_rounding() -> None:
    """What rounding does is no parting, nor is what is not a number on both."""
    mesh = Mesh(np.asarray(jax.devices()[:2]), ("data",), axis_types=(AxisType.Auto,))

    def on_both(first: Any, second: Any) -> jax.Array:
        put = zip((first, second), mesh.devices, strict=True)
        each = [jax.device_put(np.asarray(value), device) for value, device in put]
        return jax.make_array_from_single_device_arrays(each[0].shape, NamedSharding(mesh, PartitionSpec()), each)

    one = np.float32(1)
    values = {
        "same": on_both(one, one),
        "rounded": on_both(one, one + np.float32(1e-6)),
        "nothing": on_both(np.float32(np.nan), np.float32(np.nan)),
        "apart": on_both([one, one], [one, one + np.float32(1e-4)]),
        "counts": on_both(np.int32(3), np.int32(4)),
        "empty": on_both(np.zeros((0, 2), np.float32), np.zeros((0, 2), np.float32)),
    }
    assert parted(values, mesh, ("data",)) == ["apart", "counts"]
