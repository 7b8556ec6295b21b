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
