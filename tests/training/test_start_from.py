"""Starting from the weights of another run: all of them, mapped parts, frozen parts, and maps that do not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from tiny import EXPERIMENT, QUIET, checkpoint, run

from research.errors import UserError
from research.experiment import Experiment, StartFrom
from research.models import MLP
from research.models.functional import paths
from research.results import Result
from research.trained_model import begin
from research.training.checkpoint import Checkpoints
from research.training.setup import set_up
from research.training.start_from import content_hash

OUTPUT = "output"
HIDDEN = "hidden/0"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Result:
    return run(EXPERIMENT, tmp_path_factory.mktemp("runs"))


def started(experiment: Experiment, start: StartFrom) -> dict[str, np.ndarray]:
    """Parameters before the first update."""
    setup = set_up(experiment.replace(start_from=start), 5, QUIET)
    carry = begin(setup, setup.program.initialise())
    return {path: np.asarray(leaf) for path, leaf in paths(carry.state.params).items()}


def test_everything_is_taken_from_the_best_or_the_last_weights(source: Result) -> None:
    best, last = checkpoint(source.directory), checkpoint(source.directory)
    for path, leaf in started(EXPERIMENT, StartFrom(run=str(source.directory))).items():
        np.testing.assert_array_equal(leaf, best[f"best/state/params/{path}"])
    # What a run deploys are its averaged weights.
    for path, leaf in started(EXPERIMENT, StartFrom(run=str(source.directory), weights="last")).items():
        np.testing.assert_array_equal(leaf, last[f"state/extra/average/{path}"])
    one = source.directory / "checkpoints" / "last" / "60"
    for path, leaf in started(EXPERIMENT, StartFrom(run=str(one))).items():
        np.testing.assert_array_equal(leaf, last[f"state/extra/average/{path}"])


def test_a_map_takes_parts_and_leaves_the_rest_fresh(source: Result) -> None:
    deeper = EXPERIMENT.replace(model=MLP(widths=(4, 4), dropout=0.2))
    fresh = started(deeper, StartFrom(run=str(source.directory), map=((HIDDEN, HIDDEN),)))
    untouched = paths(set_up(deeper, 5, QUIET).program.initialise().state.params)
    taken = checkpoint(source.directory)
    for path, leaf in fresh.items():
        expected = taken[f"best/state/params/{path}"] if path.startswith(HIDDEN) else untouched[path]
        np.testing.assert_array_equal(leaf, expected)
    moved = started(deeper, StartFrom(run=str(source.directory), map=(("output", "output"),)))
    np.testing.assert_array_equal(moved["output/kernel"], taken["best/state/params/output/kernel"])


def test_frozen_parts_keep_every_bit_and_the_others_learn(source: Result, tmp_path: Path) -> None:
    start = StartFrom(run=str(source.directory), frozen=(HIDDEN,))
    trained = run(EXPERIMENT.replace(start_from=start), tmp_path)
    before, after = checkpoint(source.directory), checkpoint(trained.directory)
    for path in ("dense/kernel", "dense/bias"):
        for place in ("state/params", "state/extra/average", "best/state/params"):
            taken = before[f"best/state/params/{HIDDEN}/{path}"]
            assert after[f"{place}/{HIDDEN}/{path}"].tobytes() == taken.tobytes()
    assert (after["state/params/output/kernel"] != before["best/state/params/output/kernel"]).all()


def test_other_weights_are_another_identity(source: Result, monkeypatch: Any) -> None:
    start = StartFrom(run=str(source.directory))
    first = content_hash(start)
    assert first == content_hash(StartFrom(run=f"{source.directory}/checkpoints/best"))
    restore = Checkpoints.restore_free

    def nudged(self: Checkpoints, step: int) -> Any:
        tree = restore(self, step)
        tree["params"]["output"]["bias"] = jnp.nextafter(tree["params"]["output"]["bias"], jnp.full(2, 9.0))
        return tree

    monkeypatch.setattr(Checkpoints, "restore_free", nudged)
    assert content_hash(start) != first


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"map": (("hiden/0", HIDDEN),)},
            r"start_from\.map: this model has no part 'hiden/0'\. Did you mean 'hidd",
        ),
        ({"map": ((HIDDEN, "encoder"),)}, r"start_from\.map: the source has no part 'encoder'\. Its parts: hidden/0"),
        ({"frozen": ("hiden/0",)}, r"start_from\.frozen: this model has no part 'hiden/0'"),
        ({"map": ((HIDDEN, OUTPUT),)}, r"(?s)2 arrays of params do not fit.*hidden/0/dense/bias: the source has no"),
    ],
)
def test_maps_that_do_not_fit_are_refused_in_words(source: Result, options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        started(EXPERIMENT, StartFrom(run=str(source.directory), **options))


def test_other_shapes_are_listed(source: Result) -> None:
    wider = EXPERIMENT.replace(model=MLP(widths=(8,), dropout=0.2))
    with pytest.raises(
        UserError, match=r"(?s)3 arrays of params do not fit.*hidden/0/dense/bias: shape \(8,\) here, \(4,\)"
    ):
        started(wider, StartFrom(run=str(source.directory)))


def test_a_source_without_checkpoints_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"start_from\.run: no checkpoint in .*nowhere"):
        started(EXPERIMENT, StartFrom(run=str(tmp_path / "nowhere")))
