"""Traces of some updates, throughput, and what is said of both."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace

import jax
import pytest
from tiny import EXPERIMENT, QUIET

import research
from research.errors import UserError
from research.experiment import Execution
from research.spec import check
from research.training import pace_log
from research.training.profiling import Throughput, Trace, in_words, memory_in_use, parse_profile, peak_rate, slow_feed

ON_A100 = Throughput(100, 2.0, 32, 1e12, 0.0, 4, "NVIDIA A100-SXM4-80GB", "bfloat16", 2**30)


def test_a_trace_of_some_updates_is_in_the_run_directory(tmp_path: Path) -> None:
    short = EXPERIMENT.replace(steps=12)
    result = research.run(short, execution=QUIET.replace(profile=(4, 8)), runs=tmp_path)
    assert list((result.directory / "profile").rglob("*.xplane.pb"))
    told = result.summary["throughput"]
    assert told["updates"] == 12 and told["updates_per_second"] > 0 and told["peak_memory_bytes"] > 2**20
    assert told["examples_per_second"] == pytest.approx(16 * told["updates_per_second"], rel=1e-2)
    assert told["model_flops_utilisation"] is None
    with pytest.raises(UserError, match=r"execution\.profile: the run ends after update 12, before update 500"):
        research.run(short, execution=QUIET.replace(profile=(500, 600)), runs=tmp_path)
    again = research.run(short.replace(steps=12), execution=QUIET, runs=tmp_path / "plain")
    assert again.metrics == result.metrics and not (again.directory / "profile").exists()


def test_the_pace_between_events_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The third event is read at once after the second, and counts with the fourth."""
    now = iter((0.0, 2.0, 3.0, 3.01, 5.0))
    monkeypatch.setattr(pace_log, "time", SimpleNamespace(perf_counter=lambda: next(now)))

    def measure(updates: int, seconds: float, waited: float) -> Throughput:
        return dataclasses.replace(ON_A100, updates=updates, seconds=seconds, waited=waited)

    waited = iter((0.5, 1.5, 1.5, 1.5, 1.5))
    log = pace_log.PaceLog(tmp_path / "pace.jsonl", 100, measure, lambda: next(waited))
    for step in (110, 120, 130, 140):
        log({"step": step})
    lines = [json.loads(line) for line in (tmp_path / "pace.jsonl").read_text().splitlines()]
    assert [(line["step"], line["seconds"], line["updates_per_second"]) for line in lines] == [
        (110, 2.0, 5.0),
        (120, 3.0, 10.0),
        (140, 5.0, 10.0),
    ]
    assert [line["input_wait_share"] for line in lines] == [0.5, 0.0, 0.0]
    assert lines[0]["examples_per_second"] == 160 and lines[0]["peak_memory_bytes"] == 2**30


def test_chunks_of_updates_end_where_the_trace_begins_and_ends(tmp_path: Path) -> None:
    trace = Trace((10, 20), tmp_path)
    assert [trace.next_bound(step, 100) for step in (0, 10, 20)] == [10, 20, 100]
    assert Trace((10, 20), tmp_path).next_bound(0, 5) == 5
    assert Trace(None, tmp_path).next_bound(0, 100) == 100


def test_peak_rates_are_those_of_the_data_sheets() -> None:
    assert peak_rate("NVIDIA H100 80GB HBM3", "bfloat16") == 989e12
    assert peak_rate("NVIDIA A100-SXM4-80GB", "float32") == 156e12
    assert peak_rate("NVIDIA L4", "bfloat16") == 121e12 and peak_rate("NVIDIA L40S", "bfloat16") == 362e12
    assert peak_rate("TPU v5 lite", "bfloat16") == 197e12 and peak_rate("TPU v5", "bfloat16") == 459e12
    assert peak_rate("cpu", "float32") is None and peak_rate("Tesla V100-SXM2-16GB", "bfloat16") is None


def test_utilisation_is_arithmetic_over_what_the_chips_could_do() -> None:
    assert ON_A100.utilisation == pytest.approx(100 * 1e12 / 2.0 / (4 * 312e12))
    assert in_words(ON_A100.to_json()) == (
        "1,600 examples/s, 20 ms an update; model FLOPs utilisation 4.0 %; at most 1,024 MiB of memory"
    )
    assert "not known for cpu" in in_words(Throughput(1, 1.0, 0, 1.0, 0.0, 1, "cpu", "float32", 1).to_json())
    assert in_words(Throughput(0, 0.0, 8, 1.0, 0.0, 1, "cpu", "float32", 1).to_json()) == ""


def test_waiting_for_rows_is_warned_of() -> None:
    assert slow_feed(0.05) == ""
    assert "41 % of the time was spent waiting for rows" in slow_feed(0.41)


def test_memory_of_a_processor_is_that_of_the_process() -> None:
    assert memory_in_use(jax.devices("cpu")) > 10 * 2**20


@pytest.mark.parametrize("text", ["10", "20:10", "a:b", "5:5", ""])
def test_bounds_that_mean_nothing_are_refused(text: str) -> None:
    with pytest.raises(UserError, match="--profile: FIRST:LAST"):
        parse_profile(text)
    assert parse_profile("10:20") == (10, 20)


def test_bounds_in_the_wrong_order_are_refused() -> None:
    with pytest.raises(UserError, match="profile: two numbers of updates"):
        check(Execution(profile=(20, 10)), "execution.")
