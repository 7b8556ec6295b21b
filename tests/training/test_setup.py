"""What does not go together is refused before anything is compiled; what changes the program changes it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from pictures import Dots
from tiny import EXPERIMENT, QUIET

from research.algorithms import Supervised
from research.data import EventData, ImageData, Split, SyntheticRecords, feed
from research.data.streaming import StreamedSplit
from research.errors import UserError
from research.experiment import Evaluation, Experiment, Parallel
from research.losses import CrossEntropy
from research.models import CNN, MLP, RNN, Model, RecordTransformer, SeriesTransformer, Windowed
from research.optimizers import Adam
from research.spec import replace
from research.task import Task
from research.training import program
from research.training.setup import looks_ahead, set_up
from research.training.steps import block_of

NEXT = Experiment(
    data=EventData(source=SyntheticRecords(patients=60, task="next_code"), vocabulary=64, split=Split(test=0.3)),
    model=RecordTransformer(vocabulary=64, width=8, depth=1, heads=2, readout="each", causal=True),
    loss=CrossEntropy(),
    optimizer=Adam(),
    steps=1,
    batch_size=8,
    evaluation=Evaluation(resamples=10),
)


def test_a_model_that_would_copy_the_next_code_is_refused() -> None:
    set_up(NEXT, 0, QUIET)
    with pytest.raises(UserError, match=r"^model\.causal: .* next step, which this model sees.*model\.causal=true"):
        set_up(replace(NEXT, {"model.causal": False}), 0, QUIET)
    assert Task("binary", ("a", "b"), per_step=True) == Task.from_json(
        {"kind": "binary", "names": ["a", "b"], "per_step": True}
    )


@pytest.mark.parametrize(
    ("model", "remedy"),
    [
        (RNN(readout="each"), ""),
        (RNN(readout="each", bidirectional=True), "model.bidirectional=false"),
        (SeriesTransformer(readout="each"), "model.causal=true"),
        (Windowed(model=SeriesTransformer(readout="each"), length=4), "model.model.causal=true"),
        (SeriesTransformer(readout="each", causal=True), ""),
    ],
)
def test_outputs_that_rest_on_later_steps_are_told_of(model: Model, remedy: str) -> None:
    told = looks_ahead(NEXT.replace(model=model), Task("binary", ("wake", "rem"), per_step=True))
    assert bool(told) == bool(remedy) and all(f"Set {remedy} for" in sentence for sentence in told)
    assert not looks_ahead(NEXT.replace(model=model), Task("binary", ("wake", "rem")))


@dataclasses.dataclass(frozen=True)
class Accelerator:
    platform: str = "gpu"


def test_the_processor_of_a_machine_with_an_accelerator_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """JAX lists the devices of the best kind alone, unless it is asked for another."""
    of_kind = jax.devices

    def best(kind: str | None = None) -> list[Any]:
        return [Accelerator()] if kind is None else of_kind(kind)

    monkeypatch.setattr(jax, "devices", best)
    for parallel in (Parallel(), Parallel(data=2)):
        setup = set_up(EXPERIMENT, 0, QUIET.replace(device="cpu", parallel=parallel))
        assert setup.device.platform == "cpu"


def test_reference_lowerings_are_another_program_with_the_same_numbers() -> None:
    experiment = EXPERIMENT.replace(model=MLP(widths=(8,), normalization="batch"))
    found = {}
    for lowerings in ("fast", "reference"):
        setup = set_up(experiment, 0, QUIET.replace(lowerings=lowerings))
        assert setup.feed is not None
        window, carry = setup.feed.window(0), setup.program.initialise()
        text = setup.program.text_of_advance(carry, window)
        carry = setup.program.advance(carry, window, 3)
        found[lowerings] = text, float(setup.program.record(carry, None, False)[1]["train/loss"])
    assert found["fast"][0] != found["reference"][0]
    assert found["fast"][1] == pytest.approx(found["reference"][1], rel=1e-5)


@pytest.mark.parametrize(("most", "feed"), [(0, "streaming"), (1, "resident")])
def test_pictures_are_in_memory_up_to_a_limit(
    most: int, feed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESEARCH_CACHE_DIR", str(tmp_path))
    pictures = Experiment(
        data=ImageData(source=Dots(count=24)),
        model=CNN(widths=(2,)),
        loss=CrossEntropy(),
        epochs=1,
        batch_size=4,
    )
    setup = set_up(pictures, 0, QUIET.replace(resident_mib=most))
    assert setup.streamed == (feed == "streaming")
    assert setup.fed.startswith(feed) and f"execution.resident_mib={most}" in setup.fed
    assert not set_up(EXPERIMENT, 0, QUIET.replace(resident_mib=0)).streamed, "tables are not read from disk"
    assert not set_up(pictures, 0, QUIET.replace(feed="resident", resident_mib=0)).streamed


def test_blocks_from_disk_are_whole_passes_and_give_the_bits_of_resident_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "CACHED_NUMBERS", 1)
    monkeypatch.setattr(feed, "CACHED_ROWS", 8)
    monkeypatch.setattr(program, "_EXECUTABLES", {})
    experiment = EXPERIMENT.replace(evaluation=EXPERIMENT.evaluation.replace(batch_size=60))
    resident, streaming = (set_up(experiment, 0, QUIET.replace(feed=each)) for each in ("resident", "streaming"))
    split = streaming.splits["train"]
    assert isinstance(split, StreamedSplit) and split.block == feed.Block(56, 56)
    state = experiment.algorithm.deployed(experiment, resident.program.initialise().state)
    found = (each.program.predict(state, each.splits["train"]) for each in (resident, streaming))
    jax.tree.map(np.testing.assert_array_equal, *found)
    streaming.close()


def test_passes_of_a_model_that_goes_step_by_step_or_compares_rows_stay_large(monkeypatch: pytest.MonkeyPatch) -> None:
    like = jax.ShapeDtypeStruct((3000,), np.float32)

    def rows(experiment: Experiment) -> int:
        return block_of(experiment, None, 9999, like, True).rows

    windowed = Windowed(model=RNN(), length=10)
    sizes = [rows(EXPERIMENT.replace(model=model)) for model in (EXPERIMENT.model, RNN(), windowed)]
    monkeypatch.setattr(Supervised, "compares_rows", True)
    assert [*sizes, rows(EXPERIMENT)] == [64, 699, 699, 699]
