"""Reliability diagrams can be read for rare labels, and say what they show."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from research.evaluation import Predictions, evaluate
from research.reporting.contrasts import contrasts
from research.reporting.reliability import Bins, reliability, reliability_bins, scale_end
from research.task import Task

COUNT = 2000


def labels() -> Predictions:
    """A label whose probabilities are about 0.03, and one whose probabilities are anything."""
    random = np.random.default_rng(0)
    rare = 1 / (1 + np.exp(4.2 - 1.3 * random.normal(size=COUNT)))
    probability = np.stack([rare, random.random(COUNT)], axis=1)
    truth = (random.random((COUNT, 2)) < probability).astype(np.float32)
    return Predictions(Task("multilabel", ("rare", "common")), "test", np.arange(COUNT), probability, truth)


def drawn(predictions: Predictions) -> Any:
    report = evaluate(predictions, resamples=5)
    return reliability(predictions, report, contrasts(predictions, report)[0], "a run")


@pytest.fixture(scope="module")
def figure() -> Any:
    return drawn(labels())


def header(figure: Any) -> str:
    return " ".join(text.get_text() for text in figure.texts)


@pytest.mark.parametrize(
    ("predicted", "high", "expected"), [(0.02, 0.1, 0.11), (0.2, 0.1, 0.22), (0.1, 0.46, 1), (0.9, 1, 1), (0, 0, 1)]
)
def test_scales_end_a_tenth_above_what_is_drawn_where_that_is_far_below_one(
    predicted: float, high: float, expected: float
) -> None:
    zero, one = np.zeros(2), np.array([1])
    bins = Bins(np.repeat(one, 2), np.array([0, predicted]), zero, zero, np.array([0, high]))
    assert scale_end(bins) == pytest.approx(expected)


def test_a_rare_label_fills_its_panel_and_a_common_one_keeps_the_whole_scale(figure: Any) -> None:
    predictions = labels()
    rare, rare_strip, common, common_strip = figure.axes
    truth: Any = predictions.targets
    bins = reliability_bins(predictions.prediction[:, 0], truth[:, 0] == 1, np.arange(COUNT))
    end = 1.1 * max(bins.predicted.max(), bins.high.max())
    assert end < 0.3
    for axes in (rare, rare_strip):
        assert axes.get_xlim() == pytest.approx((-0.015 * end, 1.015 * end))
        assert 3 <= len(axes.get_xticks()) <= 6 and max(axes.get_xticks()) <= end
    assert rare.get_ylim() == pytest.approx(rare.get_xlim())
    for axes in (common, common_strip):
        assert axes.get_xlim() == pytest.approx((-0.015, 1.015)) and axes.get_xticks().tolist() == [0, 0.5, 1]
    # Where scales differ, each panel has ticks that can be read.
    assert all(axes.yaxis.get_tick_params()["labelleft"] for axes in (rare, common))
    assert all(axes.xaxis.get_tick_params()["labelbottom"] for axes in (rare_strip, common_strip))
    assert "scales end where points and intervals do" in header(figure)


def test_the_strip_shows_shares_of_either_group_and_tells_what_is_beyond(figure: Any) -> None:
    predictions = labels()
    strip = figure.axes[1]
    end = figure.axes[0].get_xlim()[1] / 1.015
    truth: Any = predictions.targets
    heights = np.array([bar.get_height() for bar in strip.patches]).reshape(2, 20)
    words = [text.get_text() for text in strip.texts]
    for row, (group, sign) in enumerate(((truth[:, 0] == 1, 1), (truth[:, 0] == 0, -1))):
        among = predictions.prediction[group, 0]
        within = (among <= end).mean()
        assert 0 < within < 1 and sign * heights[row].sum() == pytest.approx(within)
        share = round(100 * (1 - within))
        assert words[row].endswith(f", {share} % beyond →" if share else ", <1 % beyond →")
    # 3 in 100 examples are cases: as counts their bars could not be seen beside those of the others.
    assert heights[0].max() > 0.2 * -heights[1].min()
    assert strip.get_ylabel() == "share of own group"
    assert not any("beyond" in text.get_text() for text in figure.axes[3].texts)


def test_headers_say_what_bins_and_scores_are(figure: Any) -> None:
    several = header(figure)
    assert "about equally many examples, equal probabilities stay together" in several.replace("\n", " ")
    assert "Brier score (macro mean over labels)" in several
    random = np.random.default_rng(1)
    probability = random.random(200)
    truth = (random.random(200) < probability).astype(np.int32)
    two = header(drawn(Predictions(Task("binary", ("well", "ill")), "test", np.arange(200), probability, truth)))
    assert "Brier score 0." in two and "macro" not in two and "scales end" not in two
