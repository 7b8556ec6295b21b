"""From a folder of pictures to a trained, evaluated, explained model, as a user goes; and what is said on the way."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pictures import write_folder
from PIL import Image
from tiny import QUIET, left_behind

import research
from research.cli import main
from research.data import Augmentation, ImageData, ImageFolder, Split
from research.experiment import Evaluation, Experiment, Selection
from research.losses import CrossEntropy
from research.models import CNN
from research.optimizers import Adam
from research.training.loop import Interrupted
from research.training.metrics_log import MetricsLog

FILE = """
from research.data import Augmentation, ImageData, ImageFolder, Split
from research.experiment import Experiment
from research.losses import CrossEntropy
from research.models import CNN
from research.optimizers import Adam

experiment = Experiment(
    data=ImageData(
        source=ImageFolder(path="{path}", patient=r"(p\\d+)_", positive="dotted"),
        split=Split(test=0.3),
        augmentation=Augmentation(horizontal_flip=True),
    ),
    model=CNN(widths=(4,), dense_widths=(8,), dropout=0.1),
    loss=CrossEntropy(),
    optimizer=Adam(learning_rate=1e-2),
    steps=30,
    batch_size=8,
)
"""


def experiment(path: Path, **augmentation: Any) -> Experiment:
    changes = {"horizontal_flip": True, "rotation": 10.0, **augmentation}
    return Experiment(
        data=ImageData(
            source=ImageFolder(path=str(path), patient=r"(p\d+)_", positive="dotted"),
            split=Split(test=0.3),
            augmentation=Augmentation(**changes),
        ),
        model=CNN(widths=(4,), dense_widths=(8,), dropout=0.1, normalization="batch"),
        loss=CrossEntropy(balanced=True),
        optimizer=Adam(learning_rate=1e-2),
        steps=24,
        batch_size=8,
        evaluation=Evaluation(every_steps=6, select=Selection(metric="loss"), resamples=100, batch_size=5),
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("films"), count=48)


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    # Only what is prepared goes there; programs stay in the cache of the session.
    monkeypatch.setenv("RESEARCH_CACHE_DIR", str(tmp_path_factory.getbasetemp() / "prepared"))


def interrupted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, **options: Any) -> research.Result:
    """A run that is stopped at its second evaluation, and the run that goes on from there."""
    wrote = MetricsLog.write

    def stop(log: MetricsLog, record: dict[str, Any]) -> None:
        wrote(log, record)
        if record["step"] == 12:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(MetricsLog, "write", stop)
        patch.setattr("research.data.streaming.CHUNK_UPDATES", 4)
        with pytest.raises((KeyboardInterrupt, Interrupted)):
            research.run(runs=tmp_path, **options)
    with monkeypatch.context() as patch:
        # The last chunk ends with the last update; the run is stopped once more, before its report.
        patch.setattr("research.data.streaming.CHUNK_UPDATES", 4)
        patch.setattr("research.runner.write_results", fail)
        with pytest.raises(ZeroDivisionError):
            research.run(runs=tmp_path, **options)
    return research.run(runs=tmp_path, **options)


def fail(*arguments: Any) -> None:
    """Stands for a kill."""
    raise ZeroDivisionError


def test_resuming_gives_the_same_bits_on_both_feeds_and_both_train_alike(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {"experiment": experiment(folder, mixup=0.4), "seed": 3}
    execution = QUIET.replace(checkpoint_every=5)
    whole = research.run(runs=tmp_path / "whole", execution=execution, **options)
    for feed in ("resident", "streaming"):
        runs = tmp_path / feed
        resumed = interrupted(monkeypatch, runs, execution=execution.replace(feed=feed), **options)
        assert left_behind(resumed.directory) == left_behind(whole.directory)


def test_a_folder_becomes_a_model_that_is_evaluated_explained_and_used(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("study.py").write_text(FILE.format(path=folder))
    assert main(["run", "study.py", "execution.tensorboard=false"]) == 0
    (run,) = Path("runs/study").iterdir()
    drawn = {path.name for path in (run / "figures" / "test").iterdir()}
    assert {"roc.png", "precision_recall.png", "reliability.png", "confusion.png", "learning_curves.png"} <= drawn
    assert json.loads((run / "results.json").read_text())["input_wait_share"] >= 0
    capsys.readouterr()

    assert main(["evaluate", str(run), "--explain", "4"]) == 0
    assert "figures:" in capsys.readouterr().out
    explained = Image.open(run / "figures" / "test" / "explanations.png")
    assert np.asarray(explained.convert("L")).std() > 10

    # New pictures need neither the training's folder nor its size.
    shutil.copytree(folder / "dotted", tmp_path / "new")
    assert main(["predict", str(run), "--data", "pictures:new", "--out", "new.csv"]) == 0
    table = pd.read_csv("new.csv")
    assert len(table) == 24 and table["probability of dotted"].between(0, 1).all()
    (tmp_path / "new" / "broken.png").write_bytes(b"no picture")
    capsys.readouterr()
    assert main(["predict", str(run), "--data", "pictures:new", "--out", "new.csv"]) == 0
    assert "broken.png" in capsys.readouterr().out and len(pd.read_csv("new.csv")) == 24


def test_data_show_draws_augmented_forms(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("study.py").write_text(FILE.format(path=folder))
    assert main(["data", "show", "study.py", "--augmented"]) == 0
    assert "Augmentation(horizontal_flip=True)" in capsys.readouterr().out
    drawn = np.asarray(Image.open("study.png").convert("L"))
    # Most of the sheet is pictures, whose pixels are neither the black of a wrong scale nor the white of the page.
    assert ((drawn > 20) & (drawn < 200)).mean() > 0.2
    assert main(["data", "show", f"image_folder:{folder}?positive=dotted", "--out", "plain.png"]) == 0
    assert Path("plain.png").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["data", "show", "wisconsin", "--augmented"], "wisconsin has no pictures to draw"),
        (["data", "show", "image_folder:"], "write image_folder:FOLDER"),
        (["data", "show", "image_folder:nowhere"], "'nowhere' was not found"),
        (["data", "show", "medmnist:pneumonia"], "Did you mean 'pneumoniamnist'|pneumoniamnist"),
        (["run", "study.py", "data.pixels.rescale=0"], r"data\.pixels\.rescale"),
        (["run", "study.py", "data.augmentation.rotatoin=3"], "Did you mean 'rotation'"),
        (["run", "study.py", "model.pool=11"], r"CNN"),
        (["run", "study.py", "execution.workers=-1"], r"execution\.workers"),
        (["run", "study.py", "data.source.patient=(q\\d+)"], r"patient"),
    ],
)
def test_mistakes(
    arguments: list[str],
    message: str,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("study.py").write_text(FILE.format(path=folder))
    assert main(arguments) == 2
    said = capsys.readouterr()
    assert re.search(message, said.err), said.err
    assert "Traceback" not in said.err and not list(Path().rglob("checkpoints/*/*"))


def test_only_answers_to_pictures_are_explained(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from tiny import EXPERIMENT, run

    result = run(EXPERIMENT, tmp_path)
    assert main(["evaluate", str(result.directory), "--explain", "4"]) == 2
    assert "only answers to pictures can be explained" in capsys.readouterr().err
    assert main(["predict", str(result.directory), "--data", "pictures:films"]) == 2
    assert "learnt from a table, so write csv:FILE" in capsys.readouterr().err
