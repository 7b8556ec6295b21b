"""What the card says before the first step."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from pictures import Dots
from rich.console import Console
from tiny import EXPERIMENT, QUIET

from research.data import ImageData, SeriesData, SyntheticVitals
from research.models import CNN, RNN
from research.training.preflight import preflight
from research.training.program import Program
from research.training.setup import set_up


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A function from an experiment to the lines of its card; programs are not compiled for it."""
    cost = {"flops_per_update": 1.0, "turned_flops": 0.0, "temporary_bytes": 1.0, "argument_bytes": 1.0}
    monkeypatch.setattr(Program, "compile", lambda self, *given: cost)

    def shown(experiment: Any) -> list[str]:
        setup, out = set_up(experiment, 0, QUIET), io.StringIO()
        begun = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), setup.program.carry_like())
        Console(file=out, width=80).print(preflight(setup, begun, Path("runs")).card("study"))
        return [line.strip("│ ") for line in out.getvalue().splitlines()]

    return shown


def test_padding_of_series_and_the_lengths_that_batches_are_cut_to(card: Any) -> None:
    cuts = np.asarray([40, 50, 100])
    data = SeriesData(source=SyntheticVitals(patients=30), lengths=(40, 50, 100))
    lengths = data.prepare().splits["train"].inputs.lengths
    padded = cuts[(lengths[:, None] > cuts).sum(1)]
    model = RNN(widths=(2,), cell="simple")
    (line,) = (line for line in card(EXPERIMENT.replace(data=data, model=model)) if line.startswith("padding"))
    share = 100 * (padded - lengths).sum() / padded.sum()
    assert line.split(None, 1)[1] == f"{share:.0f} % of the steps; batches are cut to 40, 50, 100 steps"
    assert not any(line.startswith("padding") for line in card(EXPERIMENT))


@pytest.mark.parametrize("lowerings", ["fast", "reference"])
def test_slow_convolutions_are_a_note(lowerings: str) -> None:
    """Those of the reference by that name; by the forms for processors there are none."""
    data, model = ImageData(source=Dots(count=24)), CNN(widths=(4,))
    setup = set_up(EXPERIMENT.replace(data=data, model=model, batch_size=4), 0, QUIET.replace(lowerings=lowerings))
    notes = preflight(setup, setup.program.initialise(), Path("runs")).notes
    said = [note for note in notes if "convolutions in forms that are five to two hundred times as slow here" in note]
    assert [note.endswith("by execution.lowerings=reference; fast has other ones") for note in said] == (
        [] if lowerings == "fast" else [True]
    )


def test_determinism_that_is_asked_for_and_not_given_is_a_note(card: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("research.training.preflight.shortcomings", lambda *asked: (f"not so: {asked}",))
    assert "note: not so: (True, 'cpu')" in card(EXPERIMENT)
