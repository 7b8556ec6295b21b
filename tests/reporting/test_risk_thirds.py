"""The picture of survival by predicted risk: its groups, its curves, its numbers, and small data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from research.evaluation import Predictions, evaluate, kaplan_meier
from research.reporting import write_figures
from research.reporting.survival import risk_thirds, thirds
from research.task import Task

DEATH = Task("survival", ("death $1",), "days")


def predictions(count: int = 90, levels: int | None = None) -> Predictions:
    random = np.random.default_rng(0)
    risk = random.normal(size=count) if levels is None else random.integers(0, levels, count).astype(float)
    time, end = 100 * random.exponential(size=count) * np.exp(-risk), 100 * random.exponential(2, size=count)
    targets = np.stack([np.minimum(time, end), time <= end], axis=1)
    return Predictions(DEATH, "test", np.arange(count), risk, targets)


def texts(figure: Any) -> str:
    from matplotlib.text import Text

    return "\n".join(item.get_text() for item in figure.findobj(Text))


def test_the_groups_are_thirds_and_equal_risks_stay_together() -> None:
    risk = np.random.default_rng(1).permutation(9).astype(float)
    np.testing.assert_array_equal(np.bincount(thirds(risk)), [3, 3, 3])
    np.testing.assert_array_equal(thirds(risk), risk // 3)
    assert len(np.unique(thirds(np.ones(7)))) == 1
    tied = np.array([0.0, 1, 1, 1, 1, 2])
    assert len(np.unique(thirds(tied)[1:5])) == 1


def test_the_curves_and_numbers_are_those_of_the_groups() -> None:
    held = predictions()
    figure = risk_thirds(held, evaluate(held, resamples=5), "a run, test")
    axes = figure.axes[0]
    targets: Any = held.targets
    steps = [line for line in axes.get_lines() if line.get_label().startswith(("lowest", "middle", "highest"))]
    assert len(steps) == 3
    for number, line in enumerate(steps):
        rows = thirds(held.prediction[:, 0]) == number
        curve = kaplan_meier(*targets[rows].T)
        np.testing.assert_allclose(line.get_ydata()[:-1], curve.survival)
        assert line.get_label().endswith(f"{int(targets[rows, 1].sum())} events in 30")
    said = texts(figure)
    found = evaluate(held, resamples=5)["concordance"]
    assert f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}]" in said.replace("\n", " ")
    assert "share without death \\$1" in said and "time (days)" in said and "at risk" in said
    # At the start everyone is followed.
    assert [item.get_text() for item in axes.texts].count("30") >= 3


@pytest.mark.parametrize("held", [predictions(), predictions(40, levels=1), predictions(2), predictions(1)])
def test_it_is_written_whatever_there_is(held: Predictions, tmp_path: Path) -> None:
    (tmp_path / "roc.png").write_bytes(b"of an older run")
    found = write_figures(tmp_path, held, evaluate(held, resamples=5), [], "a run")
    assert [path.name for path in found.paths] == ["survival.png"] and not (tmp_path / "roc.png").exists()
    with Image.open(found.paths[0]) as picture:
        assert min(picture.size) > 400
