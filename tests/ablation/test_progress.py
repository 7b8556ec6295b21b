"""What is shown while an ablation goes on: one display, wherever its waves are trained."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from research.ablation import progress
from research.ablation.directory import Wave
from research.ablation.progress import AblationDisplay

TITLE = "(a/seed=0 and 1 more)"


@pytest.fixture
def waves(tmp_path: Path) -> list[Wave]:
    """Two waves of a group of two members each, and one of another group."""
    found = []
    for name, arms, metric in (("first", "ab", "auroc"), ("second", "cd", "auroc"), ("third", "ef", None)):
        (tmp_path / name).mkdir()
        select = None if metric is None else {"metric": metric}
        members = [
            {"name": f"{arm}/seed=0", "identity": arm, "experiment": {"evaluation": {"select": select}}} for arm in arms
        ]
        way = {"strategy": "map", "replicas": 1}
        found.append(Wave(tmp_path / name, {"members": members, "way": way, "total_updates": 100}))
    return found


@pytest.fixture
def console(monkeypatch: pytest.MonkeyPatch) -> Iterator[Console]:
    monkeypatch.setattr(progress, "LOOK_SECONDS", -1.0)
    monkeypatch.setattr(progress, "QUIET_SECONDS", -1.0)
    console = Console(record=True, width=200, file=open(os.devnull, "w"))  # noqa: SIM115
    yield console
    console.file.close()


def clock(monkeypatch: pytest.MonkeyPatch, *times: float) -> None:
    """Let time pass as told, and then stand still."""
    left = list(times)
    monkeypatch.setattr(progress.time, "monotonic", lambda: left.pop(0) if len(left) > 1 else left[0])


def lines(console: Console) -> list[str]:
    return [line.strip() for line in console.export_text().splitlines()]


def event(wave: Wave, step: int, **values: Any) -> dict[str, Any]:
    """Write an event of the log of a wave; both of its members have values."""
    record = {"step": step, "member": [0, 1]} | {f"validation/{name}": value for name, value in values.items()}
    with wave.curves.open("a") as file:
        file.write(json.dumps(record) + "\n")
    return record


def test_waves_that_are_trained_here(waves: list[Wave], console: Console, monkeypatch: Any) -> None:
    clock(monkeypatch, 0.0)
    display = AblationDisplay(console, waves, [0, 0, 1])
    display.begin(waves[0])
    clock(monkeypatch, 30.0)
    display(50, event(waves[0], 50, auroc=[0.7, 0.8], loss=[0.1, 0.2]))
    display(75, event(waves[0], 75, auroc=[float("nan"), 0.75]))
    display.ended(waves[0])
    display.begin(waves[1])
    display(100, event(waves[1], 100, auroc=[0.9, 0.2]))
    display.ended(waves[1])
    display.begin(waves[2])
    display(50, event(waves[2], 50, loss=[0.5, 0.25], auroc=[1.0, 1.0]))
    display.ended(waves[2])
    assert lines(console) == [
        "0/2 groups  0/3 waves  0/6 members  2 members by map",
        "0/2 groups  0/3 waves  1/6 members  2 min left  best auroc 0.8 (b/seed=0)",
        "0/2 groups  0/3 waves  1/6 members  90 s left  best auroc 0.8 (b/seed=0)",
        "0/2 groups  1/3 waves  2/6 members  60 s left  best auroc 0.8 (b/seed=0)",
        "0/2 groups  1/3 waves  2/6 members  60 s left  best auroc 0.8 (b/seed=0)  2 members by map",
        "0/2 groups  1/3 waves  4/6 members  15 s left  best auroc 0.9 (c/seed=0)",
        "1/2 groups  2/3 waves  4/6 members  15 s left  best auroc 0.9 (c/seed=0)",
        "1/2 groups  2/3 waves  4/6 members  15 s left  best auroc 0.9 (c/seed=0)  2 members by map",
        "1/2 groups  2/3 waves  5/6 members  6 s left  best loss 0.25 (f/seed=0)",
        "2/2 groups  3/3 waves  6/6 members  best loss 0.25 (f/seed=0)",
    ]


def test_the_time_left_after_a_resume_is_by_the_pace_since_then(
    waves: list[Wave], console: Console, monkeypatch: Any
) -> None:
    clock(monkeypatch, 0.0)
    display = AblationDisplay(console, waves[:2], [0, 0])
    waves[0].last.mkdir()
    display.begin(waves[0])
    for time, step in ((30.0, 90), (40.0, 95)):
        clock(monkeypatch, time)
        display(step, event(waves[0], step))
    display.ended(waves[0])
    display.begin(waves[1])
    clock(monkeypatch, 140.0)
    display(50, event(waves[1], 50))
    assert lines(console) == [
        "0/2 waves  0/4 members  2 members by map",
        "0/2 waves  1/4 members",
        "0/2 waves  1/4 members  4 min left",
        "1/2 waves  2/4 members  2 min left",
        "1/2 waves  2/4 members  2 min left  2 members by map",
        "1/2 waves  3/4 members  92 s left",
    ]


def test_waves_that_are_trained_elsewhere(waves: list[Wave], console: Console, monkeypatch: Any) -> None:
    clock(monkeypatch, 0.0)
    first, second, _ = waves
    display = AblationDisplay(console, waves[:2], [0, 0])
    clock(monkeypatch, 40.0)
    first.attempts.write_text('{"host": "one"}\n')
    display.look()
    first.attempts.write_text('{"host": "one"}\n{"host": "two"}\n{"ho')
    display.look()
    event(first, 10, auroc=[0.5, 0.6])
    event(first, 20, auroc=[0.55, 0.4])
    display.ended(first)
    display.ended(second, "on two: no data")
    display.close()
    assert lines(console) == [
        "0/2 waves  0/4 members  1 in training",
        f"wave first {TITLE}: begun again on two",
        "0/2 waves  0/4 members  1 in training",
        "1/2 waves  2/4 members  40 s left  best auroc 0.6 (b/seed=0)  0 in training",
        f"wave second {TITLE.replace('a/', 'c/')} failed on two: no data",
        "1/2 waves  2/4 members  best auroc 0.6 (b/seed=0)  0 in training",
    ]


def test_a_terminal_has_a_bar_of_its_width(waves: list[Wave], monkeypatch: Any) -> None:
    monkeypatch.setenv("TERM", "xterm")  # a dumb one gets lines
    waves[0].about["members"][1]["name"] = "a variant with a long name, quite a long one/seed=0"
    with open(os.devnull, "w") as file:
        terminal = Console(record=True, width=80, file=file, force_terminal=True)
        display = AblationDisplay(terminal, waves, [0, 0, 1])
        display.begin(waves[0])
        display(50, event(waves[0], 50, auroc=[0.7, 0.8]))
        display.close()
    counts = "0/2 groups  0/3 waves  1/6 members"
    _, last = lines(terminal)[-1].rsplit(counts, 1)  # what was drawn over is there too
    assert len(counts + last) <= 80 and last.endswith("…") and "left  best auroc 0.8 (a va" in last


def test_one_member_is_one_member(waves: list[Wave], console: Console) -> None:
    del waves[0].about["members"][1]
    AblationDisplay(console, waves[:1], [0]).begin(waves[0])
    assert lines(console) == ["0/1 member  1 member by map"]


def test_nothing_is_shown_without_a_console(waves: list[Wave]) -> None:
    display = AblationDisplay(None, waves, [0, 0, 1])
    display.begin(waves[0])
    display(50, event(waves[0], 50, auroc=[0.7, 0.8]))
    display.ended(waves[0])
    display.look()
    display.ended(waves[1], "lost")
    display.close()
