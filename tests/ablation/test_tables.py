"""Tables of ablations: every format says the same, and what users call things spoils none."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from research.ablation.statistics import Analysis, Outcomes, analyse, mark_selected
from research.ablation.tables import FORMATS, text_tables, written
from research.evaluation import Predictions
from research.task import Task


def shown(analysis: Analysis) -> str:
    """The text of a terminal of 80 columns."""
    console = Console(width=80, file=io.StringIO(), color_system=None)
    for part in text_tables(analysis):
        console.print(part)
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    assert max(map(len, text.splitlines())) <= 80
    return text


def every_format(analysis: Analysis) -> dict[str, str]:
    return {"text": shown(analysis)} | {form: written(analysis, form) for form in FORMATS}


def read(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def rewards(*names: str) -> Analysis:
    random = np.random.default_rng(0)
    return analyse([Outcomes(name, range(6), values={"loss": random.normal(1, 0.1, 6)}) for name in names])


def folded(name: str, gain: float) -> Outcomes:
    random = np.random.default_rng(int(10 * gain))
    targets = np.tile([0, 1], 60).astype(np.int32)

    def fold(number: int) -> Predictions:
        rows = np.arange(120)[number::5]
        scores = gain * targets[rows] + random.normal(size=len(rows))
        return Predictions(Task("binary", ("no", "yes")), "test", rows, 1 / (1 + np.exp(-scores)), targets[rows])

    return Outcomes(name, range(6), [[fold(number) for number in range(5)] for _ in range(6)])


def test_folds_are_shown_in_every_format() -> None:
    names = "baseline", "a variant with quite a long name"
    analysis = analyse([folded(names[0], 1.0), folded(names[1], 1.6)], ("auroc", "brier"), ("auroc",), resamples=0)
    found = every_format(analysis)
    for metric in analysis.metrics:
        for name in names:
            folds = analysis.summary(name, metric).folds
            assert folds is not None
            values = [*folds.each, folds.pooled, folds.corrected.low, folds.corrected.high]
            if name != names[0]:
                change = analysis.difference(name, metric).corrected
                assert change is not None
                values += [change.low, change.high]
            for form in ("text", "markdown", "latex"):
                assert all(f"{value:.3f}" in found[form] for value in values), form
            columns = [f"fold_{n}" for n in range(5)] + ["pooled", "corrected_low", "corrected_high"]
            columns += ["difference_corrected_low", "difference_corrected_high"]
            for lines in (read(found["csv"]), json.loads(found["json"])["rows"]):
                row = next(row for row in lines if (row["metric"], row["variant"]) == (metric, name))
                assert [float(row[column]) for column in columns[: len(values)]] == pytest.approx(values)
    without = every_format(rewards("a", "b"))
    assert not any("fold" in text or "N & B" in text or "pooled" in text for text in without.values())


def test_the_bootstrap_is_shown_in_every_format_where_it_was_asked_for() -> None:
    arms = [folded("a", 1.0), folded("b", 1.6)]
    analysis = analyse(arms, ("auroc",), resamples=100)
    found = every_format(analysis)
    limits = [analysis.summary(name, "auroc").bootstrap for name in "ab"]
    limits.append(analysis.difference("b", "auroc").bootstrap)
    for form in ("text", "markdown", "latex"):
        for interval in limits:
            assert f"[{interval.low:.3f}, {interval.high:.3f}]" in found[form].replace("$", ""), form
        assert "100 times (hierarchical)" in " ".join(found[form].split())
    for lines in (read(found["csv"]), json.loads(found["json"])["rows"]):
        assert float(lines[1]["bootstrap_low"]) == limits[1].low
        assert float(lines[1]["difference_bootstrap_high"]) == limits[2].high
    for without in (analyse(arms, ("auroc",), resamples=0), rewards("a", "b")):
        assert not any("bootstrap" in text for text in every_format(without).values())


def test_the_exact_p_has_a_column_in_every_format() -> None:
    analysis = rewards("a", "b")
    item = analysis.differences[0]
    assert item.p_seeds is not None and item.p_corrected is not None
    found = every_format(analysis)
    for form in ("text", "markdown", "latex"):
        assert "over seeds" in found[form].split("exact p")[0].split("sd over seeds")[-1].replace("$p$", "p")
        assert f"{item.p_seeds:.3f}" in found[form] and f"{item.p_corrected:.3f}" in found[form]
    assert item.p_seeds != pytest.approx(item.p_corrected, abs=1e-3)
    assert float(read(found["csv"])[1]["p_seeds"]) == item.p_seeds


def test_the_split_is_the_one_that_is_reported() -> None:
    analysis = dataclasses.replace(rewards("a", "b"), split="validation")
    found = every_format(analysis)
    assert "loss, validation; difference to a" in found["text"] and "test;" not in found["text"]
    assert json.loads(found["json"])["split"] == "validation"
    assert all("metrics of the validation split" in found[form] for form in ("markdown", "latex"))
    assert "on the validation data" in mark_selected(analysis, "loss").warnings[-1]


def test_the_row_that_was_chosen_is_marked_in_every_format() -> None:
    analysis = mark_selected(rewards("a", "b", "c"), "loss", "b")
    found = every_format(analysis)
    assert all("b *" in found[form] for form in ("text", "markdown", "latex"))
    assert [row["selected"] for row in read(found["csv"])] == ["false", "true", "false"]
    assert [row["selected"] for row in json.loads(found["json"])["rows"]] == [False, True, False]


def test_what_was_no_choice_is_not_marked() -> None:
    analysis = rewards("a", "b", "c")
    best = mark_selected(analysis, "loss").selected
    others = [name for name in "abc" if name != best]
    marked = mark_selected(analysis, "loss", among=others)
    assert marked.selected in others and "among 2 rows" in marked.warnings[-1]
    assert min(others, key=lambda name: analysis.summary(name, "loss").mean) == marked.selected


def test_signs_in_names_are_shown_as_they_are() -> None:
    found = every_format(rewards("a", "x|y_{1}^2\\~z & 50 %"))
    assert r"x$|$y\_\{1\}\textasciicircum{}2\textbackslash{}\textasciitilde{}z \& 50 \%" in found["latex"]
    assert r"| x\|y_{1}^2\\~z & 50 % |" in found["markdown"]
    lines = [line.replace(r"\\", "").replace(r"\|", "") for line in found["markdown"].splitlines()[:4]]
    assert len({line.count("|") for line in lines}) == 1


def test_a_direction_that_is_not_known_marks_nothing() -> None:
    random = np.random.default_rng(0)
    arms: list[Any] = [Outcomes(name, range(4), values={"reward": random.normal(size=4)}) for name in "ab"]
    analysis = mark_selected(analyse(arms), "reward")
    assert analysis.selected == "" and "whether a larger reward is better" in analysis.notes[-1]
    assert mark_selected(analyse(arms), "reward", "b").selected == "b"
    for text in every_format(analysis).values():
        assert "b *" not in text


@pytest.mark.parametrize("form", ["text", *sorted(set(FORMATS) - {"csv"})])
def test_what_a_reader_must_know_is_said_once(form: str) -> None:
    analysis = dataclasses.replace(rewards("a", "b"), notes=("one thing", "another"), warnings=("beware",))
    text = every_format(analysis)[form]
    assert [text.count(line) for line in ("one thing", "another", "beware")] == [1, 1, 1]
