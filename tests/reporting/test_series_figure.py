"""A series as a picture: what was measured, what was said where, what was true, and what the words say of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from matplotlib.text import Text

from research.reporting.series import Said, series_figure
from research.task import NO_LABEL

TIME = np.asarray([0.0, 1.0, 2.0, 4.0, 8.0, 9.0])
VALUES = np.asarray([[1.0, np.nan], [np.nan, 5.0], [2.0, 6.0], [3.0, np.nan], [4.0, 7.0], [5.0, 8.0]])
NAMES = ["heart rate, beats per minute", "pressure, mmHg"]
WEIGHTS = {"layer 1": np.asarray([0.5, 0.1, 0.1, 0.1, 0.1, 0.1])}


def texts(figure: Any) -> str:
    return " ".join(" ".join(item.get_text().split()) for item in figure.findobj(Text))


def figure(said: Said | None = None, layers: Any = None, facts: str = "") -> Any:
    return series_figure(TIME, VALUES, NAMES, "a run, patient 7", facts, "hours", said, layers)


def test_only_what_was_measured_is_drawn() -> None:
    found = figure(facts="True: died.")
    first, second = found.axes
    np.testing.assert_array_equal(first.get_lines()[0].get_xydata(), [[0, 1], [2, 2], [4, 3], [8, 4], [9, 5]])
    np.testing.assert_array_equal(second.get_lines()[0].get_xdata(), [1, 2, 8, 9])
    assert "heart rate, beats per minute" in texts(found) and "True: died." in texts(found)
    assert second.get_xlabel() == "hours" and not first.get_xlabel()
    assert first.get_xlim() == second.get_xlim()


def test_two_classes_over_time() -> None:
    probability = np.asarray([0.1, 0.2, 0.3, 0.5, 0.2, 0.1])
    said = Said(
        ("no", "sepsis"), np.stack([1 - probability, probability], 1), np.asarray([NO_LABEL, 0, 1, 1, 0, 1]), 0.25
    )
    found = figure(said, WEIGHTS)
    axes = found.axes[2]
    curve, threshold = axes.get_lines()
    np.testing.assert_array_equal(curve.get_xydata(), np.stack([TIME, probability], axis=1))
    assert threshold.get_ydata()[0] == 0.25
    # Shaded from midway before the first step that is true to midway after the last.
    spans = [(patch.get_x(), patch.get_x() + patch.get_width()) for patch in axes.patches]
    assert spans[:2] == [pytest.approx((1.5, 6.0)), pytest.approx((8.5, 9.5))]
    assert axes.patches[2].get_hatch() and spans[2] == pytest.approx((-0.5, 0.5))
    words = texts(found)
    assert "Shaded: sepsis is true. Hatched: no step has a label there. Dashed: called from 0.25." in words
    assert "probability of sepsis" in words and "layer 1" in words
    (mesh,) = next(axes for axes in found.axes if axes.get_ylabel() == "layer 1").collections
    np.testing.assert_array_equal(mesh.get_array().ravel(), WEIGHTS["layer 1"])


def test_many_classes_over_time() -> None:
    names = tuple(f"rhythm {number}" for number in range(11))
    probability = np.random.default_rng(0).dirichlet(np.ones(11), len(TIME))
    found = figure(Said(names, probability, np.asarray([3, 3, 10, 3, 10, NO_LABEL])))
    axes = found.axes[2]
    shown = [label.get_text() for label in axes.get_yticklabels()]
    assert len(shown) == 8 and {"rhythm 3", "rhythm 10"} <= set(shown)
    assert "The 8 of 11 classes that were true most often are drawn." in texts(found)
    table = axes.collections[0].get_array()
    np.testing.assert_array_equal(table[shown.index("rhythm 3")], probability[:, 3])
    dots = axes.get_lines()[shown.index("rhythm 10")]
    np.testing.assert_array_equal(
        dots.get_xydata(), [[2, shown.index("rhythm 10") + 0.5], [8, shown.index("rhythm 10") + 0.5]]
    )


def test_nothing_measured_and_a_single_step() -> None:
    found = series_figure(
        TIME[:1], np.full((1, 2), np.nan), NAMES, "a run", "", "hours", layers={"layer 1": np.ones(1)}
    )
    assert "The 1 of 2 variables" in texts(found)
