"""What Python files of experiments and ablations are about, read without running them."""

from __future__ import annotations

import ast
from pathlib import Path

VARIABLE = "experiment"
"""The name that an experiment file assigns its experiment to."""


def first_line(path: Path) -> str:
    """The first line of a file's docstring, read without running the file; empty where there is none."""
    try:
        text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    except (OSError, SyntaxError, UnicodeDecodeError):
        return ""
    return text.strip().splitlines()[0] if text else ""


def defines(path: Path, variable: str = VARIABLE) -> bool:
    """Whether a file assigns the name ``variable`` at its top level, read without running it."""
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (OSError, SyntaxError, UnicodeDecodeError):
        return False
    targets = [t for node in tree.body if isinstance(node, ast.Assign) for t in node.targets]
    return any(isinstance(target, ast.Name) and target.id == variable for target in targets)
