"""What a training asks of compiler and device, counted: programs, dispatches, operations that are slow somewhere."""

from __future__ import annotations

import functools
import re
from collections import Counter
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from pictures import Dots
from tiny import EXPERIMENT, QUIET, log_of

from research.algorithms import Supervised
from research.data import ImageData
from research.experiment import Evaluation, Experiment
from research.losses import CrossEntropy
from research.models import CNN
from research.optimizers import Adam
from research.training import loop, program, steps
from research.training.compiling import compiled
from research.training.program import Program
from research.training.setup import set_up
from research.training.virtual_devices import Choice

THOUSAND = EXPERIMENT.replace(steps=1000, evaluation=EXPERIMENT.evaluation.replace(every_steps=250))


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> dict[str, Counter[str]]:
    """How often each program was dispatched and compiled."""
    found: dict[str, Counter[str]] = {"run": Counter(), "compiled": Counter()}
    for method, counts in (("_run", found["run"]), ("_compiled", found["compiled"])):
        original = getattr(Program, method)

        def noted(self: Any, name: str, *rest: Any, original: Any = original, counts: Any = counts) -> Any:
            counts[name.split()[0]] += 1
            return original(self, name, *rest)

        monkeypatch.setattr(Program, method, noted)
    return found


def test_a_thousand_updates_are_dispatched_once_between_two_events_and_compiled_once(
    counted: dict[str, Counter[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # However fast the device is: how many updates fit into a dispatch is not measured.
    monkeypatch.setattr(loop, "FIRST_DISPATCH", 1000)
    monkeypatch.setattr(loop.Pace, "measure", lambda *_: None)
    monkeypatch.setattr(program, "_EXECUTABLES", {})
    log_of(THOUSAND, tmp_path / "first")
    assert counted["run"] == {"initialise": 1, "advance": 4, "deploy": 4, "rows": 4, "conclude": 4}
    assert counted["compiled"] == {"initialise": 1, "advance": 1, "deploy": 1, "rows": 1, "conclude": 1}
    counted["compiled"].clear()
    log_of(THOUSAND.replace(optimizer=THOUSAND.optimizer.replace(learning_rate=0.5), steps=999), tmp_path / "second")
    assert not counted["compiled"], "numbers cause no compile"


def test_the_update_and_the_evaluation_of_a_run_are_traced_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A short run waits for its traces longer than for its updates."""
    traced: Counter[str] = Counter()
    for method in ("update", "evaluate"):
        original = getattr(Supervised, method)

        def noted(self: Any, *rest: Any, name: str = method, original: Any = original) -> Any:
            traced[name] += 1
            return original(self, *rest)

        monkeypatch.setattr(Supervised, method, noted)
    for program_part in (steps._update, steps._evaluate):
        program_part.clear_cache()
    monkeypatch.setattr(program, "_EXECUTABLES", {})
    setup = set_up(EXPERIMENT, 0, QUIET)
    assert setup.feed is not None
    carry, window, validation = setup.program.initialise(), setup.feed.window(0), setup.splits["validation"]
    setup.program.compile(carry, window, validation, True)
    setup.program.record(setup.program.advance(carry, window, 3), validation, True)
    assert traced == {"update": 1, "evaluate": 1}


def test_first_weights_are_made_by_one_program_whatever_holds_them(
    counted: dict[str, Counter[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(program, "_EXECUTABLES", {})
    alone = set_up(EXPERIMENT, 0, QUIET)
    spread = alone.over(Choice(2))
    first, copied = alone.program.initialise(), spread.program.initialise()
    assert counted["compiled"] == {"initialise": 1}
    for one, other in zip(jax.tree.leaves(first), jax.tree.leaves(copied), strict=True):
        assert len(other.sharding.device_set) == 2 and other.is_fully_replicated
        assert np.array_equal(one, other, equal_nan=True) and one.weak_type == other.weak_type
    assert spread.feed is not None
    assert int(spread.program.advance(copied, spread.feed.window(0), 3).step) == 3
    assert int(first.step) == 0, "what was copied is not donated"


def test_a_network_of_pictures_has_no_scatter_in_its_update(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESEARCH_CACHE_DIR", str(tmp_path))
    experiment = Experiment(
        data=ImageData(source=Dots(count=24)),
        model=CNN(widths=(4, 4)),
        loss=CrossEntropy(),
        optimizer=Adam(),
        steps=2,
        batch_size=8,
        evaluation=Evaluation(resamples=100),
    )
    found = {}
    for lowerings in ("fast", "reference"):
        setup = set_up(experiment, 0, QUIET.replace(lowerings=lowerings))
        assert setup.feed is not None
        carry, window = setup.program.initialise(), setup.feed.window(0)
        traced = jax.make_jaxpr(functools.partial(steps.advance, setup.program.outline))
        arguments = setup.program._to_advance(carry, window, 1)
        found[lowerings] = f"{traced(*arguments)}{setup.program.text_of_advance(carry, window)}"
    assert not any(map(scatters, found.values()))

    def greatest(images: Any) -> Any:
        return jax.lax.reduce_window(images**2, -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID").sum()

    def written(images: Any) -> Any:
        return images.at[images[:, 0, 0, 0].astype(int)].add(1.0).sum()

    images = jnp.ones((4, 8, 8, 3))
    assert scatters(compiled(jax.jit(jax.grad(greatest)).lower(images), "cpu").as_text()), "which would be found"
    assert scatters(str(jax.make_jaxpr(written)(images))), "and this one, of which XLA makes a loop"


def scatters(text: str) -> bool:
    """Whether a program, traced or compiled, writes to places that it computes, as gradients of pooling would."""
    traced, after = r"scatter[-\w]*\[", r"select.and.scatter|\bscatter\("
    return re.search(f"{traced}|{after}", text) is not None
