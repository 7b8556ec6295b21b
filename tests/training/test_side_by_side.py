"""What programs side by side, each with rows of its own, would do in another way is refused, or noticed."""

from __future__ import annotations

import pytest
from flax import nnx
from pictures import Dots
from tiny import EXPERIMENT, QUIET

from research.data import Augmentation, ImageData
from research.errors import UserError
from research.experiment import Experiment, Parallel
from research.models import CNN, OwnModule
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


@pytest.mark.parametrize(("module", "said"), [(Normalised, "statistics"), (Dropped, "draws")])
def test_own_layers_that_look_at_the_whole_batch_are_refused(module: type[nnx.Module], said: str) -> None:
    experiment = EXPERIMENT.replace(model=OwnModule(module=module))
    with pytest.raises(UserError, match=rf"mode: pmap .*{module.__name__} that keep {said}.*research\.models\.layers"):
        compiled(set_up(experiment, 0, TWO))


def test_own_layers_that_look_at_one_row_are_welcome() -> None:
    compiled(set_up(EXPERIMENT.replace(model=OwnModule(module=RowByRow)), 0, TWO))
