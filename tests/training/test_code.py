"""A result belongs to the code that made it: the package's, the experiment file's, and what that imports."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest
from tiny import EXPERIMENT

from research.experiment_file import load_experiment
from research.training.code import _package_meaning, code_hash

FILE = "from {helper} import Mine\nfrom tiny import EXPERIMENT\nexperiment = EXPERIMENT.replace(loss=Mine())\n"
HELPER = '''"""A loss."""
from {third} import FACTOR
from research.losses import CrossEntropy
class Mine(CrossEntropy):
    def per_example(self, outputs, targets):
        total, weight = super().per_example(outputs, targets)
        return FACTOR * total, weight
'''


@pytest.fixture
def study(tmp_path: Path, monkeypatch: Any) -> dict[str, Path]:
    """An experiment file, a module it imports, and one that this imports; names of their own for every test."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    names = {part: f"{part}_{tmp_path.name}" for part in ("file", "helper", "third")}
    paths = {part: tmp_path / f"{name}.py" for part, name in names.items()}
    paths["file"].write_text(FILE.format(**names))
    paths["helper"].write_text(HELPER.format(**names))
    paths["third"].write_text("FACTOR = 2.0\n")
    return paths


def hashed(study: dict[str, Path]) -> str:
    for part in ("third", "helper"):
        sys.modules.pop(study[part].stem, None)
    importlib.invalidate_caches()
    experiment, _ = load_experiment(study["file"])
    return code_hash(experiment)[0]


@pytest.mark.parametrize(
    ("part", "old", "new"),
    [("helper", "FACTOR *", "FACTOR +"), ("third", "2.0", "3.0")],
)
def test_a_change_of_the_users_code_is_another_code(study: dict[str, Path], part: str, old: str, new: str) -> None:
    first = hashed(study)
    assert hashed(study) == first
    study[part].write_text(study[part].read_text().replace(old, new))
    assert hashed(study) != first


def test_comments_and_docstrings_change_nothing(study: dict[str, Path]) -> None:
    first = hashed(study)
    study["helper"].write_text(study["helper"].read_text().replace('"""A loss."""', '"""Another text."""  # and more'))
    assert hashed(study) == first


def test_experiments_of_the_package_alone_share_one_code() -> None:
    assert code_hash(EXPERIMENT) == code_hash(EXPERIMENT.replace(steps=5)) and not code_hash(EXPERIMENT)[1]


def test_a_class_without_source_is_named() -> None:
    space: dict[str, Any] = {"__name__": "__main__"}
    exec("from research.losses import CrossEntropy\nclass Typed(CrossEntropy):\n    pass\n", space)
    main, had = sys.modules["__main__"], getattr(sys.modules["__main__"], "__file__", None)
    try:
        main.__file__ = None
        assert code_hash(EXPERIMENT.replace(loss=space["Typed"]()))[1] == ("Typed",)
    finally:
        main.__file__ = had


def test_the_hash_is_the_same_from_disk_and_a_damaged_file_is_made_anew(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("RESEARCH_CACHE_DIR", str(tmp_path))
    _package_meaning.cache_clear()
    first = code_hash(EXPERIMENT)
    (kept,) = (tmp_path / "code").iterdir()
    whole = kept.read_bytes()
    _package_meaning.cache_clear()
    with monkeypatch.context() as patch:
        patch.setattr("research.training.code._meaning", None)
        assert code_hash(EXPERIMENT) == first
    kept.write_bytes(whole[:100])
    _package_meaning.cache_clear()
    assert code_hash(EXPERIMENT) == first and kept.read_bytes() == whole
