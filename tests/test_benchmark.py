"""scripts/benchmark/speed.py: its contestants do the same, one that does not is found out, and what the report says."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

# At the end: modules of the tests have the names of some of the scripts.
sys.path.append(str(Path(__file__).parents[1] / "scripts" / "benchmark"))

from speed_suite import report
from speed_suite.measure import Running, agreement, quartiles
from speed_suite.ours import Contestant
from speed_suite.protocol import Failed, Worker
from speed_suite.weights import Given
from speed_suite.workloads import WORKLOADS, Entry, entries

PERCEPTRON = WORKLOADS["perceptron"]
SECONDS = 0.01
LIBRARIES = {"nnx": "flax", "jit": "flax", "keras": "keras", "torch": "torch", "lightning": "lightning"}


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The file of parameters and batches, and what is said of the workload."""
    path = tmp_path_factory.mktemp("speed") / "given.npz"
    worker = Worker(Entry("given", "given"), PERCEPTRON.name, "train", path)
    facts = worker.ask("prepare")
    worker.close()
    return path, facts


@pytest.fixture(scope="module")
def ours(given: tuple[Path, dict[str, Any]]) -> Iterator[Running]:
    """This framework, prepared and measured once."""
    (entry,) = entries(PERCEPTRON, ("research",), False)
    running = Running(entry, PERCEPTRON.name, "train", given[0], SECONDS)
    running.turn()
    yield running
    running.worker.close()


def test_ours_is_measured_and_says_what_it_did(given: tuple[Path, dict[str, Any]], ours: Running) -> None:
    facts = given[1]
    # 30-64-64-2 with biases; two products a layer backwards, but for the first, whose inputs need no gradient.
    assert ours.told["parameters"] == facts["parameters"] == 30 * 64 + 64 + 64 * 64 + 64 + 64 * 2 + 2
    products = [2 * 32 * a * b for a, b in ((30, 64), (64, 64), (64, 2))]
    assert facts["flops"] == 3 * sum(products) - products[0] and facts["forward_flops"] == sum(products)
    assert len(ours.told["losses"]) == 5 and len(ours.times) == 1 and 0 < ours.times[0] < 0.1
    assert ours.told["event_seconds"] > 0 and ours.updates >= 2


def test_the_loop_is_measured_beside_its_updates_in_one_process(given: tuple[Path, dict[str, Any]]) -> None:
    (entry,) = entries(PERCEPTRON, ("loop",), False)
    running = Running(entry, PERCEPTRON.name, "train", given[0], SECONDS)
    asked: list[bool] = []
    ask = running.worker.ask

    def noted(command: str, **given: Any) -> dict[str, Any]:
        found = ask(command, **given)
        if "alone_first" not in given:
            return found
        asked.append(given["alone_first"])
        assert found["alone"] > 0 and found["wall"] >= found["alone"] + found["seconds"]
        return found | {"seconds": 4.0, "alone": 3.0}

    running.worker.ask = noted
    for _ in range(3):
        running.turn()
    found = running.found()
    assert asked == [False, True, False] and found["loop_shares"] == [0.25] * 3 and found["updates"] >= 20


