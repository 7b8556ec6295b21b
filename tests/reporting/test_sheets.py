"""Sheets of pictures: pixels on one scale, the mistakes that matter first, and maps over pictures."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from research.errors import UserError
from research.evaluation import Predictions, Report, evaluate
from research.reporting import contact_sheet, explanation_sheet, mistakes, mistakes_sheet
from research.reporting.contact_sheet import folded, shown_pixels
from research.reporting.mistakes import find_mistakes
from research.reporting.run_pictures import chosen_examples
from research.task import Task

PICTURES = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 1)).astype(np.uint8)
BINARY = Task("binary", ("normal", "pneumonia"))


def test_pictures_are_on_one_scale_and_not_stretched(tmp_path: Path) -> None:
    pair = np.stack([np.full((4, 4), 64), np.full((4, 4), 128)]).astype(np.uint8)
    path = contact_sheet(tmp_path / "sheet.png", pair, ["dark", "grey"])
    with Image.open(path) as sheet:
        values, counts = np.unique(np.asarray(sheet.convert("L")), return_counts=True)
    side = (1.5 * 150) ** 2
    found = dict(zip(values.tolist(), counts.tolist(), strict=True))
    assert found[64] == pytest.approx(side, rel=0.02) and found[128] == pytest.approx(side, rel=0.02)


def test_floats_are_clipped_to_the_scale_that_is_stated() -> None:
    values = np.array([[[-5.0, 0.0, 127.6, 300.0]]])
    assert shown_pixels(values).tolist() == [[[0, 0, 128, 255]]]
    assert shown_pixels(values / 255, white=1.0).tolist() == [[[0, 0, 128, 255]]]
    assert shown_pixels(PICTURES).shape == (6, 8, 8)
    assert shown_pixels(np.zeros((2, 3, 4, 3), np.uint8)).shape == (2, 3, 4, 3)


@pytest.mark.parametrize("shape", [(2, 8), (2, 8, 8, 2), (2, 8, 8, 1, 1), (2, 0, 8)])
def test_what_is_no_picture_is_refused(shape: tuple[int, ...], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="height, width"):
        contact_sheet(tmp_path / "sheet.png", np.zeros(shape, np.uint8), ["a", "b"])


def test_captions_are_as_many_as_pictures(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="6 pictures, 1 captions"):
        contact_sheet(tmp_path / "sheet.png", PICTURES, ["a"])


def test_long_captions_are_folded_where_names_have_joints() -> None:
    assert folded("true normal\ntest/person523_bacteria_1569.jpeg") == (
        "true normal\ntest/person523_\nbacteria_1569.jpeg"
    )
    assert folded("a" * 50, 20) == "\n".join(["a" * 20, "a" * 20, "a" * 10])
    assert folded("costs $5 and $6") == "costs \\$5 and \\$6"


def test_columns_are_as_asked(tmp_path: Path) -> None:
    wide, tall = tmp_path / "wide.png", tmp_path / "tall.png"
    contact_sheet(wide, PICTURES, [""] * 6, columns=6)
    contact_sheet(tall, PICTURES, [""] * 6, columns=2, title="a title")
    with Image.open(wide) as a, Image.open(tall) as b:
        assert a.width > 2 * b.width and b.height > 2 * a.height


def test_mistakes_of_two_classes_most_confident_first() -> None:
    truth = np.array([0, 0, 1, 1, 0, 1], np.int32)
    probability = np.array([0.9, 0.2, 0.05, 0.8, 0.6, 0.5])
    found = find_mistakes(Predictions(BINARY, "test", np.arange(6), probability, truth))
    assert found.row.tolist() == [2, 0, 4]
    assert found.confidence == pytest.approx([0.95, 0.9, 0.6])
    assert found.true == ("pneumonia", "normal", "normal") and found.said == ("normal", "pneumonia", "pneumonia")


def test_mistakes_of_several_classes_and_labels() -> None:
    shares = np.array([[0.1, 0.7, 0.2], [0.5, 0.3, 0.2], [0.0, 0.1, 0.9]])
    classes = Task("multiclass", ("a", "b", "c"))
    found = find_mistakes(Predictions(classes, "test", np.arange(3), shares, np.array([0, 0, 1], np.int32)))
    assert (found.row.tolist(), found.true, found.said) == ([2, 0], ("b", "a"), ("c", "b"))
    labels = Task("multilabel", ("a", "b", "c"))
    truth = np.array([[1, np.nan, 0], [1, 0, 0], [np.nan] * 3], np.float32)
    probability = np.array([[0.2, 0.9, 0.6], [0.6, 0.4, 0.1], [1.0, 1.0, 1.0]])
    found = find_mistakes(Predictions(labels, "test", np.arange(3), probability, truth))
    # The worst label counts; labels that are missing are no mistakes.
    assert (found.row.tolist(), found.true, found.said) == ([0], ("a",), ("no a",))
    assert found.confidence == pytest.approx([0.8])


def test_mistakes_are_those_of_the_confusion_matrix() -> None:
    def predictions(split: str, seed: int) -> Predictions:
        random = np.random.default_rng(seed)
        truth = (random.random(300) < 0.1).astype(np.int32)
        # In steps, so that some probabilities lie on the threshold.
        probability = np.round(random.beta(1 + 2 * truth, 9), 2).astype(np.float32)
        return Predictions(BINARY, split, np.arange(300), probability, truth)

    test = predictions("test", 0)
    for validation in (None, predictions("validation", 1)):
        report = evaluate(test, validation, resamples=5)
        assert report.confusion is not None
        found = find_mistakes(test, report.thresholds)
        assert found.said.count("pneumonia") == report.confusion[0][1]
        assert found.said.count("normal") == report.confusion[1][0]
    assert found.said.count("pneumonia") > 0 and found.row.tolist() != find_mistakes(test).row.tolist()


def test_mistakes_are_ranked_by_how_many_times_the_odds_are_those_of_the_threshold() -> None:
    truth = np.array([1, 0, 0, 1, 0, 1, 0, 1], np.int32)
    # Odds of the threshold 0.2 are 1/4: those of the first are 9 times less, of the others 4, 36, 2, 1 and 19 times.
    probability = np.array([1 / 37, 0.5, 0.9, 1 / 9, 0.2, 1 / 77, 0.1, 0.3])
    found = find_mistakes(Predictions(BINARY, "test", np.arange(8), probability, truth), {"pneumonia": 0.2})
    assert found.row.tolist() == [2, 5, 0, 1, 3, 4]
    assert found.said == ("pneumonia", "normal", "normal", "pneumonia", "normal", "pneumonia")
    assert found.confidence == pytest.approx([0.9, 76 / 77, 36 / 37, 0.5, 8 / 9, 0.2])
    assert found.answer.tolist() == [1, 0, 0, 1, 0, 1]
    sure = np.array([1, 0, 0.5, 0.5, 0, 1, 0, 1])
    assert find_mistakes(Predictions(BINARY, "test", np.arange(8), sure, truth)).row.tolist() == [2]


def test_each_label_has_a_threshold_of_its_own() -> None:
    task = Task("multilabel", ("edema", "hernia"))
    truth = np.array([[0, 0], [1, np.nan], [0, 1], [0, 1]], np.float32)
    probability = np.array([[0.6, 0.3], [0.8, 0.9], [0.1, 0.03], [0.1, 0.001]])
    predictions = Predictions(task, "test", np.arange(4), probability, truth)
    found = find_mistakes(predictions, {"hernia": 0.02, "edema": 0.7})
    # At 0.5 the edema of the first would be wrong and its hernia right; the hernia of the third would be missed.
    assert (found.row.tolist(), found.said, found.answer.tolist()) == ([0, 3], ("hernia", "no hernia"), [1, 1])
    assert find_mistakes(predictions).row.tolist() == [3, 2, 0]
    chosen, answer = chosen_examples(predictions, 4, {"hernia": 0.02, "edema": 0.7})
    assert (chosen[:2].tolist(), answer[:2].tolist()) == ([0, 3], [1, 1])
    with pytest.raises(UserError, match=r"thresholds: 'edema' has none; given are those of hernia\."):
        find_mistakes(predictions, {"hernia": 0.02})


def test_the_sheet_says_from_which_threshold_it_is_a_mistake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[dict[str, Any]] = []

    def written(path: Path, images: Any, captions: list[str], **words: Any) -> Path:
        said.append(words | {"captions": captions})
        return path

    monkeypatch.setattr(mistakes, "contact_sheet", written)
    truth = np.array([0, 1, 1, 1], np.int32)
    predictions = Predictions(BINARY, "test", np.arange(4), np.array([0.3, 0.9, 0.004, 0.1242]), truth)
    report = Report("test", "example", (), thresholds={"pneumonia": 0.125}, threshold_choice="Youden's J on validation")
    task = Task("multilabel", BINARY.names)
    labels = Predictions(task, "test", np.arange(1), np.array([[0.3, 0.9]]), np.array([[1, 1]], np.float32))
    both = dataclasses.replace(report, thresholds={"normal": 0.4, "pneumonia": 0.125})
    for given in ((predictions, report), (predictions, None), (labels, both)):
        mistakes_sheet(tmp_path / "x.png", given[0], lambda rows: PICTURES[rows], report=given[1])
    chosen, default, several = said
    assert "3 of 4 examples" in chosen["facts"]
    assert "pneumonia is called from 0.125 (Youden's J on validation)" in chosen["facts"]
    assert chosen["captions"][0] == "true pneumonia\nsaid normal\np 0.004 (from 0.125)"
    assert chosen["captions"][1] == "true normal\nsaid pneumonia\np 0.3 (from 0.125)"
    # Close to the threshold two digits would not tell on which side.
    assert chosen["captions"][2] == "true pneumonia\nsaid normal\np 0.124 (from 0.125)"
    assert "2 of 4 examples" in default["facts"]
    assert "pneumonia is called from 0.5 (no threshold was given)" in default["facts"]
    assert "each label is called from a threshold of its own, 0.125 to 0.4 (Youden's" in several["facts"]
    assert several["captions"] == ["true normal\nsaid no normal\np 0.3 (from 0.4)"]


def test_the_sheet_shows_the_pictures_of_the_mistaken_examples(tmp_path: Path) -> None:
    asked: list[Any] = []

    def images_of(examples: np.ndarray) -> np.ndarray:
        asked.extend(examples.tolist())
        return PICTURES[examples // 10]

    truth = np.array([0, 0, 1], np.int32)
    predictions = Predictions(BINARY, "test", np.array([50, 10, 30]), np.array([0.9, 0.7, 0.1]), truth, np.arange(3))
    path = tmp_path / "mistakes.png"
    found = mistakes_sheet(path, predictions, images_of, [f"{n}.png" for n in range(51)], count=2, title="a run")
    assert found.paths == (path,) and path.is_file() and asked in ([50, 30], [30, 50])


def test_without_mistakes_it_is_said_and_an_old_sheet_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "mistakes.png"
    path.write_bytes(b"old")
    right = Predictions(BINARY, "test", np.arange(2), np.array([0.1, 0.9]), np.array([0, 1], np.int32))
    found = mistakes_sheet(path, right, lambda rows: PICTURES[rows])
    assert found.paths == () and "none of 2 examples" in found.notes[0] and not path.exists()
    task = Task("regression", ("age",))
    quantity = Predictions(task, "test", np.arange(2), np.zeros(2), np.zeros(2))
    with pytest.raises(UserError, match="classes or labels"):
        mistakes_sheet(path, quantity, lambda rows: PICTURES[rows])


def test_explanations_colour_what_the_maps_mark(tmp_path: Path) -> None:
    grey = np.full((3, 8, 8, 1), 128, np.uint8)
    maps = np.zeros((3, 8, 8), np.float32)
    maps[:, -1, -1] = 1e-6  # Where nothing is marked at all, that is written on the picture.
    nothing = tmp_path / "nothing.png"
    explanation_sheet(nothing, grey, maps, np.zeros((3, 8, 8), np.float32), ["a"] * 3, title="a run")
    marked = maps.copy()
    marked[:, :2, :2] = 1
    something = tmp_path / "something.png"
    explanation_sheet(something, grey, marked, np.zeros((3, 8, 8), np.float32), ["a"] * 3, title="a run")
    with Image.open(nothing) as a, Image.open(something) as b:
        assert a.size == b.size
        changed = np.asarray(a.convert("RGB")) != np.asarray(b.convert("RGB"))
    # A quarter by a quarter of each of three pictures, and the soft border around it.
    share = changed.any(-1).sum() / (3 * (1.6 * 150) ** 2)
    assert 1 / 16 < share < 1 / 5


def test_explanations_say_where_nothing_is_marked_and_may_lack_maps(tmp_path: Path) -> None:
    sizes = {}
    for name, maps in {"blank": np.zeros((6, 8, 8)), "marked": np.ones((6, 8, 8)), "none": None}.items():
        path = explanation_sheet(tmp_path / f"{name}.png", PICTURES, maps, np.ones((6, 8, 8)), ["a"] * 6)
        with Image.open(path) as sheet:
            sizes[name] = sheet.size
    assert sizes["blank"] == sizes["marked"] and sizes["none"][1] < 0.8 * sizes["marked"][1]


def test_explanations_need_as_many_of_each(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"'captions': 5"):
        explanation_sheet(tmp_path / "x.png", PICTURES, np.zeros((6, 8, 8)), np.zeros((6, 8, 8)), ["a"] * 5)
