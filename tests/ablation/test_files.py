"""The ablation files: what their docstrings say, and that each describes what it says."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from research.ablation.file import load_ablation
from research.ablation.groups import Stock, group
from research.cli import main
from research.experiment import Execution

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted((ROOT / "scripts" / "ablations").glob("*.py"))
EXPERIMENTS = sorted((ROOT / "experiments" / "ablations").glob("*.py"))


@pytest.mark.parametrize("file", [*SCRIPTS, *EXPERIMENTS], ids=lambda file: file.stem)
def test_it_loads_and_says_how_it_is_run(file: Path):
    text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8")))
    assert text is not None and re.search(r"\?$|\.$", text.splitlines()[0])
    assert f"research ablate {file.relative_to(ROOT)}" in text
    ablation, _ = load_ablation(file)
    arms, notes = ablation.arms()
    assert len(arms) > 4 and all("is the baseline" in note for note in notes)
    assert len(ablation.members()) == len(arms) * len(ablation.seed_numbers())


def test_there_is_one_of_each_family():
    models = {file.stem: type(load_ablation(file)[0].baseline.model).__name__ for file in SCRIPTS}
    assert models == {"cnn": "CNN", "rnn": "RNN", "transformer": "RecordTransformer"}


def test_trials_of_the_search_share_a_program():
    """On fewer patients, which changes no structure."""
    ablation, _ = load_ablation(
        ROOT / "scripts" / "ablations" / "transformer.py", ["data.source.patients=200", "model.dropout=0.1"]
    )
    assert len(group(ablation.members(), Stock(), Execution())) == 1


def test_list_names_them(capsys: pytest.CaptureFixture[str]):
    assert main(["list", "--experiments", str(ROOT / "experiments")]) == 0
    found = capsys.readouterr().out.split("ablations\n")[1].split("datasets\n")[0]
    assert all(file.name in found for file in EXPERIMENTS)