@pytest.mark.parametrize("alone_first", [False, True])
def test_updates_alone_come_first_where_that_is_asked_for(
    alone_first: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    monkeypatch.setattr(Contestant, "_train", lambda self, updates: made.append("loop") or 2.0)
    monkeypatch.setattr(Contestant, "_updates", lambda self, updates: made.append("alone") or 1.0)
    contestant = Contestant(PERCEPTRON, "train", tmp_path / "given.npz", {"part": "loop"})
    contestant.alone_first = alone_first
    assert contestant.run(20) == 2.0 and contestant.alone == 1.0
    assert made == (["alone", "loop"] if alone_first else ["loop", "alone"])


@pytest.mark.parametrize("name", LIBRARIES)
def test_contestants_agree_with_ours(name: str, given: tuple[Path, dict[str, Any]], ours: Running) -> None:
    pytest.importorskip(LIBRARIES[name])
    entry = entries(PERCEPTRON, (name,), False)[0]
    running = Running(entry, PERCEPTRON.name, "train", given[0], SECONDS)
    running.turn()
    found, research = running.found(), {"research": {"group": "research", "losses": ours.told["losses"]}}
    words, agrees = agreement(PERCEPTRON, "train", found | {"group": name}, given[1], research)
    assert agrees and "not compared" not in words, words
    assert found["seconds"] > 0 and found["memory_peak"] >= found["memory_after_import"] > 0


def test_forward_passes_are_compared_too(given: tuple[Path, dict[str, Any]]) -> None:
    running = Running(Entry("nnx", "nnx_idiom"), PERCEPTRON.name, "256", given[0], SECONDS)
    running.turn()
    words, agrees = agreement(PERCEPTRON, "256", running.found() | {"group": "nnx"}, given[1], {})
    assert agrees and words.startswith("outputs"), words


def test_who_does_something_else_is_found_out(given: tuple[Path, dict[str, Any]], ours: Running) -> None:
    research, told = {"research": {"group": "research", "losses": [1.0, 1.0]}}, {"group": "nnx", "parameters": 6274}
    facts = given[1]

    def agrees(losses: list[float], **changes: Any) -> bool:
        return agreement(PERCEPTRON, "train", told | {"losses": losses} | changes, facts, research)[1]

    assert agrees([1.00005, 1.0005]) and not agrees([1.0005, 1.0]) and not agrees([1.0, 1.002])
    assert not agrees([1.0, float("nan")]) and not agrees([1.0, 1.0], parameters=6275)
    assert agrees([], gap=1e-5) and not agrees([], gap=1e-3)


def test_all_parameters_must_be_taken_and_batches_may_have_another_size(given: tuple[Path, dict[str, Any]]) -> None:
    found = Given(given[0])
    assert found.count("hidden") == 2 and "hidden/0/dense/kernel" in found
    with pytest.raises(ValueError, match="output/kernel"):
        found.check()
    inputs, targets = found.batches(256)
    assert inputs.shape[1:] == (256, 30) and targets.shape == inputs.shape[:2]
    assert (inputs.reshape(-1, 30)[:64] == found.inputs.reshape(-1, 30)[:64]).all()
    assert found.batches(10**4)[0].shape == (1, 10**4, 30)


def test_a_contestant_that_fails_says_why(tmp_path: Path) -> None:
    worker = Worker(Entry("none", "no_such_module"), PERCEPTRON.name, "train", tmp_path / "none.npz")
    with pytest.raises(Failed, match="no_such_module"):
        worker.ask("prepare")
    worker.close()


def contestant(group: str, seconds: float) -> dict[str, Any]:
    """What the report needs of one."""
    memory = {"memory_peak": 3 * 2**20, "memory_after_import": 2**20}
    return {"group": group, "seconds": seconds, "quartiles": [seconds, seconds], "first_step_seconds": 1.0} | memory


def test_the_report_compares_with_the_best_of_each_group(tmp_path: Path) -> None:
    seconds = {"research": 1e-3, "updates": 0.9e-3, "loop": 1e-3, "torch": 8e-3, "nnx": 4e-3}
    told = {name: contestant(name, value) | {"agreement": "same"} for name, value in seconds.items()}
    told["loop"]["loop_shares"] = [0.3, 0.1, -0.1]
    told["torch slow"] = contestant("torch", 1.0) | {"agreement": "same"}
    result: dict[str, Any] = {"workload": PERCEPTRON.to_json(), "mode": "train", "batch": 32, "contestants": told}
    result |= {"skipped": {}, "facts": {"parameters": 6274, "flops": 1e6, "forward_flops": 3e5}}
    result["matmul"] = {"jax": {"1024": 5e9, "2048": 1e10}}
    lines = report.table(result).splitlines()
    assert [line.split(" | ")[0].strip("| ") for line in lines[4:]][:2] == ["updates", "research"]
    # 32 rows in a millisecond, eight times torch's best, a million operations in it: a tenth of the rate.
    research = next(line for line in lines if line.startswith("| research"))
    assert "| 32,000 | 8.00 |" in research and "| 1 | 10 % |" in research and "| 2 + 1 |" in research
    verdicts = report.verdicts([result])
    assert "torch | 8 | 8.00 | met" in verdicts and "nnx | 8 | 4.00 | MISSED" in verdicts
    assert "share of the loop | at most 2% | 10.0% (-10.0% to 30.0%) | MISSED" in verdicts and "keras" not in verdicts
    report.chart([result], tmp_path / "chart.png")
    assert (tmp_path / "chart.png").stat().st_size > 1000


def test_quartiles_are_numpys() -> None:
    times = [5.0, 1.0, 4.0, 2.0, 8.0, 3.0]
    np.testing.assert_allclose(quartiles(times), np.quantile(times, [0.25, 0.5, 0.75]))
    assert quartiles([2.0]) == (2.0, 2.0, 2.0)


def test_workloads_are_what_was_asked_for() -> None:
    families = {workload.family for workload in WORKLOADS.values()}
    assert {"MLP", "CNN", "ResNet", "RNN", "FCN", "InceptionTime", "XResNet1D", "SeriesTransformer", "ViT"} == families
    for workload in WORKLOADS.values():
        assert workload.draws == ("-" in workload.name), workload.name
        plain = WORKLOADS[workload.name.split("-")[0]]
        changes = {"name": plain.name, "dropout": None, "augmented": False}
        assert dataclasses.replace(workload, **changes) == plain
