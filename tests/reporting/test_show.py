"""What is shown of a dataset: names, units and classes as the user wrote them, brackets included."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pictures import Dots
from rich.console import Console

from research.cli import main
from research.data import CSV, ImageData, Images
from research.reporting.show import show, show_pictures
from research.task import Task

HEADER = "glucose [mg/dL],x [/y],:smile:,state [bold]"


def bracketed(path: Path) -> CSV:
    """A file whose header and classes hold what rich would take for markup."""
    draw = np.random.default_rng(0)
    names = [("[red]a", "[/]b")[n % 2] + "," + ("well [/]", "ill [severe]")[n % 3 > 0] for n in range(60)]
    rows = [f"{draw.integers(60, 200)},{draw.random():.3f},{name}" for name in names]
    path.write_text("\n".join([HEADER, *rows]))
    return CSV(
        path=str(path),
        target="state [bold]",
        positive="ill [severe]",
        categorical=(":smile:",),
        citation="A. Author [1], [/journal]",
    )


def test_text_in_brackets_is_shown_as_it_is(tmp_path: Path) -> None:
    # A console as a notebook has it, with markup and emoji.
    console = Console(width=200, record=True, file=io.StringIO())
    for part in show(bracketed(tmp_path / "table [v2].csv")):
        console.print(part)
    shown = console.export_text()
    names = ("glucose [mg/dL]", "x [/y]", ":smile:", "[/]b, [red]a", "ill [severe]", "well [/]")
    for text in (*names, "A. Author [1], [/journal]", "table [v2]: 60 examples", "target state [bold]"):
        assert text in shown, f"{text!r} is not in {shown}"


KNOWN = {
    "edema, mass": (1, 0, 1, 0, 0),
    "effusion, nodule, hernia": (0, 1, 0, 1, 1),
    "none": (0, 0, 0, 0, 0),
    "none known": (np.nan, np.nan, np.nan, np.nan, np.nan),
    "mass; not known: edema, hernia": (np.nan, 0, 1, 0, np.nan),
    "none; not known: 4 of 5": (np.nan, np.nan, 0, np.nan, np.nan),
}


class Findings(Dots):
    """Pictures with several labels, some of which are not known."""

    def load(self) -> Images:
        images = super().load()
        targets = np.array([[*KNOWN.values()][number // 2 % len(KNOWN)] for number in range(self.count)], np.float32)
        task = Task("multilabel", ("edema", "effusion", "mass", "nodule", "hernia"))
        return dataclasses.replace(images, targets=targets, task=task)


def test_labels_that_are_not_known_are_not_called_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESEARCH_CACHE_DIR", str(tmp_path / "cache"))
    captions: dict[int, str] = {}
    source = Findings(count=60)
    by_pixels = {source.read(number).tobytes(): number for number in range(60)}

    def written(path: Path, images: Any, texts: list[str], **words: Any) -> Path:
        shown = (images * (255 / words["white"])).round().astype(np.uint8)
        captions.update({by_pixels[image.tobytes()]: text for image, text in zip(shown, texts, strict=True)})
        return path

    monkeypatch.setattr("research.reporting.contact_sheet", written)
    show_pictures(ImageData(source=source), tmp_path / "x.png", count=24)
    assert captions == {number: [*KNOWN][number // 2 % len(KNOWN)] for number in captions}
    assert set(captions.values()) == set(KNOWN)


@pytest.mark.parametrize("name", ["sheet.jpg", "sheet", "sheet.png.bak", "."])
def test_pictures_are_drawn_into_png_files_alone(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "show", "image_folder:nowhere", "--out", name]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert f"--out: pictures are written as PNG, so a name that ends in .png is needed, '{name}' was given" in said
